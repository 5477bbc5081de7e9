#!/bin/bash
# A file of ten times the page cache is read while half of the cache is in use: what is in use stays.
# With the default cache: make bench-cache.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/cache_scan
[ -x "$prog" ] || fail "$prog is not built"
mkdir "$T/vol"
start_server -v "$T/vol:t:rw,donate=never,$ME_SQUASH"
"$prog" "$T/vol" -pages 4 || fail "a scan has flushed the cache"
stop_server
