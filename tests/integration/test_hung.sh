#!/bin/bash
# S46 S69 S83: cancel, close, ping, other clients and the end go on while all threads of a session wait for hung storage.
# Storage that hangs in the kernel holds up nobody but who waits for it; leaving and SIGTERM end it all the same.
# run: alone
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/hung
[ -x "$prog" ] || fail "$prog is not built"
[ "$(id -u)" = 0 ] || skip "only root can mount a file system of its own"
[ -c /dev/fuse ] || skip "there is no /dev/fuse"

storage=
unhang() {
	[ -n "$storage" ] && { kill -KILL "$storage"; wait "$storage"; } 2>/dev/null
	umount -l "$T/hung" 2>/dev/null
	storage=
}
trap 'status=$?; unhang; (exit $status); cleanup' EXIT

mkdir "$T/hung" "$T/vol"
echo content >"$T/vol/file"
mkfifo "$T/says"
"$prog" storage "$T/hung" >"$T/says" &
storage=$!
read -r said <"$T/says" || fail "no file system"
case $said in mounted) ;; *) storage=; skip "$said" ;; esac

start_server -v "$T/hung:hung:ro,$ME_SQUASH" -v "$T/vol:t:ro,$ME_SQUASH"
# What the kernel learns here it need not ask again.
"$GOFER" stat hung:/ >/dev/null || fail "the root of the file system"
"$GOFER" stat hung:/missing >/dev/null 2>&1 && fail "a name that is not there"
# Stopped, it does not even take requests: those SIGKILL gets out of the kernel. (What such a file system has taken, nothing does.)
kill -STOP "$storage"
"$prog" check || fail "what hangs holds up what does not"
kill -CONT "$storage"
"$prog" drain "$T/hung" || fail "SIGTERM loses answers"
timeout 20 tail --pid="$SERVER_PID" -s 0.05 -f /dev/null || fail "the server does not end"
wait "$SERVER_PID" || fail "the server ended with status $?"
SERVER_PID=
