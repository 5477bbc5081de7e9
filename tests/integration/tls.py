"""tls.py GOFER DIR - servers with TLS, and clients that are wrong in every way. Run by test_tls.sh, which made the certificates in DIR/ca."""
import ctypes
import hashlib
import os
import queue
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading

GOFER, DIR = sys.argv[1:3]
ROOT = os.getuid() == 0
SQUASH = f"identity=squash={os.getuid()}:{os.getgid()}"
WAIT = 60
os.chdir(f"{DIR}/ca")


def die(what):
    sys.exit(f"FAIL: {what}")


def check(condition, what):
    if not condition:
        die(what)
    print(f"ok: {what}")


class Server:
    def __init__(self, *args, cert="server", ca=True, volumes=None, listen="tls:localhost:0"):
        volumes = volumes or [f"{DIR}/v:v:{SQUASH}", f"{DIR}/w:w:{SQUASH}"]
        argv = [GOFER, "serve", "--listen", listen, "--tls-cert", f"{cert}.pem", "--tls-key", f"{cert}.key", "--verbose",
                "--max-failures", "100000", *(["--tls-client-ca", "main/ca.pem"] if ca else []), *args]
        for v in volumes:
            argv += ["-v", v]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.lines, self.log = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()
        line = self.wait_for(r"serving .* on .*tls:\S*:(\d+)")
        self.port = int(line[1])
        self.address = f"tls:localhost:{self.port}"

    def read(self):
        for line in self.process.stderr:
            self.lines.put(line)
        self.lines.put(None)

    def wait_for(self, pattern):
        """The next line with that; lines before it are passed over."""
        while True:
            try:
                line = self.lines.get(timeout=WAIT)
            except queue.Empty:
                die(f"the server never said {pattern}:\n{''.join(self.log)}")
            if line is None:
                die(f"the server ended without {pattern}:\n{''.join(self.log)}")
            self.log.append(line)
            if m := re.search(pattern, line):
                return m

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(WAIT) != 0:
            die(f"the server ended with {self.process.returncode}")
        while (line := self.lines.get(timeout=WAIT)) is not None:
            self.log.append(line)
        if re.search("Sanitizer|runtime error", "".join(self.log)):
            die("".join(self.log))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def client(server, *args, who="alice", verb=("cat", "v:/file"), ca="main/ca.pem", host=None):
    argv = [GOFER, *verb, "--server", f"tls:{host}:{server.port}" if host else server.address]
    if ca:
        argv += ["--tls-ca", ca]
    if who:
        argv += ["--tls-cert", f"{who}.pem", "--tls-key", f"{who}.key"]
    return subprocess.run([*argv, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=WAIT, check=False)


def welcome(what, result, expected="content\n"):
    check(result.returncode == 0 and result.stdout == expected, f"{what}{'' if result.returncode == 0 else ': ' + result.stderr}")


def refused(what, result, words):
    check(result.returncode == 1 and not result.stdout and words in result.stderr, f"{what}: {result.stderr.strip()}")


def context(who="alice", alpn=("gofer/1",)):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.load_verify_locations("main/ca.pem")
    if who:
        c.load_cert_chain(f"{who}.pem", f"{who}.key")
    if alpn:
        c.set_alpn_protocols(list(alpn))
    return c


def dial(server, source=None):
    return socket.create_connection(("127.0.0.1", server.port), WAIT, (source, 0) if source else None)


def shake(server, ctx, **kwargs):
    return ctx.wrap_socket(dial(server), server_hostname="localhost", **kwargs)


def verdict(connection, token=b""):
    connection.sendall(struct.pack("<H", len(token)) + token)
    got = connection.recv(1)
    return got[0] if got else None


def frame(rpc, body, tag=1):
    return struct.pack("<IIIHBB", len(body), 0, tag, rpc, 0, 0) + body


HELLO = frame(1, b"\x08\x01")


def hello(connection):
    """The names of the volumes in the reply to Hello."""
    connection.sendall(HELLO)
    head = b""
    while len(head) < 16:
        head += connection.recv(16 - len(head)) or die("no reply to Hello")
    size = struct.unpack("<I", head[:4])[0]
    body = b""
    while len(body) < size:
        body += connection.recv(size - len(body)) or die("half a reply to Hello")
    return body


def ends(connection):
    """Whether the other side hangs up, however it does."""
    try:
        while connection.recv(4096):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:
        return True


# ---- certificates ----

def client_certificates():
    # S129: a client's certificate that is none, expired, not valid yet, self-signed, of another authority, for another use, revoked
    with Server("--tls-crl", "crl.pem") as s:
        welcome("a good certificate", client(s))
        welcome("another", client(s, who="bob"))
        welcome("by address", client(s, host="127.0.0.1"))
        refused("no certificate", client(s, who=None), "asks for a certificate, and there is none")
        refused("expired", client(s, who="old"), "our certificate has expired")
        refused("not valid yet", client(s, who="early"), "refuses our certificate")
        refused("self-signed", client(s, who="self"), "does not trust who signed our certificate")
        refused("of another authority", client(s, who="stranger-alice"), "does not trust who signed our certificate")
        refused("for another use", client(s, who="wrong-use"), "for another purpose")
        refused("revoked", client(s, who="revoked"), "our certificate has been revoked")
        s.wait_for("refused 127.0.0.1:[0-9]+: the client's certificate has been revoked")
        welcome("a good certificate still", client(s))


def bulk():
    """Many bytes, both ways, at once."""
    data = os.urandom(1 << 20) * 9
    for n in range(3):
        with open(f"{DIR}/large{n}", "wb") as f:
            f.write(data[n:])
    with Server() as s:
        def copy(n):
            done[n] = [client(s, verb=("put", f"{DIR}/large{n}", f"v:/large{n}")), client(s, verb=("get", f"v:/large{n}", f"{DIR}/back{n}"))]
        done = {}
        threads = [threading.Thread(target=copy, args=(n,)) for n in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for n in range(3):
            check(all(r.returncode == 0 for r in done[n]), f"put and get: {[r.stderr for r in done[n]]}")
            with open(f"{DIR}/back{n}", "rb") as f:
                check(f.read() == data[n:], "what comes back is what was sent")


def server_certificates():
    # S129: a server's certificate that is expired, self-signed, of another authority, revoked, or names another; CN is no host name
    for cert, words in (("server-old", "the server's certificate has expired"),
                        ("server-early", "the server's certificate is not valid yet"),
                        ("server-self", "the server's certificate is self-signed"),
                        ("server-stranger", "the server's certificate is signed by an authority that is not trusted here"),
                        ("server-cn", "the server's certificate is for another host name"),
                        ("server-noname", "the server's certificate is for another host name"),
                        ("server-client", "the server's certificate is for another purpose"),
                        ("server-revoked", "the server's certificate has been revoked")):
        with Server(cert=cert) as s:
            refused(cert, client(s, *(["--tls-crl", "crl.pem"] if "revoked" in cert else [])), words)
    with Server() as s:
        refused("another name", client(s, "--tls-name", "other.example"), "is for another host name")
        refused("another address", client(s, host="127.0.0.1", *["--tls-name", "127.0.0.2"]), "is for another address")
        refused("the system's authorities", client(s, ca=None), "not trusted here")
        welcome("with a list of revoked ones", client(s, "--tls-crl", "crl.pem"))
        shutil.copy("alice.key", "open.key")
        os.chmod("open.key", 0o644)
        refused("a key that others may read", client(s, "--tls-key", "open.key"), "chmod 600")
        refused("a key of another certificate", client(s, "--tls-key", "bob.key"), "does not belong to certificate")


# ---- the protocol ----

def old_and_foreign():
    # S131: TLS 1.2, plaintext, another protocol and none at all are refused, and their sockets closed
    with Server() as s:
        old = context()
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        for what, ctx in (("TLS 1.2", old), ("another protocol", context(alpn=("http/1.1",)))):
            try:
                shake(s, ctx)
                die(f"{what} was welcome")
            except ssl.SSLError as e:
                check("alert" in str(e).lower(), f"{what}: {e}")
        with shake(s, context(alpn=())) as c:
            check(ends(c), "no protocol named: the connection is closed")
        s.wait_for("does not speak gofer/1")
        for what, data in (("a request without TLS", HELLO), ("HTTP", b"GET / HTTP/1.0\r\n\r\n")):
            with dial(s) as c:
                c.sendall(data)
                check(ends(c), f"{what}: the connection is closed")
        # S136: nobody may say where he comes from: a proxy's header is no TLS, and the log has the real address
        with dial(s) as c:
            real = c.getsockname()[1]
            c.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
            check(ends(c), "a proxy's header: the connection is closed")
        s.wait_for(f"refused 127.0.0.1:{real}: ")
        check(not any("192.0.2" in line for line in s.log), "and believed by nobody")
        welcome("TLS 1.3 with gofer/1", client(s))
    listener = socket.create_server(("127.0.0.1", 0))

    class Plain:
        port = listener.getsockname()[1]
        address = f"tls:localhost:{port}"

    def answer():
        c, _ = listener.accept()
        with c:
            c.recv(100)
            c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            ends(c)
    threading.Thread(target=answer, daemon=True).start()
    refused("a server that speaks something else", client(Plain), "does not speak TLS")
    listener.close()


def resumed():
    # S132: a resumed session is the client of the certificate that it began with, at this server only; no early data
    with open("access", "w", encoding="utf-8") as f:
        f.write("[alice]\nsubject = CN=alice,O=Lab\nvolumes = v\n[bob]\nsubject = CN=bob\nvolumes = w\n")
    with Server("--tls-access", "access") as s, Server() as other:
        ctx = context()
        with shake(s, ctx) as c:
            v = verdict(c)
            check(v == 0 and not c.session_reused, f"a first connection: {v} {c.session_reused}")
            names = hello(c)
            ticket = c.session
        with shake(s, ctx, session=ticket) as c:
            check(c.session_reused and verdict(c) == 0, "a second one resumes")
            check(hello(c) == names and b"\x01v" in names and b"\x01w" not in names, "with the same volumes")
            ticket = c.session
        with shake(other, ctx, session=ticket) as c:
            check(not c.session_reused and verdict(c) == 0, "another server does not resume it")
        with shake(s, context("bob")) as c:
            verdict(c)
            body = hello(c)
            check(b"\x01w" in body and b"\x01v" not in body, "another client has other volumes")
        with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}", "-alpn", "gofer/1", "-cert", "alice.pem", "-key",
                               "alice.key", "-CAfile", "main/ca.pem"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as p:
            p.stdin.write(b"\0\0")
            p.stdin.flush()
            out = b""
            while b"Max Early Data" not in out.rsplit(b"\n", 1)[0]:
                out += os.read(p.stdout.fileno(), 4096) or die(f"s_client ended: {out}")
            p.kill()
        check(re.search(rb"Max Early Data: 0\n", out), "tickets allow no early data")
        # After a reload the old tickets, and what they stood for, are gone.
        with open("access", "w", encoding="utf-8") as f:
            f.write("[bob]\nsubject = CN=bob\nvolumes = w\n")
        with shake(s, ctx) as held:
            check(verdict(held) == 0 and hello(held) == names, "a session before the reload")
            s.process.send_signal(signal.SIGHUP)
            s.wait_for("serving .* on ")
            with shake(s, ctx, session=ticket) as c:
                check(not c.session_reused and verdict(c) == 3, "after the reload: neither resumed nor let in")
            held.sendall(frame(4, b"", 9))
            check(len(held.recv(16)) > 0, "the session from before goes on")


def cut():
    # S133: an end without close_notify inside a message is an error, and the message is not executed
    with Server() as s:
        mkdir = frame(23, b"\x0a\x07\x1a\x05newer\x10\xed\x03")
        for what, clean in (("without close_notify", False), ("with it", True)):
            c = shake(s, context())
            verdict(c)
            hello(c)
            c.sendall(mkdir[:-2])
            if clean:
                c.settimeout(WAIT)
                try:
                    c.unwrap().close()
                except OSError:
                    pass
            else:
                socket.socket(fileno=c.detach()).close()
            s.wait_for("the connection ended inside a message|connection of alice .*cut")
            check(not os.path.exists(f"{DIR}/v/newer"), f"a message cut {what} was not executed")
        welcome("whoever comes next", client(s))


# ---- who ----

class Relay:
    """In front of a server: the connections end after so many bytes from it, each in its turn; later ones do not."""

    def __init__(self, server, *cuts, on_cut=lambda: None):
        self.on_cut, self.server, self.cuts, self.made = on_cut, server, list(cuts), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tls:localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.made += 1
            there, cut = dial(self.server), self.cuts.pop(0) if self.cuts else None
            threading.Thread(target=self.carry, args=(client, there, None), daemon=True).start()
            threading.Thread(target=self.carry, args=(there, client, cut), daemon=True).start()

    def carry(self, source, to, left):
        try:
            while (data := source.recv(65536 if left is None else min(left, 65536))):
                to.sendall(data)
                if left is not None and (left := left - len(data)) == 0:
                    self.on_cut()
                    break
        except OSError:
            pass
        for sock in (source, to):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def reconnect():
    with open(f"{DIR}/v/lost", "wb") as out:
        out.write(os.urandom(3000000))
    with Server() as s:
        relay = Relay(s, 1000000, 500001, 3)
        relay_address = relay.address
        argv = [GOFER, "cat", "--stats", "v:/lost", "--server", relay.address, "--tls-ca", "main/ca.pem", "--tls-cert", "alice.pem", "--tls-key",
                "alice.key"]
        got = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT, check=False)
        with open(f"{DIR}/v/lost", "rb") as file:
            check(got.returncode == 0 and got.stdout == file.read(), f"a connection that is cut twice: {got.stderr.decode()[:500]}")
        # The fourth is the one that lasts: the third was cut in its handshake.
        check(b'"reconnects": 2' in got.stderr and relay.made == 4, f"{relay.made} connections were made")
        # S132: the second and the fourth go on with the TLS session of another, on both sides, as the same client.
        check(b'"tls_resumed": 2' in got.stderr, f"with the TLS session of an earlier one: {got.stderr.decode()[:500]}")
        for _ in range(2):
            m = s.wait_for(r"(.*): TLSv1.3, .*, resumed")
            check("alice" in m[1], f"the server says so: {m[0]}")
        relay.close()
        # S132: what a TLS session was made with is judged again: its authority is not trusted any more when it is to be resumed.
        shutil.copy("main/ca.pem", "trusted.pem")
        relay = Relay(s, 1000000, on_cut=lambda: shutil.copy("stranger/ca.pem", "trusted.pem"))
        argv[argv.index("main/ca.pem")], argv[argv.index(relay_address)] = "trusted.pem", relay.address
        got = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT, check=False)
        check(got.returncode == 1 and relay.made == 2, f"a server that is not trusted any more is not connected to again: {got.stderr.decode()[:300]}")
        relay.close()
    os.unlink(f"{DIR}/v/lost")


def tokens():
    secret = b"correct horse battery staple"
    with open("access", "w", encoding="utf-8") as f:
        f.write(f"# a comment\n[laptop]\ntoken-sha256 = {hashlib.sha256(secret).hexdigest()}\nvolumes = v:ro\n\n"
                "[bob]\ndns = bob.example\nvolumes = v, w\n")
    for name, content in (("token", secret + b"\n"), ("wrong", b"wrong\n"), ("empty", b"\n")):
        with open(name, "wb") as f:
            f.write(content)
        os.chmod(name, 0o600)
    with Server("--tls-access", "access", ca=False) as s:
        welcome("a token", client(s, "--tls-token-file", "token", who=None))
        refused("a wrong token", client(s, "--tls-token-file", "wrong", who=None), "does not know this token")
        refused("no token", client(s, who=None), "asks for a certificate or a token")
        refused("an empty file", client(s, "--tls-token-file", "empty", who=None), "expected one line")
        os.chmod("wrong", 0o644)
        refused("a file that others may read", client(s, "--tls-token-file", "wrong", who=None), "chmod 600")
        os.chmod("wrong", 0o600)
        refused("a volume for reading", client(s, "--tls-token-file", "token", who=None, verb=("rm", "v:/file")), "Read-only file system")
        refused("a volume of others", client(s, "--tls-token-file", "token", who=None, verb=("cat", "w:/file")), "no such volume")
        refused("a certificate that nobody asked for", client(s), "asks for a certificate or a token")
        with shake(s, context(None)) as c:
            c.sendall(struct.pack("<H", 60000))
            check(ends(c), "a token of 60,000 bytes: the connection is closed")
    with Server("--tls-access", "access") as s:
        welcome("a token where certificates count too", client(s, "--tls-token-file", "token", who=None))
        welcome("a certificate's DNS name", client(s, who="bob", verb=("cat", "w:/file")), "other\n")
        refused("a certificate that is not listed", client(s), "lets nobody in with this certificate")
        refused("a wrong token beside a good certificate", client(s, "--tls-token-file", "wrong", who="bob"), "does not know this token")


def identities():
    if not ROOT:
        return
    os.chmod(f"{DIR}/w", 0o777)
    volumes = [f"{DIR}/w:w:identity=delegate,uids=1000-2000,gids=1000-2000"]
    with open("access", "w", encoding="utf-8") as f:
        f.write("[alice]\nsubject = CN=alice,O=Lab\nvolumes = w\nidentity = 1234:1500\n")
    # S140: over TCP one is who the access file says, never root, and can register nobody else
    with Server("--tls-access", "access", volumes=volumes) as s:
        welcome("mkdir as whom the file says", client(s, verb=("mkdir", "w:/made")), "")
        st = os.stat(f"{DIR}/w/made")
        check((st.st_uid, st.st_gid) == (1234, 1500), "it belongs to 1234:1500")
        with shake(s, context()) as c:
            verdict(c)
            hello(c)
            for uid, word in ((0, "root"), (1001, "another")):
                # SetIdentity{id=1, uid, gid=1500}
                c.sendall(frame(2, bytes([8, 1, 16]) + varint(uid) + bytes([24]) + varint(1500), 5))
                check(c.recv(4096)[15] == 9, f"SetIdentity to {word} is an error")
        check("may_donate\": true" not in client(s, verb=("ls", "--json")).stdout, "no descriptors")
    # S140: without an access file a client is nobody where requests run as who asks
    with Server(volumes=volumes) as s:
        refused("a delegating volume", client(s, verb=("ls", "w:/")), "Operation not permitted")


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def config():
    # S139: what the access file and the options get wrong is refused at the start, in words
    good = "[a]\nsubject = CN=a\nvolumes = v\n"
    argv = [GOFER, "serve", "-q", "-v", f"{DIR}/v:v:{SQUASH}", "--listen", "tls:localhost:0", "--tls-cert", "server.pem"]

    def start(*more, key="server.key", words):
        r = subprocess.run([*argv, "--tls-key", key, *more], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=WAIT, check=False)
        check(r.returncode in (1, 2) and words in r.stderr, f"refused: {r.stderr.strip()}")

    for text, words in (("[a]\nsubjekt = CN=a\nvolumes = v\n", "access:2: unknown key 'subjekt'"),
                        ("[a]\nsubject = CN=a\nvolumes = nosuch\n", "there is no volume 'nosuch'"),
                        (good + good.replace("[a]", "[b]"), "[b] is the same client as [a]"), ("", "no client is in it")):
        with open("access", "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod("access", 0o600)
        start("--tls-client-ca", "main/ca.pem", "--tls-access", "access", words=words)
    with open("access", "w", encoding="utf-8") as f:
        f.write(good)
    os.chmod("access", 0o620)
    start("--tls-client-ca", "main/ca.pem", "--tls-access", "access", words="others may write it")
    os.chmod("access", 0o600)
    start("--tls-access", "access", words="has no tokens")
    start(words="nobody could come in")
    start("--tls-client-ca", "nosuch.pem", words="nosuch.pem: No such file")
    start("--tls-client-ca", "server.key", words="certificate authority server.key")
    start("--tls-client-ca", "main/ca.pem", key="alice.key", words="does not belong to certificate")
    shutil.copy("server.key", "loose.key")
    os.chmod("loose.key", 0o644)
    start("--tls-client-ca", "main/ca.pem", key="loose.key", words="chmod 600")


# ---- strangers ----

def limits():
    # S137: unfinished connections are few, from one address and in all, and end at their deadline
    with Server("--max-unauthenticated", "3", "--max-unauthenticated-per-address", "2", "--handshake-timeout", "3600000") as s:
        mute, half = dial(s), dial(s)
        half.sendall(b"\x16\x03\x01")
        # They are counted once they are accepted, in that order.
        with dial(s) as third:
            check(ends(third), "a third from the same address is turned away")
        s.wait_for("too many unfinished connections from this address")
        with dial(s, "127.0.0.2"):
            with dial(s, "127.0.0.3") as fourth:
                check(ends(fourth), "a fourth from anywhere is turned away")
            s.wait_for(r"refused 127.0.0.3:\d+: too many unfinished connections \(")
        mute.close()
        half.close()
        for _ in range(3):
            s.wait_for("the connection was cut|Connection reset|hung up")
        welcome("when they are gone there is room", client(s))
    with Server("--handshake-timeout", "300") as s:
        drip = dial(s)
        with dial(s) as mute:
            check(ends(mute), "one that says nothing is ended")
        s.wait_for("Connection timed out|timed out")
        try:
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10000:
                drip.sendall(bytes([byte]))
        except OSError:
            pass
        check(ends(drip), "one that drips bytes is ended")
        with shake(s, context()) as c:
            check(ends(c), "one that gives no credentials is ended")
    # S137: an address with too many failures is turned away, whatever it brings
    with open("access", "w", encoding="utf-8") as f:
        f.write(f"[laptop]\ntoken-sha256 = {hashlib.sha256(b'token').hexdigest()}\nvolumes = v\n")
    with Server("--tls-access", "access", "--max-failures", "3", ca=False) as s:
        for _ in range(3):
            with shake(s, context(None)) as c:
                check(verdict(c, b"guess") == 2, "a guess")
            s.wait_for("refused .*: an unknown token")
        with dial(s) as c:
            check(ends(c), "after three nobody from there is heard")
        s.wait_for("too many failures from this address")
        ctx = context(None)
        with ctx.wrap_socket(dial(s, "127.0.0.9"), server_hostname="localhost") as c:
            check(verdict(c, b"token") == 0, "others are")


# ---- the key ----

def processes(pid):
    yield pid
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            for child in f.read().split():
                yield from processes(int(child))


def holds(pid, needle):
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not m:
                continue
            begin, end = int(m[1], 16), int(m[2], 16)
            if end - begin > 1 << 30:
                continue  # a sanitizer's shadow
            try:
                mem.seek(begin)
                data = mem.read(end - begin)
            except OSError:
                continue
            if needle in data or needle[::-1] in data:
                return True
    return False


def trees(pid):
    """Descriptors of directories or of anything below the volumes."""
    out = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.path.isdir(f"/proc/{pid}/fd/{fd}"):
                out.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return out


def key():
    # A sanitizer's memory is too much to search.
    if not ROOT or os.environ.get("VARIANT") == "asan":
        return
    text = subprocess.run(["openssl", "ec", "-in", "server.key", "-text", "-noout"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=True).stdout
    digits = re.search(r"priv:\n([\s0-9a-f:]+)", text)[1]
    scalar = bytes.fromhex(re.sub(r"[\s:]", "", digits))[-32:]
    # S138: the private key is in the gate and its relays only, which hold no tree, cannot dump core, and open no file
    with Server() as s:
        with shake(s, context()) as c:
            verdict(c)
            hello(c)
            having, not_having = [], []
            for pid in processes(s.process.pid):
                (having if holds(pid, scalar) else not_having).append(pid)
            check(len(having) >= 1, f"{len(having)} processes hold the key")
            check(len(not_having) == 3, "the front, the monitor and the session's worker do not")
            for pid in having:
                check(not trees(pid), f"process {pid} with the key holds no directory")
                with open(f"/proc/{pid}/limits", encoding="ascii") as f:
                    check(re.search(r"Max core file size +0 +0 ", f.read()), "nor can it dump core")
                with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                    status = f.read()
                check(re.search(r"Seccomp:\t2", status) and re.search(r"CapPrm:\t0+\n", status), "it is filtered, without capabilities")
                check(os.stat(f"/proc/{pid}/maps").st_uid == 0, "nobody else may read its memory")


ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: whatever a server leaves is our child
for part in (client_certificates, bulk, server_certificates, old_and_foreign, resumed, cut, reconnect, tokens, identities, config, limits, key):
    print(f"== {part.__name__}")
    part()
try:
    left = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    die(f"a process was left behind: {left}, {list(processes(os.getpid()))[1:]}")
except ChildProcessError:
    print("ok: no process was left behind")
