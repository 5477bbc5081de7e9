/*
 * mapping_limits.h - inside libgofer: what mappings may use, for tests to have them as on other kernels.
 */
#pragma once

#include <stdint.h>

#include "client/gofer.h"

enum mapping_feature {
	MAPPING_FAULTS = 1, /* who touches a page that is not there can be made to wait */
	MAPPING_KERNEL = 2, /* ... also in a system call */
	MAPPING_TRACK = 4,  /* written pages are known */
	MAPPING_ALL = 7,
};

/*
 * Before the session's first mapping. budget: of pages that can be given up; whole: the largest mapping that is
 * read whole.
 */
void mapping_limit(struct gofer_session *s, unsigned features, uint64_t budget, uint64_t whole);
/* What there is; 0 before the first mapping. */
unsigned mapping_features(const struct gofer_session *s);
/* In pages that are there. */
uint64_t mapping_bytes(const struct gofer_session *s);
