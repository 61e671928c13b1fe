/*
 * From a service to the elements of maps. Nothing here knows what is on the host: the same service
 * gives the same list.
 */
#include <netinet/in.h>

#include <assert.h>
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
	bool shared;
} sets[] = {
	[FACT_ENDS4] = {"ends4", 16, 8, false},	      [FACT_ENDS6] = {"ends6", 28, 20, false},
	[FACT_PAIRS4] = {"pairs4", 8, 0, true},	      [FACT_PAIRS6] = {"pairs6", 32, 0, true},
	[FACT_BALANCED4] = {"balanced4", 4, 0, true}, [FACT_BALANCED6] = {"balanced6", 16, 0, true},
	[FACT_REFUSE4] = {"refuse4", 12, 0, false},   [FACT_REFUSE6] = {"refuse6", 24, 0, false},
	[FACT_LOSE4] = {"lose4", 12, 0, false},	      [FACT_LOSE6] = {"lose6", 24, 0, false},
	[FACT_FRONT4] = {"front4", 12, 0, false},     [FACT_FRONT6] = {"front6", 24, 0, false},
};
static_assert(array_len(sets) == FACT_SETS, "every set is described");

void fact_set_name(enum fact_set set, uint8_t small, char ret[FACT_SET_NAME_MAX])
{
	if (small)
		(void)snprintf(ret, FACT_SET_NAME_MAX, "%s-%u", sets[set].name, small);
	else
		(void)snprintf(ret, FACT_SET_NAME_MAX, "%s", sets[set].name);
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
	return set == FACT_FRONT4 || set == FACT_FRONT6;
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

/* Whom packets of one kind go to: the endpoints of one port, in one family. */
struct group {
	const struct network_service *service;
	const struct network_service_port *port;
	bool v4, local;
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

static void put_at(uint8_t *data, const struct ip *ip, uint16_t port)
{
	memcpy(data, ip->b, ip->n);
	put_port(data + ip->n, port);
}

static bool serves(const struct group *g, const struct network_service_endpoint *ep)
{
	return (ep->ip.n == 4) == g->v4 && (!g->local || ep->local);
}

static void put_pair(struct fact_list *l, const struct network_service_endpoint *ep)
{
	struct fact *f = add(l, ep->ip.n == 4 ? FACT_PAIRS4 : FACT_PAIRS6);

	memcpy(f->key, ep->ip.b, ep->ip.n);
	memcpy(f->key + ep->ip.n, ep->ip.b, ep->ip.n);
}

/* Where the number of an endpoint stands, behind address . protocol . port. */
static size_t front_bytes(bool v4)
{
	return v4 ? 12 : 24;
}

static uint32_t count_endpoints(const struct group *g, bool *ret_others)
{
	uint32_t count = 0;

	*ret_others = false;
	for (size_t i = 0; i < g->port->endpoints_n; i++) {
		const struct network_service_endpoint *ep = &g->port->endpoints[i];

		count += serves(g, ep);
		*ret_others |= (ep->ip.n == 4) == g->v4 && !serves(g, ep);
	}
	return count;
}

static void put_endpoints(struct fact_list *l, const struct group *g, const uint8_t *front,
			  uint8_t small)
{
	size_t at = front_bytes(g->v4);
	uint32_t count = 0;

	for (size_t i = 0; i < g->port->endpoints_n; i++) {
		const struct network_service_endpoint *ep = &g->port->endpoints[i];
		struct fact *f;

		if (!serves(g, ep))
			continue;
		f = add(l, g->v4 ? FACT_ENDS4 : FACT_ENDS6);
		f->small = small;
		memcpy(f->key, front, at);
		memcpy(f->key + at, &count, sizeof(count));
		put_at(f->data, &ep->ip, ep->port);
		if (ep->local)
			put_pair(l, ep);
		count++;
	}
}

/* A front that a verdict leads on from. */
static void put_verdict(struct fact_list *l, const struct group *g, const uint8_t *key,
			const struct fact_pick *pick)
{
	struct fact *f = add(l, g->v4 ? FACT_FRONT4 : FACT_FRONT6);

	memcpy(f->key, key, front_bytes(g->v4));
	memcpy(f->data, pick, sizeof(*pick));
}

static void put_nobody(struct fact_list *l, const struct group *g, const uint8_t *key, bool others)
{
	struct fact *f;

	if (others)
		f = add(l, g->v4 ? FACT_LOSE4 : FACT_LOSE6);
	else
		f = add(l, g->v4 ? FACT_REFUSE4 : FACT_REFUSE6);
	memcpy(f->key, key, front_bytes(g->v4));
}

/* address . protocol . port leads to this group; the address of no byte set: any of the host's. */
static void put_front(struct fact_list *l, const struct group *g, const struct ip *at,
		      uint16_t port, bool node)
{
	struct fact_pick pick = {.timeout_s = g->service->affinity_s, .node = node};
	uint8_t key[FACT_KEY_MAX] = {0};
	bool others, verdict;

	assert(at->n == (g->v4 ? 4 : 16) && port);
	memcpy(key, at->b, at->n);
	key[at->n] = proto_number[g->port->proto];
	put_port(key + at->n + 4, port);
	pick.count = count_endpoints(g, &others);
	if (pick.count == 0) {
		put_nobody(l, g, key, others);
		return;
	}
	verdict = pick.count > FACT_SMALL_MAX || pick.timeout_s;
	put_endpoints(l, g, key, verdict ? 0 : (uint8_t)pick.count);
	if (verdict)
		put_verdict(l, g, key, &pick);
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
			const struct network_service_port *p, bool v4)
{
	const struct group in = {s, p, v4, s->internal_local}, out = {s, p, v4, s->external_local};
	struct ip any = {.n = v4 ? 4 : 16};

	if (!has_family(s, v4))
		return;
	put_fronts(l, &in, s->addresses, s->addresses_n);
	put_fronts(l, &out, s->externals, s->externals_n);
	put_fronts(l, &out, s->balanced, s->balanced_n);
	if (p->node_port)
		put_front(l, &out, &any, p->node_port, true);
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

int fact_compile(const struct network_service *s, struct fact_list *ret, struct err *e)
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
		put_port_of(ret, s, p, true);
		put_port_of(ret, s, p, false);
	}
	put_balanced(ret, s);
	settle(ret);
	return 0;
}

bool fact_serves(const struct fact_list *l, const uint8_t *front, const struct ip *ip,
		 uint16_t port)
{
	enum fact_set set = ip->n == 4 ? FACT_ENDS4 : FACT_ENDS6;
	uint8_t data[FACT_DATA_MAX] = {0};
	size_t n = front_bytes(ip->n == 4);

	put_at(data, ip, port);
	for (size_t i = 0; i < l->n; i++) {
		const struct fact *f = &l->items[i];

		if (f->set == set && memcmp(f->key, front, n) == 0 &&
		    memcmp(f->data, data, sizeof(data)) == 0)
			return true;
	}
	return false;
}
