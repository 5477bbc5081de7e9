#!/bin/bash
# run: plain
# FIFOs and sockets of the host that lie in a volume are not the program's to use, however it names them and whatever their inode numbers were
# before; with special=allow they are, and one that keeps its callers waiting keeps nobody else. Abstract names are the sandbox's own.
. "$(dirname "$0")/lib.sh"
mkdir "$T/v" || exit 1
cat >"$T/v/program.py" <<'P'
import array, ctypes, errno, os, socket, stat, sys, threading

def attempt(what, call):
    try:
        call()
        print(what, "ok", flush=True)
    except OSError as e:
        print(what, errno.errorcode[e.errno], flush=True)

def wait_for_host(): # The host has answered on standard input.
    sys.stdin.readline()

def fifo():
    # The place of the host's FIFO, which O_PATH gives, is no leave to open it.
    path, nonblock = "/v/fifo", os.O_NONBLOCK
    place = os.open(path, os.O_PATH)
    fds = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    directory = os.open("/v", os.O_PATH)
    os.chdir("/v")
    for name, dir_fd in ((path, None), ("/proc/self/fd/%d" % place, None), ("/proc/%d/fd/%d" % (os.getpid(), place), None), (str(place), fds),
                         ("/dev/fd/%d" % place, None), ("/proc/self/root/v/fifo", None), ("/proc/self/cwd/fifo", None),
                         ("/proc/thread-self/fd/%d" % place, None), ("%d/fifo" % directory, fds), ("fifo", directory)):
        for mode in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY):
            try:
                os.open(name, mode | nonblock, dir_fd=dir_fd)
                print("the host's FIFO is opened as", name, mode)
            except OSError as e:
                if e.errno not in (errno.EPERM, errno.EACCES):
                    print(name, mode, e)
    os.mkfifo("/v/own")
    own = os.open("/v/own", os.O_PATH)
    for name, dir_fd in (("/v/own", None), ("/proc/self/fd/%d" % own, None), (str(own), fds), ("/proc/self/cwd/own", None)):
        os.close(os.open(name, os.O_RDONLY | nonblock, dir_fd=dir_fd))
    print("done")

def reuse():
    # Inode numbers that were those of sockets and FIFOs of the program's own.
    for i in range(64):
        socket.socket(socket.AF_UNIX).bind("/v/s%d" % i)
        os.mkfifo("/v/f%d" % i)
    numbers = [os.lstat("/v/%s%d" % (k, i)).st_ino for k in "sf" for i in range(64)]
    for k in "sf":
        for i in range(64):
            os.unlink("/v/%s%d" % (k, i))
    print(*numbers, flush=True)
    wait_for_host()
    for i in range(200):
        if os.path.exists("/v/host-s%d" % i):
            attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect("/v/host-s%d" % i))
            attempt("open", lambda: os.open("/v/host-f%d" % i, os.O_RDONLY | os.O_NONBLOCK))
    print("done")

def abstract():
    s = socket.socket(socket.AF_UNIX)
    attempt("connect", lambda: s.connect(sys.argv[2].replace("@", "\0")))
    attempt("bind", lambda: s.bind("\0gofer-test-%d" % os.getpid()))
    attempt("autobind", lambda: socket.socket(socket.AF_UNIX).bind(b""))
    print("done")

def busy():
    # More callers than gofer has threads; the listener of the host takes nobody until all have called.
    callers, connected = 24, []
    def call():
        s = socket.socket(socket.AF_UNIX)
        s.connect("/v/listener")
        connected.append(s)
    threads = [threading.Thread(target=call) for _ in range(callers)]
    for t in threads:
        t.start()
    for i in range(50):
        os.close(os.open("/v/program.py", os.O_RDONLY))
        os.listdir("/v")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        s.connect("/v/listener")
    except BlockingIOError:
        pass
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(None)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, (0).to_bytes(8, "little") + (100000).to_bytes(8, "little"))
    attempt("a caller with little patience", lambda: s.connect("/v/listener"))
    print("others are served", flush=True)
    wait_for_host()
    for t in threads:
        t.join()
    print("connected", len(connected))

globals()[sys.argv[1]]()
P
cat >"$T/host.py" <<'P'
# The host's side: runs the command, answers its first line.
import os, socket, subprocess, sys
v, what, command = sys.argv[1], sys.argv[2], sys.argv[3:]
p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
if what == "reuse":
    numbers = set(map(int, p.stdout.readline().split()))
    held = []
    for i in range(200):
        s, f = os.path.join(v, "host-s%d" % i), os.path.join(v, "host-f%d" % i)
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].bind(s)
        held[-1].listen()
        os.mkfifo(f)
        held.append(os.open(f, os.O_RDWR))
    again = sum(os.lstat(os.path.join(v, "host-%s%d" % (k, i))).st_ino in numbers for k in "sf" for i in range(200))
    print("inode numbers given out again:", again, file=sys.stderr)
    p.stdin.write("go\n")
elif what == "busy":
    l = socket.socket(socket.AF_UNIX)
    l.bind(os.path.join(v, "listener"))
    l.listen(0)
    print(p.stdout.readline(), end="")
    print(p.stdout.readline(), end="", flush=True)
    p.stdin.write("go\n")
    p.stdin.flush()
    held = []
    l.settimeout(60)
    while p.poll() is None and len(held) < 24:
        held.append(l.accept())
elif what == "abstract":
    s = socket.socket(socket.AF_UNIX)
    s.bind("\0gofer-host-" + sys.argv[-1][12:])
    s.listen()
out, _ = p.communicate(timeout=60)
print(out, end="")
sys.exit(p.returncode)
P
run() { # what, options of the volume, arguments of gofer run
	timeout 100 python3 "$T/host.py" "$T/v" "$1" "$GOFER" run -v "$T/v:/v:rw$2" "${@:3}" >"$T/out" || fail "$1: status $?: $(cat "$T/out")"
}
expect() { # what, output
	[ "$(cat "$T/out")" = "$2" ] || fail "$1: $(cat "$T/out")"
	echo "ok: $1"
}

mkfifo "$T/v/fifo"
run fifo "" -- python3 /v/program.py fifo
expect "the host's FIFO is opened under no name, the program's own under each" done
run reuse "" -- python3 /v/program.py reuse
[ "$(tail -n 1 "$T/out")" = done ] || fail "reuse: $(cat "$T/out")"
[ "$(grep -c '^connect ECONNREFUSED$' "$T/out") $(grep -cE '^open (EPERM|EACCES)$' "$T/out") $(wc -l <"$T/out")" = "200 200 401" ] ||
	fail "sockets or FIFOs of the host pass for the program's own: $(sort "$T/out" | uniq -c)"
echo "ok: with inode numbers that were its own, the host's sockets and FIFOs stay the host's"
rm -f "$T"/v/host-*
run abstract "" --net host -- python3 /v/program.py abstract "@gofer-host-$$"
expect "abstract names of a network that is not the sandbox's own" $'connect ECONNREFUSED\nbind EACCES\nautobind EACCES\ndone'
run busy ,special=allow -- python3 /v/program.py busy
expect "a listener of the host that lets its callers wait keeps nobody else waiting" \
	$'a caller with little patience EAGAIN\nothers are served\nconnected 24'
