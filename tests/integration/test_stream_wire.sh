#!/bin/bash
# The attacks on numbers, sizes, cookies and floods, through a stream of bytes instead of packets.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
export GOFER_TEST_TRANSPORT=unix-stream
attack_prepare
attack_serve
attack wire
stop_server
