#!/bin/bash
# run: plain
# Somebody on the host moves directories while a program in gofer run makes files in them: O_EXCL never opens what exists, and openat2(2) with
# RESOLVE_BENEATH makes and empties nothing behind a link that came in between. GOFER_RACE_ROUNDS makes it longer.
. "$(dirname "$0")/lib.sh"
mkdir "$T/v" || exit 1
cat >"$T/v/program.py" <<'P'
import collections, ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
rounds = int(sys.argv[2])
OPENAT2, BENEATH, NO_SYMLINKS = 437, 8, 4

def openat2(dir_fd, path, flags, mode, resolve):
    how = (ctypes.c_uint64 * 3)(flags, mode, resolve)
    fd = libc.syscall(OPENAT2, dir_fd, path.encode(), how, 24)
    if fd < 0:
        raise OSError(ctypes.get_errno(), path)
    return fd

def exclusive():
    directory, seen = None, collections.Counter()
    while directory is None:
        try:
            directory = os.open("/v/d", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            pass # it is elsewhere at the moment
    for _ in range(rounds):
        try:
            os.close(os.open("lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=directory))
            seen["OPENED"] += 1
        except OSError as e:
            seen[errno.errorcode[e.errno]] += 1
    print("exclusive", *("%s %d" % x for x in sorted(seen.items())))
    return seen["OPENED"]

def beneath():
    base, seen, wrong = os.open("/v/base", os.O_RDONLY | os.O_DIRECTORY), collections.Counter(), 0
    for i in range(rounds):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY if i % 2 else os.O_WRONLY | os.O_TRUNC
        if i % 2 == 0:
            for name in ("/v/outside/x", "/v/base/a/x", "/v/base/l/x"):
                try:
                    with open(name, "w") as f:
                        f.write("data")
                except OSError:
                    pass
        try:
            os.close(openat2(base, "a/x", flags, 0o600 if i % 2 else 0, BENEATH | NO_SYMLINKS))
            seen["opened"] += 1
        except OSError as e:
            seen[errno.errorcode[e.errno]] += 1
        there = os.path.exists("/v/outside/x")
        if i % 2 and there:
            wrong += 1
        if i % 2 == 0 and (not there or os.path.getsize("/v/outside/x") == 0):
            wrong += 1
        for name in ("/v/outside/x", "/v/base/a/x", "/v/base/l/x"):
            try:
                os.unlink(name)
            except OSError:
                pass
    print("beneath", *("%s %d" % x for x in sorted(seen.items())))
    return wrong

sys.exit(globals()[sys.argv[1]]() > 0)
P
# What the host does until its input ends.
cat >"$T/swap.py" <<'P'
import ctypes, os, select, sys
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
turns = 0
print("ready", flush=True)
while not select.select([0], [], [], 0)[0]:
    if sys.argv[2] == "exclusive":
        os.rename("v/d", "away")
        os.rename("away", "v/d")
    else:
        libc.renameat2(-100, b"v/base/a", -100, b"v/base/l", 2)
    turns += 1
if turns % 2 and sys.argv[2] == "beneath":
    libc.renameat2(-100, b"v/base/a", -100, b"v/base/l", 2)
print(turns)
P
race() {
	coproc python3 "$T/swap.py" "$T" "$1"
	read -r -t 30 -u "${COPROC[0]}" line && [ "$line" = ready ] || fail "nobody moves anything"
	"$GOFER" run -v "$T/v:/v:rw" -- timeout 100 python3 /v/program.py "$1" "${GOFER_RACE_ROUNDS:-400}" >"$T/out" 2>&1 </dev/null
	status=$?
	echo >&"${COPROC[1]}"
	read -r -t 30 -u "${COPROC[0]}" turns
	wait "$COPROC_PID"
	[ $status = 0 ] || fail "$1: status $status: $(cat "$T/out")"
	echo "ok: $(cat "$T/out"), while things moved $turns times"
}
mkdir "$T/v/d" "$T/v/base" "$T/v/base/a" "$T/v/outside" && ln -s ../outside "$T/v/base/l" && : >"$T/v/d/lock" || exit 1
race exclusive
race beneath
