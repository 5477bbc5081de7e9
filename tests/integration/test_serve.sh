#!/bin/bash
# `gofer serve` as a program: what it refuses and in which words, private servers and exit codes, signals, reload, and what remains.
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

mkdir -p "$T/a/in" "$T/b" "$T/weird:name" && ln -s a "$T/link" && mkfifo "$T/fifo" && : >"$T/file"
cd "$T" || exit 1

refuses() { # status, words, arguments: one line on stderr, nothing on stdout
	local status=$1 words=$2 out
	shift 2
	out=$(timeout 20 "$GOFER" serve "$@" 2>&1 </dev/null)
	local got=$?
	[ $got -eq "$status" ] || fail "serve $*: status $got, expected $status: $out"
	[ "$(wc -l <<<"$out")" -eq 1 ] || fail "serve $*: more than one line: $out"
	case $out in *"$words"*) ;; *) fail "serve $*: '$out' does not say '$words'" ;; esac
}

# S10 S13 S139: what cannot be served, is served twice, or is not an option, is refused at the start, in words.
S="--listen unix:$T/s"
refuses 2 "nothing to serve"
refuses 2 "unknown option" -v a --frobnicate
refuses 2 "needs a value" -v
refuses 2 "a command after '--'" -v a ls
refuses 2 "expected a number" -v a --max-handles 0
refuses 2 "expected strict or best-effort" -v a --confine maybe
refuses 1 "create it" $S -v missing
refuses 1 "symbolic link" $S -v link
refuses 1 "symbolic link" $S -v link/
refuses 1 "not a directory" $S -v file
refuses 1 "not a directory" $S -v fifo
refuses 2 "unknown option 'rox'" $S -v a:b:rox
refuses 2 "name is empty" $S -v a:
refuses 2 "cannot be a name" $S -v a:x/y
refuses 1 "both named 'x'" $S -v a:x -v b:x
refuses 1 "share a part" $S -v a -v a/in
refuses 1 "share a part" $S -v a -v "$T:t"
# Unless it is asked for: then each keeps what it says.
echo x >a/in/f
"$GOFER" serve --quiet ${GOFER_TEST_SERVE_ARGS:-} --allow-overlap -v a -v a/in:in:ro --run \
	"'$GOFER' cat in:/f && '$GOFER' touch a:/in/g && ! '$GOFER' touch in:/g" >out 2>err || fail "--allow-overlap: $(cat out err)"
[ "$(cat out)" = x ] || fail "--allow-overlap: $(cat out)"
grep -q 'Read-only file system' err || fail "--allow-overlap: $(cat err)"
refuses 1 "expected unix:/path" --listen udp:1 -v a
refuses 1 "at most" --listen "unix:/$(printf 'x%.0s' {1..200})" -v a
refuses 1 "something else" --listen "unix:$T/file" -v a
[ ! -e "$T/s" ] || fail "a refused server left its socket"

# A live socket is kept, a stale one replaced, and the end removes it.
start_server -v a
refuses 1 "already in use" --listen "unix:$T/sock" -v a
tree=$(process_tree "$SERVER_PID")
kill -KILL "$SERVER_PID"
wait "$SERVER_PID" 2>/dev/null
SERVER_PID=
while read -r pid start; do
	# The kernel ends them with their parent; all that is waited for is that it has.
	alive "$pid" "$start" && timeout 10 tail --pid="$pid" -s 0.05 -f /dev/null
	alive "$pid" "$start" && fail "process $pid outlived the front that was killed"
done <<<"$tree"
[ -S "$T/sock" ] || fail "no stale socket to replace"
start_server -v a
stop_server
[ ! -e "$T/sock" ] || fail "the socket remained"

# Private servers: the command's status, its environment, nothing left.
run() { timeout 30 "$GOFER" serve --quiet "$@" </dev/null; }
[ "$(run -v a --run 'echo "$GOFER_SERVER"' | cut -c1-6)" = unix:/ ] || fail "GOFER_SERVER"
run -v a --run 'exit 7'; [ $? -eq 7 ] || fail "status of --run"
run -v a -- sh -c 'kill -TERM $$'; [ $? -eq 143 ] || fail "status of a command that a signal ended"
run -v a -- /nonexistent 2>/dev/null; [ $? -eq 127 ] || fail "status of a missing command"
run -v a -- "$T/file" 2>/dev/null; [ $? -eq 126 ] || fail "status of what cannot be executed"
dir=$(run -v a --run 'd=${GOFER_SERVER#unix:}; stat -c %a "${d%/*}"; echo "${d%/*}"')
[ "${dir%%$'\n'*}" = 700 ] || fail "the private directory is open: $dir"
[ ! -e "${dir#*$'\n'}" ] || fail "the private directory remained"
[ "$(run -v 'weird\:name:w' -- "$GOFER" ls w:/ | wc -l)" -eq 0 ] || fail "a ':' in a path"

# SIGTERM reaches the command.
mkfifo "$T/started"
"$GOFER" serve --quiet -v a -- bash -c "trap 'exit 9' TERM; echo >'$T/started'; while :; do read -r -t 1 <>'$T/fifo'; done" </dev/null &
SERVER_PID=$!
read -r <"$T/started"
kill -TERM "$SERVER_PID"
wait "$SERVER_PID"
[ $? -eq 9 ] || fail "SIGTERM did not reach the command"
SERVER_PID=

# Reload: new clients see the directory that is there now; a volume that vanished leaves the old server serving.
: >a/before
mkdir next && : >next/after
start_server -v a:v
[ "$("$GOFER" ls v:/)" = "before
in" ] || fail "before the reload"
mv a old && mv next a
[ "$("$GOFER" ls v:/)" = "before
in" ] || fail "the tree changed without a reload"
kill -HUP "$SERVER_PID"
served() { [ "$(grep -c 'gofer: serving' "$SERVER_LOG")" -ge "$1" ]; }
wait_for() { local i; for ((i = 0; i < 200; i++)); do "$@" && return 0; read -r -t 0.05 <>"$T/fifo"; done; fail "waited in vain: $*"; }
wait_for served 2
[ "$("$GOFER" ls v:/)" = after ] || fail "after the reload"
mv a gone
kill -HUP "$SERVER_PID"
wait_for grep -q 'reload failed' "$SERVER_LOG"
[ "$("$GOFER" ls v:/)" = after ] || fail "after the reload that failed"
stop_server

# Only who may connects.
if [ "$(id -u)" -eq 0 ]; then
	start_server -v b:v --socket-mode 0666
	setpriv --reuid=54321 --regid=54321 --clear-groups "$GOFER" ls v:/ 2>/dev/null && fail "another user was let in"
	"$GOFER" ls v:/ || fail "root was not let in"
	stop_server
	start_server -v b:v --socket-mode 0666 --allow-uid 54321
	setpriv --reuid=54321 --regid=54321 --clear-groups "$GOFER" ls v:/ || fail "--allow-uid did not let in"
	stop_server
fi
