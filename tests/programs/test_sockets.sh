#!/bin/bash
# Proves: Unix sockets work between processes inside, by path and abstract, stream, datagram and seqpacket, with descriptors passed.
# run: user
. "$(dirname "$0")/lib.sh"
cat >"$T/sockets.py" <<'PYTHON'
import array, errno, os, socket, stat, sys

def attempt(what, call):
    try:
        result = call()
        print(what, "=", result if isinstance(result, (int, str, bytes)) else "ok")
    except OSError as e:
        print(what, "=", errno.errorcode.get(e.errno, e.errno) if e.errno else e)

def child(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        finally:
            os._exit(1)
    return pid

def end(pid):
    print("status", os.waitpid(pid, 0)[1])

os.mkdir("d")
base = os.getcwd()
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    for address in ("s", "d/../d/s", base + "/absolute", "\0gofer-test-%d" % os.getpid()):
        s = socket.socket(socket.AF_UNIX, kind)
        attempt("bind", lambda: s.bind(address))
        attempt("name", lambda: str(s.getsockname()).replace(base, "BASE").replace(str(os.getpid()), "PID"))
        s.listen(5)
        def talk():
            c = socket.socket(socket.AF_UNIX, kind)
            c.connect(address)
            print("peer", str(c.getpeername()).replace(base, "BASE").replace(str(os.getppid()), "PID"))
            c.sendall(b"hello")
            f = os.open("payload", os.O_RDWR | os.O_CREAT, 0o600)
            os.write(f, b"in the file")
            socket.send_fds(c, [b"fd"], [f])
            print(c.recv(100))
        pid = child(talk)
        c, _ = s.accept()
        print(c.recv(5))
        data, fds, _, _ = socket.recv_fds(c, 10, 4)
        print(data, len(fds), os.pread(fds[0], 100, 0))
        cred = c.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        creds = array.array("i", cred)
        # Known: inside, who connected has the process id 0, because gofer connects for it.
        print("credentials", creds[0] in (pid, 0), creds[1] == os.getuid(), creds[2] == os.getgid())
        c.sendall(b"bye")
        end(pid)
        attempt("again", lambda: socket.socket(socket.AF_UNIX, kind).bind(address))
        if address[0] != "\0":
            st = os.lstat(address)
            print(stat.filemode(st.st_mode))
            attempt("open", lambda: os.open(address, os.O_RDWR))
            os.rename(address, "moved")
            def moved():
                c = socket.socket(socket.AF_UNIX, kind)
                c.connect("moved")
            pid = child(moved)
            s.accept()
            end(pid)
            s.close()
            attempt("nobody listens", lambda: socket.socket(socket.AF_UNIX, kind).connect("moved"))
            attempt("another kind", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("moved"))
            os.unlink("moved")
        s.close()
# Datagrams, with and without a connection.
r = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
r.bind("dgram")
c = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
attempt("sendto", lambda: c.sendto(b"one", "dgram"))
c.bind("client")
attempt("sendto", lambda: c.sendto(b"two", base + "/dgram"))
c.connect("dgram")
attempt("send", lambda: c.send(b"three"))
attempt("sendmsg", lambda: c.sendmsg([b"four"], [], 0, "d/../dgram"))
for _ in range(4):
    print(r.recvfrom(10))
attempt("missing", lambda: c.sendto(b"x", "missing"))
attempt("missing", lambda: c.connect("missing"))
attempt("a file", lambda: c.connect("payload"))
attempt("a directory", lambda: c.connect("d"))
attempt("bind on a file", lambda: socket.socket(socket.AF_UNIX).bind("payload"))
attempt("bind nowhere", lambda: socket.socket(socket.AF_UNIX).bind("nowhere/s"))
attempt("bind twice", lambda: c.bind("client2"))
attempt("autobind", lambda: len(socket.socket(socket.AF_UNIX).getsockname()))
os.symlink("dgram", "link"); os.symlink("nowhere", "dangling")
attempt("through a link", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("link"))
attempt("bind on a dangling link", lambda: socket.socket(socket.AF_UNIX).bind("dangling"))
attempt("107 characters", lambda: socket.socket(socket.AF_UNIX).bind("x" * 107))
attempt("108 characters", lambda: socket.socket(socket.AF_UNIX).bind("y" * 108))
os.umask(0o077)
s = socket.socket(socket.AF_UNIX); s.bind("private"); print(stat.filemode(os.lstat("private").st_mode))
os.chmod("private", 0)
attempt("not allowed", lambda: socket.socket(socket.AF_UNIX).connect("private"))
os.chdir("d")
s = socket.socket(socket.AF_UNIX); s.bind("in-d"); s.listen()
os.chdir("..")
attempt("from above", lambda: socket.socket(socket.AF_UNIX).connect("d/in-d"))
a, b = socket.socketpair()
a.send(b"pair"); print(b.recv(4))
for root, directories, files in os.walk("."):
    print(root, sorted(directories), sorted(files))
PYTHON
prepare() { cp "$T/sockets.py" .; }
works "Unix sockets" 'python3 sockets.py'
finish
