#!/bin/bash
# Attacks that a reviewer tried, each on a server of its own (attack.c).
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/attack
[ -x "$prog" ] || fail "$prog is not built"
mkdir -p "$T/outside" "$T/vol/many"
echo "canary: nobody may see or change this" >"$T/outside/canary"
touch "$T/vol/many/"{1..50}
tree_print "$T/outside" >"$T/outside.before"
if [ "$(id -u)" = 0 ]; then
	chown -R 1500:1500 "$T/vol"
	start_server -v "$T/vol:t:rw,identity=delegate,uids=1000-2000,gids=1000-2000"
	"$prog" identity t || fail "an identity outside of the range was had"
	stop_server
	mkdir -m 777 "$T/delegated" "$T/squashed"
	echo secret >"$T/delegated/secret"
	chown 0:1700 "$T/delegated/secret"
	chmod 640 "$T/delegated/secret"
	start_server -v "$T/delegated:t:identity=delegate,uids=0-9999,gids=0-9999" -v "$T/squashed:s:identity=squash=1500:1500"
	"$prog" mixed t s || fail "a request ran as somebody else"
	stop_server
else
	echo "not root: identities are not delegated here"
fi
# Handles of what is odd, through every request.
mkdir -p "$T/top/vol/dir/inner/x" "$T/top/elsewhere/x" "$T/other/x"
echo elsewhere >"$T/top/elsewhere/file"
cd "$T/top/vol" || exit 1
echo foreign >foreign; echo mine >mine; echo doomed >doomed
ln -s "$T/outside/canary" link
mkfifo fifo
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
cd "$T" || exit 1
if [ "$(id -u)" = 0 ] && mknod "$T/top/vol/device" c 1 3 2>/dev/null; then
	chown -hR 1500:1500 "$T/top/vol" "$T/other"
	chown 0:0 "$T/top/vol/foreign"
	tree_print "$T/top/elsewhere" >"$T/elsewhere.before"
	start_server -v "$T/top/vol:t:identity=squash=1500:1500" -v "$T/other:o:identity=squash=1500:1500"
	"$prog" handles t o "$T/top" || fail "a handle gave more than it was opened for"
	stop_server
	[ "$(stat -c %a:%U "$T/top/vol/foreign")" = 644:root ] || fail "somebody else's file changed"
fi
tree_print "$T/outside" | diff "$T/outside.before" - || fail "the tree outside changed"
