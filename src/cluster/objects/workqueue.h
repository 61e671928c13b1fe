/*
 * Work queues: the keys of objects that a loop has to look at. A key stands in the queue once
 * however often it is added; while it is worked on, adding it again means once more afterwards. A
 * key that failed comes back later and later; one that went well starts afresh.
 *
 * The queue calls sync() for one key; when its work is complete (at once or after callbacks) the
 * worker says workqueue_done(). Up to `parallel` keys are worked on at a time; one key never twice
 * at a time. Nothing waits on a clock but keys that were told to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct workqueue;

struct workqueue_options {
	struct loop *loop;
	const char *name;			  /* of the controller, for the log */
	size_t parallel;			  /* 0: 16 */
	void (*sync)(void *ctx, const char *key); /* key is valid until workqueue_done(key) */
	void *ctx;
	int64_t first_ms, last_ms; /* of the delays after failures; 0: 5 ms and 60 s */
};

struct workqueue *workqueue_new(const struct workqueue_options *o);
struct workqueue *workqueue_free(struct workqueue *q); /* returns NULL */

void workqueue_add(struct workqueue *q, const char *key);
/* Not before delay_ms from now; an earlier time wins; what is added without delay wins. */
void workqueue_add_after(struct workqueue *q, const char *key, int64_t delay_ms);
/* The work on key is complete. failed: it comes back after its delay. */
void workqueue_done(struct workqueue *q, const char *key, bool failed);
/* Nothing waits and nothing is worked on (keys that are delayed aside). */
bool workqueue_idle(const struct workqueue *q);
