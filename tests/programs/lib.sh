# Shared by the tests of `gofer run`: the same thing natively and inside, each in a fresh copy of one directory, then compared.
#
#	. "$(dirname "$0")/lib.sh"
#	prepare() { ...; }                # makes what the command finds; runs in $W, natively, before each of the two
#	normalise() { sed ...; }          # takes from the output what may differ (times, process ids); as it is: nothing
#	same "what" 'shell command'       # equal output and equal exit status; -t: and equal trees
#	inside_args=(-v ...)              # more arguments for gofer run
#	finish                            # the exit status of the test
#
# $W has the same path on both sides and is the only thing that may be written inside. HOME is in it, and so is TMPDIR.
. "$(dirname "${BASH_SOURCE[0]}")/../integration/lib.sh"

W=$T/w
failures=0
inside_args=()
ok() { echo "ok: $*"; }
bad() { echo "FAIL: $*"; failures=$((failures + 1)); }
finish() { exit $((failures > 0)); }
need() { for c; do command -v "$c" >/dev/null || skip "$c is not installed"; done; }

# The shortest program there is. Where it cannot run, nothing can be tested.
"$GOFER" run --help >/dev/null 2>&1 || skip "this gofer has no run"

prepare() { :; }
normalise() { cat; }
fresh() {
	chmod -R u+rwX "$W" 2>/dev/null
	rm -rf "$W"
	mkdir "$W" "$W/home" "$W/tmp"
	(cd "$W" && prepare) || fail "cannot prepare"
}
clean_environment() {
	environment=(PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME="$W/home" TMPDIR="$W/tmp" LANG=C.UTF-8 TZ=UTC SRC="$SRC" BUILD="$BUILD"
		GOFER_TEST_ID="${GOFER_TEST_ID-}" LD_LIBRARY_PATH="${LD_LIBRARY_PATH-}")
}
natively() { # command line
	clean_environment
	(cd "$W" && exec env -i "${environment[@]}" bash -c "$1") </dev/null
}
# gofer run with the volume and the environment; its own arguments and the command follow.
sandboxed() {
	local e args=()
	clean_environment
	for e in "${environment[@]}"; do args+=(--env "$e"); done
	"$GOFER" run -v "$W:$W:rw" "${inside_args[@]}" --chdir "$W" --clearenv "${args[@]}" "$@"
}
inside() { # command line
	sandboxed -- bash -c "$1" </dev/null
}
tree_of() {
	(cd "$W" && find . -mindepth 1 -printf '%p %y %m %n %l\n' | sed -E 's/^(.* d [0-7]+) [0-9]+ /\1 - /' | LC_ALL=C sort
	 find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
}

same() { # [-t] what, command line
	local trees=no a b what
	[[ $1 == -t ]] && trees=yes && shift
	what=$1
	fresh
	# Through a pipe: a program that opens /dev/stderr would empty a file.
	natively "$2" 2>&1 | cat >"$T/native.raw"
	a=${PIPESTATUS[0]}
	[[ $trees == no ]] || tree_of >"$T/native.tree"
	fresh
	inside "$2" 2>&1 | cat >"$T/inside.raw"
	b=${PIPESTATUS[0]}
	[[ $trees == no ]] || tree_of >"$T/inside.tree"
	normalise <"$T/native.raw" >"$T/native.out"
	normalise <"$T/inside.raw" >"$T/inside.out"
	if [[ $a != "$b" ]]; then
		bad "$what: natively status $a, inside $b"
		tail -n 5 "$T/native.raw" | sed 's/^/  natively: /'
		tail -n 15 "$T/inside.raw" | sed 's/^/  inside:   /'
	elif ! cmp -s "$T/native.out" "$T/inside.out"; then
		bad "$what: other output ($(diff "$T/native.out" "$T/inside.out" | grep -c '^[<>]') lines differ; < natively, > inside)"
		diff "$T/native.out" "$T/inside.out" | head -n "${DIFF_LINES:-60}"
	elif [[ $trees == yes ]] && ! cmp -s "$T/native.tree" "$T/inside.tree"; then
		bad "$what: another tree (< natively, > inside)"
		diff "$T/native.tree" "$T/inside.tree" | head -n "${DIFF_LINES:-60}"
	else
		[[ -z ${SHOW-} ]] || sed 's/^/  | /' "$T/native.raw"
		ok "$what: status $a, $(wc -l <"$T/native.out") lines of output$([[ $trees == no ]] || echo ", $(wc -l <"$T/native.tree") of the tree")"
		LAST_STATUS=$a
		return 0
	fi
	LAST_STATUS=$a
	return 1
}
# The same, and it must have worked: two equal failures would prove nothing.
works() {
	if same "$@" && [[ $LAST_STATUS != 0 ]]; then
		bad "${*: -2:1}: fails natively too, status $LAST_STATUS"
		tail -n 20 "$T/native.raw"
	fi
}
