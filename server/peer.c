/*
 * peer.c - what people are told of who is at the other end.
 */
#include <stdio.h>

#include "server/server.h"

const char *peer_words(const struct peer *peer, char buf[static PEER_WORDS_MAX])
{
	if (peer->name[0])
		snprintf(buf, PEER_WORDS_MAX, "%s", peer->name);
	else if (peer->remote || peer->uid == PEER_NOBODY)
		snprintf(buf, PEER_WORDS_MAX, "a remote client");
	else
		snprintf(buf, PEER_WORDS_MAX, "uid %u", peer->uid);
	return buf;
}
