/*
 * Cron jobs: jobs by the clock. A look finds the latest moment of the schedule that has passed and
 * makes its job, whose name follows from the moment, so that none is made twice; then it sleeps
 * until the next.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/controllers_priv.h"
#include "cluster/controllers/schedule.h"
#include "cluster/controllers/zone.h"
#include "ground/base/mem.h"
#include "ground/base/rfc3339.h"

#define SCHEDULED_AT "batch.kubernetes.io/cronjob-scheduled-timestamp"

struct cron {
	struct work *work;
	const struct object *object;
	const struct json *spec, *was;
	struct owned jobs;
	struct schedule schedule;
	struct zone *zone;
	int64_t now_s;
};

static struct informer *crons(const struct controller *c)
{
	return controller_view(c, "batch", "cronjobs");
}

static void on_job(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	const struct object *job = now ? now : before;

	if (text_eq(job->owner_kind, "CronJob"))
		controller_on_dependent(c, crons(c), "CronJob", now, before);
}

static void begin(struct controller *c)
{
	informer_on(crons(c), controller_on_self, c);
	informer_on(controller_view(c, "batch", "jobs"), on_job, c);
}

/* "Complete" or "Failed"; NULL: it goes on. */
static const char *end_of(const struct object *job)
{
	static const char *const ends[] = {"Complete", "Failed"};

	for (size_t i = 0; i < array_len(ends); i++)
		if (text_eq(json_get_text(condition_of(tree_status(job), ends[i]), "status"),
			    "True"))
			return ends[i];
	return NULL;
}

/* -- status ------------------------------------------------------------------------------------ */

static struct json *reference(const struct object *job)
{
	struct json *ref = json_new_object();
	auto_free char *revision = mem_printf("%llu", (unsigned long long)job->revision);

	json_set_text(ref, "kind", "Job");
	json_set_text(ref, "namespace", job->namespace);
	json_set_text(ref, "name", job->name);
	json_set_text(ref, "uid", job->uid);
	json_set_text(ref, "apiVersion", "batch/v1");
	json_set_text(ref, "resourceVersion", revision);
	return ref;
}

static const struct json *active_of(const struct json *status, const char *uid)
{
	const struct json *list = json_get(status, "active");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "uid"), uid))
			return json_at(list, i);
	return NULL;
}

static const char *later(const char *a, const char *b)
{
	if (!a || !b)
		return a ? a : b;
	return strcmp(a, b) >= 0 ? a : b;
}

static void tell_status(struct work *w)
{
	const struct object *o = informer_get(crons(w->controller), w->namespace, w->name);
	const char *last, *success;
	auto_owned struct owned jobs = {0};
	struct json *status, *active;

	if (!o) {
		work_end(w);
		return;
	}
	owned_claim(NULL, o, controller_view(w->controller, "batch", "jobs"), NULL, &jobs);
	status = json_new_object();
	active = json_new_array();
	last = json_get_text(tree_status(o), "lastScheduleTime");
	success = json_get_text(tree_status(o), "lastSuccessfulTime");
	for (size_t i = 0; i < jobs.n; i++) {
		const struct object *job = jobs.list[i];
		const struct json *have = active_of(tree_status(o), job->uid);

		last = later(last, tree_annotation(job, SCHEDULED_AT));
		if (text_eq(end_of(job), "Complete"))
			success = later(success, json_get_text(tree_status(job), "completionTime"));
		if (end_of(job) && have)
			work_event(w->controller, o, "Normal", "SawCompletedJob",
				   "Saw completed job: %s, condition: %s", job->name, end_of(job));
		if (!end_of(job))
			json_append(active, have ? json_copy(have) : reference(job));
	}
	if (json_len(active) == 0)
		active = json_free(active);
	json_set(status, "active", active);
	if (last)
		json_set_text(status, "lastScheduleTime", last);
	if (success)
		json_set_text(status, "lastSuccessfulTime", success);
	work_status(w, o, status);
	work_end(w);
}

/* -- history ----------------------------------------------------------------------------------- */

static int by_age(const void *x, const void *y)
{
	const struct object *const *a = x, *const *b = y;
	int64_t age = tree_created_s(*a) - tree_created_s(*b);

	return age < 0 ? -1 : age > 0 ? 1 : strcmp((*a)->name, (*b)->name);
}

static void keep(struct cron *c, const char *end, int64_t most)
{
	int64_t n = 0;

	for (size_t i = 0; i < c->jobs.n; i++)
		n += text_eq(end_of(c->jobs.list[i]), end);
	for (size_t i = 0; i < c->jobs.n && n > most; i++) {
		if (!text_eq(end_of(c->jobs.list[i]), end))
			continue;
		n--;
		if (c->jobs.list[i]->deleting)
			continue;
		work_event(c->work->controller, c->object, "Normal", "SuccessfulDelete",
			   "Deleted job %s", c->jobs.list[i]->name);
		work_delete(c->work, c->jobs.list[i]);
	}
}

/* -- a job in time ----------------------------------------------------------------------------- */

/* The latest moment in (from, now]; 0: none. Short spans first: most looks are not late. */
static int64_t latest(const struct cron *c, int64_t from)
{
	static const int64_t spans[] = {7200, 172800, 5270400, 63244800};
	int64_t at = 0, found = 0;

	for (size_t i = 0; i <= array_len(spans) && !found; i++) {
		int64_t since = i < array_len(spans) ? c->now_s - spans[i] : from;

		if (since < from)
			since = from;
		if (c->schedule.every_s && since > from) /* counted from where it began */
			since -= (since - from) % c->schedule.every_s;
		at = since;
		while ((at = schedule_next(&c->schedule, c->zone, at)) != 0 && at <= c->now_s)
			found = at;
		if (since == from)
			break;
	}
	return found;
}

static int64_t begun_s(const struct cron *c)
{
	int64_t last = time_of(json_get_text(c->was, "lastScheduleTime"));
	int64_t deadline = json_get_i64(c->spec, "startingDeadlineSeconds", -1);
	int64_t from = last ? last : tree_created_s(c->object);

	for (size_t i = 0; i < c->jobs.n; i++) {
		int64_t at = time_of(tree_annotation(c->jobs.list[i], SCHEDULED_AT));

		from = at > from ? at : from;
	}
	if (deadline >= 0 && c->now_s - deadline > from && !c->schedule.every_s)
		from = c->now_s - deadline;
	return from;
}

static void make_job(struct cron *c, int64_t at)
{
	const struct json *template = json_get(c->spec, "jobTemplate");
	const struct json *from = json_get(template, "metadata");
	struct json *job = json_new_object(), *meta = json_make_object(job, "metadata");
	struct json *owners = json_new_array();
	auto_free char *name = mem_printf("%s-%lld", c->object->name, (long long)(at / 60));
	char text[RFC3339_CHARS + 1];

	json_set_text(meta, "name", name);
	if (json_get(from, "labels"))
		json_set(meta, "labels", json_copy(json_get(from, "labels")));
	if (json_get(from, "annotations"))
		json_set(meta, "annotations", json_copy(json_get(from, "annotations")));
	json_set_text(json_make_object(meta, "annotations"), SCHEDULED_AT,
		      rfc3339_text((at - at % 60) * 1000000000, text));
	json_append(owners, owner_reference(c->object));
	json_set(meta, "ownerReferences", owners);
	json_set(job, "spec", json_copy(json_get(template, "spec")));
	work_event(c->work->controller, c->object, "Normal", "SuccessfulCreate", "Created job %s",
		   name);
	work_create(c->work, view_kind("batch", "jobs"), c->object->namespace, job);
}

/* Whether a new job may begin beside those that go on. */
static bool makes_room(struct cron *c)
{
	const char *policy = json_get_text(c->spec, "concurrencyPolicy");
	size_t active = 0;

	for (size_t i = 0; i < c->jobs.n; i++) {
		if (end_of(c->jobs.list[i]))
			continue;
		active++;
		if (text_eq(policy, "Replace") && !c->jobs.list[i]->deleting) {
			work_event(c->work->controller, c->object, "Normal", "SuccessfulDelete",
				   "Deleted job %s", c->jobs.list[i]->name);
			work_delete(c->work, c->jobs.list[i]);
		}
	}
	if (active == 0 || !text_eq(policy, "Forbid"))
		return true;
	work_event(c->work->controller, c->object, "Normal", "JobAlreadyActive",
		   "Not starting job because prior execution is running and concurrency policy is "
		   "Forbid");
	return false;
}

static void start(struct cron *c)
{
	int64_t from = begun_s(c), at = latest(c, from);
	int64_t next = schedule_next(&c->schedule, c->zone,
				     c->schedule.every_s ? (at ? at : from) : c->now_s);

	if (next > c->now_s)
		c->work->again_ms = (next - c->now_s) * 1000 + 100;
	if (at && makes_room(c))
		make_job(c, at);
}

static bool read_schedule(struct cron *c)
{
	const char *zone = json_get_text(c->spec, "timeZone");
	const char *text = json_get_text(c->spec, "schedule");
	struct err e;

	if (schedule_parse(text ? text : "", &c->schedule, &e) < 0) {
		work_event(c->work->controller, c->object, "Warning", "UnparseableSchedule",
			   "unparseable schedule: \"%s\" : %s", text ? text : "", e.text);
		return false;
	}
	if (zone && zone[0] && timezone_open(zone, &c->zone, &e) < 0) {
		work_event(c->work->controller, c->object, "Warning", "UnknownTimeZone",
			   "invalid timeZone: \"%s\"", zone);
		return false;
	}
	return true;
}

static void look(struct work *w)
{
	const struct object *o = informer_get(crons(w->controller), w->namespace, w->name);
	struct cron c = {.work = w, .object = o};

	if (!o) {
		work_end(w);
		return;
	}
	w->then = tell_status;
	c.spec = tree_spec(o);
	c.was = tree_status(o);
	c.now_s = controller_now_s(w->controller);
	owned_claim(NULL, o, controller_view(w->controller, "batch", "jobs"), NULL, &c.jobs);
	if (c.jobs.n)
		qsort(c.jobs.list, c.jobs.n, sizeof(struct object *), by_age);
	keep(&c, "Complete", json_get_i64(c.spec, "successfulJobsHistoryLimit", 3));
	keep(&c, "Failed", json_get_i64(c.spec, "failedJobsHistoryLimit", 1));
	if (!o->deleting && !json_get_bool(c.spec, "suspend", false) && read_schedule(&c))
		start(&c);
	owned_done(&c.jobs);
	c.zone = timezone_free(c.zone);
	work_end(w);
}

const struct controller_row cronjob_row = {"cronjob", begin, look, NULL};
