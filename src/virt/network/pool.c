/*
 * Addresses. A network gets a subnet that overlaps nothing the host can already reach (its
 * addresses and routes, which include the bridges of other Hulls and of a dockerd); an endpoint
 * gets the next free address, going round, so that an address just given back rests for as long as
 * possible.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"
#include "virt/network/network_priv.h"

#define SEARCH_MAX (1 << 20) /* addresses looked at for one free one */

/* Where default subnets come from, in order: as Docker's, and then the upper half of 10/8. */
static const struct pool defaults[] = {
	{{{4, {172, 16, 0, 0}}, 12}, 16, 1}, /* 172.17 to 172.31 */
	{{{4, {192, 168, 0, 0}}, 16}, 20, 0},
	{{{4, {10, 128, 0, 0}}, 9}, 20, 0},
};

static int read_one(const char *text, struct pool *ret, struct err *e)
{
	const char *colon = strrchr(text, ':');
	uint32_t bits = 0;
	int r;

	*ret = (struct pool){.first = 0};
	if (!colon)
		return err_set(e, ERR_INVALID, "invalid address pool '%.80s': expected NET/LEN:LEN",
			       text);
	r = ip_net_parse((struct str){text, (size_t)(colon - text)}, "address pool", &ret->net, e);
	if (r == 0)
		r = parse_u32(str_of(colon + 1), "prefix length of an address pool", &bits, e);
	if (r < 0)
		return r;
	if (ret->net.ip.n != 4 || bits < ret->net.bits || bits > 30 || ret->net.bits == 0)
		return err_set(e, ERR_INVALID,
			       "invalid address pool '%.80s': an IPv4 net, cut into smaller ones",
			       text);
	ret->net.ip = ip_net_base(&ret->net);
	ret->bits = (uint8_t)bits;
	return 0;
}

int pool_read(char *const *texts, struct pool **ret, size_t *ret_n, struct err *e)
{
	size_t n = mem_count_texts(texts);
	struct pool *pools = mem_new_array(struct pool, n ? n : array_len(defaults));

	if (n == 0) {
		memcpy(pools, defaults, sizeof(defaults));
		n = array_len(defaults);
		texts = NULL;
	}
	for (size_t i = 0; texts && i < n; i++) {
		int r = read_one(texts[i], &pools[i], e);

		if (r < 0) {
			free(pools);
			return r;
		}
	}
	*ret = pools;
	*ret_n = n;
	return 0;
}

/* ---- what is taken already ---- */

struct overlap {
	const struct ip_net *net;
	int own_index; /* our own bridge's address is no obstacle */
	bool found;
	struct ip_net with;
};

static void see_net(void *ctx, const struct ip_net *net, int index)
{
	struct overlap *o = ctx;

	if (o->found || (o->own_index && index == o->own_index) || net->bits == 0)
		return;
	if (net->ip.n == 16 && (net->ip.b[0] == 0xfe || net->ip.b[0] == 0xff))
		return;
	if (ip_nets_overlap(net, o->net)) {
		o->found = true;
		o->with = *net;
	}
}

static int check_host(struct network *n, const struct ip_net *net, bool *ret_taken, struct err *e)
{
	struct overlap o = {.net = net, .own_index = n->index};
	int r;

	r = netlink_each_net(&n->host->netlink, see_net, &o, NULL);
	if (r < 0)
		return err_set(e, ERR_SYSTEM, "cannot list the host's routes");
	*ret_taken = o.found;
	if (o.found)
		return err_set(
			e, ERR_CONFLICT,
			"subnet '%s' overlaps '%s', which this host already reaches otherwise",
			ip_net_text(net).t, ip_net_text(&o.with).t);
	return 0;
}

static int check_networks(struct network *n, const struct ip_net *net, struct err *e)
{
	list_each (&n->host->networks, struct network, link, other) {
		const struct ip_net *theirs = net->ip.n == 4 ? &other->net4 : &other->net6;

		if (other != n && ip_is(&theirs->ip) && ip_nets_overlap(theirs, net))
			return err_set(e, ERR_CONFLICT, "subnet '%s' overlaps '%s' of network '%s'",
				       ip_net_text(net).t, ip_net_text(theirs).t, other->spec.name);
	}
	return 0;
}

/* ---- choosing ---- */

struct all_nets {
	struct ip_net *nets;
	size_t n, room;
};

static void collect(void *ctx, const struct ip_net *net, int index)
{
	struct all_nets *all = ctx;

	(void)index;
	if (net->ip.n != 4 || net->bits == 0)
		return;
	mem_grow(all->nets, all->n + 1, all->room);
	all->nets[all->n++] = *net;
}

static bool is_free(const struct all_nets *all, const struct ip_net *net)
{
	for (size_t i = 0; i < all->n; i++)
		if (ip_nets_overlap(&all->nets[i], net))
			return false;
	return true;
}

static int choose_net4(struct network *n, struct ip_net *ret, struct err *e)
{
	struct all_nets all = {0};
	auto_free struct ip_net *nets = NULL;
	int r;

	r = netlink_each_net(&n->host->netlink, collect, &all, e);
	nets = all.nets;
	if (r < 0)
		return r;
	for (size_t i = 0; i < n->host->pools_n; i++) {
		const struct pool *p = &n->host->pools[i];
		struct ip_net net = {p->net.ip, p->bits};
		uint64_t step = 1ULL << (32 - p->bits), count = 1ULL << (p->bits - p->net.bits);

		net.ip = ip_plus(net.ip, p->first * step);
		for (uint64_t k = p->first; k < count && k < SEARCH_MAX; k++) {
			if (is_free(&all, &net) && check_networks(n, &net, NULL) == 0) {
				*ret = net;
				return 0;
			}
			net.ip = ip_plus(net.ip, step);
		}
	}
	return err_set(e, ERR_EXHAUSTED,
		       "no free default subnet is left for network '%s': name one with --subnet",
		       n->spec.name);
}

/* fdXX:XXXX:XXXX:NNNN::/64: forty bits from the root's path, sixteen counted. */
static int choose_net6(struct network *n, struct ip_net *ret, struct err *e)
{
	struct ip_net net = {.ip.n = 16, .bits = 64};

	net.ip.b[0] = 0xfd;
	for (int i = 0; i < 5; i++)
		net.ip.b[1 + i] = (uint8_t)(n->host->seed >> (8 * i));
	for (unsigned int k = 1; k < 65536; k++) {
		bool taken = false;

		net.ip.b[6] = (uint8_t)(k >> 8);
		net.ip.b[7] = (uint8_t)k;
		if (check_networks(n, &net, NULL) == 0 && check_host(n, &net, &taken, NULL) == 0) {
			*ret = net;
			return 0;
		}
	}
	return err_set(e, ERR_EXHAUSTED, "no free IPv6 subnet is left for network '%s'",
		       n->spec.name);
}

/* ---- reading what was asked ---- */

static int read_gateway(struct network *n, struct network_subnet *s, const struct ip_net *net,
			struct ip *ret, struct err *e)
{
	struct ip base = ip_net_base(net), last = ip_net_last(net);
	int r;

	*ret = ip_plus(base, 1);
	if (s->gateway && *s->gateway) {
		r = ip_parse(str_of(s->gateway), "gateway", ret, e);
		if (r < 0)
			return r;
		if (!ip_in(ret, net) || ip_eq(ret, &base) || (net->ip.n == 4 && ip_eq(ret, &last)))
			return err_set(e, ERR_INVALID, "gateway '%s' is no usable address of '%s'",
				       s->gateway, ip_net_text(net).t);
	}
	s->gateway = arena_dup_text(&n->arena, ip_text(ret).t);
	return 0;
}

static int read_range(const struct network_subnet *s, const struct ip_net *net, struct ip_net *ret,
		      struct err *e)
{
	int r;

	*ret = *net;
	if (!s->ip_range || !*s->ip_range)
		return 0;
	r = ip_net_parse(str_of(s->ip_range), "IP range", ret, e);
	if (r < 0)
		return r;
	if (!ip_in(&ret->ip, net) || ret->bits < net->bits)
		return err_set(e, ERR_INVALID, "IP range '%s' does not lie in subnet '%s'",
			       s->ip_range, ip_net_text(net).t);
	ret->ip = ip_net_base(ret);
	return 0;
}

static int take_aux(struct network *n, const struct network_subnet *s, const struct ip_net *net,
		    struct err *e)
{
	for (const struct json_pair *p = s->aux; p && p->key; p++) {
		struct ip a;
		int r = ip_parse(str_of(p->value), "auxiliary address", &a, e);

		if (r < 0)
			return r;
		if (!ip_in(&a, net))
			return err_set(e, ERR_INVALID,
				       "auxiliary address '%s' does not lie in subnet '%s'",
				       p->value, ip_net_text(net).t);
		(void)map_put(&n->taken, ip_text(&a).t, p->key);
	}
	return 0;
}

static int read_subnet(struct network *n, struct network_subnet *s, struct ip_net *net,
		       struct err *e)
{
	bool v4 = net->ip.n == 4;
	bool taken;
	int r;

	if (net->bits > (v4 ? 30 : 126) || net->bits == 0)
		return err_set(e, ERR_INVALID,
			       "subnet '%s' has no room for a gateway and containers",
			       ip_net_text(net).t);
	net->ip = ip_net_base(net);
	s->subnet = arena_dup_text(&n->arena, ip_net_text(net).t);
	r = check_networks(n, net, e);
	if (r == 0 && !n->loaded)
		r = check_host(n, net, &taken, e);
	if (r == 0)
		r = read_range(s, net, v4 ? &n->range4 : &n->range6, e);
	if (r == 0)
		r = read_gateway(n, s, net, v4 ? &n->gateway4 : &n->gateway6, e);
	if (r == 0)
		r = take_aux(n, s, net, e);
	if (r < 0)
		return r;
	(void)map_put(&n->taken, ip_text(v4 ? &n->gateway4 : &n->gateway6).t, "the gateway");
	return 0;
}

/* Reads the subnets that were named. */
static int read_named(struct network *n, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < n->spec.subnets_n && r == 0; i++) {
		struct network_subnet *s = &n->spec.subnets[i];
		struct ip_net net, *slot;

		if (!s->subnet || !*s->subnet)
			continue; /* an options-only pool: the subnet is chosen */
		r = ip_net_parse(str_of(s->subnet), "subnet", &net, e);
		if (r < 0)
			return r;
		slot = net.ip.n == 4 ? &n->net4 : &n->net6;
		if (ip_is(&slot->ip))
			return err_set(e, ERR_INVALID, "network '%s': two subnets of one family",
				       n->spec.name);
		if (net.ip.n == 16 && !n->spec.ipv6)
			return err_set(e, ERR_INVALID,
				       "subnet '%s' needs IPv6 enabled on network '%s' (--ipv6)",
				       s->subnet, n->spec.name);
		r = read_subnet(n, s, &net, e);
		*slot = net;
	}
	return r;
}

static int add_chosen(struct network *n,
		      int (*choose)(struct network *, struct ip_net *, struct err *),
		      struct ip_net *ret, struct err *e)
{
	struct network_subnet *all =
		arena_new_array(&n->arena, struct network_subnet, n->spec.subnets_n + 1);
	struct network_subnet *s = NULL;
	struct ip_net net = {.bits = 0};
	int r = choose(n, &net, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n->spec.subnets_n; i++)
		if (!n->spec.subnets[i].subnet)
			s = &n->spec.subnets[i];
	if (!s) {
		if (n->spec.subnets_n)
			memcpy(all, n->spec.subnets, n->spec.subnets_n * sizeof(*all));
		n->spec.subnets = all;
		s = &all[n->spec.subnets_n++];
	}
	r = read_subnet(n, s, &net, e);
	if (r == 0)
		*ret = net;
	return r;
}

int pool_choose(struct network *n, struct err *e)
{
	int r;

	assert(n->driver == DRIVER_BRIDGE);
	r = read_named(n, e);
	if (r == 0 && !ip_is(&n->net4.ip))
		r = add_chosen(n, choose_net4, &n->net4, e);
	if (r == 0 && n->spec.ipv6 && !ip_is(&n->net6.ip))
		r = add_chosen(n, choose_net6, &n->net6, e);
	n->next4 = n->range4.ip;
	n->next6 = n->range6.ip;
	return r;
}

/* ---- single addresses ---- */

static bool usable(const struct network *n, const struct ip_net *net, const struct ip *a)
{
	struct ip base = ip_net_base(net), last = ip_net_last(net);

	if (ip_eq(a, &base) || (a->n == 4 && ip_eq(a, &last)))
		return false;
	return !map_get(&n->taken, ip_text(a).t);
}

static int take_wanted(struct network *n, const struct ip_net *net, const struct ip *wanted,
		       struct err *e)
{
	struct ip base = ip_net_base(net), last = ip_net_last(net);
	const char *holder = map_get(&n->taken, ip_text(wanted).t);

	if (!ip_in(wanted, net))
		return err_set(e, ERR_INVALID,
			       "address '%s' does not lie in subnet '%s' of network '%s'",
			       ip_text(wanted).t, ip_net_text(net).t, n->spec.name);
	if (ip_eq(wanted, &base) || (wanted->n == 4 && ip_eq(wanted, &last)))
		return err_set(e, ERR_INVALID, "address '%s' of network '%s' is no host's address",
			       ip_text(wanted).t, n->spec.name);
	if (holder)
		return err_set(e, ERR_CONFLICT, "address '%s' of network '%s' is in use by %s",
			       ip_text(wanted).t, n->spec.name, holder);
	return 0;
}

int pool_take(struct network *n, int family_n, const struct ip *wanted, const char *holder,
	      struct ip *ret, struct err *e)
{
	bool v4 = family_n == 4;
	const struct ip_net *net = v4 ? &n->net4 : &n->net6;
	const struct ip_net *range = v4 ? &n->range4 : &n->range6;
	struct ip *next = v4 ? &n->next4 : &n->next6;
	struct ip a = *next;
	int r;

	assert(family_n == 4 || family_n == 16);
	if (wanted && ip_is(wanted)) {
		r = take_wanted(n, net, wanted, e);
		if (r < 0)
			return r;
		(void)map_put(&n->taken, ip_text(wanted).t, (void *)holder);
		*ret = *wanted;
		return 0;
	}
	for (unsigned int looked = 0; looked < SEARCH_MAX; looked++) {
		if (!ip_in(&a, range))
			a = range->ip;
		if (usable(n, net, &a)) {
			*next = ip_plus(a, 1);
			(void)map_put(&n->taken, ip_text(&a).t, (void *)holder);
			*ret = a;
			return 0;
		}
		a = ip_plus(a, 1);
		if (looked && ip_eq(&a, next))
			break;
	}
	return err_set(e, ERR_EXHAUSTED, "no free address is left in '%s' of network '%s'",
		       ip_net_text(range).t, n->spec.name);
}

void pool_give(struct network *n, const struct ip *a)
{
	if (ip_is(a))
		(void)map_remove(&n->taken, ip_text(a).t);
}
