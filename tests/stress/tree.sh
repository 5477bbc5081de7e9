#!/bin/bash
# A tree of FILES files copied out with `gofer get -r` and in with `gofer put -r`: identical by rsync's judgement, with the time that
# `cp -a` takes beside it.
#
#	FILES=100000 tests/stress/tree.sh
. "$(dirname "$0")/../integration/lib.sh"
FILES=${FILES:-3000}

now() { echo "${EPOCHREALTIME/./}"; }
seconds() { awk -v us=$(($(now) - $1)) 'BEGIN { printf "%.2f s", us / 1e6 }'; }
# rsync compares type, mode, owner, times, size, content, links, hard links, ACLs and xattrs; it prints what it would change.
same() {
	local out
	out=$(rsync -aHAXn --checksum --delete --itemize-changes "$1/" "$2/") || fail "rsync"
	[ -z "$out" ] || { head -n 20 <<<"$out" >&2; fail "$2 differs from $1 ($(wc -l <<<"$out") differences)"; }
}

# Copying keeps sparse files sparse: what they take on the disk, within a tenth.
disk() { du -sk "$1" | cut -f1; }

mkdir "$T/served" "$T/in" "$T/out" "$T/cp"
python3 "$here/tests/stress/tree.py" "$T/served/tree" "$FILES" || fail "no tree"
start_server -v "$T/served:s:ro,$ME_SQUASH" -v "$T/in:in:rw,$ME_SQUASH"

t=$(now)
cp -a "$T/served/tree" "$T/cp/tree"
cp_time=$(seconds "$t")
t=$(now)
"$GOFER" get -r s:/tree "$T/out/tree" || fail "gofer get -r"
get_time=$(seconds "$t")
t=$(now)
"$GOFER" put -r "$T/out/tree" in:/tree || fail "gofer put -r"
put_time=$(seconds "$t")

same "$T/served/tree" "$T/out/tree"
same "$T/served/tree" "$T/in/tree"
same "$T/served/tree" "$T/cp/tree" # or the comparison means nothing
a=$(disk "$T/served/tree") b=$(disk "$T/out/tree") c=$(disk "$T/in/tree")
echo "cp -a $cp_time; gofer get -r $get_time; gofer put -r $put_time; identical; on disk $a, $b, $c KiB"
[ $((b * 10)) -le $((a * 11)) ] && [ $((c * 10)) -le $((a * 11)) ] || fail "the copies are less sparse"
# The judge must see a difference where there is one.
printf x >>"$T/in/tree/$(cd "$T/in/tree" && find . -name 'file-6*' -type f | head -n 1)"
[ -n "$(rsync -aHAXn --checksum --delete --itemize-changes "$T/served/tree/" "$T/in/tree/")" ] || fail "rsync compares nothing"
[ -z "$(find "$T/in" "$T/out" -name '*.gofer*')" ] || fail "temporary names are left"
stop_server
