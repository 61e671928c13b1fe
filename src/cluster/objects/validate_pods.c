/*
 * Rules for pods, wherever they stand: what holds across their containers and volumes, and what an
 * update of a pod may change. And for what pods are configured with.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

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
			if (m > 0 && json_get(json_get(object, maps[0]), key))
				check_add(c, CAUSE_INVALID, strbuf_text(&at), shown,
					  "duplicate of key present in data");
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

/* -- across the containers of a pod ------------------------------------------------------------ */

static const char *const container_lists[] = {"containers", "initContainers",
					      "ephemeralContainers"};

/* Names are unique among all containers of a pod, whichever list they stand in. */
static void check_container_names(struct check *c, const struct json *spec)
{
	auto_map struct map seen = {0};

	for (size_t l = 0; l < array_len(container_lists); l++) {
		const struct json *list = json_get(spec, container_lists[l]);

		for (size_t i = 0; i < json_len(list); i++) {
			const struct json *name = json_get(json_at(list, i), "name");
			auto_strbuf struct strbuf at = {0};

			if (!json_text(name) || json_str(name).n == 0)
				continue;
			strbuf_printf(&at, "%s[%zu].name", container_lists[l], i);
			if (map_put(&seen, json_text(name), &seen))
				check_add(c, CAUSE_DUPLICATE, strbuf_text(&at), name, "%s", "");
		}
	}
}

/* One port of a container: taken on the node by another, or not what the host's network gives. */
static void check_host_port(struct check *c, const struct json *port, bool on_host,
			    struct map *seen)
{
	int64_t inner = json_get_i64(port, "containerPort", 0);
	int64_t outer = json_get_i64(port, "hostPort", 0);
	const char *protocol = json_get_text(port, "protocol"), *ip = json_get_text(port, "hostIP");
	auto_strbuf struct strbuf key = {0};
	auto_json struct json *shown = NULL;

	if (on_host && outer != inner)
		check_add(c, CAUSE_INVALID, "containerPort", json_get(port, "containerPort"),
			  "must match `hostPort` when `hostNetwork` is true");
	if (outer == 0)
		return;
	strbuf_printf(&key, "%s/%s/%lld", protocol ? protocol : "TCP", ip ? ip : "",
		      (long long)outer);
	shown = json_new_text(strbuf_text(&key));
	if (map_put(seen, strbuf_text(&key), seen))
		check_add(c, CAUSE_DUPLICATE, "hostPort", shown, "%s", "");
}

static void check_host_ports(struct check *c, const struct json *spec)
{
	const struct json *list = json_get(spec, "containers");
	bool on_host = json_get_bool(spec, "hostNetwork", false);
	auto_map struct map seen = {0};

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *ports = json_get(json_at(list, i), "ports");

		for (size_t p = 0; p < json_len(ports); p++) {
			size_t before = check_down(c, "containers[%zu].ports[%zu]", i, p);

			check_host_port(c, json_at(ports, p), on_host, &seen);
			check_up(c, before);
		}
	}
}

/* What watches a container that is to end makes no sense, unless it is a sidecar. */
static void check_init(struct check *c, const struct json *list)
{
	static const char *const watchers[] = {"lifecycle", "livenessProbe", "readinessProbe",
					       "startupProbe"};

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i), *policy = json_get(one, "restartPolicy");
		size_t before = check_down(c, "initContainers[%zu]", i);
		bool sidecar = text_eq(json_text(policy), "Always");

		if (policy && !sidecar)
			check_add(c, CAUSE_NOT_SUPPORTED, "restartPolicy", policy,
				  "supported values: \"Always\"");
		for (size_t w = 0; w < array_len(watchers); w++)
			if (json_get(one, watchers[w]) && !sidecar)
				check_add(c, CAUSE_FORBIDDEN, watchers[w], NULL,
					  "may not be set for init containers without "
					  "restartPolicy=Always");
		check_up(c, before);
	}
}

static void check_names(struct check *c, const struct json *spec)
{
	const struct json *dns = json_get(spec, "dnsConfig");
	const struct json *list = json_get(spec, "containers");

	if (text_eq(json_get_text(spec, "dnsPolicy"), "None") && !dns)
		check_add(c, CAUSE_REQUIRED, "dnsConfig", NULL,
			  "must provide `dnsConfig` when `dnsPolicy` is None");
	else if (text_eq(json_get_text(spec, "dnsPolicy"), "None") &&
		 json_len(json_get(dns, "nameservers")) == 0)
		check_add(c, CAUSE_REQUIRED, "dnsConfig.nameservers", NULL,
			  "must provide at least one DNS nameserver when `dnsPolicy` is None");
	for (size_t i = 0; i < json_len(list); i++)
		if (json_get(json_at(list, i), "restartPolicy")) {
			auto_strbuf struct strbuf at = {0};

			strbuf_printf(&at, "containers[%zu].restartPolicy", i);
			check_add(c, CAUSE_FORBIDDEN, strbuf_text(&at), NULL,
				  "may not be set for non-init containers");
		}
	check_name(c, spec, "hostname", name_wrong_label);
	check_name(c, spec, "subdomain", name_wrong_label);
	check_name(c, spec, "serviceAccountName", name_wrong_subdomain);
	check_name(c, spec, "nodeName", name_wrong_subdomain);
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
	check_container_names(c, object);
	check_host_ports(c, object);
	check_init(c, json_get(object, "initContainers"));
	check_mounts(c, "containers", json_get(object, "containers"), &volumes);
	check_mounts(c, "initContainers", json_get(object, "initContainers"), &volumes);
	check_labels(c, json_get(object, "nodeSelector"), "nodeSelector");
	check_least(c, object, "terminationGracePeriodSeconds", 0);
	check_range(c, object, "activeDeadlineSeconds", 1, INT32_MAX);
	check_names(c, object);
	if (json_get_bool(object, "shareProcessNamespace", false) &&
	    json_get_bool(object, "hostPID", false))
		check_add(c, CAUSE_INVALID, "shareProcessNamespace",
			  json_get(object, "shareProcessNamespace"),
			  "ShareProcessNamespace and HostPID cannot both be enabled");
}

void check_host_alias(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_address(c, object, "ip");
}

void check_weight(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *weight = json_get(object, "weight");

	(void)old;
	if (weight && (json_i64(weight, 0) < 1 || json_i64(weight, 0) > 100))
		check_add(c, CAUSE_INVALID, "weight", weight, "must be in the range 1-100");
}

/* -- updates ----------------------------------------------------------------------------------- */

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

/* Containers that were put into a running pod stay what they are. */
static void check_put_in(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *was = json_get(json_get(old, "spec"), "ephemeralContainers");
	const struct json *is = json_get(json_get(object, "spec"), "ephemeralContainers");

	for (size_t i = 0; i < json_len(was); i++) {
		const char *name = json_get_text(json_at(was, i), "name");
		const struct json *now = json_find(is, "name", name);

		if (!now)
			check_add(c, CAUSE_FORBIDDEN, "spec.ephemeralContainers", NULL,
				  "existing ephemeral containers \"%s\" may not be removed", name);
		else if (!json_equal(now, json_at(was, i)))
			check_add(c, CAUSE_FORBIDDEN, "spec.ephemeralContainers", NULL,
				  "existing ephemeral containers \"%s\" may not be changed", name);
	}
}

/* Whose processes a container shares. */
static void check_targets(struct check *c, const struct json *object)
{
	const struct json *spec = json_get(object, "spec");
	const struct json *list = json_get(spec, "ephemeralContainers");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *target = json_get(json_at(list, i), "targetContainerName");
		auto_strbuf struct strbuf at = {0};

		strbuf_printf(&at, "spec.ephemeralContainers[%zu].targetContainerName", i);
		if (json_str(target).n > 0 &&
		    !json_find(json_get(spec, "containers"), "name", json_text(target)) &&
		    !json_find(json_get(spec, "initContainers"), "name", json_text(target)))
			check_add(c, CAUSE_NOT_FOUND, strbuf_text(&at), target, "%s", "");
	}
}

void check_pod(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *before = json_get(old, "spec");
	const char *node = json_get_text(before, "nodeName");
	auto_json struct json *was = NULL, *is = NULL;

	if (!old && json_len(json_get(json_get(object, "spec"), "ephemeralContainers")) > 0)
		check_add(c, CAUSE_FORBIDDEN, "spec.ephemeralContainers", NULL,
			  "cannot be set on create");
	if (!before)
		return;
	check_put_in(c, object, old);
	check_targets(c, object);
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
