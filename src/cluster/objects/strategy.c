/*
 * Strategies: see strategy.h. One rule serves all kinds: `status` is the status subresource's where
 * there is one, `metadata` has a few fields that only the server writes, all else is what is
 * wanted.
 */
#include "cluster/objects/strategy.h"

#include <assert.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"

static void same(struct json *object, const struct json *old, const char *key)
{
	struct json *was = json_get(old, key);

	if (was)
		json_set(object, key, json_ref(was));
	else
		json_remove(object, key);
}

/* The pods of a job carry its uid, so that two jobs of one name never share them. */
static void name_job(struct json *job)
{
	static const char *const prefixes[] = {"", "batch.kubernetes.io/"};
	const char *uid = json_get_text(json_get(job, "metadata"), "uid");
	const char *name = json_get_text(json_get(job, "metadata"), "name");
	struct json *spec = json_get(job, "spec");
	struct json *template = json_get(spec, "template"), *labels;

	if (!uid || !name || !template || json_get_bool(spec, "manualSelector", false) ||
	    json_get(spec, "selector"))
		return;
	labels = json_make_object(json_make_object(template, "metadata"), "labels");
	for (size_t i = 0; i < array_len(prefixes); i++) {
		auto_strbuf struct strbuf key = {0};

		strbuf_printf(&key, "%scontroller-uid", prefixes[i]);
		json_set_text(labels, strbuf_text(&key), uid);
		strbuf_clear(&key);
		strbuf_printf(&key, "%sjob-name", prefixes[i]);
		json_set_text(labels, strbuf_text(&key), name);
	}
	json_set_text(json_make_object(json_make_object(spec, "selector"), "matchLabels"),
		      "batch.kubernetes.io/controller-uid", uid);
}

static bool counts(const struct kind *k, const struct json *object)
{
	return k->flags & KIND_STATUS && json_get(object, "spec");
}

void strategy_create(const struct kind *k, struct json *object)
{
	assert(k && object);
	/* a node tells what it has when it registers */
	if (k->flags & KIND_STATUS && !kind_is(k, "", "Node"))
		json_remove(object, "status");
	if (counts(k, object))
		json_set_i64(json_make_object(object, "metadata"), "generation", 1);
	if (text_eq(k->name, "Job") && text_eq(k->group, "batch"))
		name_job(object);
}

void strategy_requester(const struct kind *k, struct json *object, const struct identity *who)
{
	struct json *spec = json_get(object, "spec"), *groups;

	if (!text_eq(k->name, "CertificateSigningRequest") || !spec || !who || !who->user)
		return;
	json_set_text(spec, "username", who->user);
	if (who->uid)
		json_set_text(spec, "uid", who->uid);
	else
		json_remove(spec, "uid");
	json_remove(spec, "extra");
	groups = json_new_array();
	for (size_t i = 0; who->groups && who->groups[i]; i++)
		json_append(groups, json_new_text(who->groups[i]));
	json_set(spec, "groups", groups);
}

/* What is wanted: everything but metadata and status. */
static bool wants_the_same(const struct json *a, const struct json *b)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(a, &it, &key, &value))
		if (!text_eq(key, "metadata") && !text_eq(key, "status") &&
		    !text_eq(key, "apiVersion") && !json_equal(value, json_get(b, key)))
			return false;
	return true;
}

void strategy_update(const struct kind *k, struct json *object, const struct json *old)
{
	static const char *const server[] = {"uid",
					     "creationTimestamp",
					     "deletionTimestamp",
					     "deletionGracePeriodSeconds",
					     "generation",
					     "selfLink"};
	struct json *meta = json_make_object(object, "metadata"), *was = json_get(old, "metadata");

	assert(k && old);
	for (size_t i = 0; i < array_len(server); i++)
		same(meta, was, server[i]);
	if (k->flags & KIND_STATUS)
		same(object, old, "status");
	if (counts(k, object) && !(wants_the_same(object, old) && wants_the_same(old, object)))
		json_set_i64(meta, "generation", json_get_i64(was, "generation", 0) + 1);
}

void strategy_status(const struct kind *k, struct json *object, const struct json *old)
{
	struct json *status = json_ref(json_get(object, "status"));
	struct json *version = json_ref(json_get(json_get(object, "metadata"), "resourceVersion"));
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	assert(k && object && old);
	while (json_next(object, &it, &key, &value)) {
		json_remove(object, key);
		it = (struct json_iter){0};
	}
	it = (struct json_iter){0};
	while (json_next(old, &it, &key, &value))
		if (!text_eq(key, "status"))
			json_set(object, key, json_copy(value));
	if (status)
		json_set(object, "status", status);
	if (version) /* it says which version the writer saw */
		json_set(json_make_object(object, "metadata"), "resourceVersion", version);
}
