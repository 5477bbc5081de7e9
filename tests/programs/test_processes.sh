#!/bin/bash
# Proves: every way to make processes and to run programs works inside as natively: fork, vfork, clone with shared directories and
# descriptors, threads, 1,000 processes at once; programs static and dynamic, scripts of scripts, by descriptor, and what may not run.
# run: user
. "$(dirname "$0")/lib.sh"
prepare() { cp "$BUILD/tests/programs/processes" self && cp "$BUILD/tests/programs/processes-static" static; }
works "making processes" './self . make'
works "running programs" './self . exec'
works "1,000 processes at once" 'ulimit -n; ./static . many 1000'
finish
