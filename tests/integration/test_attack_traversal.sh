#!/bin/bash
# Paths that try to leave the tree (S1 to S15), by a client that speaks the protocol itself. Nothing outside changes.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
attack_prepare
mkdir -p "$T/moving" || exit 1
echo kept >"$T/moving/kept"
attack_serve -v "$T/moving:mv:rw,$ME_SQUASH"
attack traversal
stop_server
