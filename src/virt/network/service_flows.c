/*
 * UDP flows of services that changed. The kernel goes on sending a flow where its first packet
 * went; so a flow to one of the changed services, answered by somebody who serves it no more, is
 * forgotten, and its next packet is balanced anew. Where no changed service has any, nothing is
 * asked.
 */
#include "virt/network/service_flows.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/linux/conntrack.h"

/* Where packets of a changed service come in, and what it is now. */
struct front {
	struct fact fact; /* FRONT, without data */
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

static bool is_udp(const struct fact *f)
{
	return f->key[f->set == FACT_FRONT4 ? 4 : 16] == IPPROTO_UDP;
}

static void collect(struct fronts *all, const struct fact_list *from, const struct fact_list *now)
{
	for (size_t i = 0; i < from->n; i++) {
		const struct fact *f = &from->items[i];

		if ((f->set != FACT_FRONT4 && f->set != FACT_FRONT6) || !is_udp(f))
			continue;
		mem_grow(all->items, all->n + 1, all->room);
		all->items[all->n] = (struct front){.fact = *f, .now = now};
		memset(all->items[all->n].fact.data, 0, FACT_DATA_MAX);
		all->n++;
	}
}

static void collect_all(struct fronts *all, const struct fact_list *before,
			const struct fact_list *const *now, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		collect(all, &before[i], now[i]);
		collect(all, now[i], now[i]);
	}
	if (all->n)
		qsort(all->items, all->n, sizeof(*all->items), front_cmp);
}

static const struct front *find(const struct fronts *all, const struct fact *fact)
{
	struct front want = {.fact = *fact};

	return bsearch(&want, all->items, all->n, sizeof(want), front_cmp);
}

static const struct front *find_udp(const struct fronts *all, const struct ip *to, uint16_t port)
{
	struct fact want = {.set = to->n == 4 ? FACT_FRONT4 : FACT_FRONT6};
	uint8_t *at = want.key + to->n;

	memcpy(want.key, to->b, to->n);
	at[0] = IPPROTO_UDP;
	at[4] = (uint8_t)(port >> 8);
	at[5] = (uint8_t)port;
	return find(all, &want);
}

/* A node port is any address's: only a flow that was translated was a service's. */
static bool is_stale(void *ctx, const struct conntrack_flow *flow)
{
	const struct fronts *all = ctx;
	const struct front *f = find_udp(all, &flow->to, flow->to_port);
	struct ip any = {.n = flow->to.n};

	if (!f && !ip_eq(&flow->to, &flow->answerer))
		f = find_udp(all, &any, flow->to_port);
	return f && !fact_serves(f->now, &f->fact, &flow->answerer, flow->answerer_port);
}

int service_flows_forget(const struct fact_list *before, const struct fact_list *const *now,
			 size_t n, struct err *e)
{
	struct fronts all = {.n = 0};
	int r;

	collect_all(&all, before, now, n);
	r = all.n ? conntrack_forget_udp(is_stale, &all, e) : 0;
	free(all.items);
	return r;
}
