#!/bin/bash
# More names than watches: a round through all of them costs about what it costs without any; what is hot gets one.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/cache_watches
[ -x "$prog" ] || fail "$prog is not built"
for n in 256 40; do
	mkdir "$T/vol"
	start_server -v "$T/vol:t:rw,donate=never,$ME_SQUASH" --max-watches $n
	"$prog" "$T/vol" -watches $n || fail "with $n watches"
	stop_server
	rm -rf "$T/vol"
done
