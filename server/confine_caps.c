/*
 * confine_caps.c - capabilities down to a given set, in every one of the kernel's sets, so that
 * nothing brings more back.
 */
#include <linux/securebits.h>
#include <stdio.h>
#include <sys/prctl.h>

#include <cap-ng.h>

#include "server/confine.h"

int confine_caps(uint64_t keep, char *detail, size_t size)
{
	bool can_bound, bounded;
	int r;

	if (capng_get_caps_process() < 0)
		return -EPERM;
	for (int cap = 0; cap < 64; cap++)
		if ((keep & (UINT64_C(1) << cap)) && !capng_have_capability(CAPNG_PERMITTED, cap))
			keep &= ~(UINT64_C(1) << cap);
	can_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_BOTH);
	for (int cap = 0; cap < 64; cap++)
		if (keep & (UINT64_C(1) << cap))
			capng_update(CAPNG_ADD,
				     CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, cap);
	/* The bounding set first: it takes SETPCAP, which goes with the others. */
	bounded = can_bound && capng_apply(CAPNG_SELECT_BOUNDS) == 0;
	if (can_bound)
		(void)prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
						       SECBIT_NO_CAP_AMBIENT_RAISE |
						       SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED);
	r = capng_apply(CAPNG_SELECT_CAPS);
	if (r < 0)
		return -EPERM;
	snprintf(detail, size, "%d kept%s", __builtin_popcountll(keep),
		 bounded ? ", bounding set too" : "");
	return 0;
}
