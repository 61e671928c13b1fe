/*
 * The queue of pods that wait for a node: highest priority first, then who came first. A pod that
 * fits nowhere stays aside until an event that can help it, and then not before its back-off (1 s
 * doubling to 10 s) is over.
 *
 *	queue_add -> READY -> queue_pop -> TAKEN -> queue_remove	a node was found
 *	TAKEN -> queue_set_aside -> ASIDE			it fits nowhere
 *	ASIDE -> queue_tell -> READY, or BACKOFF -> queue_ripen -> READY
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum queue_event {
	QUEUE_NODE = 1,	      /* a node came, or its room, labels or taints changed */
	QUEUE_POD_GONE = 2,   /* a pod freed what it had */
	QUEUE_POD_PLACED = 4, /* a pod got a node: who wants to be near it */
	QUEUE_VOLUME = 8,     /* a claim, volume or class changed */
	QUEUE_ANY = 15,
};

struct pod_class;
struct queue;

struct waiting {
	char *key;
	struct pod_class *class; /* the queue's user owns it */
	int64_t priority;
	uint64_t order;
	enum { WAITING_READY, WAITING_TAKEN, WAITING_ASIDE, WAITING_BACKOFF } state;
	unsigned attempts;
	unsigned helped_by;
	bool again; /* something happened while it was taken */
	int64_t until_ms;
	size_t at; /* in the heap of its state */
};

struct queue *queue_new(void);
struct queue *queue_free(struct queue *q); /* returns NULL; the classes are the caller's */

/* The entry of a key, made READY when there is none. */
struct waiting *queue_add(struct queue *q, const char *key, int64_t priority);
struct waiting *queue_get(const struct queue *q, const char *key); /* NULL: it does not wait */
void queue_remove(struct queue *q, struct waiting *w);
struct waiting *queue_pop(struct queue *q); /* NULL: none is ready */
void queue_set_aside(struct queue *q, struct waiting *w, unsigned helped_by, int64_t now_ms);
/* Events, as bits: those aside that they can help become ready, or wait for their back-off. */
void queue_tell(struct queue *q, unsigned events, int64_t now_ms);
void queue_wake(struct queue *q, struct waiting *w); /* at once */
/* Those whose back-off is over become ready; when the next will be, -1: none waits. */
int64_t queue_ripen(struct queue *q, int64_t now_ms);
size_t queue_count(const struct queue *q);
/* Each that waits. */
void queue_each(struct queue *q, void (*fn)(void *ctx, struct waiting *w), void *ctx);
