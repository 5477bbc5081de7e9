#!/usr/bin/env python3
"""The host's side of the escape suite: what is outside, who listens there, and what became of it.

    host.py BUILD_DIR SCRATCH [--families A,B] [--native] [--verbose] [-- ARGUMENTS of gofer run]

Makes a tree of canaries and three volumes below SCRATCH, runs the hostile program in `gofer run`
with these arguments, does what it asks for (a directory moved while it is open), and compares the
canaries and the read-only volume with what they were. --native runs it without any sandbox: then it
must find that it is not in one. Exit status: 0 held, 1 did not, 2 could not be tried.
"""
import argparse
import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import threading

INSIDE, OUTSIDE = 7, 66


class World:
    """Everything outside, and the volumes."""

    def __init__(self, scratch, build):
        self.token = "CANARY-" + secrets.token_hex(12)
        self.build = build
        self.outside, self.nowhere = f"{scratch}/outside", f"{scratch}/nowhere"
        self.rw, self.rw2, self.ro = f"{scratch}/rw", f"{scratch}/rw2", f"{scratch}/ro"
        self.abstract = "gofer-escape-" + secrets.token_hex(8)
        self.contacts = []
        self.moved = False
        self.sockets = []
        self.nested = f"{scratch}/nested"
        for path in (self.outside, self.rw, self.rw2, self.ro, self.nested):
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path)
        self.make_outside(build)
        self.make_volumes(build)
        self.listen()
        self.before = self.fingerprints()

    def make_outside(self, build):
        """Also makes again what a program without a sandbox took away."""
        out = self.outside
        os.makedirs(f"{out}/dir", exist_ok=True)
        os.makedirs(f"{out}/empty", exist_ok=True)
        with open(f"{out}/secret", "w") as f:
            f.write(self.token.ljust(31337, "."))
        with open(f"{out}/dir/canary", "w") as f:
            f.write(self.token)
        if not os.path.islink(f"{out}/link"):
            os.symlink(self.token, f"{out}/link")
        shutil.copy(f"{build}/tests/escape/exit-{OUTSIDE}", f"{out}/prog")
        with open(f"{out}/stdin", "w") as f:
            f.write(self.token)
        with open(f"{out}/stdout", "w"):
            pass
        try:
            os.setxattr(f"{out}/secret", "user.canary", self.token.encode())
        except OSError:
            pass

    def make_volumes(self, build):
        os.makedirs(f"{self.rw}/in")
        shutil.copy(f"{build}/tests/escape/exit-{INSIDE}", f"{self.rw}/in/prog")
        shutil.copy(f"{build}/tests/escape/escape", f"{self.rw}/escape")
        shutil.copy(f"{build}/tests/escape/escape", f"{self.rw}/suid")
        os.makedirs(f"{self.rw}/sub/nested")
        with open(f"{self.nested}/file", "w") as f:
            f.write("nested")
        os.makedirs(f"{self.ro}/dir")
        with open(f"{self.ro}/file", "w") as f:
            f.write("read-only\n".ljust(5000, "."))
        try:
            os.setxattr(f"{self.ro}/file", "user.ours", b"ours")
        except OSError:
            pass
        if os.getuid() == 0:
            try:
                os.mknod(f"{self.rw}/device", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
            except OSError:
                pass
        os.chmod(f"{self.rw}/suid", 0o6755)

    # ---- listeners ----

    def listen(self):
        def bound(family, kind, address):
            s = socket.socket(family, kind)
            s.bind(address)
            if kind == socket.SOCK_STREAM:
                s.listen(64)
            self.sockets.append(s)
            threading.Thread(target=self.serve, args=(s, kind, str(address)), daemon=True).start()
            return s

        unix, stream, dgram = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM
        bound(unix, stream, f"{self.outside}/sock")
        bound(unix, dgram, f"{self.outside}/dgram")
        bound(unix, stream, f"{self.rw}/host.sock")
        bound(unix, dgram, f"{self.rw}/host.dgram")
        bound(unix, stream, "\0" + self.abstract)
        bound(unix, dgram, "\0" + self.abstract + "-dgram")
        self.port = bound(socket.AF_INET, stream, ("127.0.0.1", 0)).getsockname()[1]
        try:
            bound(socket.AF_INET6, stream, ("::1", self.port))
        except OSError:
            pass

    def serve(self, s, kind, name):
        while True:
            try:
                if kind == socket.SOCK_DGRAM:
                    s.recv(4096)
                else:
                    peer, _ = s.accept()
                    peer.send(self.token.encode())
                    peer.close()
                if not name.endswith("/host.dgram"):  # a limit with a name
                    self.contacts.append(name)
            except OSError:
                if s.fileno() < 0:
                    return

    # ---- what must stay as it is ----

    def fingerprint(self, top, reading):
        """Of all below: kind, inode, mode, owner, size, times; whether a file was read."""
        found = {}
        for directory, names, files in os.walk(top):
            for name in [""] + names + files:
                path = os.path.join(directory, name) if name else directory
                st = os.lstat(path)
                if reading and stat.S_ISREG(st.st_mode) and path not in found:
                    if not hasattr(self, "before"):
                        # Older than any change: whoever reads it, makes it newer (relatime).
                        os.utime(path, (1e9, st.st_mtime), follow_symlinks=False)
                    st = os.lstat(path)
                one = [st.st_mode, st.st_ino, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev]
                if path != self.outside or not self.moved:
                    one += [st.st_size, st.st_mtime_ns, st.st_ctime_ns]
                if reading and stat.S_ISREG(st.st_mode):
                    one.append(st.st_atime_ns)
                try:
                    one.append(sorted(os.listxattr(path, follow_symlinks=False)))
                except OSError:
                    pass
                found[path] = one
        return found

    def fingerprints(self):
        return {
            "outside": self.fingerprint(self.outside, True),
            "the read-only volume": self.fingerprint(self.ro, False),
            "the nested volume": self.fingerprint(self.nested, False),
        }

    def differences(self, allowed):
        found = []
        now = self.fingerprints()
        for what, before in self.before.items():
            after = now[what]
            for path in sorted(before.keys() | after.keys()):
                old, new = before.get(path), after.get(path)
                if path == self.outside and self.moved and old and new:
                    old, new = old[:6], new[:6]
                if old != new and path not in allowed:
                    found.append(f"{what} changed: {path}: {old} is now {new}")
        for path, content in ((f"{self.outside}/secret", self.token.ljust(31337, ".")),
                              (f"{self.ro}/file", "read-only\n".ljust(5000, "."))):
            if not os.path.isfile(path) or open(path, errors="replace").read() != content:
                found.append(f"the content of {path} changed")
        for contact in self.contacts:
            found.append(f"the host's socket {contact!r} was reached")
        # What was taken into a volume, as a copy or as the thing itself.
        inodes = {one[1] for tree in self.before.values() for one in tree.values()}
        for top in (self.rw, self.rw2):
            for directory, _, files in os.walk(top):
                for name in files:
                    path = os.path.join(directory, name)
                    st = os.lstat(path)
                    if st.st_ino in inodes:
                        found.append(f"{path} is a link to what is not of that volume")
                    if stat.S_ISREG(st.st_mode) and st.st_size < 1 << 20:
                        os.chmod(path, 0o600)
                        with open(path, "rb") as f:
                            if self.token.encode() in f.read():
                                found.append(f"{path} holds the token")
        return found

    def answer(self, request):
        what, _, name = request.partition(" ")
        if what == "restore":
            self.make_outside(self.build)
            return "done"
        self.moved = True
        if what == "move-out":
            os.rename(f"{self.rw}/{name}", f"{self.outside}/moved")
        elif what == "move-back":
            os.rename(f"{self.outside}/moved", f"{self.rw}/{name}")
        else:
            return "unknown"
        return "done"

    def close(self):
        for s in self.sockets:
            s.close()


def layers_of(gofer, arguments):
    """The layers that hold for a run with these arguments."""
    out, into = os.pipe()
    subprocess.run([gofer, "run", "--json-status-fd", str(into), *arguments, "--", "true"],
                   stdin=subprocess.DEVNULL, pass_fds=[into], check=True)
    os.close(into)
    with os.fdopen(out) as f:
        return [name for name, holds in json.loads(f.readline())["started"]["layers"].items() if holds]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("scratch")
    parser.add_argument("--families", default="")
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--stdin", choices=["file", "directory"])
    parser.add_argument("--timeout", type=float, default=100)
    parser.add_argument("--rounds", default="60")
    own = sys.argv[1:]
    arguments = own[own.index("--") + 1:] if "--" in own else []
    o = parser.parse_args(own[:own.index("--")] if "--" in own else own)
    gofer = os.environ.get("GOFER", f"{o.build}/gofer")
    world = World(os.path.realpath(o.scratch), o.build)
    families = [f for f in o.families.split(",") if f]

    layers = [] if o.native else layers_of(gofer, arguments)
    guest = {name: getattr(world, name) for name in ("rw", "rw2", "ro")}
    command = [f"{guest['rw']}/escape", *families]
    if not o.native:
        if "mount" in layers:
            guest = {name: f"/volumes/{name}" for name in guest}
        command = [gofer, "run", *arguments]
        for name, where in guest.items():
            command += ["-v", f"{getattr(world, name)}:{where}" + (":ro" if name == "ro" else ":rw")]
        if "mount" in layers:
            command += ["-v", f"{world.nested}:{guest['rw']}/sub/nested:ro"]
        command += ["--", f"{guest['rw']}/escape", *families]
    environment = dict(
        os.environ,
        ESCAPE_OUTSIDE=world.outside, ESCAPE_NOWHERE=world.nowhere,
        ESCAPE_RW=guest["rw"], ESCAPE_RW2=guest["rw2"], ESCAPE_RO=guest["ro"],
        ESCAPE_TOKEN=world.token, ESCAPE_ABSTRACT=world.abstract, ESCAPE_PORT=str(world.port),
        ESCAPE_LAYERS=",".join(layers), ESCAPE_SCRIPT=str(os.getpid()), ESCAPE_ROUNDS=o.rounds,
        ESCAPE_NATIVE="yes" if o.native else "no",
        ESCAPE_NET="host" if "host" in arguments else "none",
    )
    # The number stays when the shell becomes gofer.
    command = ["/bin/sh", "-c", 'ESCAPE_SUPERVISOR=$$ exec "$@"', "sh", *command]
    stdin = subprocess.PIPE
    if o.stdin == "file":
        stdin = os.open(f"{world.outside}/stdin", os.O_RDONLY)
    elif o.stdin == "directory":
        stdin = os.open(world.outside, os.O_RDONLY | os.O_DIRECTORY)
    stdout = os.open(f"{world.outside}/stdout", os.O_WRONLY | os.O_APPEND) if o.stdin else subprocess.PIPE
    process = subprocess.Popen(command, stdin=stdin, stdout=stdout, env=environment, text=True, errors="replace")
    watchdog = threading.Timer(o.timeout, process.kill)
    watchdog.start()
    lines, escapes, limits, summary, broken = 0, [], {}, None, []
    source = process.stdout
    if o.stdin:
        process.wait()
        source = open(f"{world.outside}/stdout", errors="replace")
    for line in source:
        line = line.rstrip("\n")
        if o.verbose:
            print("   ", line)
        if line.startswith("REQUEST "):
            process.stdin.write(world.answer(line[8:]) + "\n")
            process.stdin.flush()
        elif line.startswith("ESCAPE"):
            escapes.append(line)
        elif line.startswith("LIMIT"):
            limits.setdefault(line.split()[1].rstrip(":"), []).append(line)
        elif line.startswith("BROKEN"):
            broken.append(line)
        elif line.startswith("ok"):
            lines += 1
        elif " escapes" in line:
            summary = line
        else:
            print("  program:", line)
    process.wait()
    watchdog.cancel()
    # Where a program outside can be run, that is all the same to it.
    weak = {"mount", "landlock"}.isdisjoint(layers)
    allowed = {f"{world.outside}/prog"} if weak and "exec-outside" in limits else set()
    allowed |= {f"{world.outside}/stdout"} | ({f"{world.outside}/stdin"} if o.stdin == "file" and o.native else set())
    found = world.differences(allowed)
    world.close()
    for problem in escapes + found + broken:
        print(problem)
    for name, of in sorted(limits.items()):
        print(f"limit {name}: {len(of)} times, {of[0]}")
    print(f"{' '.join(arguments) or ('no sandbox' if o.native else 'full')}: layers {','.join(layers) or 'none'}: "
          f"{lines} attempts held, {len(escapes) + len(found)} escapes, "
          f"{sum(map(len, limits.values()))} limits; status {process.returncode}")
    if summary is None or broken:
        print("the program did not come to its end")
        return 2
    return 1 if escapes or found else 0


if __name__ == "__main__":
    sys.exit(main())
