/*
 * IP addresses and prefixes as values, v4 and v6 alike: strict parsing, canonical text, arithmetic.
 * Bytes are in network order. An address of n == 0 is "none".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/str.h"

#define IP_TEXT_MAX 46 /* an address as text, NUL included */

struct ip {
	uint8_t n; /* 4, 16, or 0: none */
	uint8_t b[16];
};

struct ip_net {
	struct ip ip; /* as given: host bits are kept, ip_net_base() clears them */
	uint8_t bits;
};

static inline bool ip_is(const struct ip *a)
{
	return a->n != 0;
}

/* Dotted decimal or RFC 4291; no zone, no leading zeros' octal guessing. `what` names it in errors.
 */
int ip_parse(struct str text, const char *what, struct ip *ret, struct err *e) must_use;
/* "10.0.0.0/8"; without a length it is one address (/32, /128). */
int ip_net_parse(struct str text, const char *what, struct ip_net *ret, struct err *e) must_use;

struct ip_text {
	char t[IP_TEXT_MAX + 4];
};
struct ip_text ip_text(const struct ip *a);	      /* "" for none */
struct ip_text ip_net_text(const struct ip_net *net); /* "10.0.0.0/8" */

int ip_cmp(const struct ip *a, const struct ip *b); /* v4 before v6, then by value */
bool ip_eq(const struct ip *a, const struct ip *b);
bool ip_in(const struct ip *a, const struct ip_net *net);
bool ip_nets_overlap(const struct ip_net *a, const struct ip_net *b);
struct ip ip_net_base(const struct ip_net *net); /* the first address: host bits zero */
struct ip ip_net_last(const struct ip_net *net); /* host bits one */
/* The address plus k; wraps at the end of the address space. */
struct ip ip_plus(struct ip a, uint64_t k);
/* b - a when it fits, UINT64_MAX when it is more or b < a. */
uint64_t ip_distance(const struct ip *a, const struct ip *b);
bool ip_is_loopback(const struct ip *a);
