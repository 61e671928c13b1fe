/*
 * The failure policy of a job: rules over exit codes and conditions of a failed pod, the first that
 * matches decides. Failures that no rule takes count.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/job_priv.h"
#include "ground/base/mem.h"

static bool code_matches(const struct json *rule, int64_t code)
{
	const struct json *values = json_get(rule, "values");
	bool in = false;

	for (size_t i = 0; i < json_len(values); i++)
		in = in || json_i64(json_at(values, i), 0) == code;
	return text_eq(json_get_text(rule, "operator"), "NotIn") ? !in : in;
}

/* The container whose exit the rule is about; NULL: none. */
static const struct json *exit_matches(const struct json *rule, const struct json *status)
{
	static const char *const lists[] = {"containerStatuses", "initContainerStatuses"};
	const char *name = json_get_text(rule, "containerName");

	for (size_t l = 0; l < array_len(lists); l++) {
		const struct json *list = json_get(status, lists[l]);

		for (size_t i = 0; i < json_len(list); i++) {
			const struct json *one = json_at(list, i);
			const struct json *end = json_get(json_get(one, "state"), "terminated");
			int64_t code = json_get_i64(end, "exitCode", 0);

			if (code != 0 && (!name || text_eq(name, json_get_text(one, "name"))) &&
			    code_matches(rule, code))
				return one;
		}
	}
	return NULL;
}

static const char *condition_matches(const struct json *patterns, const struct json *status)
{
	for (size_t i = 0; i < json_len(patterns); i++) {
		const char *type = json_get_text(json_at(patterns, i), "type");
		const char *want = json_get_text(json_at(patterns, i), "status");
		const struct json *have = condition_of(status, type);

		if (have && text_eq(json_get_text(have, "status"), want ? want : "True"))
			return type;
	}
	return NULL;
}

static enum job_action action_of(const struct json *rule)
{
	const char *action = json_get_text(rule, "action");

	if (text_eq(action, "FailJob"))
		return JOB_FAIL;
	return text_eq(action, "Ignore") ? JOB_IGNORE : JOB_COUNT;
}

enum job_action job_policy(const struct job *j, const struct object *pod, char **ret_message)
{
	const struct json *rules = json_get(json_get(j->spec, "podFailurePolicy"), "rules");
	const struct json *status = tree_status(pod);

	for (size_t i = 0; i < json_len(rules); i++) {
		const struct json *rule = json_at(rules, i);
		const char *action = json_get_text(rule, "action"), *type;
		const struct json *container = NULL;

		if (json_get(rule, "onExitCodes")) {
			container = exit_matches(json_get(rule, "onExitCodes"), status);
			if (!container)
				continue;
			*ret_message = mem_printf(
				"Container %s for pod %s/%s failed with exit code %lld matching %s "
				"rule at index %zu",
				json_get_text(container, "name"), pod->namespace, pod->name,
				(long long)json_get_i64(
					json_get(json_get(container, "state"), "terminated"),
					"exitCode", 0),
				action, i);
			return action_of(rule);
		}
		type = condition_matches(json_get(rule, "onPodConditions"), status);
		if (!type)
			continue;
		*ret_message = mem_printf("Pod %s/%s has condition %s matching %s rule at index "
					  "%zu",
					  pod->namespace, pod->name, type, action, i);
		return action_of(rule);
	}
	return JOB_COUNT;
}
