/*
 * The direct client: see direct.h. Verbs become changes (writes) or look-ups (reads) in the store's
 * memory; both answer later in the same turn, or when what was written is durable.
 */
#include "cluster/objects/direct.h"

#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/convert.h"
#include "cluster/objects/decode.h"
#include "cluster/objects/direct_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/loop.h"

#define PATCH_SHOWN_MAX 1000 /* bytes of a patch in the message that refuses it */

static struct objects *objects_of(const struct client *c)
{
	struct objects *os = c->impl;

	assert(os->magic == OBJECTS_MAGIC);
	return os;
}

/* -- reading one ------------------------------------------------------------------------------- */

static void got(void *ctx, const struct key_value *v, uint64_t revision, const struct err *e)
{
	struct change *c = ctx;

	(void)v;
	(void)revision;
	if (e) {
		c->error = *e;
		change_end(c);
		return;
	}
	c->old = object_of_value(keys_get(c->objects->keys, c->key));
	if (!c->old) {
		change_not_found(c);
		return;
	}
	c->old = object_ref(c->old);
	if (!c->sub || text_eq(c->sub, "status") || !sub_get(c))
		c->result = object_ref(c->old);
	change_end(c);
}

static void direct_get(const struct client *client, const struct client_target *t,
		       const char *revision, client_done *done, void *ctx)
{
	struct objects *os = objects_of(client);
	struct change *c = change_new(os, CHANGE_UPDATE, t, done, ctx);
	uint64_t at_least = 0;

	if (revision && revision[0] &&
	    parse_u64(str_of(revision), "resourceVersion", &at_least, &c->error) < 0) {
		change_end(c);
		return;
	}
	if (at_least <= keys_revision(os->keys))
		got(c, NULL, 0, NULL);
	else
		keys_fresh(os->keys, at_least, got, c);
}

/* -- writing ----------------------------------------------------------------------------------- */

static struct change *begin_write(const struct client *client, enum change_verb verb,
				  const struct client_target *t, struct json *object,
				  const struct write_options *o, client_done *done, void *ctx)
{
	struct objects *os = objects_of(client);
	struct change *c = change_new(os, verb, t, done, ctx);
	const struct object *newest =
		t->name ? objects_newest(os, t->kind, t->namespace, t->name) : NULL;

	c->object = object;
	c->who = &client->identity;
	c->dry_run = o && o->dry_run;
	c->old = newest ? object_ref(newest) : NULL;
	return c;
}

static void direct_create(const struct client *client, const struct client_target *t,
			  struct json *object, const struct write_options *o, client_done *done,
			  void *ctx)
{
	struct change *c = begin_write(client, CHANGE_CREATE, t, object, o, done, ctx);

	if (c->sub) {
		sub_create(c);
		return;
	}
	c->old = object_unref(c->old);
	pipeline_create(c);
}

static void direct_update(const struct client *client, const struct client_target *t,
			  struct json *object, const struct write_options *o, client_done *done,
			  void *ctx)
{
	struct change *c = begin_write(client, CHANGE_UPDATE, t, object, o, done, ctx);

	if (c->old)
		pipeline_update(c);
	else if (o && o->upsert && !c->sub)
		pipeline_create(c);
	else
		change_not_found(c);
}

static void add_warnings(struct change *c, const struct strict *strict)
{
	for (size_t i = 0; i < strict->n; i++)
		mem_append_text(&c->warnings, strict->list[i]);
}

/* What the patch is applied to, in the version that was asked for. */
static struct json *patched_form(struct change *c, const struct kind **ret_kind)
{
	struct json *tree = object_copy(c->old);

	*ret_kind = c->kind;
	if (c->sub && text_eq(c->sub, "scale")) {
		struct json *scale = sub_scale_of(c->stored, tree);

		(void)json_free(tree);
		*ret_kind = kind_of_name("autoscaling", "v1", "Scale");
		return scale;
	}
	convert(tree, c->stored, c->kind);
	return tree;
}

/* A patch that cannot be used, with the reason in c->error. */
static int refuse_patch(struct change *c, const struct json *patch)
{
	auto_strbuf struct strbuf text = {0};
	auto_json struct json *shown = NULL;

	json_write(patch, &text);
	if (text.n > PATCH_SHOWN_MAX) {
		text.n = PATCH_SHOWN_MAX;
		strbuf_add_text(&text, "...");
		shown = json_new_str(strbuf_str(&text));
	}
	cause_add(&c->causes, CAUSE_INVALID, "patch", shown ? shown : patch, "%s", c->error.text);
	return change_invalid(c);
}

static int patch_change(struct change *c, enum patch_type type, const struct json *patch,
			const struct write_options *o)
{
	struct strict strict = {.arena = &c->arena};
	const struct kind *form;
	auto_json struct json *tree = patched_form(c, &form);
	int bad = patch_apply(form, tree, type, patch, &c->object, &c->error);

	if (bad == -ERR_UNSUPPORTED)
		c->http_status = 415;
	if (bad == -ERR_INVALID && type == PATCH_JSON && json_kind(patch) == JSON_ARRAY)
		return refuse_patch(c, patch);
	if (bad < 0)
		return bad;
	bad = decode_tree(c->object, form, &strict, &c->error);
	if (bad >= 0 && o && o->strict)
		bad = decode_strict(&strict, form, &c->error);
	else if (bad >= 0 && !(o && o->ignore_unknown))
		add_warnings(c, &strict);
	return bad < 0 ? refuse_patch(c, patch) : 0;
}

static void direct_patch(const struct client *client, const struct client_target *t,
			 enum patch_type type, struct json *patch, const struct write_options *o,
			 client_done *done, void *ctx)
{
	auto_json struct json *taken = patch;
	struct change *c = begin_write(client, CHANGE_UPDATE, t, NULL, o, done, ctx);

	if (!c->old) {
		change_not_found(c);
		return;
	}
	if (patch_change(c, type, taken, o) < 0) {
		change_end(c);
		return;
	}
	pipeline_update(c);
}

static void direct_remove(const struct client *client, const struct client_target *t,
			  const struct delete_options *o, client_done *done, void *ctx)
{
	static const struct delete_options plain = {.grace_s = -1};
	struct change *c = begin_write(client, CHANGE_DELETE, t, NULL, NULL, done, ctx);

	if (!o)
		o = &plain;
	c->dry_run = o->dry_run;
	if (c->old)
		remove_begin(c, o);
	else
		change_not_found(c);
}

/* -- life -------------------------------------------------------------------------------------- */

static const struct client_ops direct_ops = {
	.get = direct_get,
	.list = direct_list,
	.watch = direct_watch,
	.unwatch = direct_unwatch,
	.create = direct_create,
	.update = direct_update,
	.patch = direct_patch,
	.remove = direct_remove,
	.remove_all = direct_remove_all,
};

int objects_new(const struct objects_options *o, struct objects **ret, struct err *e)
{
	struct objects *os = mem_new(struct objects);

	assert(o->loop && o->keys);
	(void)e;
	os->magic = OBJECTS_MAGIC;
	os->o = *o;
	os->loop = o->loop;
	os->keys = o->keys;
	os->world = o->world ? o->world : &world_real;
	list_init(&os->claims);
	list_init(&os->watches);
	os->bookmarks = loop_timer_new(os->loop, direct_bookmark, os);
	loop_turn_end(os->loop, objects_trim, os);
	allocate_load(os);
	*ret = os;
	return 0;
}

struct objects *objects_free(struct objects *os)
{
	if (!os)
		return NULL;
	assert(os->magic == OBJECTS_MAGIC);
	direct_unwatch_all(os);
	loop_turn_end_cancel(os->loop, objects_trim, os);
	os->bookmarks = loop_timer_free(os->bookmarks);
	os->deleted = object_unref(os->deleted);
	map_done(&os->cluster_ips);
	map_done(&os->node_ports);
	os->magic = 0;
	free(os);
	return NULL;
}

struct client objects_client(struct objects *os, struct identity identity)
{
	assert(os->magic == OBJECTS_MAGIC);
	return (struct client){.ops = &direct_ops, .impl = os, .identity = identity};
}

uint64_t objects_revision(const struct objects *os)
{
	return keys_revision(os->keys);
}
