#!/bin/bash
# What a client remembers: the same answers as from a client that asks every time, and how many requests that saves.
# More operations: GOFER_TEST_CACHE_OPERATIONS (of each of four runs).
. "$(dirname "$0")/lib.sh"
for prog in cache_model cache_table; do
	[ -x "$BUILD/tests/integration/$prog" ] || fail "$prog is not built"
done
n=${GOFER_TEST_CACHE_OPERATIONS:-4000}

mkdir "$T/vol" "$T/table"
touch "$T/table/probe"
setfattr -n user.x -v 1 "$T/table/probe" 2>/dev/null || skip "no user xattrs on the file system of $T"
start_server -v "$T/table:t:rw,donate=always,$ME_SQUASH"
"$BUILD/tests/integration/cache_table" "$T/table" || fail "a call costs other requests than promised"
stop_server

start_server -v "$T/vol:t:rw,donate=always,$ME_SQUASH"
"$BUILD/tests/integration/cache_model" "$T/vol" -n "$n" -threads 10 || fail "an answer that the server would not have given"
stop_server

# The command.
start_server -v "$T/table:t:rw,$ME_SQUASH"
stats() { "$GOFER" "$@" --stats 2>&1 >/dev/null | tail -n 1; }
[[ $(stats stat t:/f t:/f t:/f --interop=exclusive) == *'"Stat": 1'*'"hits": 2'* ]] ||
	fail "three times the same stat: $(stats stat t:/f t:/f t:/f --interop=exclusive)"
[[ $(stats stat t:/f t:/f t:/f) == *'"Stat": 3'* ]] || fail "shared mode remembers"
"$GOFER" stat --interop=never t:/f 2>"$T/err"
[ $? -eq 2 ] || fail "a mode that does not exist was taken"
grep -q "none of shared, watched, writethrough, exclusive" "$T/err" || fail "the message: $(cat "$T/err")"
stop_server
echo "every answer the same"
