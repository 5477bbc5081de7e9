#!/bin/bash
# run: plain
# What goes wrong around a program in gofer run stays where it is: a private server that hangs does not keep gofer run from ending, storage
# that is gone is an error of its files, and calls for which there is no thread left leave no descriptors behind.
. "$(dirname "$0")/lib.sh"
mkdir "$T/v" || exit 1
cat >"$T/v/program.py" <<'P'
import errno, os, sys, threading

def hang():
    # Some are calling when the server hangs, and the program ends nevertheless.
    for _ in range(4):
        threading.Thread(target=lambda: [os.stat("/v/program.py") for _ in iter(int, 1)], daemon=True).start()
    print("ready", flush=True)
    sys.stdin.readline()
    os._exit(5)

def gone():
    for call in os.stat, os.listdir, lambda p: os.open(p + "/x", os.O_RDONLY), lambda p: os.mkdir(p + "/d"):
        try:
            call("/v/gone")
            print("worked")
        except OSError as e:
            print(errno.errorcode[e.errno])
    print(sorted(os.listdir("/v")))

def many():
    # FIFOs that wait for their other end, one thread each, until there are too many.
    threading.stack_size(131072)
    os.mkfifo("/v/fifo")
    full = threading.Event()
    def wait():
        try:
            os.open("/v/fifo", os.O_RDONLY)
        except OSError as e:
            if e.errno == errno.EAGAIN:
                full.set()
    while not full.is_set():
        threading.Thread(target=wait, daemon=True).start()
        full.wait(0.001)
    def more(n):
        refused = 0
        while refused < n:
            try:
                os.open("/v/fifo", os.O_RDONLY)
            except OSError as e:
                refused += e.errno == errno.EAGAIN
    for n in (1, 300):
        more(n)
        print("ready", flush=True)
        sys.stdin.readline()
    os._exit(0)

globals()[sys.argv[1]]()
P
# The program's lines come on descriptor 8, ours go to 9.
begin() { # arguments of gofer run
	mkfifo "$T/to.$1" "$T/from.$1" || exit 1
	"$GOFER" run -v "$T/v:/v:rw" -- python3 /v/program.py "$1" <"$T/to.$1" >"$T/from.$1" 2>"$T/error" &
	pid=$!
	exec 9>"$T/to.$1" 8<"$T/from.$1"
}
line() {
	local line
	read -r -t 60 -u 8 line && [ "$line" = ready ] || fail "the program says '$line': $(cat "$T/error")"
}

begin hang
line
for p in $(cat /proc/$pid/task/*/children); do
	[ "$(tr '\0' ' ' <"/proc/$p/cmdline" | cut -d' ' -f2)" = serve ] && server=$(process_tree "$p" | cut -d' ' -f1)
done
[ -n "${server-}" ] || fail "there is no private server"
kill -STOP $server
echo >&9
timeout 60 tail --pid=$pid -s 0.02 -f /dev/null || { kill -KILL $server $pid; fail "gofer run does not end while its server hangs"; }
wait $pid
status=$?
[ $status = 5 ] || fail "with a server that hangs the exit status is $status: $(cat "$T/error")"
echo "ok: a server that hangs does not keep gofer run from ending"

begin many
line
before=$(ls /proc/$pid/fd | wc -l)
echo >&9
line
after=$(ls /proc/$pid/fd | wc -l)
echo >&9
wait $pid || fail "many: status $?: $(cat "$T/error")"
[ "$after" -le $((before + 8)) ] || fail "300 refused calls left descriptors behind: $before before, $after after"
echo "ok: 300 calls that found no thread left none of their descriptors: $before before, $after after"
exec 8<&- 9>&-

# A FUSE file system whose server is gone.
rm "$T/v/fifo"
mkdir "$T/v/gone"
trap 's=$?; umount -l "$T/v/gone" 2>/dev/null; (exit $s); cleanup' EXIT
if python3 - "$T/v/gone" 2>/dev/null <<'P'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
sys.exit(libc.mount(b"gone", sys.argv[1].encode(), b"fuse", 0, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd) != 0)
P
then
	"$GOFER" run -v "$T/v:/v:rw,xdev" -- python3 /v/program.py gone >"$T/out" 2>&1 || fail "storage that is gone ends the program: $(cat "$T/out")"
	[ "$(cat "$T/out")" = $'ENOTCONN\nENOTCONN\nENOTCONN\nENOTCONN\n['"'gone', 'program.py'"']' ] || fail "storage that is gone: $(cat "$T/out")"
	echo "ok: storage that is gone is ENOTCONN for its files, and nothing for the others"
else
	echo "no file system can be mounted here"
fi
