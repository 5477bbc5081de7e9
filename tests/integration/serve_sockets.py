"""Sockets that others hand to `gofer serve`, readiness, limits and draining. Run by test_serve_sockets.sh.

    serve_sockets.py GOFER DIRECTORY
"""
import os
import signal
import socket
import subprocess
import sys
import time

GOFER, DIRECTORY = sys.argv[1:3]
PATH = os.path.join(DIRECTORY, "s")
VOLUME = DIRECTORY + ":v:ro"
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "NOTIFY_"))}


def connect(name=PATH):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(name)  # waits where the backlog is full
    sock.settimeout(10)
    return sock


def serve(*args, **kwargs):
    return subprocess.Popen([GOFER, "serve", "--quiet", "-v", VOLUME, *args], env=kwargs.pop("env", ENV), **kwargs)


def serve_ready(*args, **kwargs):
    r, w = os.pipe()
    p = serve("--ready-fd", str(w), *args, pass_fds=(w, *kwargs.pop("pass_fds", ())), **kwargs)
    os.close(w)
    assert os.read(r, 8) == b"\n", "not ready"
    assert os.read(r, 8) == b"", "the ready descriptor stays open"
    os.close(r)
    return p


def stop(p, status=0):
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == status, p.returncode


def refused(sock):
    """The server has closed it."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def sessions_end_in_time():
    p = serve_ready("--listen", "unix:" + PATH)
    idle = [connect() for _ in range(3)]
    start = time.monotonic()
    stop(p)
    assert time.monotonic() - start < 4, "draining idle sessions took its whole deadline"
    assert all(refused(s) for s in idle)


def abstract_socket():
    name = "@gofer-test-%d" % os.getpid()
    p = serve_ready("--listen", "unix:" + name)
    assert subprocess.run([GOFER, "ls", "v:/"], env={**ENV, "GOFER_SERVER": "unix:" + name}, timeout=20,
                          stdout=subprocess.DEVNULL).returncode == 0
    stop(p)


def one_connected_client():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    p = serve_ready("--listen", "fd:%d" % theirs.fileno(), pass_fds=(theirs.fileno(),))
    theirs.close()
    ours.close()
    assert p.wait(20) == 0, "the server stayed when its only client had left"


def passed_by_a_service_manager():
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(PATH)
    listening.listen()
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(PATH + ".notify")
    notify.settimeout(20)
    script = 'exec 3<&%d; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@"' % listening.fileno()
    p = subprocess.Popen(["bash", "-c", script, GOFER, "serve", "--quiet", "-v", VOLUME], pass_fds=(listening.fileno(),),
                         env={**ENV, "NOTIFY_SOCKET": PATH + ".notify"})
    assert notify.recv(256) == b"READY=1"
    listening.close()
    assert subprocess.run([GOFER, "ls", "v:/"], env={**ENV, "GOFER_SERVER": "unix:" + PATH}, timeout=20,
                          stdout=subprocess.DEVNULL).returncode == 0
    p.send_signal(signal.SIGHUP)
    assert notify.recv(256).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert notify.recv(256) == b"READY=1"
    p.send_signal(signal.SIGTERM)
    assert notify.recv(256) == b"STOPPING=1"
    assert p.wait(20) == 0
    os.unlink(PATH)  # not the server's to remove
    os.unlink(PATH + ".notify")


def limits_of_sessions():
    """S77: sessions of the server and of one user are counted, and refused beyond their limits."""
    for option in "--max-sessions", "--max-sessions-per-uid":
        p = serve_ready("--listen", "unix:" + PATH, option, "2")
        held = [connect(), connect()]
        third = connect()
        assert refused(third), "a third session of two"
        held[0].close()
        # Its worker is reaped at some moment soon: connecting again is the event to wait for.
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            again = connect()
            again.settimeout(0.1)
            try:
                again.recv(1)
            except socket.timeout:
                break
            except ConnectionResetError:
                pass
        else:
            raise AssertionError("the place of a session that left is not free again")
        stop(p)


def churn():
    """S81: many connections that say nothing leave nothing behind."""
    p = serve_ready("--listen", "unix:" + PATH)
    for _ in range(300):
        connect().close()
    # Refused while their workers still end: then at some moment not any more.
    deadline = time.monotonic() + 20
    while subprocess.run([GOFER, "ls", "v:/"], env={**ENV, "GOFER_SERVER": "unix:" + PATH}, timeout=20, capture_output=True).returncode:
        assert time.monotonic() < deadline, "the sessions that left still count"
    stop(p)


for test in (sessions_end_in_time, abstract_socket, one_connected_client, passed_by_a_service_manager, limits_of_sessions,
             churn):
    test()
    print("ok", test.__name__, flush=True)
