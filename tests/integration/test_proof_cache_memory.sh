#!/bin/bash
# run: plain
# What a client that remembers takes of memory: small budgets, and much more than they hold is read and walked.
# The full size, 4 GiB and a directory of 10^6 entries with the default budgets: make bench-cache.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/cache_memory
[ -x "$prog" ] || fail "$prog is not built"
# In memory where that can be: it is not about what a disk does with so many files.
vol=$(mktemp -d /dev/shm/gofer-test.XXXXXX 2>/dev/null || mktemp -d "$T/vol.XXXXXX") || exit 1
trap 'status=$?; rm -rf "$vol"; (exit $status); cleanup' EXIT
start_server -v "$vol:t:rw,donate=never,$ME_SQUASH"
"$prog" "$vol" -file 64 -entries 40000 -pages 4 -cache 1 -slack 14
status=$?
[ $status -ne 77 ] || exit 77
[ $status -eq 0 ] || fail "memory grows with what is read"
stop_server
