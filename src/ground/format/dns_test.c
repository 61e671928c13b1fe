/* Unit tests of dns.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ground/format/dns.h"

/* id 0x1234, RD, "Web.Net" A IN */
static const uint8_t query[] = {0x12, 0x34, 1,	 0, 0,	 1,   0,   0, 0, 0, 0, 0, 3,
				'W',  'e',  'b', 3, 'N', 'e', 't', 0, 0, 1, 0, 1};

static void a_query_is_read_and_answered(void **state)
{
	struct dns_record records[40] = {{0}};
	auto_strbuf struct strbuf out = {0};
	struct dns_query q;
	struct err e = {0};

	(void)state;
	assert_int_equal(dns_read_query(query, sizeof(query), &q, &e), 0);
	assert_string_equal(q.name, "web.net");
	assert_int_equal(q.type, DNS_A);
	assert_int_equal(q.room_bytes, DNS_UDP_MAX);
	assert_true(q.recursion);
	for (size_t i = 0; i < 40; i++)
		records[i] = (struct dns_record){
			.type = DNS_A, .ip = {4, {10, 0, 0, (uint8_t)i}}, .ttl_s = 600};
	assert_int_equal(dns_write_answer(&q, DNS_NOERROR, records, 2, 512, &out, &e), 0);
	assert_true(dns_answers(out.p, out.n, query, sizeof(query)));
	assert_int_equal(out.p[7], 2); /* two answers */
	assert_int_equal((uint8_t)out.p[out.n - 1], 1);
	strbuf_clear(&out);
	assert_int_equal(dns_write_answer(&q, DNS_NOERROR, records, 40, 512, &out, &e), 0);
	assert_true(out.p[2] & 0x02); /* truncated */
	assert_int_equal(out.p[7], 0);
	strbuf_clear(&out);
	assert_int_equal(dns_write_answer(&q, DNS_NOERROR, records, 40, 0, &out, &e), 0);
	assert_int_equal(out.p[7], 40);
}

static void what_is_no_query_is_refused(void **state)
{
	uint8_t copy[sizeof(query)];
	struct dns_query q;
	struct err e = {0};

	(void)state;
	for (size_t n = 0; n < sizeof(query); n++)
		assert_int_equal(dns_read_query(query, n, &q, &e), -ERR_INVALID);
	memcpy(copy, query, sizeof(copy));
	copy[2] |= 0x80; /* a response */
	assert_int_equal(dns_read_query(copy, sizeof(copy), &q, &e), -ERR_INVALID);
	memcpy(copy, query, sizeof(copy));
	copy[5] = 2; /* says two questions */
	assert_int_equal(dns_read_query(copy, sizeof(copy), &q, &e), -ERR_INVALID);
	memcpy(copy, query, sizeof(copy));
	copy[14] = '.'; /* a dot inside a label */
	assert_int_equal(dns_read_query(copy, sizeof(copy), &q, &e), -ERR_INVALID);
	memcpy(copy, query, sizeof(copy));
	copy[12] = 0xc0; /* a pointer to itself */
	copy[13] = 12;
	assert_int_equal(dns_read_query(copy, sizeof(copy), &q, &e), -ERR_INVALID);
}

static void reverse_names_are_read(void **state)
{
	struct ip ip;

	(void)state;
	assert_true(dns_reverse("2.0.17.172.in-addr.arpa", &ip));
	assert_string_equal(ip_text(&ip).t, "172.17.0.2");
	assert_true(dns_reverse("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f."
				"ip6.arpa",
				&ip));
	assert_string_equal(ip_text(&ip).t, "fd00::2");
	assert_false(dns_reverse("0.17.172.in-addr.arpa", &ip));
	assert_false(dns_reverse("1.2.0.17.172.in-addr.arpa", &ip));
	assert_false(dns_reverse("256.0.17.172.in-addr.arpa", &ip));
	assert_false(dns_reverse("x.ip6.arpa", &ip));
	assert_false(dns_reverse("web", &ip));
}

static void zones_are_answered_for(void **state)
{
	const struct dns_query q = {.id = 7, .type = DNS_SRV, .klass = 1, .name = "_http._tcp.web"};
	const struct dns_soa soa = {"cluster.local", "ns.cluster.local", "root.cluster.local", 1,
				    5};
	const struct dns_record r = {
		.type = DNS_SRV, .name = "web", .weight = 100, .port = 80, .ttl_s = 5};
	struct dns_reply reply = {.authoritative = true, .records = &r, .n = 1};
	auto_strbuf struct strbuf out = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(dns_write_reply(&q, &reply, 0, &out, &e), 0);
	assert_true(out.p[2] & 0x04); /* with authority */
	assert_int_equal(out.p[7], 1);
	assert_non_null(memmem(out.p, out.n, "\0\0\0\x64\0\x50", 6));
	strbuf_clear(&out);
	reply = (struct dns_reply){.rcode = DNS_NXDOMAIN, .authoritative = true, .soa = &soa};
	assert_int_equal(dns_write_reply(&q, &reply, 512, &out, &e), 0);
	assert_int_equal(out.p[3] & 15, DNS_NXDOMAIN);
	assert_int_equal(out.p[9], 1);
}

static void aliases_bring_their_answer(void **state)
{
	const struct dns_query q = {.id = 7, .type = DNS_A, .klass = 1, .name = "db"};
	const struct dns_query theirs = {.id = 9, .type = DNS_A, .klass = 1, .name = "example.org"};
	const struct dns_record a = {.type = DNS_A, .ip = {4, {192, 0, 2, 7}}, .ttl_s = 5};
	const struct dns_record alias = {.type = DNS_CNAME, .name = "example.org", .ttl_s = 5};
	auto_strbuf struct strbuf answer = {0}, out = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(dns_write_query(9, "example.org", DNS_A, &out, &e), 0);
	assert_int_equal(dns_write_answer(&theirs, DNS_NOERROR, &a, 1, 0, &answer, &e), 0);
	assert_true(dns_answers(answer.p, answer.n, out.p, out.n));
	strbuf_clear(&out);
	assert_int_equal(dns_write_alias(&q, &alias, answer.p, answer.n, 512, &out, &e), 0);
	assert_int_equal(out.p[1], 7);
	assert_int_equal(out.p[7], 2);
	assert_non_null(memmem(out.p, out.n, a.ip.b, 4));
	for (size_t n = 0; n < answer.n; n++) {
		strbuf_clear(&out);
		assert_true(dns_write_alias(&q, &alias, answer.p, n, 512, &out, &e) <= 0);
	}
}

static void reverse_names_are_made(void **state)
{
	static const char *const ips[] = {"172.17.0.2", "fd00::2"};
	char name[DNS_NAME_MAX];
	struct ip ip, back;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(ip_parse(str_of(ips[i]), "ip", &ip, NULL), 0);
		dns_reverse_name(&ip, name);
		assert_true(dns_reverse(name, &back));
		assert_true(ip_eq(&ip, &back));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_query_is_read_and_answered),
		cmocka_unit_test(what_is_no_query_is_refused),
		cmocka_unit_test(reverse_names_are_read),
		cmocka_unit_test(zones_are_answered_for),
		cmocka_unit_test(aliases_bring_their_answer),
		cmocka_unit_test(reverse_names_are_made),
	};

	return cmocka_run_group_tests_name("ground/format/dns", tests, NULL, NULL);
}
