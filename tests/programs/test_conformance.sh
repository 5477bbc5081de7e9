#!/bin/bash
# Proves: some thousands of system calls on names give inside what they give natively: the same results, errors, types, modes, link
# counts, contents, and the same tree after each.
# run: user
# run: plain
# timeout: 300
. "$(dirname "$0")/lib.sh"
programs=$BUILD/tests/programs
need python3
prepare() { cp "$BUILD/tests/programs/conformance_$program" program; }
for program in paths pairs calls arguments; do
	fresh
	natively './program .' >"$T/native" 2>&1 || bad "$program: natively status $?"
	fresh
	inside './program .' >"$T/inside" 2>&1 || bad "$program: inside status $?"
	if "$SRC/tests/programs/conformance_compare.py" "$T/native" "$T/inside"; then ok "$program"; else bad "$program"; fi
done
finish
