/*
 * Filters over topologies: affinity and anti-affinity between pods (also that of the pods that are
 * there), and spread over domains. Each term is a count of pods by domain, a domain being the nodes
 * with one value of a label. Where a domain is a host, a node is counted when it is asked about;
 * else one walk over the nodes counts them all.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

/* -- counting ---------------------------------------------------------------------------------- */

static bool counts_class(struct ask *q, struct count *c, const struct pod_class *k)
{
	if (c->holders)
		return k == c->owner;
	if (c->last != k) {
		c->last = k;
		c->last_matches = class_matches(q->s, c->owner, c->term, k);
	}
	return c->last_matches;
}

static int64_t count_node(struct ask *q, struct count *c, const struct node_info *n)
{
	int64_t sum = 0;

	for (size_t i = 0; i < n->crowds_n; i++)
		if (counts_class(q, c, n->crowds[i].class))
			sum += (int64_t)n->crowds[i].n;
	return sum;
}

int64_t topology_count(struct ask *q, struct count *c, const struct node_info *n)
{
	if (c->by_host)
		return json_get_text(n->labels, HOSTNAME) ? count_node(q, c, n) : -1;
	assert(c->of_node);
	return c->of_node[n->index] < 0 ? -1 : c->domains[c->of_node[n->index]];
}

/* Whether a constraint counts what is on this node (its node inclusion policies). */
static bool heeds(const struct ask *q, const struct term *t, const struct node_info *n)
{
	if (t->heed_affinity && !filter_node_affinity(q->class, n))
		return false;
	return !t->heed_taints || !filter_untolerated(q->class, n);
}

static void count_all(struct ask *q, struct count *c, bool spread)
{
	auto_map struct map domains = {0};
	struct scheduler *s = q->s;

	c->of_node = arena_new_array(&q->arena, int32_t, s->nodes_n + 1);
	c->domains = arena_new_array(&q->arena, int64_t, s->nodes_n + 1);
	c->counts = arena_new_array(&q->arena, bool, s->nodes_n + 1);
	for (size_t i = 0; i < s->nodes_n; i++) {
		const struct node_info *n = s->nodes[i];
		const char *value = json_get_text(n->labels, c->term->key);
		bool heeded = value && (!spread || heeds(q, c->term, n));
		uintptr_t at = value ? (uintptr_t)map_get(&domains, value) : 0;
		int64_t here;

		c->of_node[i] = -1;
		if (!value)
			continue;
		if (!at) {
			at = ++c->domains_n;
			(void)map_put(&domains, value, (void *)at);
		}
		c->of_node[i] = (int32_t)at - 1;
		if (!heeded)
			continue;
		here = count_node(q, c, n);
		c->counts[at - 1] = true;
		c->domains[at - 1] += here;
		c->total += here;
	}
}

static void find_least(struct count *c)
{
	int64_t domains = 0;

	c->least = INT64_MAX;
	for (size_t i = 0; i < c->domains_n; i++) {
		if (!c->counts[i])
			continue;
		domains++;
		if (c->domains[i] < c->least)
			c->least = c->domains[i];
	}
	if (domains < c->term->min_domains || domains == 0)
		c->least = 0;
}

/* -- what a pod asks --------------------------------------------------------------------------- */

static void prepare_term(struct ask *q, struct count *c)
{
	bool host = text_eq(c->term->key, HOSTNAME) && q->s->odd_hostnames == 0;

	/* required affinity asks whether there is any pod at all; a preference is relative */
	c->by_host = host && (c->term->anti || c->holders) && !c->term->weight;
	if (c->by_host)
		return;
	q->local = false;
	count_all(q, c, false);
}

static void add_others(struct ask *q, struct pod_class *owner)
{
	for (size_t i = 0; i < owner->terms_n; i++) {
		const struct term *t = &owner->terms[i];

		if (!class_matches(q->s, owner, t, q->class))
			continue;
		/* how required affinity of others draws is not counted: it has no weight here */
		if (!t->anti && !t->weight)
			continue;
		q->others[q->others_n] = (struct count){.term = t, .owner = owner, .holders = true};
		prepare_term(q, &q->others[q->others_n++]);
	}
}

void topology_prepare(struct ask *q)
{
	const struct pod_class *k = q->class;
	size_t most = k->terms_n + k->spreads_n;

	map_each (&q->s->with_terms, it)
		most += ((struct pod_class *)it->value)->terms_n;
	/* an arena's block is dear beside the rest of a look at a plain pod */
	q->terms = most <= ASK_FEW ? q->few : arena_new_array(&q->arena, struct count, most);
	q->spreads = q->terms + k->terms_n;
	q->others = q->spreads + k->spreads_n;
	for (size_t i = 0; i < k->terms_n; i++) {
		q->terms[i] = (struct count){.term = &k->terms[i], .owner = k};
		prepare_term(q, &q->terms[i]);
	}
	for (size_t i = 0; i < k->spreads_n; i++) {
		q->local = false;
		q->spreads[i] = (struct count){.term = &k->spreads[i], .owner = k};
		count_all(q, &q->spreads[i], true);
		find_least(&q->spreads[i]);
	}
	map_each (&q->s->with_terms, it)
		add_others(q, it->value);
}

/* -- filters ----------------------------------------------------------------------------------- */

/* The first pod of a group that wants to be near itself may go anywhere its labels exist. */
static bool is_first(struct ask *q)
{
	for (size_t i = 0; i < q->class->terms_n; i++) {
		const struct term *t = &q->class->terms[i];

		if (t->anti || t->weight)
			continue;
		if (q->terms[i].total > 0 || !class_matches(q->s, q->class, t, q->class))
			return false;
	}
	return true;
}

const char *topology_affinity(struct ask *q, const struct node_info *n)
{
	static const char reason[] = "node(s) didn't match pod affinity rules";
	bool lacks = false;

	for (size_t i = 0; i < q->class->terms_n; i++) {
		int64_t here;

		if (q->class->terms[i].anti || q->class->terms[i].weight)
			continue;
		here = topology_count(q, &q->terms[i], n);
		if (here < 0)
			return reason;
		lacks = lacks || here == 0;
	}
	return lacks && !is_first(q) ? reason : NULL;
}

const char *topology_anti_affinity(struct ask *q, const struct node_info *n)
{
	for (size_t i = 0; i < q->class->terms_n; i++)
		if (q->class->terms[i].anti && !q->class->terms[i].weight &&
		    topology_count(q, &q->terms[i], n) > 0)
			return "node(s) didn't match pod anti-affinity rules";
	return NULL;
}

const char *topology_others(struct ask *q, const struct node_info *n)
{
	for (size_t i = 0; i < q->others_n; i++)
		if (q->others[i].term->anti && !q->others[i].term->weight &&
		    topology_count(q, &q->others[i], n) > 0)
			return "node(s) didn't satisfy existing pods anti-affinity rules";
	return NULL;
}

const char *topology_spread(struct ask *q, const struct node_info *n)
{
	for (size_t i = 0; i < q->class->spreads_n; i++) {
		struct count *c = &q->spreads[i];
		int64_t here, self;

		if (!c->term->hard)
			continue;
		here = topology_count(q, c, n);
		if (here < 0)
			return "node(s) didn't match pod topology spread constraints (missing "
			       "required label)";
		self = class_matches(q->s, q->class, c->term, q->class);
		if (here + self - c->least > c->term->max_skew)
			return "node(s) didn't match pod topology spread constraints";
	}
	return NULL;
}
