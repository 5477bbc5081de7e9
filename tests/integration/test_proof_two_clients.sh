#!/bin/bash
# Two clients with 10,000 open handles each; one is killed: its share goes within a second, the other notices nothing.
# run: alone
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/two_clients
[ -x "$prog" ] || fail "$prog is not built"
mkdir "$T/vol"
for i in {0..99}; do echo "f$((i % 10))ab" >"$T/vol/f$i"; done
start_server -v "$T/vol:t:ro,$ME_SQUASH"
"$prog" || fail "a killed client's share stays, or its neighbour suffers"
stop_server
