/*
 * Scaling the sets of a deployment: in proportion when spec.replicas changed in the middle of a
 * rollout, or step by step from the old sets to today's, never beyond maxSurge pods too many nor
 * maxUnavailable too few.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/deployment_priv.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t rollout_new_size(const struct rollout *r, int64_t current)
{
	int64_t most = r->replicas + r->surge, total = rollout_total(r);

	if (r->recreate)
		return r->replicas;
	if (total >= most)
		return current;
	return current + least(most - total, r->replicas - current);
}

static int64_t note_of(const struct object *set, const char *key, int64_t otherwise)
{
	const char *text = tree_annotation(set, key);
	int64_t n = otherwise;
	struct err e;

	return text && parse_i64(str_of(text), key, &n, &e) == 0 ? n : otherwise;
}

/* -- in proportion ----------------------------------------------------------------------------- */

/* What a set would have more (or less) of, were the new size spread as the old one was. */
static int64_t fraction(const struct rollout *r, const struct object *set)
{
	int64_t size = set_replicas(set), most = r->replicas + r->surge;
	int64_t was =
		note_of(set, MAX_REPLICAS, json_get_i64(tree_status(r->deployment), "replicas", 0));

	if (r->replicas == 0)
		return -size;
	if (was <= 0)
		return 0;
	return (size * most + was / 2) / was - size;
}

static int64_t proportion(const struct rollout *r, const struct object *set, int64_t to_add,
			  int64_t added)
{
	int64_t part, allowed = to_add - added;

	if (set_replicas(set) == 0 || to_add == 0 || allowed == 0)
		return 0;
	part = fraction(r, set);
	return to_add > 0 ? least(part, allowed) : part > allowed ? part : allowed;
}

struct sized {
	const struct object *set;
	int64_t size;
	bool young_first;
};

static int by_size(const void *x, const void *y)
{
	const struct sized *a = x, *b = y;
	int64_t when_a, when_b;

	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	when_a = tree_created_s(a->set);
	when_b = tree_created_s(b->set);
	if (when_a == when_b)
		return strcmp(a->set->name, b->set->name);
	return (when_a > when_b) == a->young_first ? -1 : 1;
}

static void scale_in_proportion(struct rollout *r)
{
	int64_t allowed = r->replicas > 0 ? r->replicas + r->surge : 0;
	int64_t to_add = allowed - rollout_total(r), added = 0;
	struct sized *list = mem_new_array(struct sized, r->sets.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < r->sets.n; i++)
		if (set_replicas(r->sets.list[i]) > 0)
			list[n++] = (struct sized){r->sets.list[i], set_replicas(r->sets.list[i]),
						   to_add > 0};
	qsort(list, n, sizeof(*list), by_size);
	for (size_t i = 0; i < n; i++) {
		int64_t part = proportion(r, list[i].set, to_add, added);

		list[i].size += part;
		added += part;
	}
	if (n > 0)
		list[0].size += to_add - added;
	for (size_t i = 0; i < n; i++)
		rollout_scale(r, list[i].set, list[i].size > 0 ? list[i].size : 0);
	free(list);
}

static bool is_saturated(const struct rollout *r)
{
	return r->current && note_of(r->current, DESIRED, -1) == r->replicas &&
	       set_replicas(r->current) == r->replicas && set_available(r->current) == r->replicas;
}

/* The one set that has pods; the newest when none has; NULL when several have. */
static const struct object *only_one(const struct rollout *r)
{
	const struct object *found = NULL;
	size_t n = 0;

	for (size_t i = 0; i < r->sets.n; i++)
		if (set_replicas(r->sets.list[i]) > 0) {
			found = r->sets.list[i];
			n++;
		}
	if (n > 0)
		return n == 1 ? found : NULL;
	if (r->current)
		return r->current;
	return r->sets.n ? r->sets.list[r->sets.n - 1] : NULL;
}

void rollout_scale_all(struct rollout *r)
{
	const struct object *one = only_one(r);

	if (one) {
		rollout_scale(r, one, r->replicas);
		return;
	}
	if (is_saturated(r)) {
		for (size_t i = 0; i < r->sets.n; i++)
			if (r->sets.list[i] != r->current && set_replicas(r->sets.list[i]) > 0)
				rollout_scale(r, r->sets.list[i], 0);
		return;
	}
	if (!r->recreate)
		scale_in_proportion(r);
}

/* -- rolling ----------------------------------------------------------------------------------- */

/* Pods of old sets that do not serve go first: they cost nothing. */
static void drop_old(struct rollout *r)
{
	int64_t min_available = r->replicas - r->unavailable, available = 0, budget, by_service;
	int64_t missing = set_replicas(r->current) - set_available(r->current);

	for (size_t i = 0; i < r->sets.n; i++)
		available += set_available(r->sets.list[i]);
	budget = rollout_total(r) - min_available - missing;
	by_service = available - min_available;
	for (size_t i = 0; i < r->sets.n && budget > 0; i++) {
		const struct object *set = r->sets.list[i];
		int64_t size = set_replicas(set), idle, more;

		if (set == r->current || size == 0)
			continue;
		idle = least(size - least(set_available(set), size), budget);
		more = least(size - idle, least(by_service, budget - idle));
		more = more > 0 ? more : 0;
		by_service -= more;
		budget -= idle + more;
		if (idle + more > 0)
			rollout_scale(r, set, size - idle - more);
	}
}

static void roll(struct rollout *r)
{
	int64_t size;

	if (!r->current) {
		rollout_make(r);
		return;
	}
	size = set_replicas(r->current);
	if (size > r->replicas)
		rollout_scale(r, r->current, r->replicas);
	else
		rollout_scale(r, r->current, rollout_new_size(r, size));
	if (!r->scaled)
		drop_old(r);
}

/* -- recreating -------------------------------------------------------------------------------- */

static bool runs(void *ctx, const struct object *pod)
{
	const char *phase = object_value(pod, "status.phase");

	if (text_eq(phase, "Succeeded") || text_eq(phase, "Failed"))
		return true;
	*(bool *)ctx = true;
	return false;
}

static void recreate(struct rollout *r)
{
	const struct informer *pods = controller_view(r->work->controller, "", "pods");
	bool running = false;

	for (size_t i = 0; i < r->sets.n; i++) {
		if (r->sets.list[i] == r->current)
			continue;
		rollout_scale(r, r->sets.list[i], 0);
		informer_each_owned(pods, r->sets.list[i]->uid, runs, &running);
	}
	if (r->scaled || running)
		return;
	if (!r->current)
		rollout_make(r);
	else
		rollout_scale(r, r->current, r->replicas);
}

void rollout_step(struct rollout *r)
{
	auto_json struct json *status = NULL;

	if (r->recreate)
		recreate(r);
	else
		roll(r);
	if (r->scaled || !r->current)
		return;
	status = rollout_counts(r);
	if (rollout_complete(r, status))
		rollout_clean(r);
}
