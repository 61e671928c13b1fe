/*
 * Signed tokens by GnuTLS. GnuTLS speaks DER signatures, tokens carry the two numbers of 32 bytes
 * each side by side (RFC 7518 3.4): this file translates. The signature is checked before anything
 * that was signed is parsed.
 */
#include "ground/wire/jwt.h"

#include <assert.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/own.h"
#include "ground/format/base64.h"

#define JWT_NUMBER_BYTES 32

own_define(privkey, gnutls_privkey_t, gnutls_privkey_deinit);
own_define(pubkey, gnutls_pubkey_t, gnutls_pubkey_deinit);
own_define(cert, gnutls_x509_crt_t, gnutls_x509_crt_deinit);
#define auto_privkey own_auto(privkey)
#define auto_pubkey  own_auto(pubkey)
#define auto_cert    own_auto(cert)

static gnutls_datum_t datum(struct str s)
{
	return (gnutls_datum_t){(unsigned char *)(uintptr_t)s.p, (unsigned int)s.n};
}

static void add_base64url(struct str bytes, struct strbuf *out)
{
	auto_strbuf struct strbuf plain = {0};

	base64_encode(bytes, &plain);
	for (size_t i = 0; i < plain.n && plain.p[i] != '='; i++) {
		char c = plain.p[i];

		strbuf_add_char(out, c == '+' ? '-' : c == '/' ? '_' : c);
	}
}

/* A number of DER may be shorter, or have a zero in front to stay positive. */
static int add_number(gnutls_datum_t n, struct strbuf *out)
{
	static const char zeroes[JWT_NUMBER_BYTES];

	while (n.size > 0 && n.data[0] == 0) {
		n.data++;
		n.size--;
	}
	if (n.size > JWT_NUMBER_BYTES)
		return -1;
	strbuf_add(out, zeroes, JWT_NUMBER_BYTES - n.size);
	strbuf_add(out, n.data, n.size);
	return 0;
}

static int add_signature(gnutls_datum_t der, struct strbuf *out)
{
	auto_strbuf struct strbuf raw = {0};
	gnutls_datum_t r = {0}, s = {0};
	int g = gnutls_decode_rs_value(&der, &r, &s);

	if (g == 0 && (add_number(r, &raw) < 0 || add_number(s, &raw) < 0))
		g = GNUTLS_E_INTERNAL_ERROR; /* not a P-256 key */
	if (g == 0)
		add_base64url(strbuf_str(&raw), out);
	gnutls_free(r.data);
	gnutls_free(s.data);
	return g;
}

int jwt_sign(const char *key_pem, const struct json *claims, struct strbuf *out, struct err *e)
{
	auto_strbuf struct strbuf token = {0};
	auto_strbuf struct strbuf text = {0};
	auto_privkey gnutls_privkey_t key = NULL;
	gnutls_datum_t pem = datum(str_of(key_pem)), der = {0}, body;
	int g = gnutls_privkey_init(&key);

	assert(json_kind(claims) == JSON_OBJECT);
	if (g == 0)
		g = gnutls_privkey_import_x509_raw(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (g == 0 && gnutls_privkey_get_pk_algorithm(key, NULL) != GNUTLS_PK_ECDSA)
		return err_set(e, ERR_INVALID, "cannot sign a token: the key is not ECDSA");
	add_base64url(STR("{\"alg\":\"ES256\",\"typ\":\"JWT\"}"), &token);
	strbuf_add_char(&token, '.');
	json_write(claims, &text);
	add_base64url(strbuf_str(&text), &token);
	body = datum(strbuf_str(&token));
	if (g == 0)
		g = gnutls_privkey_sign_data2(key, GNUTLS_SIGN_ECDSA_SHA256, 0, &body, &der);
	strbuf_add_char(&token, '.');
	if (g == 0)
		g = add_signature(der, &token);
	gnutls_free(der.data);
	if (g < 0)
		return err_set(e, ERR_INVALID, "cannot sign a token: %s", gnutls_strerror(g));
	strbuf_add(out, token.p, token.n);
	return 0;
}

struct parts {
	struct str head, claims, signature, body; /* body: head and claims, as signed */
};

static int split(struct str token, struct parts *ret, struct err *e)
{
	struct str rest = token;

	if (token.n > JWT_BYTES_MAX)
		return err_set(e, ERR_FORBIDDEN, "the token is longer than %d bytes",
			       JWT_BYTES_MAX);
	if (!str_cut(&rest, '.', &ret->head) || !str_cut(&rest, '.', &ret->claims) ||
	    !ret->head.n || !ret->claims.n || !rest.n || memchr(rest.p, '.', rest.n))
		return err_set(e, ERR_FORBIDDEN, "the token has not three parts");
	ret->signature = rest;
	ret->body = (struct str){token.p, ret->head.n + 1 + ret->claims.n};
	return 0;
}

static int read_part(struct str part, const char *what, struct json **ret, struct err *e)
{
	auto_strbuf struct strbuf text = {0};
	struct err why = {0};

	if (base64_decode(part, &text, &why) < 0 ||
	    json_parse(strbuf_str(&text), what, ret, &why) < 0)
		return err_set(e, ERR_FORBIDDEN, "the token is unreadable: %s", why.text);
	return 0;
}

static int check_head(struct str head, struct err *e)
{
	auto_json struct json *j = NULL;
	int r = read_part(head, "header", &j, e);

	if (r < 0)
		return r;
	if (!text_eq(json_get_text(j, "alg"), "ES256"))
		return err_set(e, ERR_FORBIDDEN, "the token is not signed by ES256");
	/* RFC 7515 4.1.11: what must be understood and is not voids the token. */
	if (json_get(j, "crit"))
		return err_set(e, ERR_FORBIDDEN, "the token asks for an unknown extension");
	return 0;
}

static int read_pubkey(const char *cert_pem, gnutls_pubkey_t *ret, struct err *e)
{
	auto_pubkey gnutls_pubkey_t key = NULL;
	auto_cert gnutls_x509_crt_t crt = NULL;
	gnutls_datum_t pem = datum(str_of(cert_pem));
	int g = gnutls_x509_crt_init(&crt);

	if (g == 0)
		g = gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM);
	if (g == 0)
		g = gnutls_pubkey_init(&key);
	if (g == 0)
		g = gnutls_pubkey_import_x509(key, crt, 0);
	if (g < 0)
		return err_set(e, ERR_INVALID, "cannot read the token signer's certificate: %s",
			       gnutls_strerror(g));
	*ret = take(key);
	return 0;
}

static int check_signature(const struct parts *p, const char *cert_pem, struct err *e)
{
	auto_strbuf struct strbuf raw = {0};
	auto_pubkey gnutls_pubkey_t key = NULL;
	gnutls_datum_t der = {0}, body = datum(p->body), r, s;
	struct err why = {0};
	int g = read_pubkey(cert_pem, &key, e);

	if (g < 0)
		return g;
	if (base64_decode(p->signature, &raw, &why) < 0 || raw.n != 2 * (size_t)JWT_NUMBER_BYTES)
		return err_set(e, ERR_FORBIDDEN, "the token's signature is malformed");
	r = datum((struct str){raw.p, JWT_NUMBER_BYTES});
	s = datum((struct str){raw.p + JWT_NUMBER_BYTES, JWT_NUMBER_BYTES});
	g = gnutls_encode_rs_value(&der, &r, &s);
	if (g == 0)
		g = gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_ECDSA_SHA256, 0, &body, &der);
	gnutls_free(der.data);
	if (g < 0)
		return err_set(e, ERR_FORBIDDEN, "the token's signature is not this cluster's");
	return 0;
}

static bool has_audience(const struct json *aud, const char *want)
{
	bool found = text_eq(json_text(aud), want);

	for (size_t i = 0; !found && json_kind(aud) == JSON_ARRAY && i < json_len(aud); i++)
		found = text_eq(json_text(json_at(aud, i)), want);
	return found;
}

static int check_claims(const struct json *c, const struct jwt_expect *x, struct err *e)
{
	const struct json *nbf = json_get(c, "nbf");

	if (json_kind(c) != JSON_OBJECT)
		return err_set(e, ERR_FORBIDDEN, "the token's claims are not an object");
	/* A time that is no number counts as the worst one. */
	if (json_get_i64(c, "exp", INT64_MIN) <= x->now_s)
		return err_set(e, ERR_FORBIDDEN, "the token has expired");
	if (nbf && json_i64(nbf, INT64_MAX) > x->now_s)
		return err_set(e, ERR_FORBIDDEN, "the token is not valid yet");
	if (!text_eq(json_get_text(c, "iss"), x->issuer))
		return err_set(e, ERR_FORBIDDEN, "the token is from another issuer");
	if (!has_audience(json_get(c, "aud"), x->audience))
		return err_set(e, ERR_FORBIDDEN, "the token is for another audience");
	return 0;
}

int jwt_verify(struct str token, const struct jwt_expect *x, struct json **ret, struct err *e)
{
	auto_json struct json *claims = NULL;
	struct parts p;
	int r;

	assert(x->cert_pem && x->issuer && x->audience);
	r = split(token, &p, e);
	if (r == 0)
		r = check_signature(&p, x->cert_pem, e);
	if (r == 0)
		r = check_head(p.head, e);
	if (r == 0)
		r = read_part(p.claims, "claims", &claims, e);
	if (r == 0)
		r = check_claims(claims, x, e);
	if (r == 0)
		*ret = take(claims);
	return r;
}
