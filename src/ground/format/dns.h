/*
 * DNS messages, as far as a resolver for containers needs them (RFC 1035, 3596, 6891): queries of
 * one question are read, answers of address and pointer records are built. Everything else is
 * passed on unread by whoever forwards.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/ip.h"
#include "ground/base/str.h"

#define DNS_MESSAGE_MAX 65535
#define DNS_UDP_MAX	512  /* an answer to a client that says nothing about its buffer */
#define DNS_EDNS_MAX	1232 /* what fits every path unfragmented */
#define DNS_NAME_MAX	256  /* a name as text, NUL included */
#define DNS_ANSWERS_MAX 64
#define DNS_PORT	53

enum dns_type {
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_PTR = 12,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_ANY = 255
};
enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5
};

struct dns_query {
	uint16_t id;
	uint16_t type; /* enum dns_type or any other number */
	uint16_t klass;
	size_t room_bytes; /* the client's UDP buffer, within [DNS_UDP_MAX, DNS_EDNS_MAX] */
	bool recursion;
	char name[DNS_NAME_MAX]; /* lower case, no dot at the end; "" is the root */
};

struct dns_record {
	enum dns_type type;		 /* not DNS_ANY */
	struct ip ip;			 /* of addresses */
	char name[DNS_NAME_MAX];	 /* of DNS_PTR, DNS_CNAME, DNS_SRV */
	uint16_t priority, weight, port; /* of DNS_SRV */
	uint32_t ttl_s;
	const char *owner; /* whose it is; NULL: the name that was asked for */
};

/* Who is responsible for a zone: told beside "no", so that the client knows how long that holds. */
struct dns_soa {
	const char *zone, *server, *contact; /* names */
	uint32_t serial, minimum_s;
};

struct dns_reply {
	enum dns_rcode rcode;
	bool authoritative;
	const struct dns_record *records;
	size_t n;
	const struct dns_soa *soa; /* NULL: nothing is said about it */
};

/* A standard query of exactly one question. ERR_INVALID for everything else. */
int dns_read_query(const void *bytes, size_t n, struct dns_query *ret, struct err *e) must_use;

/*
 * The answer to a query; `room_bytes` 0: no limit (TCP). What does not fit becomes an empty answer
 * with the truncation flag. ERR_INVALID: a record cannot be said.
 */
int dns_write_answer(const struct dns_query *q, enum dns_rcode rcode,
		     const struct dns_record *records, size_t n, size_t room_bytes,
		     struct strbuf *out, struct err *e) must_use;

/* The same for a server of zones, with any number of records. */
int dns_write_reply(const struct dns_query *q, const struct dns_reply *reply, size_t room_bytes,
		    struct strbuf *out, struct err *e) must_use;

/* A question of one's own. */
int dns_write_query(uint16_t id, const char *name, uint16_t type, struct strbuf *out,
		    struct err *e) must_use;
/*
 * The answer to `q`, whose name is another name of `target`: what somebody answered about that,
 * with the alias before it. ERR_INVALID: the answer is damaged.
 */
int dns_write_alias(const struct dns_query *q, const struct dns_record *alias, const void *answer,
		    size_t answer_n, size_t room_bytes, struct strbuf *out, struct err *e) must_use;

/* "2.0.17.172.in-addr.arpa" and ip6.arpa names; false: not such a name. */
bool dns_reverse(const char *name, struct ip *ret);
void dns_reverse_name(const struct ip *ip, char ret[DNS_NAME_MAX]);

/* ---- what a forwarder looks at in messages it does not read ---- */

/* Is `reply` an answer to `query` (id, response flag, the same question)? */
bool dns_answers(const void *reply, size_t reply_n, const void *query, size_t query_n);
void dns_set_id(void *message, uint16_t id); /* of at least 2 bytes */
