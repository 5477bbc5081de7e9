"""resume.py GOFER DIR - a client without libgofer that resumes sessions, its own and others'. Run by test_resume.sh."""
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

GOFER, DIR = sys.argv[1:3]
ROOT = os.getuid() == 0
WAIT = 60
HELLO, PING, LEAVE, STAT, OPEN, MKDIR, READ, WRITE = 1, 4, 7, 16, 18, 23, 64, 65


def check(condition, what):
    if not condition:
        sys.exit(f"FAIL: {what}")
    print(f"ok: {what}")


# ---- as much of protobuf as this takes

def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(body):
    out, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = body[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n
    while at < len(body):
        key = number()
        if key & 7 == 0:
            out[key >> 3] = number()
        else:
            n = number()
            out[key >> 3] = body[at:at + n]
            at += n
    return out


def path(text):
    return field(1, field(3, text.encode()))


# ---- a client

class Gone(Exception):
    pass


class Client:
    def __init__(self, token=b"", features=(b"resume",), hello=True, more=b""):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WAIT)
        self.sock.connect(f"{DIR}/sock")
        if hello:
            body = field(1, 1) + b"".join(field(2, f) for f in features) + (field(4, token) if token else b"")
            self.send(HELLO, 1, body, more=more)
            kind, reply = self.receive(1)
            check(kind == 0, "Hello") if kind else None
            reply = fields(reply)
            self.token, self.resumed, self.replays = reply.get(6, b""), bool(reply.get(7)), reply.get(8, 0)

    def send(self, rpc, tag, body, data=b"", more=b""):
        self.sock.sendall(struct.pack("<IIIHBB", len(body), len(data), tag, rpc, 0, 0) + body + data + more)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            try:
                got = self.sock.recv(n - len(data))
            except ConnectionResetError:
                got = b""
            if not got:
                raise Gone
            data += got
        return data

    def receive(self, tag=None):
        """Kind and body of the next reply."""
        length, data, got, _, _, flags = struct.unpack("<IIIHBB", self.exactly(16))
        body, self.data = self.exactly(length), self.exactly(data)
        if tag is not None and got != tag:
            sys.exit(f"FAIL: a reply to {got} instead of {tag}")
        self.tag = got
        return flags & 3, body

    def call(self, rpc, tag, body, data=b""):
        self.send(rpc, tag, body, data)
        return self.receive(tag)

    def open(self, name, tag):
        kind, body = self.call(OPEN, tag, path(name) + field(2, 1))
        check(kind == 0, f"opened {name}")
        return fields(body)[1]

    def reads(self, handle, tag):
        kind, _ = self.call(READ, tag, field(1, handle) + field(3, 100))
        return self.data if kind == 0 else None

    def ended(self):
        try:
            self.exactly(1)
        except Gone:
            return True
        return False

    def lose(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


# ---- servers

class Server:
    def __init__(self, *args):
        argv = [GOFER, "serve", "--listen", f"unix-stream:{DIR}/sock", "-v", f"{DIR}/v:v:rw,identity=squash={os.getuid()}:{os.getgid()}", "--ready-fd", "1",
                *args]
        if ROOT:
            argv += ["--allow-uid", "any", "--socket-mode", "666"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        check(self.process.stdout.read(1) == b"\n", f"a server {' '.join(args)}")
        self.log = b""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.base = len(self.processes())

    def read(self):
        for line in self.process.stderr:
            self.log += line

    def processes(self):
        out, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            out.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                        todo += [int(child) for child in f.read().split()]
            except OSError:
                pass
        return out

    def settles(self, n):
        """Looks until no more than n sessions are there: a process that is not our child ends without an event."""
        for _ in range(WAIT * 50):
            if len(self.processes()) <= self.base + n:
                return True
            select.select([], [], [], 0.02)
        return False

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.process.kill()
            return
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(WAIT) == 0, "the server ends")
        self.reader.join()
        check(not re.search(rb"Sanitizer|runtime error|killed by", self.log), f"and said nothing bad: {self.log.decode()[-2000:]}")


def resumed():
    with Server() as s:
        a = Client()
        check(len(a.token) == 16 and not a.resumed, "a session has a token")
        handle = a.open("file", 2)
        kind, _ = a.call(MKDIR, 3, path("made") + field(2, 0o755))
        check(kind == 0, "made")
        a.lose()
        b = Client(a.token)
        check(b.resumed and b.token == a.token, "it is resumed")
        # S120: the replies that may have been lost come again, others do not
        tags = [(b.receive(), b.tag)[1] for _ in range(b.replays)]
        check(tags == [2, 3], f"what must not be asked for twice is said once more: {tags}")
        check(b.reads(handle, 4) == b"content\n", "its handle is open")
        # S142: while the old connection is there: that ends, and nothing of it is done any more
        c = Client(b.token)
        check(c.resumed and b.ended(), "another connection takes it over, and the old one ends")
        for _ in range(c.replays):
            c.receive()
        check(c.reads(handle, 5) == b"content\n", "the handle is there as well")
        # Requests that were sent behind a Hello would be lost with the worker that read it.
        d = Client(c.token, more=struct.pack("<IIIHBB", 0, 0, 9, PING, 0, 0))
        check(not d.resumed and d.receive(9)[0] == 0, "requests behind a Hello: a new session, and they are answered")
        check(c.reads(handle, 6) == b"content\n", "and the old one goes on")
        d.call(LEAVE, 10, b"")
        d.lose()
        c.call(LEAVE, 7, b"")
        c.lose()
        check(s.settles(0), "who leaves is not kept")
        check(not Client(c.token).resumed, "nor found")
    with Server() as s:
        # Requests that came whole are executed, in part they are not.
        a = Client()
        a.send(MKDIR, 2, path("whole") + field(2, 0o755))
        a.sock.sendall(struct.pack("<IIIHBB", 50, 0, 3, MKDIR, 0, 0) + path("part"))
        a.lose()
        b = Client(a.token)
        got = [(b.receive()[0], b.tag) for _ in range(b.replays)]
        check(got == [(0, 2)] and os.path.isdir(f"{DIR}/v/whole") and not os.path.exists(f"{DIR}/v/part"), f"what came whole was done, once: {got}")
        # Ring: of many replies the last are kept, and no more.
        for i in range(600):
            b.send(MKDIR, 100 + i, path("whole") + field(2, 0o755))
            check(b.receive(100 + i)[0] == 1, "made twice") if i == 0 else b.receive(100 + i)
        b.lose()
        c = Client(a.token)
        tags = [(c.receive(), c.tag)[1] for _ in range(c.replays)]
        check(tags == list(range(444, 700)), f"the last 256 replies are kept: {tags[:1]} to {tags[-1:]}")
        os.rmdir(f"{DIR}/v/whole")
        os.rmdir(f"{DIR}/v/made")


def others():
    with Server() as s:
        # S141: guesses
        a = Client()
        for guess in (bytes(16), b"\xff" * 16, a.token[:15] + bytes([a.token[15] ^ 1]), bytes([a.token[0] ^ 128]) + a.token[1:], a.token[::-1]):
            b = Client(guess)
            check(not b.resumed and b.token not in (guess, a.token), "a token that is not known opens a new session")
            b.call(LEAVE, 2, b"")
            b.lose()
        for bad in (b"x", a.token[:15], a.token + b"x"):
            b = Client(hello=False)
            b.send(HELLO, 1, field(1, 1) + field(2, b"resume") + field(4, bad))
            check(b.receive(1)[0] == 1, f"a token of {len(bad)} bytes")
            b.lose()
        handle = a.open("file", 2)
        if ROOT:
            # S141: another user who knows the token
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.setgroups([])
                os.setgid(54321)
                os.setuid(54321)
                thief = Client(a.token)
                os.write(write, b"resumed" if thief.resumed else b"refused")
                thief.call(LEAVE, 2, b"")
                os._exit(0)
            os.waitpid(pid, 0)
            check(os.read(read, 10) == b"refused", "another user's process does not get it")
            # S141: whoever else's memory is read, the token is not there
            check(s.settles(1), "whoever was told it has gone")
            b = Client()
            b.call(PING, 2, b"")
            having = [pid for pid in s.processes() if holds(pid, a.token)]
            check(os.environ.get("VARIANT") == "asan" or len(having) == 2, f"the token is in {len(having)} processes: the monitor and its own worker")
            b.lose()
        check(a.reads(handle, 3) == b"content\n", "its own client is not disturbed")
        # Broken framing is not a lost connection.
        a.sock.sendall(b"\xff" * 64)
        check(a.ended(), "broken framing ends it")
        check(not Client(a.token).resumed, "for good")


def holds(pid, needle):
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
            for line in maps:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                begin, end = (int(m[1], 16), int(m[2], 16)) if m else (0, 0)
                if not m or end - begin > 1 << 30:
                    continue
                try:
                    mem.seek(begin)
                    if needle in mem.read(end - begin):
                        return True
                except OSError:
                    continue
    except OSError:
        pass
    return False


def limits():
    with Server("--max-lost-per-uid", "3", "--resume-timeout", "3600000") as s:
        # S142: sessions that are lost in masses
        lost = []
        for _ in range(12):
            a = Client()
            a.call(PING, 2, b"")
            a.lose()
            lost.append(a.token)
        check(s.settles(3), "of 12 lost sessions no more than 3 are kept")
        found = []
        for token in lost:
            a = Client(token)
            if a.resumed:
                found.append(token)
            a.call(LEAVE, 2, b"")
            a.lose()
        check(len(found) == 3, "those are found")
    with Server("--resume-timeout", "100") as s:
        a = Client()
        a.lose()
        check(s.settles(0), "one that nobody resumes ends by itself")
        check(not Client(a.token).resumed, "and is not found")
    with Server("--resume-timeout", "0") as s:
        a = Client()
        check(a.token == b"", "a server that keeps none says so")
        a.lose()
        check(s.settles(0), "and keeps none")
    with Server("--resume-timeout", "3600000") as s:
        a = Client(features=())
        a.lose()
        check(s.settles(0), "nor is one kept whose client did not ask")
        for _ in range(3):
            Client().lose()
    # The end of the server ended those that waited: __exit__ has seen it.


for part in (resumed, others, limits):
    print(f"== {part.__name__}")
    part()
