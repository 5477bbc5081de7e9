"""gofer shell at a terminal: editing, completion, history, keys.

shell_terminal.py GOFER DIRECTORY      the volume v of $GOFER_SERVER is DIRECTORY
"""
import os
import re
import signal
import stat
import sys

from terminal import Terminal


class Shell(Terminal):
    """A gofer shell."""

    def __init__(self, *args):
        super().__init__([sys.argv[1], "shell", *args], {"TERM": "xterm", "LC_ALL": "C.UTF-8"}, b"v:/> ", 60)

    say = Terminal.key

    def end(self, keys, expected):
        os.write(self.fd, keys)
        last = b""
        while True:  # what it prints last, so that it is not held up
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                break
            last += data
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        if os.waitstatus_to_exitcode(status) != expected:
            sys.exit(f"status {os.waitstatus_to_exitcode(status)} instead of {expected}: {last[-2000:].decode(errors='replace')}")


def main():
    top = os.fsencode(sys.argv[2])
    state = os.path.join(os.environ["XDG_STATE_HOME"], "gofer", "history")
    files = {b"plain": b"1", b"my file": b"2", b"esc\x1b[31m\n": b"3", b"bad\xff": b"4", b"-rf": b"5", b"it's": b"6",
             b"with:colon": b"7", "größe".encode(): b"8", "größer".encode(): b"9", b"$(x)`y`": b"10"}
    for name, text in files.items():
        with open(os.path.join(top, name), "wb") as f:
            f.write(b"<" + text + b">\n")
    os.mkdir(os.path.join(top, b"a dir"))
    with open(os.path.join(top, b"a dir", b"inner"), "wb") as f:
        f.write(b"<inner>\n")

    s = Shell()
    # Completed to one word, whatever is in it.
    for typed, text in ((b"cat pl\t", b"<1>"), (b"cat my\t", b"<2>"), (b"cat es\t", b"<3>"), (b"cat bad\t", b"<4>"), (b"cat ./-\t", b"<5>"),
                        (b"cat it\t", b"<6>"), (b"cat with\t", b"<7>"), (b"cat gr\xc3\xb6\t\t", b"<8>"), (b"cat $\t", b"<10>"),
                        (b"cat a\t\t", b"<inner>"), (b"cat 'a d\tinn\t", b"<inner>"), (b"cat v:/pl\t", b"<1>"), (b"c\x08cat my\\ f\t", b"<2>"),
                        (b"cd a\t\x15cat /pl\t", b"<1>")):
        s.say(typed + b"\n", re.escape(text) + b"\r\n")
        s.wait(b"v:/> ")
    # Verbs, options, volumes.
    s.say(b"trunc\t--si\t3 a\tnew; stat -c SIZE=%s 'a dir/new'\n", b"\nSIZE=3\r\n")
    s.wait(b"v:/> ")
    s.say(b"help lpw\t\n", b"Prints the local directory")
    s.wait(b"v:/> ")
    # Lists: escaped, and what could be an option is none.
    seen = s.say(b"cat \t", rb"with:colon")
    seen += s.say(b"\x15\n", rb"(?s)v:/> .*?\nv:/> ")
    if b"./-rf" not in seen or rb"esc\x1b[31m\x0a" not in seen or rb"bad\xff" not in seen:
        sys.exit(f"a list of names: {seen!r}")
    if b"\x1b[31m" in s.all or b"\xff" in s.all:
        sys.exit("bytes of a name reached the terminal as they are")

    # Ctrl-C: a line is given up; a verb ends and the session goes on.
    s.say(b"nonsense", b"nonsense")
    s.say(b"\x03", b"v:/> ")
    s.say(b"cd 'a dir'\n", b"v:/a dir> ")
    s.say(b"ping -c 100000000\n", b"\r\n")
    s.say(b"\x03", b"v:/a dir> ")
    s.say(b"find /\n", b"v:/plain\r\n")
    s.wait(b"v:/a dir> ")
    s.say(b"pwd\n", b"\nv:/a dir\r\n")
    s.wait(b"v:/a dir> ")
    # A line that goes on.
    s.say(b"cat 'inn\n", b"\n> ")
    s.say(b"er' ; cat in\\\n", b"\n> ")
    s.say(b"ner\n", b"<inner>\r\n")
    s.wait(b"v:/a dir> ")
    s.say(b"cat /none\n", b"No such file or directory\r\n")
    s.wait(b"v:/a dir> ")
    s.end(b"\x04", 1)

    if stat.S_IMODE(os.stat(state).st_mode) != 0o600 or stat.S_IMODE(os.stat(os.path.dirname(state)).st_mode) != 0o700:
        sys.exit("others can read the history")
    # Keys of history, in the next shell.
    s = Shell()
    s.say(b"\x10\n", b"/none: No such file or directory\r\n")
    s.wait(b"v:/> ")
    s.say(b"\x12ping\x1b\x15pwd\n", b"\nv:/\r\n")
    s.wait(b"v:/> ")
    s.say(b"exit 5\n", b"exit 5")
    s.end(b"", 5)

    s = Shell()
    os.kill(s.pid, signal.SIGTERM)
    s.end(b"", 128 + signal.SIGTERM)


main()
