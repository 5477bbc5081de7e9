#!/usr/bin/env python3
"""What a terminal means to a program, natively or under gofer run: prints what happened.

    terminal.py COMMAND...      in front of the programs that are started; nothing = natively

Everything is waited for by what appears on the terminal, never by time alone.
"""
import fcntl, os, pty, re, select, signal, struct, sys, termios, time

prefix = sys.argv[1:]


class Session:
    def __init__(self, *command):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp((prefix + list(command))[0], prefix + list(command))

    def expect(self, pattern, seconds=20):
        end = time.monotonic() + seconds
        while True:
            m = re.search(pattern, self.seen)
            if m:
                self.seen = self.seen[m.end():]
                return m
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                print("did not appear:", pattern, "; instead:", self.seen[-300:])
                os.kill(self.pid, signal.SIGKILL)
                sys.exit(1)
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                print("ended before:", pattern, "; instead:", self.seen[-300:])
                sys.exit(1)
            self.seen += data

    def send(self, text):
        os.write(self.fd, text)

    def end(self):
        """Reads to the end; the exit status."""
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:
                break
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        # A shell in front of us would say the same of both.
        return 128 - status if status < 0 else status


def size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


s = Session("sh", "-c", "tty >/dev/null && echo is-a-tty; test -t 0 && test -t 1 && test -t 2 && echo all-three; : >/dev/tty && echo controlling; exit 3")
s.expect(b"is-a-tty")
s.expect(b"all-three")
s.expect(b"controlling")
print("a terminal: status", s.end())

s = Session("sh", "-c", "trap 'echo got-int; exit 4' INT; echo ready; while :; do sleep 0.1; done")
s.expect(b"ready")
s.send(b"\x03")
s.expect(b"got-int")
print("Ctrl-C, trapped: status", s.end())

s = Session("sh", "-c", "echo ready; exec sleep 100")
s.expect(b"ready")
s.send(b"\x03")
print("Ctrl-C: status", s.end())

s = Session("sh", "-c", "echo ready; exec sleep 100")
s.expect(b"ready")
s.send(b"\x1c")
print("Ctrl-\\: status", s.end())

s = Session("cat")
s.send(b"line\n")
s.expect(b"line\r\nline\r\n")
s.send(b"\x04")
print("Ctrl-D: status", s.end())

s = Session("bash", "--norc", "-i")
s.send(b"PS1='p''rompt> '; unset PROMPT_COMMAND; bind 'set enable-bracketed-paste off'\n")
s.expect(b"prompt> ")
s.send(b"sh -c 'echo st''arted; exec sleep 1000'\n")
s.expect(b"started")
s.send(b"\x1a")
s.expect(b"Stopped")
s.expect(b"prompt> ")
s.send(b"jobs; echo d''one\n")
s.expect(rb"\[1\]\+\s+Stopped\s+sh -c")
s.expect(b"done")
s.send(b"bg; kill %1; wait; echo k''illed $?\n")
s.expect(b"killed")
print("Ctrl-Z and job control work")
s.send(b"sh -c 'kill -STOP $$; echo g''oing; exec sleep 1000'\n")
s.expect(b"Stopped")
s.send(b"fg\n")
s.expect(b"going")
s.send(b"\x03")
s.expect(b"prompt> ")
s.send(b"echo status $?\n")
s.expect(b"status 130")
print("fg and Ctrl-C: 130")
s.send(b"exit 9\n")
print("an interactive shell: status", s.end())

s = Session("python3", "-c", """
import os, signal, sys
def resized(*_):
    os.write(1, b"size %d %d\\n" % os.get_terminal_size())
    os._exit(5)
signal.signal(signal.SIGWINCH, resized)
print("ready", flush=True)
while True:
    signal.pause()
""")
s.expect(b"ready")
size(s.fd, 37, 111)
s.expect(b"size 111 37")
print("the window's size arrives: status", s.end())

s = Session("sh", "-c", "stty -echo raw; printf ready; dd bs=1 count=1 2>/dev/null | od -An -tx1; stty sane; exit 6")
s.expect(b"ready")
s.send(b"\x03")
s.expect(b"03")
print("raw mode: status", s.end())

s = Session("python3", "-c", "import pty, os, sys\npid, fd = pty.fork()\nif not pid: os.execvp('tty', ['tty'])\nd = os.read(fd, 100)\nprint('inner', d.startswith(b'/dev/pts/') or d)\nos.waitpid(pid, 0)")
s.expect(b"inner True")
print("a terminal of its own: status", s.end())
