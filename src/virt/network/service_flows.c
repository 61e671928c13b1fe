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
	uint8_t six;
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

/* Of each front with endpoints the first one. */
static bool is_first_end(const struct fact *f)
{
	static const uint8_t zero[4];

	if (f->set != FACT_ENDS4 && f->set != FACT_ENDS6)
		return false;
	return memcmp(f->key + (f->set == FACT_ENDS4 ? 12 : 24), zero, sizeof(zero)) == 0;
}

static void collect(struct fronts *all, const struct fact_list *from, const struct fact_list *now)
{
	for (size_t i = 0; i < from->n; i++) {
		const struct fact *f = &from->items[i];
		bool six = f->set == FACT_ENDS6;

		if (!is_first_end(f) || f->key[six ? 16 : 4] != IPPROTO_UDP)
			continue;
		mem_grow(all->items, all->n + 1, all->room);
		all->items[all->n] = (struct front){.six = six, .now = now};
		memcpy(all->items[all->n].key, f->key, six ? 24 : 12);
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

static const struct front *find(const struct fronts *all, const struct ip *to, uint16_t port)
{
	struct front want = {.six = to->n == 16};
	uint8_t *at = want.key + to->n;

	memcpy(want.key, to->b, to->n);
	at[0] = IPPROTO_UDP;
	at[4] = (uint8_t)(port >> 8);
	at[5] = (uint8_t)port;
	return bsearch(&want, all->items, all->n, sizeof(want), front_cmp);
}

/* A node port is any address's: only a flow that was translated was a service's. */
static bool is_stale(void *ctx, const struct conntrack_flow *flow)
{
	const struct fronts *all = ctx;
	const struct front *f = find(all, &flow->to, flow->to_port);
	struct ip any = {.n = flow->to.n};

	if (!f && !ip_eq(&flow->to, &flow->answerer))
		f = find(all, &any, flow->to_port);
	return f && !fact_serves(f->now, f->key, &flow->answerer, flow->answerer_port);
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
