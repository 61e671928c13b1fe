/*
 * Services on this host: what each compiled to last, and the transactions that lead from there to
 * what it compiles to now. See service.h.
 */
#include "virt/network/service.h"

#include <assert.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/service_flows.h"

struct service {
	struct services *all;
	const char *key; /* the map's */
	struct fact_list facts;
	bool seen; /* in the set being laid */
};

struct services {
	struct network_host *host;
	struct map services; /* key -> struct service */
	struct map shared;   /* an element of several services -> how many, as a pointer's value */
	struct map chains;   /* of verdicts, known to be on the host */
};

/* What one call changes: the elements, and the lists before it. */
struct change {
	struct fact_list add, remove;
	struct fact_list *before;
	struct service **services;
	size_t n, room, services_room;
};

static void list_done(struct fact_list *l)
{
	free(l->items);
	*l = (struct fact_list){.n = 0};
}

/* ---- birth and death ---- */

static struct services *services_of(struct network_host *h)
{
	if (!h->services) {
		h->services = mem_new(struct services);
		h->services->host = h;
	}
	return h->services;
}

static void service_free(struct service *s)
{
	(void)map_remove(&s->all->services, s->key);
	list_done(&s->facts);
	free(s);
}

struct services *services_free(struct services *all)
{
	if (!all)
		return NULL;
	map_each (&all->services, it)
		service_free(it->value);
	map_done(&all->services);
	map_done(&all->shared);
	map_done(&all->chains);
	free(all);
	return NULL;
}

static struct service *service_of(struct services *all, const char *key)
{
	struct service *s = map_get(&all->services, key);

	if (s)
		return s;
	s = mem_new(struct service);
	s->all = all;
	(void)map_put(&all->services, key, s);
	s->key = all->services.entries[all->services.used - 1].key;
	assert(strcmp(s->key, key) == 0);
	return s;
}

/* ---- differences ---- */

static void push(struct fact_list *l, const struct fact *f)
{
	mem_grow(l->items, l->n + 1, l->room);
	l->items[l->n++] = *f;
}

/* Is this the first to come, or the last to go, of those that share the element? */
static bool count_shared(struct services *all, const struct fact *f, bool add)
{
	char text[2 * (FACT_KEY_MAX + 2) + 1];
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = (const uint8_t *)f;
	uintptr_t n;

	static_assert(offsetof(struct fact, key) == 2, "set and key stand side by side");
	for (size_t i = 0; i < FACT_KEY_MAX + 2; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[sizeof(text) - 1] = '\0';
	n = (uintptr_t)map_get(&all->shared, text);
	assert(add || n > 0);
	n = add ? n + 1 : n - 1;
	if (n)
		(void)map_put(&all->shared, text, (void *)n);
	else
		(void)map_remove(&all->shared, text);
	return add ? n == 1 : n == 0;
}

static void differ(struct services *all, struct change *c, const struct fact *f, bool add)
{
	if (!fact_is_shared(f->set) || count_shared(all, f, add))
		push(add ? &c->add : &c->remove, f);
}

static void subtract(struct services *all, struct change *c, const struct fact_list *before,
		     const struct fact_list *now)
{
	size_t b = 0, n = 0;

	while (b < before->n || n < now->n) {
		int cmp = b == before->n ? 1
			  : n == now->n	 ? -1
					 : fact_cmp(&before->items[b], &now->items[n]);

		if (cmp < 0)
			differ(all, c, &before->items[b], false);
		else if (cmp > 0)
			differ(all, c, &now->items[n], true);
		b += cmp <= 0;
		n += cmp >= 0;
	}
}

static void change_done(struct change *c)
{
	for (size_t i = 0; i < c->n; i++)
		list_done(&c->before[i]);
	list_done(&c->add);
	list_done(&c->remove);
	free(c->before);
	free(c->services);
}

/* The service becomes `now` (taken). */
static void become(struct change *c, struct service *s, struct fact_list *now)
{
	subtract(s->all, c, &s->facts, now);
	mem_grow(c->before, c->n + 1, c->room);
	/* pointers are what is kept: NOLINTNEXTLINE(bugprone-sizeof-expression) */
	mem_grow(c->services, c->n + 1, c->services_room);
	c->before[c->n] = s->facts;
	c->services[c->n++] = s;
	s->facts = *now;
	*now = (struct fact_list){.n = 0};
}

static int take_spec(struct services *all, struct change *c, const struct network_service *spec,
		     struct err *e)
{
	struct service *s = service_of(all, spec->key);
	struct fact_list now = {.n = 0};
	int r = fact_compile(spec, &now, e);

	s->seen = true;
	if (r == 0)
		become(c, s, &now);
	list_done(&now);
	return r;
}

static void drop(struct change *c, struct service *s)
{
	struct fact_list none = {.n = 0};

	become(c, s, &none);
}

/* ---- transactions ---- */

static void put_chains(struct services *all, struct nft *t, const struct fact_list *l)
{
	char chain[FACT_CHAIN_MAX];

	for (size_t i = 0; i < l->n; i++) {
		const struct fact *f = &l->items[i];

		if ((f->set != FACT_FRONT4 && f->set != FACT_FRONT6) || fact_stays(f))
			continue;
		fact_chain_name(f, chain);
		if (!map_put(&all->chains, chain, all))
			fact_chain_lay(t, f);
	}
}

/* Chains that only one service leads to: laid anew with every change of it. */
static void put_stays(struct nft *t, const struct service *s)
{
	for (size_t i = 0; i < s->facts.n; i++)
		if (fact_stays(&s->facts.items[i]))
			fact_stay_lay(t, &s->facts.items[i], &s->facts);
}

static bool has_key(const struct fact_list *l, const struct fact *f)
{
	for (size_t i = 0; i < l->n; i++)
		if (fact_stays(&l->items[i]) &&
		    memcmp(&l->items[i], f, offsetof(struct fact, data)) == 0)
			return true;
	return false;
}

static void drop_stays(struct nft *t, const struct fact_list *before, const struct fact_list *now)
{
	char chain[FACT_CHAIN_MAX];

	for (size_t i = 0; i < before->n; i++) {
		if (!fact_stays(&before->items[i]) || has_key(now, &before->items[i]))
			continue;
		fact_chain_name(&before->items[i], chain);
		nft_delete_chain(t, chain);
	}
}

static void put_fact(struct nft *t, const struct fact *f, bool add)
{
	size_t key_n = fact_key_bytes(f->set), data_n = fact_data_bytes(f->set);
	char chain[FACT_CHAIN_MAX], set[FACT_SET_NAME_MAX];

	fact_set_name(f->set, f->small, set);
	if (!add) {
		nft_delete_element(t, set, f->key, key_n);
	} else if (fact_is_verdict(f->set)) {
		fact_chain_name(f, chain);
		nft_add_verdict(t, set, f->key, key_n, chain);
	} else {
		nft_add_element(t, set, f->key, key_n, data_n ? f->data : NULL, data_n);
	}
}

/* Neighbours of one set share a message: the lists are sorted by set. */
static void put_list(struct nft *t, struct fact_list *l, bool add)
{
	if (l->n)
		qsort(l->items, l->n, sizeof(*l->items), fact_cmp);
	for (size_t i = 0; i < l->n; i++)
		put_fact(t, &l->items[i], add);
}

/* Every element of every service, each key once: of two that claim it the lesser has it. */
static void collect_all(struct services *all, struct fact_list *ret)
{
	size_t kept = 0;

	map_each (&all->services, it) {
		const struct service *s = it->value;

		for (size_t i = 0; i < s->facts.n; i++)
			push(ret, &s->facts.items[i]);
	}
	if (ret->n)
		qsort(ret->items, ret->n, sizeof(*ret->items), fact_cmp);
	for (size_t i = 0; i < ret->n; i++)
		if (kept == 0 ||
		    memcmp(&ret->items[kept - 1], &ret->items[i], offsetof(struct fact, data)) != 0)
			ret->items[kept++] = ret->items[i];
	ret->n = kept;
}

static void flush_sets(struct nft *t)
{
	char name[FACT_SET_NAME_MAX];

	for (int set = 0; set < FACT_SETS; set++) {
		bool ends = set == FACT_ENDS4 || set == FACT_ENDS6;

		for (unsigned int small = 0; small <= (ends ? FACT_SMALL_MAX : 0U); small++) {
			fact_set_name((enum fact_set)set, (uint8_t)small, name);
			nft_flush_set(t, name);
		}
	}
}

int services_lay(struct network_host *h, struct err *e)
{
	auto_nft struct nft *t = nft_new(NFPROTO_INET, h->pods->table);
	struct services *all = h->services;
	struct fact_list l = {.n = 0};
	int r;

	assert(all);
	map_done(&all->chains);
	flush_sets(t);
	collect_all(all, &l);
	put_chains(all, t, &l);
	map_each (&all->services, it)
		put_stays(t, it->value);
	put_list(t, &l, true);
	r = nft_commit(t, h->nft_fd, e);
	if (r < 0)
		map_done(&all->chains);
	list_done(&l);
	return r;
}

/* All of it, the table too if need be: what is done when a difference does not apply. */
static int lay_anew(struct network_host *h, struct err *e)
{
	struct err why = {0};

	if (h->pods->laid && services_lay(h, &why) == 0)
		return 0;
	h->pods->laid = false;
	return pod_rules_lay(h, e);
}

static int apply(struct network_host *h, struct change *c, struct err *e)
{
	auto_nft struct nft *t = nft_new(NFPROTO_INET, h->pods->table);
	struct err why = {0};

	if (!h->pods->laid)
		return lay_anew(h, e);
	put_chains(h->services, t, &c->add);
	for (size_t i = 0; i < c->n; i++)
		put_stays(t, c->services[i]);
	put_list(t, &c->remove, false);
	put_list(t, &c->add, true);
	for (size_t i = 0; i < c->n; i++)
		drop_stays(t, &c->before[i], &c->services[i]->facts);
	if (nft_commit(t, h->nft_fd, &why) == 0)
		return 0;
	log_info("services are laid anew: %s", why.text);
	return lay_anew(h, e);
}

static void forget_flows(struct change *c)
{
	const struct fact_list **now = mem_new_array(const struct fact_list *, c->n + 1);
	struct err e = {0};

	for (size_t i = 0; i < c->n; i++)
		now[i] = &c->services[i]->facts;
	if (service_flows_forget(c->before, now, c->n, &e) < 0)
		log_warn("%s", e.text);
	free(now);
}

static void bury(struct change *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->services[i]->seen)
			service_free(c->services[i]);
}

/* ---- the host's own addresses ---- */

/* An address that is balanced here is this host's, so that it answers for it. */
static void put_addresses(struct network_host *h, const struct fact_list *l, bool add,
			  struct netlink_batch *b)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct fact *f = &l->items[i];
		struct ip_net one = {.bits = 128};

		if (f->set != FACT_BALANCED4 && f->set != FACT_BALANCED6)
			continue;
		one.ip.n = f->set == FACT_BALANCED4 ? 4 : 16;
		if (one.ip.n == 4)
			one.bits = 32;
		memcpy(one.ip.b, f->key, one.ip.n);
		if (add)
			netlink_add_address(b, h->pods->index, &one);
		else
			netlink_delete_address(b, h->pods->index, &one);
	}
}

static int set_addresses(struct network_host *h, const struct change *c, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();

	put_addresses(h, &c->remove, false, b);
	if (netlink_run(&h->netlink, b, NULL) < 0)
		log_debug("an address that was balanced is gone already");
	put_addresses(h, &c->add, true, b);
	return netlink_run(&h->netlink, b, e);
}

static int finish(struct network_host *h, struct change *c, bool all, struct err *e)
{
	int r = 0, addresses = 0;

	if (all)
		r = lay_anew(h, e);
	else if (c->add.n || c->remove.n)
		r = apply(h, c, e);
	if (r == 0)
		addresses = set_addresses(h, c, e);
	if (all || c->remove.n)
		forget_flows(c);
	bury(c);
	return r < 0 ? r : addresses;
}

/* ---- the verbs ---- */

static int begin(struct network_host *h, struct services **ret, struct err *e)
{
	if (!h->pods)
		return err_set(e, ERR_INVALID, "services need a range of pods first");
	*ret = services_of(h);
	map_each (&(*ret)->services, it)
		((struct service *)it->value)->seen = false;
	return 0;
}

int network_services_set(struct network_host *h, const struct network_service *list, size_t n,
			 struct err *e)
{
	struct change c = {.n = 0};
	struct services *all = NULL;
	int r = begin(h, &all, e), bad = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (take_spec(all, &c, &list[i], bad ? NULL : e) < 0)
			bad = -ERR_INVALID;
	map_each (&all->services, it) {
		struct service *s = it->value;

		if (!s->seen)
			drop(&c, s);
	}
	r = finish(h, &c, true, bad ? NULL : e);
	change_done(&c);
	return bad ? bad : r;
}

int network_services_change(struct network_host *h, const struct network_service *changed, size_t n,
			    const char *const *gone, size_t gone_n, struct err *e)
{
	struct change c = {.n = 0};
	struct services *all = NULL;
	int r, bad = 0;

	if (!h->pods)
		return err_set(e, ERR_INVALID, "services need a range of pods first");
	all = services_of(h);
	for (size_t i = 0; i < gone_n; i++) {
		struct service *s = map_get(&all->services, gone[i]);

		if (!s)
			continue;
		s->seen = false;
		drop(&c, s);
	}
	for (size_t i = 0; i < n; i++)
		if (take_spec(all, &c, &changed[i], bad ? NULL : e) < 0)
			bad = -ERR_INVALID;
	r = finish(h, &c, false, bad ? NULL : e);
	change_done(&c);
	return bad ? bad : r;
}

size_t network_services_count(const struct network_host *h)
{
	return h->services ? h->services->services.count : 0;
}
