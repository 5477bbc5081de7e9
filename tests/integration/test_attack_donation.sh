#!/bin/bash
# Descriptors that the server gives away (S47 to S59, S106), and what a client does with them and to the server by them.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
attack_prepare
attack_serve
attack donation
stop_server
