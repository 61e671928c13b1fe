/*
 * Signed tokens (RFC 7519 in the compact form of RFC 7515), ES256 only: what a service account
 * shows. The algorithm is not read from the token: a token that says another is refused. What the
 * claims beyond time, issuer and audience mean is the caller's to judge.
 */
#pragma once

#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"
#include "ground/format/json.h"

#define JWT_BYTES_MAX 16384

/* Appends the token to `out`. The key is a P-256 private key in PEM, as pki makes it. */
int jwt_sign(const char *key_pem, const struct json *claims, struct strbuf *out,
	     struct err *e) must_use;

struct jwt_expect {
	const char *cert_pem; /* whose key must have signed */
	const char *issuer;   /* "iss" must be this */
	const char *audience; /* "aud" must be this or list it */
	int64_t now_s;	      /* "exp" is required and later, "nbf" not later when present */
};

/* The claims of a stranger's token. ERR_FORBIDDEN with the reason for any that does not hold. */
int jwt_verify(struct str token, const struct jwt_expect *x, struct json **ret,
	       struct err *e) must_use;
