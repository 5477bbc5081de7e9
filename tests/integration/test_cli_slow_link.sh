#!/bin/bash
# timeout: 300
# On a slow link, get -r, put -r, find, du and rm -r keep the pipe full: N small files take N*3/200 rounds at most (or 30), as 10,000 in 3 seconds would
# where a round takes 20 ms. A round is one wait for answers; relay.c counts them, by no clock. And what they do is what they do without a link.
# In memory where that is possible: thousands of files come and go.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

relay=$BUILD/tests/integration/relay
[ -x "$relay" ] || skip "$relay is not built"
files=${GOFER_TEST_FILES:-1000} # 10000 in make bench-delay
most=$((files > 2000 ? files * 3 / 200 : 30))
export LC_ALL=C

plant() { # directory, subdirectories: the files, evenly
	local i per=$((files / $2))
	for ((i = 0; i < $2; i++)); do
		mkdir -p "$1/a$((i % 10))/b$i" && (cd "$1/a$((i % 10))/b$i" && seq "$per" | split -l 1 -a 4) || fail "cannot make the tree"
	done
}
mkdir "$T/vol"
plant "$T/vol/src" 50
mkdir "$T/vol/wide"
(cd "$T/vol/wide" && seq -f 'd%g' 400 | xargs mkdir && touch d77/x)
ln -s src "$T/vol/link"
start_server -v "$T/vol:v:rw,donate=never,$ME_SQUASH"

far() { # most rounds, command: its output is in $T/out
	local limit=$1 n
	shift
	"$relay" --rounds --report "$T/report" "$GOFER_SERVER" "$GOFER" "$@" >"$T/out" 2>"$T/err" || fail "$*: status $?: $(cat "$T/err")"
	[ ! -s "$T/err" ] || fail "$*: $(cat "$T/err")"
	n=$(sed -n 's/^{"rounds": \([0-9]*\),.*/\1/p' "$T/report")
	echo "$n rounds (at most $limit): gofer $*"
	[ -n "$n" ] && [ "$n" -le "$limit" ] || fail "$*: too many rounds"
}
near() { "$GOFER" "$@" >"$T/want" || fail "$*"; cmp "$T/want" "$T/out" || fail "$*: another output than without a link"; }

# What they print, and in which order.
far 20 find v:/src && near find v:/src
(cd "$T/vol" && find src) | sed 's,^,v:/,' | sort | cmp - <(sort "$T/out") || fail "find does not find what find(1) finds"
awk -F/ '{ d = $0; sub("/[^/]*$", "", d); if (NR > 1 && !(d in seen)) exit 1; seen[$0] }' "$T/out" || fail "find: an object before its directory"
far 20 find v:/src -depth && near find v:/src -depth
awk '{ d = $0; while (sub("/[^/]*$", "", d)) if (d in seen) exit 1; seen[$0] }' "$T/out" || fail "find -depth: a directory before what is in it"
far 20 du -a v:/src && near du -a v:/src
(cd "$T/vol" && du -a src) | sed 's,\t,\tv:/,' | sort | cmp - <(sort "$T/out") || fail "du -a does not say what du(1) says"
far 20 find v:/wide -type d -empty && near find v:/wide -type d -empty
[ "$(wc -l <"$T/out")" = 399 ] || fail "find -empty: $(wc -l <"$T/out") directories"
far 20 find v:/wide -maxdepth 1 -empty -name d5 && [ "$(cat "$T/out")" = v:/wide/d5 ] || fail "find -maxdepth -empty: $(cat "$T/out")"
far 20 find v:/src -mindepth 1 -maxdepth 1 && near find v:/src -mindepth 1 -maxdepth 1
far 20 find v:/src -name a3 -prune -o -type d -print && near find v:/src -name a3 -prune -o -type d -print
far 20 find v:/src -name b24 -quit
far 20 find v:/link/a1 -type d && near find v:/link/a1 -type d

# Trees, there and back.
far "$most" get -r v:/src "$T/copy"
diff -r "$T/copy" "$T/vol/src" || fail "get -r: not the same tree"
far "$most" put -r "$T/copy" v:/back
diff -r "$T/vol/back" "$T/vol/src" || fail "put -r: not the same tree"
far "$most" put -rT "$T/copy" v:/back
diff -r "$T/vol/back" "$T/vol/src" || fail "put -r over a tree: not the same tree"
far "$most" rm -rv v:/back
[ ! -e "$T/vol/back" ] && [ "$(wc -l <"$T/out")" -ge "$files" ] || fail "rm -r: $(ls -d "$T/vol/back")"
mv "$T/copy" "$T/vol/copy"
far "$most" find v:/copy -type f -name 'x*[a-m]' -delete
(cd "$T/vol" && cp -r src native && find native -type f -name 'x*[a-m]' -delete) && diff -r "$T/vol/native" "$T/vol/copy" || fail "find -delete"
far "$most" find v:/copy -delete
[ ! -e "$T/vol/copy" ] || fail "find -delete left something"
# Success decides about what follows, and emptiness is what is so at that moment.
mkdir -p "$T/vol/e/f/g" "$T/vol/e/h" && touch "$T/vol/e/h/full"
far 30 find v:/e -depth -type d -empty -delete -print
[ "$(cat "$T/out")" = "v:/e/f/g
v:/e/f" ] && [ -e "$T/vol/e/h/full" ] && [ ! -e "$T/vol/e/f" ] || fail "find -empty -delete -print: $(cat "$T/out")"

# Links on the way to an operand are followed, in the removing as in the looking.
mkdir -p "$T/vol/behind/tree/sub" && touch "$T/vol/behind/tree/sub/x" "$T/vol/behind/file" "$T/vol/behind/tree/y" && ln -s behind "$T/vol/way"
far 10 rm v:/way/file && far 10 rm -r v:/way/tree/ && [ -z "$(ls "$T/vol/behind")" ] && [ -L "$T/vol/way" ] || fail "rm through a link"
mkdir -p "$T/vol/behind/tree/sub" && touch "$T/vol/behind/tree/x"
far 15 find v:/way/tree/ -delete && [ -z "$(ls "$T/vol/behind")" ] || fail "find -delete through a link"
far 10 rm v:/way && [ -d "$T/vol/behind" ] || fail "rm of a link"

# Somebody fills a directory of several replies while it is removed: it is walked again. Output that nobody reads holds rm up meanwhile.
mkdir "$T/vol/filling" && (cd "$T/vol/filling" && seq 3500 | split -l 1 -a 5)
mkfifo "$T/gate"
"$GOFER" rm -rv v:/filling >"$T/gate" 2>"$T/err" &
pid=$!
exec 5<"$T/gate"
read -r _ <&5
(cd "$T/vol/filling" && seq 200 | split -l 1 -a 5 - late) || fail "rm did not wait"
cat <&5 >/dev/null
exec 5<&-
wait $pid || fail "rm of a directory that was being filled: $(cat "$T/err")"
[ ! -e "$T/vol/filling" ] || fail "rm left $(ls "$T/vol/filling" | wc -l) names"

# What cannot be removed is said once, and what holds it is not tried.
if [ "$(id -u)" != 0 ]; then
	mkdir -p "$T/vol/p/q/r" && touch "$T/vol/p/q/r/stays" "$T/vol/p/goes" && chmod 555 "$T/vol/p/q/r"
	"$GOFER" rm -r v:/p 2>"$T/err" && fail "rm of what cannot be removed"
	[ "$(cat "$T/err")" = "gofer: rm: remove v:/p/q/r/stays: Permission denied" ] && [ ! -e "$T/vol/p/goes" ] || fail "rm: $(cat "$T/err")"
	chmod 755 "$T/vol/p/q/r"
fi
stop_server
