#!/bin/bash
# A client that takes as much as it can get (S78 to S91): it gets an errno, and nobody else notices.
# CONNECTS=1000000 ENTRIES=1000000 HANDLES=65536 for the long run.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
trap 'status=$?; umount "$T/tiny" 2>/dev/null; (exit $status); cleanup' EXIT
attack_prepare
attack_serve
attack exhaustion many
stop_server
attack_serve --max-handles 64
attack exhaustion few
stop_server
tiny=()
mkdir "$T/tiny"
[ "$(id -u)" = 0 ] && mount -t tmpfs -o size=2m,nr_inodes=100 none "$T/tiny" && tiny=(-v "$T/tiny:tiny:rw,$ME_SQUASH")
ulimit -S -f 64
attack_serve "${tiny[@]}"
ulimit -S -f unlimited
attack exhaustion disk
stop_server
