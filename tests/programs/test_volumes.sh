#!/bin/bash
# Proves: the namespace: volumes inside volumes, ".." and symbolic links from one to another, read-only ones, what is not there; what a
# read-only volume answers is what a read-only mount answers.
# run: user
. "$(dirname "$0")/lib.sh"
prepare() { :; }
fresh
mkdir -p "$T/a/sub/mnt" "$T/b/deep" "$T/c/deep" "$T/ro/d" "$T/hidden"
echo in-a >"$T/a/f"; echo in-b >"$T/b/deep/f"; echo read-only >"$T/ro/f"; echo covered >"$T/a/sub/mnt/covered"
ln -s /data/a/f "$T/c/absolute"; ln -s ../../f "$T/b/up"; ln -s "$T/hidden" "$T/c/out"; ln -s ../a/sub/mnt/up "$T/c/to-up"
ln -s ../../../../../../../data/ro/f "$T/c/far"
expect() { # what, expected output, command
	local out
	out=$("$GOFER" run -v "$T/a:/data/a:rw" -v "$T/b:/data/a/sub/mnt:rw" -v "$T/c:/data/b:rw" -v "$T/ro:/data/ro:ro" --chdir /data/a -- bash -c "$3" 2>&1)
	[[ $out == "$2" ]] && ok "$1" || { bad "$1:"; diff <(echo "$2") <(echo "$out"); }
}
expect "each volume at its place" $'in-a\nin-b\nread-only' 'cat f sub/mnt/deep/f /data/ro/f'
expect "what is covered is not there" 'ls: cannot access '"'sub/mnt/covered'"': No such file or directory' 'ls sub/mnt/covered'
expect ".. leaves a volume for the one around it" $'in-a\nin-a\n/data/a' 'cat sub/mnt/../../f; cd sub/mnt/deep; cat ../../../f; cd ../../..; pwd -P'
expect "links lead from one volume to another" $'in-a\nin-a\nin-a\nread-only' 'cat /data/b/absolute sub/mnt/up /data/b/to-up /data/b/far'
expect "a link to what is not shown leads nowhere" 'ls: cannot access '"'/data/b/out/'"': No such file or directory' 'ls /data/b/out/'
expect "nothing else is there" $'a b ro\n1' 'echo $(ls /data); ls '"$T"' 2>/dev/null | wc -l | sed s/0/1/'
expect "no rename and no link from one to another" $'Invalid cross-device link\nInvalid cross-device link' 'python3 -c "
import os
for call in os.rename, os.link:
    try: call(\"f\", \"/data/b/f\")
    except OSError as e: print(e.strerror)"'
expect "mv from one to another copies" $'moved\n0' 'echo moved >m; mv m /data/b/m; cat /data/b/m; ls m 2>/dev/null | wc -l; rm /data/b/m'
expect "a mount point cannot be removed, renamed or replaced" $'Device or resource busy\nDevice or resource busy\nDevice or resource busy' 'python3 -c "
import os
for call in (lambda: os.rmdir(\"sub/mnt\"), lambda: os.rename(\"sub/mnt\", \"x\"), lambda: os.rmdir(\"/data/b\")):
    try: call(); print(\"worked\")
    except OSError as e: print(e.strerror)"'
expect "fchdir, and a descriptor of a directory in another volume" $'in-b\nin-a\n/data/a/sub/mnt/deep' 'python3 -c "
import os
a = os.open(\"/data/a\", os.O_RDONLY); b = os.open(\"/data/a/sub/mnt/deep\", os.O_RDONLY)
os.fchdir(b); print(open(\"f\").read(), end=\"\")
print(os.read(os.open(\"sub/mnt/deep/../../../f\", os.O_RDONLY, dir_fd=a), 9).decode(), end=\"\"); print(os.getcwd())"'

# What writes on a read-only volume, beside a read-only bind mount.
cat >"$T/a/ro.py" <<'PYTHON'
import errno, os, sys
os.chdir(sys.argv[1])
calls = {
    "mkdir": os.mkdir, "rmdir": os.rmdir, "unlink": os.unlink, "chmod": lambda p: os.chmod(p, 0o600), "utime": os.utime,
    "truncate": lambda p: os.truncate(p, 0), "creat": lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY)),
    "read or create": lambda p: os.close(os.open(p, os.O_CREAT | os.O_RDONLY)), "write": lambda p: os.close(os.open(p, os.O_WRONLY)),
    "exclusively": lambda p: os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY)), "symlink": lambda p: os.symlink("x", p),
    "mkfifo": os.mkfifo, "chown": lambda p: os.chown(p, -1, -1), "setxattr": lambda p: os.setxattr(p, "user.a", b"1"),
    "rename": lambda p: os.rename(p, "new"), "rename over": lambda p: os.rename("f", p), "link": lambda p: os.link(p, "new"),
    "access": lambda p: print(os.access(p, os.W_OK), end=" "), "unnamed": lambda p: os.close(os.open(p, os.O_TMPFILE | os.O_RDWR)),
    "read": lambda p: os.close(os.open(p, os.O_RDONLY)), "trailing": lambda p: os.mkdir(p + "/"),
}
for name, call in calls.items():
    for path in ("f", "d", "d/..", ".", "missing", "missing/x", "f/x", "d/new", "l", "dangling"):
        try:
            call(path)
            print(name, path, "= ok")
        except OSError as e:
            print(name, path, "=", errno.errorcode[e.errno])
PYTHON
ln -s f "$T/ro/l"; ln -s nowhere "$T/ro/dangling"
if unshare -rm true 2>/dev/null; then
	unshare -rm sh -c "mount --bind '$T/ro' '$T/ro' && mount -o remount,bind,ro '$T/ro' && setpriv --bounding-set=-all --inh-caps=-all python3 '$T/a/ro.py' '$T/ro'" >"$T/native" 2>&1
	"$GOFER" run -v "$T/a:/data/a:rw" -v "$T/ro:/data/ro:ro" -- python3 /data/a/ro.py /data/ro >"$T/inside" 2>&1
	[[ $(wc -l <"$T/native") -gt 200 ]] || bad "no read-only mount to compare with: $(head -n 3 "$T/native")"
	# Which of two reasons is told may differ: a read-only volume, or what the path is. What works, and what does not, may not.
	different=$(diff <(sed 's/= E.*/= refused/' "$T/native") <(sed 's/= E.*/= refused/' "$T/inside"))
	[[ -z $different ]] && ok "a read-only volume allows what a read-only mount allows: $(wc -l <"$T/inside") calls, $(diff "$T/native" "$T/inside" | grep -c '^<') with another reason" ||
		bad "a read-only volume (< a read-only mount, > inside): $different"
	for exact in "mkdir d = EEXIST" "mkdir missing = EROFS" "exclusively f = EEXIST" "write f = EROFS" "creat missing = EROFS"; do
		grep -qxF "$exact" "$T/inside" || bad "$exact: $(grep "^${exact% =*}" "$T/inside")"
	done
else
	echo "no user namespace here: read-only volumes are not compared with read-only mounts"
fi
finish
