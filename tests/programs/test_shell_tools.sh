#!/bin/bash
# Proves: a statically linked shell and the everyday tools do inside what they do natively.
# run: user
. "$(dirname "$0")/lib.sh"
need busybox rsync tar find python3
[[ $(file -Lb "$(command -v busybox)" 2>/dev/null || echo static) == *static* ]] || skip "busybox is not static"
prepare() {
	mkdir -p src/a/b src/c && seq 1000 >src/a/numbers && echo text >src/c/t && ln -s ../a/numbers src/c/link && ln src/c/t src/c/hard &&
		mkfifo src/pipe && chmod 2750 src/c && cp "$(command -v busybox)" busybox && cp "$T/script" . 2>/dev/null; touch -d 2001-02-03 src/a/numbers
}
cat >"$T/script" <<'SCRIPT'
set -e
b=$PWD/busybox
cd src
$b ls -la a | $b sed "s,  *, ,g" | $b cut -d" " -f1,9
$b find . | $b sort
for i in 1 2 3; do echo $i >a/$i; done
$b cat a/[123]
$b mv a/1 a/one
$b cp -a c d
$b rm -r c
$b tar cf ../t.tar a d
$b mkdir ../x
$b tar xf ../t.tar -C ../x
$b diff -r a ../x/a
$b stat -c %a d
$b test -L d/link
$b readlink d/link
$b wc -l a/[23] a/one
cd d
pwd | $b sed 's,.*/w/,,'
(cd .. && $b ls -R)
$b rm ../../t.tar
exit 5
SCRIPT
same -t "busybox sh" './busybox sh script'
[[ $LAST_STATUS == 5 ]] || bad "the script did not come to its end"
works -t "coreutils" 'set -e; cd src && ls -A | sort; cp -a . ../copy; mv ../copy/a ../copy/z; ln -s z ../copy/y; cat ../copy/y/numbers | tail -n 2
	install -D -m 640 c/t ../copy/n/e/w/t; stat -c "%a %h %n" ../copy/n/e/w/t c/*; realpath --relative-to=. c/link; truncate -s 5 ../copy/c/t
	touch -d 2010-10-10 ../copy/c/t; date -u -r ../copy/c/t; test ../copy/c/t -nt a/numbers; readlink -f c/link | sed "s,.*/w/,,"
	mktemp -d -p .. tmp.XXXX | wc -c; rmdir ../tmp.????; chmod -R g-w ../copy; df --output=target . | tail -n 1 | wc -l; du -s --apparent-size a/numbers
	dd if=a/numbers of=../dd bs=100 count=3 skip=1 2>&1 | head -n 2; sort a/numbers | md5sum; split -n 3 a/numbers ../part; wc -l ../part*; shred -u ../dd; sync ../copy; rm -rf ../copy/n'
works -t "rsync and tar" 'set -e; rsync -aHX --stats src/ one/ >/dev/null; rsync -aHX --delete --itemize-changes src/ one/; echo more >>src/a/numbers; rsync -aH --delete -i --inplace src/ one/
	tar cf - one | tar xf - -C tmp; diff -r one/a tmp/one/a && tar cf t.tar --sort=name --mtime=@0 one && tar tf t.tar | wc -l; tar czf - src | tar tzf - | sort | head -n 3; rm t.tar'
works -t "find and rm" 'set -e; find src -type f -newermt 2005-01-01 | sort; find src -name "*b*" -exec echo {} +; find src -perm /2000 -o -type p | sort; find . -xdev -links 2 -type f | sort
	find src -depth -empty | sort; rm -r src/a; find src -delete; ls'
works "a FIFO between processes" 'mkfifo p; (for i in 1 2 3; do echo line $i; done >p) & cat p; wait; (exec 3<>p; echo both >&3; read -r l <&3; echo "$l")'
works "shared memory and semaphores" 'n=gofer-test-$$; echo x >/dev/shm/$n; cat /dev/shm/$n; rm /dev/shm/$n; python3 -c "
from multiprocessing import shared_memory, Lock, Pool
s = shared_memory.SharedMemory(create=True, size=100); t = shared_memory.SharedMemory(s.name); s.buf[3] = 7; print(t.buf[3]); t.close(); s.close(); s.unlink()
print(Lock()); print(sum(Pool(2).map(abs, range(100))))"'
works "here documents, process substitution, globs" 'set -e; cat <<<"here"; diff <(echo a) <(echo b) || echo differ; echo src/*/*; cd src/c && cd - >/dev/null; cd -P src/c/.. && pwd -P | sed "s,.*/w/,,"; [[ -p pipe ]] && echo fifo; read -r l </dev/null || echo end; echo hi >/dev/null; echo >/dev/stderr; exec 5>x; echo five >&5; cat x'
finish
