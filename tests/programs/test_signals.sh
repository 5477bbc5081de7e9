#!/bin/bash
# Proves: signals during intercepted calls do what they do natively: no EINTR where Linux gives none, no call done twice, SA_RESTART and
# its absence on a call that waits; processes and threads that end while they call leave nothing behind.
# run: user
. "$(dirname "$0")/lib.sh"
prepare() { cp "$BUILD/tests/programs/signals" program; }
works "a storm of signals" './program . storm 700 2>/dev/null'
works "a call that waits" './program . restart'
works "processes killed while they call" './program . killed 200'
works "threads that end while they call" './program . threads'
finish
