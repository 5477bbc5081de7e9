#!/usr/bin/python3
"""A gofer client in another language, written from proto/PROTOCOL.md and gofer.proto alone.

    client.py SERVER NAME GEN_DIR     SERVER: path of the Unix socket; NAME: a filesystem made by test_python_client.sh;
                                      GEN_DIR: where protoc put gofer_pb2.py

Standard library and python3-protobuf only. It asserts what the document promises, section by section.
"""
import errno
import os
import socket
import stat
import struct
import sys
import time

SERVER, NAME, GEN = sys.argv[1:4]
sys.path.insert(0, GEN)
import gofer_pb2 as pb  # noqa: E402

HEADER = struct.Struct("<IIIHBB")
OK, ERROR, STOP, NO_REPLY, REPLY = 0, 1, 2, 4, 8
TYPES = {"Hello": 1, "Cancel": 3, "Ping": 4, "Stats": 5, "Stat": 16, "Access": 17, "Open": 18, "ReadFile": 19, "WriteFile": 20,
         "ReadDir": 21, "ReadLink": 22, "Mkdir": 23, "Symlink": 25, "Unlink": 27, "Rename": 28, "SetAttr": 29, "Read": 64, "Write": 65,
         "Close": 70}
REPLIES = {"Hello": pb.HelloReply, "Stats": pb.StatsReply, "Stat": pb.StatReply, "Access": pb.AccessReply, "Open": pb.OpenReply,
           "ReadFile": pb.ReadFileReply, "WriteFile": pb.ObjectReply, "ReadDir": pb.ReadDirReply, "ReadLink": pb.ReadLinkReply,
           "Mkdir": pb.ObjectReply, "Symlink": pb.ObjectReply, "Unlink": pb.ObjectReply, "Rename": pb.RenameReply,
           "SetAttr": pb.ObjectReply, "Read": pb.ReadReply, "Write": pb.WriteReply}
NAMES = {number: name for name, number in TYPES.items()}


class Failed(Exception):
    """A reply of kind ERROR."""

    def __init__(self, number):
        super().__init__(errno.errorcode.get(number, str(number)))
        self.number = number


class Stopped(Exception):
    """A reply of kind STOP."""

    def __init__(self, stop):
        super().__init__(str(stop))
        self.stop = stop


class Session:
    """One connection. Frames are encoded and decoded by hand; call() is one RPC."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.tag = 0
        self.max_packet = 16 + 65536 + 131072

    def frame(self, name, body, data=b"", flags=0):
        self.tag += 1
        packed = body.SerializeToString()
        return self.tag, HEADER.pack(len(packed), len(data), self.tag, TYPES[name], 0, flags) + packed + data

    def receive(self):
        """One packet: a list of (tag, name, kind, body, data), and the descriptor that came with it or None."""
        packet, fds, flags, _ = socket.recv_fds(self.sock, self.max_packet, 4)
        assert packet, "the server ended the session"
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        frames, at, announced = [], 0, 0
        while at < len(packet):
            body_len, data_len, tag, number, n_fds, flags = HEADER.unpack_from(packet, at)
            at += 16
            assert flags & REPLY and not flags & ~(REPLY | 3), flags
            assert at + body_len + data_len <= len(packet)
            announced += n_fds
            frames.append((tag, NAMES[number], flags & 3, packet[at:at + body_len], packet[at + body_len:at + body_len + data_len]))
            at += body_len + data_len
        assert announced == len(fds) <= 1, (announced, fds)
        return frames, fds[0] if fds else None

    @staticmethod
    def decode(name, kind, body):
        if kind == ERROR:
            raise Failed(pb.Error.FromString(body).error)
        if kind == STOP:
            raise Stopped(pb.Stop.FromString(body))
        return REPLIES.get(name, pb.EmptyReply).FromString(body)

    def call(self, name, body, data=b""):
        """(reply message, payload, descriptor or None)"""
        tag, frame = self.frame(name, body, data)
        self.sock.send(frame)
        frames, fd = self.receive()
        assert len(frames) == 1 and frames[0][:2] == (tag, name), frames
        return self.decode(name, *frames[0][2:4]), frames[0][4], fd


def fails(number, function, *args):
    try:
        function(*args)
    except Failed as e:
        assert e.number == number, f"{e} instead of {errno.errorcode[number]}"
        return
    raise AssertionError(f"no error instead of {errno.errorcode[number]}")


def stops(session, name, body):
    try:
        session.call(name, body)
    except Stopped as e:
        return e.stop
    raise AssertionError(f"{name} {body} did not stop")


def section(title):
    print(f"ok: {title}")


def main():
    s = Session(SERVER)

    fails(errno.EPROTO, s.call, "Ping", pb.PingRequest())
    hello, _, _ = s.call("Hello", pb.HelloRequest(version=1, client="client.py", features=["nothing-known"]))
    assert hello.version == 1 and not hello.features
    assert hello.limits.max_data > 0 and hello.limits.max_frame <= s.max_packet
    fs = next(f for f in hello.filesystems if f.name == NAME.encode())
    assert stat.S_ISDIR(fs.root.mode) and fs.may_donate and not fs.read_only
    fails(errno.EPROTO, s.call, "Hello", pb.HelloRequest(version=1))
    section(f"Hello: {hello.server}, {len(hello.filesystems)} filesystem(s)")

    def path(text, **more):
        return pb.Path(fs_id=fs.fs_id, path=text if isinstance(text, bytes) else text.encode(), **more)

    # The example of "Frames", byte by byte: Stat of "src" in filesystem 1 with tag 7.
    s.tag = 6
    _, example = s.frame("Stat", pb.StatRequest(path=pb.Path(fs_id=1, path=b"src")))
    assert example.hex() == "0900000000000000" "0700000010000000" "0a07" "0801" "1a03737263", example.hex()
    section("the example frame of the document")

    reply, data, fd = s.call("Stat", pb.StatRequest(path=path("dir/file")))
    assert stat.S_ISREG(reply.attr.mode) and reply.attr.size == 12 and not data and fd is None
    deep, _, _ = s.call("Stat", pb.StatRequest(path=path("/dir//./sub/../file")))
    assert (deep.attr.ino, deep.attr.dev) == (reply.attr.ino, reply.attr.dev)
    section("Stat")

    for text, number in (("missing", errno.ENOENT), ("missing/..", errno.ENOENT), ("dir/file/..", errno.ENOTDIR), ("dir/file/", errno.ENOTDIR),
                         (b"a\0b", errno.EINVAL), ("x" * 256, errno.ENAMETOOLONG), ("x/" * 2048, errno.ENAMETOOLONG)):
        fails(number, s.call, "Stat", pb.StatRequest(path=path(text)))
    fails(errno.ENODEV, s.call, "Stat", pb.StatRequest(path=pb.Path(fs_id=4711)))
    fails(errno.EBADF, s.call, "Stat", pb.StatRequest(path=path("", base_handle=12345)))
    fails(errno.EINVAL, s.call, "Stat", pb.StatRequest())
    section("errors")

    opened, _, fd = s.call("Open", pb.OpenRequest(path=path("dir/file"), flags=pb.OPEN_READ | pb.OPEN_DONATE))
    assert opened.donated and fd is not None and opened.handle
    assert stat.S_ISREG(os.fstat(fd).st_mode) and os.fstat(fd).st_ino == opened.attr.ino
    assert os.read(fd, 100) == b"hello world\n"
    try:
        os.write(fd, b"x")
        raise AssertionError("a descriptor for reading can write")
    except OSError as e:
        assert e.errno == errno.EBADF
    os.close(fd)
    reply, data, fd = s.call("Read", pb.ReadRequest(handle=opened.handle, offset=6, count=100))
    assert data == b"world\n" and reply.eof and fd is None
    fails(errno.EBADF, s.call, "Write", pb.WriteRequest(handle=opened.handle), b"x")
    reply, _, _ = s.call("Stat", pb.StatRequest(path=path("", base_handle=opened.handle)))
    assert reply.attr.size == 12
    s.call("Close", pb.CloseRequest(handles=[opened.handle]))
    fails(errno.EBADF, s.call, "Read", pb.ReadRequest(handle=opened.handle, count=1))
    only, _, fd = s.call("Open", pb.OpenRequest(path=path("dir/file"), flags=pb.OPEN_READ | pb.OPEN_DONATE | pb.OPEN_ONLY_DONATED))
    assert only.donated and only.handle == 0
    os.close(fd)
    section("Open with a donated descriptor, Read, Close")

    names, cookie, rounds = {}, 0, 0
    while True:
        listing, _, _ = s.call("ReadDir", pb.ReadDirRequest(path=path("many"), cookie=cookie, attrs=True, targets=True, max_bytes=4096))
        for entry in listing.entries:
            assert entry.name not in names and b"/" not in entry.name
            names[entry.name] = entry
            cookie = entry.cookie
        rounds += 1
        if listing.end:
            break
    assert len(names) == 201 and rounds > 1, (len(names), rounds)
    assert names[b"to-file"].target == b"../dir/file" and stat.S_ISLNK(names[b"to-file"].attr.mode)
    assert names["n\n7".encode()].attr.size == 0
    section(f"ReadDir: {len(names)} entries in {rounds} frames")

    kept, _, _ = s.call("ReadDir", pb.ReadDirRequest(path=path("many"), keep=True, max_bytes=1024))
    assert kept.handle and not kept.end
    rest, _, _ = s.call("ReadDir", pb.ReadDirRequest(path=path("", base_handle=kept.handle), cookie=kept.entries[-1].cookie))
    assert {e.name for e in kept.entries} | {e.name for e in rest.entries} == set(names) and rest.end
    s.call("Close", pb.CloseRequest(handles=[kept.handle]))
    section("ReadDir goes on by a kept handle")

    # The three examples of "Stop".
    stop = stops(s, "Stat", pb.StatRequest(path=path("a/link/b")))
    assert (stop.reason, stop.which, stop.begin, stop.end, stop.target) == (pb.Stop.SYMLINK, 0, 2, 6, b"../c"), stop
    assert stat.S_ISLNK(stop.attr.mode)
    stop = stops(s, "Stat", pb.StatRequest(path=path("x/../../y")))
    assert (stop.reason, stop.begin, stop.end) == (pb.Stop.ABOVE_ROOT, 5, 7), stop
    stop = stops(s, "Stat", pb.StatRequest(path=path("a/link/b", follow=8)))
    assert [(f.begin, f.end, f.target) for f in stop.followed] == [(2, 6, b"../c")], stop
    assert (stop.reason, stop.begin, stop.end, stop.target) == (pb.Stop.SYMLINK, 7, 8, b"/etc/passwd"), stop
    reply, _, _ = s.call("Stat", pb.StatRequest(path=path("a/link/b", follow=1, nofollow=True)))
    assert stat.S_ISLNK(reply.attr.mode) and len(reply.followed) == 1
    reply, _, _ = s.call("ReadLink", pb.ReadLinkRequest(path=path("a/link")))
    assert reply.target == b"../c"
    stop = stops(s, "Rename", pb.RenameRequest(source=path("dir/file"), dest=path("a/link/new")))
    assert (stop.which, stop.reason, stop.begin, stop.end) == (1, pb.Stop.SYMLINK, 2, 6), stop
    section("Stop at symbolic links and above the root")

    for target in ("../../etc/passwd", "dir/../../../etc/passwd"):
        assert stops(s, "Open", pb.OpenRequest(path=path(target), flags=pb.OPEN_READ)).reason == pb.Stop.ABOVE_ROOT
    stop = stops(s, "Open", pb.OpenRequest(path=path("c/b"), flags=pb.OPEN_WRITE | pb.OPEN_TRUNCATE))
    assert stop.target == b"/etc/passwd"
    fails(errno.EINVAL, s.call, "Open", pb.OpenRequest(path=path("c/b", follow=1), flags=pb.OPEN_WRITE | pb.OPEN_CREATE))
    section("no way out")

    content = os.urandom(5000)
    reply, _, _ = s.call("WriteFile", pb.WriteFileRequest(path=path("new"), mode=0o666, umask=0o027, atomic=True), content)
    assert stat.S_IMODE(reply.attr.mode) == 0o640 and reply.attr.size == 5000
    reply, data, _ = s.call("ReadFile", pb.ReadFileRequest(path=path("new"), count=hello.limits.inline_limit))
    assert data == content and reply.eof
    fails(errno.EEXIST, s.call, "WriteFile", pb.WriteFileRequest(path=path("new"), mode=0o600, exclusive=True), b"")
    created, _, _ = s.call("Open", pb.OpenRequest(path=path("log"), flags=pb.OPEN_WRITE | pb.OPEN_CREATE | pb.OPEN_APPEND, mode=0o600))
    for word, offset in ((b"one ", 0), (b"two", 4)):
        written, _, _ = s.call("Write", pb.WriteRequest(handle=created.handle, offset=999), word)
        assert (written.count, written.offset) == (len(word), offset)
    s.call("Rename", pb.RenameRequest(source=path("log"), dest=path("dir/log"), flags=pb.RENAME_NO_REPLACE))
    s.call("SetAttr", pb.SetAttrRequest(path=path("dir/log"), mask=pb.SET_SIZE | pb.SET_MODE, size=3, mode=0o400))
    reply, data, _ = s.call("ReadFile", pb.ReadFileRequest(path=path("dir/log"), count=10))
    assert data == b"one" and stat.S_IMODE(reply.attr.mode) == 0o400
    unlinked, _, _ = s.call("Unlink", pb.UnlinkRequest(path=path("dir/log")))
    assert unlinked.HasField("parent") and not unlinked.HasField("attr")
    section("WriteFile, ReadFile, Write with APPEND, Rename, SetAttr, Unlink")

    # Two requests in one packet, and a Close in front that wants no reply.
    closing, frame0 = s.frame("Close", pb.CloseRequest(handles=[created.handle]), flags=NO_REPLY)
    ping, frame1 = s.frame("Ping", pb.PingRequest())
    look, frame2 = s.frame("Stat", pb.StatRequest(path=path("new")))
    s.sock.send(frame0 + frame1 + frame2)
    answers = {}
    while len(answers) < 2:
        for tag, name, kind, body, _ in s.receive()[0]:
            answers[tag] = s.decode(name, kind, body)
    assert closing not in answers and answers[look].attr.size == 5000 and ping in answers
    fails(errno.EBADF, s.call, "Read", pb.ReadRequest(handle=created.handle, count=1))
    section("a batch in one packet")

    fails(errno.ENOENT, s.call, "Cancel", pb.CancelRequest(tag=123456))
    s.sock.send(HEADER.pack(0, 0, 99, 12345, 0, 0))
    frames, _ = s_receive_raw(s)
    assert frames == [(99, 12345, ERROR, errno.EOPNOTSUPP)], frames
    s.sock.send(HEADER.pack(2, 0, 98, TYPES["Stat"], 0, 0) + b"\xff\xff")
    assert s_receive_raw(s)[0] == [(98, TYPES["Stat"], ERROR, errno.EBADMSG)]
    for flags in (1, 2, REPLY, 16, 128):
        s.sock.send(HEADER.pack(0, 0, 97, TYPES["Ping"], 0, flags))
        assert s_receive_raw(s)[0] == [(97, TYPES["Ping"], ERROR, errno.EINVAL)]
    s.sock.send(HEADER.pack(0, 0, 96, TYPES["Ping"], 0, NO_REPLY))
    s.call("Ping", pb.PingRequest())  # and its answer is the next that comes
    section("unknown types, bad bodies and flags are errors of their request")

    stats, _, _ = s.call("Stats", pb.StatsRequest())
    counts = {c.type: c.calls for c in stats.rpcs}
    assert counts[TYPES["Hello"]] == 2 and stats.handles == 0 and stats.donated == 2, (counts, stats.handles, stats.donated)
    section("Stats")

    for broken in (b"short", HEADER.pack(65537, 0, 1, TYPES["Ping"], 0, 0), HEADER.pack(0, 0, 0xffffffff, TYPES["Ping"], 0, 0),
                   HEADER.pack(10, 0, 1, TYPES["Ping"], 0, 0), HEADER.pack(0, 0, 1, TYPES["Ping"], 1, 0)):
        other = Session(SERVER)
        other.call("Hello", pb.HelloRequest(version=1))
        other.sock.send(broken)
        try:
            assert other.sock.recv(100) == b"", f"a reply to {broken}"
        except ConnectionResetError:
            pass
    s.call("Ping", pb.PingRequest())
    section("broken framing ends its session and no other")

    start = time.monotonic()
    for _ in range(1000):
        s.call("Ping", pb.PingRequest())
    section(f"1000 pings, {(time.monotonic() - start) * 1000:.0f} us each")


def s_receive_raw(s):
    """As Session.receive(), for types that no table knows: (tag, type, kind, errno)."""
    packet, fds, _, _ = socket.recv_fds(s.sock, s.max_packet, 4)
    body_len, _, tag, number, _, flags = HEADER.unpack_from(packet)
    return [(tag, number, flags & 3, pb.Error.FromString(packet[16:16 + body_len]).error)], fds


if __name__ == "__main__":
    main()
