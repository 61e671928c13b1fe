/*
 * Rules for what surrounds workloads: tolerations, selectors, rights, quotas, limits, priorities,
 * network and ingress.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/ip.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

#define PRIORITY_MAX 1000000000 /* of users; above are the system's own classes */

static bool says(const struct json *object, const char *key)
{
	const char *text = json_get_text(object, key);

	return text && text[0];
}

void check_toleration(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *how = json_get(object, "operator");
	bool exists = text_eq(json_text(how), "Exists");

	(void)old;
	check_name(c, object, "key", name_wrong_label_key);
	if (!says(object, "key") && !exists)
		check_add(c, CAUSE_INVALID, "operator", how,
			  "operator must be Exists when `key` is empty, which means \"match all "
			  "values and all keys\"");
	if (exists && says(object, "value"))
		check_add(c, CAUSE_INVALID, "operator", json_get(object, "value"),
			  "value must be empty when `operator` is 'Exists'");
	if (json_get(object, "tolerationSeconds") &&
	    !text_eq(json_get_text(object, "effect"), "NoExecute"))
		check_add(c, CAUSE_INVALID, "effect", json_get(object, "effect"),
			  "effect must be 'NoExecute' when `tolerationSeconds` is set");
}

void check_requirement(struct check *c, const struct json *object, const struct json *old)
{
	const char *how = json_get_text(object, "operator");
	bool listed = text_eq(how, "In") || text_eq(how, "NotIn");
	bool bare = text_eq(how, "Exists") || text_eq(how, "DoesNotExist");
	size_t n = json_len(json_get(object, "values"));

	(void)old;
	check_name(c, object, "key", name_wrong_label_key);
	if (listed && n == 0)
		check_add(c, CAUSE_REQUIRED, "values", NULL,
			  "must be specified when `operator` is 'In' or 'NotIn'");
	if (bare && n > 0)
		check_add(c, CAUSE_FORBIDDEN, "values", NULL,
			  "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
}

void check_right(struct check *c, const struct json *object, const struct json *old)
{
	bool paths = json_len(json_get(object, "nonResourceURLs")) > 0;

	(void)old;
	if (paths)
		return;
	if (json_len(json_get(object, "apiGroups")) == 0)
		check_add(c, CAUSE_REQUIRED, "apiGroups", NULL,
			  "resource rules must supply at least one api group");
	if (json_len(json_get(object, "resources")) == 0)
		check_add(c, CAUSE_REQUIRED, "resources", NULL,
			  "resource rules must supply at least one resource");
}

/* A role of a namespace holds for what lies in it: pages of the server lie in none. */
void check_role(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *rules = json_get(object, "rules");

	(void)old;
	for (size_t i = 0; i < json_len(rules); i++) {
		const struct json *paths = json_get(json_at(rules, i), "nonResourceURLs");
		auto_strbuf struct strbuf at = {0};

		strbuf_printf(&at, "rules[%zu].nonResourceURLs", i);
		if (json_len(paths) > 0)
			check_add(c, CAUSE_INVALID, strbuf_text(&at), paths,
				  "namespaced rules cannot apply to non-resource URLs");
	}
}

void check_binding(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *ref = json_get(object, "roleRef"), *kind = json_get(ref, "kind");
	bool cluster = text_eq(c->kind->name, "ClusterRoleBinding");
	auto_json struct json *none = json_new_text("");

	if (!text_eq(json_text(kind), "ClusterRole") &&
	    (cluster || !text_eq(json_text(kind), "Role")))
		check_add(c, CAUSE_NOT_SUPPORTED, "roleRef.kind", kind ? kind : none,
			  "supported values: %s",
			  cluster ? "\"ClusterRole\"" : "\"Role\", \"ClusterRole\"");
	if (!ref)
		check_add(c, CAUSE_REQUIRED, "roleRef.name", NULL, "%s", "");
	if (old && !json_equal(json_get(old, "roleRef"), ref))
		check_add(c, CAUSE_INVALID, "roleRef", ref, "cannot change roleRef");
}

void check_subject(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const kinds[] = {"Group", "ServiceAccount", "User", NULL};
	const struct json *kind = json_get(object, "kind");

	(void)old;
	if (says(object, "kind") && !text_in(json_text(kind), (char *const *)kinds))
		check_add(c, CAUSE_NOT_SUPPORTED, "kind", kind,
			  "supported values: \"Group\", \"ServiceAccount\", \"User\"");
	if (text_eq(json_text(kind), "ServiceAccount") && !says(object, "namespace"))
		check_add(c, CAUSE_REQUIRED, "namespace", NULL, "%s", "");
}

static bool is_more(const struct json *a, const struct json *b)
{
	struct quantity left, right;

	return quantity_parse(json_str(a), &left, NULL) == 0 &&
	       quantity_parse(json_str(b), &right, NULL) == 0 && left.nano > right.nano;
}

void check_limit(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *max = json_get(object, "max");
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	(void)old;
	while (json_next(json_get(object, "min"), &it, &key, &value)) {
		auto_strbuf struct strbuf at = {0};

		strbuf_printf(&at, "min[%s]", key);
		if (json_get(max, key) && is_more(value, json_get(max, key)))
			check_add(c, CAUSE_INVALID, strbuf_text(&at), value,
				  "min value %s is greater than max value %s", json_text(value),
				  json_get_text(max, key));
	}
}

/* Counted things, and what pods ask for. */
static bool is_counted(const char *name)
{
	static const char *const known[] = {"pods",
					    "services",
					    "replicationcontrollers",
					    "resourcequotas",
					    "secrets",
					    "configmaps",
					    "persistentvolumeclaims",
					    "services.nodeports",
					    "services.loadbalancers",
					    NULL};

	return text_in(name, (char *const *)known) || text_starts(name, "count/");
}

static bool is_amount(const char *name)
{
	static const char *const known[] = {"cpu",
					    "memory",
					    "ephemeral-storage",
					    "requests.cpu",
					    "requests.memory",
					    "requests.storage",
					    "requests.ephemeral-storage",
					    "limits.cpu",
					    "limits.memory",
					    "limits.ephemeral-storage",
					    NULL};

	return text_in(name, (char *const *)known) || strchr(name, '/') ||
	       text_starts(name, "hugepages-") || text_starts(name, "requests.hugepages-");
}

void check_quota(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const scopes[] = {"Terminating",
					     "NotTerminating",
					     "BestEffort",
					     "NotBestEffort",
					     "PriorityClass",
					     "CrossNamespacePodAffinity",
					     NULL};
	const struct json *list = json_get(object, "scopes");
	struct json_iter it = {0};
	struct json *value;
	const char *name;

	(void)old;
	while (json_next(json_get(object, "hard"), &it, &name, &value)) {
		auto_json struct json *shown = json_new_text(name);
		auto_strbuf struct strbuf at = {0};
		struct quantity q = {0};

		strbuf_printf(&at, "hard[%s]", name);
		if (!is_counted(name) && !is_amount(name))
			check_add(c, CAUSE_INVALID, strbuf_text(&at), shown,
				  "must be a standard resource type or fully qualified");
		if (quantity_parse(json_str(value), &q, NULL) < 0 || q.nano < 0)
			check_add(c, CAUSE_INVALID, strbuf_text(&at), value,
				  "must be greater than or equal to 0");
		else if (is_counted(name) && q.nano % 1000000000 != 0)
			check_add(c, CAUSE_INVALID, strbuf_text(&at), value, "must be an integer");
	}
	for (size_t i = 0; i < json_len(list); i++)
		if (!text_in(json_text(json_at(list, i)), (char *const *)scopes))
			check_add(c, CAUSE_INVALID, "scopes", list, "unsupported scope");
}

void check_priority(struct check *c, const struct json *object, const struct json *old)
{
	const char *name = json_get_text(json_get(object, "metadata"), "name");
	bool system = name && text_starts(name, "system-");

	(void)old;
	if (!system && json_get_i64(object, "value", 0) > PRIORITY_MAX)
		check_add(c, CAUSE_FORBIDDEN, "value", NULL,
			  "maximum allowed value of a user defined priority is %d", PRIORITY_MAX);
	if (system && !text_eq(name, "system-node-critical") &&
	    !text_eq(name, "system-cluster-critical"))
		check_add(c, CAUSE_FORBIDDEN, "metadata.name", NULL,
			  "priority class names with 'system-' prefix are reserved for system use "
			  "only. error: %s is not a known system priority class",
			  name);
}

void check_open_port(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *end = json_get(object, "endPort");

	(void)old;
	check_port(c, object, "port");
	check_port(c, object, "endPort");
	if (end && json_i64(end, 0) < json_get_i64(object, "port", 0))
		check_add(c, CAUSE_INVALID, "endPort", end,
			  "must be greater than or equal to `port`");
}

void check_action_port(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_port(c, object, "port");
}

void check_path(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *path = json_get(object, "path");
	bool any = text_eq(json_get_text(object, "pathType"), "ImplementationSpecific");

	(void)old;
	if ((says(object, "path") || !any) &&
	    !text_starts(says(object, "path") ? json_text(path) : "", "/"))
		check_add(c, CAUSE_INVALID, "path", path, "must be an absolute path");
}

void check_spread(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	if (json_get(object, "maxSkew") && json_get_i64(object, "maxSkew", 0) <= 0)
		check_add(c, CAUSE_INVALID, "maxSkew", json_get(object, "maxSkew"),
			  "must be greater than zero");
}

void check_lease(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *seconds = json_get(object, "leaseDurationSeconds");

	(void)old;
	if (seconds && json_i64(seconds, 0) <= 0)
		check_add(c, CAUSE_INVALID, "leaseDurationSeconds", seconds,
			  "must be greater than 0");
	check_least(c, object, "leaseTransitions", 0);
}

/* -- network ----------------------------------------------------------------------------------- */

void check_block(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *range = json_get(object, "cidr");
	struct ip_net net;

	(void)old;
	if (!says(object, "cidr"))
		check_add(c, CAUSE_REQUIRED, "cidr", NULL, "%s", "");
	else if (!strchr(json_text(range), '/') ||
		 ip_net_parse(json_str(range), "cidr", &net, NULL) < 0)
		check_add(c, CAUSE_INVALID, "cidr", range,
			  "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
}

void check_ingress(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	if (json_len(json_get(object, "rules")) == 0 && !json_get(object, "defaultBackend"))
		check_add(c, CAUSE_INVALID, "", object,
			  "either `defaultBackend` or `rules` must be specified");
}

static const char *wrong_ingress_host(const char *host)
{
	return name_wrong_subdomain(text_starts(host, "*.") ? host + 2 : host);
}

void check_ingress_rule(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_name(c, object, "host", wrong_ingress_host);
}

void check_ingress_service(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *port = json_get(object, "port");

	(void)old;
	if (!says(object, "name"))
		check_add(c, CAUSE_REQUIRED, "name", NULL, "%s", "");
	if (!says(port, "name") && json_get_i64(port, "number", 0) == 0)
		check_add(c, CAUSE_REQUIRED, "port", NULL, "port name or number is required");
	if (json_get(port, "number"))
		check_range(c, port, "number", 1, 65535);
}

/* -- secrets ----------------------------------------------------------------------------------- */

/* What a secret of a type has to hold. */
void check_secret(struct check *c, const struct json *object, const struct json *old)
{
	static const struct {
		const char *type, *key;
	} rows[] = {
		{"kubernetes.io/tls", "tls.crt"},
		{"kubernetes.io/tls", "tls.key"},
		{"kubernetes.io/dockerconfigjson", ".dockerconfigjson"},
		{"kubernetes.io/dockercfg", ".dockercfg"},
		{"kubernetes.io/ssh-auth", "ssh-privatekey"},
	};
	const struct json *data = json_get(object, "data");
	const char *type = json_get_text(object, "type");

	check_config(c, object, old);
	for (size_t i = 0; i < array_len(rows); i++) {
		auto_strbuf struct strbuf at = {0};

		strbuf_printf(&at, "data[%s]", rows[i].key);
		if (text_eq(type, rows[i].type) && !json_get(data, rows[i].key))
			check_add(c, CAUSE_REQUIRED, strbuf_text(&at), NULL, "%s", "");
	}
	if (text_eq(type, "kubernetes.io/basic-auth") && !json_get(data, "username") &&
	    !json_get(data, "password")) {
		check_add(c, CAUSE_REQUIRED, "data[username]", NULL, "%s", "");
		check_add(c, CAUSE_REQUIRED, "data[password]", NULL, "%s", "");
	}
}
