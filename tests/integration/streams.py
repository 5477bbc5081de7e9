"""streams.py GOFER DIR - servers and clients on sockets that this program makes. Run by test_streams.sh."""
import os
import socket
import subprocess
import sys

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
vsock()
