/*
 * Rankings: the nodes where pods of a class fit, best first, as a heap that is kept from one pod to
 * the next. Only the nodes that the journal names are looked at again; so the next pod of a class
 * costs a few comparisons, however many nodes there are. Void when a node's own facts change.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

#define RANKS_MAX 64	     /* classes that have one at a time: 80 KB each for 5,000 nodes */
#define OUT	  UINT32_MAX /* a node that is not in the heap */

struct rank {
	uint64_t epoch, journal_n; /* what it is current with */
	size_t nodes_n, n;
	int64_t *points; /* by node */
	uint32_t *at;	 /* by node: where it is in the heap */
	uint32_t *heap;
};

static bool is_better(const struct rank *r, uint32_t a, uint32_t b)
{
	return r->points[a] != r->points[b] ? r->points[a] > r->points[b] : a < b;
}

static void put(struct rank *r, size_t i, uint32_t node)
{
	r->heap[i] = node;
	r->at[node] = (uint32_t)i;
}

static void rise(struct rank *r, size_t i)
{
	uint32_t node = r->heap[i];

	while (i > 0 && is_better(r, node, r->heap[(i - 1) / 2])) {
		put(r, i, r->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(r, i, node);
}

static void sink(struct rank *r, size_t i)
{
	uint32_t node = r->heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < r->n && is_better(r, r->heap[child + 1], r->heap[child]))
			child++;
		if (child >= r->n || !is_better(r, r->heap[child], node))
			break;
		put(r, i, r->heap[child]);
		i = child;
	}
	put(r, i, node);
}

static void take_out(struct rank *r, uint32_t node)
{
	size_t i = r->at[node];

	if (r->at[node] == OUT)
		return;
	r->at[node] = OUT;
	r->n--;
	if (i == r->n)
		return;
	put(r, i, r->heap[r->n]);
	rise(r, i);
	sink(r, r->at[r->heap[i]]);
}

static void look(struct rank *r, struct ask *q, uint32_t node)
{
	const struct node_info *n = q->s->nodes[node];

	if (filter_node(q, n, NULL)) {
		take_out(r, node);
		return;
	}
	r->points[node] = score_node(q, n);
	if (r->at[node] == OUT)
		put(r, r->n++, node);
	rise(r, r->at[node]);
	sink(r, r->at[node]);
}

void rank_free(struct scheduler *s, struct pod_class *c)
{
	struct rank *r = c->rank;

	if (!r)
		return;
	free(r->points);
	free(r->at);
	free(r->heap);
	free(r);
	c->rank = NULL;
	s->ranks--;
}

static void rank_new(struct ask *q, struct pod_class *c)
{
	struct scheduler *s = q->s;
	struct rank *r;

	rank_free(s, c);
	if (s->ranks >= RANKS_MAX)
		map_each (&s->classes, it)
			rank_free(s, it->value);
	r = mem_new(struct rank);
	r->nodes_n = s->nodes_n;
	r->epoch = s->epoch;
	r->journal_n = s->journal_n;
	r->points = mem_new_array(int64_t, s->nodes_n + 1);
	r->at = mem_new_array(uint32_t, s->nodes_n + 1);
	r->heap = mem_new_array(uint32_t, s->nodes_n + 1);
	for (size_t i = 0; i < s->nodes_n; i++)
		r->at[i] = OUT;
	c->rank = r;
	s->ranks++;
	for (size_t i = 0; i < s->nodes_n; i++)
		look(r, q, (uint32_t)i);
}

struct node_info *rank_best(struct ask *q, struct pod_class *c)
{
	struct scheduler *s = q->s;
	struct rank *r = c->rank;

	assert(q->local);
	if (!r || r->epoch != s->epoch || s->journal_n - r->journal_n > JOURNAL_N / 2) {
		rank_new(q, c);
		r = c->rank;
	}
	assert(r->nodes_n == s->nodes_n);
	for (; r->journal_n < s->journal_n; r->journal_n++)
		look(r, q, s->journal[r->journal_n % JOURNAL_N]);
	return r->n ? s->nodes[r->heap[0]] : NULL;
}
