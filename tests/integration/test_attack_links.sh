#!/bin/bash
# Symbolic and hard links (S30 to S35): never followed where that could do harm, by a client that speaks the protocol itself.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
attack_prepare
attack_serve
attack links
stop_server
