/*
 * The queue of pods: two heaps (by priority, by the end of the back-off) over one map. It knows no
 * clock: whoever calls says what time it is.
 */
#include "cluster/scheduler/queue.h"

#include <assert.h>
#include <stdlib.h>

#include "ground/base/map.h"
#include "ground/base/mem.h"

#define FIRST_MS 1000
#define LAST_MS	 10000

struct heap {
	struct waiting **list;
	size_t n, room;
	bool (*before)(const struct waiting *a, const struct waiting *b);
};

struct queue {
	struct heap ready, backoff;
	struct map all; /* key -> struct waiting * */
	size_t aside;
	uint64_t order;
};

static bool by_priority(const struct waiting *a, const struct waiting *b)
{
	return a->priority != b->priority ? a->priority > b->priority : a->order < b->order;
}

static bool by_time(const struct waiting *a, const struct waiting *b)
{
	return a->until_ms != b->until_ms ? a->until_ms < b->until_ms : a->order < b->order;
}

/* -- heaps ------------------------------------------------------------------------------------- */

static void heap_set(struct heap *h, size_t i, struct waiting *w)
{
	h->list[i] = w;
	w->at = i;
}

static void heap_rise(struct heap *h, size_t i)
{
	struct waiting *w = h->list[i];

	while (i > 0 && h->before(w, h->list[(i - 1) / 2])) {
		heap_set(h, i, h->list[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_set(h, i, w);
}

static void heap_sink(struct heap *h, size_t i)
{
	struct waiting *w = h->list[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < h->n && h->before(h->list[child + 1], h->list[child]))
			child++;
		if (child >= h->n || !h->before(h->list[child], w))
			break;
		heap_set(h, i, h->list[child]);
		i = child;
	}
	heap_set(h, i, w);
}

static void heap_add(struct heap *h, struct waiting *w)
{
	mem_grow(h->list, h->n + 1, h->room);
	heap_set(h, h->n++, w);
	heap_rise(h, w->at);
}

static void heap_remove(struct heap *h, struct waiting *w)
{
	size_t i = w->at;

	assert(i < h->n && h->list[i] == w);
	h->n--;
	if (i == h->n)
		return;
	heap_set(h, i, h->list[h->n]);
	heap_rise(h, i);
	heap_sink(h, h->list[i]->at);
}

/* -- states ------------------------------------------------------------------------------------ */

static void leave(struct queue *q, struct waiting *w)
{
	switch (w->state) {
	case WAITING_READY:
		heap_remove(&q->ready, w);
		break;
	case WAITING_BACKOFF:
		heap_remove(&q->backoff, w);
		break;
	case WAITING_ASIDE:
		assert(q->aside > 0);
		q->aside--;
		break;
	case WAITING_TAKEN:
		break;
	}
	w->state = WAITING_TAKEN;
}

static void make_ready(struct queue *q, struct waiting *w)
{
	leave(q, w);
	w->state = WAITING_READY;
	heap_add(&q->ready, w);
}

static void come_back(struct queue *q, struct waiting *w, int64_t now_ms)
{
	if (w->until_ms <= now_ms) {
		make_ready(q, w);
		return;
	}
	leave(q, w);
	w->state = WAITING_BACKOFF;
	heap_add(&q->backoff, w);
}

/* -- the door ---------------------------------------------------------------------------------- */

struct queue *queue_new(void)
{
	struct queue *q = mem_new(struct queue);

	q->ready.before = by_priority;
	q->backoff.before = by_time;
	return q;
}

struct queue *queue_free(struct queue *q)
{
	if (!q)
		return NULL;
	map_each (&q->all, it) {
		struct waiting *w = it->value;

		free(w->key);
		free(w);
	}
	map_done(&q->all);
	free(q->ready.list);
	free(q->backoff.list);
	free(q);
	return NULL;
}

struct waiting *queue_get(const struct queue *q, const char *key)
{
	return map_get(&q->all, key);
}

struct waiting *queue_add(struct queue *q, const char *key, int64_t priority)
{
	struct waiting *w = map_get(&q->all, key);

	if (w)
		return w;
	w = mem_new(struct waiting);
	w->key = mem_dup_text(key);
	w->priority = priority;
	w->order = ++q->order;
	w->state = WAITING_TAKEN;
	(void)map_put(&q->all, key, w);
	make_ready(q, w);
	return w;
}

void queue_remove(struct queue *q, struct waiting *w)
{
	leave(q, w);
	(void)map_remove(&q->all, w->key);
	free(w->key);
	free(w);
}

struct waiting *queue_pop(struct queue *q)
{
	struct waiting *w = q->ready.n ? q->ready.list[0] : NULL;

	if (!w)
		return NULL;
	leave(q, w);
	w->again = false;
	w->attempts++;
	return w;
}

void queue_set_aside(struct queue *q, struct waiting *w, unsigned helped_by, int64_t now_ms)
{
	int64_t delay = FIRST_MS;

	assert(w->state == WAITING_TAKEN);
	for (unsigned i = 1; i < w->attempts && delay < LAST_MS; i++)
		delay *= 2;
	w->until_ms = now_ms + (delay < LAST_MS ? delay : LAST_MS);
	w->helped_by = helped_by;
	w->state = WAITING_ASIDE;
	q->aside++;
	if (w->again)
		come_back(q, w, now_ms);
}

void queue_tell(struct queue *q, unsigned events, int64_t now_ms)
{
	if (q->aside == 0 || events == 0)
		return;
	map_each (&q->all, it) {
		struct waiting *w = it->value;

		if (w->state == WAITING_ASIDE && (w->helped_by & events))
			come_back(q, w, now_ms);
	}
}

void queue_wake(struct queue *q, struct waiting *w)
{
	if (w->state == WAITING_TAKEN)
		w->again = true;
	else
		make_ready(q, w);
}

int64_t queue_ripen(struct queue *q, int64_t now_ms)
{
	while (q->backoff.n && q->backoff.list[0]->until_ms <= now_ms)
		make_ready(q, q->backoff.list[0]);
	return q->backoff.n ? q->backoff.list[0]->until_ms : -1;
}

size_t queue_count(const struct queue *q)
{
	return q->all.count;
}

void queue_each(struct queue *q, void (*fn)(void *ctx, struct waiting *w), void *ctx)
{
	map_each (&q->all, it)
		fn(ctx, it->value);
}
