#!/bin/bash
# timeout: 300
# run: plain
# The escape suite: a hostile program tries, by raw system calls, to read, write, make or only tell from nothing whatever lies
# outside the volumes of `gofer run`, in each mode of it (tests/escape). GOFER_ESCAPE_ROUNDS makes the races longer, and has every
# family run in every mode.
. "$(dirname "$0")/lib.sh"
host=$here/tests/escape/host.py
[ -x "$BUILD/tests/escape/escape" ] || fail "the escape suite is not built"
rounds=${GOFER_ESCAPE_ROUNDS:-12}

attack_in=()
attack() { # arguments of host.py
	"${attack_in[@]}" python3 "$host" "$BUILD" "$T/world" --rounds "$rounds" "$@" >"$T/report" 2>&1
	local status=$? name
	tail -n 60 "$T/report"
	# What cannot be held is written down.
	for name in $(sed -n 's/^limit \([a-z-]*\): .*/\1/p' "$T/report"); do
		grep -qF "(\`$name\`)" "$here/SECURITY.md" || fail "SECURITY.md does not know the limit $name"
	done
	return $status
}

# What a mode changes something for; everything with every layer.
some() { [ -n "${GOFER_ESCAPE_ROUNDS-}" ] && echo "" || echo "$1"; }

# Without a sandbox it must find that there is none: for each call some canary goes off. (Not every file system has xattrs.)
python3 "$host" "$BUILD" "$T/world" --rounds "$rounds" --native --verbose --families paths,race,swap,readonly >"$T/report" 2>&1 &&
	fail "the suite does not notice that there is no sandbox"
missed=$(awk '$2 == "paths:" { all[$3] = 1; if ($1 == "ESCAPE") out[$3] = 1 } END { for (c in all) if (!out[c] && c !~ /xattr/) print c }' "$T/report")
[ "$(awk '$2 == "paths:" { print $3 }' "$T/report" | sort -u | wc -l)" -gt 50 ] || fail "not all calls were tried: $(tail -n 3 "$T/report")"
[ -z "$missed" ] || fail "without a sandbox these do not get outside: $missed"
grep -q '^    ESCAPE  race: ' "$T/report" || fail "no race is won without a sandbox"
grep -q '^    ESCAPE  swap: ' "$T/report" || fail "no swap is won without a sandbox"
tail -n 1 "$T/report"

no_spaces=user,mount,pid,ipc,uts,net
failed=
attack -- || failed="$failed, with every layer"
attack --families "$(some readonly,descriptors,exec,processes,race)" -- --without landlock || failed="$failed, without landlock"
attack --families "$(some privileged,abi,proc,paths,readonly,descriptors,sockets,exec,processes,race,swap)" -- --without "$no_spaces" || failed="$failed, without namespaces"
attack --families "$(some privileged,proc,paths,readonly,descriptors,sockets,exec,processes,swap)" -- --without "$no_spaces,landlock" || failed="$failed, without namespaces and landlock"
attack --families sockets,paths -- --net host || failed="$failed, with the host's network"
attack --families inherited --stdin file -- || failed="$failed, with a file as standard input"
attack --families inherited --stdin file -- --without "$no_spaces" || failed="$failed, with a file as standard input and no namespaces"
# Where nobody may make a user namespace, the private server has no mounts of its own either: descriptors are all that is read-only.
forbid='echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all -- "$@"'
forbidden=(unshare -U --map-current-user --keep-caps sh -c "$forbid" sh)
if [ "$(id -u)" != 0 ] && "${forbidden[@]}" true 2>/dev/null && ! "${forbidden[@]}" unshare -U true 2>/dev/null; then
	attack_in=("${forbidden[@]}")
	attack --families "$(some paths,readonly,descriptors,exec,race,swap)" -- || failed="$failed, where user namespaces are forbidden"
	attack --families readonly,processes,privileged,sockets -- --without mount,landlock || failed="$failed, where user namespaces are forbidden and without landlock"
	attack --families inherited --stdin file -- || failed="$failed, where user namespaces are forbidden, with a file as standard input"
	# Nobody gets that unasked.
	"${attack_in[@]}" "$GOFER" run --without landlock -- true 2>"$T/error" && failed="$failed, with neither layer and unasked"
	[ "$(wc -l <"$T/error")" = 1 ] && grep -q 'neither layer mount .* nor layer landlock' "$T/error" || failed="$failed, and nobody says that neither layer is there"
	attack_in=()
fi
# A directory would be a way out from the start.
"$GOFER" run -v "$T:$T" -- true <"$T" 2>"$T/error" && failed="$failed, with a directory as standard input"
grep -q 'is a directory' "$T/error" || failed="$failed, and nobody says why a directory is refused"
[ -z "$failed" ] || fail "it got out${failed}"
