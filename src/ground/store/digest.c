/*
 * SHA-256 by GnuTLS and the strict spelling of digests. The only file that knows which library
 * hashes.
 */
#include "ground/store/digest.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"

void digest_begin(struct digest *d)
{
	gnutls_hash_hd_t h = NULL;

	/* Fails only when memory or the algorithm is missing: the same as a failed small
	 * allocation. */
	if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) != 0)
		abort();
	d->state = h;
}

void digest_add(struct digest *d, const void *p, size_t n)
{
	assert(d->state);
	if (n > 0 && gnutls_hash(d->state, p, n) != 0)
		abort();
}

void digest_end(struct digest *d, char ret[DIGEST_ROOM])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char raw[32];

	assert(d->state);
	gnutls_hash_deinit(d->state, raw);
	d->state = NULL;
	memcpy(ret, "sha256:", 7);
	for (size_t i = 0; i < sizeof(raw); i++) {
		ret[7 + 2 * i] = digits[raw[i] >> 4];
		ret[8 + 2 * i] = digits[raw[i] & 15];
	}
	ret[DIGEST_CHARS] = '\0';
}

void digest_drop(struct digest *d)
{
	if (d->state)
		gnutls_hash_deinit(d->state, NULL);
	d->state = NULL;
}

void digest_of(const void *p, size_t n, char ret[DIGEST_ROOM])
{
	struct digest d;

	digest_begin(&d);
	digest_add(&d, p, n);
	digest_end(&d, ret);
}

bool digest_valid(struct str text)
{
	if (text.n != DIGEST_CHARS || !str_starts(text, "sha256:"))
		return false;
	for (size_t i = 7; i < DIGEST_CHARS; i++) {
		char c = text.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
	}
	return true;
}

int digest_check(struct str text, struct err *e)
{
	int shown = text.n > 100 ? 100 : (int)text.n;

	if (digest_valid(text))
		return 0;
	if (str_starts(text, "sha512:") || str_starts(text, "sha384:"))
		return err_set(e, ERR_UNSUPPORTED,
			       "digest '%.*s' is not sha256, the only kind read here", shown,
			       text.p);
	return err_set(
		e, ERR_INVALID,
		"invalid digest '%.*s': expected 'sha256:' and 64 lower-case hexadecimal digits",
		shown, text.n ? text.p : "");
}
