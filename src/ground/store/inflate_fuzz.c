/*
 * Any bytes as a compressed stream. However the source cuts it into pieces, the same plain bytes
 * come out and the same end is met: once in one piece, once in small ones of changing size. What is
 * plain comes out as it went in. Bombs end at a limit, as their readers end them.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/str.h"
#include "ground/store/inflate.h"

#define PLAIN_BYTES_MAX (8u << 20)

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n);

struct pieces {
	struct str left;
	size_t most; /* of one piece; 0: as much as is asked for */
};

/* What came out: how much, a sum over it, and whether the end was a good one. */
struct outcome {
	uint64_t total, sum;
	bool good, cut;
};

static int64_t read_piece(void *arg, void *p, size_t n, struct err *e)
{
	struct pieces *s = arg;
	size_t most = s->most ? 1 + (s->left.n * 7 + s->most) % s->most : n;

	(void)e;
	n = n < most ? n : most;
	n = n < s->left.n ? n : s->left.n;
	memcpy(p, s->left.p, n);
	s->left.p += n;
	s->left.n -= n;
	return (int64_t)n;
}

static uint64_t add_sum(uint64_t sum, const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ p[i]) * 1099511628211u;
	return sum;
}

static struct outcome run(struct str bytes, size_t most)
{
	struct pieces source = {bytes, most};
	auto_inflate struct inflate *i = NULL;
	struct outcome o = {.sum = 14695981039346656037u};
	const void *block;
	int64_t n;

	assert(inflate_new(&(struct inflate_source){read_piece, &source}, &i, NULL) == 0);
	assert(inflate_kind(i) == inflate_guess(bytes.p, bytes.n));
	while ((n = inflate_next(i, &block, NULL)) > 0) {
		o.total += (uint64_t)n;
		o.sum = add_sum(o.sum, block, (size_t)n);
		assert(inflate_total(i) == o.total);
		if (o.total > PLAIN_BYTES_MAX) {
			o.cut = true;
			return o;
		}
	}
	o.good = n == 0;
	return o;
}

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n)
{
	struct str bytes = {(const char *)p, n};
	struct outcome whole = run(bytes, 0);
	struct outcome small = run(bytes, 1 + n % 61);

	if (inflate_guess(p, n) == INFLATE_PLAIN)
		assert(whole.good && whole.total == n &&
		       whole.sum == add_sum(14695981039346656037u, p, n));
	if (whole.cut || small.cut)
		return 0;
	assert(whole.good == small.good);
	assert(!whole.good || (whole.total == small.total && whole.sum == small.sum));
	return 0;
}
