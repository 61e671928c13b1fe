/*
 * How many replicas a metric asks for: what the target's pods use now against what is aimed at.
 * Pods that are not ready yet, and those that nobody measured, are counted so that they never make
 * the answer bolder: as idle when it would grow, as fully loaded when it would shrink.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "cluster/controllers/autoscaler_priv.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

#define WARM_S	      300 /* what a young pod burns says nothing about load */
#define FIRST_READY_S 30

/* All figures are in thousandths: of a core, of a byte. */
struct load {
	const struct load_question *q;
	const char *resource, *container; /* container NULL: all of the pod */
	bool percent;			  /* of what the pods ask for */
	int64_t target;			  /* percent, or thousandths for each pod */
	int64_t used, asked;		  /* sums over the measured pods */
	int64_t measured, ready, unready, missing;
	int64_t unready_asked, missing_asked;
};

static bool concerns(const struct load *l, const struct json *container)
{
	return !l->container || text_eq(json_get_text(container, "name"), l->container);
}

static int64_t used_by(const struct load *l, const struct json *sample)
{
	const struct json *list = json_get(sample, "containers");
	bool cpu = text_eq(l->resource, "cpu");
	int64_t sum = 0;

	for (size_t i = 0; i < json_len(list); i++) {
		int64_t n = json_get_i64(json_at(list, i), l->resource, 0);

		if (concerns(l, json_at(list, i)))
			sum += cpu ? (n + 999999) / 1000000 : n * 1000;
	}
	return sum;
}

static int asked_by(const struct load *l, const struct object *pod, int64_t *ret, struct err *e)
{
	const struct json *list = json_get(tree_spec(pod), "containers");

	*ret = 0;
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *c = json_at(list, i);
		const struct json *v =
			json_get(json_get(json_get(c, "resources"), "requests"), l->resource);
		struct quantity n;

		if (!concerns(l, c))
			continue;
		if (!v || quantity_parse(json_str(v), &n, e) < 0)
			return err_set(e, ERR_INVALID,
				       "failed to get %s utilization: missing request for %s in "
				       "container %s of Pod %s",
				       l->resource, l->resource, json_get_text(c, "name"),
				       pod->name);
		*ret += quantity_milli(&n);
	}
	return 0;
}

/* Whether its figures do not count yet. */
static bool is_unready(const struct load *l, const struct object *pod, const struct json *sample)
{
	const struct json *status = tree_status(pod), *ready = condition_of(status, "Ready");
	int64_t started = time_of(json_get_text(status, "startTime"));
	int64_t since = time_of(json_get_text(ready, "lastTransitionTime"));
	bool is = text_eq(json_get_text(ready, "status"), "True");

	if (text_eq(object_value(pod, "status.phase"), "Pending"))
		return true;
	if (!text_eq(l->resource, "cpu"))
		return false;
	if (!ready || !started)
		return true;
	if (started + WARM_S > controller_now_s(l->q->controller))
		return !is || json_get_i64(sample, "time_s", 0) <
				      since + json_get_i64(sample, "window_s", 0);
	return !is && started + FIRST_READY_S > since;
}

static int add_pod(struct load *l, const struct object *pod, struct err *e)
{
	const struct json *sample = sample_of(l->q->sample, pod);
	bool pending = text_eq(object_value(pod, "status.phase"), "Pending");
	int64_t asked = 0;

	if (!pod_is_active(pod))
		return 0;
	if (l->percent && asked_by(l, pod, &asked, e) < 0)
		return -ERR_INVALID;
	if (!pending && json_len(json_get(sample, "containers")) == 0) {
		l->missing++;
		l->missing_asked += asked;
	} else if (is_unready(l, pod, sample)) {
		l->unready++;
		l->unready_asked += asked;
	} else {
		l->ready++;
		l->measured++;
		l->asked += asked;
		l->used += used_by(l, sample);
	}
	return 0;
}

static double ratio_of(const struct load *l)
{
	int64_t now = l->used / l->measured; /* whole ones, as Kubernetes counts */

	if (l->percent)
		now = l->asked ? l->used * 100 / l->asked : 0;
	return (double)now / (double)l->target;
}

/* Counts those without figures of their own; *ret: the ratio with them. */
static void fill_in(struct load *l, double ratio)
{
	int64_t full = l->target > 100 ? l->target : 100;

	if (l->missing && ratio < 1)
		l->used += l->percent ? l->missing_asked * full / 100 : l->missing * l->target;
	if (l->missing && ratio != 1) {
		l->measured += l->missing;
		l->asked += l->missing_asked;
	}
	if (l->unready && ratio > 1) {
		l->measured += l->unready;
		l->asked += l->unready_asked;
	}
}

static bool within(const struct load_question *q, double ratio)
{
	return ratio > 1 ? ratio - 1 <= q->up : 1 - ratio <= q->down;
}

static int64_t replicas_of(struct load *l)
{
	const struct load_question *q = l->q;
	double ratio = ratio_of(l), filled;
	int64_t n;

	if (!(l->unready && ratio > 1) && !l->missing)
		return within(q, ratio) ? q->current : (int64_t)ceil(ratio * (double)l->ready);
	fill_in(l, ratio);
	filled = ratio_of(l);
	if (within(q, filled) || (ratio < 1 && filled > 1) || (ratio > 1 && filled < 1))
		return q->current;
	n = (int64_t)ceil(filled * (double)l->measured);
	return (filled < 1 && n > q->current) || (filled > 1 && n < q->current) ? q->current : n;
}

static void describe(const struct load *l, const char *member, struct load_answer *ret)
{
	struct json *inner, *current;
	struct quantity average = {(__int128)(l->used / l->measured) * 1000000, QUANTITY_DECIMAL};
	char text[QUANTITY_CHARS];

	ret->status = json_new_object();
	json_set_text(ret->status, "type", json_get_text(l->q->metric, "type"));
	inner = json_make_object(ret->status, member);
	json_set_text(inner, "name", l->resource);
	if (l->container)
		json_set_text(inner, "container", l->container);
	current = json_make_object(inner, "current");
	json_set_text(current, "averageValue", quantity_text(&average, text));
	if (l->percent)
		json_set_i64(current, "averageUtilization",
			     l->asked ? l->used * 100 / l->asked : 0);
	(void)snprintf(ret->name, sizeof(ret->name), "%.60s %sresource%s", l->resource,
		       l->container ? "container " : "",
		       l->percent ? " utilization (percentage of request)" : "");
}

static int aim_at(struct load *l, const struct json *target, struct err *e)
{
	struct quantity n;

	l->percent = json_get(target, "averageUtilization") != NULL;
	l->target = json_get_i64(target, "averageUtilization", 0);
	if (!l->percent) {
		if (quantity_parse(json_str(json_get(target, "averageValue")), &n, e) < 0)
			return err_set(e, ERR_INVALID,
				       "invalid resource metric source: neither an average "
				       "utilization target nor an average value (or usage) target "
				       "was set");
		l->target = quantity_milli(&n);
	}
	if (l->target <= 0)
		return err_set(e, ERR_INVALID, "invalid resource metric source: its target is 0");
	return 0;
}

static int weigh(struct load *l, const struct json *target, struct err *e)
{
	if (aim_at(l, target, e) < 0)
		return -ERR_INVALID;
	for (size_t i = 0; i < l->q->pods->n; i++)
		if (add_pod(l, l->q->pods->list[i], e) < 0)
			return -ERR_INVALID;
	if (l->ready + l->unready + l->missing == 0)
		return err_set(e, ERR_NOT_FOUND,
			       "failed to get %s utilization: no pods returned by selector while "
			       "calculating replica count",
			       l->resource);
	if (l->measured == 0 && l->unready == 0)
		return err_set(e, ERR_NOT_FOUND,
			       "failed to get %s utilization: unable to get metrics for resource "
			       "%s: no metrics returned from resource metrics API",
			       l->resource, l->resource);
	if (l->measured == 0)
		return err_set(e, ERR_NOT_FOUND,
			       "failed to get %s utilization: did not receive metrics for targeted "
			       "pods (pods might be unready)",
			       l->resource);
	return 0;
}

void load_ask(const struct load_question *q, struct load_answer *ret)
{
	static const struct {
		const char *type, *member, *bad;
	} rows[] = {
		{"Resource", "resource", "FailedGetResourceMetric"},
		{"ContainerResource", "containerResource", "FailedGetContainerResourceMetric"},
		{"Pods", NULL, "FailedGetPodsMetric"},
		{"Object", NULL, "FailedGetObjectMetric"},
		{"External", NULL, "FailedGetExternalMetric"},
	};
	const char *type = json_get_text(q->metric, "type");
	struct load l = {.q = q};
	size_t i = 0;

	*ret = (struct load_answer){.replicas = q->current};
	while (i < array_len(rows) && !text_eq(rows[i].type, type))
		i++;
	if (i == array_len(rows) || !rows[i].member) {
		ret->bad = i < array_len(rows) ? rows[i].bad : "InvalidMetricSourceType";
		(void)err_set(&ret->why, ERR_UNSUPPORTED,
			      "unable to get metrics of type \"%s\": no custom metrics API is "
			      "served; use \"Resource\" or \"ContainerResource\"",
			      type ? type : "");
		return;
	}
	l.resource = json_get_text(json_get(q->metric, rows[i].member), "name");
	l.container = json_get_text(json_get(q->metric, rows[i].member), "container");
	if (weigh(&l, json_get(json_get(q->metric, rows[i].member), "target"), &ret->why) < 0) {
		ret->bad = rows[i].bad;
		return;
	}
	describe(&l, rows[i].member, ret);
	ret->replicas = replicas_of(&l);
}
