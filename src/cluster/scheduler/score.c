/*
 * Scores: which of the nodes where a pod fits is best. Each row answers 0 to 100, weighed as
 * Kubernetes weighs it. Rows of the first table ask one node alone, so that a ranking can be kept;
 * rows of the second compare all nodes that fit.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

#define BEST	  100
#define IMAGE_MIN (23ll << 20) /* a smaller image is soon there */
#define IMAGE_MAX (1000ll << 20)

/* A pod that asks for nothing still takes something: what Kubernetes reckons. */
static int64_t reckoned(const struct pod_class *c, enum amount a)
{
	static const int64_t floors[] = {[AMOUNT_CPU] = 100, [AMOUNT_MEMORY] = 200ll << 20};

	assert(a <= AMOUNT_MEMORY);
	return c->wants.n[a] ? c->wants.n[a] : floors[a];
}

static int64_t part_used(struct ask *q, const struct node_info *n, enum amount a)
{
	int64_t room = n->room.n[a] > 0 ? n->room.n[a] : 1;
	int64_t used = n->used.n[a] + reckoned(q->class, a);

	/* in thousandths: 100 steps are too coarse to tell big nodes apart */
	return used >= room ? 1000 : (int64_t)((double)used * 1000 / (double)room);
}

static int64_t by_least_allocated(struct ask *q, const struct node_info *n)
{
	return BEST * 10 - (part_used(q, n, AMOUNT_CPU) + part_used(q, n, AMOUNT_MEMORY)) / 2;
}

static int64_t by_balance(struct ask *q, const struct node_info *n)
{
	int64_t d = part_used(q, n, AMOUNT_CPU) - part_used(q, n, AMOUNT_MEMORY);

	return BEST * 10 - (d < 0 ? -d : d) / 2;
}

static int64_t by_images(struct ask *q, const struct node_info *n)
{
	int64_t bytes = 0, most = IMAGE_MAX * (int64_t)q->class->containers_n;

	if (n->images.count == 0 || most == 0)
		return 0;
	for (size_t i = 0; i < q->class->images_n; i++)
		bytes += (int64_t)(uintptr_t)map_get(&n->images, q->class->images[i]);
	if (bytes < IMAGE_MIN)
		return 0;
	return bytes >= most ? BEST * 10 : BEST * 10 * (bytes - IMAGE_MIN) / (most - IMAGE_MIN);
}

static int64_t by_taints(struct ask *q, const struct node_info *n)
{
	int64_t disliked = 0;

	for (size_t i = 0; i < json_len(n->taints); i++) {
		const struct json *t = json_at(n->taints, i);

		if (text_eq(json_get_text(t, "effect"), "PreferNoSchedule") &&
		    !filter_tolerates(q->class->tolerations, t))
			disliked++;
	}
	return BEST * 10 / (1 + disliked);
}

static int64_t by_node_preference(struct ask *q, const struct node_info *n)
{
	const struct json *list = q->class->node_prefers;
	int64_t all = 0, got = 0;

	for (size_t i = 0; i < json_len(list); i++) {
		int64_t weight = json_get_i64(json_at(list, i), "weight", 1);

		all += weight;
		if (filter_node_term(json_get(json_at(list, i), "preference"), n))
			got += weight;
	}
	return all ? BEST * 10 * got / all : 0;
}

static const struct score_row {
	int64_t (*fn)(struct ask *q, const struct node_info *n);
	int64_t weight;
} alone[] = {
	{by_least_allocated, 1}, {by_balance, 1},	  {by_images, 1},
	{by_taints, 3},		 {by_node_preference, 2},
};

int64_t score_node(struct ask *q, const struct node_info *n)
{
	int64_t sum = 0;

	for (size_t i = 0; i < array_len(alone); i++)
		sum += alone[i].weight * alone[i].fn(q, n);
	return sum;
}

/* -- compared ---------------------------------------------------------------------------------- */

/* What pods that are there draw or push: the pod's own preferences, and theirs about it. */
static int64_t raw_near(struct ask *q, const struct node_info *n)
{
	int64_t sum = 0;

	for (size_t i = 0; i < q->class->terms_n + q->others_n; i++) {
		struct count *c =
			i < q->class->terms_n ? &q->terms[i] : &q->others[i - q->class->terms_n];
		int64_t here;

		if (!c->term->weight)
			continue;
		here = topology_count(q, c, n);
		if (here > 0)
			sum += (c->term->anti ? -1 : 1) * c->term->weight * here;
	}
	return sum;
}

static bool has_near(const struct ask *q)
{
	for (size_t i = 0; i < q->class->terms_n; i++)
		if (q->class->terms[i].weight)
			return true;
	for (size_t i = 0; i < q->others_n; i++)
		if (q->others[i].term->weight)
			return true;
	return false;
}

/* The more pods are in the node's domains, the worse. */
static int64_t raw_spread(struct ask *q, const struct node_info *n)
{
	int64_t sum = 0;

	for (size_t i = 0; i < q->class->spreads_n; i++) {
		int64_t here = topology_count(q, &q->spreads[i], n);

		/* a node without the label is worse than any with it */
		sum -= here < 0 ? q->spreads[i].total + 1 : here;
	}
	return sum;
}

static bool has_spread(const struct ask *q)
{
	return q->class->spreads_n > 0;
}

static const struct compared_row {
	bool (*asked)(const struct ask *q);
	int64_t (*raw)(struct ask *q, const struct node_info *n);
	int64_t weight;
} compared[] = {
	{has_near, raw_near, 2},
	{has_spread, raw_spread, 2},
};

void score_together(struct ask *q, struct node_info *const *nodes, int64_t *points, size_t n)
{
	int64_t *raw = arena_new_array(&q->arena, int64_t, n + 1);

	for (size_t r = 0; r < array_len(compared); r++) {
		int64_t least = INT64_MAX, most = INT64_MIN;

		if (!compared[r].asked(q))
			continue;
		for (size_t i = 0; i < n; i++) {
			raw[i] = compared[r].raw(q, nodes[i]);
			least = raw[i] < least ? raw[i] : least;
			most = raw[i] > most ? raw[i] : most;
		}
		for (size_t i = 0; i < n && most > least; i++)
			points[i] +=
				compared[r].weight * BEST * 10 * (raw[i] - least) / (most - least);
	}
}
