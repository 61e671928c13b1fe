/*
 * Work queues: see workqueue.h. An item is in one of three lists (ready, later, none while it is
 * worked on); `again` remembers that it was added while it was worked on.
 */
#include "cluster/objects/workqueue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/wire/loop.h"

#define WORKQUEUE_MAGIC 0x574f524bu
#define PARALLEL	16
#define FIRST_MS	5
#define LAST_MS		60000

enum item_state { ITEM_IDLE, ITEM_READY, ITEM_LATER, ITEM_WORKING };

struct item {
	struct list link; /* in ready or later */
	struct workqueue *queue;
	char *key;
	enum item_state state;
	bool again;
	int64_t due_ms; /* in later; while it is worked on: of what comes after, 0: none */
	int64_t delay_ms;
};

struct workqueue {
	uint32_t magic;
	struct workqueue_options o;
	struct map items;
	struct list ready, later; /* later: in the order of due_ms */
	struct loop_timer *timer;
	size_t working;
};

static void run(void *arg);

struct workqueue *workqueue_new(const struct workqueue_options *o)
{
	struct workqueue *q = mem_new(struct workqueue);

	assert(o->loop && o->sync && o->name);
	q->magic = WORKQUEUE_MAGIC;
	q->o = *o;
	if (!q->o.parallel)
		q->o.parallel = PARALLEL;
	if (!q->o.first_ms)
		q->o.first_ms = FIRST_MS;
	if (!q->o.last_ms)
		q->o.last_ms = LAST_MS;
	list_init(&q->ready);
	list_init(&q->later);
	q->timer = loop_timer_new(o->loop, run, q);
	return q;
}

static void item_free(struct item *i)
{
	free(i->key);
	free(i);
}

struct workqueue *workqueue_free(struct workqueue *q)
{
	if (!q)
		return NULL;
	assert(q->magic == WORKQUEUE_MAGIC);
	loop_defer_cancel(q->o.loop, run, q);
	q->timer = loop_timer_free(q->timer);
	map_each (&q->items, it)
		item_free(it->value);
	map_done(&q->items);
	q->magic = 0;
	free(q);
	return NULL;
}

static void arm(struct workqueue *q)
{
	const struct item *first = list_first(&q->later, struct item, link);
	int64_t left = first ? first->due_ms - loop_now_ms(q->o.loop) : 0;

	if (first)
		loop_timer_set(q->timer, left > 0 ? left : 0, 0);
	else
		loop_timer_unset(q->timer);
}

static void make_ready(struct workqueue *q, struct item *i)
{
	if (i->state == ITEM_LATER)
		list_remove(&i->link);
	i->state = ITEM_READY;
	if (list_empty(&q->ready))
		loop_defer(q->o.loop, run, q);
	list_append(&q->ready, &i->link);
}

static void make_later(struct workqueue *q, struct item *i, int64_t due_ms)
{
	struct list *at = q->later.prev;

	if (i->state == ITEM_LATER)
		list_remove(&i->link);
	i->state = ITEM_LATER;
	i->due_ms = due_ms;
	while (at != &q->later && container_of(at, struct item, link)->due_ms > due_ms)
		at = at->prev;
	list_append(at->next, &i->link);
	arm(q);
}

static struct item *item_of(struct workqueue *q, const char *key)
{
	struct item *i = map_get(&q->items, key);

	if (i)
		return i;
	i = mem_new(struct item);
	i->queue = q;
	i->key = mem_dup_text(key);
	(void)map_put(&q->items, key, i);
	return i;
}

void workqueue_add(struct workqueue *q, const char *key)
{
	struct item *i = item_of(q, key);

	assert(q->magic == WORKQUEUE_MAGIC);
	switch (i->state) {
	case ITEM_IDLE:
	case ITEM_LATER:
		make_ready(q, i);
		break;
	case ITEM_WORKING:
		i->again = true;
		break;
	case ITEM_READY:
		break;
	}
}

void workqueue_add_after(struct workqueue *q, const char *key, int64_t delay_ms)
{
	struct item *i = item_of(q, key);
	int64_t due = loop_now_ms(q->o.loop) + (delay_ms > 0 ? delay_ms : 0);

	switch (i->state) {
	case ITEM_IDLE:
		make_later(q, i, due);
		break;
	case ITEM_LATER:
		if (due < i->due_ms)
			make_later(q, i, due);
		break;
	case ITEM_WORKING:
		if (!i->due_ms || due < i->due_ms)
			i->due_ms = due;
		break;
	case ITEM_READY:
		break;
	}
}

static void run(void *arg)
{
	struct workqueue *q = arg;
	int64_t now = loop_now_ms(q->o.loop);
	struct item *i;

	assert(q->magic == WORKQUEUE_MAGIC);
	while ((i = list_first(&q->later, struct item, link)) != NULL && i->due_ms <= now) {
		list_remove(&i->link);
		i->state = ITEM_READY;
		list_append(&q->ready, &i->link);
	}
	arm(q);
	while (q->working < q->o.parallel &&
	       (i = list_first(&q->ready, struct item, link)) != NULL) {
		list_remove(&i->link);
		i->state = ITEM_WORKING;
		i->due_ms = 0;
		q->working++;
		q->o.sync(q->o.ctx, i->key);
	}
}

/* A key that nobody wants any more costs nothing. */
static void forget(struct workqueue *q, struct item *i)
{
	(void)map_remove(&q->items, i->key);
	item_free(i);
}

void workqueue_done(struct workqueue *q, const char *key, bool failed)
{
	struct item *i = map_get(&q->items, key);

	assert(i && i->state == ITEM_WORKING && q->working > 0);
	q->working--;
	if (!list_empty(&q->ready))
		loop_defer(q->o.loop, run, q);
	i->state = ITEM_IDLE;
	if (failed)
		i->delay_ms = i->delay_ms ? i->delay_ms * 2 : q->o.first_ms;
	else
		i->delay_ms = 0;
	if (i->delay_ms > q->o.last_ms)
		i->delay_ms = q->o.last_ms;
	if (i->again) { /* news may be what the failure waits for */
		i->again = false;
		make_ready(q, i);
	} else if (failed) {
		make_later(q, i, loop_now_ms(q->o.loop) + i->delay_ms);
	} else if (i->due_ms) {
		make_later(q, i, i->due_ms);
	} else {
		forget(q, i);
	}
}

bool workqueue_idle(const struct workqueue *q)
{
	return q->working == 0 && list_empty(&q->ready);
}
