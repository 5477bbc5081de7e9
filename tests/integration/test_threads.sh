#!/bin/bash
# Many threads on one session: every answer is right, on both sides, and no sanitizer finds a race.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/stress/threads
[ -x "$prog" ] || fail "$prog is not built"
"$prog" -t 6 -n 300 || fail "threads disturb each other"
"$prog" -t 2 -n 300 -s 2 || fail "two threads disturb each other"
"$prog" -t 6 -n 300 -c 4 -s 3 || fail "threads with channels disturb each other"
