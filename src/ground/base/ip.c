/*
 * See ip.h. Parsing is inet_pton's (which is strict); arithmetic goes byte by byte from the end, so
 * that v4 and v6 share it.
 */
#include "ground/base/ip.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/parse.h"

int ip_parse(struct str text, const char *what, struct ip *ret, struct err *e)
{
	struct ip a = {0};
	char copy[IP_TEXT_MAX];

	if (text.n == 0 || text.n >= sizeof(copy))
		return err_set(e, ERR_INVALID, "invalid %s '%.*s': not an IP address", what,
			       (int)(text.n > 64 ? 64 : text.n), text.p);
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	if (strlen(copy) != text.n)
		return err_set(e, ERR_INVALID, "invalid %s: a NUL byte in an address", what);
	if (inet_pton(AF_INET, copy, a.b) == 1)
		a.n = 4;
	else if (inet_pton(AF_INET6, copy, a.b) == 1)
		a.n = 16;
	else
		return err_set(e, ERR_INVALID, "invalid %s '%s': not an IP address", what, copy);
	*ret = a;
	return 0;
}

int ip_net_parse(struct str text, const char *what, struct ip_net *ret, struct err *e)
{
	struct str rest = text, head;
	struct ip_net net = {0};
	uint32_t bits = 0;
	int r;

	if (!memchr(text.p ? text.p : "", '/', text.n)) {
		r = ip_parse(text, what, &net.ip, e);
		net.bits = (uint8_t)(net.ip.n * 8);
		if (r == 0)
			*ret = net;
		return r;
	}
	(void)str_cut(&rest, '/', &head);
	r = ip_parse(head, what, &net.ip, e);
	if (r < 0)
		return r;
	if (parse_u32(rest, "prefix length", &bits, e) < 0 || bits > net.ip.n * 8U)
		return err_set(e, ERR_INVALID,
			       "invalid %s '%.*s': the prefix length must be 0 to %d", what,
			       (int)text.n, text.p, net.ip.n * 8);
	net.bits = (uint8_t)bits;
	*ret = net;
	return 0;
}

struct ip_text ip_text(const struct ip *a)
{
	struct ip_text t = {""};

	if (a->n)
		(void)inet_ntop(a->n == 4 ? AF_INET : AF_INET6, a->b, t.t, sizeof(t.t));
	return t;
}

struct ip_text ip_net_text(const struct ip_net *net)
{
	struct ip_text t = ip_text(&net->ip);
	size_t n = strlen(t.t);

	if (n)
		(void)snprintf(t.t + n, sizeof(t.t) - n, "/%u", net->bits);
	return t;
}

int ip_cmp(const struct ip *a, const struct ip *b)
{
	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	return memcmp(a->b, b->b, a->n);
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
	return ip_cmp(a, b) == 0;
}

/* Sets the bits behind the first `bits` to `one`. */
static struct ip fill(struct ip a, unsigned int bits, bool one)
{
	assert(bits <= a.n * 8U);
	for (unsigned int i = bits / 8; i < a.n; i++) {
		uint8_t mask = i == bits / 8 ? (uint8_t)(0xff >> (bits % 8)) : 0xff;

		a.b[i] = one ? (uint8_t)(a.b[i] | mask) : (uint8_t)(a.b[i] & ~mask);
	}
	return a;
}

struct ip ip_net_base(const struct ip_net *net)
{
	return fill(net->ip, net->bits, false);
}

struct ip ip_net_last(const struct ip_net *net)
{
	return fill(net->ip, net->bits, true);
}

bool ip_in(const struct ip *a, const struct ip_net *net)
{
	struct ip cut, base;

	if (a->n != net->ip.n || !a->n)
		return false;
	cut = fill(*a, net->bits, false);
	base = ip_net_base(net);
	return ip_eq(&cut, &base);
}

bool ip_nets_overlap(const struct ip_net *a, const struct ip_net *b)
{
	return a->bits <= b->bits ? ip_in(&b->ip, a) : ip_in(&a->ip, b);
}

struct ip ip_plus(struct ip a, uint64_t k)
{
	unsigned int carry = 0;

	for (int i = a.n - 1; i >= 0; i--) {
		unsigned int sum = a.b[i] + (unsigned int)(k & 0xff) + carry;

		a.b[i] = (uint8_t)sum;
		carry = sum >> 8;
		k >>= 8;
	}
	return a;
}

uint64_t ip_distance(const struct ip *a, const struct ip *b)
{
	uint64_t d = 0;
	uint8_t diff[16];
	int borrow = 0;

	if (ip_cmp(a, b) > 0 || a->n != b->n)
		return UINT64_MAX;
	for (int i = a->n - 1; i >= 0; i--) {
		int x = b->b[i] - a->b[i] - borrow;

		borrow = x < 0;
		diff[i] = (uint8_t)(x & 0xff);
	}
	for (int i = 0; i < a->n; i++) {
		if (d >> 56)
			return UINT64_MAX;
		d = d << 8 | diff[i];
	}
	return d;
}

bool ip_is_loopback(const struct ip *a)
{
	static const uint8_t one[16] = {[15] = 1};

	return a->n == 4 ? a->b[0] == 127 : a->n == 16 && memcmp(a->b, one, 16) == 0;
}
