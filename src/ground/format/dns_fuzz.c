/* Fuzzes the reading of DNS messages; what is read as a query must be answerable and come back the
 * same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ground/format/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct dns_query asked = {.type = DNS_A, .klass = 1, .name = "db.default.svc"};
	const struct dns_record alias = {.type = DNS_CNAME, .name = "example.org", .ttl_s = 5};
	const struct dns_record a = {.type = DNS_A, .ip = {4, {10, 0, 0, 2}}, .ttl_s = 600};
	struct strbuf out = {0};
	struct dns_query q;
	struct ip ip;

	(void)dns_answers(data, size, data, size / 2);
	if (dns_read_query(data, size, &q, NULL) == 0) {
		assert(strlen(q.name) < DNS_NAME_MAX);
		(void)dns_reverse(q.name, &ip);
		if (dns_write_answer(&q, DNS_NOERROR, &a, 1, q.room_bytes, &out, NULL) == 0)
			assert(out.n <= q.room_bytes && ((uint8_t)out.p[2] & 0x80));
	}
	strbuf_clear(&out);
	if (dns_write_alias(&asked, &alias, data, size, DNS_UDP_MAX, &out, NULL) == 0)
		assert(out.n <= DNS_UDP_MAX && ((uint8_t)out.p[2] & 0x80));
	strbuf_done(&out);
	return 0;
}
