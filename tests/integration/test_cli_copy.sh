#!/bin/bash
# Proves: get -r and put -r copy a tree with everything in it (odd names, links, holes, attributes, times), with and without donated
# descriptors; they replace without following anything, leave nothing half-written, and remove temporaries when interrupted.
# timeout: 400
# Runs as root and as an ordinary user. GOFER=path of the command (default build/gofer).
set -u
if [[ -z ${INSIDE:-} ]]; then
	GOFER=$(realpath "${GOFER:-build/gofer}")
	[[ -x $GOFER ]] || { echo "skip: no gofer at $GOFER"; exit 77; }
	command -v rsync >/dev/null || { echo "skip: rsync is not installed"; exit 77; }
	top=$(mktemp -d)
	trap 'chmod -R u+rwx "$top"; rm -rf "$top"' EXIT
	mkdir "$top/src" "$top/src2" "$top/dst" "$top/plain"
	export GOFER top INSIDE=1 LC_ALL=C TZ=UTC
	caps=
	[[ $(id -u) == 0 ]] && caps=,caps=chown+dac_override+fowner+fsetid
	"$GOFER" serve -q ${GOFER_SERVE_OPTIONS:-} -v "$top/src:src:ro$caps" -v "$top/dst:dst:rw$caps" \
		-v "$top/src2:nodonate:ro,donate=never$caps" -v "$top/plain:plain:rw,donate=never$caps" --run "bash '$(realpath "$0")'"
	exit
fi

bad=0
fail() { echo "FAIL: $*"; bad=1; }
ok() { echo "ok: $*"; }
g() { "$GOFER" "$@"; }
s=$top/src
umask 022

# ---- a tree with what trees have
mkdir -p "$s/many" "$s/deep" "$s/private" "$s/empty"
for ((i = 0; i < 2000; i++)); do echo "file $i" >"$s/many/$i"; done
d=$s/deep
for ((i = 0; i < 60; i++)); do d=$d/level$i; mkdir "$d"; echo $i >"$d/f"; done
head -c 5000000 /dev/urandom >"$s/large"
: >"$s/zero"
truncate -s 20M "$s/sparse"; printf middle | dd of="$s/sparse" bs=1 seek=9000000 conv=notrunc status=none
truncate -s 60000 "$s/little-sparse"; printf x >>"$s/little-sparse"
truncate -s 8M "$s/all-hole"
printf 1 >"$s/new
line"
printf 2 >"$s/$(printf 'bad\377\376utf8')"
printf 3 >"$s/$(printf 'esc\033[31m')"
printf 4 >"$s/-dash"
printf 5 >"$s/back\\slash \"quoted\" 'name'"
printf 6 >"$s/$(printf '%0255d' 0)"
ln "$s/large" "$s/many/large-too"
ln "$s/zero" "$s/private/zero-too"
ln "$s/zero" "$s/zero-three"
ln -s ../large "$s/many/relative"
ln -s /etc/passwd "$s/absolute"
ln -s nowhere "$s/dangling"
ln -s "$(printf 'to\377\n')" "$s/odd-target"
mkfifo "$s/fifo"
chmod 4755 "$s/zero"; chmod 444 "$s/-dash"; chmod 640 "$s/fifo"; chmod 1770 "$s/empty"
if [[ $(id -u) == 0 ]]; then chown 1234:4321 "$s/many/1" "$s/private"; chown -h 12:34 "$s/dangling"; chmod 6711 "$s/many/1"; fi
setfattr -n user.one -v value "$s/large" 2>/dev/null && setfattr -n user.two -v 0x00ff00 "$s/-dash" 2>/dev/null
setfattr -n user.dir -v d "$s/empty" 2>/dev/null
# Ids that a user namespace does not map cannot be seen from inside it, nor be given to a file there: an ordinary user's own only.
u=77 gr=88
[[ $(id -u) == 0 ]] || { u=$(id -u) gr=$(id -g); }
setfacl -m "u:$u:rw" "$s/many/2" 2>/dev/null && setfacl -d -m "g:$gr:rx" "$s/private" 2>/dev/null
touch -h -d '1999-09-09 09:09:09.123456789' "$s/dangling"
touch -d '2030-01-01' "$s/many/3"
chmod 500 "$s/private"
find "$s" -depth -type d -exec touch -d '2005-05-05 05:05:05.5' {} +

compare() { # what, copy
	local out
	out=$(rsync -aHAXn --checksum --delete -i "$s/" "$2/" 2>&1)
	[[ -z $out ]] && ok "$1: rsync -aHAXn --checksum finds no difference" || { fail "$1"; head -20 <<<"$out" | cat -v; }
	# Directories and extents may take a few blocks more or less; a hole that was filled would be megabytes.
	local there here
	there=$(du -s "$s" | cut -f1) here=$(du -s "$2" | cut -f1)
	((here < there + 500 && there < here + 500)) && ok "$1: holes are holes" || fail "$1: holes: $there and $here KiB"
	[[ $(find "$2" -name '.gofer-*') == "" ]] && ok "$1: no temporary names" || fail "$1: temporary names"
}
g get -r src:/ "$top/out" && ok "get -r" || fail "get -r"
compare "get" "$top/out"
cp -a "$s/." "$top/src2"
g get -r nodonate:/ "$top/out2" && compare "get without donated descriptors" "$top/out2" || fail "get without donation"
g put -r "$s/." dst:/ && compare "put" "$top/dst" || fail "put"
g put -r "$s/." plain:/ && compare "put without donated descriptors" "$top/plain" || fail "put without donation"
g get -r src:/ "$top/out" && compare "get over a copy" "$top/out" || fail "get over a copy"
g put -r "$s/." dst:/ && compare "put over a copy" "$top/dst" || fail "put over a copy"
chmod -R u+rwx "$top/out2" "$top/plain"; rm -rf "$top/out2" "$top"/plain/*
g get -r --in-place src:/ "$top/out2" && compare "get --in-place" "$top/out2" || fail "get --in-place"
g put -r --in-place "$s/." plain:/ && compare "put --in-place" "$top/plain" || fail "put --in-place"

# ---- where things go
mkdir "$top/into"
g get src:/zero src:/large "$top/into" && cmp "$s/large" "$top/into/large" && ok "get of files into a directory" || fail "get into"
g get -r src:/many "$top/into" && [[ -e $top/into/many/1999 ]] && ok "get -r of a directory into a directory" || fail "get -r into"
g get src:/large "$top/named" && cmp "$s/large" "$top/named" && ok "get to a name" || fail "get to a name"
(cd "$top" && "$GOFER" get src:/large here && cmp here "$s/large") && ok "get to a relative name" || fail "relative name"
(cd "$top" && "$GOFER" put named dst:/put-named && cmp named dst/put-named) && ok "put to a name" || fail "put to a name"
(cd "$top" && "$GOFER" put -r into dst: && cmp dst/into/large named) && ok "put -r of a directory into a directory" || fail "put -r into"
g get src:/many "$top/x" 2>/dev/null && fail "get of a directory without -r" || ok "get of a directory needs -r"
[[ ! -e $top/x ]] && ok "... and makes nothing" || fail "made something"

# ---- nothing is followed, what fails is said once, the rest is copied
mkdir -p "$top/trap" "$top/victim"; echo precious >"$top/victim/file"
ln -s ../victim "$top/trap/many"; ln -s ../victim/file "$top/trap/large"
out=$(g get -rq src:/ "$top/trap" 2>&1)
[[ $? == 1 && $(ls "$top/victim") == file && $(cat "$top/victim/file") == precious ]] && ok "get writes through no link that is there" || fail "get followed a link"
[[ $(grep -c 'many: Not a directory' <<<"$out") == 1 && $(wc -l <<<"$out") == 1 ]] && ok "get says once what failed" || fail "messages: $out"
[[ ! -L $top/trap/large ]] && cmp "$top/trap/large" "$s/large" && ok "... and replaces a link as rename does" || fail "link not replaced"
mkdir "$top/dst/trap"; ln -s ../into "$top/dst/trap/many"; ln -s ../into/large "$top/dst/trap/large"
before=$(ls -lR "$top/dst/into" | md5sum)
g put -rq "$s/." dst:/trap >/dev/null 2>&1
[[ $? == 1 && $(ls -lR "$top/dst/into" | md5sum) == "$before" ]] && ok "put writes through no link that is there" || fail "put followed a link"
g get src:/none src:/zero "$top/into" 2>/dev/null; [[ $? == 1 ]] && ok "a failure gives status 1" || fail "status"
python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$top/into/sock"
out=$(g put -r "$top/into" dst:/again 2>&1) && [[ $out == *"sock: skipped, a socket"* ]] && ok "sockets are skipped with a warning" || fail "socket: $out"

# ---- interrupted
mkfifo "$top/gate"
for verb in get put; do
	target=$top/cut-$verb
	if [[ $verb == get ]]; then args=(src:/many src:/large "$target"); mkdir "$target"; else args=("$s" dst:/cut); target=$top/dst/cut; fi
	# Stopped at its first line of output, which the full pipe makes it wait for; then told to end.
	"$GOFER" "$verb" -rv "${args[@]}" >"$top/gate" 2>/dev/null &
	pid=$!
	exec 3<"$top/gate"
	read -r _ <&3
	kill -INT $pid
	cat <&3 >/dev/null
	exec 3<&-
	wait $pid
	code=$?
	# A small tree may be complete before the signal is seen.
	[[ $code == 130 || $code == 0 ]] && ok "$verb interrupted: status $code" || fail "$verb interrupted: status $code"
	[[ -z $(find "$target" -name '.gofer-*' 2>/dev/null) ]] && ok "$verb interrupted: no temporary names" || fail "$verb: temporaries left"
done
out=$(g get -r --progress=always src:/ "$top/out" 2>&1 >/dev/null | tr '\r' '\n' | tail -1)
[[ $out == *"files"*"ETA"* ]] && ok "a progress bar where asked for" || fail "progress: $out"
exit $bad
