/*
 * Preemption: a pod that fits nowhere may have pods of a lower priority evicted. On each node where
 * that can help, all of them are taken away in thought and as many as possible are put back, the
 * most important first; the node whose victims matter least is taken. Disruption budgets are
 * violated only where there is no other way. The room is reserved for the pod until it has a node.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

#define CANDIDATES_MIN 100 /* nodes that are tried, or one in ten */

struct nominee {
	char *node;
	struct amounts wants;
	int64_t priority;
	bool reserved;
};

struct victims {
	struct node_info *node;
	struct pod_info **list;
	size_t n;
	size_t violations; /* of disruption budgets */
	int64_t highest, sum;
};

struct budget_use {
	struct scheduler *s;
	const struct pod_class *class;
	struct map used; /* budget's key -> victims it was asked for */
	bool violated;
};

/* -- budgets ----------------------------------------------------------------------------------- */

static bool ask_budget(void *ctx, const struct object *budget)
{
	struct budget_use *u = ctx;
	auto_arena struct arena a = {0};
	const struct json *tree = object_tree(budget);
	const struct json *selector = json_get(json_get(tree, "spec"), "selector");
	struct selector sel;
	struct err e;
	uintptr_t used;

	if (!selector || selector_of_json(selector, &a, &sel, &e) < 0 ||
	    !selector_matches(&sel, u->class->labels))
		return true;
	used = (uintptr_t)map_get(&u->used, budget->name) + 1;
	(void)map_put(&u->used, budget->name, (void *)used);
	if ((int64_t)used > json_get_i64(json_get(tree, "status"), "disruptionsAllowed", 0))
		u->violated = true;
	return true;
}

static bool violates(struct budget_use *u, const struct pod_info *p)
{
	u->class = p->class;
	u->violated = false;
	if (u->s->budgets)
		informer_each(u->s->budgets, p->class->namespace, ask_budget, u);
	return u->violated;
}

/* -- one node ---------------------------------------------------------------------------------- */

static bool fits(struct scheduler *s, const struct pod_class *c, const struct node_info *n)
{
	struct ask q;
	bool fine;

	ask_begin(&q, s, c);
	fine = !filter_node(&q, n, NULL);
	ask_done(&q);
	return fine;
}

static int by_importance(const void *a, const void *b)
{
	const struct pod_info *x = *(struct pod_info *const *)a, *y = *(struct pod_info *const *)b;

	if (x->class->priority != y->class->priority)
		return x->class->priority > y->class->priority ? -1 : 1;
	return strcmp(x->key, y->key);
}

static size_t lower_ones(const struct pod_class *c, struct node_info *n, struct pod_info **list)
{
	size_t k = 0;

	map_each (&n->pods, it) {
		struct pod_info *p = it->value;

		if (p->class->priority < c->priority)
			list[k++] = p;
	}
	qsort(list, k, sizeof(list[0]), by_importance);
	return k;
}

/* Puts back those that may stay, of those that violate budgets (or not); the rest are victims. */
static void put_back(struct scheduler *s, const struct pod_class *c, struct victims *v,
		     struct pod_info **list, const bool *precious, bool of, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (precious[i] != of)
			continue;
		snapshot_count(v->node, list[i]->class, 1);
		if (fits(s, c, v->node))
			continue;
		snapshot_count(v->node, list[i]->class, -1);
		v->list[v->n++] = list[i];
		v->violations += of;
		v->sum += list[i]->class->priority;
		if (v->n == 1 || list[i]->class->priority > v->highest)
			v->highest = list[i]->class->priority;
	}
}

/* The victims on a node; false: evicting does not help there. */
static bool try_node(struct scheduler *s, const struct pod_class *c, struct node_info *node,
		     struct victims *v)
{
	struct pod_info **list = mem_new_array(struct pod_info *, node->pods.count + 1);
	bool *precious = mem_new_array(bool, node->pods.count + 1);
	struct budget_use u = {.s = s};
	size_t n = lower_ones(c, node, list);
	bool helps;

	*v = (struct victims){.node = node, .list = mem_new_array(struct pod_info *, n + 1)};
	for (size_t i = 0; i < n; i++) {
		precious[i] = violates(&u, list[i]);
		snapshot_count(node, list[i]->class, -1);
	}
	map_done(&u.used);
	helps = n > 0 && fits(s, c, node);
	if (helps) {
		put_back(s, c, v, list, precious, true, n);
		put_back(s, c, v, list, precious, false, n);
		for (size_t i = 0; i < v->n; i++)
			snapshot_count(node, v->list[i]->class, 1);
	} else {
		for (size_t i = 0; i < n; i++)
			snapshot_count(node, list[i]->class, 1);
	}
	free(list);
	free(precious);
	return helps && v->n > 0;
}

/* Whether a is to be preferred: fewer violations, then who matters less, then fewer. */
static bool is_milder(const struct victims *a, const struct victims *b)
{
	if (a->violations != b->violations)
		return a->violations < b->violations;
	if (a->highest != b->highest)
		return a->highest < b->highest;
	return a->n != b->n ? a->n < b->n : a->sum < b->sum;
}

/* -- nominees ---------------------------------------------------------------------------------- */

static void reserve(struct scheduler *s, struct nominee *m, bool on)
{
	struct node_info *n = map_get(&s->infos, m->node);

	if (m->reserved == on)
		return;
	m->reserved = on;
	if (!n)
		return;
	if (on && (n->reserved.n[AMOUNT_PODS] == 0 || m->priority > n->reserved_priority))
		n->reserved_priority = m->priority;
	for (int i = 0; i < AMOUNTS; i++) {
		n->reserved.n[i] += on ? m->wants.n[i] : -m->wants.n[i];
		if (n->reserved.n[i] < 0) /* the node was away meanwhile */
			n->reserved.n[i] = 0;
	}
	s->journal[s->journal_n++ % JOURNAL_N] = (uint32_t)n->index;
}

void preempt_lift(struct scheduler *s, const char *key, bool lifted)
{
	struct nominee *m = map_get(&s->nominated, key);

	if (m)
		reserve(s, m, !lifted);
}

void preempt_forget(struct scheduler *s, const char *key)
{
	struct nominee *m = map_remove(&s->nominated, key);

	if (!m)
		return;
	reserve(s, m, false);
	free(m->node);
	free(m);
}

struct node_info *preempt_nominated(struct scheduler *s, const char *key)
{
	const struct nominee *m = map_get(&s->nominated, key);

	return m ? map_get(&s->infos, m->node) : NULL;
}

static void nominate(struct scheduler *s, const char *key, const struct pod_class *c,
		     const struct node_info *n)
{
	struct nominee *m = mem_new(struct nominee);

	preempt_forget(s, key);
	m->node = mem_dup_text(n->name);
	m->wants = c->wants;
	m->priority = c->priority;
	(void)map_put(&s->nominated, key, m);
	reserve(s, m, true);
}

/* -- all together ------------------------------------------------------------------------------ */

/* Whether pods that were evicted for it are still on their way out. */
static bool is_coming(struct scheduler *s, const char *key, const struct pod_class *c)
{
	struct node_info *n = preempt_nominated(s, key);

	if (!n)
		return false;
	map_each (&n->pods, it) {
		const struct pod_info *p = it->value;

		if (p->leaving && p->class->priority < c->priority)
			return true;
	}
	return false;
}

static void evict(struct scheduler *s, const struct object *pod, const struct victims *v)
{
	for (size_t i = 0; i < v->n; i++) {
		const struct object *o =
			s->pods ? informer_get_key(s->pods, v->list[i]->key) : NULL;

		v->list[i]->leaving = true;
		if (o && !o->deleting)
			tell_preempted(s, o, pod, v->node->name);
	}
}

struct tried {
	size_t candidates, unhelpful, fruitless;
};

static void search(struct scheduler *s, struct pod_class *c, struct victims *best, struct tried *t)
{
	size_t most = s->nodes_n / 10 > CANDIDATES_MIN ? s->nodes_n / 10 : CANDIDATES_MIN;
	struct ask q;

	ask_begin(&q, s, c);
	for (size_t i = 0; i < s->nodes_n; i++) {
		struct victims v;
		size_t row = 0;

		if (!filter_node(&q, s->nodes[i], &row) || !filter_rows[row].by_eviction) {
			t->unhelpful++;
			continue;
		}
		if (t->candidates >= most)
			break;
		if (!try_node(s, c, s->nodes[i], &v)) {
			t->fruitless++;
		} else {
			t->candidates++;
			if (!best->node || is_milder(&v, best)) {
				free(best->list);
				*best = v;
				continue;
			}
		}
		free(v.list);
	}
	ask_done(&q);
}

bool preempt_for(struct scheduler *s, const struct object *pod, struct pod_class *c,
		 struct strbuf *why)
{
	char key[OBJECT_KEY_MAX];
	struct victims best = {0};
	struct tried t = {0};

	object_key(pod, key);
	if (!c->preempts) {
		strbuf_add_text(why, " preemption: not eligible due to preemptionPolicy=Never.");
		return false;
	}
	if (is_coming(s, key, c)) {
		strbuf_add_text(why, " preemption: not eligible due to a terminating pod on the "
				     "nominated node.");
		return false;
	}
	search(s, c, &best, &t);
	if (best.node) {
		nominate(s, key, c, best.node);
		evict(s, pod, &best);
		free(best.list);
		return true;
	}
	strbuf_printf(why, " preemption: 0/%zu nodes are available: ", s->nodes_n);
	if (t.fruitless)
		strbuf_printf(why, "%zu No preemption victims found for incoming pod%s",
			      t.fruitless, t.unhelpful ? ", " : ".");
	if (t.unhelpful)
		strbuf_printf(why, "%zu Preemption is not helpful for scheduling.", t.unhelpful);
	return false;
}
