/*
 * See dns.h. Queries are read and answers written by ldns; the two looks of a forwarder are by
 * hand, over a bounded cursor.
 */
#include "ground/format/dns.h"

#include <assert.h>
#include <ctype.h>
#include <ldns/ldns.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define HEADER_BYTES 12
#define TOO_LONG     1 /* of write_out() */

/* Between servers of a zone, of which there are no others. */
#define SOA_REFRESH_S 7200
#define SOA_RETRY_S   1800
#define SOA_EXPIRE_S  86400

static void free_pkt(ldns_pkt *p)
{
	ldns_pkt_free(p);
}

own_define(ldns_pkt, ldns_pkt *, free_pkt);

/* ---- queries ---- */

/* A name as lower-case text; names with dots or odd bytes inside a label are refused. */
static int read_name(const ldns_rdf *owner, char ret[DNS_NAME_MAX], struct err *e)
{
	struct cursor c = cursor_of(ldns_rdf_data(owner), ldns_rdf_size(owner));
	size_t at = 0;

	for (;;) {
		uint8_t len = cursor_u8(&c);
		const unsigned char *label = cursor_bytes(&c, len);

		if (c.bad || len > 63)
			return err_set(e, ERR_INVALID, "a damaged name in a DNS question");
		if (len == 0)
			break;
		if (at + len + 2 > DNS_NAME_MAX)
			return err_set(e, ERR_INVALID, "a name in a DNS question is too long");
		if (at)
			ret[at++] = '.';
		for (uint8_t i = 0; i < len; i++) {
			if (label[i] <= ' ' || label[i] >= 0x7f || label[i] == '.' ||
			    label[i] == '\\')
				return err_set(e, ERR_INVALID, "an odd byte in a DNS question");
			ret[at++] = (char)tolower(label[i]);
		}
	}
	ret[at] = '\0';
	return 0;
}

static size_t client_room(const ldns_pkt *p)
{
	size_t room = ldns_pkt_edns(p) ? ldns_pkt_edns_udp_size(p) : DNS_UDP_MAX;

	if (room < DNS_UDP_MAX)
		return DNS_UDP_MAX;
	return room > DNS_EDNS_MAX ? DNS_EDNS_MAX : room;
}

int dns_read_query(const void *bytes, size_t n, struct dns_query *ret, struct err *e)
{
	own_auto(ldns_pkt) ldns_pkt *p = NULL;
	struct dns_query q = {0};
	const ldns_rr *question;
	int r;

	if (n < HEADER_BYTES || n > DNS_MESSAGE_MAX)
		return err_set(e, ERR_INVALID, "%zu bytes are no DNS query", n);
	if (ldns_wire2pkt(&p, bytes, n) != LDNS_STATUS_OK) {
		p = NULL;
		return err_set(e, ERR_INVALID, "a damaged DNS message");
	}
	if (ldns_pkt_qr(p) || ldns_pkt_get_opcode(p) != LDNS_PACKET_QUERY ||
	    ldns_pkt_qdcount(p) != 1 || ldns_pkt_ancount(p) || ldns_pkt_nscount(p))
		return err_set(e, ERR_INVALID, "a DNS message that is no query of one question");
	question = ldns_rr_list_rr(ldns_pkt_question(p), 0);
	if (!question || !ldns_rr_owner(question))
		return err_set(e, ERR_INVALID, "a DNS query without a name");
	r = read_name(ldns_rr_owner(question), q.name, e);
	if (r < 0)
		return r;
	q.id = ldns_pkt_id(p);
	q.type = (uint16_t)ldns_rr_get_type(question);
	q.klass = (uint16_t)ldns_rr_get_class(question);
	q.recursion = ldns_pkt_rd(p);
	q.room_bytes = client_room(p);
	*ret = q;
	return 0;
}

/* ---- answers ---- */

static ldns_rdf *name_rdf(const char *name)
{
	return *name ? ldns_dname_new_frm_str(name) : ldns_dname_new_frm_str(".");
}

/* The parts of a record's data, in order; false: one cannot be said. */
static bool push_data(ldns_rr *rr, const struct dns_record *record)
{
	bool named = record->type != DNS_A && record->type != DNS_AAAA;
	ldns_rdf *data;

	if (record->type == DNS_SRV) {
		const uint16_t numbers[] = {record->priority, record->weight, record->port};

		for (size_t i = 0; i < array_len(numbers); i++)
			(void)ldns_rr_push_rdf(
				rr, ldns_native2rdf_int16(LDNS_RDF_TYPE_INT16, numbers[i]));
	}
	data = named ? name_rdf(record->name)
		     : ldns_rdf_new_frm_data(record->type == DNS_A ? LDNS_RDF_TYPE_A
								   : LDNS_RDF_TYPE_AAAA,
					     record->ip.n, record->ip.b);
	if (data)
		(void)ldns_rr_push_rdf(rr, data);
	return data;
}

static int push_record(ldns_pkt *p, const struct dns_query *q, const struct dns_record *record,
		       struct err *e)
{
	ldns_rdf *owner = name_rdf(record->owner ? record->owner : q->name);
	ldns_rr *rr = ldns_rr_new();

	assert(rr && record->type != DNS_ANY);
	ldns_rr_set_owner(rr, owner);
	ldns_rr_set_type(rr, (ldns_rr_type)record->type);
	ldns_rr_set_class(rr, LDNS_RR_CLASS_IN);
	ldns_rr_set_ttl(rr, record->ttl_s);
	if (!owner || !push_data(rr, record)) {
		ldns_rr_free(rr);
		return err_set(e, ERR_INVALID, "'%s' cannot be said in DNS", record->name);
	}
	(void)ldns_pkt_push_rr(p, LDNS_SECTION_ANSWER, rr);
	return 0;
}

static int push_soa(ldns_pkt *p, const struct dns_soa *soa, struct err *e)
{
	auto_free char *text = mem_printf("%s. %u IN SOA %s. %s. %u %d %d %d %u", soa->zone,
					  soa->minimum_s, soa->server, soa->contact, soa->serial,
					  SOA_REFRESH_S, SOA_RETRY_S, SOA_EXPIRE_S, soa->minimum_s);
	ldns_rr *rr = NULL;

	if (ldns_rr_new_frm_str(&rr, text, 0, NULL, NULL) != LDNS_STATUS_OK)
		return err_set(e, ERR_INVALID, "zone '%s' cannot be said in DNS", soa->zone);
	(void)ldns_pkt_push_rr(p, LDNS_SECTION_AUTHORITY, rr);
	return 0;
}

static int push_question(ldns_pkt *p, const struct dns_query *q, struct err *e)
{
	ldns_rr *rr = ldns_rr_new();
	ldns_rdf *owner = name_rdf(q->name);

	assert(rr);
	if (!owner) {
		ldns_rr_free(rr);
		return err_set(e, ERR_INVALID, "the question '%s' cannot be repeated", q->name);
	}
	ldns_rr_set_question(rr, true);
	ldns_rr_set_owner(rr, owner);
	ldns_rr_set_type(rr, (ldns_rr_type)q->type);
	ldns_rr_set_class(rr, (ldns_rr_class)q->klass);
	(void)ldns_pkt_push_rr(p, LDNS_SECTION_QUESTION, rr);
	return 0;
}

/* The message, or where it does not fit an empty one that says so. */
static int write_out(ldns_pkt *p, size_t room_bytes, struct strbuf *out, struct err *e)
{
	uint8_t *wire = NULL;
	size_t wire_n = 0;

	if (ldns_pkt2wire(&wire, p, &wire_n) != LDNS_STATUS_OK)
		return err_set(e, ERR_INVALID, "a DNS answer cannot be written");
	if (wire_n > DNS_MESSAGE_MAX || (room_bytes && wire_n > room_bytes)) {
		free(wire);
		return TOO_LONG;
	}
	strbuf_add(out, wire, wire_n);
	free(wire);
	return 0;
}

static ldns_pkt *begin(const struct dns_query *q, const struct dns_reply *reply)
{
	ldns_pkt *p = ldns_pkt_new();

	assert(p);
	ldns_pkt_set_id(p, q->id);
	ldns_pkt_set_qr(p, true);
	ldns_pkt_set_aa(p, reply->authoritative);
	ldns_pkt_set_rd(p, q->recursion);
	ldns_pkt_set_ra(p, true);
	ldns_pkt_set_rcode(p, (uint8_t)reply->rcode);
	return p;
}

/* What is too long for a datagram is asked for again by TCP. */
static int write_truncated(const struct dns_query *q, const struct dns_reply *reply,
			   struct strbuf *out, struct err *e)
{
	own_auto(ldns_pkt) ldns_pkt *p = begin(q, reply);
	int r = push_question(p, q, e);

	ldns_pkt_set_tc(p, true);
	if (r == 0)
		r = write_out(p, 0, out, e);
	return r;
}

int dns_write_reply(const struct dns_query *q, const struct dns_reply *reply, size_t room_bytes,
		    struct strbuf *out, struct err *e)
{
	own_auto(ldns_pkt) ldns_pkt *p = begin(q, reply);
	int r = push_question(p, q, e);

	for (size_t i = 0; i < reply->n && r == 0; i++)
		r = push_record(p, q, &reply->records[i], e);
	if (r == 0 && reply->soa)
		r = push_soa(p, reply->soa, e);
	if (r == 0)
		r = write_out(p, room_bytes, out, e);
	return r == TOO_LONG ? write_truncated(q, reply, out, e) : r;
}

int dns_write_answer(const struct dns_query *q, enum dns_rcode rcode,
		     const struct dns_record *records, size_t n, size_t room_bytes,
		     struct strbuf *out, struct err *e)
{
	const struct dns_reply reply = {.rcode = rcode, .records = records, .n = n};

	assert(n <= DNS_ANSWERS_MAX);
	return dns_write_reply(q, &reply, room_bytes, out, e);
}

int dns_write_query(uint16_t id, const char *name, uint16_t type, struct strbuf *out, struct err *e)
{
	struct dns_query q = {.id = id, .type = type, .klass = LDNS_RR_CLASS_IN};
	own_auto(ldns_pkt) ldns_pkt *p = ldns_pkt_new();
	int r;

	assert(p && strlen(name) < sizeof(q.name));
	memcpy(q.name, name, strlen(name) + 1);
	ldns_pkt_set_id(p, id);
	ldns_pkt_set_rd(p, true);
	r = push_question(p, &q, e);
	return r < 0 ? r : write_out(p, 0, out, e);
}

int dns_write_alias(const struct dns_query *q, const struct dns_record *alias, const void *answer,
		    size_t answer_n, size_t room_bytes, struct strbuf *out, struct err *e)
{
	own_auto(ldns_pkt) ldns_pkt *theirs = NULL, *p = NULL;
	struct dns_reply reply = {.authoritative = false};
	const ldns_rr_list *list;
	int r;

	if (ldns_wire2pkt(&theirs, answer, answer_n) != LDNS_STATUS_OK) {
		theirs = NULL;
		return err_set(e, ERR_INVALID, "a damaged DNS answer about '%s'", alias->name);
	}
	reply.rcode = (enum dns_rcode)ldns_pkt_get_rcode(theirs);
	p = begin(q, &reply);
	ldns_pkt_set_tc(p, ldns_pkt_tc(theirs));
	r = push_question(p, q, e);
	if (r == 0)
		r = push_record(p, q, alias, e);
	list = ldns_pkt_answer(theirs);
	for (size_t i = 0; i < ldns_rr_list_rr_count(list) && r == 0; i++)
		(void)ldns_pkt_push_rr(p, LDNS_SECTION_ANSWER,
				       ldns_rr_clone(ldns_rr_list_rr(list, i)));
	if (r == 0)
		r = write_out(p, room_bytes, out, e);
	return r == TOO_LONG ? write_truncated(q, &reply, out, e) : r;
}

/* ---- reverse names ---- */

static bool reverse4(struct str name, struct ip *ret)
{
	struct str part;
	int at = 4;

	*ret = (struct ip){.n = 4};
	while (str_cut(&name, '.', &part)) {
		unsigned int v = 0;

		if (at == 0 || part.n == 0 || part.n > 3)
			return false;
		for (size_t i = 0; i < part.n; i++) {
			if (part.p[i] < '0' || part.p[i] > '9')
				return false;
			v = v * 10 + (unsigned int)(part.p[i] - '0');
		}
		if (v > 255)
			return false;
		ret->b[--at] = (uint8_t)v;
	}
	return at == 0;
}

static bool reverse6(struct str name, struct ip *ret)
{
	static const char digits[16] = "0123456789abcdef";

	*ret = (struct ip){.n = 16};
	if (name.n != 63)
		return false;
	for (size_t i = 0; i < 32; i++) {
		const char *digit = memchr(digits, name.p[2 * i], sizeof(digits));
		size_t nibble = 31 - i;

		if (!digit || (i < 31 && name.p[2 * i + 1] != '.'))
			return false;
		ret->b[nibble / 2] |= (uint8_t)((digit - digits) << (nibble % 2 ? 0 : 4));
	}
	return true;
}

bool dns_reverse(const char *name, struct ip *ret)
{
	static const struct str four = {".in-addr.arpa", 13}, six = {".ip6.arpa", 9};
	struct str whole = str_of(name);

	if (str_ends(whole, four.p))
		return reverse4((struct str){whole.p, whole.n - four.n}, ret);
	if (str_ends(whole, six.p))
		return reverse6((struct str){whole.p, whole.n - six.n}, ret);
	return false;
}

void dns_reverse_name(const struct ip *ip, char ret[DNS_NAME_MAX])
{
	static const char digits[16] = "0123456789abcdef";
	char *at = ret;

	assert(ip_is(ip));
	if (ip->n == 4) {
		(void)snprintf(ret, DNS_NAME_MAX, "%u.%u.%u.%u.in-addr.arpa", ip->b[3], ip->b[2],
			       ip->b[1], ip->b[0]);
		return;
	}
	for (int i = 15; i >= 0; i--) {
		*at++ = digits[ip->b[i] & 15];
		*at++ = '.';
		*at++ = digits[ip->b[i] >> 4];
		*at++ = '.';
	}
	(void)snprintf(at, DNS_NAME_MAX - 64, "ip6.arpa");
}

/* ---- a forwarder's looks ---- */

/* The question's bytes (uncompressed, as in every sane message), or an empty text. */
static struct str question_of(const void *bytes, size_t n)
{
	struct cursor c = cursor_of(bytes, n);
	const unsigned char *start;
	uint8_t len;

	(void)cursor_bytes(&c, HEADER_BYTES);
	start = c.p;
	do {
		len = cursor_u8(&c);
		if (len > 63)
			return (struct str){NULL, 0};
		(void)cursor_bytes(&c, len);
	} while (len && !c.bad);
	(void)cursor_bytes(&c, 4);
	if (c.bad)
		return (struct str){NULL, 0};
	return (struct str){(const char *)start, (size_t)(c.p - start)};
}

static bool same_but_case(struct str a, struct str b)
{
	for (size_t i = 0; i < a.n; i++)
		if (tolower((unsigned char)a.p[i]) != tolower((unsigned char)b.p[i]))
			return false;
	return true;
}

bool dns_answers(const void *reply, size_t reply_n, const void *query, size_t query_n)
{
	const uint8_t *r = reply, *q = query;
	struct str a, b;

	if (reply_n < HEADER_BYTES || query_n < HEADER_BYTES || memcmp(r, q, 2) != 0 ||
	    !(r[2] & 0x80))
		return false;
	a = question_of(reply, reply_n);
	b = question_of(query, query_n);
	/* a server that failed early may leave the question out */
	if (r[4] == 0 && r[5] == 0)
		return (r[3] & 0x0f) != 0;
	return a.n && a.n == b.n && same_but_case(a, b);
}

void dns_set_id(void *message, uint16_t id)
{
	uint8_t *p = message;

	p[0] = (uint8_t)(id >> 8);
	p[1] = (uint8_t)id;
}
