/*
 * Values that end by themselves: a list in the order of their ends. Values of one kind live equally
 * long, so a new one nearly always belongs at the end. At its time a value is deleted like by a
 * caller that saw exactly this version: one that was replaced since is left alone.
 */
#include <assert.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys_priv.h"
#include "ground/wire/loop.h"

#define EXPIRY_LATE_MS 1000 /* several ends that are near share one awakening */

struct expiring {
	struct list link;
	int64_t at_ns;
	uint64_t modified;
	char key[];
};

static void arm(struct keys *k)
{
	struct expiring *first = list_first(&k->expiring, struct expiring, link);
	int64_t left;

	if (!first) {
		loop_timer_unset(k->expiry);
		return;
	}
	left = (first->at_ns - world_now_ns(k->world)) / 1000000;
	loop_timer_set(k->expiry, (left > 0 ? left : 0) + EXPIRY_LATE_MS, 0);
}

void expiry_note(struct keys *k, const struct key_value *v)
{
	struct list *at = k->expiring.prev;
	struct expiring *x;
	bool first = list_empty(&k->expiring);

	if (!v->expires_ns)
		return;
	x = mem_new_bytes(1, sizeof(*x) + strlen(v->key) + 1);
	x->at_ns = v->expires_ns;
	x->modified = v->modified;
	memcpy(x->key, v->key, strlen(v->key) + 1);
	while (at != &k->expiring && container_of(at, struct expiring, link)->at_ns > x->at_ns)
		at = at->prev;
	list_append(at->next, &x->link); /* before what follows `at` */
	if (first || k->expiring.next == &x->link)
		arm(k);
}

void expiry_due(void *arg)
{
	struct keys *k = arg;
	int64_t now = world_now_ns(k->world);

	list_each (&k->expiring, struct expiring, link, x) {
		const struct key_value *have;

		if (x->at_ns > now)
			break;
		have = keys_newest(k, x->key);
		if (have && have->modified == x->modified)
			keys_delete(k, x->key, x->modified, NULL, NULL);
		list_remove(&x->link);
		free(x);
	}
	arm(k);
}

void expiry_done(struct keys *k)
{
	list_each (&k->expiring, struct expiring, link, x) {
		list_remove(&x->link);
		free(x);
	}
}
