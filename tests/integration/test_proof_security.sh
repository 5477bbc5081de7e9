#!/bin/bash
# Attacks by a client that speaks the protocol itself; each check carries the number of its case. The tree outside stays as it was.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/security
[ -x "$prog" ] || fail "$prog is not built"
mkdir -p "$T/outside" "$T/vol/a/b/c" "$T/vol/locked" "$T/vol/many" "$T/fixed/a" "$T/never/a" "$T/dr/a"
echo "canary: nobody may see or change this" >"$T/outside/canary"
cd "$T/vol" || exit 1
echo content >a/file
for d in fixed never dr; do echo content >"$T/$d/a/file"; done
touch many/{1..200}
ln -s a link_rel
ln -s "$T/outside" link_abs
ln -s nowhere link_dangling
ln -s link_loop link_loop
ln -s ../../../.. a/b/c/link_up
ln -s .. link_up
ln -s "$T/outside/canary" link_canary
ln -s "$T/outside/created" link_dangling_out
ln -s "$T/outside/canary" link_replace
mkfifo fifo
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
mknod device c 1 3 2>/dev/null
chmod 0 locked
cd "$T" || exit 1
tree_print "$T/outside" >"$T/outside.before"
start_server -v "$T/vol:rw:rw,donate=always,$ME_SQUASH" -v "$T/fixed:ro:ro,donate=always,$ME_SQUASH" \
	-v "$T/never:nd:ro,donate=never,$ME_SQUASH" -v "$T/dr:dr:rw,donate=ro,$ME_SQUASH"
"$prog" "$T/vol" "$T/outside" || fail "an attack was not stood"
tree_print "$T/outside" | diff "$T/outside.before" - || fail "the tree outside changed"
stop_server
