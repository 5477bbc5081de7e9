#!/bin/bash
# timeout: 300
# run: plain
# The escape suite: a hostile program tries, by raw system calls, to read, write, make or only tell from nothing whatever lies
# outside the volumes of `gofer run`, in each mode of it (tests/escape). GOFER_ESCAPE_ROUNDS makes the races longer.
. "$(dirname "$0")/lib.sh"
host=$here/tests/escape/host.py
[ -x "$BUILD/tests/escape/escape" ] || fail "the escape suite is not built"
rounds=${GOFER_ESCAPE_ROUNDS:-40}

attack() { # arguments of host.py
	python3 "$host" "$BUILD" "$T/world" --rounds "$rounds" "$@" >"$T/report" 2>&1
	local status=$?
	tail -n 60 "$T/report"
	return $status
}

# Without a sandbox it must find that there is none: every kind of canary goes off.
attack --native --families paths,race,swap,readonly && fail "the suite does not notice that there is no sandbox"
for call in openat stat execve unlink rename link mknod connect bind chdir getxattr truncate inotify_add_watch; do
	grep -q "^ESCAPE  paths: $call" "$T/report" || fail "without a sandbox, $call does not get outside"
done
grep -q '^ESCAPE  race: ' "$T/report" || fail "no race is won without a sandbox"
grep -q '^ESCAPE  swap: ' "$T/report" || fail "no swap is won without a sandbox"

no_spaces=user,mount,pid,ipc,uts,net
failed=
attack -- || failed="$failed, with every layer"
attack -- --without landlock || failed="$failed, without landlock"
attack -- --without "$no_spaces" || failed="$failed, without namespaces"
attack -- --without "$no_spaces,landlock" || failed="$failed, without namespaces and landlock"
attack --families sockets,paths -- --net host || failed="$failed, with the host's network"
attack --families inherited --stdin file -- || failed="$failed, with a file as standard input"
attack --families inherited --stdin directory -- || failed="$failed, with a directory as standard input"
attack --families inherited --stdin file -- --without "$no_spaces" || failed="$failed, with a file as standard input and no namespaces"
[ -z "$failed" ] || fail "it got out${failed}"
