/*
 * histogram.h - latencies of any number of calls in constant memory, as HDR histograms keep them:
 * for each power of two, HISTOGRAM_SUB / 2 buckets of equal width. What is read back is at most
 * 2 / HISTOGRAM_SUB (0.8 %) too large, from nanoseconds to minutes alike, and histograms can be added.
 */
#pragma once

#include "common/util.h"

enum {
	HISTOGRAM_SUB_BITS = 8,
	HISTOGRAM_SUB = 1 << HISTOGRAM_SUB_BITS,
	HISTOGRAM_VALUE_BITS = 40, /* 2^40 ns are 18 minutes: what is longer counts as that */
	HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 2) * HISTOGRAM_SUB / 2,
};

/* Begins zeroed. */
struct histogram {
	uint64_t n, sum, min, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *h, uint64_t value);
void histogram_add(struct histogram *h, const struct histogram *other);
/*
 * The smallest recorded value that at least `percent` of all do not exceed, as the upper end of its
 * bucket, but never above the largest recorded; 0 without any.
 */
uint64_t histogram_percentile(const struct histogram *h, double percent);
double histogram_mean(const struct histogram *h);
