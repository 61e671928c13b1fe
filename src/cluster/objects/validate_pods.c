/*
 * Rules for pods, wherever they stand: containers, volumes, probes, resources, and what an update
 * of a pod may change.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

#define CONFIG_MAX (1 << 20)

static const char *wrong_key(const char *key)
{
	size_t n = strlen(key);

	if (n > 253)
		return "must be no more than 253 characters";
	if (text_eq(key, ".") || text_starts(key, ".."))
		return "must not be '.' and must not start with '..'";
	if (n == 0 || strspn(key, "-._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789") != n)
		return "a valid config key must consist of alphanumeric characters, '-', '_' or "
		       "'.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for "
		       "validation is '[-._a-zA-Z0-9]+')";
	return NULL;
}

/* Bytes of a value: a ConfigMap's `data` is plain, all else is base64 (rounded up). */
static size_t value_bytes(const struct check *c, const char *map, struct str value)
{
	if (text_eq(c->kind->name, "ConfigMap") && text_eq(map, "data"))
		return value.n;
	return value.n / 4 * 3;
}

/* ConfigMap and Secret: keys, size, and that an immutable one stays as it is. */
void check_config(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const maps[] = {"data", "binaryData"};
	size_t bytes = 0;

	for (size_t m = 0; m < array_len(maps); m++) {
		struct json_iter it = {0};
		struct json *value;
		const char *key;

		while (json_next(json_get(object, maps[m]), &it, &key, &value)) {
			const char *why = wrong_key(key);
			auto_json struct json *shown = json_new_text(key);
			auto_strbuf struct strbuf at = {0};

			strbuf_printf(&at, "%s[%s]", maps[m], key);
			bytes += value_bytes(c, maps[m], json_str(value));
			if (why)
				check_add(c, CAUSE_INVALID, strbuf_text(&at), shown, "%s", why);
		}
		if (json_get_bool(old, "immutable", false) &&
		    !json_equal(json_get(old, maps[m]), json_get(object, maps[m])))
			check_add(c, CAUSE_FORBIDDEN, maps[m], NULL,
				  "field is immutable when `immutable` is set");
	}
	if (json_get_bool(old, "immutable", false) && !json_get_bool(object, "immutable", false))
		check_add(c, CAUSE_FORBIDDEN, "immutable", NULL,
			  "field is immutable when `immutable` is set");
	if (bytes > CONFIG_MAX)
		check_add(c, CAUSE_TOO_LONG, "data", NULL, "may not be more than %d bytes",
			  CONFIG_MAX);
}

void check_resources(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const lists[] = {"limits", "requests"};

	(void)old;
	for (size_t l = 0; l < array_len(lists); l++) {
		struct json_iter it = {0};
		struct json *value;
		const char *key;

		while (json_next(json_get(object, lists[l]), &it, &key, &value)) {
			struct quantity q = {0}, most = {0};
			const struct json *limit = json_get(json_get(object, "limits"), key);
			auto_strbuf struct strbuf at = {0};

			strbuf_printf(&at, "%s[%s]", lists[l], key);
			if (quantity_parse(json_str(value), &q, NULL) < 0 || q.nano < 0)
				check_add(c, CAUSE_INVALID, strbuf_text(&at), value,
					  "must be greater than or equal to 0");
			if (l == 1 && limit && quantity_parse(json_str(limit), &most, NULL) == 0 &&
			    q.nano > most.nano)
				check_add(c, CAUSE_INVALID, "requests", value,
					  "must be less than or equal to %s limit of %s", key,
					  json_text(limit));
		}
	}
}

void check_probe(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const handlers[] = {"exec", "httpGet", "tcpSocket", "grpc"};
	static const char *const numbers[] = {"initialDelaySeconds", "timeoutSeconds",
					      "periodSeconds", "successThreshold",
					      "failureThreshold"};
	size_t n = 0;

	(void)old;
	for (size_t i = 0; i < array_len(handlers); i++) {
		if (!json_get(object, handlers[i]))
			continue;
		if (n++ > 0)
			check_add(c, CAUSE_FORBIDDEN, handlers[i], NULL,
				  "may not specify more than 1 handler type");
	}
	if (n == 0)
		check_add(c, CAUSE_REQUIRED, "", NULL, "must specify a handler type");
	if (json_get(object, "exec") &&
	    json_len(json_get(json_get(object, "exec"), "command")) == 0)
		check_add(c, CAUSE_REQUIRED, "exec.command", NULL, "%s", "");
	for (size_t i = 0; i < array_len(numbers); i++)
		check_least(c, object, numbers[i], 0);
}

static void check_ports(struct check *c, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++) {
		size_t before = check_down(c, "ports[%zu]", i);

		check_port(c, json_at(list, i), "containerPort");
		if (json_get_i64(json_at(list, i), "hostPort", 0) != 0)
			check_port(c, json_at(list, i), "hostPort");
		check_up(c, before);
	}
	check_unique(c, list, "ports", "name");
}

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

void check_container(struct check *c, const struct json *object, const struct json *old)
{
	const char *image = json_get_text(object, "image");
	const struct json *ready = json_get(object, "livenessProbe");

	(void)old;
	check_name(c, object, "name", name_wrong_label);
	if (!image || !image[0])
		check_add(c, CAUSE_REQUIRED, "image", NULL, "%s", "");
	check_ports(c, json_get(object, "ports"));
	check_env(c, json_get(object, "env"));
	check_mount_paths(c, json_get(object, "volumeMounts"));
	if (ready && json_get_i64(ready, "successThreshold", 1) != 1)
		check_add(c, CAUSE_INVALID, "livenessProbe.successThreshold",
			  json_get(ready, "successThreshold"), "must be 1");
}

void check_volume(struct check *c, const struct json *object, const struct json *old)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	size_t n = 0;

	(void)old;
	check_name(c, object, "name", name_wrong_label);
	while (json_next(object, &it, &key, &value))
		if (!text_eq(key, "name") && n++ > 0)
			check_add(c, CAUSE_FORBIDDEN, key, NULL,
				  "may not specify more than 1 volume type");
}

/* Each mount names a volume of the pod. */
static void check_mounts(struct check *c, const char *list_name, const struct json *list,
			 const struct map *volumes)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *mounts = json_get(json_at(list, i), "volumeMounts");

		for (size_t m = 0; m < json_len(mounts); m++) {
			const struct json *name = json_get(json_at(mounts, m), "name");
			auto_strbuf struct strbuf at = {0};

			if (!json_text(name) || map_get(volumes, json_text(name)))
				continue;
			strbuf_printf(&at, "%s[%zu].volumeMounts[%zu].name", list_name, i, m);
			check_add(c, CAUSE_NOT_FOUND, strbuf_text(&at), name, "%s", "");
		}
	}
}

void check_pod_spec(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *list = json_get(object, "volumes");
	auto_map struct map volumes = {0};

	(void)old;
	for (size_t i = 0; i < json_len(list); i++)
		if (json_get_text(json_at(list, i), "name"))
			(void)map_put(&volumes, json_get_text(json_at(list, i), "name"), &volumes);
	check_unique(c, list, "volumes", "name");
	check_unique(c, json_get(object, "containers"), "containers", "name");
	check_unique(c, json_get(object, "initContainers"), "initContainers", "name");
	check_mounts(c, "containers", json_get(object, "containers"), &volumes);
	check_mounts(c, "initContainers", json_get(object, "initContainers"), &volumes);
	check_labels(c, json_get(object, "nodeSelector"), "nodeSelector");
	check_least(c, object, "terminationGracePeriodSeconds", 0);
	check_least(c, object, "activeDeadlineSeconds", 1);
	check_name(c, object, "hostname", name_wrong_label);
	check_name(c, object, "subdomain", name_wrong_label);
	check_name(c, object, "serviceAccountName", name_wrong_subdomain);
}

/* A copy without what an update may change; a node is given once. */
static struct json *fixed_part(const struct json *spec, bool keep_node)
{
	static const char *const free_fields[] = {"activeDeadlineSeconds", "tolerations",
						  "terminationGracePeriodSeconds",
						  "ephemeralContainers", "schedulingGates"};
	static const char *const lists[] = {"containers", "initContainers"};
	struct json *copy = json_copy(spec);

	for (size_t i = 0; i < array_len(free_fields); i++)
		json_remove(copy, free_fields[i]);
	if (!keep_node)
		json_remove(copy, "nodeName");
	for (size_t l = 0; l < array_len(lists); l++) {
		struct json *list = json_get(copy, lists[l]);

		for (size_t i = 0; i < json_len(list); i++)
			json_remove(json_at(list, i), "image");
	}
	return copy;
}

void check_pod(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *before = json_get(old, "spec");
	const char *node = json_get_text(before, "nodeName");
	auto_json struct json *was = NULL, *is = NULL;

	if (!before)
		return;
	was = fixed_part(before, node && node[0]);
	is = fixed_part(json_get(object, "spec"), node && node[0]);
	if (!json_equal(was, is))
		check_add(c, CAUSE_FORBIDDEN, "spec", NULL,
			  "pod updates may not change fields other than "
			  "`spec.containers[*].image`,`spec.initContainers[*].image`,"
			  "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
			  "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to "
			  "be set to 1 if it was previously negative)");
}
