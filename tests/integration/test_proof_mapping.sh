#!/bin/bash
# Files in memory: every byte that is loaded is the one that a model has, however mappings are made, and with several threads none goes back.
# More operations: GOFER_TEST_MAPPING_OPERATIONS (of each run).
. "$(dirname "$0")/lib.sh"
for prog in mapping_model mapping_threads; do
	[ -x "$BUILD/tests/integration/$prog" ] || fail "$prog is not built"
done
n=${GOFER_TEST_MAPPING_OPERATIONS:-3000}

mkdir "$T/vol"
start_server -v "$T/vol:t:rw,donate=always,$ME_SQUASH"
"$BUILD/tests/integration/mapping_model" "$T/vol" -n "$n" || fail "a byte that nobody has stored there"
"$BUILD/tests/integration/mapping_threads" "$T/vol" -n $((n / 3)) || fail "a byte that was another one before"
stop_server
echo "every byte the same"
