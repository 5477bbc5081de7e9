#!/bin/bash
# S16 S19: renames and exchanges race with requests that pass through them; nothing outside is reached or changed.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/stress/rename_escape
[ -x "$prog" ] || fail "$prog is not built"
mkdir -p "$T/base/vol/a/b/c/d" "$T/base/vol/m/deep/x/y/z" "$T/base/outside/c/d"
base=$T/base
for f in outside/secret outside/c/d/secret; do echo "canary $f" >"$base/$f"; done
for f in vol/a/b/secret vol/a/b/c/d/secret; do echo "inside" >"$base/$f"; done
ln -s "$base/outside" "$base/vol/a/link_abs"
ln -s ../../outside "$base/vol/a/link_rel"
# The directory's own times change as the attackers move things through it: everything else must not.
outside_print() { ( cd "$base/outside" && find . -mindepth 1 -printf '%p %y %m %U:%G %n %i %s %l\n' | sort; cat secret c/d/secret; find . -type f -printf '%p %C@\n' | sort ); }
outside_print >"$T/before"
# With every layer, and with the inode-walk for every path.
start_server -v "$base/vol:t:rw,donate=always,$ME_SQUASH"
"$prog" -t "${SECONDS_EACH:-3}" "$base" || fail "something outside was reached"
stop_server
[ ! -e "$base/outside/moved" ] || mv "$base/outside/moved" "$base/vol/m/deep"
outside_print | diff "$T/before" - || fail "the tree outside changed"
