#!/bin/bash
# What files hold, through the page cache: every byte is the one that a model in memory has.
# With one thread, and what several may see of each other's writes. More operations: GOFER_TEST_CONTENT_OPERATIONS (of each run).
. "$(dirname "$0")/lib.sh"
for prog in content_model content_threads; do
	[ -x "$BUILD/tests/integration/$prog" ] || fail "$prog is not built"
done
n=${GOFER_TEST_CONTENT_OPERATIONS:-5000}

mkdir "$T/vol"
start_server -v "$T/vol:t:rw,donate=always,$ME_SQUASH"
"$BUILD/tests/integration/content_model" "$T/vol" -n "$n" || fail "a byte that nobody has written there"
"$BUILD/tests/integration/content_threads" "$T/vol" -n $((n / 5)) || fail "a byte that cannot be there"
stop_server
echo "every byte the same"
