/*
 * Cells of the other kinds: settings, storage, quotas, events, rights, certificates.
 */
#include <assert.h>

#include "cluster/objects/table_priv.h"

static void count(size_t n, struct strbuf *out)
{
	strbuf_printf(out, "%zu", n);
}

void cell_config_data(const struct json *map, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	count(json_len(json_get(map, "data")) + json_len(json_get(map, "binaryData")), out);
}

void cell_secret_data(const struct json *secret, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	count(json_len(json_get(secret, "data")), out);
}

void cell_account_secrets(const struct json *account, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	count(json_len(json_get(account, "secrets")), out);
}

void cell_node_drivers(const struct json *node, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	count(json_len(table_path(node, ".spec.drivers")), out);
}

static void flag(const struct json *object, const char *key, struct strbuf *out)
{
	strbuf_add_text(out, json_get_bool(object, key, false) ? "true" : "false");
}

void cell_class_expand(const struct json *class, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	flag(class, "allowVolumeExpansion", out);
}

void cell_global_default(const struct json *class, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	flag(class, "globalDefault", out);
}

void cell_access_modes(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	static const char *const modes[][2] = {{"ReadWriteOnce", "RWO"},
					       {"ReadOnlyMany", "ROX"},
					       {"ReadWriteMany", "RWX"},
					       {"ReadWriteOncePod", "RWOP"}};
	const struct json *list = table_path(object, ".spec.accessModes");

	(void)now_ns;
	/* A claim shows what it got, a volume what it offers. */
	if (text_eq(json_get_text(object, "kind"), "PersistentVolumeClaim"))
		list = table_path(object, ".status.accessModes");
	for (size_t m = 0; m < sizeof(modes) / sizeof(modes[0]); m++)
		for (size_t i = 0; i < json_len(list); i++)
			if (text_eq(json_text(json_at(list, i)), modes[m][0]))
				strbuf_printf(out, "%s%s", out->n ? "," : "", modes[m][1]);
	if (out->n == 0)
		strbuf_add_char(out, ' ');
}

void cell_attributes_class(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	const struct json *name = table_path(object, ".spec.volumeAttributesClassName");

	(void)now_ns;
	strbuf_add_text(out, name ? table_shown(name) : "<unset>");
}

void cell_deleting_phase(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	const struct json *phase = table_path(object, ".status.phase");

	(void)now_ns;
	if (table_path(object, ".metadata.deletionTimestamp"))
		strbuf_add_text(out, "Terminating");
	else
		strbuf_add_text(out, phase ? table_shown(phase) : "Pending");
}

void cell_volume_claim(const struct json *volume, int64_t now_ns, struct strbuf *out)
{
	const struct json *claim = table_path(volume, ".spec.claimRef");

	(void)now_ns;
	if (claim)
		strbuf_printf(out, "%s/%s", table_text(claim, "namespace"),
			      table_text(claim, "name"));
	else
		strbuf_add_char(out, ' ');
}

/* "pods: 3/10" of those whose names begin with limits., or of the others. */
static void quota(const struct json *object, bool limits, struct strbuf *out)
{
	const struct json *used = table_path(object, ".status.used");
	struct json_iter it = {0};
	struct json *hard;
	const char *key;

	while (json_next(table_path(object, ".status.hard"), &it, &key, &hard)) {
		const char *now = json_get_text(used, key);

		if (text_starts(key, "limits.") != limits)
			continue;
		strbuf_printf(out, "%s%s: %s/%s", out->n ? ", " : "", key, now ? now : "0",
			      table_shown(hard));
	}
	if (out->n == 0)
		strbuf_add_char(out, ' ');
}

void cell_quota_requests(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	quota(object, false, out);
}

void cell_quota_limits(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	quota(object, true, out);
}

static const struct json *component(const struct json *object)
{
	return json_at(json_get(object, "conditions"), 0);
}

void cell_component_status(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	const char *status = json_get_text(component(object), "status");

	(void)now_ns;
	strbuf_add_text(out, text_eq(status, "True")	? "Healthy"
			     : text_eq(status, "False") ? "Unhealthy"
							: "Unknown");
}

void cell_component_message(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	const char *text = json_get_text(component(object), "message");

	(void)now_ns;
	strbuf_add_text(out, text ? text : "");
}

void cell_component_error(const struct json *object, int64_t now_ns, struct strbuf *out)
{
	const char *text = json_get_text(component(object), "error");

	(void)now_ns;
	strbuf_add_text(out, text ? text : "");
}

void cell_event_last(const struct json *event, int64_t now_ns, struct strbuf *out)
{
	const struct json *series = json_get(event, "series");

	if (table_time(series, "lastObservedTime"))
		table_since(series, "lastObservedTime", now_ns, out);
	else if (table_time(event, "lastTimestamp"))
		table_since(event, "lastTimestamp", now_ns, out);
	else
		cell_event_first(event, now_ns, out);
}

void cell_event_first(const struct json *event, int64_t now_ns, struct strbuf *out)
{
	table_since(event, table_time(event, "firstTimestamp") ? "firstTimestamp" : "eventTime",
		    now_ns, out);
}

void cell_event_object(const struct json *event, int64_t now_ns, struct strbuf *out)
{
	const struct json *about = json_get(event, "involvedObject");
	const char *kind = json_get_text(about, "kind");
	const char *name = json_get_text(about, "name");

	(void)now_ns;
	for (; kind && *kind; kind++)
		strbuf_add_char(out, (char)(*kind >= 'A' && *kind <= 'Z' ? *kind | 0x20 : *kind));
	if (name && name[0])
		strbuf_printf(out, "/%s", name);
}

void cell_event_source(const struct json *event, int64_t now_ns, struct strbuf *out)
{
	const struct json *source = json_get(event, "source");
	const char *component = json_get_text(source, "component");
	const char *host = json_get_text(source, "host");

	(void)now_ns;
	if (!component || !component[0])
		component = json_get_text(event, "reportingComponent");
	strbuf_add_text(out, component ? component : "");
	if (host && host[0])
		strbuf_printf(out, ", %s", host);
}

void cell_event_message(const struct json *event, int64_t now_ns, struct strbuf *out)
{
	struct str text = str_trim(str_of(json_get_text(event, "message")));

	(void)now_ns;
	strbuf_add(out, text.p ? text.p : "", text.n);
}

void cell_event_count(const struct json *event, int64_t now_ns, struct strbuf *out)
{
	int64_t n =
		json_get_i64(json_get(event, "series"), "count", json_get_i64(event, "count", 0));

	(void)now_ns;
	strbuf_printf(out, "%lld", (long long)(n > 0 ? n : 1));
}

void cell_binding_role(const struct json *binding, int64_t now_ns, struct strbuf *out)
{
	const struct json *role = json_get(binding, "roleRef");

	(void)now_ns;
	strbuf_printf(out, "%s/%s", table_text(role, "kind"), table_text(role, "name"));
}

static void subjects(const struct json *binding, const char *kind, struct strbuf *out)
{
	const struct json *list = json_get(binding, "subjects");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		const char *room = json_get_text(one, "namespace");

		if (!text_eq(json_get_text(one, "kind"), kind))
			continue;
		strbuf_add_text(out, out->n ? ", " : "");
		if (text_eq(kind, "ServiceAccount"))
			strbuf_printf(out, "%s/", room ? room : "");
		strbuf_add_text(out, table_text(one, "name"));
	}
	if (out->n == 0)
		strbuf_add_char(out, ' ');
}

void cell_binding_users(const struct json *binding, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	subjects(binding, "User", out);
}

void cell_binding_groups(const struct json *binding, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	subjects(binding, "Group", out);
}

void cell_binding_accounts(const struct json *binding, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	subjects(binding, "ServiceAccount", out);
}

void cell_csr_duration(const struct json *csr, int64_t now_ns, struct strbuf *out)
{
	const struct json *seconds = table_path(csr, ".spec.expirationSeconds");
	char age[TABLE_AGE_CHARS];

	(void)now_ns;
	if (seconds)
		strbuf_add_text(out, table_age(json_i64(seconds, 0) * INT64_C(1000000000), age));
}

void cell_csr_condition(const struct json *csr, int64_t now_ns, struct strbuf *out)
{
	static const char *const types[] = {"Approved", "Denied", "Failed"};
	const struct json *list = table_path(csr, ".status.conditions");

	(void)now_ns;
	for (size_t t = 0; t < 3; t++)
		for (size_t i = 0; i < json_len(list); i++)
			if (text_eq(json_get_text(json_at(list, i), "type"), types[t]))
				strbuf_printf(out, "%s%s", out->n ? "," : "", types[t]);
	if (out->n == 0)
		strbuf_add_text(out, "Pending");
	if (table_path(csr, ".status.certificate"))
		strbuf_add_text(out, ",Issued");
}
