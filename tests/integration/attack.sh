# What the attack programs (attack_*.c, guard.h) find in their directory, and how they are run. Read by test_attack_*.sh after lib.sh.
#
#	attack_prepare              # $T/outside, which no volume holds, and the volumes' directories
#	attack_serve [ARGS]         # a server with all of them: rw, ro, nd (donate=never), dr (donate=ro), by (the bystander's)
#	attack FAMILY [ARGS]        # runs attack_FAMILY; what it leaves must be what it found
attack_prepare() {
	mkdir -p "$T/outside/dir" "$T/vol/a/b/c" "$T/vol/locked" "$T/vol/many" "$T/fixed/a" "$T/never/a" "$T/dr/a" "$T/by" || exit 1
	echo "canary: nobody may see or change this" >"$T/outside/canary"
	setfattr -n user.canary -v unchanged "$T/outside/canary" 2>/dev/null
	mkfifo "$T/outside/fifo"
	printf steady >"$T/by/steady"
	(
		cd "$T/vol" || exit 1
		for d in . ../fixed ../never ../dr; do echo content >"$d/a/file"; done
		touch many/{1..200}
		ln -s a link_rel
		ln -s "$T/outside" link_abs
		ln -s nowhere link_dangling
		ln -s link_loop link_loop
		ln -s ../../../.. a/b/c/link_up
		ln -s .. link_up
		ln -s "$T/outside/canary" link_canary
		ln -s "$T/outside/created" link_dangling_out
		ln -s "$T/outside/canary" link_replace
		mkfifo fifo
		python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
		mknod device c 1 3 2>/dev/null
		chmod 0 locked
	) || exit 1
}

attack_serve() {
	start_server -v "$T/vol:rw:rw,donate=always,$ME_SQUASH" -v "$T/fixed:ro:ro,donate=always,$ME_SQUASH" \
		-v "$T/never:nd:ro,donate=never,$ME_SQUASH" -v "$T/dr:dr:rw,donate=ro,$ME_SQUASH" -v "$T/by:by:ro,$ME_SQUASH" "$@"
}

attack() {
	local prog=$BUILD/tests/integration/attack_$1
	shift
	[ -x "$prog" ] || fail "$prog is not built"
	"$prog" "$T" "$@" || fail "an attack was not stood"
}
