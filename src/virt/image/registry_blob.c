/*
 * A blob from a registry into a layer work, across cut connections: each try asks for what is still
 * missing with Range; a server that answers with the whole is skipped over. A try that brought
 * something resets the count.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/image/registry.h"

#define TRIES_MAX  6
#define BACKOFF_MS 250

struct registry_blob {
	struct registry *registry;
	struct layer_work *work;
	struct registry_call *call;
	struct loop_timer *timer;
	uint64_t skip;	   /* bytes of this reply that are there already */
	uint64_t begun_at; /* what was there when this try began */
	int tries;
	bool first; /* the status of this reply was not looked at yet */
};

static int try(struct registry_blob *b, struct err *e);

static void give_up(struct registry_blob *b, const struct err *e)
{
	struct layer_work *w = b->work;

	b->work = NULL;
	layer_fetched(w, e);
}

static void retry(void *arg)
{
	struct registry_blob *b = arg;
	struct err e = {0};

	if (try(b, &e) < 0)
		give_up(b, &e);
}

static void on_data(void *arg, struct registry_call *c, const void *p, size_t n)
{
	struct registry_blob *b = arg;

	if (!b->work)
		return;
	if (b->first) {
		b->first = false;
		b->skip = registry_call_status(c) == 206 ? 0 : layer_have(b->work);
	}
	if (b->skip >= n) {
		b->skip -= n;
		return;
	}
	layer_bytes(b->work, (const char *)p + b->skip, n - (size_t)b->skip);
	b->skip = 0;
}

static bool worth_another(struct registry_blob *b, const struct err *e)
{
	if (layer_have(b->work) > b->begun_at)
		b->tries = 0;
	if (e->kind == ERR_FORBIDDEN || e->kind == ERR_INVALID)
		return registry_next_endpoint(b->registry);
	if (++b->tries >= TRIES_MAX)
		return registry_next_endpoint(b->registry);
	return true;
}

static void on_done(void *arg, const struct registry_reply *reply, const struct err *failure)
{
	struct registry_blob *b = arg;
	struct err e = {0};

	b->call = NULL;
	if (!b->work)
		return;
	if (failure)
		e = *failure;
	else if (reply->status == 404)
		(void)err_set(&e, ERR_NOT_FOUND, "registry %s does not have it",
			      registry_endpoint(b->registry));
	else if (layer_have(b->work) < (uint64_t)layer_size(b->work) && reply->status != 416)
		(void)err_set(&e, ERR_UNAVAILABLE,
			      "registry %s closed the connection after %llu of %lld bytes",
			      registry_endpoint(b->registry),
			      (unsigned long long)layer_have(b->work),
			      (long long)layer_size(b->work));
	if (e.kind == ERR_NONE) {
		give_up(b, NULL);
		return;
	}
	if (e.kind == ERR_NOT_FOUND ? !registry_next_endpoint(b->registry)
				    : !worth_another(b, &e)) {
		if (layer_have(b->work) > 0)
			(void)err_wrap(&e, "it is cut short, %llu of %lld bytes came",
				       (unsigned long long)layer_have(b->work),
				       (long long)layer_size(b->work));
		give_up(b, &e);
		return;
	}
	if (!b->timer)
		b->timer = loop_timer_new(registry_loop(b->registry), retry, b);
	loop_timer_set(b->timer, (int64_t)BACKOFF_MS << b->tries, 0);
}

static int try(struct registry_blob *b, struct err *e)
{
	char path[16 + DIGEST_ROOM];
	struct registry_request q = {
		.path = path,
		.accept = "*/*",
		.from = layer_have(b->work),
		.body_fd = -1,
		.data = on_data,
		.done = on_done,
		.arg = b,
	};

	assert(digest_valid(str_of(layer_blob(b->work))));
	snprintf(path, sizeof(path), "blobs/%s", layer_blob(b->work));
	b->first = true;
	b->begun_at = layer_have(b->work);
	return registry_ask(b->registry, &q, &b->call, e);
}

static int begin(void *arg, struct layer_work *w, struct err *e)
{
	struct registry_blob *b = arg;

	b->work = w;
	b->tries = 0;
	return try(b, e);
}

static void stop(void *arg, struct layer_work *w)
{
	struct registry_blob *b = arg;

	assert(b->work == w);
	b->work = NULL;
	b->call = registry_cancel(b->call);
	if (b->timer)
		loop_timer_unset(b->timer);
}

static void hold_back(void *arg, bool on)
{
	struct registry_blob *b = arg;

	if (b->call)
		registry_pause(b->call, on);
}

static void release(void *arg)
{
	struct registry_blob *b = arg;

	b->call = registry_cancel(b->call);
	b->timer = loop_timer_free(b->timer);
	(void)registry_free(b->registry);
	free(b);
}

void registry_blob_source(struct registry *r, struct layer_source *ret)
{
	struct registry_blob *b = mem_new(struct registry_blob);

	b->registry = registry_ref(r);
	*ret = (struct layer_source){begin, stop, hold_back, release, b};
}
