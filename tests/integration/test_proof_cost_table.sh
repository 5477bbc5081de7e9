#!/bin/bash
# The cost table: every row counted on the wire, then the same through the command and its --stats.
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/cost_table
[ -x "$prog" ] || fail "$prog is not built"

mkdir "$T/vol"
touch "$T/vol/probe"
setfattr -n user.x -v 1 "$T/vol/probe" 2>/dev/null || skip "no user xattrs on the file system of $T"
rm "$T/vol/probe"
start_server -v "$T/vol:t:rw,donate=always,$ME_SQUASH"
"$prog" "$T/vol" || fail "the cost table does not hold"

# What one command costs beyond its Hello: `rpcs VERB ARGS` prints "Stat=1 Read=2", without the session's own.
rpcs() {
	"$GOFER" --stats "$@" 2>"$T/err" >"$T/out" </dev/null || { cat "$T/err" >&2; return 1; }
	python3 - "$T/err" <<'PY'
import json, sys
line = [l for l in open(sys.argv[1], errors="replace") if l.startswith("{")][-1]
s = json.loads(line)
assert sum(s["rpcs"].values()) == s["total"], s
assert s["bytes_in"] > 0 and s["bytes_out"] > 0, s
print(" ".join(f"{k}={v}" for k, v in sorted(s["rpcs"].items()) if k not in ("Hello", "Close")))
PY
}

# A command makes the system calls that its namesake of coreutils makes, and each is one RPC: stat(1) reads the target of a
# link, ln -s asks whether the name is a directory, chmod what it is that it changes.
printf '\n%-26s %-20s %-20s %s\n' 'command' 'promised' 'depth 1' 'depth 8'
bad=0
row() { # promised, prepare (run in the directory), verb and arguments; @ stands for the directory
	local promised=$1 prepare=$2 got=() d at args
	shift 2
	for d in "" a/b/c/d/e/f/g/; do
		( cd "$T/vol/$d" && rm -rf x y && eval "$prepare" ) || fail "prepare: $prepare"
		at=t:/$d
		args=("${@//@/$at}")
		got+=("$(rpcs "${args[@]}")") || fail "gofer ${args[*]}"
	done
	printf '%-26s %-20s %-20s %s\n' "$*" "$promised" "${got[0]}" "${got[1]}"
	[ "${got[0]}" = "$promised" ] && [ "${got[1]}" = "$promised" ] || { echo "   FAIL"; bad=1; }
}
row Stat=1     'echo hello >x'    stat @x
row 'ReadLink=1 Stat=1' 'ln -s nowhere x' stat @x
row ReadLink=1 'ln -s y x'        readlink @x
row ReadFile=1 'echo hello >x'    cat @x
row ReadDir=1  'mkdir x; touch x/{1..40}' ls -l @x
row Mkdir=1    :                  mkdir @x
row Unlink=1   'mkdir x'          rmdir @x
row Mknod=1    :                  mknod @x p
row 'Stat=1 Symlink=1' :          ln -s target @x
row 'SetAttr=1 Stat=1' 'touch x'  chmod 600 @x
row SetAttr=1  'touch x'          truncate -s 10 @x
row GetXattr=1 'touch x; setfattr -n user.x -v 1 x' xattr get @x user.x
[ $bad -eq 0 ] || fail "the command costs more than promised"
stop_server
echo "every row as promised"
