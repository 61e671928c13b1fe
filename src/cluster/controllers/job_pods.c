/*
 * The pods of a job: as many at a time as parallelism and what is left to do allow, each with a
 * number of its own where the job is indexed. After failures new ones wait, longer each time.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/job_priv.h"
#include "ground/base/mem.h"

#define BURST_MAX     500
#define BACKOFF_S     10
#define BACKOFF_MAX_S 600

/* -- deleting ---------------------------------------------------------------------------------- */

/* What the controller itself deletes is no failure: it is not tracked any more. */
static void delete_pod(struct job *j, const struct object *pod, bool keep_finalizer)
{
	if (!keep_finalizer && pod_of(j->work->controller, pod)->tracked)
		job_drop_finalizer(j->work, pod);
	work_event(j->work->controller, j->object, "Normal", "SuccessfulDelete", "Deleted pod: %s",
		   pod->name);
	work_delete(j->work, pod);
}

void job_delete_active(struct job *j, bool keep_finalizer)
{
	for (size_t i = 0; i < j->pods.n; i++)
		if (pod_is_active(j->pods.list[i]))
			delete_pod(j, j->pods.list[i], keep_finalizer);
}

/* Not ready before ready, young before old. */
static int by_worth(const void *x, const void *y)
{
	const struct object *const *a = x, *const *b = y;
	int ready = pod_is_ready(object_tree(*a)) - pod_is_ready(object_tree(*b));
	int64_t age = tree_created_s(*b) - tree_created_s(*a);

	if (ready)
		return ready;
	return age < 0 ? -1 : age > 0 ? 1 : strcmp((*a)->uid, (*b)->uid);
}

static void delete_some(struct job *j, int64_t n)
{
	const struct object **list = mem_new_array(const struct object *, j->pods.n + 1);
	size_t active = 0;

	for (size_t i = 0; i < j->pods.n; i++)
		if (pod_is_active(j->pods.list[i]))
			list[active++] = j->pods.list[i];
	qsort(list, active, sizeof(*list), by_worth);
	for (size_t i = 0; i < active && (int64_t)i < n; i++)
		delete_pod(j, list[i], false);
	free(list);
}

/* -- making ------------------------------------------------------------------------------------ */

static int64_t ended_s(const struct object *pod)
{
	const struct json *status = tree_status(pod), *list = json_get(status, "containerStatuses");
	int64_t last = 0;

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *end =
			json_get(json_get(json_at(list, i), "state"), "terminated");
		int64_t at = time_of(json_get_text(end, "finishedAt"));

		last = at > last ? at : last;
	}
	if (!last)
		last = time_of(json_get_text(condition_of(status, "Ready"), "lastTransitionTime"));
	return last ? last : tree_created_s(pod);
}

/* Seconds until the next pod may be made: doubled by each failure since the last success. */
static int64_t wait_s(const struct job *j)
{
	int64_t success = 0, failure = 0, failures = 0, delay = BACKOFF_S;

	for (size_t i = 0; i < j->pods.n; i++)
		if (text_eq(object_value(j->pods.list[i], "status.phase"), "Succeeded") &&
		    ended_s(j->pods.list[i]) > success)
			success = ended_s(j->pods.list[i]);
	for (size_t i = 0; i < j->pods.n; i++) {
		int64_t at = ended_s(j->pods.list[i]);

		if (!text_eq(object_value(j->pods.list[i], "status.phase"), "Failed") ||
		    at < success)
			continue;
		failures++;
		failure = at > failure ? at : failure;
	}
	if (failures == 0)
		return 0;
	for (int64_t i = 1; i < failures && delay < BACKOFF_MAX_S; i++)
		delay *= 2;
	delay = delay < BACKOFF_MAX_S ? delay : BACKOFF_MAX_S;
	return failure + delay - controller_now_s(j->work->controller);
}

static void created(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	const struct object *job = informer_get(controller_view(w->controller, "batch", "jobs"),
						w->namespace, w->name);

	if (job && o->error)
		work_event(w->controller, job, "Warning", "FailedCreate", "Error creating: %s",
			   o->error->text);
	else if (job && o->object)
		work_event(w->controller, job, "Normal", "SuccessfulCreate", "Created pod: %s",
			   o->object->name);
	work_called(w, o);
}

static void add_index_variable(struct json *spec)
{
	static const char *const lists[] = {"containers", "initContainers"};

	for (size_t l = 0; l < array_len(lists); l++) {
		const struct json *list = json_get(spec, lists[l]);

		for (size_t i = 0; i < json_len(list); i++) {
			struct json *one = json_at(list, i), *var = json_new_object(), *ref;

			if (!json_get(one, "env"))
				json_set(one, "env", json_new_array());
			json_set_text(var, "name", "JOB_COMPLETION_INDEX");
			ref = json_make_object(json_make_object(var, "valueFrom"), "fieldRef");
			json_set_text(ref, "apiVersion", "v1");
			json_set_text(ref, "fieldPath",
				      "metadata.annotations['" POD_JOB_INDEX "']");
			json_append(json_get(one, "env"), var);
		}
	}
}

static void set_index(const struct job *j, struct json *pod, int64_t index)
{
	struct json *meta = json_get(pod, "metadata"), *spec = json_get(pod, "spec");
	auto_free char *number = mem_printf("%lld", (long long)index);
	auto_free char *host = mem_printf("%s-%lld", j->object->name, (long long)index);
	auto_free char *prefix = mem_printf("%s-", host);

	json_set_text(meta, "generateName", prefix);
	json_set_text(json_make_object(meta, "annotations"), POD_JOB_INDEX, number);
	json_set_text(json_make_object(meta, "labels"), POD_JOB_INDEX, number);
	json_set_text(spec, "hostname", host);
	add_index_variable(spec);
}

static void make_pod(struct job *j, int64_t index)
{
	auto_free char *prefix = mem_printf("%s-", j->object->name);
	struct json *pod = pod_of_template(json_get(j->spec, "template"), prefix, j->object);
	struct json *meta = json_get(pod, "metadata"), *list = json_new_array();

	json_append(list, json_new_text(POD_JOB_FINALIZER));
	json_set(meta, "finalizers", list);
	if (index >= 0)
		set_index(j, pod, index);
	work_call(j->work);
	client_create(&j->work->controller->client,
		      &(struct client_target){view_kind("", "pods"), j->object->namespace}, pod,
		      NULL, created, j->work);
}

/* The lowest numbers that are neither done nor being worked on. */
static void make_indexed(struct job *j, int64_t n)
{
	bool *taken = mem_new_array(bool, (size_t)j->completions + 1);

	for (size_t i = 0; i < j->pods.n; i++) {
		int64_t index = pod_of(j->work->controller, j->pods.list[i])->job_index;
		bool holds = pod_is_active(j->pods.list[i]) ||
			     (j->replaces_ended_only && j->pods.list[i]->deleting);

		if (holds && index >= 0 && index < j->completions)
			taken[index] = true;
	}
	for (int64_t i = 0; i < j->completions && n > 0; i++)
		if (!taken[i] && !j->done[i]) {
			make_pod(j, i);
			n--;
		}
	free(taken);
}

static int64_t wanted(const struct job *j)
{
	int64_t left;

	if (j->completions < 0)
		return job_succeeded(j) > 0 ? j->active : j->parallelism;
	left = j->completions - job_succeeded(j);
	left = left > 0 ? left : 0;
	return left < j->parallelism ? left : j->parallelism;
}

void job_scale(struct job *j)
{
	int64_t want = wanted(j), missing = want - j->active, wait;

	if (missing < 0) {
		delete_some(j, -missing);
		return;
	}
	if (j->replaces_ended_only)
		missing -= j->terminating;
	if (missing <= 0)
		return;
	wait = wait_s(j);
	if (wait > 0) {
		if (!j->work->again_ms || wait * 1000 < j->work->again_ms)
			j->work->again_ms = wait * 1000;
		return;
	}
	missing = missing < BURST_MAX ? missing : BURST_MAX;
	if (j->indexed)
		make_indexed(j, missing);
	else
		for (int64_t i = 0; i < missing; i++)
			make_pod(j, -1);
}
