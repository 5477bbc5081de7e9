# Shared by the test scripts: a scratch directory, a server on it, and the check that nothing of it is left behind.
#
#	. "$(dirname "$0")/lib.sh"
#	start_server -v "$T/vol:t"        # waits for --ready-fd; exports GOFER_SERVER and GOFER_SERVER_PID
#	...
#	stop_server                       # SIGTERM, status 0, no process left, no sanitizer report
#
# GOFER_TEST_TRANSPORT=unix-stream lets server and clients speak over a stream of bytes. BUILD and GOFER name what is tested. Exit status: 0 holds, 1 does not, 77 cannot be tested here (the reason is printed).
set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${BUILD:=$here/build}"
: "${GOFER:=$BUILD/gofer}"
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
case $GOFER in /*) ;; *) GOFER=$PWD/$GOFER ;; esac
export BUILD GOFER
unset GOFER_SERVER

skip() { echo "SKIP: $*"; exit 77; } # the last line says why
fail() { echo "FAIL: $*" >&2; [ -s "${SERVER_LOG:-/dev/null}" ] && sed 's/^/  server: /' "$SERVER_LOG" | tail -n 40 >&2; exit 1; }

[ -x "$GOFER" ] || fail "$GOFER is not built"
T=$(mktemp -d "${TMPDIR:-/tmp}/gofer-test.XXXXXX") || exit 1
chmod 755 "$T"
SERVER_LOG=$T/server.log
SERVER_PID=
: >"$SERVER_LOG"
# Results under the user who runs the test, whatever the server's default would be.
ME_SQUASH=identity=squash=$(id -u):$(id -g)

# The descendants of a process, itself first: "pid starttime" lines (a number alone could be used again by somebody else).
process_tree() {
	local all=("$1") i=0 child
	while [ $i -lt ${#all[@]} ]; do
		for child in $(cat "/proc/${all[$i]}/task/"*/children 2>/dev/null); do all+=("$child"); done
		i=$((i + 1))
	done
	for i in "${all[@]}"; do
		sed -n 's/^\([0-9]*\) (.*) //p' "/proc/$i/stat" 2>/dev/null | awk -v pid="$i" '{ print pid, $20 }'
	done
}

alive() { # pid starttime
	[ "$(sed -n 's/^[0-9]* (.*) //p' "/proc/$1/stat" 2>/dev/null | awk '{ print $1 == "Z" ? "" : $20 }')" = "$2" ]
}

start_server() { # arguments of `gofer serve`
	local ready
	rm -f "$T/ready"
	mkfifo "$T/ready" || exit 1
	: >"$SERVER_LOG"
	"$GOFER" serve --listen "${GOFER_TEST_TRANSPORT:-unix}:$T/sock" --ready-fd 7 ${GOFER_TEST_SERVE_ARGS:-} "$@" 7>"$T/ready" 2>>"$SERVER_LOG" </dev/null &
	SERVER_PID=$!
	exec 8<"$T/ready"
	# Ends at once when the server does: then nobody holds the writing side any more.
	read -r -N 1 -t 30 -u 8 ready || fail "the server did not become ready"
	exec 8<&-
	export GOFER_SERVER=${GOFER_TEST_TRANSPORT:-unix}:$T/sock GOFER_SERVER_PID=$SERVER_PID
}

# Ends the server the polite way, and finds out what it leaves behind.
stop_server() {
	local tree status pid start left=
	[ -n "$SERVER_PID" ] || return 0
	tree=$(process_tree "$SERVER_PID")
	kill -TERM "$SERVER_PID" 2>/dev/null
	( exec 7>&- 8<&-; timeout 20 tail --pid="$SERVER_PID" -s 0.05 -f /dev/null ) || kill -KILL "$SERVER_PID"
	wait "$SERVER_PID"
	status=$?
	SERVER_PID=
	while read -r pid start; do
		alive "$pid" "$start" && left="$left $pid"
	done <<<"$tree"
	[ $status -eq 0 ] || fail "the server ended with status $status"
	[ -z "$left" ] || { kill -KILL $left; fail "processes left behind:$left"; }
	! grep -qE 'Sanitizer|runtime error' "$SERVER_LOG" || fail "sanitizer report in the server's log"
}

# What a directory holds, down to the change times: equal output, equal tree.
tree_print() {
	( cd "$1" && find . -printf '%p %y %m %U:%G %n %s %C@ %l\0' | sort -z | tr '\0' '\n'
	  find . -type f -print0 | sort -z | xargs -0r sha256sum
	  getfattr -R -d -m- --absolute-names . 2>/dev/null )
}

cleanup() {
	local status=$? left
	trap - EXIT
	if [ -n "$SERVER_PID" ]; then
		left=$(process_tree "$SERVER_PID" | cut -d' ' -f1)
		kill -KILL $left 2>/dev/null
		wait "$SERVER_PID" 2>/dev/null
	fi
	chmod -R u+rwX "$T" 2>/dev/null
	rm -rf "$T"
	exit $status
}
trap cleanup EXIT
trap 'exit 1' INT TERM
