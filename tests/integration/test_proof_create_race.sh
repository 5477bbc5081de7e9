#!/bin/bash
# open(O_CREAT) of one name by two clients while a third unlinks it. OPENS=1000000 for the long run.
# timeout: 300
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/stress/create_race
[ -x "$prog" ] || fail "$prog is not built"
case ${VARIANT:-plain} in plain) n=100000 ;; *) n=20000 ;; esac
mkdir "$T/vol"
start_server -v "$T/vol:t:rw,$ME_SQUASH"
"$prog" -n "${OPENS:-$n}" || fail "an open failed because of what others did"
stop_server
