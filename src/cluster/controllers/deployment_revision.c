/*
 * Revisions of a deployment: each replica set carries the number of its turn; going back to an
 * older template gives its set the next number. The deployment's annotations travel with it, so
 * that `kubectl rollout` can tell the history.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/deployment_priv.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"

/* Annotations that are each object's own. */
static const char *const own_notes[] = {
	"kubectl.kubernetes.io/last-applied-configuration",
	REVISION,
	REVISION_PAST,
	DESIRED,
	MAX_REPLICAS,
	"deprecated.deployment.rollback.to",
};

static bool is_own(const char *key)
{
	for (size_t i = 0; i < array_len(own_notes); i++)
		if (text_eq(own_notes[i], key))
			return true;
	return false;
}

static int64_t revision_of(const struct object *set)
{
	const char *text = tree_annotation(set, REVISION);
	int64_t n = 0;
	struct err e;

	return text && parse_i64(str_of(text), REVISION, &n, &e) == 0 ? n : 0;
}

static int64_t next_revision(const struct rollout *r)
{
	int64_t most = 0;

	for (size_t i = 0; i < r->sets.n; i++)
		if (r->sets.list[i] != r->current && revision_of(r->sets.list[i]) > most)
			most = revision_of(r->sets.list[i]);
	return most + 1;
}

static void copy_notes(const struct rollout *r, struct json *notes)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(json_get(json_get(object_tree(r->deployment), "metadata"), "annotations"),
			 &it, &key, &value))
		if (!is_own(key))
			json_set(notes, key, json_ref(value));
}

static void set_number(struct json *notes, const char *key, int64_t n)
{
	auto_free char *text = mem_printf("%lld", (long long)n);

	json_set_text(notes, key, text);
}

/* What the set's annotations shall be, beyond what they are. */
static struct json *notes_of_current(const struct rollout *r, int64_t revision)
{
	struct json *notes = json_new_object();
	const char *past = tree_annotation(r->current, REVISION_PAST);
	const char *was = tree_annotation(r->current, REVISION);

	copy_notes(r, notes);
	if (revision_of(r->current) >= revision)
		return notes;
	set_number(notes, REVISION, revision);
	if (was && was[0]) {
		auto_free char *more =
			past && past[0] ? mem_printf("%s,%s", past, was) : mem_dup_text(was);

		json_set_text(notes, REVISION_PAST, more);
	}
	return notes;
}

static void drop_same(struct json *notes, const struct object *o)
{
	auto_json struct json *all = json_copy(notes);
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(all, &it, &key, &value))
		if (text_eq(tree_annotation(o, key), json_text(value)))
			json_remove(notes, key);
}

static void patch_notes(struct rollout *r, const struct object *o, struct json *notes,
			int64_t min_ready)
{
	struct json *patch;
	bool slower =
		min_ready >= 0 && json_get_i64(tree_spec(o), "minReadySeconds", 0) != min_ready;

	drop_same(notes, o);
	if (json_len(notes) == 0 && !slower) {
		(void)json_free(notes);
		return;
	}
	patch = json_new_object();
	json_set(json_make_object(patch, "metadata"), "annotations", notes);
	if (slower)
		json_set_i64(json_make_object(patch, "spec"), "minReadySeconds", min_ready);
	work_patch(r->work, o, NULL, patch);
}

void rollout_sync_revision(struct rollout *r)
{
	int64_t revision = next_revision(r);
	struct json *notes;

	if (!r->current)
		return;
	if (revision < revision_of(r->current))
		revision = revision_of(r->current);
	patch_notes(r, r->current, notes_of_current(r, revision),
		    json_get_i64(r->spec, "minReadySeconds", 0));
	notes = json_new_object();
	set_number(notes, REVISION, revision);
	patch_notes(r, r->deployment, notes, -1);
}

/* -- a new set --------------------------------------------------------------------------------- */

static void note_progress(struct work *w, const struct object *d, const char *value,
			  const char *reason, const char *message)
{
	struct json *status = json_new_object();
	char now[TIME_CHARS];

	condition_set(status, tree_status(d), "Progressing", value, reason, message,
		      controller_now(w->controller, now));
	work_status(w, d, status);
}

/* Another object has the name: the next look takes another one. */
static void count_collision(struct work *w, const struct object *d)
{
	struct json *status = json_new_object();

	json_set_i64(status, "collisionCount",
		     json_get_i64(tree_status(d), "collisionCount", 0) + 1);
	work_status(w, d, status);
}

static void made(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	const char *name = w->own;
	struct rollout r;
	auto_free char *message = NULL;

	if (!rollout_look(&r, w, false)) {
		rollout_done(&r);
		work_called(w, o);
		return;
	}
	if (!o->error) {
		message = mem_printf("Created new replica set \"%s\"", name);
		work_event(w->controller, r.deployment, "Normal", "ScalingReplicaSet",
			   "Scaled up replica set %s from 0 to %lld", name,
			   (long long)json_get_i64(tree_spec(o->object), "replicas", 0));
		if (rollout_has_deadline(&r))
			note_progress(w, r.deployment, "True", "NewReplicaSetCreated", message);
	} else if (o->error->kind == ERR_EXISTS) {
		if (!r.current)
			count_collision(w, r.deployment);
	} else {
		message = mem_printf("Failed to create new replica set \"%s\": %s", name,
				     o->error->text);
		work_event(w->controller, r.deployment, "Warning", "FailedCreate", "%s", message);
		if (rollout_has_deadline(&r))
			note_progress(w, r.deployment, "False", "ReplicaSetCreateError", message);
	}
	rollout_done(&r);
	work_called(w, o);
}

void rollout_make(struct rollout *r)
{
	const struct json *template = json_get(r->spec, "template");
	struct json *set = json_new_object(), *meta = json_make_object(set, "metadata");
	struct json *spec = json_make_object(set, "spec"), *own = json_copy(template);
	struct json *selector = json_copy(json_get(r->spec, "selector")), *owners;
	char hash[TREE_HASH_CHARS];
	auto_free char *name = NULL;
	int64_t size = rollout_new_size(r, 0);

	tree_hash(template, json_get_i64(tree_status(r->deployment), "collisionCount", 0), hash);
	name = mem_printf("%s-%s", r->deployment->name, hash);
	json_set_text(json_make_object(json_make_object(own, "metadata"), "labels"), HASH_LABEL,
		      hash);
	json_set_text(json_make_object(selector, "matchLabels"), HASH_LABEL, hash);
	json_set_text(meta, "name", name);
	json_set(meta, "labels", json_copy(json_get(json_get(own, "metadata"), "labels")));
	copy_notes(r, json_make_object(meta, "annotations"));
	set_number(json_make_object(meta, "annotations"), REVISION, next_revision(r));
	set_number(json_make_object(meta, "annotations"), DESIRED, r->replicas);
	set_number(json_make_object(meta, "annotations"), MAX_REPLICAS, r->replicas + r->surge);
	owners = json_new_array();
	json_append(owners, owner_reference(r->deployment));
	json_set(meta, "ownerReferences", owners);
	json_set_i64(spec, "replicas", size);
	json_set_i64(spec, "minReadySeconds", json_get_i64(r->spec, "minReadySeconds", 0));
	json_set(spec, "selector", selector);
	json_set(spec, "template", own);
	r->scaled = true;
	free(r->work->own);
	r->work->own = take(name);
	work_call(r->work);
	client_create(&r->work->controller->client,
		      &(struct client_target){kind_of_resource("apps", "v1", "replicasets"),
					      r->deployment->namespace},
		      set, NULL, made, r->work);
}

/* -- the past ---------------------------------------------------------------------------------- */

static int by_revision(const void *x, const void *y)
{
	const struct object *const *a = x, *const *b = y;
	int64_t ra = revision_of(*a), rb = revision_of(*b);

	return ra < rb ? -1 : ra > rb;
}

static bool is_spent(const struct object *set)
{
	return set_replicas(set) == 0 && json_get_i64(tree_status(set), "replicas", 0) == 0 &&
	       json_get_i64(tree_status(set), "observedGeneration", 0) >= object_generation(set);
}

void rollout_clean(struct rollout *r)
{
	int64_t keep = json_get_i64(r->spec, "revisionHistoryLimit", 10);
	const struct object **old = mem_new_array(const struct object *, r->sets.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < r->sets.n; i++)
		if (r->sets.list[i] != r->current && !r->sets.list[i]->deleting)
			old[n++] = r->sets.list[i];
	qsort(old, n, sizeof(*old), by_revision);
	for (size_t i = 0; (int64_t)i < (int64_t)n - keep; i++)
		if (is_spent(old[i]))
			work_delete(r->work, old[i]);
	free(old);
}
