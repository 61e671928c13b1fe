/*
 * Certificates by GnuTLS (RFC 5280). Verification asks GnuTLS for the signature and looks at times
 * and purpose here, because GnuTLS's clock is the process's and cannot be handed in.
 */
#include "ground/wire/pki.h"

#include <arpa/inet.h>
#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

#define PKI_SERIAL_BYTES 16
#define PKI_TEXT_MAX	 256	 /* of a name or group in a subject */
#define PKI_GROUPS_MAX	 64	 /* read from a stranger's certificate */
#define PKI_CERT_MAX	 0x10000 /* bytes of one */

own_define(crt, gnutls_x509_crt_t, gnutls_x509_crt_deinit);
own_define(privkey, gnutls_x509_privkey_t, gnutls_x509_privkey_deinit);
#define auto_crt     own_auto(crt)
#define auto_privkey own_auto(privkey)

static int failed(int code, const char *what, struct err *e)
{
	assert(code < 0);
	return err_set(e, ERR_INTERNAL, "cannot %s: %s", what, gnutls_strerror(code));
}

void pki_pair_done(struct pki_pair *p)
{
	if (p->key_pem)
		explicit_bzero(p->key_pem, strlen(p->key_pem));
	free(p->key_pem);
	free(p->cert_pem);
	*p = (struct pki_pair){0};
}

void pki_identity_done(struct pki_identity *id)
{
	free(id->name);
	id->groups = mem_free_texts(id->groups);
	id->name = NULL;
}

static gnutls_datum_t datum(struct str s)
{
	assert(s.n <= PKI_CERT_MAX);
	return (gnutls_datum_t){(unsigned char *)(uintptr_t)s.p, (unsigned int)s.n};
}

static int read_cert(struct str bytes, gnutls_x509_crt_t *ret, struct err *e)
{
	auto_crt gnutls_x509_crt_t crt = NULL;
	gnutls_datum_t d;
	int g;

	if (bytes.n == 0 || bytes.n > PKI_CERT_MAX)
		return err_set(e, ERR_INVALID,
			       "a certificate has %zu bytes: expected between 1 and %d", bytes.n,
			       PKI_CERT_MAX);
	d = datum(bytes);
	g = gnutls_x509_crt_init(&crt);
	if (g < 0)
		return failed(g, "read a certificate", e);
	g = gnutls_x509_crt_import(
		crt, &d, str_starts(bytes, "-----") ? GNUTLS_X509_FMT_PEM : GNUTLS_X509_FMT_DER);
	if (g < 0)
		return err_set(e, ERR_INVALID, "cannot read a certificate: %s", gnutls_strerror(g));
	*ret = crt;
	crt = NULL;
	return 0;
}

static int read_key(const char *pem, gnutls_x509_privkey_t *ret, struct err *e)
{
	auto_privkey gnutls_x509_privkey_t key = NULL;
	gnutls_datum_t d = {(unsigned char *)(uintptr_t)pem, (unsigned int)strlen(pem)};
	int g = gnutls_x509_privkey_init(&key);

	if (g == 0)
		g = gnutls_x509_privkey_import(key, &d, GNUTLS_X509_FMT_PEM);
	if (g < 0)
		return err_set(e, ERR_INVALID, "cannot read a private key: %s", gnutls_strerror(g));
	*ret = key;
	key = NULL;
	return 0;
}

static int new_key(gnutls_x509_privkey_t *ret, struct err *e)
{
	auto_privkey gnutls_x509_privkey_t key = NULL;
	int g = gnutls_x509_privkey_init(&key);

	if (g == 0)
		g = gnutls_x509_privkey_generate(
			key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (g < 0)
		return failed(g, "make a private key", e);
	*ret = key;
	key = NULL;
	return 0;
}

static int set_subject(gnutls_x509_crt_t crt, const struct pki_request *q)
{
	int g = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, q->name,
					      (unsigned int)strlen(q->name));

	for (char *const *o = q->groups; g == 0 && o && *o; o++)
		g = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, *o,
						  (unsigned int)strlen(*o));
	return g;
}

static int set_names(gnutls_x509_crt_t crt, char *const *names)
{
	int g = 0;

	for (char *const *n = names; g == 0 && n && *n; n++) {
		unsigned char ip[16];
		unsigned int ip_n = inet_pton(AF_INET, *n, ip) == 1    ? 4
				    : inet_pton(AF_INET6, *n, ip) == 1 ? 16
								       : 0;

		g = gnutls_x509_crt_set_subject_alt_name(
			crt, ip_n ? GNUTLS_SAN_IPADDRESS : GNUTLS_SAN_DNSNAME,
			ip_n ? (const void *)ip : *n, ip_n ? ip_n : (unsigned int)strlen(*n),
			GNUTLS_FSAN_APPEND);
	}
	return g;
}

static int set_purpose(gnutls_x509_crt_t crt, const struct pki_request *q, bool authority)
{
	unsigned int usage = authority ? GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN
				       : GNUTLS_KEY_DIGITAL_SIGNATURE;
	int g = gnutls_x509_crt_set_basic_constraints(crt, authority, authority ? 0 : -1);

	if (g == 0)
		g = gnutls_x509_crt_set_key_usage(crt, usage);
	if (g == 0 && q->server)
		g = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (g == 0 && q->client)
		g = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0);
	return g;
}

/* The two numbers by which a chain is found again: of the key, and of the signer's key. */
static int set_key_ids(gnutls_x509_crt_t crt, gnutls_x509_crt_t signer)
{
	unsigned char id[64];
	size_t n = sizeof(id);
	int g = gnutls_x509_crt_get_key_id(crt, 0, id, &n);

	if (g == 0)
		g = gnutls_x509_crt_set_subject_key_id(crt, id, n);
	n = sizeof(id);
	if (g == 0)
		g = gnutls_x509_crt_get_key_id(signer, 0, id, &n);
	if (g == 0)
		g = gnutls_x509_crt_set_authority_key_id(crt, id, n);
	return g;
}

static int set_frame(gnutls_x509_crt_t crt, const struct pki_request *q)
{
	unsigned char serial[PKI_SERIAL_BYTES];
	int g = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

	serial[0] = (unsigned char)((serial[0] & 0x3f) | 0x40); /* positive, never short */
	if (g == 0)
		g = gnutls_x509_crt_set_version(crt, 3);
	if (g == 0)
		g = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
	if (g == 0)
		g = gnutls_x509_crt_set_activation_time(crt, q->from_s);
	if (g == 0)
		g = gnutls_x509_crt_set_expiration_time(crt, q->until_s);
	return g;
}

static int export_pair(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, struct pki_pair *ret,
		       struct err *e)
{
	gnutls_datum_t c = {0}, k = {0};
	int g = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &c);

	if (g == 0)
		g = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL,
						      GNUTLS_PKCS_PLAIN, &k);
	if (g == 0)
		*ret = (struct pki_pair){str_dup((struct str){(char *)c.data, c.size}),
					 str_dup((struct str){(char *)k.data, k.size})};
	if (k.data)
		explicit_bzero(k.data, k.size);
	gnutls_free(k.data);
	gnutls_free(c.data);
	return g < 0 ? failed(g, "write a certificate", e) : 0;
}

/* Signs by `signer`, or by itself where that is NULL: an authority then. */
static int make(gnutls_x509_crt_t signer, gnutls_x509_privkey_t signer_key,
		const struct pki_request *q, struct pki_pair *ret, struct err *e)
{
	auto_crt gnutls_x509_crt_t crt = NULL;
	auto_privkey gnutls_x509_privkey_t key = NULL;
	int g, r = new_key(&key, e);

	if (r < 0)
		return r;
	g = gnutls_x509_crt_init(&crt);
	if (g == 0)
		g = set_frame(crt, q);
	if (g == 0)
		g = set_subject(crt, q);
	if (g == 0)
		g = set_names(crt, q->names);
	if (g == 0)
		g = gnutls_x509_crt_set_key(crt, key);
	if (g == 0)
		g = set_purpose(crt, q, !signer);
	if (g == 0)
		g = set_key_ids(crt, signer ? signer : crt);
	if (g == 0)
		g = gnutls_x509_crt_sign2(crt, signer ? signer : crt, signer ? signer_key : key,
					  GNUTLS_DIG_SHA256, 0);
	if (g < 0)
		return err_set(e, ERR_INVALID, "cannot issue a certificate for '%s': %s", q->name,
			       gnutls_strerror(g));
	return export_pair(crt, key, ret, e);
}

/* -- of requests ------------------------------------------------------------------------------- */

static int read_request(struct str pem, gnutls_x509_crq_t *ret, struct err *e)
{
	gnutls_datum_t d = {(unsigned char *)(uintptr_t)pem.p, (unsigned int)pem.n};
	gnutls_x509_crq_t q = NULL;
	int g = gnutls_x509_crq_init(&q);

	if (g == 0)
		g = gnutls_x509_crq_import(q, &d, GNUTLS_X509_FMT_PEM);
	if (g == 0)
		g = gnutls_x509_crq_verify(q, 0);
	if (g < 0) {
		if (q)
			gnutls_x509_crq_deinit(q);
		return err_set(e, ERR_INVALID, "the certificate request cannot be used: %s",
			       gnutls_strerror(g));
	}
	*ret = q;
	return 0;
}

static int export_pem(gnutls_x509_crt_t crt, char **ret)
{
	gnutls_datum_t c = {0};
	int g = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &c);

	if (g == 0)
		*ret = str_dup((struct str){(char *)c.data, c.size});
	gnutls_free(c.data);
	return g;
}

static int sign(gnutls_x509_crt_t signer, gnutls_x509_privkey_t signer_key,
		gnutls_x509_crq_t request, const struct pki_request *q, char **ret_pem)
{
	auto_crt gnutls_x509_crt_t crt = NULL;
	int g = gnutls_x509_crt_init(&crt);

	if (g == 0)
		g = gnutls_x509_crt_set_crq(crt, request);
	if (g == 0)
		g = set_frame(crt, q);
	if (g == 0)
		g = set_purpose(crt, q, false);
	if (g == 0)
		g = set_key_ids(crt, signer);
	if (g == 0)
		g = gnutls_x509_crt_sign2(crt, signer, signer_key, GNUTLS_DIG_SHA256, 0);
	return g < 0 ? g : export_pem(crt, ret_pem);
}

int pki_sign(const struct pki_pair *ca, struct str request_pem, int64_t from_s, int64_t until_s,
	     char **ret_pem, struct err *e)
{
	auto_crt gnutls_x509_crt_t signer = NULL;
	auto_privkey gnutls_x509_privkey_t key = NULL;
	struct pki_request q = {.client = true, .from_s = from_s, .until_s = until_s};
	gnutls_x509_crq_t request = NULL;
	int64_t end;
	int r = read_cert(str_of(ca->cert_pem), &signer, e), g;

	assert(from_s >= 0 && from_s < until_s);
	if (r == 0)
		r = read_key(ca->key_pem, &key, e);
	if (r == 0)
		r = read_request(request_pem, &request, e);
	if (r < 0)
		return r;
	end = gnutls_x509_crt_get_expiration_time(signer);
	if (q.until_s > end)
		q.until_s = end;
	g = sign(signer, key, request, &q, ret_pem);
	gnutls_x509_crq_deinit(request);
	return g < 0 ? failed(g, "sign a certificate", e) : 0;
}

static int check_times(const struct pki_request *q, struct err *e)
{
	assert(q->name && q->name[0]);
	if (q->from_s >= 0 && q->from_s < q->until_s)
		return 0;
	return err_set(e, ERR_INVALID,
		       "cannot issue a certificate for '%s': it ends before it "
		       "begins",
		       q->name);
}

int pki_make_ca(const char *name, int64_t from_s, int64_t until_s, struct pki_pair *ret,
		struct err *e)
{
	struct pki_request q = {.name = name, .from_s = from_s, .until_s = until_s};
	int r = check_times(&q, e);

	return r < 0 ? r : make(NULL, NULL, &q, ret, e);
}

int pki_issue(const struct pki_pair *ca, const struct pki_request *q, struct pki_pair *ret,
	      struct err *e)
{
	auto_crt gnutls_x509_crt_t signer = NULL;
	auto_privkey gnutls_x509_privkey_t key = NULL;
	struct pki_request bounded = *q;
	int64_t end;
	int r;

	assert(ca->cert_pem && ca->key_pem && (q->server || q->client));
	r = read_cert(str_of(ca->cert_pem), &signer, e);
	if (r == 0)
		r = read_key(ca->key_pem, &key, e);
	if (r < 0)
		return err_wrap(e, "authority of '%s'", q->name);
	end = gnutls_x509_crt_get_expiration_time(signer);
	if (bounded.until_s > end)
		bounded.until_s = end;
	r = check_times(&bounded, e);
	return r < 0 ? r : make(signer, key, &bounded, ret, e);
}

int pki_renewal_due(const char *cert_pem, int64_t now_s, bool *ret, struct err *e)
{
	auto_crt gnutls_x509_crt_t crt = NULL;
	int64_t from, until;
	int r = read_cert(str_of(cert_pem), &crt, e);

	if (r < 0)
		return r;
	from = gnutls_x509_crt_get_activation_time(crt);
	until = gnutls_x509_crt_get_expiration_time(crt);
	*ret = now_s < from || until - now_s < (until - from) / 3;
	return 0;
}

static bool valid_at(gnutls_x509_crt_t crt, int64_t now_s)
{
	return gnutls_x509_crt_get_activation_time(crt) <= now_s &&
	       now_s < gnutls_x509_crt_get_expiration_time(crt);
}

static bool meant_for_clients(gnutls_x509_crt_t crt)
{
	char oid[64];
	bool found = false;

	for (unsigned int i = 0; !found; i++) {
		size_t n = sizeof(oid);
		int g = gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &n, NULL);

		if (g == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		found = g == 0 && strcmp(oid, GNUTLS_KP_TLS_WWW_CLIENT) == 0;
	}
	return found;
}

/* The i-th value of a kind in the subject, NULL behind the last. */
static int subject_text(gnutls_x509_crt_t crt, const char *oid, unsigned int i, char **ret,
			struct err *e)
{
	char text[PKI_TEXT_MAX];
	size_t n = sizeof(text);
	int g = gnutls_x509_crt_get_dn_by_oid(crt, oid, i, 0, text, &n);

	*ret = NULL;
	if (g == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return 0;
	if (g < 0 || n == 0 || memchr(text, '\0', n))
		return err_set(e, ERR_FORBIDDEN, "the client certificate's subject is unreadable");
	*ret = str_dup((struct str){text, n});
	return 0;
}

static int read_groups(gnutls_x509_crt_t crt, struct pki_identity *id, struct err *e)
{
	for (unsigned int i = 0; i <= PKI_GROUPS_MAX; i++) {
		auto_free char *group = NULL;
		int r = subject_text(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, i, &group, e);

		if (r < 0 || !group)
			return r;
		mem_append_text(&id->groups, group);
	}
	return err_set(e, ERR_FORBIDDEN, "the client certificate names more than %d groups",
		       PKI_GROUPS_MAX);
}

static int check_client(gnutls_x509_crt_t ca, gnutls_x509_crt_t crt, int64_t now_s, struct err *e)
{
	unsigned int verdict = 0;
	int g = gnutls_x509_crt_verify(crt, &ca, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &verdict);

	if (g < 0 || verdict != 0)
		return err_set(e, ERR_FORBIDDEN,
			       "the client certificate is not signed by this cluster's authority");
	if (!valid_at(crt, now_s) || !valid_at(ca, now_s))
		return err_set(e, ERR_FORBIDDEN,
			       "the client certificate has expired or is not valid yet");
	if (!meant_for_clients(crt))
		return err_set(e, ERR_FORBIDDEN, "the certificate is not meant for clients");
	return 0;
}

int pki_identify(const char *ca_pem, struct str cert, int64_t now_s, struct pki_identity *ret,
		 struct err *e)
{
	auto_crt gnutls_x509_crt_t ca = NULL;
	auto_crt gnutls_x509_crt_t crt = NULL;
	struct pki_identity id = {0};
	int r = read_cert(str_of(ca_pem), &ca, e);

	if (r == 0)
		r = read_cert(cert, &crt, e);
	if (r == 0)
		r = check_client(ca, crt, now_s, e);
	if (r == 0)
		r = subject_text(crt, GNUTLS_OID_X520_COMMON_NAME, 0, &id.name, e);
	if (r == 0 && !id.name)
		r = err_set(e, ERR_FORBIDDEN, "the client certificate names no user");
	if (r == 0)
		r = read_groups(crt, &id, e);
	if (r < 0)
		pki_identity_done(&id);
	*ret = id;
	return r;
}
