/*
 * A bounded reader over bytes from outside. It never reads past its end: a short read fails once
 * and every later read fails too (`bad` stays set), so that a parser checks at its end, not at each
 * step.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ground/base/str.h"

struct cursor {
	const unsigned char *p;
	size_t n; /* bytes left */
	bool bad; /* a read went past the end */
};

static inline struct cursor cursor_of(const void *p, size_t n)
{
	return (struct cursor){p, n, false};
}

/* n bytes, or NULL (and bad) when fewer are left. */
static inline const unsigned char *cursor_bytes(struct cursor *c, size_t n)
{
	const unsigned char *at = c->p;

	if (c->bad || n > c->n) {
		c->bad = true;
		return NULL;
	}
	c->p += n;
	c->n -= n;
	return at;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
	const unsigned char *p = cursor_bytes(c, 1);

	return p ? p[0] : 0;
}

static inline uint16_t cursor_be16(struct cursor *c)
{
	const unsigned char *p = cursor_bytes(c, 2);

	return (uint16_t)(p ? p[0] << 8 | p[1] : 0);
}

static inline uint32_t cursor_be32(struct cursor *c)
{
	const unsigned char *p = cursor_bytes(c, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline uint32_t cursor_le32(struct cursor *c)
{
	const unsigned char *p = cursor_bytes(c, 4);

	return p ? (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0] : 0;
}

static inline uint64_t cursor_le64(struct cursor *c)
{
	uint64_t low = cursor_le32(c);

	return low | (uint64_t)cursor_le32(c) << 32;
}
