/* The real clock and randomness: see world.h. */
#include "ground/base/world.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	assert(clock_gettime(id, &t) == 0);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t real_now(void *ctx)
{
	(void)ctx;
	return clock_ns(CLOCK_REALTIME);
}

static int64_t real_monotonic(void *ctx)
{
	(void)ctx;
	return clock_ns(CLOCK_MONOTONIC);
}

static void real_random(void *ctx, void *p, size_t n)
{
	char *at = p;

	(void)ctx;
	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got > 0) {
			at += got;
			n -= (size_t)got;
		}
	}
}

const struct world world_real = {real_now, real_monotonic, real_random, NULL};

void world_random_hex(const struct world *w, char *ret, size_t n_hex)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char bytes[64];

	assert(n_hex % 2 == 0 && n_hex / 2 <= sizeof(bytes));
	w->random(w->ctx, bytes, n_hex / 2);
	for (size_t i = 0; i < n_hex / 2; i++) {
		ret[2 * i] = hex[bytes[i] >> 4];
		ret[2 * i + 1] = hex[bytes[i] & 15];
	}
	ret[n_hex] = '\0';
}
