#!/bin/bash
# Strict coherence with watches: whatever a third process changes, and however, is seen by whatever starts after it.
# More histories of each kind: GOFER_TEST_HISTORIES.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/cache_histories
[ -x "$prog" ] || fail "$prog is not built"
n=${GOFER_TEST_HISTORIES:-200}
# One of the changes is a mount.
trap 'status=$?; umount -l "$T/vol/d1/d2" 2>/dev/null; (exit $status); cleanup' EXIT

histories() { # arguments of the program; of the server after --
	local args=()
	while [ $# -gt 0 ] && [ "$1" != -- ]; do args+=("$1"); shift; done
	shift
	rm -rf "$T/vol"
	mkdir "$T/vol"
	touch "$T/vol/probe"
	setfattr -n user.x -v 1 "$T/vol/probe" 2>/dev/null || skip "no user xattrs on the file system of $T"
	start_server -v "$T/vol:t:rw,$ME_SQUASH" "$@"
	"$prog" "$T/vol" "${args[@]}" || fail "a change was not seen, or nothing was remembered: $*"
	stop_server
}
histories -n "$n" --
echo "the same with three watches, which are too few, and with none: right all the same"
histories -n 20 -cold -- --max-watches 3
histories -n 20 -cold -- --max-watches 0
