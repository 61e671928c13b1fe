/*
 * Certificates of a cluster: one authority, and what it vouches for. Everything is ECDSA P-256 and
 * PEM text in memory; whoever keeps a key on disk writes it with mode 0600. Times are seconds since
 * the epoch and are handed in, so that expiry and renewal are tested without waiting.
 *
 * The subject says who a client is, as Kubernetes reads it: the common name is the user, each
 * organization a group. There is no revocation: a certificate ends when it expires.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

struct pki_pair {
	char *cert_pem;
	char *key_pem;
};

void pki_pair_done(struct pki_pair *p); /* wipes the key */
#define auto_pki_pair __attribute__((cleanup(pki_pair_done)))

/* What a certificate is to say. */
struct pki_request {
	const char *name;    /* common name */
	char *const *groups; /* organizations, NULL-terminated; may be NULL */
	char *const *names;  /* host names and addresses (v4, v6) it answers to; may be NULL */
	bool server, client; /* what it may be used for */
	int64_t from_s, until_s;
};

int pki_make_ca(const char *name, int64_t from_s, int64_t until_s, struct pki_pair *ret,
		struct err *e) must_use;
/* A new key and its certificate, that ends with its authority at the latest. */
int pki_issue(const struct pki_pair *ca, const struct pki_request *q, struct pki_pair *ret,
	      struct err *e) must_use;

/*
 * A client's certificate for the key and the subject of a request (PKCS #10 in PEM, from a stranger
 * who shows that he has the key), that ends with its authority at the latest; the caller's.
 */
int pki_sign(const struct pki_pair *ca, struct str request_pem, int64_t from_s, int64_t until_s,
	     char **ret_pem, struct err *e) must_use;

/* True when less than a third of its life is left, or it is not valid yet: time to issue anew. */
int pki_renewal_due(const char *cert_pem, int64_t now_s, bool *ret, struct err *e) must_use;

struct pki_identity {
	char *name;
	char **groups; /* NULL-terminated, or NULL */
};

void pki_identity_done(struct pki_identity *id);

/*
 * Who a client is by its certificate (PEM or DER, from a stranger): ERR_FORBIDDEN unless the
 * authority signed it, it is valid now and it is meant for clients.
 */
int pki_identify(const char *ca_pem, struct str cert, int64_t now_s, struct pki_identity *ret,
		 struct err *e) must_use;
