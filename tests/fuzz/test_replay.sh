#!/bin/bash
# Each fuzz target over its committed corpus: what the fuzzers once found does not come back, and every row of the table has its
# place in them (message.c, plan.c and good_request.h refuse a row or a field that they do not know).
# timeout: 240
set -u -o pipefail
: "${BUILD:=build}" "${SRC:=$(cd "$(dirname "$0")/../.." && pwd)}"
[ -x "$BUILD/tests/fuzz/replay-decode" ] || { echo "FAIL: $BUILD/tests/fuzz/replay-decode is not built" >&2; exit 1; }
T=$(mktemp -d /dev/shm/gofer-replay.XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'chmod -R u+rwX "$T" 2>/dev/null; rm -rf "$T"' EXIT
trap 'exit 1' INT TERM
export GOFER_FUZZ_DIR=$T
status=0
for archive in "$SRC"/tests/fuzz/corpus/*.tar.gz; do
	target=$(basename "$archive" .tar.gz)
	mkdir "$T/$target" && tar -C "$T/$target" -xzf "$archive" || exit 1
	start=$EPOCHREALTIME
	"$BUILD/tests/fuzz/replay-$target" "$T/$target" >"$T/out" 2>&1
	result=$?
	if [ $result = 77 ]; then
		echo "$target: not here: $(tail -n 1 "$T/out")"
		continue
	elif [ $result != 0 ]; then
		tail -n 60 "$T/out"
		echo "FAIL: replay-$target ended with $result; which input it was: $BUILD/tests/fuzz/replay-$target -v DIRECTORY" >&2
		status=1
	else
		echo "$target: $(grep inputs "$T/out"), $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
	fi
done
exit $status
