/*
 * Usage: what an object counts for against quotas and limits, as named quantities: "pods",
 * "requests.cpu", "limits.memory", "count/deployments.apps". The same sums serve admission and the
 * quota controller's status.
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/base/arena.h"
#include "ground/format/json.h"
#include "ground/format/quantity.h"

#define USAGE_MAX 64 /* names in one sum */

struct usage {
	struct arena *arena; /* of the names */
	struct {
		const char *name;
		struct quantity amount;
	} list[USAGE_MAX];
	size_t n;
};

/* Adds what one object counts for. A pod that has ended counts for nothing but its object. */
void usage_add(struct usage *u, const struct kind *k, const struct json *object);
/* Adds one amount; subtracts with a negative one. */
void usage_add_one(struct usage *u, const char *name, struct quantity q);
/* NULL: nothing was added under this name. */
const struct quantity *usage_get(const struct usage *u, const char *name);

/* Whether a quota's scopes and scopeSelector take this pod. Objects that are no pods: no scopes. */
bool usage_in_scope(const struct json *quota_spec, const struct kind *k, const struct json *object);

/* A pod's sum of requests (or limits) as the scheduler counts it: the larger of the sum of its
 * containers (with sidecars) and of each init container, plus overhead. */
void usage_of_pod(const struct json *pod, const char *which, struct usage *u);
