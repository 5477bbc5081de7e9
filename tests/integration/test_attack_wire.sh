#!/bin/bash
# Numbers, sizes, cookies and floods of well-formed frames (S62 to S74), by a client that speaks the protocol itself.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
attack_prepare
attack_serve
attack wire
stop_server
