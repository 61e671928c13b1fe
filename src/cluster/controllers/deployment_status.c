/*
 * The status of a deployment: sums over its sets, and whether it is available, progressing, or
 * has not progressed for too long. Reasons and messages are what clients wait for.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/deployment_priv.h"
#include "ground/base/mem.h"

#define DEADLINE_NONE 2147483647

bool rollout_has_deadline(const struct rollout *r)
{
	return json_get_i64(r->spec, "progressDeadlineSeconds", DEADLINE_NONE) != DEADLINE_NONE;
}

static int64_t count_of(const struct json *status, const char *key)
{
	return json_get_i64(status, key, 0);
}

struct json *rollout_counts(const struct rollout *r)
{
	struct json *status = json_new_object();
	int64_t replicas = 0, ready = 0, available = 0, missing;

	for (size_t i = 0; i < r->sets.n; i++) {
		const struct json *one = tree_status(r->sets.list[i]);

		replicas += count_of(one, "replicas");
		ready += count_of(one, "readyReplicas");
		available += count_of(one, "availableReplicas");
	}
	missing = rollout_total(r) - available;
	json_set_i64(status, "observedGeneration", object_generation(r->deployment));
	tree_set_count(status, "replicas", replicas);
	tree_set_count(status, "updatedReplicas",
		       r->current ? count_of(tree_status(r->current), "replicas") : 0);
	tree_set_count(status, "readyReplicas", ready);
	tree_set_count(status, "availableReplicas", available);
	tree_set_count(status, "unavailableReplicas", missing > 0 ? missing : 0);
	return status;
}

bool rollout_complete(const struct rollout *r, const struct json *status)
{
	return count_of(status, "updatedReplicas") == r->replicas &&
	       count_of(status, "replicas") == r->replicas &&
	       count_of(status, "availableReplicas") == r->replicas;
}

static bool has_progressed(const struct json *now, const struct json *was)
{
	int64_t updated = count_of(now, "updatedReplicas"),
		updated_was = count_of(was, "updatedReplicas");

	return updated > updated_was ||
	       count_of(now, "replicas") - updated < count_of(was, "replicas") - updated_was ||
	       count_of(now, "readyReplicas") > count_of(was, "readyReplicas") ||
	       count_of(now, "availableReplicas") > count_of(was, "availableReplicas");
}

/* How long until the deadline; below 0: it is past. INT64_MAX: nothing runs out. */
static int64_t seconds_left(const struct rollout *r, const struct json *progressing)
{
	const char *reason = json_get_text(progressing, "reason");

	if (!progressing || !rollout_has_deadline(r) || text_eq(reason, "NewReplicaSetAvailable") ||
	    text_eq(reason, "DeploymentPaused"))
		return INT64_MAX;
	if (text_eq(reason, "ProgressDeadlineExceeded"))
		return -1;
	return time_of(json_get_text(progressing, "lastUpdateTime")) +
	       json_get_i64(r->spec, "progressDeadlineSeconds", 600) -
	       controller_now_s(r->work->controller);
}

static void say(const struct rollout *r, struct json *status, const char *value, const char *reason,
		const char *what)
{
	char now[TIME_CHARS];
	auto_free char *message =
		r->current ? mem_printf("ReplicaSet \"%s\" %s", r->current->name, what)
			   : mem_printf("Deployment \"%s\" %s", r->deployment->name, what);

	condition_set(status, tree_status(r->deployment), "Progressing", value, reason, message,
		      controller_now(r->work->controller, now));
}

/* The clock of the deadline begins anew. */
static void touch(const struct rollout *r, struct json *status)
{
	struct json *list = json_get(status, "conditions");
	char now[TIME_CHARS];

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "type"), "Progressing"))
			json_set_text(json_at(list, i), "lastUpdateTime",
				      controller_now(r->work->controller, now));
}

static void set_progressing(const struct rollout *r, struct json *status)
{
	const struct json *was = tree_status(r->deployment);
	const struct json *have = condition_of(was, "Progressing");
	bool was_complete = text_eq(json_get_text(have, "reason"), "NewReplicaSetAvailable") &&
			    count_of(status, "replicas") == count_of(status, "updatedReplicas");

	if (!rollout_has_deadline(r)) {
		if (have)
			condition_remove(status, was, "Progressing");
		return;
	}
	if (was_complete || r->paused)
		return;
	if (rollout_complete(r, status)) {
		say(r, status, "True", "NewReplicaSetAvailable", "has successfully progressed.");
	} else if (has_progressed(status, was)) {
		say(r, status, "True", "ReplicaSetUpdated", "is progressing.");
		touch(r, status);
	} else if (seconds_left(r, have) < 0) {
		say(r, status, "False", "ProgressDeadlineExceeded", "has timed out progressing.");
	}
}

static void set_available_condition(const struct rollout *r, struct json *status)
{
	bool is = count_of(status, "availableReplicas") >= r->replicas - r->unavailable;
	char now[TIME_CHARS];

	condition_set(status, tree_status(r->deployment), "Available", is ? "True" : "False",
		      is ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
		      is ? "Deployment has minimum availability."
			 : "Deployment does not have minimum availability.",
		      controller_now(r->work->controller, now));
}

/* What keeps a set from making pods is told of the deployment, today's set first. */
static void set_failure(const struct rollout *r, struct json *status)
{
	const struct json *was = tree_status(r->deployment), *failure = NULL;
	char now[TIME_CHARS];

	if (r->current)
		failure = condition_of(tree_status(r->current), "ReplicaFailure");
	for (size_t i = 0; i < r->sets.n && !failure; i++)
		failure = condition_of(tree_status(r->sets.list[i]), "ReplicaFailure");
	if (failure)
		condition_set(status, was, "ReplicaFailure", json_get_text(failure, "status"),
			      json_get_text(failure, "reason"), json_get_text(failure, "message"),
			      controller_now(r->work->controller, now));
	else if (condition_of(was, "ReplicaFailure"))
		condition_remove(status, was, "ReplicaFailure");
}

void rollout_status(struct rollout *r)
{
	struct json *status = rollout_counts(r);
	int64_t left;

	set_available_condition(r, status);
	if (!r->deployment->deleting) {
		set_progressing(r, status);
		set_failure(r, status);
	}
	left = seconds_left(r, condition_of(status, "Progressing"));
	if (left >= 0 && left != INT64_MAX && !r->paused)
		r->work->again_ms = (left + 1) * 1000;
	work_status(r->work, r->deployment, status);
}
