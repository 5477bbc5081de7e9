/*
 * errnos.h - the errno numbers of the wire: those of the generic Linux ABI, whatever the hosts use.
 */
#pragma once

#include <stdint.h>

/* Host errno (positive) to the wire. Unknown ones become EIO. */
uint32_t errno_to_wire(int host);
/* Wire to host (positive). Anything out of the table, 0 included, becomes EIO: a peer cannot make
 * us return nonsense. */
int errno_from_wire(uint32_t wire);
/* "ENOENT"; "E?" for an unknown one. */
const char *errno_name(int host);
