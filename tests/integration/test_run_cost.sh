#!/bin/bash
# Proves: under gofer run each system call that names a path is one request, at depth 1 and 8, by absolute path, relative to a directory, and
# relative to a descriptor; what the kernel does by itself is none; and with watches no call is more, while those that only look at what did
# not change are none. Counted by --stats; closes of handles are not counted.
# run: plain
# timeout: 300
. "$(dirname "$0")/lib.sh"
command -v /usr/bin/python3 >/dev/null || skip "no python3"
work=$T/w
mkdir -p "$work"
"$GOFER" run -v "$work:/w" -- /bin/true 2>"$T/err" || skip "gofer run: $(tail -n 1 "$T/err")"

cat >"$work/ops.py" <<'PYTHON'
import os, sys
name, depth, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
d = "/w/" + "/".join(["d"] * (depth - 1))
os.makedirs(d, exist_ok=True)
d = d.rstrip("/") + "/"
for f, make in (("f", lambda p: open(p, "w").close()), ("l", lambda p: os.symlink("f", p))):
    if not os.path.lexists(d + f):
        make(d + f)
os.chdir(d)
here = os.open(".", os.O_RDONLY)
os.stat("f", dir_fd=here)
def pair(a, b):
    a(); b()
ops = {
    # calls in one round, requests in it
    "stat": (1, lambda: os.stat(d + "f")), "lstat": (1, lambda: os.lstat(d + "l")), "stat through a link": (1, lambda: os.stat(d + "l")),
    "stat of what is missing": (1, lambda: os.path.exists(d + "no")), "stat, relative": (1, lambda: os.stat("f")),
    "stat, by descriptor": (1, lambda: os.stat("f", dir_fd=here)), "access": (1, lambda: os.access(d + "f", os.R_OK)),
    "readlink": (1, lambda: os.readlink(d + "l")), "statfs": (1, lambda: os.statvfs(d)),
    "open, read, close": (1, lambda: (lambda f: (os.read(f, 1), os.close(f)))(os.open(d + "f", os.O_RDONLY))),
    "open of what is missing": (1, lambda: os.path.exists(d + "no") if False else missing()),
    "open of a directory": (1, lambda: os.close(os.open(d, os.O_RDONLY))),
    "create, write, close; unlink": (2, lambda: ((lambda f: (os.write(f, b"x"), os.close(f)))(os.open(d + "n", os.O_CREAT | os.O_EXCL | os.O_WRONLY)), os.unlink(d + "n"))),
    "O_TMPFILE, linkat; unlink": (3, lambda: tmpfile()),
    "mkdir; rmdir": (2, lambda: (os.mkdir(d + "n"), os.rmdir(d + "n"))), "symlink; unlink": (2, lambda: (os.symlink("x", d + "n"), os.unlink(d + "n"))),
    "link; rename; unlink": (3, lambda: (os.link(d + "f", d + "n"), os.rename(d + "n", d + "m"), os.unlink(d + "m"))),
    "mknod; unlink": (2, lambda: (os.mknod(d + "n", 0o100644), os.unlink(d + "n"))), "chmod": (1, lambda: os.chmod(d + "f", 0o600)),
    "chown": (1, lambda: os.chown(d + "f", -1, -1)), "utimensat": (1, lambda: os.utime(d + "f")), "truncate": (1, lambda: os.truncate(d + "f", 0)),
    "setxattr; getxattr; listxattr; removexattr": (4, lambda: (os.setxattr(d + "f", "user.a", b"1"), os.getxattr(d + "f", "user.a"), os.listxattr(d + "f"), os.removexattr(d + "f", "user.a"))),
    "fstat, read, write, ftruncate, fsync by descriptor": (0, lambda: (os.fstat(there), os.pwrite(there, b"x", 0), os.pread(there, 1, 0), os.ftruncate(there, 0))),
    "getcwd; chdir": (0, lambda: (os.getcwd(), os.chdir("."))), "/proc and /dev": (0, lambda: (os.stat("/proc/self/status"), os.close(os.open("/dev/null", os.O_WRONLY)))),
}
def missing():
    try: os.open(d + "no", os.O_RDONLY)
    except FileNotFoundError: pass
def tmpfile():
    f = os.open(d, os.O_TMPFILE | os.O_RDWR)
    os.link("/proc/self/fd/%d" % f, d + "n", src_dir_fd=here, follow_symlinks=True); os.close(f); os.unlink(d + "n")
there = os.open(d + "f", os.O_RDWR)
if name == "list":
    for k, (requests, op) in ops.items(): print(requests, k, sep="\t")
    sys.exit()
for i in range(n): ops[name][1]()
PYTHON
requests() { # name, depth, rounds
	"$GOFER" run --interop "$mode" --stats --json -v "$work:/w" -- /usr/bin/python3 -S /w/ops.py "$@" 2>"$T/stats" >/dev/null || fail "$1: $(tail -n 3 "$T/stats")"
	/usr/bin/python3 -c 'import json, sys; r = json.loads(sys.stdin.read().strip().splitlines()[-1])["requests"]; print(sum(v for k, v in r.items() if k != "Close"))' <"$T/stats"
}
"$GOFER" run -v "$work:/w" -- /usr/bin/python3 -S /w/ops.py list 1 0 >"$T/list" || fail "no list"
# Watches are had where the kernel makes every change itself.
case $(stat -f -c %T "$work") in ext2/ext3 | xfs | btrfs | tmpfs | f2fs | zfs | ramfs) watches=yes ;; *) watches=no ;; esac
declare -A start # what a run costs that does nothing
for mode in shared watched; do
	for depth in 1 8; do
		requests stat $depth 1 >/dev/null # makes the tree
		start[$mode$depth]=$(requests stat $depth 0) || exit 1
	done
done
printf '%-52s %9s %8s %8s %8s\n' "system calls" promised "depth 1" "depth 8" watched
while IFS=$'\t' read -r promised name; do
	for depth in 1 8; do
		mode=shared none=${start[shared$depth]}
		many=$(requests "$name" $depth 40) || exit 1
		# What is learnt once (which mount a directory is in) is not of each call.
		((extra = many - none - 40 * promised))
		((extra >= 0 && extra < 10)) || fail "$name at depth $depth: $((many - none)) requests for 40 rounds, promised $promised each"
		each[$depth]=$(((many - none) / 40))
	done
	# With watches the same or less, but for what is learnt once.
	mode=watched none=${start[watched8]}
	many=$(requests "$name" 8 40) || exit 1
	((many - none - 40 * promised < 10)) || fail "$name with watches: $((many - none)) requests for 40 rounds, promised at most $promised each"
	case $name in
	"open, read, close" | "stat of what is missing" | access | readlink | "open of what is missing")
		[ $watches = no ] || ((many - none < 10)) || fail "$name with watches: $((many - none)) requests for 40 rounds, though nothing changed" ;;
	esac
	printf '%-52s %9d %8d %8d %8d\n' "$name" "$promised" "${each[1]}" "${each[8]}" $((many > none ? (many - none) / 40 : 0))
done <"$T/list"
