#!/bin/bash
# Proves: this project builds inside as natively: the command, the library, the unit tests and their programs; and a unit test then passes.
# run: user
# run: long
# timeout: 1500
. "$(dirname "$0")/lib.sh"
prepare() { mkdir src && tar -C "$SRC" --exclude=.git --exclude='./build*' -cf - . | tar -C src -xf -; }
normalise() { sort; }
works "make programs" 'unset BUILD; cd src && make -j2 programs 2>&1'
works "the tests of paths and frames" 'unset BUILD; cd src && make -j2 build/tests/unit/test_path build/tests/unit/test_frame 2>&1 && build/tests/unit/test_path --tap=- 2>/dev/null | grep -c "^ok" && build/tests/unit/test_frame --tap=- 2>/dev/null | grep -c "^ok"'
finish
