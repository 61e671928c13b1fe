/*
 * The world outside: clock and randomness, behind functions that a test can replace, so that
 * restart back-off, time-outs and ids are tested without waiting.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct world {
	int64_t (*now_ns)(void *ctx);	    /* wall clock since the epoch */
	int64_t (*monotonic_ns)(void *ctx); /* never steps back */
	void (*random)(void *ctx, void *p, size_t n);
	void *ctx;
};

/* The real one: the kernel's clocks and getrandom. */
extern const struct world world_real;

static inline int64_t world_now_ns(const struct world *w)
{
	return w->now_ns(w->ctx);
}

static inline int64_t world_monotonic_ns(const struct world *w)
{
	return w->monotonic_ns(w->ctx);
}

/* Fills `ret` with n_hex hexadecimal digits (even) and a NUL: ret holds n_hex + 1 bytes. */
void world_random_hex(const struct world *w, char *ret, size_t n_hex);
