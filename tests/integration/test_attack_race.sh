#!/bin/bash
# The tree changes under a request (S17 to S29): it is led nowhere. RACE_MS=60000 for longer races.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
trap 'status=$?; umount -l "$T/vol/mounted/on" 2>/dev/null; (exit $status); cleanup' EXIT
attack_prepare
mkdir -p "$T/talk"
echo "precious" >"$T/precious"
chmod 600 "$T/precious"
attack_serve -v "$T/talk:sp:rw,special=allow,$ME_SQUASH"
attack race
attack swap
stop_server
