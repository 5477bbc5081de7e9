#!/bin/bash
# As whom a request runs (S49, S58, S93 to S104, S134), and what it may do with others' files: nobody else's rights are ever lent to it.
# REQUESTS=1000000 for the long run of mixed requests.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/attack.sh"
attack_prepare
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$T/na/many" "$T/del/mixed" "$T/sq/mixed"
	touch "$T/na/many/"{1..50}
	chown -R 1500:1500 "$T/na" "$T/sq"
	chmod 777 "$T/del" "$T/del/mixed"
	attack_serve --socket-mode 0666 --allow-uid any -v "$T/na:na:identity=delegate,uids=1000-2000,gids=1000-2000" \
		-v "$T/del:del:identity=delegate,uids=0-9999,gids=0-9999,special=allow" -v "$T/sq:sq:identity=squash=1500:1500"
else
	echo "not root: identities are not delegated here"
	attack_serve
fi
attack identity
[ "$(id -u)" != 0 ] || attack owner
stop_server
