/*
 * Rules for what makes pods: selectors match templates, numbers are in bounds,
 * schedules are schedules.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"
#include "ground/format/selector.h"

/* Whether the selector picks what the template makes. */
static void check_selector(struct check *c, const struct json *object)
{
	const struct json *selector = json_get(object, "selector");
	const struct json *labels =
		json_get(json_get(json_get(object, "template"), "metadata"), "labels");
	bool plain = text_eq(c->kind->name, "ReplicationController");
	auto_arena struct arena a = {0};
	struct selector s = {0};
	struct err e = {0};

	if (!selector)
		return;
	if (plain)
		selector_of_map(selector, &a, &s);
	else if (selector_of_json(selector, &a, &s, &e) < 0) {
		check_add(c, CAUSE_INVALID, "selector", selector, "%s", e.text);
		return;
	}
	if (s.n == 0)
		check_add(c, CAUSE_INVALID, "selector", selector,
			  "empty selector is invalid for %s", c->kind->singular);
	else if (json_get(object, "template") && !selector_matches(&s, labels))
		check_add(c, CAUSE_INVALID, "template.metadata.labels", labels,
			  "`selector` does not match template `labels`");
}

/* Pods that are kept alive restart always; pods of jobs never do. */
static void check_restart(struct check *c, const struct json *spec, const char *below, bool to_end)
{
	const struct json *policy =
		json_get(json_get(json_get(spec, "template"), "spec"), "restartPolicy");
	bool always = text_eq(json_text(policy), "Always");

	if (!policy || always != to_end)
		return;
	if (to_end)
		check_add(c, CAUSE_REQUIRED, below, NULL, "valid values: \"OnFailure\", \"Never\"");
	else
		check_add(c, CAUSE_NOT_SUPPORTED, below, policy, "supported values: \"Always\"");
}

/* What a template of pods that are kept alive may not say. */
static void check_deadline(struct check *c, const struct json *spec)
{
	if (json_get(json_get(json_get(spec, "template"), "spec"), "activeDeadlineSeconds"))
		check_add(c, CAUSE_FORBIDDEN, "template.spec.activeDeadlineSeconds", NULL,
			  "activeDeadlineSeconds in %s is not Supported",
			  text_eq(c->kind->name, "Deployment") ? "ReplicaSet" : c->kind->name);
}

void check_workload(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_least(c, object, "replicas", 0);
	check_least(c, object, "minReadySeconds", 0);
	check_least(c, object, "revisionHistoryLimit", 0);
	check_selector(c, object);
	check_restart(c, object, "template.spec.restartPolicy", false);
	check_deadline(c, object);
}

static bool is_none(const struct json *value)
{
	return (json_kind(value) == JSON_NUMBER && json_i64(value, 1) == 0) ||
	       text_eq(json_text(value), "0%") || text_eq(json_text(value), "0");
}

/* A whole number or a share, of which not all of it is too much. */
static void check_pace(struct check *c, const struct json *pace, const char *key, bool bounded)
{
	const struct json *value = json_get(pace, key);
	auto_json struct json *shown = json_new_object();
	auto_strbuf struct strbuf at = {0};
	int64_t share = 0;

	strbuf_printf(&at, "rollingUpdate.%s", key);
	if (!value)
		return;
	json_set(shown, strbuf_text(&at), json_ref((struct json *)(uintptr_t)value));
	check_share(c, shown, strbuf_text(&at));
	if (!bounded || !text_ends(json_text(value) ? json_text(value) : "", "%"))
		return;
	if (parse_i64((struct str){json_str(value).p, json_str(value).n - 1}, key, &share, NULL) ==
		    0 &&
	    share > 100)
		check_add(c, CAUSE_INVALID, strbuf_text(&at), value,
			  "must not be greater than 100%%");
}

static void check_paces(struct check *c, const struct json *spec, const char *strategy)
{
	const struct json *pace = json_get(json_get(spec, strategy), "rollingUpdate");
	size_t before = check_down(c, "%s", strategy);

	check_pace(c, pace, "maxUnavailable", true);
	check_pace(c, pace, "maxSurge", false);
	if (json_get_i64(pace, "partition", 0) < 0)
		check_add(c, CAUSE_INVALID, "rollingUpdate.partition", json_get(pace, "partition"),
			  "must be greater than or equal to 0");
	check_up(c, before);
}

void check_daemon(struct check *c, const struct json *object, const struct json *old)
{
	check_workload(c, object, old);
	check_paces(c, object, "updateStrategy");
}

void check_deployment(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *strategy = json_get(object, "strategy");
	const struct json *pace = json_get(strategy, "rollingUpdate");

	check_workload(c, object, old);
	check_paces(c, object, "strategy");
	check_least(c, object, "progressDeadlineSeconds", 0);
	if (text_eq(json_get_text(strategy, "type"), "Recreate") && pace)
		check_add(c, CAUSE_FORBIDDEN, "strategy.rollingUpdate", NULL,
			  "may not be specified when strategy `type` is 'Recreate'");
	if (pace && is_none(json_get(pace, "maxUnavailable")) &&
	    is_none(json_get(pace, "maxSurge")))
		check_add(c, CAUSE_INVALID, "strategy.rollingUpdate.maxUnavailable",
			  json_get(pace, "maxUnavailable"), "may not be 0 when `maxSurge` is 0");
	if (json_get(object, "progressDeadlineSeconds") &&
	    json_get_i64(object, "progressDeadlineSeconds", 0) <=
		    json_get_i64(object, "minReadySeconds", 0))
		check_add(c, CAUSE_INVALID, "progressDeadlineSeconds",
			  json_get(object, "progressDeadlineSeconds"),
			  "must be greater than minReadySeconds");
}

void check_stateful(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const kept[] = {"selector", "serviceName", "podManagementPolicy",
					   "volumeClaimTemplates"};

	check_workload(c, object, old);
	check_paces(c, object, "updateStrategy");
	for (size_t i = 0; old && i < array_len(kept); i++) {
		if (json_equal(json_get(old, kept[i]), json_get(object, kept[i])))
			continue;
		check_add(c, CAUSE_FORBIDDEN, "", NULL,
			  "updates to statefulset spec for fields other than 'replicas', "
			  "'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
			  "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
			  "forbidden");
		return;
	}
}

/* The selector is the server's to make, unless it was asked not to. */
static void check_own_selector(struct check *c, const struct json *spec)
{
	const struct json *selector = json_get(spec, "selector");

	if (!selector || json_get_bool(spec, "manualSelector", false) ||
	    json_get(json_get(selector, "matchLabels"), "batch.kubernetes.io/controller-uid"))
		return;
	check_add(c, CAUSE_INVALID, "selector", selector,
		  "`selector` not auto-generated: leave it out, or set manualSelector");
}

void check_job(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const numbers[] = {"parallelism", "completions", "backoffLimit",
					      "ttlSecondsAfterFinished", "activeDeadlineSeconds"};

	for (size_t i = 0; i < array_len(numbers); i++)
		check_least(c, object, numbers[i], 0);
	check_restart(c, object, "template.spec.restartPolicy", true);
	check_own_selector(c, object);
	if (text_eq(json_get_text(object, "completionMode"), "Indexed") &&
	    !json_get(object, "completions"))
		check_add(c, CAUSE_REQUIRED, "completions", NULL,
			  "when completion mode is Indexed");
	if (!old)
		return;
	if (!json_equal(json_get(old, "completions"), json_get(object, "completions")) &&
	    !text_eq(json_get_text(object, "completionMode"), "Indexed"))
		check_add(c, CAUSE_INVALID, "completions", json_get(object, "completions"),
			  "field is immutable");
	if (!json_get_bool(old, "suspend", false) &&
	    !json_equal(json_get(old, "template"), json_get(object, "template")))
		check_add(c, CAUSE_INVALID, "template", json_get(object, "template"),
			  "field is immutable");
}

/* -- schedules --------------------------------------------------------------------------------- */

#define CRON_NAME_MAX 52 /* of a name that jobs and their pods lengthen */

void check_cron_name(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *name = json_get(json_get(object, "metadata"), "name");

	if (!old && json_str(name).n > CRON_NAME_MAX)
		check_add(c, CAUSE_INVALID, "metadata.name", name,
			  "must be no more than %d characters", CRON_NAME_MAX);
}

/* The numbers of one field, but for steps; true and the one that is out of its range. */
static bool out_of_range(struct str field, int64_t least, int64_t most, int64_t *ret)
{
	struct str part, range, number;

	while (str_cut(&field, ',', &part)) {
		if (!str_cut(&part, '/', &range))
			continue;
		while (str_cut(&range, '-', &number))
			if (parse_i64(number, "number", ret, NULL) == 0 &&
			    (*ret < least || *ret > most))
				return true;
	}
	return false;
}

/* Five fields of digits and signs; what they mean is the controller's. */
static void check_fields(struct check *c, const struct json *schedule)
{
	static const struct {
		const char *name;
		int64_t least, most;
	} fields[] = {
		{"minute", 0, 59}, {"hour", 0, 23},   {"day of month", 1, 31},
		{"month", 1, 12},  {"weekday", 0, 7},
	};
	struct str rest = json_str(schedule), part;
	size_t n = 0;
	int64_t wrong;

	while (str_cut(&rest, ' ', &part)) {
		if (part.n == 0)
			continue;
		if (n < array_len(fields) &&
		    out_of_range(part, fields[n].least, fields[n].most, &wrong))
			check_add(c, CAUSE_INVALID, "schedule", schedule,
				  "%s %lld is out of range: it goes from %lld to %lld",
				  fields[n].name, (long long)wrong, (long long)fields[n].least,
				  (long long)fields[n].most);
		n++;
	}
	if (n != array_len(fields))
		check_add(c, CAUSE_INVALID, "schedule", schedule,
			  "expected exactly 5 fields, found %zu: [%s]", n, json_text(schedule));
	else if (strspn(json_text(schedule), "0123456789*/,-? ABCDEFGHIJLMNOPRSTUVWYabcdefghijlm"
					     "noprstuvwy") != json_str(schedule).n)
		check_add(c, CAUSE_INVALID, "schedule", schedule,
			  "a field consists of numbers, '*', '/', ',' and '-'");
}

void check_cron(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const words[] = {"@yearly", "@annually", "@monthly", "@weekly",
					    "@daily",  "@midnight", "@hourly",	NULL};
	const struct json *schedule = json_get(object, "schedule");
	const char *text = json_text(schedule);

	(void)old;
	check_least(c, object, "startingDeadlineSeconds", 0);
	check_least(c, object, "successfulJobsHistoryLimit", 0);
	check_least(c, object, "failedJobsHistoryLimit", 0);
	if (text && text[0] && !text_in(text, (char *const *)words) &&
	    !text_starts(text, "@every "))
		check_fields(c, schedule);
}

/* -- scaling and budgets ----------------------------------------------------------------------- */

void check_metric(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const rows[][2] = {
		{"Resource", "resource"},
		{"Pods", "pods"},
		{"Object", "object"},
		{"External", "external"},
		{"ContainerResource", "containerResource"},
	};
	const char *type = json_get_text(object, "type");

	(void)old;
	for (size_t i = 0; i < array_len(rows); i++)
		if (text_eq(type, rows[i][0]) && !json_get(object, rows[i][1]))
			check_add(c, CAUSE_REQUIRED, rows[i][1], NULL,
				  "must populate information for the given metric source");
}

void check_scaler(struct check *c, const struct json *object, const struct json *old)
{
	int64_t least = json_get_i64(object, "minReplicas", 1);

	(void)old;
	check_least(c, object, "minReplicas", 0);
	check_least(c, object, "maxReplicas", 1);
	if (json_get(object, "maxReplicas") && json_get_i64(object, "maxReplicas", 0) < least)
		check_add(c, CAUSE_INVALID, "maxReplicas", json_get(object, "maxReplicas"),
			  "must be greater than or equal to `minReplicas`");
}

void check_budget(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	if (json_get(object, "minAvailable") && json_get(object, "maxUnavailable"))
		check_add(c, CAUSE_INVALID, "", object,
			  "minAvailable and maxUnavailable cannot be both set");
	check_share(c, object, "minAvailable");
	check_share(c, object, "maxUnavailable");
}
