#!/bin/bash
# Garbage on the socket, half frames, 10^5 random frames: clear errno or the session ended; nobody else notices.
# timeout: 300
# run: alone
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/garbage
[ -x "$prog" ] || fail "$prog is not built"
case ${VARIANT:-plain} in plain) n=100000 ;; *) n=20000 ;; esac
mkdir -p "$T/vol/a/b" "$T/outside"
echo steady | head -c 6 >"$T/vol/steady"
chmod 444 "$T/vol/steady"
ln -s /etc/passwd "$T/vol/link"
echo canary >"$T/outside/canary"
tree_print "$T/outside" >"$T/outside.before"
# What the requests do when they happen to be valid must not disturb the bystander's file.
mkdir -p "$T/scratch/a/b"
echo steady >"$T/scratch/steady"
ln -s a "$T/scratch/link"
start_server -v "$T/vol:t:ro,$ME_SQUASH" -v "$T/scratch:s:rw,$ME_SQUASH"
"$prog" -n "${FRAMES:-$n}" ${SEED:+-s "$SEED"} || fail "the server does not stand garbage"
tree_print "$T/outside" | cmp - "$T/outside.before" || fail "the tree outside changed"
stop_server
