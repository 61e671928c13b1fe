/*
 * The pipeline: the one way from a tree that somebody sent to an object that is kept. See
 * pipeline_priv.h for its stations. It works on what is newest, writes on their way counted in: a
 * write without a resourceVersion never loses against another, and one with it fails only when its
 * version is not the newest.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/complete.h"
#include "cluster/objects/convert.h"
#include "cluster/objects/pipeline_priv.h"
#include "cluster/objects/strategy.h"
#include "cluster/objects/validate.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

#define GENERATED_CHARS 5

static void random_name(struct objects *os, const char *prefix, char **ret)
{
	unsigned char raw[GENERATED_CHARS];
	char tail[GENERATED_CHARS + 1];
	size_t keep = strlen(prefix) > 58 ? 58 : strlen(prefix);

	os->world->random(os->world->ctx, raw, sizeof(raw));
	for (size_t i = 0; i < GENERATED_CHARS; i++)
		tail[i] = name_letter(raw[i]);
	tail[GENERATED_CHARS] = '\0';
	free(*ret);
	*ret = mem_printf("%.*s%s", (int)keep, prefix, tail);
}

static void set_uid(struct objects *os, struct json *meta)
{
	char x[33];
	char uid[40];

	world_random_hex(os->world, x, 32);
	(void)snprintf(uid, sizeof(uid), "%.8s-%.4s-4%.3s-a%.3s-%.12s", x, x + 8, x + 13, x + 17,
		       x + 20);
	json_set_text(meta, "uid", uid);
}

static void rename_change(struct change *c)
{
	free(c->key);
	c->key = objects_key(c->stored, c->namespace, c->name);
}

/* The body's namespace and name agree with what was asked. 0, or c->error is set. */
static int check_place(struct change *c, struct json *meta)
{
	const char *ns = json_get_text(meta, "namespace"), *name = json_get_text(meta, "name");

	if (c->stored->flags & KIND_NAMESPACED) {
		if (ns && ns[0] && !text_eq(ns, c->namespace))
			return err_set(&c->error, ERR_INVALID,
				       "the namespace of the provided object does not match the "
				       "namespace sent on the request");
		json_set_text(meta, "namespace", c->namespace);
	} else {
		json_remove(meta, "namespace");
	}
	if (c->name[0] && name && name[0] && !text_eq(name, c->name))
		return err_set(
			&c->error, ERR_INVALID,
			"the name of the object (%s) does not match the name on the URL (%s)", name,
			c->name);
	if (c->name[0])
		json_set_text(meta, "name", c->name);
	return 0;
}

static int begin_create(struct change *c)
{
	static const char *const servers[] = {"uid",
					      "creationTimestamp",
					      "deletionTimestamp",
					      "deletionGracePeriodSeconds",
					      "generation",
					      "selfLink",
					      "managedFields",
					      "resourceVersion"};
	struct json *meta = json_make_object(c->object, "metadata");
	const char *version = json_get_text(meta, "resourceVersion");
	const char *prefix = json_get_text(meta, "generateName"), *name;
	char now[RFC3339_CHARS + 1];

	if (version && version[0] && !text_eq(version, "0"))
		return err_set(&c->error, ERR_INVALID,
			       "resourceVersion should not be set on objects to be created");
	if (check_place(c, meta) < 0)
		return -ERR_INVALID;
	for (size_t i = 0; i < array_len(servers); i++)
		json_remove(meta, servers[i]);
	name = json_get_text(meta, "name");
	if ((!name || !name[0]) && prefix && prefix[0]) {
		random_name(c->objects, prefix, &c->name);
		json_set_text(meta, "name", c->name);
	} else {
		free(c->name);
		c->name = mem_dup_text(name ? name : "");
	}
	set_uid(c->objects, meta);
	json_set_text(meta, "creationTimestamp", objects_now(c->objects, now));
	rename_change(c);
	return 0;
}

static bool invalid(struct change *c)
{
	if (c->causes.n == 0)
		return false;
	(void)change_invalid(c);
	change_end(c);
	return true;
}

void pipeline_create(struct change *c)
{
	assert(c->magic == CHANGE_MAGIC && c->object);
	convert(c->object, c->kind, c->stored);
	if (begin_create(c) < 0) {
		change_end(c);
		return;
	}
	strategy_create(c->stored, c->object);
	strategy_requester(c->stored, c->object, c->who);
	complete(c->stored, c->object);
	pipeline_finish(c);
}

/* -- updates ----------------------------------------------------------------------------------- */

static int refuse_version(struct change *c, const struct json *version)
{
	cause_add(&c->causes, CAUSE_INVALID, "metadata.resourceVersion", version,
		  "must be what a read of the object said");
	return change_invalid(c);
}

static int check_version(struct change *c, struct json *meta)
{
	const char *version = json_get_text(meta, "resourceVersion");
	const char *uid = json_get_text(meta, "uid");
	char resource[128];
	uint64_t want;
	struct err e;

	kind_resource(c->kind, resource, sizeof(resource));
	if (uid && uid[0] && !text_eq(uid, c->old->uid))
		return err_set(&c->error, ERR_CONFLICT,
			       "Operation cannot be fulfilled on %s \"%s\": Precondition failed: "
			       "UID in precondition: %s, UID in object meta: %s",
			       resource, c->name, uid, c->old->uid);
	if (!version || !version[0])
		return 0;
	if (parse_u64(str_of(version), "resourceVersion", &want, &e) < 0)
		return refuse_version(c, json_get(meta, "resourceVersion"));
	if (want && want != c->old->revision)
		return err_set(&c->error, ERR_CONFLICT,
			       "Operation cannot be fulfilled on %s \"%s\": the object has been "
			       "modified; please apply your changes to the latest version and try "
			       "again",
			       resource, c->name);
	return 0;
}

/* Nothing but the order or the version number differs: there is nothing to write. */
static bool unchanged(struct change *c)
{
	struct json *meta = json_get(c->object, "metadata");
	const struct json *old = object_tree(c->old);

	json_set(meta, "resourceVersion",
		 json_ref(json_get(json_get(old, "metadata"), "resourceVersion")));
	return json_equal(c->object, old);
}

void pipeline_update(struct change *c)
{
	const struct json *old = object_tree(c->old);
	struct json *meta;

	assert(c->magic == CHANGE_MAGIC && c->object);
	if (!c->sub || !text_eq(c->sub, "scale")) /* a Scale is of no stored kind */
		convert(c->object, c->kind, c->stored);
	meta = json_make_object(c->object, "metadata");
	if (check_place(c, meta) < 0 || check_version(c, meta) < 0 || sub_write(c) < 0) {
		change_end(c);
		return;
	}
	json_remove(json_make_object(c->object, "metadata"), "managedFields");
	if (c->sub && (text_eq(c->sub, "status") || text_eq(c->sub, "approval"))) {
		strategy_status(c->stored, c->object, old);
		complete(c->stored, c->object);
	} else {
		strategy_update(c->stored, c->object, old);
		complete(c->stored, c->object);
		strategy_update(c->stored, c->object, object_tree(c->old));
	}
	pipeline_finish(c);
}

void pipeline_finish(struct change *c)
{
	if (admission_admit(c) < 0) {
		change_end(c);
		return;
	}
	validate(c->stored, c->object, c->old ? object_tree(c->old) : NULL, &c->causes);
	if (c->causes.n == 0 && kind_is(c->stored, "", "Service"))
		allocate_service(c);
	if (invalid(c))
		return;
	warnings_add(c);
	if (c->old && unchanged(c)) {
		c->result = object_ref(c->old);
		change_end(c);
		return;
	}
	if (c->old && remove_when_free(c))
		return;
	change_store(c);
}
