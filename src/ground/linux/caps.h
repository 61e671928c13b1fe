/*
 * Capabilities: names, sets as bit masks, and putting five sets on the calling process.
 * capabilities(7).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"

struct caps {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

/* "CAP_NET_ADMIN" (any case, the prefix may be missing) → its number, or -1. */
int caps_find(const char *name);
const char *caps_name(int cap); /* NULL past the last */

/* The mask of a NULL-terminated list (NULL: empty). Unknown names are an error. */
int caps_mask(char *const *names, uint64_t *ret, struct err *e) must_use;

/* Every capability this kernel knows. */
uint64_t caps_all(void);

/* Does the calling process have it, effective? */
bool caps_have(int cap);

/*
 * In three steps around a change of user: caps_bound drops from the bounding set; caps_keep makes
 * the permitted set survive setuid; caps_apply sets the other four. Bits this process lacks are
 * left out.
 */
int caps_bound(uint64_t bounding, struct err *e) must_use;
int caps_keep(struct err *e) must_use;
int caps_apply(const struct caps *c, struct err *e) must_use;
