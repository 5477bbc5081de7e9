#!/bin/bash
# Proves: gdb and strace work inside, on programs that are inside.
# run: user
# run: long
. "$(dirname "$0")/lib.sh"
need gdb strace gcc
prepare() {
	cat >p.c <<'C'
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int twice(int n) { return 2 * n; }
int main(void) { int fd = open("p.c", O_RDONLY); char c; if (read(fd, &c, 1) != 1) return 1; printf("%d %c\n", twice(21), c); return 5; }
C
	gcc -g -O0 -o p p.c
}
normalise() { grep -vE 'warning|auto-loading|debuginfod|libthread_db|^$|process [0-9]+|BASE' | sed -E 's/0x[0-9a-f]+/ADDRESS/g; s/exited with code 0?5/exited with code 05/'; }
works "gdb" 'gdb -q -batch -ex "break twice" -ex run -ex bt -ex "print n" -ex finish -ex continue ./p 2>&1'
works "strace" 'strace -f -e trace=openat,read,exit_group -o t ./p; grep -E "p.c|exit" t | sed "s/^[0-9]* *//"; strace -c -o s ./p && true; grep -c calls s'
works "strace of a process that runs" 'sleep 1000 & p=$!; strace -o t -p $p 2>e & s=$!; until grep -q attached e; do :; done; kill $p; wait $p; echo $?; wait $s; grep -o SIGTERM t | sort -u'
finish
