#!/bin/bash
# What waits in a page cache while connections are cut: no call fails, and every byte that was synced is on the host.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/writeback_cuts
[ -x "$prog" ] || fail "$prog is not built"
export GOFER_TEST_TRANSPORT=unix-stream

mkdir "$T/vol"
start_server -v "$T/vol:t:rw,$ME_SQUASH"
"$prog" "$T/vol" "$T/cutter" -n "${GOFER_TEST_CUTS_OPERATIONS:-2000}" || fail "something did not survive its connection"
stop_server
