"""streams.py GOFER DIR - servers and clients on sockets that this program makes. Run by test_streams.sh."""
import array
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import termios

GOFER, DIR = sys.argv[1:3]
SQUASH = f"identity=squash={os.getuid()}:{os.getgid()}"


def check(condition, what):
    if not condition:
        sys.exit(f"FAIL: {what}")
    print(f"ok: {what}")


def serve(args, **kwargs):
    return subprocess.Popen([GOFER, "serve", "-q", "-v", f"{DIR}/v:v:{SQUASH}", *args], **kwargs)


def cat(sock):
    client = subprocess.run([GOFER, "cat", "--server", f"fd:{sock.fileno()}", "v:/file"], pass_fds=[sock.fileno()],
                            stdout=subprocess.PIPE, timeout=60, check=False)
    sock.close()
    return client.stdout


def passed():
    for kind, word in ((socket.SOCK_STREAM, "stream"), (socket.SOCK_SEQPACKET, "packets")):
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        server = serve(["--listen", f"fd:{theirs.fileno()}"], pass_fds=[theirs.fileno()])
        theirs.close()
        check(cat(ours) == b"content\n", f"a passed socket: {word}")
        check(server.wait(60) == 0, "its server ends with its client")
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        server = serve(["--stdio"], stdin=theirs, stdout=theirs)
        theirs.close()
        check(cat(ours) == b"content\n", f"standard input and output are one socket: {word}")
        check(server.wait(60) == 0, "its server ends with its client")


def stopped():
    """A server on two pipes ends when it is told to, and with it what joins the pipes."""
    server = serve(["--stdio", "--ready-fd", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(server.stderr.read(1) == b"\n", "ready on two pipes")
    server.terminate()
    check(server.wait(60) == 0 and server.stdout.read() == b"", "SIGTERM ends it, and its output")


def frame(kind, tag, body):
    return struct.pack("<IIIHBB", len(body), 0, tag, kind, 0, 0) + body


def unread():
    """S77: a client that reads nothing and goes on sending when its session has ended holds nobody, and no CPU."""
    with open(f"{DIR}/v/unread", "wb") as out:
        out.write(bytes(100000))
    # As Python has them: with SIGPIPE ignored.
    server = serve(["--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, restore_signals=False)
    path = b"\x1a\x06unread"  # Path.path
    read = bytes([10, len(path)]) + path + b"\x18\x80\xa0\x06"  # count 102400
    server.stdin.write(frame(1, 1, b"\x08\x01"))
    server.stdin.flush()
    server.stdout.read(struct.unpack("<II", server.stdout.read(16)[:8])[0])
    server.stdin.write(b"".join(frame(19, tag, read) for tag in range(2, 34)))
    server.stdin.flush()
    waiting = array.array("i", [0])
    while waiting[0] < 60000:
        select.select([server.stdout], [], [])
        fcntl.ioctl(server.stdout, termios.FIONREAD, waiting)
    try:
        server.stdin.write(b"\xff" * (1 << 20))
        server.stdin.flush()
    except BrokenPipeError:
        pass
    try:
        server.wait(90)
    except subprocess.TimeoutExpired:
        server.kill()
        check(False, "a client that does not read kept the server")
    replies = server.stdout.read()
    check(b"\x00" * 4096 in replies, "it was answered as far as its pipe went")
    os.unlink(f"{DIR}/v/unread")


def vsock():
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as s:
            s.bind((1, socket.VMADDR_PORT_ANY if hasattr(socket, "VMADDR_PORT_ANY") else 0xffffffff))
            port = s.getsockname()[1]
    except OSError as e:
        print(f"vsock is not tested: {e} (no loopback in this kernel)")
        return
    run = subprocess.run([GOFER, "serve", "-q", "-v", f"{DIR}/v:v:{SQUASH}", "--listen", f"vsock:local:{port}", "--",
                          GOFER, "cat", "v:/file"], stdout=subprocess.PIPE, timeout=60, check=False)
    check(run.stdout == b"content\n", "vsock")


passed()
stopped()
unread()
vsock()
