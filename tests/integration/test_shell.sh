#!/bin/bash
# gofer shell without a terminal: verbs of one session do what they do alone, and what one has learned costs the next no request; scripts, -c, -e,
# statuses; a server that goes away, and signals, end a verb and leave nothing behind.
# In memory where that is possible: thousands of files come and go.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

mkdir -p "$T/vol/dir/sub" "$T/other" "$T/state"
export XDG_STATE_HOME=$T/state LC_ALL=C
echo one >"$T/vol/dir/one"
echo two >"$T/vol/dir/sub/two words"
ln -s dir "$T/vol/way"
start_server -v "$T/vol:v:rw,donate=never,$ME_SQUASH" -v "$T/other:w:rw,$ME_SQUASH"

sh() { # status, script on standard input, arguments: its output is in $T/out
	local want=$1 script=$2 got
	shift 2
	printf '%s' "$script" | timeout -k 1 60 "$GOFER" shell "$@" >"$T/out" 2>"$T/err"
	got=$?
	[ $got = "$want" ] || fail "status $got instead of $want: $script: $(cat "$T/out" "$T/err")"
}
says() { [ "$(cat "$T/out")" = "$1" ] || fail "says '$(cat "$T/out")' instead of '$1': $(cat "$T/err")"; }
complains() { grep -qF -- "$1" "$T/err" || fail "does not say '$1': $(cat "$T/err")"; }

# Paths: relative ones, those of the volume, those of another; the directory that is current.
sh 0 $'ls\n' && says $'v:\nw:'
sh 1 $'cat dir/one\n' && complains "not of the form NAME:/path"
sh 0 $'cd v:\npwd\ncat dir/one\ncd dir\ncat one /dir/one v:/dir/one\ncd sub\npwd\ncat "two words"\ncd ..\npwd\ncd -\npwd\ncd\npwd\ncd w:; pwd; cat v:dir/one\n' &&
	says $'v:/\none\none\none\none\nv:/dir/sub\ntwo\nv:/dir\nv:/dir/sub\nv:/\nw:/\none'
sh 0 $'cd v:/way\npwd\nls\nfind . -name one\ncd ../../..; pwd' && says $'v:/dir\none\nsub\nv:/dir/one\nv:/'
sh 0 $'cd v:/dir\nfind' && [ "$(sort "$T/out")" = $'v:/dir/.\nv:/dir/one\nv:/dir/sub\nv:/dir/sub/two words' ] || fail "find: $(cat "$T/out")"
sh 1 $'cd v:/dir/one' && complains "Not a directory"
sh 1 $'cd v:/none' && complains "No such file"
sh 2 $'cd -' && complains "no directory before"
# What is refused as a name of the current directory stays refused.
sh 1 $'cd v:/dir\nrm -r .\nrm -rf ..\nrm -rf ""\nrm -rf /' && [ -e "$T/vol/dir/one" ] && complains "refusing"

# Statuses: of the last command; -e stops at the first that fails; exit says its own.
sh 0 $'cat v:/none\npwd -x\nls'
sh 1 $'ls v:\ncat v:/none'
sh 2 $'ls --none'
sh 2 $'nonsense v:/' && complains "unknown verb 'nonsense'"
sh 2 $'serve\nrun\nshell\nstress\ncompletion bash' && complains "unknown verb 'completion'" && says ""
sh 1 $'ls\ncat v:/none\nls v:' -e && says $'v:\nw:'
sh 3 $'exit 3\nls' && says ""
sh 1 $'cat v:/none\nexit'
sh 0 'cat v:/dir/one # the last line has no end' && says one
sh 0 $'# nothing\n\n  ;; \n' && says ""
sh 2 $'cat v:/dir/one > x\nls v:/dir/sub | cat; ls v:/\nls -Q' && complains "'>' means nothing here" && complains "'|' means nothing" && says ""
sh 0 $'cat v:/dir/sub/two\\ words\ncat \'v:/dir/sub/two words\'; cat "v:/dir/sub/two words"; cat v:/dir/sub/two$\'\\x20\'words' && says $'two\ntwo\ntwo\ntwo'
sh 0 $'cat v:/dir/\\\none; cat \\\n v:/dir/one' && says $'one\none'
sh 2 $'ls v:\ncat \'v:/dir' && complains "left open"
sh 0 $'ls --help\nhelp ls\nhelp\nhelp cd' && grep -q '^usage: gofer ls' "$T/out" && grep -q '^  cat  ' "$T/out" && ! grep -q '^  serve' "$T/out" || fail "help: $(cat "$T/out")"
sh 2 $'ls --server unix:/none v:' && complains "options of gofer shell itself"
timeout 60 "$GOFER" shell -c 'cat v:/dir/one; pwd' >"$T/out" 2>"$T/err" && fail "-c: status 0"
says one && complains "no volume is current"
timeout 60 "$GOFER" shell "$GOFER_SERVER" -e -c $'cd v:/dir\ncat one\ncat none\ncat one' >"$T/out" 2>"$T/err" && fail "-e -c: status 0"
says one
(unset GOFER_SERVER && timeout 60 "$GOFER" shell "unix:$T/sock" -c ls >"$T/out") || fail "an address as operand"
timeout 60 "$GOFER" shell unix:/none -c ls 2>"$T/err" && fail "a server that is not there"
[ $? = 1 ] && complains "cannot reach the server"

# Verbs with state of their own, one after the other, and after failures in the middle of their options.
sh 0 $'cd v:/dir
touch -d @5 a; touch -d nonsense b; touch b
chmod 600 a; chmod zz a; ln -s a l; ln a h; mv h h2; cp a c; mkdir -p p/q; mkdir -m zz r; truncate -s 5 c; truncate -s zz c
find . -name ( ; find . -newer none ; find ( -name a ; find p -delete ; find -name zz -o ) ; rpc Stat {} ; rpc Ping ; xattr set a ; tree -L zz; du -d zz; df; ping -c 2
get -r . '"$T/got"$'; put '"$T/got"$'/one back; rm -i one
n
rm -v h2 l c back a b
stat -c %n one\n'
[ -e "$T/vol/dir/one" ] && [ ! -e "$T/vol/dir/a" ] && [ ! -e "$T/vol/dir/p" ] && [ -e "$T/got/sub/two words" ] || fail "verbs after verbs: $(cat "$T/err")"
sh 0 "lcd $T/got"$'\nlpwd\nget v:/dir/one here\nput here v:/put-from-here\n' && says "$T/got" && [ "$(cat "$T/vol/put-from-here")" = one ] || fail "lcd"
[ "$(stat -c %a "$T/got")" = 755 ] || fail "the umask of a verb: $(stat -c %a "$T/got")"

# What is known costs nothing, in the modes that remember.
total() { sed -n "$1s/.*\"total\": \([0-9]*\),.*/\1/p" "$T/err"; }
sh 0 $'cat v:/dir/one
cat --stats v:/dir/one
stat --stats v:/dir/one
ls --stats v:/dir\nls --stats v:/dir
find --stats v:/dir
cd v:/dir; cat --stats one' --interop exclusive
[ "$(total 1)$(total 2)$(total 4)$(total 6)" = 0000 ] || fail "exclusive, warm: $(cat "$T/err")"
sh 0 $'cat v:/dir/one\ncat --stats v:/dir/one'
[ "$(total 1)" = 1 ] || fail "shared: $(cat "$T/err")"
sh 0 $'ls v:\nls v:\n' --stats && [ "$(total 1)" = 2 ] || fail "--stats of the shell: $(cat "$T/err")"
sh 0 $'stat v:/dir\n' --json && grep -q '"type":"directory"' "$T/out" || fail "--json of the shell"

# A server that goes away ends the verb, not the shell; the next verb finds the new one. A script is held up at a FIFO meanwhile.
mkfifo "$T/script"
: >"$T/out"
: >"$T/err"
timeout -k 1 60 "$GOFER" shell <"$T/script" >"$T/out" 2>"$T/err" &
pid=$!
exec 4>"$T/script"
echo $'cd v:/dir\ncat one' >&4
grep -qm1 one <(timeout 30 tail -n +1 -f --pid=$pid -s 0.02 "$T/out") || fail "no answer before"
stop_server
echo $'cat one\ncat one' >&4
grep -qm1 "cannot reach" <(timeout 30 tail -n +1 -f --pid=$pid -s 0.02 "$T/err") || fail "no complaint: $(cat "$T/err")"
start_server -v "$T/vol:v:rw,donate=never,$ME_SQUASH" -v "$T/other:w:rw,$ME_SQUASH" 4>&-
echo $'cat one\nstat -c back=%n one' >&4
exec 4>&-
wait $pid || fail "after the server came back: status $?: $(cat "$T/out" "$T/err")"
tail -n 2 "$T/out" | cmp - <(printf 'one\nback=one\n') || fail "after the server came back: $(cat "$T/out")"

# Copies that are interrupted, and copies whose server is killed, leave nothing half done, and the shell's memory in order (see ASan). The names
# that they print are more than the pipe takes, so that they wait, somewhere in the middle.
mkdir "$T/vol/many" && (cd "$T/vol/many" && seq 1000 | split -l 1 -a 180 && head -c 3000000 /dev/zero >large && ln large hard && mkdir sub && touch sub/x)
mkfifo "$T/gate"
for how in int kill; do
	for verb in get put; do
		rm -rf "$T/cut" "$T/vol/cut"
		[ $verb = get ] && args="-rv v:/many $T/cut" || args="-rv $T/vol/many v:/cut"
		"$GOFER" shell -c "$verb $args; stat -c alive v:/dir" >"$T/gate" 2>"$T/err" &
		pid=$!
		exec 5<"$T/gate"
		read -r _ <&5
		if [ $how = int ]; then
			kill -INT $pid
		else
			for p in $(process_tree "$SERVER_PID" | cut -d' ' -f1); do kill -KILL "$p"; done
			wait "$SERVER_PID" 2>/dev/null
		fi
		cat <&5 >"$T/out"
		exec 5<&-
		wait $pid
		code=$?
		[ $how = int ] && { [ $code = 130 ] || fail "$verb interrupted: status $code: $(cat "$T/err")"; }
		[ $how = kill ] && { [ $code = 1 ] || fail "$verb, server killed: status $code: $(cat "$T/err")"; }
		[ -z "$(find "$T/cut" -name '.gofer-*' 2>/dev/null)" ] || fail "$verb, $how: temporary names"
		[ $how = kill ] && start_server -v "$T/vol:v:rw,donate=never,$ME_SQUASH" -v "$T/other:w:rw,$ME_SQUASH"
	done
done
stop_server
