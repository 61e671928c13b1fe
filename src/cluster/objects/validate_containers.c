/*
 * Rules for containers: ports, environment, probes, hooks, resources, rights.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

#define PORT_NAME_MAX 15
#define NUMBER_MAX    INT32_MAX

/* -- resources --------------------------------------------------------------------------------- */

static bool is_own_resource(const char *name)
{
	return text_eq(name, "cpu") || text_eq(name, "memory") ||
	       text_eq(name, "ephemeral-storage") || text_starts(name, "hugepages-");
}

/* What no node can promise twice: asked for whole, and exactly. */
static bool is_extended(const char *name)
{
	return strchr(name, '/') && !strstr(name, "kubernetes.io/");
}

static void check_resource_name(struct check *c, const char *at, const char *name)
{
	auto_json struct json *shown = json_new_text(name);
	const char *why = name_wrong_label_key(name);

	if (why)
		check_add(c, CAUSE_INVALID, at, shown, "%s", why);
	else if (!strchr(name, '/') && !is_own_resource(name))
		check_add(c, CAUSE_INVALID, at, shown,
			  "must be a standard resource type or fully qualified: containers take "
			  "cpu, memory, ephemeral-storage and hugepages-SIZE");
}

static void check_amount(struct check *c, const char *list, const char *key,
			 const struct json *value, const struct json *limit)
{
	struct quantity q = {0}, most = {0};
	auto_strbuf struct strbuf at = {0};
	bool fine = quantity_parse(json_str(value), &q, NULL) == 0;

	strbuf_printf(&at, "%s[%s]", list, key);
	check_resource_name(c, strbuf_text(&at), key);
	if (!fine || q.nano < 0)
		check_add(c, CAUSE_INVALID, strbuf_text(&at), value,
			  "must be greater than or equal to 0");
	else if (is_extended(key) && q.nano % 1000000000 != 0)
		check_add(c, CAUSE_INVALID, strbuf_text(&at), value, "must be an integer");
	if (text_eq(list, "limits"))
		return;
	if (is_extended(key) && !limit)
		check_add(c, CAUSE_REQUIRED, "limits", NULL,
			  "Limit must be set for non overcommitable resources");
	if (!limit || quantity_parse(json_str(limit), &most, NULL) < 0)
		return;
	if (is_extended(key) && q.nano != most.nano)
		check_add(c, CAUSE_INVALID, "requests", value, "must be equal to %s limit of %s",
			  key, json_text(limit));
	else if (q.nano > most.nano)
		check_add(c, CAUSE_INVALID, "requests", value,
			  "must be less than or equal to %s limit of %s", key, json_text(limit));
}

void check_resources(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const lists[] = {"limits", "requests"};

	(void)old;
	for (size_t l = 0; l < array_len(lists); l++) {
		struct json_iter it = {0};
		struct json *value;
		const char *key;

		while (json_next(json_get(object, lists[l]), &it, &key, &value))
			check_amount(c, lists[l], key, value,
				     json_get(json_get(object, "limits"), key));
	}
}

/* -- probes and hooks -------------------------------------------------------------------------- */

/* Exactly one of them; the sentence that is said when there is none. */
static void check_one_of(struct check *c, const struct json *object, const char *const *members,
			 size_t members_n, const char *none)
{
	size_t n = 0;

	for (size_t i = 0; i < members_n; i++) {
		if (!json_get(object, members[i]))
			continue;
		if (n++ > 0)
			check_add(c, CAUSE_FORBIDDEN, members[i], NULL,
				  "may not specify more than 1 handler type");
	}
	if (n == 0)
		check_add(c, CAUSE_REQUIRED, "", NULL, "%s", none);
	if (json_get(object, "exec") &&
	    json_len(json_get(json_get(object, "exec"), "command")) == 0)
		check_add(c, CAUSE_REQUIRED, "exec.command", NULL, "%s", "");
}

void check_handler(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const handlers[] = {"exec", "httpGet", "tcpSocket", "sleep"};

	(void)old;
	check_one_of(c, object, handlers, array_len(handlers), "must specify a handler type");
}

void check_probe(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const handlers[] = {"exec", "httpGet", "tcpSocket", "grpc"};
	static const char *const numbers[] = {"initialDelaySeconds", "timeoutSeconds",
					      "periodSeconds", "successThreshold",
					      "failureThreshold"};

	(void)old;
	check_one_of(c, object, handlers, array_len(handlers), "must specify a handler type");
	for (size_t i = 0; i < array_len(numbers); i++)
		check_least(c, object, numbers[i], 0);
	check_least(c, object, "terminationGracePeriodSeconds", 1);
}

/* -- ports ------------------------------------------------------------------------------------- */

const char *name_wrong_port(const char *name)
{
	size_t n = strlen(name);

	if (n > PORT_NAME_MAX)
		return "must be no more than 15 characters";
	if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
		return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
	if (strspn(name, "0123456789-") == n)
		return "must contain at least one letter (a-z)";
	if (strstr(name, "--"))
		return "must not contain consecutive hyphens";
	if (name[0] == '-' || name[n - 1] == '-')
		return "must not begin or end with a hyphen";
	return NULL;
}

static void check_ports(struct check *c, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++) {
		size_t before = check_down(c, "ports[%zu]", i);

		check_port(c, json_at(list, i), "containerPort");
		if (json_get_i64(json_at(list, i), "hostPort", 0) != 0)
			check_port(c, json_at(list, i), "hostPort");
		check_name(c, json_at(list, i), "name", name_wrong_port);
		check_up(c, before);
	}
	check_unique(c, list, "ports", "name");
}

/* -- environment ------------------------------------------------------------------------------- */

static const char *wrong_variable(const char *name)
{
	for (const char *p = name; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '=')
			return "a valid environment variable name must consist only of printable "
			       "ASCII characters other than '='";
	return NULL;
}

static void check_env(struct check *c, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		size_t before = check_down(c, "env[%zu]", i);
		const char *value = json_get_text(one, "value");

		check_name(c, one, "name", wrong_variable);
		if (value && value[0] && json_get(one, "valueFrom"))
			check_add(c, CAUSE_INVALID, "valueFrom", json_get(one, "valueFrom"),
				  "may not be specified when `value` is not empty");
		if (json_get(one, "valueFrom") && json_len(json_get(one, "valueFrom")) != 1)
			check_add(c, CAUSE_INVALID, "valueFrom", json_get(one, "valueFrom"),
				  "must specify one of: `fieldRef`, `resourceFieldRef`, "
				  "`configMapKeyRef` or `secretKeyRef`");
		check_up(c, before);
	}
}

/* metadata.labels['key'], and the same of annotations. */
static bool names_member(const char *path, const char *map)
{
	size_t n = strlen(path), m = strlen(map);

	return text_starts(path, map) && n > m + 4 && path[m] == '[' && path[m + 1] == '\'' &&
	       path[n - 2] == '\'' && path[n - 1] == ']';
}

static bool names_field(const char *path, const char *const *plain)
{
	if (names_member(path, "metadata.labels") || names_member(path, "metadata.annotations"))
		return true;
	return text_in(path, (char *const *)plain);
}

void check_field_ref(struct check *c, const struct json *ref, const char *below,
		     const char *const *known)
{
	const struct json *path = json_get(ref, "fieldPath");
	auto_strbuf struct strbuf list = {0};

	if (!json_text(path) || names_field(json_text(path), known))
		return;
	for (size_t i = 0; known[i]; i++)
		strbuf_printf(&list, "%s\"%s\"", i ? ", " : "", known[i]);
	check_add(c, CAUSE_NOT_SUPPORTED, below, path, "supported values: %s", strbuf_text(&list));
}

void check_env_source(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const known[] = {"metadata.name",
					    "metadata.namespace",
					    "metadata.uid",
					    "spec.nodeName",
					    "spec.serviceAccountName",
					    "status.hostIP",
					    "status.hostIPs",
					    "status.podIP",
					    "status.podIPs",
					    NULL};

	(void)old;
	check_field_ref(c, json_get(object, "fieldRef"), "fieldRef.fieldPath", known);
}

void check_resource_ref(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const known[] = {"limits.cpu",
					    "limits.ephemeral-storage",
					    "limits.memory",
					    "requests.cpu",
					    "requests.ephemeral-storage",
					    "requests.memory",
					    NULL};
	const struct json *what = json_get(object, "resource");

	(void)old;
	if (!json_text(what) || text_in(json_text(what), (char *const *)known) ||
	    text_starts(json_text(what), "limits.hugepages-") ||
	    text_starts(json_text(what), "requests.hugepages-"))
		return;
	check_add(c, CAUSE_NOT_SUPPORTED, "resource", what,
		  "supported values: \"limits.cpu\", \"limits.ephemeral-storage\", "
		  "\"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", "
		  "\"requests.memory\"");
}

void check_env_from(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const members[] = {"configMapRef", "secretRef"};

	(void)old;
	check_name(c, object, "prefix", wrong_variable);
	if (!json_get(object, members[0]) && !json_get(object, members[1]))
		check_add(c, CAUSE_INVALID, "", object,
			  "must specify one of: `configMapRef` or `secretRef`");
	if (json_get(object, members[0]) && json_get(object, members[1]))
		check_add(c, CAUSE_INVALID, "", object,
			  "may not have more than one field specified at a time");
	for (size_t i = 0; i < array_len(members); i++) {
		const struct json *one = json_get(object, members[i]);
		auto_strbuf struct strbuf at = {0};

		strbuf_printf(&at, "%s.name", members[i]);
		if (one && !json_get(one, "name"))
			check_add(c, CAUSE_REQUIRED, strbuf_text(&at), NULL, "%s", "");
	}
}

/* -- rights ------------------------------------------------------------------------------------ */

static void check_ids(struct check *c, const struct json *object)
{
	static const char *const ids[] = {"runAsUser", "runAsGroup", "fsGroup"};

	for (size_t i = 0; i < array_len(ids); i++)
		check_range(c, object, ids[i], 0, NUMBER_MAX);
}

void check_rights(struct check *c, const struct json *object, const struct json *old)
{
	bool gains = json_get_bool(object, "allowPrivilegeEscalation", true);

	(void)old;
	check_ids(c, object);
	if (!gains && json_get_bool(object, "privileged", false))
		check_add(c, CAUSE_INVALID, "", object,
			  "cannot set `allowPrivilegeEscalation` to false and `privileged` to "
			  "true");
}

void check_pod_rights(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_ids(c, object);
}

/* -- containers -------------------------------------------------------------------------------- */

static const char *wrong_image(const char *image)
{
	size_t n = strlen(image);

	return strchr(" \t\n", image[0]) || strchr(" \t\n", image[n - 1])
		       ? "must not have leading or trailing whitespace"
		       : NULL;
}

static void check_mount_paths(struct check *c, const struct json *list)
{
	auto_map struct map seen = {0};

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *path = json_get(json_at(list, i), "mountPath");
		size_t before = check_down(c, "volumeMounts[%zu]", i);

		if (json_text(path) && json_str(path).n > 0 &&
		    map_put(&seen, json_text(path), &seen))
			check_add(c, CAUSE_INVALID, "mountPath", path, "must be unique");
		check_up(c, before);
	}
}

/* Numbers of probes that make no sense for what they watch. */
static void check_probes(struct check *c, const struct json *object)
{
	static const char *const once[] = {"livenessProbe", "startupProbe"};
	const struct json *ready = json_get(object, "readinessProbe");

	for (size_t i = 0; i < array_len(once); i++) {
		const struct json *probe = json_get(object, once[i]);
		auto_strbuf struct strbuf at = {0};

		strbuf_printf(&at, "%s.successThreshold", once[i]);
		if (probe && json_get_i64(probe, "successThreshold", 1) != 1)
			check_add(c, CAUSE_INVALID, strbuf_text(&at),
				  json_get(probe, "successThreshold"), "must be 1");
	}
	if (json_get(ready, "terminationGracePeriodSeconds"))
		check_add(c, CAUSE_INVALID, "readinessProbe.terminationGracePeriodSeconds",
			  json_get(ready, "terminationGracePeriodSeconds"),
			  "must not be set for readinessProbes");
}

void check_container(struct check *c, const struct json *object, const struct json *old)
{
	const char *image = json_get_text(object, "image");

	(void)old;
	check_name(c, object, "name", name_wrong_label);
	if (!image || !image[0])
		check_add(c, CAUSE_REQUIRED, "image", NULL, "%s", "");
	check_name(c, object, "image", wrong_image);
	check_ports(c, json_get(object, "ports"));
	check_env(c, json_get(object, "env"));
	check_mount_paths(c, json_get(object, "volumeMounts"));
	check_probes(c, object);
}

void check_ephemeral(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const not_there[] = {"ports",	"livenessProbe", "readinessProbe",
						"startupProbe", "lifecycle",	 "resizePolicy"};

	check_container(c, object, old);
	for (size_t i = 0; i < array_len(not_there); i++)
		if (json_get(object, not_there[i]))
			check_add(c, CAUSE_FORBIDDEN, not_there[i], NULL,
				  "cannot be set for an Ephemeral Container");
	if (json_len(json_get(object, "resources")) > 0)
		check_add(c, CAUSE_FORBIDDEN, "resources", NULL,
			  "cannot be set for an Ephemeral Container");
}
