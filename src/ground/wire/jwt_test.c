/*
 * Tokens: what was signed is read back; every other is refused for its own reason, damaged in any
 * single character of it included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ground/wire/jwt.h"
#include "ground/wire/pki.h"

#define NOW 1000000000

static struct pki_pair signer;

static int set_up(void **state)
{
	struct err e = {0};

	(void)state;
	return pki_make_ca("tokens", NOW - 9, NOW + 9, &signer, &e);
}

static int tear_down(void **state)
{
	(void)state;
	pki_pair_done(&signer);
	return 0;
}

static void sign(const char *claims, struct strbuf *out)
{
	auto_json struct json *j = NULL;
	struct err e = {0};

	assert_int_equal(json_parse(str_of(claims), "test", &j, &e), 0);
	assert_int_equal(jwt_sign(signer.key_pem, j, out, &e), 0);
}

static int verify(struct str token, const char *cert, struct json **ret, struct err *e)
{
	struct jwt_expect x = {cert, "https://hull", "api", NOW};

	return jwt_verify(token, &x, ret, e);
}

static void claims_come_back(void **state)
{
	/* Often enough to meet numbers with zeroes in front: one in 128 has one. */
	(void)state;
	for (int i = 0; i < 600; i++) {
		auto_strbuf struct strbuf token = {0};
		auto_json struct json *j = NULL;
		struct err e = {0};

		sign("{\"iss\":\"https://hull\",\"aud\":[\"x\",\"api\"],\"exp\":1000000001,"
		     "\"nbf\":1000000000,\"sub\":\"ns:\\u00fc?>~\"}",
		     &token);
		assert_int_equal(verify(strbuf_str(&token), signer.cert_pem, &j, &e), 0);
		assert_string_equal(json_get_text(j, "sub"), "ns:\u00fc?>~");
		assert_null(strpbrk(strbuf_text(&token), "+/="));
	}
}

static void claims_are_judged(void **state)
{
	static const struct {
		const char *claims, *says;
	} rows[] = {
		{"{\"iss\":\"https://hull\",\"aud\":\"api\",\"exp\":1000000000}", "expired"},
		{"{\"iss\":\"https://hull\",\"aud\":\"api\"}", "expired"},
		{"{\"iss\":\"https://hull\",\"aud\":\"api\",\"exp\":\"2000000000\"}", "expired"},
		{"{\"iss\":\"https://hull\",\"aud\":\"api\",\"exp\":2000000000,\"nbf\":1000000001}",
		 "not valid yet"},
		{"{\"iss\":\"https://hulk\",\"aud\":\"api\",\"exp\":2000000000}", "issuer"},
		{"{\"aud\":\"api\",\"exp\":2000000000}", "issuer"},
		{"{\"iss\":\"https://hull\",\"aud\":[\"apis\"],\"exp\":2000000000}", "audience"},
		{"{\"iss\":\"https://hull\",\"exp\":2000000000}", "audience"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_strbuf struct strbuf token = {0};
		struct json *j = NULL;
		struct err e = {0};

		sign(rows[i].claims, &token);
		assert_int_equal(verify(strbuf_str(&token), signer.cert_pem, &j, &e),
				 -ERR_FORBIDDEN);
		assert_non_null(strstr(e.text, rows[i].says));
		assert_null(j);
	}
}

static void forged(void **state)
{
	auto_pki_pair struct pki_pair other = {0};
	auto_strbuf struct strbuf token = {0};
	struct json *j = NULL;
	struct err e = {0};
	size_t signed_n;

	(void)state;
	sign("{\"iss\":\"https://hull\",\"aud\":\"api\",\"exp\":2000000000}", &token);
	assert_int_equal(pki_make_ca("tokens", NOW - 9, NOW + 9, &other, &e), 0);
	assert_int_equal(verify(strbuf_str(&token), other.cert_pem, &j, &e), -ERR_FORBIDDEN);
	assert_non_null(strstr(e.text, "signature"));
	/* The last character holds four unused bits; up to it each one counts. */
	signed_n = token.n - 1;
	for (size_t i = 0; i < signed_n; i++) {
		char was = token.p[i];

		token.p[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(verify(strbuf_str(&token), signer.cert_pem, &j, &e),
				 -ERR_FORBIDDEN);
		assert_int_equal(verify((struct str){token.p, i}, signer.cert_pem, &j, &e),
				 -ERR_FORBIDDEN);
		token.p[i] = was;
	}
	/* {"alg":"none"} without a signature, and with one of nothing. */
	assert_int_equal(verify(STR("eyJhbGciOiJub25lIn0.e30."), signer.cert_pem, &j, &e),
			 -ERR_FORBIDDEN);
	assert_int_equal(verify(STR("eyJhbGciOiJub25lIn0.e30.AAAA"), signer.cert_pem, &j, &e),
			 -ERR_FORBIDDEN);
	assert_int_equal(verify(STR(""), signer.cert_pem, &j, &e), -ERR_FORBIDDEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(claims_come_back),
					   cmocka_unit_test(claims_are_judged),
					   cmocka_unit_test(forged)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
