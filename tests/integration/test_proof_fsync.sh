#!/bin/bash
# What gofer_fsync() has acknowledged is on the host, also when the client or the server is killed in the next moment.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/fsync_survives
[ -x "$prog" ] || fail "$prog is not built"

mkdir "$T/vol"
start_server -v "$T/vol:t:rw,$ME_SQUASH"
"$prog" "$T/vol" client || fail "an acknowledged fsync did not survive its client"
"$prog" "$T/vol" server || fail "an acknowledged fsync did not survive its server"
wait "$SERVER_PID"
SERVER_PID=
