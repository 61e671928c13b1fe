/*
 * Cells of workloads: what they are made of, how far they are, what scales them.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/table_priv.h"
#include "ground/base/rfc3339.h"

#define NS_PER_S INT64_C(1000000000)

/* The pod template's spec, wherever the kind keeps it. */
static const struct json *pod_spec(const struct json *object)
{
	static const char *const paths[] = {".spec.template.spec", ".template.spec",
					    ".spec.jobTemplate.spec.template.spec"};
	const struct json *spec = NULL;

	for (size_t i = 0; i < 3 && !spec; i++)
		spec = table_path(object, paths[i]);
	return spec;
}

static void each_container(const struct json *object, const char *key, struct strbuf *out)
{
	const struct json *list = json_get(pod_spec(object), "containers");

	for (size_t i = 0; i < json_len(list); i++) {
		const char *text = json_get_text(json_at(list, i), key);

		strbuf_printf(out, "%s%s", i ? "," : "", text ? text : "");
	}
}

void cell_containers(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	each_container(object, "name", out);
}

void cell_images(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	each_container(object, "image", out);
}

void table_labels(const struct json *map, struct strbuf *out)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(map, &it, &key, &value))
		strbuf_printf(out, "%s%s=%s", out->n ? "," : "", key,
			      table_shown(value) ? table_shown(value) : "");
}

static void expression(const struct json *one, struct strbuf *out)
{
	const struct json *values = json_get(one, "values");
	const char *how = json_get_text(one, "operator");
	const char *key = json_get_text(one, "key");

	if (out->n > 0)
		strbuf_add_char(out, ',');
	if (text_eq(how, "DoesNotExist"))
		strbuf_add_char(out, '!');
	strbuf_add_text(out, key ? key : "");
	if (!text_eq(how, "In") && !text_eq(how, "NotIn"))
		return;
	strbuf_add_text(out, text_eq(how, "In") ? " in (" : " notin (");
	for (size_t i = 0; i < json_len(values); i++)
		strbuf_printf(out, "%s%s", i ? "," : "", table_shown(json_at(values, i)));
	strbuf_add_char(out, ')');
}

void table_selector(const struct json *selector, struct strbuf *out)
{
	const struct json *list = json_get(selector, "matchExpressions");

	table_labels(json_get(selector, "matchLabels"), out);
	for (size_t i = 0; i < json_len(list); i++)
		expression(json_at(list, i), out);
}

void cell_selector(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	const struct json *selector = table_path(object, ".spec.selector");

	(void)now_ns;
	if (json_get(selector, "matchLabels") || json_get(selector, "matchExpressions"))
		table_selector(selector, out);
	else if (!text_eq(json_get_text(object, "kind"), "CronJob"))
		table_labels(selector, out);
}

void cell_template_labels(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	table_labels(table_path(object, ".template.metadata.labels"), out);
}

void cell_node_selector(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	table_labels(json_get(pod_spec(object), "nodeSelector"), out);
}

void cell_deployment_ready(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	strbuf_printf(out, "%lld/%lld",
		      (long long)json_i64(table_path(object, ".status.readyReplicas"), 0),
		      (long long)json_i64(table_path(object, ".spec.replicas"), 0));
}

void cell_controller(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	const struct json *owners = table_path(object, ".metadata.ownerReferences");

	(void)now_ns;
	for (size_t i = 0; i < json_len(owners); i++) {
		const struct json *one = json_at(owners, i);
		struct str group, version = str_of(json_get_text(one, "apiVersion"));
		struct json *kind = json_get(one, "kind");

		if (!json_get_bool(one, "controller", false) || !kind)
			continue;
		for (size_t c = 0; c < json_str(kind).n; c++)
			strbuf_add_char(out, (char)(json_text(kind)[c] | 0x20));
		if (memchr(version.p ? version.p : "", '/', version.n) &&
		    str_cut(&version, '/', &group))
			strbuf_printf(out, ".%.*s", (int)group.n, group.p);
		strbuf_printf(out, "/%s", table_text(one, "name"));
		return;
	}
}

static bool condition(const struct json *object, const char *type)
{
	const struct json *list = table_path(object, ".status.conditions");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "type"), type))
			return text_eq(json_get_text(json_at(list, i), "status"), "True");
	return false;
}

void cell_job_status(const struct json *job, int64_t now_ns, struct strbuf *out)
{
	static const char *const order[] = {"Complete", "Failed", "Suspended", "FailureTarget",
					    "SuccessCriteriaMet"};

	(void)now_ns;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (!condition(job, order[i]))
			continue;
		strbuf_add_text(out, order[i]);
		return;
	}
	strbuf_add_text(out,
			table_path(job, ".metadata.deletionTimestamp") ? "Terminating" : "Running");
}

void cell_job_completions(const struct json *job, int64_t now_ns, struct strbuf *out)
{
	int64_t done = json_i64(table_path(job, ".status.succeeded"), 0);
	const struct json *wanted = table_path(job, ".spec.completions");
	int64_t wide = json_i64(table_path(job, ".spec.parallelism"), 0);

	(void)now_ns;
	if (wanted)
		strbuf_printf(out, "%lld/%lld", (long long)done, (long long)json_i64(wanted, 0));
	else if (wide > 1)
		strbuf_printf(out, "%lld/1 of %lld", (long long)done, (long long)wide);
	else
		strbuf_printf(out, "%lld/1", (long long)done);
}

void cell_job_duration(const struct json *job, int64_t now_ns, struct strbuf *out)
{
	const struct json *status = json_get(job, "status");
	int64_t start = table_time(status, "startTime");
	int64_t end = table_time(status, "completionTime");
	char age[TABLE_AGE_CHARS];

	if (start)
		strbuf_add_text(out, table_age((end ? end : now_ns) - start, age));
	else
		strbuf_add_char(out, ' ');
}

void cell_cron_zone(const struct json *cron, int64_t now_ns, struct strbuf *out)
{
	const struct json *zone = table_path(cron, ".spec.timeZone");

	(void)now_ns;
	strbuf_add_text(out, zone ? table_shown(zone) : "<none>");
}

void cell_cron_active(const struct json *cron, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	strbuf_printf(out, "%zu", json_len(table_path(cron, ".status.active")));
}

void cell_cron_last(const struct json *cron, int64_t now_ns, struct strbuf *out)
{
	const struct json *status = json_get(cron, "status");

	if (table_time(status, "lastScheduleTime"))
		table_since(status, "lastScheduleTime", now_ns, out);
}

void cell_scaler_reference(const struct json *scaler, int64_t now_ns, struct strbuf *out)
{
	const struct json *target = table_path(scaler, ".spec.scaleTargetRef");

	(void)now_ns;
	strbuf_printf(out, "%s/%s", table_text(target, "kind"), table_text(target, "name"));
}

/* "12%" or "3": what a metric is or should be. */
static void load(const struct json *value, struct strbuf *out)
{
	static const char *const keys[] = {"averageUtilization", "averageValue", "value"};

	for (size_t i = 0; i < 3; i++) {
		const struct json *j = json_get(value, keys[i]);

		if (!j)
			continue;
		if (i == 0)
			strbuf_printf(out, "%lld%%", (long long)json_i64(j, 0));
		else
			strbuf_add_text(out, table_shown(j));
		if (i == 1)
			strbuf_add_text(out, " (avg)");
		return;
	}
	strbuf_add_text(out, "<unknown>");
}

/* The part of a metric that has its target or its current value. */
static const struct json *metric_body(const struct json *metric, const char **ret_name)
{
	static const char *const keys[] = {"resource", "containerResource", "pods", "object",
					   "external"};
	const struct json *body = NULL;

	*ret_name = NULL;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !body; i++) {
		body = json_get(metric, keys[i]);
		if (body && i < 2)
			*ret_name = json_get_text(body, "name");
	}
	return body;
}

void cell_scaler_targets(const struct json *scaler, int64_t now_ns, struct strbuf *out)
{
	const struct json *wanted = table_path(scaler, ".spec.metrics");
	const struct json *now = table_path(scaler, ".status.currentMetrics");
	const char *name, *other;

	(void)now_ns;
	for (size_t i = 0; i < json_len(wanted) && i < 2; i++) {
		const struct json *body = metric_body(json_at(wanted, i), &name);

		strbuf_add_text(out, i ? ", " : "");
		if (name)
			strbuf_printf(out, "%s: ", name);
		load(json_get(metric_body(json_at(now, i), &other), "current"), out);
		strbuf_add_char(out, '/');
		load(json_get(body, "target"), out);
	}
	if (json_len(wanted) > 2)
		strbuf_printf(out, " + %zu more...", json_len(wanted) - 2);
}

void cell_scaler_min(const struct json *scaler, int64_t now_ns, struct strbuf *out)
{
	const struct json *min = table_path(scaler, ".spec.minReplicas");

	(void)now_ns;
	if (min)
		strbuf_printf(out, "%lld", (long long)json_i64(min, 0));
	else
		strbuf_add_text(out, "<unset>");
}

static void number_or_text(const struct json *value, struct strbuf *out)
{
	if (json_kind(value) == JSON_NUMBER)
		strbuf_printf(out, "%lld", (long long)json_i64(value, 0));
	else
		strbuf_add_text(out, table_shown(value) ? table_shown(value) : "N/A");
}

static void budget_bound(const struct json *v, struct strbuf *out)
{
	if (v)
		number_or_text(v, out);
	else
		strbuf_add_text(out, "N/A");
}

void cell_budget_min(const struct json *budget, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	budget_bound(table_path(budget, ".spec.minAvailable"), out);
}

void cell_budget_max(const struct json *budget, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	budget_bound(table_path(budget, ".spec.maxUnavailable"), out);
}
