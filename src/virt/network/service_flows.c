/*
 * UDP flows of services that changed. The kernel goes on sending a flow where its first packet
 * went; so a flow to one of the changed services, answered by somebody who serves it no more, is
 * forgotten, and its next packet is balanced anew.
 */
#include <netinet/in.h>

#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/linux/conntrack.h"
#include "virt/network/service_flows.h"

struct front {
	uint8_t set;
	uint8_t key[FACT_KEY_MAX];
	const struct fact_list *now;
};

struct fronts {
	struct front *items;
	size_t n, room;
};

static int front_cmp(const void *a, const void *b)
{
	return memcmp(a, b, offsetof(struct front, now));
}

static void collect(struct fronts *all, const struct fact_list *from, const struct fact_list *now)
{
	for (size_t i = 0; i < from->n; i++) {
		const struct fact *f = &from->items[i];
		bool four = f->set == FACT_IDS4;

		if (!four && f->set != FACT_IDS6)
			continue;
		if (f->key[four ? 4 : 16] != IPPROTO_UDP)
			continue;
		mem_grow(all->items, all->n + 1, all->room);
		all->items[all->n] = (struct front){.set = f->set, .now = now};
		memcpy(all->items[all->n].key, f->key, FACT_KEY_MAX);
		all->n++;
	}
}

static const struct front *find(const struct fronts *all, const struct ip *to, uint16_t port)
{
	struct front want = {.set = to->n == 4 ? FACT_IDS4 : FACT_IDS6};
	uint8_t *at = want.key + to->n;

	memcpy(want.key, to->b, to->n);
	at[0] = IPPROTO_UDP;
	at[4] = (uint8_t)(port >> 8);
	at[5] = (uint8_t)port;
	return bsearch(&want, all->items, all->n, sizeof(want), front_cmp);
}

static bool has_end(const struct fact_list *l, const struct ip *ip, uint16_t port)
{
	enum fact_set set = ip->n == 4 ? FACT_ENDS4 : FACT_ENDS6;
	uint8_t data[FACT_DATA_MAX] = {0};

	memcpy(data, ip->b, ip->n);
	data[ip->n] = (uint8_t)(port >> 8);
	data[ip->n + 1] = (uint8_t)port;
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].set == set && memcmp(l->items[i].data, data, sizeof(data)) == 0)
			return true;
	return false;
}

/* A node port is any address's: only a flow that was translated was a service's. */
static bool stale(void *ctx, const struct conntrack_flow *flow)
{
	const struct fronts *all = ctx;
	const struct front *f = find(all, &flow->to, flow->to_port);
	struct ip any = {.n = flow->to.n};

	if (!f && !ip_eq(&flow->to, &flow->answerer))
		f = find(all, &any, flow->to_port);
	return f && !has_end(f->now, &flow->answerer, flow->answerer_port);
}

int service_flows_forget(const struct fact_list *before, const struct fact_list *const *now,
			 size_t n, struct err *e)
{
	struct fronts all = {.n = 0};
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		collect(&all, &before[i], now[i]);
		collect(&all, now[i], now[i]);
	}
	if (all.n) {
		qsort(all.items, all.n, sizeof(*all.items), front_cmp);
		r = conntrack_forget_udp(stale, &all, e);
	}
	free(all.items);
	return r;
}
