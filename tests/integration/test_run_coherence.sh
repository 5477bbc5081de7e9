#!/bin/bash
# run: user
# timeout: 300
# Proves: whatever somebody changes in the volumes, from outside or from inside, is seen by the next call of a program under gofer run, which
# answers from what it has watches on: by absolute path, relative to the current directory, and relative to a descriptor of a directory that
# was renamed. After each change every call says what it says on the host. And most of the calls do cost no request.
. "$(dirname "$0")/lib.sh"
command -v /usr/bin/python3 >/dev/null || skip "no python3"
mkdir -p "$T/rw/d/e" "$T/ro/d/e"
"$GOFER" run -v "$T/rw:/rw" -- /bin/true 2>"$T/err" || skip "gofer run: $(tail -n 1 "$T/err")"
cat >"$T/looks.py" <<'PYTHON'
import errno, json, mmap, os, sys
NAMES = ["f", "g", "l", "e", "e/f", "e/../f", "./f", "no", "f/x", "l2", "e/l/f"]

def look(start, ro, fd=None):
    """What the calls say of each name, from an absolute start, or relative to the current directory or a descriptor."""
    def say(call, *args, **kw):
        try:
            r = call(*args, **kw)
        except OSError as e:
            return errno.errorcode[e.errno]
        if isinstance(r, os.stat_result):
            return [r.st_mode, r.st_nlink, r.st_uid, r.st_size, r.st_mtime_ns, r.st_ctime_ns, r.st_ino, r.st_dev]
        return r
    def read(path, **kw):
        f = os.open(path, os.O_RDONLY | os.O_NONBLOCK, **kw)
        try:
            return os.read(f, 100).decode() if not os.path.isdir("/proc/self/fd/%d" % f) else "directory"
        finally:
            os.close(f)
    out = {}
    for name in NAMES:
        path, kw = start + name, {} if fd is None else {"dir_fd": fd}
        modes = (os.F_OK, os.R_OK, os.X_OK) if ro else (os.F_OK, os.R_OK, os.W_OK, os.X_OK)
        out[name] = [say(os.stat, path, **kw), say(os.lstat, path, **kw), say(os.readlink, path, **kw),
                     [say(os.access, path, m, **kw) for m in modes], say(read, path, **kw)]
    return out

def looks(root):
    """All starts. The host's root is one directory, the sandbox's are mounts."""
    return {"rw": look(root + "/rw/d/", False), "ro": look(root + "/ro/d/", True), "alias": look(root + "/alias/d/", True),
            "cwd": look("", False), "fd": look("", True, HELD)}

def change(root, what):
    """Inside, in the volume that may be written: through descriptors past the server, and by name."""
    d = root + "/rw/d/"
    if what == "write":
        f = os.open(d + "f", os.O_WRONLY | os.O_APPEND); os.write(f, b"inside"); os.close(f)
    elif what == "map":
        f = os.open(d + "f", os.O_RDWR); os.ftruncate(f, 4096)
        m = mmap.mmap(f, 4096); m[0:3] = b"map"; m.flush(); m.close(); os.close(f)
    elif what == "keep":
        f = os.open(d + "f", os.O_RDWR); change.kept = mmap.mmap(f, 4096); os.close(f)
    elif what == "store":
        change.kept[0:3] = b"sto"; change.kept.flush()
    elif what == "make": os.mkdir(d + "no"); os.symlink("f", d + "l2")
    elif what == "remove": os.rmdir(d + "no"); os.unlink(d + "l2")
    elif what == "rename": os.rename(d + "f", d + "g")
    elif what == "back": os.rename(d + "g", d + "f")
    elif what == "chmod": os.chmod(d + "e", 0o500)
    elif what == "parent": os.rename(root + "/rw/d", root + "/rw/d2"); os.mkdir(d); open(d + "f", "w").write("another")
    elif what == "again": os.unlink(d + "f"); os.rmdir(d); os.rename(root + "/rw/d2", root + "/rw/d")

if __name__ == "__main__":
    os.chdir("/rw/d")
    HELD = os.open("/ro/d", os.O_RDONLY)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "change":
            change("", rest[0])
            print("{}", flush=True)
        else:
            print(json.dumps(looks("")), flush=True)
PYTHON
cat >"$T/drive.py" <<'PYTHON'
import json, os, random, subprocess, sys, time
gofer, T, mode = sys.argv[1:]
sys.path.insert(0, T)
import looks
os.symlink("rw", T + "/alias")
for v in ("rw", "ro"):
    for p, text in (("f", "f"), ("e/f", "ef")):
        open("%s/%s/d/%s" % (T, v, p), "w").write(text)
    os.symlink("f", "%s/%s/d/l" % (T, v))
    os.symlink("..", "%s/%s/d/e/l" % (T, v))
os.chdir(T + "/rw/d")
looks.HELD = os.open(T + "/ro/d", os.O_RDONLY)
p = subprocess.Popen([gofer, "run", "--interop", mode, "--stats", "--json", "-v", T + "/rw:/rw", "-v", T + "/ro:/ro:ro", "-v", T + "/rw:/alias:ro", "-v", T + ":/looks:ro",
                      "--", "/usr/bin/python3", "-S", "/looks/looks.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(T + "/stats", "w"), text=True)

def ask(line):
    p.stdin.write(line + "\n")
    p.stdin.flush()
    answer = p.stdout.readline()
    if not answer:
        sys.exit("it ended: " + open(T + "/stats").read())
    return json.loads(answer)

def compare(after):
    got, want = ask("look"), json.loads(json.dumps(looks.looks(T)))
    for start in want:
        for name in want[start]:
            if got[start][name] != want[start][name]:
                sys.exit("after %s, %s of %s: %s, on the host %s" % (after, name, start, got[start][name], want[start][name]))

def outside(d, what):
    f, g, e, l, tmp = d + "/f", d + "/g", d + "/e", d + "/l", d + "/tmp"
    if what == "append": open(f, "a").write("x")
    elif what == "replace": open(tmp, "w").write("new"); os.rename(tmp, f)
    elif what == "rename": os.rename(f, g)
    elif what == "rename back": os.rename(g, f)
    elif what == "link": os.link(f, g)
    elif what == "write the other name": open(g, "a").write("y")
    elif what == "unlink it": os.unlink(g)
    elif what == "chmod": os.chmod(f, 0)
    elif what == "chmod back": os.chmod(f, 0o644)
    elif what == "close the directory": os.chmod(e, 0)
    elif what == "open the directory": os.chmod(e, 0o755)
    elif what == "another link": os.unlink(l); os.symlink("e/f", l)
    elif what == "link to directory": os.unlink(l); os.mkdir(l)
    elif what == "directory to link": os.rmdir(l); os.symlink("f", l)
    elif what == "create": open(d + "/no", "w").write("it is")
    elif what == "remove": os.unlink(d + "/no")
    elif what == "utime": os.utime(f, (1, random.randrange(1 << 30)))
    elif what == "truncate": os.truncate(f, 1)
    elif what == "move the directory": os.rename(d, d + "2"); os.mkdir(d); open(f, "w").write("other")
    elif what == "move it back": os.unlink(f); os.rmdir(d); os.rename(d + "2", d)
OUTSIDE = ["append", "replace", "rename", "rename back", "link", "write the other name", "unlink it", "chmod", "chmod back", "close the directory",
           "open the directory", "another link", "link to directory", "directory to link", "create", "remove", "utime", "truncate", "move the directory", "move it back"]
INSIDE = ["write", "map", "make", "remove", "rename", "back", "keep", "store", "chmod", "parent", "again"]
for i in range(3):
    compare("nothing")
for v in ("rw", "ro"):
    for what in OUTSIDE:
        outside("%s/%s/d" % (T, v), what)
        for i in range(3):
            compare("%s in %s" % (what, v))
for what in INSIDE:
    ask("change " + what)
    for i in range(3):
        compare("%s inside" % what)
p.stdin.close()
if p.wait() != 0:
    sys.exit("status %d: %s" % (p.returncode, open(T + "/stats").read()))
stats = json.loads(open(T + "/stats").read().strip().splitlines()[-1])
looked = sum(v["calls"] for k, v in stats["calls"].items() if k in ("newfstatat", "stat", "lstat", "readlink", "readlinkat", "access", "faccessat", "faccessat2"))
asked = sum(v for k, v in stats["requests"].items() if k in ("Stat", "ReadLink", "Access", "Watch"))
print("%s: %d calls that look, %d requests" % (mode, looked, asked))
kind = subprocess.run(["stat", "-f", "-c", "%T", T], stdout=subprocess.PIPE, text=True).stdout.strip()
# Elsewhere others than this kernel may change things: no watches.
if kind in ("ext2/ext3", "xfs", "btrfs", "tmpfs", "f2fs", "zfs", "ramfs") and mode == "watched" and asked > looked * 0.8:
    sys.exit("nothing was remembered")
PYTHON
/usr/bin/python3 -B "$T/drive.py" "$GOFER" "$T" watched || fail "see above"
chmod -R u+rwx "$T/rw" "$T/ro"
rm -rf "$T/rw" "$T/ro" "$T/alias"
mkdir -p "$T/rw/d/e" "$T/ro/d/e"
/usr/bin/python3 -B "$T/drive.py" "$GOFER" "$T" shared || fail "see above"
