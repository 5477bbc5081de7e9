#!/bin/bash
# Proves: nothing outlives gofer run: neither when its program ends and leaves others behind, nor when gofer run itself is killed; signals
# that it gets reach the program; --json-status-fd tells of the beginning and the end; --stats and --audit say what happened.
. "$(dirname "$0")/lib.sh"
need python3
fresh
cd "$W" || exit 1
marker=gofer-test-$$-$RANDOM
echo "$marker" >"$T/marker"
processes() { grep -laFf "$T/marker" /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3 | sort -u | grep -vx "$$" | while read -r p; do
	grep -q '^State:.[ZX]' "/proc/$p/status" 2>/dev/null || echo "$p"; done; }
gone() { # what, pid: when it is gone, everything is
	local pids end=$((SECONDS + 10))
	# What vanishes while it is looked at makes the look fail: that is no reason to stop waiting.
	while pids=$(processes); [[ -n $pids ]] && ((SECONDS < end)); do timeout 1 tail --pid="${pids%%$'\n'*}" -s 0.02 -f /dev/null; done
	if [[ -z $pids ]]; then ok "$1"; else
		bad "$1: left: $(for p in $pids; do tr '\0' ' ' <"/proc/$p/cmdline"; done)"
		kill -KILL $pids
	fi
}
run() { "$GOFER" run -v "$W:$W:rw" --env "MARKER=$marker" "$@"; }
started=0
start() { # command line that says "ready" and goes on; its output continues on descriptor 8
	mkfifo "$T/out.$((++started))"
	# A shell's background jobs have SIGINT ignored.
	env --default-signal "$GOFER" run -v "$W:$W:rw" --env "MARKER=$marker" -- bash -c "$1" >"$T/out.$started" 2>&1 </dev/null &
	pid=$!
	exec 8<"$T/out.$started"
	read -t 20 -r -u 8 line && [[ $line == ready ]] || fail "did not start: $line"
}
run -- bash -c 'setsid sleep 1000 & (sleep 1000 & ) ; exec 1>&- 2>&-; exit 3' >/dev/null 2>&1
[[ $? == 3 ]] && ok "the program ends with 3 and leaves two behind" || bad "status $?"
gone "nothing of it is left"

start 'setsid sleep 1000 & echo ready; sleep 1000'
kill -KILL $pid; wait $pid 2>/dev/null
gone "gofer run killed: nothing of it is left"

start 'trap "" HUP INT TERM; echo ready; while :; do sleep 1000; done'
for child in $(cat /proc/$pid/task/*/children); do kill -KILL "$child" 2>/dev/null; done
wait $pid; status=$?
[[ $status != 0 ]] && ok "its children killed: gofer run ends with $status" || bad "its children killed: status 0"
gone "its children killed: nothing of it is left"

for s in TERM INT HUP USR1; do
	start "trap 'echo got $s; exit 6' $s; echo ready; while :; do sleep 0.05; done"
	kill -$s $pid; wait $pid; status=$?
	[[ $status == 6 && $(cat <&8) == "got $s" ]] && ok "SIG$s reaches the program" || bad "SIG$s: status $status"
done
start 'echo ready; exec sleep 1000'
kill -TERM $pid; wait $pid; status=$?
[[ $status == 143 ]] && ok "SIGTERM ends it: 143" || bad "SIGTERM: $status"
gone "nothing of them is left"

run --json-status-fd 9 -- sh -c 'exit 4' 9>json </dev/null
python3 - json <<'PYTHON' && ok "--json-status-fd: $(tr '\n' ' ' <json)" || bad "--json-status-fd: $(cat json)"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
assert lines[0]["started"]["init"] > 1 and lines[0]["started"]["layers"]["seccomp"] is True, lines
assert lines[-1]["ended"]["status"] == 4, lines
PYTHON
run --stats -- cat /etc/hostname >/dev/null 2>stats </dev/null
awk '$1 == "openat" && $2 > 0 { calls = 1 } $1 == "Open" && $2 > 0 { requests = 1 } END { exit !(calls && requests) }' stats && ok "--stats counts calls and requests" || bad "--stats: $(cat stats)"

run --audit "$T/audit.json" -- bash -c 'cat /root/.ssh/id_rsa /etc/shadow; echo x >/usr/evil; mkdir new; echo secret >"new/odd
\"name\\"; rm -r new; ls /home' >/dev/null 2>&1 </dev/null
python3 - "$T/audit.json" <<'PYTHON' && ok "--audit: $(wc -l <"$T/audit.json") lines, each an object with time, pid, comm, call, path, result, micros" || bad "--audit: $(head -n 3 "$T/audit.json")"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
keys = {"time", "pid", "comm", "call", "path", "result", "micros"}
decisions = [l for l in lines if "call" in l]
assert decisions, lines[:3]
for l in decisions:
    assert keys <= l.keys(), (keys - l.keys(), l)
def find(call, path, result):
    assert any(l["call"] in call and l["path"] == path and l["result"] == result for l in decisions), (call, path, result, [l for l in decisions if l["path"] == path])
opens = ("open", "openat")
find(opens, "/root/.ssh/id_rsa", "ENOENT")
find(opens, "/usr/evil", "EROFS")
find(("mkdir", "mkdirat"), "new", 0)
assert any('odd\\x0a"name\\x5c' in l["path"] for l in decisions), "odd name"
PYTHON
# Many decisions: lines are dropped, and how many is said.
run --audit "$T/audit.json" -- python3 -c '
import os
for i in range(5000):
    try: os.stat("/missing" + "/" * 3000)
    except OSError: pass' </dev/null
python3 - "$T/audit.json" <<'PYTHON' && ok "--audit is rate-limited: $(wc -l <"$T/audit.json") lines" || bad "--audit: $(tail -n 3 "$T/audit.json")"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
dropped = sum(l.get("dropped", 0) for l in lines)
calls = sum(1 for l in lines if l.get("path", "").startswith("/missing"))
assert calls + dropped >= 5000 and dropped > 0 and calls > 100, (calls, dropped)
PYTHON
finish
