/*
 * Rules for services and for what makes pods: selectors match templates, numbers are in bounds,
 * schedules are schedules.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/mem.h"
#include "ground/format/selector.h"

static void service_ports(struct check *c, const struct json *ports)
{
	for (size_t i = 0; i < json_len(ports); i++) {
		size_t before = check_down(c, "ports[%zu]", i);
		const struct json *port = json_at(ports, i);
		const char *name = json_get_text(port, "name");

		check_port(c, port, "port");
		check_port(c, port, "targetPort");
		check_name(c, port, "name", name_wrong_label);
		if (json_len(ports) > 1 && (!name || !name[0]))
			check_add(c, CAUSE_REQUIRED, "name", NULL, "%s", "");
		check_up(c, before);
	}
	check_unique(c, ports, "ports", "name");
}

static bool says(const struct json *object, const char *key)
{
	const char *text = json_get_text(object, key);

	return text && text[0];
}

void check_service_spec(struct check *c, const struct json *object, const struct json *old)
{
	bool alias = text_eq(json_get_text(object, "type"), "ExternalName");
	bool was_alias = text_eq(json_get_text(old, "type"), "ExternalName");
	const struct json *ip = json_get(object, "clusterIP");

	if (json_len(json_get(object, "ports")) == 0 && !alias && !text_eq(json_text(ip), "None"))
		check_add(c, CAUSE_REQUIRED, "ports", NULL, "%s", "");
	if (alias && !says(object, "externalName"))
		check_add(c, CAUSE_REQUIRED, "externalName", NULL, "%s", "");
	service_ports(c, json_get(object, "ports"));
	check_labels(c, json_get(object, "selector"), "selector");
	if (says(old, "clusterIP") && says(object, "clusterIP") && !alias && !was_alias &&
	    !json_equal(json_get(old, "clusterIP"), ip))
		check_add(c, CAUSE_INVALID, "clusterIPs[0]", ip, "may not change once set");
}

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

void check_workload(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_least(c, object, "replicas", 0);
	check_least(c, object, "minReadySeconds", 0);
	check_least(c, object, "revisionHistoryLimit", 0);
	check_selector(c, object);
	check_restart(c, object, "template.spec.restartPolicy", false);
}

static bool is_none(const struct json *value)
{
	return (json_kind(value) == JSON_NUMBER && json_i64(value, 1) == 0) ||
	       text_eq(json_text(value), "0%") || text_eq(json_text(value), "0");
}

void check_deployment(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *strategy = json_get(object, "strategy");
	const struct json *pace = json_get(strategy, "rollingUpdate");

	check_workload(c, object, old);
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

void check_job(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const numbers[] = {"parallelism", "completions", "backoffLimit",
					      "ttlSecondsAfterFinished", "activeDeadlineSeconds"};

	for (size_t i = 0; i < array_len(numbers); i++)
		check_least(c, object, numbers[i], 0);
	check_restart(c, object, "template.spec.restartPolicy", true);
	if (text_eq(json_get_text(object, "completionMode"), "Indexed") &&
	    !json_get(object, "completions"))
		check_add(c, CAUSE_REQUIRED, "completions", NULL,
			  "when completion mode is Indexed");
	if (!old || json_get_bool(old, "suspend", false))
		return;
	if (!json_equal(json_get(old, "template"), json_get(object, "template")))
		check_add(c, CAUSE_INVALID, "template", json_get(object, "template"),
			  "field is immutable");
	if (!json_equal(json_get(old, "completions"), json_get(object, "completions")) &&
	    !text_eq(json_get_text(object, "completionMode"), "Indexed"))
		check_add(c, CAUSE_INVALID, "completions", json_get(object, "completions"),
			  "field is immutable");
}

/* Five fields of digits and signs, or a word with '@'; what they mean is the controller's. */
void check_cron(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const words[] = {"@yearly", "@annually", "@monthly", "@weekly",
					    "@daily",  "@midnight", "@hourly",	NULL};
	const struct json *schedule = json_get(object, "schedule");
	struct str rest = str_of(json_text(schedule)), part;
	size_t n = 0;

	(void)old;
	check_least(c, object, "startingDeadlineSeconds", 0);
	check_least(c, object, "successfulJobsHistoryLimit", 0);
	check_least(c, object, "failedJobsHistoryLimit", 0);
	if (!rest.p || rest.n == 0 || text_in(rest.p, (char *const *)words) ||
	    str_starts(rest, "@every "))
		return;
	while (str_cut(&rest, ' ', &part))
		n += part.n > 0;
	if (n != 5)
		check_add(c, CAUSE_INVALID, "schedule", schedule,
			  "expected exactly 5 fields, found %zu: [%s]", n, json_text(schedule));
	else if (strspn(json_text(schedule), "0123456789*/,-? ABCDEFGHIJLMNOPRSTUVWYabcdefghijlm"
					     "noprstuvwy") != json_str(schedule).n)
		check_add(c, CAUSE_INVALID, "schedule", schedule,
			  "a field consists of numbers, '*', '/', ',' and '-'");
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
	check_least(c, object, "minAvailable", 0);
	check_least(c, object, "maxUnavailable", 0);
}

void check_claim(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *requests = json_get(json_get(object, "resources"), "requests");

	(void)old;
	if (json_len(json_get(object, "accessModes")) == 0)
		check_add(c, CAUSE_REQUIRED, "accessModes", NULL,
			  "at least 1 access mode is required");
	if (!json_get(requests, "storage"))
		check_add(c, CAUSE_REQUIRED, "resources[storage]", NULL, "%s", "");
}
