#!/bin/bash
# Proves: what builds and packs software does inside what it does natively: make -j, gcc and clang with ccache, static libraries, perl, patch, packages of
# Debian and Python, ssh-keygen and openssl, locks between processes, archives.
# run: user
# run: long
# timeout: 900
. "$(dirname "$0")/lib.sh"
need gcc make perl
have() { for c; do command -v "$c" >/dev/null || { echo "not installed: $c"; return 1; }; done; }
prepare() {
	mkdir p && cd p && for i in $(seq 40); do printf '#include "h.h"\nint f%d(int n) { return n + H; }\n' "$i" >"f$i.c"; done
	echo '#define H 3' >h.h
	{ for i in $(seq 40); do echo "int f$i(int);"; done; echo '#include <stdio.h>'; echo 'int main(void) { int n = 0;'; for i in $(seq 40); do echo "n = f$i(n);"; done; echo 'printf("%d\n", n); return 0; }'; } >main.c
	cat >Makefile <<'MAKE'
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
CC = gcc
prog: main.o libf.a
	$(CC) -o $@ main.o -L. -lf
libf.a: $(filter-out main.o,$(OBJECTS))
	rm -f $@; ar rcD $@ $^; ranlib -D $@
%.o: %.c h.h
	$(CC) -g -O1 -c -o $@ $<
clean:
	rm -f *.o *.a prog
MAKE
}
# When a shell tells of a job that has ended is a matter of time.
normalise() { sed -E 's/[0-9]+\.[0-9]+ ?(s|seconds|kB|MB)\b//g' | grep -vE '^\[[0-9]+\]|Terminated$'; }
works "make -j8" 'cd p && make -s -j8 2>&1 && ./prog && make -q && touch h.h && ! make -q && make -s -j8 2>&1 && ./prog && nm libf.a | grep -c " T f" && strip prog && ./prog && make -s clean && ls | wc -l'
have ccache && works "gcc with ccache" 'export CCACHE_DIR=$PWD/cache CCACHE_NODISABLE=1; cd p; for i in 1 2; do make -s -j4 CC="ccache gcc" 2>&1 && ./prog; make -s clean; done; ccache -s | grep -E "Hits|Misses" | head -n 2 | sed "s/  */ /g"'
have clang && works "clang" 'cd p && make -s -j4 CC=clang 2>&1 && ./prog && clang -x c -E - <<<"#include <stdio.h>" | wc -l'
works "perl" 'cat >t.pl <<"P"
use strict; use File::Temp qw(tempfile tempdir); use File::Find; use File::Copy; use File::Path qw(make_path remove_tree); use Fcntl qw(:flock :mode); use Cwd; use IO::Socket::UNIX; use POSIX;
my ($fh, $name) = tempfile(DIR => "."); print $fh "line $_\n" for 1..100; close $fh; copy($name, "copy"); print -s "copy", "\n"; my $d = tempdir(CLEANUP => 1); make_path("$d/a/b/c"); open(my $l, ">", "$d/a/lock") or die; flock($l, LOCK_EX|LOCK_NB) or die "flock";
my $pid = fork; if (!$pid) { open(my $m, "<", "$d/a/lock"); exit(flock($m, LOCK_SH|LOCK_NB) ? 1 : 7) } waitpid($pid, 0); print $? >> 8, "\n"; my $n = 0; find(sub { $n++ }, $d); print "$n\n"; my @st = stat("copy"); printf "%o\n", $st[2]; chmod 0600, "copy"; printf "%o\n", (stat "copy")[2];
rename "copy", "moved" or die; symlink "moved", "l"; print readlink("l"), "\n"; open(my $p, "-|", "sort -r moved | head -n 2"); print <$p>; opendir(my $dh, "."); print join(" ", sort grep { /^[lm]/ } readdir $dh), "\n"; utime 1e9, 1e9, "moved"; print((stat "moved")[9], "\n"); remove_tree($d); print -d $d ? "there\n" : "gone\n"; truncate("moved", 10); print -s "moved", "\n"; unlink glob("mov*"); print -e "moved" ? "there\n" : "gone\n"; open(my $x, "<", "nothing") or print "$!\n";
P
	perl t.pl; perl -i.bak -pe "s/use strict;/use strict; #/" t.pl && diff t.pl t.pl.bak | wc -l; perl -MStorable -e "store([1..10], q(s)); print scalar @{retrieve(q(s))}, qq(\n)"'
have patch && works -t "patch and diff" 'cp -r p q; sed -i s/3/4/ q/h.h; echo new >q/new; rm q/f1.c; diff -ruN p q >d; patch -s -p1 -d p <d && diff -r p q && patch -s -R -p1 -d p <d && cat p/h.h; rm -r q d'
have dpkg-deb && works -t "Debian packages" 'mkdir -p k/DEBIAN k/usr/share/x; printf "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: x\n" >k/DEBIAN/control; seq 1000 >k/usr/share/x/data; SOURCE_DATE_EPOCH=1000000000 dpkg-deb --root-owner-group -b k x.deb && dpkg-deb -I x.deb | grep Package && dpkg-deb -c x.deb | wc -l && dpkg-deb -x x.deb out && cat out/usr/share/x/data | md5sum; mkdir -p db/info db/updates root; touch db/status db/available; dpkg --admindir=$PWD/db --root=$PWD/root --force-not-root --force-script-chrootless -i x.deb 2>&1 | tail -n 3 | sed "s/ *[0-9]* files//"; dpkg --admindir=$PWD/db -l x 2>&1 | tail -n 1; ls root/usr/share/x 2>/dev/null; rm -rf x.deb db'
/usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null && works "a virtual environment and pip" 'mkdir -p k/hello k/hello-1.0.dist-info && echo "def main(): print(\"hello from the package\")" >k/hello/__init__.py && cd k/*.dist-info && printf "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n" >METADATA &&
	printf "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n" >WHEEL && printf "[console_scripts]\nhello = hello:main\n" >entry_points.txt && printf "hello/__init__.py,,\nhello-1.0.dist-info/METADATA,,\nhello-1.0.dist-info/WHEEL,,\nhello-1.0.dist-info/entry_points.txt,,\nhello-1.0.dist-info/RECORD,,\n" >RECORD && cd ../.. &&
	(cd k && /usr/bin/python3 -m zipfile -c ../hello-1.0-py3-none-any.whl hello hello-1.0.dist-info) && /usr/bin/python3 -m venv env && env/bin/python -m pip install -q --no-index --disable-pip-version-check ./hello-1.0-py3-none-any.whl 2>&1 && env/bin/hello && env/bin/python -m pip uninstall -q -y hello && env/bin/python -m pip list --format=freeze --disable-pip-version-check'
/usr/bin/python3 -m compileall --help >/dev/null 2>&1 && works "python compiles, zips and tests" 'mkdir m; for i in $(seq 30); do echo "x = $i" >m/a$i.py; done; /usr/bin/python3 -m compileall -q -j 2 m; ls m/__pycache__ | wc -l; /usr/bin/python3 -m zipfile -c z.zip m; /usr/bin/python3 -m zipfile -l z.zip | wc -l; printf "import unittest, tempfile, os\nclass T(unittest.TestCase):\n  def test_t(self):\n    with tempfile.TemporaryDirectory() as d: open(os.path.join(d, \"f\"), \"w\").write(\"x\")\n" >test_t.py; /usr/bin/python3 -m unittest -q 2>&1 | grep -E "OK|Ran" | sed "s/ in .*//"'
have npm && works "npm with packages that are here" 'export npm_config_cache=$PWD/cache npm_config_update_notifier=false npm_config_offline=true npm_config_audit=false npm_config_fund=false; mkdir -p a b; echo "{\"name\":\"a\",\"version\":\"1.0.0\",\"bin\":{\"a\":\"a.js\"}}" >a/package.json; printf "#!/usr/bin/env node\nconsole.log(\"a runs\")\n" >a/a.js; chmod +x a/a.js; (cd a && npm pack -s); cd b; echo "{\"name\":\"b\",\"version\":\"1.0.0\",\"scripts\":{\"go\":\"a && a\"}}" >package.json; npm install -s ../a-1.0.0.tgz && npm run -s go; npm ls | tail -n +2; npm uninstall -s a; ls'
# It wants to know who it is run by.
id -un >/dev/null 2>&1 && have ssh-keygen && works "ssh-keygen" 'for t in ed25519 rsa; do ssh-keygen -q -t $t -N "" -C c -f key_$t; stat -c "%a %n" key_$t key_$t.pub; ssh-keygen -y -f key_$t >again; cmp <(cut -d" " -f1,2 again) <(cut -d" " -f1,2 key_$t.pub) && echo same; done; ssh-keygen -q -p -P "" -N secret -f key_ed25519 && ssh-keygen -y -P secret -f key_ed25519 | wc -l; chmod 644 key_rsa; ssh-keygen -y -f key_rsa 2>&1 | grep -o "too open"'
have openssl && works "openssl" 'openssl genpkey -quiet -algorithm ed25519 -out k.pem 2>/dev/null || openssl genpkey -algorithm ed25519 -out k.pem; stat -c %a k.pem; openssl req -new -x509 -key k.pem -subj /CN=x -days 1 -out c.pem && openssl x509 -in c.pem -noout -subject; seq 1000 | openssl dgst -sha256; openssl rand 100000 | wc -c'
have flock && works "locks between processes" 'touch l n; echo 0 >n; for i in 1 2 3 4 5 6 7 8; do (for k in 1 2 3 4 5; do flock l sh -c "read -r n <n; echo \$((n + 1)) >n"; done) & done; wait; cat n; flock l sh -c "flock -n l true || echo locked"; (flock 9; flock -n l true || echo held) 9>l; flock -s l flock -sn l echo shared
	/usr/bin/python3 -c "
import fcntl, os, struct
f = open(\"l\", \"r+\"); fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
pid = os.fork()
if pid == 0:
    g = open(\"l\", \"r+\")
    try: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 7); print(\"got it\", flush=True)
    except OSError as e: print(e.strerror, flush=True)
    fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 50); print(\"elsewhere\", flush=True)
    os._exit(0)
os.waitpid(pid, 0)
h = open(\"l\", \"r+\"); fcntl.fcntl(h, 37, struct.pack(\"hhqqi4x\", fcntl.F_WRLCK, 0, 100, 1, 0)); print(\"open file description\")"'
works "archives" 'cd p; for z in gzip bzip2 xz zstd; do command -v $z >/dev/null || continue; tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - . | $z -c >../t.$z && $z -dc ../t.$z | tar tf - | wc -l; cp f1.c x && $z -q x && ls x.* && rm x.*; done; command -v zip >/dev/null && zip -qr ../t.zip . && unzip -l ../t.zip | tail -n 1 | awk "{ print \$2 }"; find . | cpio -o --quiet 2>/dev/null | wc -c | sed "s/^0$/none/" >/dev/null; ar rc ../a.a *.c && ar t ../a.a | wc -l'
works "a shell's jobs" 'set -m; sleep 100 & sleep 100 & jobs | wc -l; kill %1; wait %1; echo $?; kill -STOP %2; until jobs %2 | grep -q Stopped; do :; done; jobs | grep -c Stopped; kill -CONT %2; kill %2; wait; set +m; trap "echo exit" EXIT; (exit 3); echo $?; coproc cat; echo through >&${COPROC[1]}; read -r l <&${COPROC[0]}; echo $l; exec {COPROC[1]}>&-; ulimit -n 100; ulimit -n; umask 027; touch u; stat -c %a u; timeout 0.2 sleep 100; echo $?; xargs -P 4 -n 1 echo < <(seq 20) | sort -n | tail -n 1'
finish
