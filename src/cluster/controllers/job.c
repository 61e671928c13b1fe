/*
 * Jobs: pods that run until enough of them have succeeded, or too many have failed, or the time is
 * over. A look counts what has ended, writes that down, then takes the finalizers of what is
 * written; when a job's fate is known its pods are ended first, and told after they are counted.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/job_priv.h"
#include "ground/base/mem.h"

static struct informer *jobs(const struct controller *c)
{
	return controller_view(c, "batch", "jobs");
}

/* Also pods of jobs that are gone: nobody else takes their finalizer. */
static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	const char *job = now ? object_label(now, JOB_NAME_LABEL) : NULL;

	controller_on_dependent(c, jobs(c), "Job", now, before);
	if (job && now->deleting) {
		auto_free char *key = mem_printf("%s/%s", now->namespace, job);

		workqueue_add(c->queue, key);
	}
}

static void begin(struct controller *c)
{
	informer_on(jobs(c), controller_on_self, c);
	informer_on(controller_view(c, "", "pods"), on_pod, c);
}

/* -- a look ------------------------------------------------------------------------------------ */

static bool job_look(struct job *j, struct work *w, bool claim)
{
	const struct object *o = informer_get(jobs(w->controller), w->namespace, w->name);
	auto_arena struct arena a = {0};
	struct selector s = {0};

	*j = (struct job){.work = w};
	if (!o || selector_of_object(o, &a, &s) < 0 || s.n == 0)
		return false;
	j->object = object_ref(o);
	j->spec = tree_spec(o);
	j->was = tree_status(o);
	owned_claim(claim ? w : NULL, o, controller_view(w->controller, "", "pods"), &s, &j->pods);
	j->completions = json_get_i64(j->spec, "completions", -1);
	j->parallelism = json_get_i64(j->spec, "parallelism", 1);
	j->suspended = json_get_bool(j->spec, "suspend", false);
	j->replaces_ended_only =
		text_eq(json_get_text(j->spec, "podReplacementPolicy"), "Failed") ||
		json_get(j->spec, "podFailurePolicy") != NULL;
	j->indexed = text_eq(json_get_text(j->spec, "completionMode"), "Indexed") &&
		     j->completions >= 0 && j->completions <= JOB_COMPLETIONS_MAX;
	if (j->indexed)
		j->done = mem_new_array(bool, (size_t)j->completions + 1);
	return true;
}

static void job_looked(struct job *j)
{
	owned_done(&j->pods);
	(void)object_unref(j->object);
	(void)json_free(j->new_succeeded);
	(void)json_free(j->new_failed);
	free(j->message);
	free(j->done);
}

static bool is_true(const struct json *status, const char *type)
{
	return text_eq(json_get_text(condition_of(status, type), "status"), "True");
}

/* -- its fate ---------------------------------------------------------------------------------- */

static int64_t restarts(const struct job *j)
{
	int64_t n = 0;

	for (size_t i = 0; i < j->pods.n; i++) {
		const struct json *list =
			json_get(tree_status(j->pods.list[i]), "containerStatuses");

		for (size_t k = 0; pod_is_active(j->pods.list[i]) && k < json_len(list); k++)
			n += json_get_i64(json_at(list, k), "restartCount", 0);
	}
	return n;
}

static void fail(struct job *j, const char *reason, const char *message)
{
	if (j->reason)
		return;
	j->reason = reason;
	j->message = mem_dup_text(message);
}

static void judge(struct job *j)
{
	const struct json *told = condition_of(j->was, "FailureTarget");
	const struct json *pod = json_get(json_get(j->spec, "template"), "spec");
	int64_t limit = json_get_i64(j->spec, "backoffLimit", 6), again = restarts(j), left;
	int64_t deadline = json_get_i64(j->spec, "activeDeadlineSeconds", -1);
	int64_t begun = time_of(json_get_text(j->was, "startTime"));

	if (told)
		fail(j, json_get_text(told, "reason"), json_get_text(told, "message"));
	if (job_failed(j) > limit)
		fail(j, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
	if (text_eq(json_get_text(pod, "restartPolicy"), "OnFailure") &&
	    (limit == 0 ? again > 0 : again >= limit))
		fail(j, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
	if (deadline < 0 || !begun || j->suspended)
		return;
	left = begun + deadline - controller_now_s(j->work->controller);
	if (left <= 0)
		fail(j, "DeadlineExceeded", "Job was active longer than specified deadline");
	else if (!j->work->again_ms || left * 1000 < j->work->again_ms)
		j->work->again_ms = left * 1000;
}

static bool has_succeeded(const struct job *j)
{
	if (j->reason)
		return false;
	if (is_true(j->was, "SuccessCriteriaMet"))
		return true;
	if (j->completions < 0)
		return job_succeeded(j) > 0 && j->active == 0;
	return job_succeeded(j) >= j->completions;
}

/* Everything that ended is in the sums, and nothing runs any more. */
static bool is_settled(const struct job *j)
{
	return j->active == 0 && json_len(j->new_succeeded) + json_len(j->new_failed) == 0;
}

static void set(const struct job *j, struct json *status, const char *type, const char *value,
		const char *reason, const char *message)
{
	char now[TIME_CHARS];

	condition_set(status, j->was, type, value, reason, message,
		      controller_now(j->work->controller, now));
}

static void tell_failure(struct job *j, struct json *status)
{
	set(j, status, "FailureTarget", "True", j->reason, j->message);
	if (!is_settled(j))
		return;
	set(j, status, "Failed", "True", j->reason, j->message);
	work_event(j->work->controller, j->object, "Warning", j->reason, "%s", j->message);
}

static void tell_success(struct job *j, struct json *status)
{
	static const char reason[] = "CompletionsReached";
	static const char message[] = "Reached expected number of succeeded pods";
	char now[TIME_CHARS];

	set(j, status, "SuccessCriteriaMet", "True", reason, message);
	if (!is_settled(j))
		return;
	set(j, status, "Complete", "True", reason, message);
	json_set_text(status, "completionTime", controller_now(j->work->controller, now));
	work_event(j->work->controller, j->object, "Normal", "Completed", "Job completed");
}

static void tell_suspension(struct job *j, struct json *status)
{
	bool was = is_true(j->was, "Suspended");
	char now[TIME_CHARS];

	if (j->suspended && !was) {
		set(j, status, "Suspended", "True", "JobSuspended", "Job suspended");
		json_set(status, "startTime", NULL);
		work_event(j->work->controller, j->object, "Normal", "Suspended", "Job suspended");
	} else if (!j->suspended && was) {
		set(j, status, "Suspended", "False", "JobResumed", "Job resumed");
		work_event(j->work->controller, j->object, "Normal", "Resumed", "Job resumed");
	}
	if (!j->suspended && (was || !json_get(j->was, "startTime")))
		json_set_text(status, "startTime", controller_now(j->work->controller, now));
}

static struct json *status_of(struct job *j, bool success)
{
	struct json *status = json_new_object(), *uncounted;

	tree_set_count(status, "active", j->active);
	json_set_i64(status, "ready", j->ready);
	json_set_i64(status, "terminating", j->terminating);
	tree_set_count(status, "succeeded", j->succeeded);
	tree_set_count(status, "failed", j->failed);
	uncounted = json_new_object();
	if (json_len(j->new_succeeded))
		json_set(uncounted, "succeeded", json_ref(j->new_succeeded));
	else if (json_get(json_get(j->was, "uncountedTerminatedPods"), "succeeded"))
		json_set(uncounted, "succeeded", NULL);
	if (json_len(j->new_failed))
		json_set(uncounted, "failed", json_ref(j->new_failed));
	else if (json_get(json_get(j->was, "uncountedTerminatedPods"), "failed"))
		json_set(uncounted, "failed", NULL);
	json_set(status, "uncountedTerminatedPods", uncounted);
	if (j->indexed) {
		auto_free char *text = job_indexes_text(j->done, j->completions);

		json_set(status, "completedIndexes", text[0] ? json_new_text(text) : NULL);
	}
	tell_suspension(j, status);
	if (j->reason)
		tell_failure(j, status);
	else if (success)
		tell_success(j, status);
	return status;
}

/* -- one key ----------------------------------------------------------------------------------- */

/* What the status says now is durable: the pods it speaks of are let go. */
static void let_go(struct work *w)
{
	struct job j;

	if (job_look(&j, w, false)) {
		job_drop_finalizers(&j, is_true(j.was, "Complete") || is_true(j.was, "Failed"));
		job_looked(&j);
	}
	work_end(w);
}

static void expire(struct job *j)
{
	const struct json *end =
		condition_of(j->was, is_true(j->was, "Failed") ? "Failed" : "Complete");
	int64_t life = json_get_i64(j->spec, "ttlSecondsAfterFinished", -1), left;

	job_drop_finalizers(j, true);
	if (life < 0 || j->object->deleting)
		return;
	left = time_of(json_get_text(end, "lastTransitionTime")) + life -
	       controller_now_s(j->work->controller);
	if (left > 0) {
		j->work->again_ms = left * 1000;
		return;
	}
	work_call(j->work);
	client_delete(
		&j->work->controller->client,
		&(struct client_target){j->object->kind, j->object->namespace, j->object->name},
		&(struct delete_options){
			.grace_s = -1, .uid = j->object->uid, .propagation = PROPAGATE_FOREGROUND},
		work_called, j->work);
}

static void act(struct job *j)
{
	bool success;

	job_count(j);
	judge(j);
	success = has_succeeded(j);
	if (j->reason || success)
		job_delete_active(j, j->reason != NULL);
	else if (j->suspended)
		job_delete_active(j, false);
	else
		job_scale(j);
	work_status(j->work, j->object, status_of(j, success));
	j->work->then = let_go;
}

struct left_over {
	struct work *work;
};

static bool let_go_of_lost(void *ctx, const struct object *pod)
{
	struct left_over *l = ctx;

	if (text_eq(object_label(pod, JOB_NAME_LABEL), l->work->name) &&
	    pod_of(l->work->controller, pod)->tracked)
		job_drop_finalizer(l->work, pod);
	return true;
}

static void look(struct work *w)
{
	struct left_over lost = {w};
	struct job j;

	if (!informer_get(jobs(w->controller), w->namespace, w->name)) {
		informer_each(controller_view(w->controller, "", "pods"), w->namespace,
			      let_go_of_lost, &lost);
	} else if (job_look(&j, w, true)) {
		if (is_true(j.was, "Complete") || is_true(j.was, "Failed"))
			expire(&j);
		else if (j.object->deleting)
			job_drop_finalizers(&j, true);
		else
			act(&j);
		job_looked(&j);
	}
	work_end(w);
}

const struct controller_row job_row = {"job", begin, look, NULL};
