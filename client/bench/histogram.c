/*
 * histogram.c - see histogram.h. Values below HISTOGRAM_SUB have a bucket each. A larger one is
 * shifted right until HISTOGRAM_SUB_BITS bits are left, the highest of them set: the shift says
 * which power of two, the bits which bucket of it. So half of the first power's buckets double as
 * the exact ones, and a bucket's number grows with its values.
 */
#include "client/bench/histogram.h"

#include <math.h>

static size_t bucket_of(uint64_t value)
{
	unsigned bits = value ? 64 - (unsigned)__builtin_clzll(value) : 0;
	unsigned shift = bits > HISTOGRAM_SUB_BITS ? bits - HISTOGRAM_SUB_BITS : 0;
	size_t bucket;

	if (!shift)
		return (size_t)value;
	bucket = (size_t)shift * (HISTOGRAM_SUB / 2) + (size_t)(value >> shift);
	return MIN(bucket, HISTOGRAM_BUCKETS - 1);
}

/* The largest value of a bucket. */
static uint64_t bucket_end(size_t bucket)
{
	size_t shift;

	if (bucket < HISTOGRAM_SUB)
		return bucket;
	shift = bucket / (HISTOGRAM_SUB / 2) - 1;
	bucket -= shift * (HISTOGRAM_SUB / 2);
	return ((uint64_t)(bucket + 1) << shift) - 1;
}

void histogram_record(struct histogram *h, uint64_t value)
{
	h->min = h->n ? MIN(h->min, value) : value;
	h->max = MAX(h->max, value);
	h->sum += value;
	h->n++;
	h->buckets[bucket_of(value)]++;
}

void histogram_add(struct histogram *h, const struct histogram *other)
{
	if (!other->n)
		return;
	h->min = h->n ? MIN(h->min, other->min) : other->min;
	h->max = MAX(h->max, other->max);
	h->sum += other->sum;
	h->n += other->n;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->buckets[i] += other->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
	double wanted = ceil((double)h->n * percent / 100);
	uint64_t rank = wanted < 1 ? 1 : (uint64_t)wanted, seen = 0;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= rank)
			return MAX(h->min, MIN(bucket_end(i), h->max));
	}
	return h->max;
}

double histogram_mean(const struct histogram *h)
{
	return h->n ? (double)h->sum / (double)h->n : 0;
}
