#!/bin/bash
# run: plain
# Signals within the sandbox come as natively, whoever sends them: the kernel, or without a process namespace and Landlock's scopes the
# supervisor. And those to the host do not come at all.
. "$(dirname "$0")/lib.sh"
mkdir "$T/v"
cat >"$T/v/signals" <<'EOF'
set +m
sleep 100 & kill $!; wait $!; echo "one $?"
sleep 100 & kill -STOP $!; kill -CONT $!; kill -KILL $!; wait $! 2>/dev/null; echo "stopped $?"
timeout 0.1 sleep 100; echo "timeout $?"
bash -c 'trap "echo handled; exit 3" USR1; kill -USR1 $$; echo "never reached"'; echo "self $?"
python3 -I - <<'P'
import os, signal, subprocess, sys, threading
signal.signal(signal.SIGUSR2, lambda *a: print("thread", flush=True))
signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
p = subprocess.Popen(["sleep", "100"])
signal.pidfd_send_signal(os.pidfd_open(p.pid), signal.SIGKILL)
print("pidfd", p.wait(), flush=True)
p = subprocess.Popen(["sleep", "100"], start_new_session=True)
os.killpg(p.pid, signal.SIGTERM)
print("group", p.wait(), flush=True)
p = subprocess.Popen(["sleep", "100"])
os.kill(p.pid, 0)
p.kill()
p.wait()
try:
    os.kill(p.pid, 0)
except ProcessLookupError:
    print("gone", flush=True)
if os.fork() == 0:
    sys.stdout = None
    os.abort()
print("abort", os.WTERMSIG(os.wait()[1]))
def outside(pid):
    try:
        os.kill(pid, signal.SIGUSR1)
        return "reached"
    except OSError:
        return "kept in"
print("host", outside(int(os.environ["VICTIM"])))
P
EOF
expected='one 143
stopped 137
timeout 124
handled
self 3
thread
pidfd -9
group -15
gone
abort 6
host kept in'
# A process of the host, of the same user, that would be ended.
sleep 300 &
export VICTIM=$!
trap 'kill $VICTIM 2>/dev/null; cleanup' EXIT
for without in '' landlock user,mount,pid,ipc,uts,net user,mount,pid,ipc,uts,net,landlock; do
	got=$("$GOFER" run ${without:+--without "$without"} -v "$T/v:$T/v" --chdir "$T/v" -- bash "$T/v/signals" 2>"$T/err")
	[ "$got" = "$expected" ] || fail "--without '$without': $(diff <(echo "$expected") <(echo "$got")) $(cat "$T/err")"
	[ "$(sed 's/.*) //' "/proc/$VICTIM/stat" | cut -c1)" = S ] || fail "--without '$without': the host's process was reached"
done
