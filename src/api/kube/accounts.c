/*
 * Accounts: which service accounts exist, mirrored by a watch, so that a token of one that is gone
 * is no good any more.
 */
#include <stdlib.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

struct accounts {
	struct kube *kube;
	struct map uids; /* "ns/name" -> text */
	struct client_watch *watch;
};

static void changed(void *ctx, const struct watch_event *v)
{
	struct accounts *a = ctx;
	char key[OBJECT_KEY_MAX];

	if (!v->object)
		return;
	object_key(v->object, key);
	if (v->type == WATCH_DELETED)
		free(map_remove(&a->uids, key));
	else
		free(map_put(&a->uids, key, mem_dup_text(v->object->uid)));
}

static void forget(struct accounts *a)
{
	map_each (&a->uids, it)
		free(it->value);
	map_done(&a->uids);
}

static void broke(void *ctx, const struct err *e);

static void begin(struct accounts *a)
{
	client_watch(&a->kube->client,
		     &(struct client_target){kind_of_resource("", "v1", "serviceaccounts")}, NULL,
		     &(struct watch_sink){changed, broke, a}, &a->watch);
}

static void broke(void *ctx, const struct err *e)
{
	(void)e;
	forget(ctx); /* who was removed meanwhile is not told */
	begin(ctx);
}

struct accounts *accounts_new(struct kube *k)
{
	struct accounts *a = mem_new(struct accounts);

	a->kube = k;
	begin(a);
	return a;
}

struct accounts *accounts_free(struct accounts *a)
{
	if (!a)
		return NULL;
	client_unwatch(&a->kube->client, a->watch);
	forget(a);
	free(a);
	return NULL;
}

bool accounts_has(const struct kube *k, const char *namespace, const char *name, const char *uid)
{
	auto_free char *key = mem_printf("%s/%s", namespace, name);

	return text_eq(map_get(&k->accounts->uids, key), uid);
}
