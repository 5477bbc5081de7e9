#!/bin/bash
# A session outlives its connection: what it held is there again or known to be gone, and nothing is done twice (S120), wherever the connection is cut.
# timeout: 300
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/reconnect
[ -x "$prog" ] || fail "$prog is not built"
export GOFER_TEST_TRANSPORT=unix-stream
mkdir "$T/vol" "$T/other"
show() { sed "s/^/  $1: /" "$T/out" | grep -v ': *ok ' >&2; fail "$1"; }
good() { echo "$1: $(grep -c '^  ok' "$T/out") hold"; }

# ---- the library, through a relay that cuts: a server that keeps sessions (each request is executed once), and one that does not
for timeout in 3600000 0; do
	kept=
	[ $timeout = 0 ] || kept=kept
	start_server -v "$T/vol:t:rw,$ME_SQUASH" --resume-timeout $timeout
	for part in rows handles traffic ends; do
		timeout 100 "$prog" "$T/vol" "$T/cutter" $part $kept >"$T/out" 2>&1 || show "$part $kept"
		good "$part $kept"
	done
	stop_server
done

# ---- a server that ends, and another that comes: on the same directory, on another
mkfifo "$T/go" "$T/says"
for part in restart other; do
	start_server -v "$T/vol:t:rw,$ME_SQUASH"
	timeout 100 "$prog" "$T/vol" "$T/cutter" $part <"$T/go" >"$T/says" 2>&1 &
	client=$!
	exec 6>"$T/go" 5<"$T/says"
	read -r said <&5 && [ "$said" = ready ] || fail "$part: $said"
	stop_server
	case $part in restart) dir=$T/vol ;; *) dir=$T/other ;; esac
	start_server -v "$dir:t:rw,$ME_SQUASH"
	echo on >&6
	cat <&5 >"$T/out"
	wait $client || show $part
	exec 6>&- 5<&-
	good $part
	stop_server
done

# ---- identities
if [ "$(id -u)" = 0 ]; then
	chmod 777 "$T/vol"
	start_server -v "$T/vol:t:rw,identity=delegate,uids=0-4294967294,gids=0-4294967294" --resume-timeout 0
	timeout 100 "$prog" "$T/vol" "$T/cutter" identity >"$T/out" 2>&1 || show identity
	good identity
	stop_server
fi

# ---- the command
start_server -v "$T/vol:t:rw,$ME_SQUASH"
head -c 3000000 /dev/urandom >"$T/vol/large"
mkdir "$T/vol/tree" && for i in {1..300}; do seq "$i" >"$T/vol/tree/$i"; done
"$prog" "$T/vol" "$T/cutter" relay <"$T/go" >"$T/says" &
relay=$!
exec 6>"$T/go" 5<"$T/says"
tell() { echo "$*" >&6; read -r said <&5 && [ "$said" = "done" ] || fail "the relay: $said"; }
export GOFER_SERVER=unix-stream:$T/cutter
mkfifo "$T/stderr"
# The line that says so comes after a second; only then is anybody let through again.
tell once 1000000
"$GOFER" cat --stats t:/large >"$T/back" 2>"$T/stderr" &
client=$!
exec 4<"$T/stderr"
read -r line <&4
case $line in "gofer: cat: the connection to $GOFER_SERVER is lost, connecting again") ;; *) fail "said: $line" ;; esac
tell allow
read -r line <&4
case $line in "gofer: cat: connected to $GOFER_SERVER again, after "*) ;; *) fail "said: $line" ;; esac
read -r line <&4
case $line in *'"reconnects": 1'*) ;; *) fail "said: $line" ;; esac
wait $client || fail "cat over a cut connection"
exec 4<&-
cmp "$T/vol/large" "$T/back" || fail "another content came"
echo "ok: cat goes on, and says why it took long"

# Given up by a signal, with what it had begun removed.
tell once 30000
"$GOFER" get -r t:/tree "$T/got" 2>"$T/stderr" &
client=$!
exec 4<"$T/stderr"
read -r line <&4
kill -INT $client
wait $client
status=$?
rest=$(cat <&4)
exec 4<&-
[ $status = 130 ] || fail "a signal while it connects again: status $status, $line, $rest"
case $(ls -A "$T/got") in *.gofer-*) fail "what it had begun is left: $(ls -A "$T/got")" ;; esac
echo "ok: a signal ends the waiting"
tell allow

# Not wanted.
tell once 1000000
"$GOFER" cat --reconnect 0 t:/large >/dev/null 2>"$T/err" && fail "--reconnect 0 went on"
grep -q 'gone away' "$T/err" || fail "--reconnect 0 said $(cat "$T/err")"
tell allow
exec 6>&- 5<&-
wait $relay
stop_server
