#!/bin/bash
# run: plain
# What is warm costs no system call: a thread that may make none reads and looks all the same.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/cache_quiet
[ -x "$prog" ] || fail "$prog is not built"
mkdir "$T/vol"
start_server -v "$T/vol:t:rw,donate=never,$ME_SQUASH"
for mode in "" -watched; do
	"$prog" $mode "$T/vol"
	status=$?
	[ $status -ne 77 ] || exit 77
	[ $status -eq 0 ] || fail "a system call${mode:+, with watches}"
done
stop_server
