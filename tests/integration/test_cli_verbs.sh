#!/bin/bash
# Proves: each verb that has a namesake in coreutils prints what that prints for the same tree, and changes a tree as that does.
# Runs as root and as an ordinary user. GOFER=path of the command (default build/gofer).
set -u
if [[ -z ${INSIDE:-} ]]; then
	GOFER=$(realpath "${GOFER:-build/gofer}")
	[[ -x $GOFER ]] || { echo "skip: no gofer at $GOFER"; exit 77; }
	top=$(mktemp -d)
	trap 'chmod -R u+rwx "$top"; rm -rf "$top"' EXIT
	mkdir "$top/vol" "$top/ref" "$top/second"
	export GOFER top INSIDE=1 LC_ALL=C TZ=UTC
	"$GOFER" serve -q ${GOFER_SERVE_OPTIONS:-} -v "$top/vol:vol" -v "$top/second:second" -v "$top/ref:locked:ro" --run "bash '$(realpath "$0")'"
	exit
fi

bad=0
fail() { echo "FAIL: $*"; bad=1; }
ok() { echo "ok: $*"; }
same() { # what, expected, got
	if [[ $2 == "$3" ]]; then ok "$1"; else fail "$1"; diff <(echo "$2") <(echo "$3"); fi
}
g() { "$GOFER" "$@"; }
status() { "$@" >/dev/null 2>&1; echo $?; }
v=$top/vol
umask 022

# ---- a tree to look at
mkdir -p "$v/a/b/c" "$v/.hidden" "$v/empty"
echo hello >"$v/a/file"
head -c 70000 /dev/urandom >"$v/a/b/large"
ln -s file "$v/a/link"
ln -s /a/file "$v/a/absolute"
ln -s nowhere "$v/dangling"
ln "$v/a/file" "$v/a/b/hard"
mkfifo "$v/pipe"
printf x >"$v/new
line"
printf y >"$v/$(printf 'esc\033[31m')"
chmod 4755 "$v/a/file"
chmod 1777 "$v/empty"
touch -d '2001-02-03 04:05:06.789' "$v/a/b/large"

for o in -l -la -lA -li -ln -lh -lS -lt -lr -1F -ls -lR -R -a -A -ld; do
	# ".." of the root is the root itself
	same "ls $o" "$(cd "$v" && command ls $o a --time-style=full-iso 2>&1)" "$(g ls $o vol:/a --time-style=full-iso | sed 's/^vol:\/a/a/; s/ vol:\/a$/ a/')"
done
same "ls on a pipe writes names as they are" "$(command ls -A "$v")" "$(g ls -A vol:/)"
same "ls of a file" "vol:/a/file" "$(g ls vol:/a/file)"
same "ls lists volumes" "locked: second: vol:" "$(g ls | sort | tr '\n' ' ' | sed 's/ $//')"
tty=$(script -qec "COLUMNS=80 $GOFER ls -1 vol:/" /dev/null | tr -d '\r')
[[ $tty != *$'\033'* && $tty == *"'esc'\$'\\033''[31m'"* ]] && ok "ls quotes control characters on a terminal" || fail "terminal: $(cat -v <<<"$tty")"
mkdir "$v/quotes"
for name in $'\001' $'\001a\002\003b' "it's" "it's \$" 'a"b' 'sp ace' '#x' 'x#' '~' 'a~' '$x' 'a;b' '{a}' '[a]' 'a=b' $'t\tn\n' $'\303\251' $'\377' '*' plain; do
	: >"$v/quotes/$name"
done
for o in -1 -C -l; do
	same "ls $o on a terminal quotes as ls does" "$(script -qec "stty cols 80; command ls ${o/-C/} --color=never $v/quotes" /dev/null | expand)" \
		"$(script -qec "stty cols 80; $GOFER ls ${o/-C/} vol:/quotes" /dev/null | expand)"
done
rm -r "$v/quotes"
tty=$(script -qec "$GOFER find vol:/" /dev/null)
[[ $tty != *$'\033'* && $tty == *'esc\x1b[31m'* ]] && ok "find escapes control characters on a terminal" || fail "find on a terminal"
message=$(g cat "vol:/$(printf 'no\033]0;title\007')" 2>&1)
[[ $message != *$'\033'* && $(wc -l <<<"$message") == 1 ]] && ok "errors are one line without control characters" || fail "error: $(cat -v <<<"$message")"

for f in '%a %A %b %B %d %D %f %F %h %i %o %s %t %T %u %g %U %G' '%x %y %z' '%X %Y %Z %W' '%w'; do
	for p in a/file a/link empty pipe a/b/large; do
		same "stat -c '$f' $p" "$(stat -c "$f" "$v/$p")" "$(g stat -c "$f" "vol:/$p")"
	done
done
same "stat" "$(cd "$v" && stat a/b/large)" "$(g stat vol:/a/b/large | sed 's/vol:\///')"
same "stat -L" "$(stat -L -c %i "$v/a/link")" "$(g stat -L -c %i vol:/a/link)"
same "stat --json" "$(stat -c %s "$v/a/file")" "$(g stat --json vol:/a/file | sed 's/.*"size":\([0-9]*\).*/\1/')"

g cat vol:/a/file vol:/a/b/large | cmp - <(cat "$v/a/file" "$v/a/b/large") && ok "cat" || fail "cat"
same "cat follows an absolute link inside its volume" hello "$(g cat vol:/a/absolute)"
same "readlink" file "$(g readlink vol:/a/link)"
same "readlink -f" vol:/a/file "$(g readlink -f vol:/a/absolute)"
same "readlink -f of what is to come" vol:/a/none "$(g readlink -f vol:/a/none)"

for e in "" "-name f*" "-iname FILE" "-type d" "-type l,f" "-maxdepth 1" "-mindepth 2" "-size +10k" "-empty" "-mtime +1000" \
	"-mmin -60" "-links 2" "! -type d" "-name a -prune -o -type f -print" "( -name file -o -name link )" "-perm -4000" "-depth" "-newer vol:/a/b/large"; do
	same "find $e" "$(find "$v" ${e//vol:/$v} | sed "s,^$v,vol:/,; s,//*,/,g" | sort)" "$(g find vol:/ $e | sort)"
done
same "find -print0" "$(find "$v" -print0 | sed -z "s,^$v,vol:/,; s,//*,/,g" | sort -z | od -c)" "$(g find vol:/ -print0 | sort -z | od -c)"
for o in -s -a "" -b "-d 1" -sh -sb -c; do
	same "du $o" "$(cd "$v" && du $o a | sort -k2)" "$(g du $o vol:/a | sed 's/vol:\/a/a/' | sort -k2)"
done
same "df" "$(df -P "$v" | awk 'NR==2{print $2}')" "$(g df vol: | awk 'NR==2{print $2}')"
same "df -i" "$(df -iP "$v" | awk 'NR==2{print $2}')" "$(g df -i vol: | awk 'NR==2{print $2}')"
same "tree" "2 directories, 5 files" "$(g tree vol:/a | tail -1)"

# ---- the same changes on both sides, compared as a whole
r=$top/ref
both() { # arguments with @ in place of where
	local a=("$@")
	(cd "$r" && command "${a[@]//@/./}") >/dev/null 2>&1
	local there=$?
	g "${a[@]//@/vol:/t/}" >/dev/null 2>&1
	local here=$?
	same "${a[*]}: exit status" "$there" "$here"
}
mkdir "$v/t"
both mkdir @d
both mkdir @d
both mkdir -p @p/q/r
both mkdir -m 1750 @m
both mkdir @none/below
both touch @f
both touch -d '2020-01-02 03:04:05.678' @dated
both touch -t 201001020304.05 @stamped
both touch -a -d "1977-01-01 00:00" @f
both touch -c @nothing
both truncate -s 12K @f
both truncate -s +5 @f
both truncate -s -1K @f
both chmod 600 @f
both chmod u+x,go=rX @f
both chmod -R a-w @p
both chmod -R u+w @p
both chmod +t @d
both ln -s target @s
both ln -s target @s
both ln -sf other @s
both ln @f @d
both ln @f @g
both cp @f @copy
both cp -r @p @p2
both cp @p @p3
both cp -a @dated @archived
both cp -n @dated @copy
both cp -a @s @s2
both mv @g @d/moved
both mv -n @copy @dated
both mv @archived @renamed
both mv @p2 @d
both mv @none @d
both mkdir @full @full/x
both rmdir @full
both rmdir -p @full/x
both rm @none
both rm -f @none
both rm @d
both rm -d @m
both rm @s2
both rm -rf @d/p2
mkfifo "$r/unused"
g mknod vol:/t/unused p
both find @ -name unused -delete
state() { (cd "$1" && find . -printf '%p %y %m %s %n %l ' -exec sh -c '[ -d "$1" ] && echo || stat -c "%U:%G" "$1"' _ {} \; | sed 's/^\(.* d .*\) [0-9]* \([0-9]*\) *$/\1/' | awk '$2=="d"{$4="";} 1' | sort); }
same "the trees are the same afterwards" "$(state "$r")" "$(state "$v/t")"
same "times that were set" "$(cd "$r" && stat -c '%n %y' dated stamped renamed)" "$(cd "$v/t" && stat -c '%n %y' dated stamped renamed)"

# ---- between volumes, attributes, sizes
g mv vol:/a/b second:/b && cmp "$top/second/b/hard" "$v/a/file" && [[ ! -e $v/a/b ]] && ok "mv between volumes" || fail "mv between volumes"
same "mv between volumes keeps times" "2001-02-03 04:05:06.789000000 +0000" "$(stat -c %y "$top/second/b/large")"
same "ln between volumes" 1 "$(status g ln vol:/a/file second:/x)"
truncate -s 1M "$v/holes"; printf end >>"$v/holes"
g cp vol:/holes vol:/holes2 && cmp "$v/holes" "$v/holes2" && same "cp keeps holes" "$(stat -c %b "$v/holes")" "$(stat -c %b "$v/holes2")"
if g xattr set vol:/a/file user.gofer 'some value' 2>/dev/null; then
	same "xattr get" "some value" "$(g xattr get vol:/a/file user.gofer)"
	same "xattr list" user.gofer "$(g xattr list vol:/a/file)"
	g xattr rm vol:/a/file user.gofer
	same "xattr rm" "" "$(g xattr list vol:/a/file)"
fi

# ---- the command itself
[[ $(g lss 2>&1) == *"did you mean 'ls'"* && $(status g lss) == 2 ]] && ok "an unknown verb suggests the nearest" || fail "unknown verb"
for verb in $(g --help | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p'); do
	[[ $verb == help ]] && continue
	[[ $(g "$verb" --help | head -1) == [uU]sage:* ]] || fail "$verb --help"
	# What `gofer run` exits with is the program's, but for 125.
	same "$verb: an unknown option is wrong usage" "$([[ $verb == run ]] && echo 125 || echo 2)" "$(status g "$verb" --no-such-option)"
done
same "no such volume" 1 "$(status g ls nothing:/)"
same "a read-only volume" "gofer: mkdir: make directory locked:/x: Read-only file system (the volume is served read-only)" "$(g mkdir locked:/x 2>&1)"
same "options before the verb" "$(g --json stat vol:/a/file)" "$(g stat vol:/a/file --json)"
same "a server that is not there" 1 "$(status g ls --server unix:/nonexistent/sock vol:/)"
same "devices are refused" 1 "$(status g mknod vol:/null c 1 3)"
[[ $(g stat --stats vol:/a 2>&1 >/dev/null) == *'"Stat": 1'*'"total": 1'* ]] && ok "--stats" || fail "--stats"
[[ $(g ping -c 10) == "10 round trips: min "* ]] && ok "ping" || fail "ping"
same "rpc" hello "$(g rpc --data-out - ReadFile '{"path":{"fs_id":'"$(g ls --json | sed -n 's/.*"volume":"vol","fs_id":\([0-9]*\).*/\1/p')"',"path":"a/file"},"count":100}')"
bash -n <(g completion bash) && ok "completion parses" || fail "completion"
exit $bad
