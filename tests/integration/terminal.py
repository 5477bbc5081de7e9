"""A program at a terminal of its own: what is typed, and what is waited for until it appears."""
import os
import pty
import re
import select
import sys
import time


class Terminal:
    def __init__(self, command, environment, prompt, deadline):
        self.deadline = deadline
        self.text = b""  # what nobody has waited for yet
        self.all = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment)
            os.execvp(command[0], command)
        self.wait(prompt)

    def look(self, pattern, seconds):
        """As wait(), but None where it does not come in time."""
        end = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.text)
            if match:
                seen, self.text = self.text[: match.end()], self.text[match.end():]
                return seen
            left = end - time.monotonic()
            if left < 0 or not select.select([self.fd], [], [], left)[0]:
                return None
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                sys.exit(f"the terminal was closed: {self.text[-2000:]!r}")
            self.text += data
            self.all += data

    def wait(self, pattern):
        """Everything up to the next match of the pattern; what comes after it is kept for the next wait."""
        seen = self.look(pattern, self.deadline)
        if seen is None:
            sys.exit(f"no {pattern!r} within {self.deadline} seconds after {self.text[-2000:]!r}; all of it ends in {self.all[-2000:]!r}")
        return seen

    def key(self, keys, pattern):
        os.write(self.fd, keys)
        return self.wait(pattern)
