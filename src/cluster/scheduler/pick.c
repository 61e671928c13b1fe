/*
 * Picking: the best node for a pod, from the ranking of its class where nodes can be judged one by
 * one, else from a sample of those where it fits, as large as kube-scheduler's; or the sentence
 * that says why there is none.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

#define REASONS_MAX 64
#define SAMPLE_MIN  100 /* nodes that fit are always looked for */

struct reasons {
	struct {
		const char *text;
		size_t n;
	} list[REASONS_MAX];
	size_t n;
};

static void count_reason(struct reasons *r, const char *text)
{
	for (size_t i = 0; i < r->n; i++)
		if (text_eq(r->list[i].text, text)) {
			r->list[i].n++;
			return;
		}
	if (r->n == REASONS_MAX)
		return;
	r->list[r->n].text = text;
	r->list[r->n++].n = 1;
}

/* Kubernetes sorts what it says ("1 Insufficient cpu" before "2 node(s) ..."), as texts. */
static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void say_why(struct ask *q, const struct reasons *r, struct strbuf *out)
{
	char *texts[REASONS_MAX];
	const char *common = r->n == 1 && q->no_volume ? q->no_volume : NULL;

	if (q->s->nodes_n == 0) {
		strbuf_add_text(out, "no nodes available to schedule pods");
		return;
	}
	strbuf_printf(out, "0/%zu nodes are available: ", q->s->nodes_n);
	for (size_t i = 0; i < r->n; i++)
		texts[i] = arena_printf(&q->arena, "%zu %s", r->list[i].n, r->list[i].text);
	qsort(texts, r->n, sizeof(texts[0]), by_text);
	for (size_t i = 0; i < r->n; i++)
		strbuf_printf(out, "%s%s", i ? ", " : "", common ? common : texts[i]);
	strbuf_add_char(out, '.');
}

/* The most that is left on a node which lacks nothing but room. */
static void note_left(const struct node_info *n, struct amounts *left)
{
	for (int a = 0; a < AMOUNTS; a++)
		if (n->room.n[a] - n->used.n[a] > left->n[a])
			left->n[a] = n->room.n[a] - n->used.n[a];
}

/* How much less it would have to ask for. */
static void say_help(struct ask *q, const struct amounts *left, struct strbuf *out)
{
	static const char *const names[AMOUNT_PODS] = {"cpu", "memory", "ephemeral-storage"};

	for (int a = 0; a < AMOUNT_PODS; a++) {
		if (left->n[a] <= 0 || q->class->wants.n[a] <= left->n[a])
			continue;
		strbuf_printf(out, "%s%s of at most %lld%s", out->n ? " and " : "", names[a],
			      (long long)(a == AMOUNT_CPU ? left->n[a] : left->n[a] >> 20),
			      a == AMOUNT_CPU ? "m" : "Mi");
	}
}

static void explain(struct ask *q, struct strbuf *why, struct strbuf *help, unsigned *ret_helped_by)
{
	struct reasons *r = mem_new(struct reasons);
	struct amounts left = {0};

	*ret_helped_by = QUEUE_NODE;
	for (size_t i = 0; i < q->s->nodes_n; i++) {
		size_t row = 0;
		const char *reason = filter_node(q, q->s->nodes[i], &row);

		if (!reason)
			continue;
		count_reason(r, reason);
		*ret_helped_by |= filter_rows[row].helped_by;
		if (filter_rows[row].is_room)
			note_left(q->s->nodes[i], &left);
	}
	assert(r->n > 0 || q->s->nodes_n == 0);
	say_why(q, r, why);
	say_help(q, &left, help);
	free(r);
}

/* -- samples ----------------------------------------------------------------------------------- */

/* How many nodes that fit are enough: all of few, down to one in twenty of many. */
static size_t sample_of(size_t nodes)
{
	size_t percent = nodes / 125 < 45 ? 50 - nodes / 125 : 5;
	size_t n = nodes * percent / 100;

	return nodes <= SAMPLE_MIN ? nodes : n < SAMPLE_MIN ? SAMPLE_MIN : n;
}

static struct node_info *sampled_best(struct ask *q)
{
	struct scheduler *s = q->s;
	size_t enough = sample_of(s->nodes_n), n = 0, seen = 0, best = 0;
	struct node_info **fits = arena_new_array(&q->arena, struct node_info *, enough + 1);
	int64_t *points = arena_new_array(&q->arena, int64_t, enough + 1);

	for (; seen < s->nodes_n && n < enough; seen++) {
		struct node_info *node = s->nodes[(s->start + seen) % s->nodes_n];

		if (filter_node(q, node, NULL))
			continue;
		points[n] = score_node(q, node);
		fits[n++] = node;
	}
	s->start = s->nodes_n ? (s->start + seen) % s->nodes_n : 0;
	score_together(q, fits, points, n);
	for (size_t i = 1; i < n; i++)
		if (points[i] > points[best])
			best = i;
	return n ? fits[best] : NULL;
}

struct node_info *pick_node(struct scheduler *s, struct pod_class *c, struct strbuf *why,
			    struct strbuf *help, unsigned *ret_helped_by)
{
	struct node_info *best;
	struct ask q;

	ask_begin(&q, s, c);
	/* a ranking pays when there are more pods of the class than this one */
	if (q.local && c->refs > 1)
		best = rank_best(&q, c);
	else
		best = sampled_best(&q);
	if (!best)
		explain(&q, why, help, ret_helped_by);
	ask_done(&q);
	return best;
}
