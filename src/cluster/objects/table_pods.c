/*
 * Cells of pods and nodes. A pod's STATUS is the one word that says most: what the first container
 * that is not as it should be waits for, or why it ended; init containers come before the others.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/table_priv.h"

static bool is_true(const struct json *conditions, const char *type)
{
	for (size_t i = 0; i < json_len(conditions); i++)
		if (text_eq(json_get_text(json_at(conditions, i), "type"), type))
			return text_eq(json_get_text(json_at(conditions, i), "status"), "True");
	return false;
}

/* An init container that stays: it counts as one of the containers. */
static bool is_sidecar(const struct json *pod, const struct json *status)
{
	const struct json *spec = json_get(json_get(pod, "spec"), "initContainers");
	const struct json *one = json_find(spec, "name", json_get_text(status, "name"));

	return text_eq(json_get_text(one, "restartPolicy"), "Always");
}

void cell_pod_ready(const struct json *pod, int64_t now_ns, struct strbuf *out)
{
	static const char *const lists[] = {"initContainerStatuses", "containerStatuses"};
	const struct json *spec = json_get(pod, "spec");
	const struct json *init = json_get(spec, "initContainers");
	size_t all = json_len(json_get(spec, "containers")), ready = 0;

	(void)now_ns;
	for (size_t i = 0; i < json_len(init); i++)
		all += text_eq(json_get_text(json_at(init, i), "restartPolicy"), "Always");
	for (size_t l = 0; l < 2; l++) {
		const struct json *list = json_get(json_get(pod, "status"), lists[l]);

		for (size_t i = 0; i < json_len(list); i++)
			ready += json_get_bool(json_at(list, i), "ready", false) &&
				 (l == 1 || is_sidecar(pod, json_at(list, i)));
	}
	strbuf_printf(out, "%zu/%zu", ready, all);
}

/* Why a container ended, in a word. */
static void ended(const struct json *terminated, const char *before, struct strbuf *out)
{
	const char *reason = json_get_text(terminated, "reason");
	int64_t signal = json_get_i64(terminated, "signal", 0);

	strbuf_clear(out);
	strbuf_add_text(out, before);
	if (reason && reason[0])
		strbuf_add_text(out, reason);
	else if (signal)
		strbuf_printf(out, "Signal:%lld", (long long)signal);
	else
		strbuf_printf(out, "ExitCode:%lld",
			      (long long)json_get_i64(terminated, "exitCode", 0));
}

/* true: the pod is still at this init container, and `out` says how. */
static bool initializing(const struct json *pod, size_t at, struct strbuf *out)
{
	const struct json *list = json_get(json_get(pod, "status"), "initContainerStatuses");
	const struct json *status = json_at(list, at);
	const struct json *state = json_get(status, "state");
	const struct json *terminated = json_get(state, "terminated");
	const char *waiting = json_get_text(json_get(state, "waiting"), "reason");

	if (terminated && json_get_i64(terminated, "exitCode", 0) == 0)
		return false;
	if (is_sidecar(pod, status) && json_get_bool(status, "started", false))
		return false;
	if (terminated) {
		ended(terminated, "Init:", out);
		return true;
	}
	strbuf_clear(out);
	if (waiting && waiting[0] && !text_eq(waiting, "PodInitializing"))
		strbuf_printf(out, "Init:%s", waiting);
	else
		strbuf_printf(out, "Init:%zu/%zu", at,
			      json_len(json_get(json_get(pod, "spec"), "initContainers")));
	return true;
}

/* The containers from the last to the first, so that the first has the last word. */
static void from_containers(const struct json *pod, struct strbuf *out)
{
	const struct json *status = json_get(pod, "status");
	const struct json *list = json_get(status, "containerStatuses");
	bool running = false;

	for (size_t i = json_len(list); i-- > 0;) {
		const struct json *state = json_get(json_at(list, i), "state");
		const char *waiting = json_get_text(json_get(state, "waiting"), "reason");

		if (waiting && waiting[0]) {
			strbuf_clear(out);
			strbuf_add_text(out, waiting);
		} else if (json_get(state, "terminated")) {
			ended(json_get(state, "terminated"), "", out);
		} else if (json_get(state, "running") &&
			   json_get_bool(json_at(list, i), "ready", false)) {
			running = true;
		}
	}
	if (running && text_eq(strbuf_text(out), "Completed")) {
		strbuf_clear(out);
		strbuf_add_text(out, is_true(json_get(status, "conditions"), "Ready") ? "Running"
										      : "NotReady");
	}
}

static void first_word(const struct json *pod, struct strbuf *out)
{
	const struct json *status = json_get(pod, "status");
	const struct json *conditions = json_get(status, "conditions");
	const char *reason = json_get_text(status, "reason");
	const char *phase = json_get_text(status, "phase");

	strbuf_add_text(out, reason && reason[0] ? reason : phase ? phase : "Unknown");
	for (size_t i = 0; i < json_len(conditions); i++) {
		const struct json *one = json_at(conditions, i);

		if (!text_eq(json_get_text(one, "type"), "PodScheduled") ||
		    !text_eq(json_get_text(one, "reason"), "SchedulingGated"))
			continue;
		strbuf_clear(out);
		strbuf_add_text(out, "SchedulingGated");
	}
}

void cell_pod_status(const struct json *pod, int64_t now_ns, struct strbuf *out)
{
	const struct json *status = json_get(pod, "status");
	const char *phase = json_get_text(status, "phase");
	bool begun = false;
	size_t n = json_len(json_get(status, "initContainerStatuses"));

	(void)now_ns;
	first_word(pod, out);
	for (size_t i = 0; i < n && !begun; i++)
		begun = initializing(pod, i, out);
	if (!begun || is_true(json_get(status, "conditions"), "Initialized"))
		from_containers(pod, out);
	if (!json_get(json_get(pod, "metadata"), "deletionTimestamp"))
		return;
	if (text_eq(json_get_text(status, "reason"), "NodeLost")) {
		strbuf_clear(out);
		strbuf_add_text(out, "Unknown");
	} else if (!text_eq(phase, "Succeeded") && !text_eq(phase, "Failed")) {
		strbuf_clear(out);
		strbuf_add_text(out, "Terminating");
	}
}

void cell_pod_restarts(const struct json *pod, int64_t now_ns, struct strbuf *out)
{
	static const char *const lists[] = {"initContainerStatuses", "containerStatuses"};
	int64_t sum = 0, last = 0;
	char age[TABLE_AGE_CHARS];

	for (size_t l = 0; l < 2; l++) {
		const struct json *list = json_get(json_get(pod, "status"), lists[l]);

		for (size_t i = 0; i < json_len(list); i++) {
			const struct json *one = json_at(list, i);
			int64_t ns = table_time(json_get(json_get(one, "lastState"), "terminated"),
						"finishedAt");

			sum += json_get_i64(one, "restartCount", 0);
			last = ns > last ? ns : last;
		}
	}
	strbuf_printf(out, "%lld", (long long)sum);
	if (sum > 0 && last > 0)
		strbuf_printf(out, " (%s ago)", table_age(now_ns - last, age));
}

void cell_pod_gates(const struct json *pod, int64_t now_ns, struct strbuf *out)
{
	const struct json *gates = json_get(json_get(pod, "spec"), "readinessGates");
	const struct json *conditions = json_get(json_get(pod, "status"), "conditions");
	size_t open = 0;

	(void)now_ns;
	for (size_t i = 0; i < json_len(gates); i++)
		open += is_true(conditions, json_get_text(json_at(gates, i), "conditionType"));
	if (json_len(gates) > 0)
		strbuf_printf(out, "%zu/%zu", open, json_len(gates));
}

void cell_node_status(const struct json *node, int64_t now_ns, struct strbuf *out)
{
	const struct json *conditions = json_get(json_get(node, "status"), "conditions");
	const char *status = NULL;

	(void)now_ns;
	for (size_t i = 0; i < json_len(conditions); i++)
		if (text_eq(json_get_text(json_at(conditions, i), "type"), "Ready"))
			status = json_get_text(json_at(conditions, i), "status");
	if (!status)
		strbuf_add_text(out, "Unknown");
	else
		strbuf_add_text(out, text_eq(status, "True") ? "Ready" : "NotReady");
	if (json_get_bool(json_get(node, "spec"), "unschedulable", false))
		strbuf_add_text(out, ",SchedulingDisabled");
}

void cell_node_roles(const struct json *node, int64_t now_ns, struct strbuf *out)
{
	static const char prefix[] = "node-role.kubernetes.io/";
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	(void)now_ns;
	while (json_next(json_get(json_get(node, "metadata"), "labels"), &it, &key, &value)) {
		const char *role = NULL;

		if (text_starts(key, prefix))
			role = key + strlen(prefix);
		else if (text_eq(key, "kubernetes.io/role"))
			role = json_text(value);
		if (role && role[0])
			strbuf_printf(out, "%s%s", out->n ? "," : "", role);
	}
}

static void address(const struct json *node, const char *type, struct strbuf *out)
{
	const struct json *list = json_get(json_get(node, "status"), "addresses");

	for (size_t i = 0; i < json_len(list); i++) {
		if (!text_eq(json_get_text(json_at(list, i), "type"), type))
			continue;
		strbuf_add_text(out, table_text(json_at(list, i), "address"));
		return;
	}
}

void cell_node_internal(const struct json *node, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	address(node, "InternalIP", out);
}

void cell_node_external(const struct json *node, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	address(node, "ExternalIP", out);
}

void cell_node_os(const struct json *node, int64_t now_ns, struct strbuf *out)
{
	const char *os = json_get_text(json_get(json_get(node, "status"), "nodeInfo"), "osImage");

	(void)now_ns;
	strbuf_add_text(out, os && os[0] ? os : "<unknown>");
}
