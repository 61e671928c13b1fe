/*
 * Validation: see validate.h. One walk over table and object finds what the table alone can say
 * (required, enumerations, what must not change); at each type the rule for it, where there is one,
 * looks at the fields together. The rules stand in files of their own by subject.
 */
#include "cluster/objects/validate.h"

#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/ip.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

#define ANNOTATIONS_MAX (256 << 10)

/* In the order of the types' names: every struct of every object is looked up here. */
static const struct rule {
	const char *type;
	rule_fn *check;
} rules[] = {
	{"ClusterRoleBinding", check_binding},
	{"ConfigMap", check_config},
	{"ConfigMapVolumeSource", check_config_files},
	{"Container", check_container},
	{"CronJob", check_cron_name},
	{"CronJobSpec", check_cron},
	{"DaemonSetSpec", check_daemon},
	{"DeploymentSpec", check_deployment},
	{"DownwardAPIVolumeFile", check_downward},
	{"DownwardAPIVolumeSource", check_files},
	{"EmptyDirVolumeSource", check_empty_dir},
	{"EndpointAddress", check_endpoint},
	{"EndpointPort", check_endpoint_port},
	{"EnvFromSource", check_env_from},
	{"EnvVarSource", check_env_source},
	{"EphemeralContainer", check_ephemeral},
	{"GRPCAction", check_action_port},
	{"HTTPGetAction", check_action_port},
	{"HTTPIngressPath", check_path},
	{"HorizontalPodAutoscalerSpec", check_scaler},
	{"HostAlias", check_host_alias},
	{"HostPathVolumeSource", check_host_path},
	{"IPBlock", check_block},
	{"IngressRule", check_ingress_rule},
	{"IngressServiceBackend", check_ingress_service},
	{"IngressSpec", check_ingress},
	{"JobSpec", check_job},
	{"KeyToPath", check_key_path},
	{"LabelSelectorRequirement", check_requirement},
	{"LeaseSpec", check_lease},
	{"LifecycleHandler", check_handler},
	{"LimitRangeItem", check_limit},
	{"MetricSpec", check_metric},
	{"NetworkPolicyPort", check_open_port},
	{"NodeSelectorRequirement", check_requirement},
	{"PersistentVolumeClaimSpec", check_claim},
	{"PersistentVolumeSpec", check_persistent},
	{"Pod", check_pod},
	{"PodDisruptionBudgetSpec", check_budget},
	{"PodSecurityContext", check_pod_rights},
	{"PodSpec", check_pod_spec},
	{"PolicyRule", check_right},
	{"PreferredSchedulingTerm", check_weight},
	{"PriorityClass", check_priority},
	{"Probe", check_probe},
	{"ProjectedVolumeSource", check_files},
	{"ReplicaSetSpec", check_workload},
	{"ReplicationControllerSpec", check_workload},
	{"ResourceFieldSelector", check_resource_ref},
	{"ResourceQuotaSpec", check_quota},
	{"ResourceRequirements", check_resources},
	{"Role", check_role},
	{"RoleBinding", check_binding},
	{"Secret", check_secret},
	{"SecretVolumeSource", check_secret_files},
	{"SecurityContext", check_rights},
	{"ServiceSpec", check_service_spec},
	{"StatefulSetSpec", check_stateful},
	{"Subject", check_subject},
	{"TCPSocketAction", check_action_port},
	{"Toleration", check_toleration},
	{"TopologySpreadConstraint", check_spread},
	{"Volume", check_volume},
	{"VolumeMount", check_mount},
	{"VolumeProjection", check_projection},
	{"WeightedPodAffinityTerm", check_weight},
};

static rule_fn *rule_of(const char *type)
{
	size_t low = 0, high = array_len(rules);

	while (low < high) {
		size_t at = (low + high) / 2;
		int cmp = strcmp(type, rules[at].type);

		if (cmp == 0)
			return rules[at].check;
		if (cmp < 0)
			high = at;
		else
			low = at + 1;
	}
	return NULL;
}

bool validate_is_sorted(void)
{
	for (size_t i = 1; i < array_len(rules); i++)
		if (strcmp(rules[i - 1].type, rules[i].type) >= 0)
			return false;
	return true;
}

size_t check_down(struct check *c, const char *fmt, ...)
{
	size_t before = c->path.n;
	va_list ap;

	va_start(ap, fmt);
	if (before && fmt[0] != '[')
		strbuf_add_char(&c->path, '.');
	strbuf_vprintf(&c->path, fmt, ap);
	va_end(ap);
	return before;
}

void check_up(struct check *c, size_t before)
{
	assert(before <= c->path.n);
	c->path.n = before;
	if (c->path.p)
		c->path.p[before] = '\0';
}

void check_add_at(struct check *c, enum cause_kind kind, const struct json *value,
		  const char *below, const char *detail, ...)
{
	auto_strbuf struct strbuf text = {0};
	size_t before = below[0] ? check_down(c, "%s", below) : c->path.n;
	va_list ap;

	va_start(ap, detail);
	strbuf_vprintf(&text, detail, ap);
	va_end(ap);
	cause_add(c->causes, kind, strbuf_text(&c->path), value, "%s", strbuf_text(&text));
	check_up(c, before);
}

void check_least(struct check *c, const struct json *object, const char *key, int64_t least)
{
	const struct json *value = json_get(object, key);

	if (json_kind(value) == JSON_NUMBER && json_i64(value, least) < least)
		check_add(c, CAUSE_INVALID, key, value, "must be greater than or equal to %lld",
			  (long long)least);
}

void check_range(struct check *c, const struct json *object, const char *key, int64_t least,
		 int64_t most)
{
	const struct json *value = json_get(object, key);

	if (json_kind(value) == JSON_NUMBER &&
	    (json_i64(value, least) < least || json_i64(value, least) > most))
		check_add(c, CAUSE_INVALID, key, value, "must be between %lld and %lld, inclusive",
			  (long long)least, (long long)most);
}

void check_address(struct check *c, const struct json *object, const char *key)
{
	const struct json *value = json_get(object, key);
	struct ip ip;

	if (json_str(value).n > 0 && ip_parse(json_str(value), key, &ip, NULL) < 0)
		check_add(c, CAUSE_INVALID, key, value,
			  "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

void check_share(struct check *c, const struct json *object, const char *key)
{
	const struct json *value = json_get(object, key);
	size_t digits, n = json_str(value).n;

	check_least(c, object, key, 0);
	if (json_kind(value) != JSON_STRING)
		return;
	digits = strspn(json_text(value), "0123456789");
	if (digits == 0 || digits + 1 != n || json_text(value)[digits] != '%')
		check_add(c, CAUSE_INVALID, key, value,
			  "a valid percent string must be a numeric string followed by an ending "
			  "'%%' (e.g. '1%%',  or '93%%', regex used for validation is '[0-9]+%%')");
}

void check_port(struct check *c, const struct json *object, const char *key)
{
	const struct json *value = json_get(object, key);

	if (json_kind(value) == JSON_NUMBER &&
	    (json_i64(value, 0) < 1 || json_i64(value, 0) > 65535))
		check_add(c, CAUSE_INVALID, key, value, "must be between 1 and 65535, inclusive");
}

void check_unique(struct check *c, const struct json *list, const char *name, const char *key)
{
	auto_map struct map seen = {0};

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *value = json_get(json_at(list, i), key);
		auto_strbuf struct strbuf below = {0};

		if (json_kind(value) != JSON_STRING || json_str(value).n == 0)
			continue;
		strbuf_printf(&below, "%s[%zu].%s", name, i, key);
		if (map_put(&seen, json_text(value), &seen))
			check_add(c, CAUSE_DUPLICATE, strbuf_text(&below), value, "%s", "");
	}
}

void check_name(struct check *c, const struct json *object, const char *key,
		const char *(*wrong)(const char *))
{
	const struct json *value = json_get(object, key);
	const char *why = NULL;

	if (json_kind(value) == JSON_STRING && json_str(value).n > 0)
		why = wrong(json_text(value));
	if (why)
		check_add(c, CAUSE_INVALID, key, value, "%s", why);
}

void check_labels(struct check *c, const struct json *map, const char *below)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key, *why;

	while (json_next(map, &it, &key, &value)) {
		auto_json struct json *shown = json_new_text(key);

		why = name_wrong_label_key(key);
		if (why)
			check_add(c, CAUSE_INVALID, below, shown, "%s", why);
		why = json_text(value) ? name_wrong_label_value(json_text(value)) : NULL;
		if (!why && json_text(value) && strlen(json_text(value)) != json_str(value).n)
			why = "must not contain a NUL byte";
		if (why)
			check_add(c, CAUSE_INVALID, below, value, "%s", why);
	}
}

static const char *wrong_segment(const char *name)
{
	if (text_eq(name, ".") || text_eq(name, ".."))
		return "may not be '.' or '..'";
	return strpbrk(name, "/%") ? "may not contain '/' or '%'" : NULL;
}

static const char *(*name_rule(const struct kind *k))(const char *)
{
	if (text_eq(k->name, "Namespace"))
		return name_wrong_label;
	if (kind_is(k, "", "Service"))
		return name_wrong_service;
	if (text_eq(k->group, "rbac.authorization.k8s.io"))
		return wrong_segment;
	return name_wrong_subdomain;
}

static void check_annotations(struct check *c, const struct json *map)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key, *why;
	size_t bytes = 0;

	while (json_next(map, &it, &key, &value)) {
		auto_strbuf struct strbuf small = {0};
		auto_json struct json *shown = json_new_text(key);

		for (const char *p = key; *p; p++) /* their keys may be written in capitals */
			strbuf_add_char(&small, (char)(*p >= 'A' && *p <= 'Z' ? *p | 0x20 : *p));
		why = name_wrong_label_key(strbuf_text(&small));
		if (why)
			check_add(c, CAUSE_INVALID, "annotations", shown, "%s", why);
		bytes += strlen(key) + json_str(value).n;
	}
	if (bytes > ANNOTATIONS_MAX)
		check_add(c, CAUSE_TOO_LONG, "annotations", NULL, "may not be more than %d bytes",
			  ANNOTATIONS_MAX);
}

/* A dash or a dot at the end stands before what is drawn. */
static void check_prefix(struct check *c, const struct json *prefix)
{
	auto_free char *text = json_text(prefix) ? mem_dup_text(json_text(prefix)) : NULL;
	const char *why = NULL;
	size_t n = text ? strlen(text) : 0;

	if (n == 0)
		return;
	if (strchr("-.", text[n - 1]))
		text[n - 1] = 'a';
	why = name_rule(c->kind)(text);
	if (why)
		check_add(c, CAUSE_INVALID, "generateName", prefix, "%s", why);
}

static void check_finalizers(struct check *c, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		const char *why = json_text(one) ? name_wrong_label_key(json_text(one)) : NULL;

		if (why)
			check_add(c, CAUSE_INVALID, "finalizers", one, "%s", why);
	}
}

void check_meta(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const kept[] = {"name", "namespace", "uid", "creationTimestamp"};
	const struct json *meta = json_get(object, "metadata");
	const char *name = json_get_text(meta, "name");
	const char *begin = json_get_text(meta, "generateName");
	size_t before = check_down(c, "metadata");

	if ((!name || !name[0]) && (!begin || !begin[0]))
		check_add(c, CAUSE_REQUIRED, "name", NULL, "name or generateName is required");
	check_name(c, meta, "name", name_rule(c->kind));
	check_prefix(c, json_get(meta, "generateName"));
	check_finalizers(c, json_get(meta, "finalizers"));
	check_labels(c, json_get(meta, "labels"), "labels");
	check_annotations(c, json_get(meta, "annotations"));
	for (size_t i = 0; i < array_len(kept); i++) {
		const struct json *was = json_get(json_get(old, "metadata"), kept[i]);

		if (was && json_get(meta, kept[i]) && !json_equal(was, json_get(meta, kept[i])))
			check_add(c, CAUSE_INVALID, kept[i], json_get(meta, kept[i]),
				  "field is immutable");
	}
	check_up(c, before);
}

static bool is_empty(const struct json *value)
{
	switch (json_kind(value)) {
	case JSON_NULL:
		return true;
	case JSON_STRING:
		return json_str(value).n == 0;
	case JSON_ARRAY:
		return json_len(value) == 0;
	case JSON_BOOL:
	case JSON_NUMBER:
	case JSON_OBJECT:
		break;
	}
	return false;
}

static void check_enum(struct check *c, const struct field *f, const struct json *value)
{
	auto_strbuf struct strbuf b = {0};

	if (is_empty(value) || !f->values || json_kind(value) != JSON_STRING ||
	    text_in(json_text(value), (char *const *)f->values))
		return;
	for (size_t i = 0; f->values[i]; i++)
		strbuf_printf(&b, "%s\"%s\"", i ? ", " : "", f->values[i]);
	check_add(c, CAUSE_NOT_SUPPORTED, "", value, "supported values: %s", strbuf_text(&b));
}

static void check_struct(struct check *c, const struct type *t, const struct json *object,
			 const struct json *old);

static void check_value(struct check *c, const struct field *f, const struct json *value,
			const struct json *old)
{
	if (f->type == FIELD_STRUCT)
		check_struct(c, f->of, value, old);
	else
		check_enum(c, f, value);
}

static void check_field(struct check *c, const struct field *f, const struct json *value,
			const struct json *old)
{
	struct json_iter it = {0};
	struct json *one;
	const char *key;
	size_t before;

	if (f->flags & FIELD_REQUIRED && is_empty(value))
		check_add(c, CAUSE_REQUIRED, "", NULL, "%s", "");
	if (f->flags & FIELD_IMMUTABLE && old && !json_equal(old, value))
		check_add(c, CAUSE_INVALID, "", value, "field is immutable");
	if (!value)
		return;
	switch (f->shape) {
	case FIELD_ONE:
		/* What a template makes may change with the template. */
		check_value(c, f, value, text_eq(f->name, "jobTemplate") ? NULL : old);
		return;
	case FIELD_LIST:
		for (size_t i = 0; i < json_len(value); i++) {
			before = check_down(c, "[%zu]", i);
			check_value(c, f, json_at(value, i), NULL);
			check_up(c, before);
		}
		return;
	case FIELD_MAP:
		while (f->type == FIELD_STRUCT && json_next(value, &it, &key, &one)) {
			before = check_down(c, "[%s]", key);
			check_value(c, f, one, NULL);
			check_up(c, before);
		}
		return;
	}
}

static void check_struct(struct check *c, const struct type *t, const struct json *object,
			 const struct json *old)
{
	rule_fn *rule;

	if (++c->depth > JSON_DEPTH_MAX || json_kind(object) != JSON_OBJECT) {
		c->depth--;
		return;
	}
	for (size_t i = 0; i < t->fields_n; i++) {
		const struct field *f = &t->fields[i];
		size_t before;

		if (f->flags & FIELD_INLINE) {
			check_struct(c, f->of, object, old);
			continue;
		}
		before = c->path.n;
		if (before) /* not by printf: every field comes here */
			strbuf_add_char(&c->path, '.');
		strbuf_add_text(&c->path, f->name);
		check_field(c, f, json_get(object, f->name), json_get(old, f->name));
		check_up(c, before);
	}
	rule = rule_of(t->name);
	if (rule)
		rule(c, object, old);
	c->depth--;
}

void validate(const struct kind *k, const struct json *object, const struct json *old,
	      struct causes *causes)
{
	struct check c = {.kind = k, .causes = causes};

	assert(k && object && causes);
	if (k->plural[0] && !(k->flags & KIND_NO_STORE))
		check_meta(&c, object, old);
	if (!(k->flags & KIND_CUSTOM))
		check_struct(&c, k->type, object, old);
	strbuf_done(&c.path);
}
