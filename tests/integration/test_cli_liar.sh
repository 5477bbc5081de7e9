#!/bin/bash
# A server that lies about types, names and depths, or says nothing: rm -r and find -delete remove nothing outside, and end by themselves.
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

liar=$BUILD/tests/integration/liar
[ -x "$liar" ] || skip "$liar is not built"
lies() { # lie, words expected, command
	local lie=$1 words=$2
	shift 2
	"$liar" "$lie" "$GOFER" "$@" >"$T/out" 2>"$T/err" || fail "$lie: $*: $(tail -n 40 "$T/err")"
	grep -qE -- "$words" "$T/out" || fail "$lie: $*: $(cat "$T/out" "$T/err")"
	echo "ok: $lie: $*"
}

lies types '^ended with 0: 4 listings, 5 removals' rm -r v:/t
lies types '^ended with 0: 4 listings, 5 removals' find v:/t -delete
lies types '^ended with 0: 4 listings' du v:/t
# S75
for LIAR_NAME in .. . '' / a/../../x /etc x/; do
	export LIAR_NAME
	lies names '^ended with 1: 1 listings, 0 removals' rm -r v:/t
	lies names '^ended with 1: 1 listings, 0 removals' find v:/t -delete
done
lies deep '^ended with 1: ' rm -r v:/t
lies deep '^ended with 1: ' find v:/t -delete
# A shell outlives its verbs, and may hear of what they asked for after they have ended.
lies silent '^ended with 1: 2 listings, 1 removals' shell --timeout 1 -c 'rm -r v:/t'
lies silent '^ended with 1: 2 listings, 1 removals' shell --timeout 1 -c 'find v:/t -delete'
