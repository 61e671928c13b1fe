/*
 * Certificates: who is vouched for is recognized with name and groups; who is not, is not: another
 * authority's, expired, early, a server's, damaged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/wire/pki.h"

#define DAY	 86400
#define BEGIN	 1000000000
#define END	 (BEGIN + 3650LL * DAY)
#define CERT_END (BEGIN + 300LL * DAY)

#define REQUEST                                                              \
	"-----BEGIN CERTIFICATE REQUEST-----\n"                              \
	"MIHXMH4CAQAwHDEMMAoGA1UECgwDZGV2MQwwCgYDVQQDDANqb2UwWTATBgcqhkjO\n" \
	"PQIBBggqhkjOPQMBBwNCAAS1eSIRxW2rbYg731Y08CPT0plYB5ZYAs091SDMR5+J\n" \
	"xIe7IT4jPQ71xVOlHmwkQZRvl6l1AQ301ve2kdiJlwQGoAAwCgYIKoZIzj0EAwID\n" \
	"SQAwRgIhAKaODD1wIxow6xtXa76P9/8YGXl+GxEmQS27Gs2mmKW3AiEAsMCyCQmj\n" \
	"XsudF2b8BRCvueWsc06fk7MT2ckcmKEhJIg=\n"                             \
	"-----END CERTIFICATE REQUEST-----\n"

static char *groups[] = {(char *)"system:masters", (char *)"team:ä", NULL};
static char *names[] = {(char *)"localhost", (char *)"127.0.0.1", (char *)"::1", NULL};

static struct pki_pair ca, client, server;

static int set_up(void **state)
{
	struct pki_request c = {.name = "admin",
				.groups = groups,
				.client = true,
				.from_s = BEGIN,
				.until_s = CERT_END};
	struct pki_request s = {.name = "hulld",
				.names = names,
				.server = true,
				.from_s = BEGIN,
				.until_s = END + DAY};
	struct err e = {0};

	(void)state;
	assert_int_equal(pki_make_ca("hull", BEGIN, END, &ca, &e), 0);
	assert_int_equal(pki_issue(&ca, &c, &client, &e), 0);
	assert_int_equal(pki_issue(&ca, &s, &server, &e), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pki_pair_done(&ca);
	pki_pair_done(&client);
	pki_pair_done(&server);
	return 0;
}

static void client_is_known(void **state)
{
	struct pki_identity id;
	struct err e = {0};

	(void)state;
	assert_int_equal(pki_identify(ca.cert_pem, str_of(client.cert_pem), BEGIN, &id, &e), 0);
	assert_string_equal(id.name, "admin");
	assert_int_equal(mem_count_texts(id.groups), 2);
	assert_string_equal(id.groups[0], "system:masters");
	assert_string_equal(id.groups[1], "team:ä");
	pki_identity_done(&id);
}

static void refused(const char *by, struct str cert, int64_t now, int kind, const char *says)
{
	struct pki_identity id;
	struct err e = {0};

	assert_int_equal(pki_identify(by, cert, now, &id, &e), -kind);
	assert_non_null(strstr(e.text, says));
	assert_null(id.name);
	assert_null(id.groups);
}

static void others_are_not(void **state)
{
	auto_pki_pair struct pki_pair other = {0};
	struct str c = str_of(client.cert_pem);
	struct err e = {0};

	(void)state;
	assert_int_equal(pki_make_ca("hull", BEGIN, END, &other, &e), 0);
	refused(other.cert_pem, c, BEGIN, ERR_FORBIDDEN, "not signed");
	refused(ca.cert_pem, str_of(other.cert_pem), BEGIN, ERR_FORBIDDEN, "not signed");
	refused(ca.cert_pem, c, BEGIN - 1, ERR_FORBIDDEN, "expired");
	refused(ca.cert_pem, c, CERT_END, ERR_FORBIDDEN, "expired");
	refused(ca.cert_pem, str_of(server.cert_pem), BEGIN, ERR_FORBIDDEN, "not meant");
	refused(ca.cert_pem, STR("-----nonsense"), BEGIN, ERR_INVALID, "cannot read");
	refused(ca.cert_pem, STR(""), BEGIN, ERR_INVALID, "0 bytes");
}

static void renewal(void **state)
{
	struct err e = {0};
	bool due = true;

	(void)state;
	assert_int_equal(pki_renewal_due(client.cert_pem, BEGIN + 199LL * DAY, &due, &e), 0);
	assert_false(due);
	assert_int_equal(pki_renewal_due(client.cert_pem, BEGIN + 201LL * DAY, &due, &e), 0);
	assert_true(due);
	assert_int_equal(pki_renewal_due(client.cert_pem, BEGIN - 1, &due, &e), 0);
	assert_true(due);
	/* A server's that asked for more than its authority has left ends with it. */
	assert_int_equal(pki_renewal_due(server.cert_pem, END - 1, &due, &e), 0);
	assert_true(due);
	assert_int_equal(pki_renewal_due("", BEGIN, &due, &e), -ERR_INVALID);
}

static void backwards_is_refused(void **state)
{
	struct pki_request q = {.name = "x", .client = true, .from_s = END, .until_s = END + 9};
	struct pki_pair p = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(pki_make_ca("x", END, BEGIN, &p, &e), -ERR_INVALID);
	assert_int_equal(pki_issue(&ca, &q, &p, &e), -ERR_INVALID);
	assert_null(p.key_pem);
}

/* A request of the client's own, as `openssl req` writes it: CN=joe, O=dev, P-256. */
static void requests_are_signed(void **state)
{
	struct pki_identity id;
	struct err e = {0};
	char *pem = NULL;

	(void)state;
	assert_true(pki_sign(&ca, STR("nonsense"), BEGIN, CERT_END, &pem, &e) < 0);
	assert_int_equal(pki_sign(&ca, STR(REQUEST), BEGIN, END + DAY, &pem, &e), 0);
	assert_int_equal(pki_identify(ca.cert_pem, str_of(pem), BEGIN + DAY, &id, &e), 0);
	assert_string_equal(id.name, "joe");
	assert_string_equal(id.groups[0], "dev");
	pki_identity_done(&id);
	assert_true(pki_identify(ca.cert_pem, str_of(pem), END + 1, &id, &e) < 0);
	free(pem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_is_known), cmocka_unit_test(others_are_not),
		cmocka_unit_test(renewal), cmocka_unit_test(backwards_is_refused),
		cmocka_unit_test(requests_are_signed)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
