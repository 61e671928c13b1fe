/*
 * Content digests: "sha256:" and 64 lower-case hexadecimal digits, checked before they name
 * anything. The running hash is GnuTLS's (which uses the processor's SHA instructions); other
 * algorithms that a registry might name are refused, not trusted.
 *
 *	struct digest d;
 *	digest_begin(&d);
 *	digest_add(&d, bytes, n);
 *	digest_end(&d, text);		(releases; digest_drop(&d) releases without a result)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

#define DIGEST_HEX_CHARS 64
#define DIGEST_CHARS	 71 /* with "sha256:" */
#define DIGEST_ROOM	 72 /* and its NUL */

struct digest {
	void *state;
};

void digest_begin(struct digest *d);
void digest_add(struct digest *d, const void *p, size_t n);
void digest_end(struct digest *d, char ret[DIGEST_ROOM]); /* "sha256:…" */
void digest_drop(struct digest *d);			  /* after _begin or _end; twice is fine */

void digest_of(const void *p, size_t n, char ret[DIGEST_ROOM]);

bool digest_valid(struct str text);
/* As an error: "invalid digest 'md5:…': …". */
int digest_check(struct str text, struct err *e) must_use;

/* The 64 digits of a valid digest. */
static inline const char *digest_hex(const char *digest)
{
	return digest + sizeof("sha256:") - 1;
}
