"""A terminal, a shell at it, and `gofer run` in that shell: keys, job control, who has the terminal afterwards.

run_terminal.py GOFER
"""
import os
import re
import sys

from terminal import Terminal


class Bash(Terminal):
    """An interactive bash whose prompt is OUT>."""

    def __init__(self):
        super().__init__(["bash", "--norc", "--noediting", "-i"], {"PS1": "OUT> "}, b"OUT> ", 30)

    def say(self, line, pattern):
        # The terminal echoes the line; what is waited for comes behind it.
        os.write(self.fd, line + b"\n")
        self.wait(re.escape(line) + rb"\r\n")
        return self.wait(pattern)

    def fg(self):
        """Whoever reads inside is not a child of the shell, which may prompt before that one has stopped; then it takes the line, and
        says it when it is brought back. So it is without any gofer, too."""
        for again in range(3):
            os.write(self.fd, b"fg\n")
            self.wait(b"fg\r\n")
            if self.look(b"cat\r\n", 10) is not None:
                break
        else:
            sys.exit(f"the shell does not bring it back: {self.all[-2000:]!r}")
        for _ in range(again):
            self.wait(b"fg\r\n")

    def status(self, expected):
        self.say(b"echo status=$?.", b"status=%d\\.\r\n" % expected)
        self.wait(b"OUT> ")

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def main():
    t = Bash()
    run = os.fsencode(sys.argv[1]) + b" run --env PS1='IN> ' -- "

    # A shell inside has jobs of its own, and the terminal is ours again when it ends.
    for shell in (b"/bin/bash --norc --noediting -i", b"/bin/dash -i"):
        t.say(run + shell, b"IN> ")
        t.say(b"cat", b"")
        t.key(b"x\n", b"x\r\nx\r\n")
        t.key(b"\x1a", b"IN> ")
        t.say(b"jobs", b"(Stopped|Suspended) +cat\r\n")
        t.wait(b"IN> ")
        t.say(b"fg", b"cat\r\n")
        t.key(b"y\n", b"y\r\ny\r\n")
        t.key(b"\x03", b"IN> ")
        t.say(b"exit 3", b"OUT> ")
        t.status(3)
        t.say(b"cat", b"")
        t.key(b"z\n", b"z\r\nz\r\n")
        t.key(b"\x04", b"OUT> ")

    # The program is a job of the shell outside: stopped, continued, interrupted.
    t.say(run + b"cat", b"")
    t.key(b"a\n", b"a\r\na\r\n")
    t.key(b"\x1a", rb"Stopped[^\r]*\r\nOUT> ")
    t.say(b"fg", b"cat\r\n")
    t.key(b"b\n", b"b\r\nb\r\n")
    t.key(b"\x03", b"OUT> ")
    t.status(130)

    # In a pipeline, the keys reach all of it.
    t.say(run + b"cat | cat", b"")
    t.key(b"c\n", b"c\r\nc\r\n")
    t.key(b"\x1a", b"Stopped")
    t.wait(b"OUT> ")
    t.fg()
    t.key(b"d\n", b"d\r\nd\r\n")
    t.key(b"\x03", b"OUT> ")
    t.status(130)

    # The name of the terminal, and its size.
    t.say(b"stty rows 33 cols 77; " + run + b"sh -c 'tty; stty size'", b"/dev/console\r\n33 77\r\n")
    t.wait(b"OUT> ")
    t.close()


main()
