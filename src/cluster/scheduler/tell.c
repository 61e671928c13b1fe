/*
 * What pods and people are told: conditions of pods, and events about them.
 */
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"
#include "ground/base/rfc3339.h"

static void patch_status(struct scheduler *s, const struct object *pod, struct json *status)
{
	struct json *patch = json_new_object();

	json_set(patch, "status", status);
	client_patch(&s->client,
		     &(struct client_target){pod->kind, pod->namespace, pod->name, "status"},
		     PATCH_STRATEGIC, patch, NULL, NULL, NULL);
}

/* One condition as a status of its own, to be merged. */
static struct json *condition(struct scheduler *s, const char *type, const char *value,
			      const char *reason, const char *message)
{
	struct json *status = json_new_object(), *c = json_new_object();
	char now[RFC3339_CHARS + 1];

	json_set_text(c, "type", type);
	json_set_text(c, "status", value);
	json_set_text(c, "reason", reason);
	json_set_text(c, "message", message);
	json_set_text(c, "lastTransitionTime", rfc3339_seconds(world_now_ns(s->world), now));
	json_append(json_make_array(status, "conditions"), c);
	return status;
}

static const struct json *told(const struct object *pod)
{
	return json_find(json_get(json_get(object_tree(pod), "status"), "conditions"), "type",
			 "PodScheduled");
}

/* The same sentence is not written twice; as an event it counts its repeats. */
void tell_unfit(struct scheduler *s, const struct object *pod, const char *why)
{
	if (!text_eq(json_get_text(told(pod), "message"), why))
		patch_status(s, pod, condition(s, "PodScheduled", "False", "Unschedulable", why));
	recorder_tell_of(&s->recorder, pod, "Warning", "FailedScheduling", "%s", why);
}

void tell_gated(struct scheduler *s, const struct object *pod)
{
	if (!text_eq(json_get_text(told(pod), "reason"), "SchedulingGated"))
		patch_status(s, pod,
			     condition(s, "PodScheduled", "False", "SchedulingGated",
				       "Scheduling is blocked due to non-empty scheduling gates"));
}

void tell_nominated(struct scheduler *s, const struct object *pod, const char *node)
{
	struct json *status = json_new_object();

	json_set_text(status, "nominatedNodeName", node);
	patch_status(s, pod, status);
}

void tell_preempted(struct scheduler *s, const struct object *victim, const struct object *by,
		    const char *node)
{
	patch_status(s, victim,
		     condition(s, "DisruptionTarget", "True", "PreemptionByScheduler",
			       "default-scheduler: preempting to accommodate a higher priority "
			       "pod"));
	client_delete(&s->client,
		      &(struct client_target){victim->kind, victim->namespace, victim->name},
		      &(struct delete_options){.grace_s = -1, .uid = victim->uid}, NULL, NULL);
	recorder_tell_of(&s->recorder, victim, "Normal", "Preempted",
			 "Preempted by pod %s on node %s", by->uid, node);
}
