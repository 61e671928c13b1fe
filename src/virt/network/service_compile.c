/*
 * From a service to the elements of maps, and the chains that verdicts lead to. Nothing here knows
 * what is on the host: the same service gives the same list.
 */
#include <netinet/in.h> /* before linux/in.h, which defers to it */

#include <assert.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/network/service_priv.h"

static const uint8_t proto_number[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
static_assert(sizeof(proto_number) == NETWORK_PROTOS, "a number for each protocol");

static const struct {
	const char *name;
	uint8_t key, data;
	bool verdict, shared;
} sets[] = {
	[FACT_IDS4] = {"ids4", 12, 4, false, false},
	[FACT_IDS6] = {"ids6", 24, 4, false, false},
	[FACT_ENDS4] = {"ends4", 8, 8, false, false},
	[FACT_ENDS6] = {"ends6", 8, 20, false, false},
	[FACT_LIVE4] = {"live4", 12, 0, false, false},
	[FACT_LIVE6] = {"live6", 24, 0, false, false},
	[FACT_PAIRS4] = {"pairs4", 8, 0, false, true},
	[FACT_PAIRS6] = {"pairs6", 32, 0, false, true},
	[FACT_BALANCED4] = {"balanced4", 4, 0, false, true},
	[FACT_BALANCED6] = {"balanced6", 16, 0, false, true},
	[FACT_EMPTY4] = {"empty4", 12, 0, true, false},
	[FACT_EMPTY6] = {"empty6", 24, 0, true, false},
	[FACT_FRONT4] = {"front4", 12, 0, true, false},
	[FACT_FRONT6] = {"front6", 24, 0, true, false},
};
static_assert(array_len(sets) == FACT_SETS, "every set is described");

const char *fact_set_name(enum fact_set set)
{
	return sets[set].name;
}

size_t fact_key_bytes(enum fact_set set)
{
	return sets[set].key;
}

size_t fact_data_bytes(enum fact_set set)
{
	return sets[set].data;
}

bool fact_is_verdict(enum fact_set set)
{
	return sets[set].verdict;
}

bool fact_is_shared(enum fact_set set)
{
	return sets[set].shared;
}

struct fact_pick fact_pick(const struct fact *f)
{
	struct fact_pick p;

	static_assert(sizeof(p) <= FACT_DATA_MAX, "a verdict fits");
	assert(fact_is_verdict(f->set));
	memcpy(&p, f->data, sizeof(p));
	return p;
}

int fact_cmp(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct fact));
}

/* ---- compiling ---- */

/* What is sent to one set of endpoints of one port, in one family. */
struct group {
	const struct network_service *service;
	const struct network_service_port *port;
	bool v4, local;
	uint32_t id, count;
	bool others; /* there are endpoints, but on other nodes */
};

static struct fact *add(struct fact_list *l, enum fact_set set)
{
	struct fact *f;

	mem_grow(l->items, l->n + 1, l->room);
	f = &l->items[l->n++];
	*f = (struct fact){.set = set};
	return f;
}

static void put_port(uint8_t *at, uint16_t port)
{
	at[0] = (uint8_t)(port >> 8);
	at[1] = (uint8_t)port;
}

/* address . port, as data or the beginning of a key; how long it is. */
static size_t put_at(uint8_t *at, const struct ip *ip, uint16_t port)
{
	memcpy(at, ip->b, ip->n);
	put_port(at + ip->n, port);
	return ip->n + 4U;
}

static bool serves(const struct group *g, const struct network_service_endpoint *ep)
{
	return (ep->ip.n == 4) == g->v4 && (!g->local || ep->local);
}

static void put_endpoint(struct fact_list *l, struct group *g,
			 const struct network_service_endpoint *ep)
{
	struct fact *f = add(l, g->v4 ? FACT_ENDS4 : FACT_ENDS6);

	memcpy(f->key, &g->id, sizeof(g->id));
	memcpy(f->key + 4, &g->count, sizeof(g->count));
	(void)put_at(f->data, &ep->ip, ep->port);
	g->count++;
	if (g->service->affinity_s) {
		f = add(l, g->v4 ? FACT_LIVE4 : FACT_LIVE6);
		memcpy(f->key + put_at(f->key, &ep->ip, ep->port), &g->id, sizeof(g->id));
	}
	if (ep->local) {
		f = add(l, g->v4 ? FACT_PAIRS4 : FACT_PAIRS6);
		memcpy(f->key, ep->ip.b, ep->ip.n);
		memcpy(f->key + ep->ip.n, ep->ip.b, ep->ip.n);
	}
}

static struct group put_group(struct fact_list *l, const struct network_service *s,
			      const struct network_service_port *p, bool v4, bool local,
			      uint32_t id)
{
	struct group g = {.service = s, .port = p, .v4 = v4, .local = local, .id = id};

	for (size_t i = 0; i < p->endpoints_n; i++) {
		const struct network_service_endpoint *ep = &p->endpoints[i];

		if (serves(&g, ep))
			put_endpoint(l, &g, ep);
		else if ((ep->ip.n == 4) == v4)
			g.others = true;
	}
	return g;
}

/* address . protocol . port leads to this group; the address of no byte set: any of the host's. */
static void put_front(struct fact_list *l, const struct group *g, const struct ip *at,
		      uint16_t port, bool node)
{
	struct fact_pick pick = {.count = g->count, .timeout_s = g->service->affinity_s};
	struct fact *f;
	uint8_t key[FACT_KEY_MAX] = {0};

	assert(at->n == (g->v4 ? 4 : 16) && port);
	memcpy(key, at->b, at->n);
	key[at->n] = proto_number[g->port->proto];
	put_port(key + at->n + 4, port);
	pick.node = node;
	if (g->count == 0)
		pick = (struct fact_pick){.count = g->others && g->local};
	else {
		f = add(l, g->v4 ? FACT_IDS4 : FACT_IDS6);
		memcpy(f->key, key, sizeof(key));
		memcpy(f->data, &g->id, sizeof(g->id));
	}
	if (g->count)
		f = add(l, g->v4 ? FACT_FRONT4 : FACT_FRONT6);
	else
		f = add(l, g->v4 ? FACT_EMPTY4 : FACT_EMPTY6);
	memcpy(f->key, key, sizeof(key));
	memcpy(f->data, &pick, sizeof(pick));
}

static void put_fronts(struct fact_list *l, const struct group *g, const struct ip *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((list[i].n == 4) == g->v4)
			put_front(l, g, &list[i], g->port->port, false);
}

static bool has_family(const struct network_service *s, bool v4)
{
	const struct {
		const struct ip *ips;
		size_t n;
	} lists[] = {{s->addresses, s->addresses_n},
		     {s->externals, s->externals_n},
		     {s->balanced, s->balanced_n}};

	for (size_t k = 0; k < array_len(lists); k++)
		for (size_t i = 0; i < lists[k].n; i++)
			if ((lists[k].ips[i].n == 4) == v4)
				return true;
	return false;
}

static void put_port_of(struct fact_list *l, const struct network_service *s,
			const struct network_service_port *p, bool v4, fact_group *number,
			void *ctx)
{
	bool outside = p->node_port || s->externals_n || s->balanced_n;
	struct group all = {.v4 = v4}, local = {.v4 = v4};
	const struct group *in, *out;
	struct ip any = {.n = v4 ? 4 : 16};

	if (!has_family(s, v4))
		return;
	if (!s->internal_local || (outside && !s->external_local))
		all = put_group(l, s, p, v4, false, number(ctx, p, false));
	if (s->internal_local || (outside && s->external_local))
		local = put_group(l, s, p, v4, true, number(ctx, p, true));
	in = s->internal_local ? &local : &all;
	out = s->external_local ? &local : &all;
	put_fronts(l, in, s->addresses, s->addresses_n);
	put_fronts(l, out, s->externals, s->externals_n);
	put_fronts(l, out, s->balanced, s->balanced_n);
	if (p->node_port)
		put_front(l, out, &any, p->node_port, true);
}

static void put_balanced(struct fact_list *l, const struct network_service *s)
{
	for (size_t i = 0; i < s->balanced_n; i++) {
		const struct ip *ip = &s->balanced[i];
		struct fact *f = add(l, ip->n == 4 ? FACT_BALANCED4 : FACT_BALANCED6);

		memcpy(f->key, ip->b, ip->n);
	}
}

/* Sorted; of equal keys the first stays, since a map holds one. */
static void settle(struct fact_list *l)
{
	size_t kept = 0;

	if (l->n)
		qsort(l->items, l->n, sizeof(*l->items), fact_cmp);
	for (size_t i = 0; i < l->n; i++)
		if (kept == 0 ||
		    memcmp(&l->items[kept - 1], &l->items[i], offsetof(struct fact, data)) != 0)
			l->items[kept++] = l->items[i];
	l->n = kept;
}

int fact_compile(const struct network_service *s, fact_group *group, void *ctx,
		 struct fact_list *ret, struct err *e)
{
	assert(ret->n == 0);
	for (size_t i = 0; i < s->ports_n; i++) {
		const struct network_service_port *p = &s->ports[i];

		if (!p->port)
			return err_set(e, ERR_INVALID, "service '%s' has a port 0", s->key);
		if (p->endpoints_n > NETWORK_SERVICE_ENDPOINTS_MAX)
			return err_set(e, ERR_INVALID,
				       "port %u of service '%s' has %zu endpoints: more than %d",
				       p->port, s->key, p->endpoints_n,
				       NETWORK_SERVICE_ENDPOINTS_MAX);
		put_port_of(ret, s, p, true, group, ctx);
		put_port_of(ret, s, p, false, group, ctx);
	}
	put_balanced(ret, s);
	settle(ret);
	return 0;
}

/* ---- the chains of verdicts ---- */

void fact_chain_name(const struct fact *f, char ret[FACT_CHAIN_MAX])
{
	struct fact_pick pick = fact_pick(f);
	bool front = f->set == FACT_FRONT4 || f->set == FACT_FRONT6;
	int four = f->set == FACT_FRONT4 ? 4 : 6;

	if (!front)
		(void)snprintf(ret, FACT_CHAIN_MAX, "%s", pick.count ? "lose" : "refuse");
	else if (pick.timeout_s)
		(void)snprintf(ret, FACT_CHAIN_MAX, "%s%d-%u-%u", pick.node ? "node" : "pick", four,
			       pick.count, pick.timeout_s);
	else
		(void)snprintf(ret, FACT_CHAIN_MAX, "%s%d-%u", pick.node ? "node" : "pick", four,
			       pick.count);
}

/* The group of what the packet is sent to, behind room for an address and a port. */
static void load_group(struct nft *t, bool v4, bool node)
{
	static const uint8_t any[16];
	uint32_t words = v4 ? 1 : 4;

	if (node)
		nft_load(t, NFT_R(0), any, words * 4);
	else
		nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 16 : 24, words * 4, NFT_R(0));
	nft_meta(t, NFT_META_L4PROTO, NFT_R(words));
	nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(words + 1));
	nft_map(t, NFT_R(0), v4 ? "ids4" : "ids6", NFT_R(words + 1));
}

static void load_client(struct nft *t, bool v4, uint32_t reg)
{
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 12 : 8, v4 ? 4 : 16, reg);
}

/* A client that was sent somewhere before, as long as that is still an endpoint. */
static void add_again(struct nft *t, const char *chain, bool v4, const struct fact_pick *pick)
{
	uint32_t words = v4 ? 1 : 4, group = words + 1;
	const char *aff = v4 ? "aff4" : "aff6";

	nft_rule(t, chain);
	load_group(t, v4, pick->node);
	load_client(t, v4, NFT_R(group + 1));
	nft_map(t, NFT_R(group), aff, NFT_R(0));
	nft_in_set(t, NFT_R(0), v4 ? "live4" : "live6", false);
	nft_remember(t, aff, NFT_R(group), NFT_R(0), pick->timeout_s);
	nft_dnat(t, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6, NFT_R(0), NFT_R(words));
}

void fact_chain_lay(struct nft *t, const struct fact *f)
{
	struct fact_pick pick = fact_pick(f);
	bool v4 = f->set == FACT_FRONT4;
	uint32_t words = v4 ? 1 : 4, group = words + 1;
	const char *aff = v4 ? "aff4" : "aff6";
	char chain[FACT_CHAIN_MAX];

	assert(pick.count > 0 && (v4 || f->set == FACT_FRONT6));
	fact_chain_name(f, chain);
	nft_add_chain(t, &(struct nft_chain){.name = chain});
	nft_flush_chain(t, chain); /* another daemon's may be there */
	if (pick.timeout_s)
		add_again(t, chain, v4, &pick);
	nft_rule(t, chain);
	load_group(t, v4, pick.node);
	nft_random(t, pick.count, NFT_R(group + 1));
	nft_map(t, NFT_R(group), v4 ? "ends4" : "ends6", NFT_R(0));
	if (pick.timeout_s) {
		load_client(t, v4, NFT_R(group + 1));
		nft_forget(t, aff, NFT_R(group), NFT_R(0));
		nft_remember(t, aff, NFT_R(group), NFT_R(0), pick.timeout_s);
	}
	nft_dnat(t, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6, NFT_R(0), NFT_R(words));
}
