#!/bin/bash
# FIFOs, sockets, devices, terminals and leases (S38 to S44): nothing waits, nothing acts, nothing is made.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
attack_prepare
mkdir -p "$T/talk" || exit 1
mkfifo "$T/talk/fifo"
: >"$T/talk/file"
ln -s "$T/outside/fifo" "$T/talk/link_out"
(cd "$T/talk" && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")')
attack_serve -v "$T/talk:sp:rw,special=allow,$ME_SQUASH"
attack special
stop_server
