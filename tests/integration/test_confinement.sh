#!/bin/bash
# A worker's world seen from inside: each attempt to get out of it, and how it fails. As whoever runs this; for root also as a worker
# that switches identities, and as an ordinary user with user namespaces.
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

view=$BUILD/tests/integration/confinement_view
[ -x "$view" ] || fail "$view is not built"

look() { # title, user or "", volume options
	local dir
	dir=$(mktemp -d "$T/view.XXXXXX") && chmod 755 "$dir" || exit 1
	echo "== $1"
	if [ -n "$2" ]; then
		chown "$2:$2" "$dir"
		setpriv --reuid="$2" --regid="$2" --clear-groups "$view" "$dir" "$3" </dev/null || fail "$1"
	else
		"$view" "$dir" "$3" </dev/null || fail "$1"
	fi
}

"$GOFER" serve --explain-confinement -v "$T:t:ro" || skip "not every layer of confinement can be had here"
if [ "$(id -u)" -eq 0 ]; then
	look "root" "" ""
	look "root, squashed to another user" "" "identity=squash=54321:54321"
	look "root, delegating" "" "identity=delegate,uids=1000-2000,gids=1000-2000"
	look "an ordinary user" 54321 ""
else
	look "an ordinary user" "" ""
fi
