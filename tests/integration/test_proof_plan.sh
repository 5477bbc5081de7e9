#!/bin/bash
# Threads of one client do everything to files at once, in each mode: no byte is lost, stale or another's, though Writes fail and connections
# end; and what a call has synced is on the host, though the client or the server is killed in the middle.
# More: GOFER_TEST_PLAN_OPERATIONS (of each mode), GOFER_TEST_PLAN_KILLS (of each, in each mode).
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/plan_model
[ -x "$prog" ] || fail "$prog is not built"
n=${GOFER_TEST_PLAN_OPERATIONS:-4000}
kills=${GOFER_TEST_PLAN_KILLS:-1}

mkdir "$T/vol"
serve() { start_server -v "$T/vol:t:rw,donate=always,$ME_SQUASH"; }
serve
"$prog" "$T/vol" -n "$n" || fail "a byte that nobody has written there"
for ((i = 0; i < kills; i++)); do
	"$prog" "$T/vol" -kill client || fail "something synced did not survive its client"
done
stop_server
for ((i = 0; i < kills; i++)); do
	for mode in exclusive writethrough shared; do
		serve
		"$prog" "$T/vol" -mode $mode -kill server || fail "something did not survive its server"
		wait "$SERVER_PID"
		SERVER_PID=
	done
done
echo "every byte the same"
