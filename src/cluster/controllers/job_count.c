/* Counting the pods of a job, each ended one once: see job_priv.h. */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/job_priv.h"
#include "ground/base/mem.h"

static bool has_phase(const struct object *pod, const char *phase)
{
	return text_eq(object_value(pod, "status.phase"), phase);
}

bool job_pod_failed(const struct job *j, const struct object *pod)
{
	if (has_phase(pod, "Failed"))
		return true;
	return !j->replaces_ended_only && pod->deleting && !has_phase(pod, "Succeeded");
}

static const struct object *tracked(const struct job *j, const char *uid)
{
	for (size_t i = 0; i < j->pods.n; i++)
		if (text_eq(j->pods.list[i]->uid, uid))
			return pod_of(j->work->controller, j->pods.list[i])->tracked
				       ? j->pods.list[i]
				       : NULL;
	return NULL;
}

/* Those whose finalizer is gone are added to the sum; the others stay. */
static struct json *fold(const struct job *j, const char *key, int64_t *sum)
{
	const struct json *list = json_get(json_get(j->was, "uncountedTerminatedPods"), key);
	struct json *left = json_new_array();

	for (size_t i = 0; i < json_len(list); i++) {
		if (tracked(j, json_text(json_at(list, i))))
			json_append(left, json_ref(json_at(list, i)));
		else
			++*sum;
	}
	return left;
}

static void count_success(struct job *j, const struct object *pod)
{
	int64_t index = pod_of(j->work->controller, pod)->job_index;

	if (j->indexed && index >= 0 && index < j->completions)
		j->done[index] = true;
	else if (!j->indexed && !json_lists(j->new_succeeded, pod->uid))
		json_append(j->new_succeeded, json_new_text(pod->uid));
}

static void count_failure(struct job *j, const struct object *pod)
{
	auto_free char *message = NULL;
	enum job_action action = job_policy(j, pod, &message);

	if (action == JOB_FAIL && !j->reason) {
		j->reason = "PodFailurePolicy";
		j->message = take(message);
	}
	if (action != JOB_IGNORE && !json_lists(j->new_failed, pod->uid))
		json_append(j->new_failed, json_new_text(pod->uid));
}

void job_count(struct job *j)
{
	j->succeeded = json_get_i64(j->was, "succeeded", 0);
	j->failed = json_get_i64(j->was, "failed", 0);
	j->new_succeeded = fold(j, "succeeded", &j->succeeded);
	j->new_failed = fold(j, "failed", &j->failed);
	if (j->indexed)
		job_indexes_read(json_get_text(j->was, "completedIndexes"), j->done,
				 j->completions);
	for (size_t i = 0; i < j->pods.n; i++) {
		const struct object *pod = j->pods.list[i];

		if (pod_is_active(pod)) {
			j->active++;
			j->ready += pod_of(j->work->controller, pod)->ready;
		} else if (pod->deleting && !has_phase(pod, "Succeeded") &&
			   !has_phase(pod, "Failed")) {
			j->terminating++;
		}
		if (!pod_of(j->work->controller, pod)->tracked)
			continue;
		if (has_phase(pod, "Succeeded"))
			count_success(j, pod);
		else if (job_pod_failed(j, pod))
			count_failure(j, pod);
	}
	for (int64_t i = 0, n = 0; j->indexed && i < j->completions; i++) {
		n += j->done[i];
		j->succeeded = n;
	}
}

int64_t job_succeeded(const struct job *j)
{
	return j->succeeded + (int64_t)json_len(j->new_succeeded);
}

int64_t job_failed(const struct job *j)
{
	return j->failed + (int64_t)json_len(j->new_failed);
}

void job_drop_finalizer(struct work *w, const struct object *pod)
{
	const struct json *have = json_get(json_get(object_tree(pod), "metadata"), "finalizers");
	struct json *patch = json_new_object(), *left = json_new_array();

	for (size_t i = 0; i < json_len(have); i++)
		if (!text_eq(json_text(json_at(have, i)), POD_JOB_FINALIZER))
			json_append(left, json_ref(json_at(have, i)));
	json_set_text(json_make_object(patch, "metadata"), "uid", pod->uid);
	json_set(json_make_object(patch, "metadata"), "finalizers", tree_list(left));
	work_patch(w, pod, NULL, patch);
}

static bool is_recorded(const struct job *j, const struct object *pod)
{
	const struct json *uncounted = json_get(j->was, "uncountedTerminatedPods");
	int64_t index = pod_of(j->work->controller, pod)->job_index;
	auto_free char *message = NULL;

	if (json_lists(json_get(uncounted, "succeeded"), pod->uid) ||
	    json_lists(json_get(uncounted, "failed"), pod->uid))
		return true;
	if (has_phase(pod, "Succeeded"))
		return j->indexed && (index < 0 || index >= j->completions || j->done[index]);
	return job_pod_failed(j, pod) && job_policy(j, pod, &message) == JOB_IGNORE;
}

void job_drop_finalizers(const struct job *j, bool all)
{
	if (j->indexed && !all)
		job_indexes_read(json_get_text(j->was, "completedIndexes"), j->done,
				 j->completions);
	for (size_t i = 0; i < j->pods.n; i++)
		if (pod_of(j->work->controller, j->pods.list[i])->tracked &&
		    (all || is_recorded(j, j->pods.list[i])))
			job_drop_finalizer(j->work, j->pods.list[i]);
}
