/*
 * JSON shapes shared by all nouns, and the small ones: times, lists, networks, volumes, events.
 */
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/rfc3339.h"

#define NS_OF_A_SECOND 1000000000LL

void shape_log_time(struct strbuf *out, int64_t ns)
{
	char buf[RFC3339_CHARS + 1];

	strbuf_printf(out, "%s ", rfc3339_text_padded(ns, buf));
}

/* How long, in the words that docker ps uses. The first row whose limit is above counts. */
static const struct {
	int64_t below_s, unit_s;
	const char *text;
} spans[] = {
	{1, 0, "Less than a second"},
	{2, 0, "1 second"},
	{60, 1, "seconds"},
	{120, 0, "About a minute"},
	{3600, 60, "minutes"},
	{7200, 0, "About an hour"},
	{48 * 3600, 3600, "hours"},
	{14 * 86400, 86400, "days"},
	{60 * 86400, 7 * 86400, "weeks"},
	{2 * 365 * 86400, 30 * 86400, "months"},
	{INT64_MAX, 365 * 86400, "years"},
};

void shape_duration(struct strbuf *out, int64_t ns)
{
	int64_t s = ns / NS_OF_A_SECOND;

	for (size_t i = 0; i < array_len(spans); i++) {
		if (s >= spans[i].below_s)
			continue;
		if (spans[i].unit_s)
			strbuf_printf(out, "%lld ", (long long)(s / spans[i].unit_s));
		strbuf_add_text(out, spans[i].text);
		return;
	}
}

struct json *shape_texts(char *const *list)
{
	return list ? json_new_texts(list) : json_new_array();
}

struct json *shape_pairs(const struct json_pair *pairs)
{
	struct json *j = json_new_object();

	for (; pairs && pairs->key; pairs++)
		json_set_text(j, pairs->key, pairs->value);
	return j;
}

static struct json *ipam_json(const struct network_view *v)
{
	struct json *j = json_new_object();
	struct json *list = json_new_array();

	for (size_t i = 0; i < v->ipam_n; i++) {
		const struct ipam_config *p = &v->ipam[i];
		struct json *row = json_new_object();

		if (p->subnet)
			json_set_text(row, "Subnet", p->subnet);
		if (p->ip_range)
			json_set_text(row, "IPRange", p->ip_range);
		if (p->gateway)
			json_set_text(row, "Gateway", p->gateway);
		if (p->aux_addresses && p->aux_addresses->key)
			json_set(row, "AuxiliaryAddresses", shape_pairs(p->aux_addresses));
		json_append(list, row);
	}
	json_set_text(j, "Driver", v->ipam_driver ? v->ipam_driver : "default");
	json_set(j, "Options", NULL);
	json_set(j, "Config", list);
	return j;
}

static struct json *members_json(const struct network_view *v)
{
	struct json *j = json_new_object();

	for (size_t i = 0; i < v->members_n; i++) {
		const struct network_member *m = &v->members[i];
		struct json *row = json_new_object();

		json_set_text(row, "Name", m->name);
		json_set_text(row, "EndpointID", m->endpoint_id);
		json_set_text(row, "MacAddress", m->mac);
		json_set_text(row, "IPv4Address", m->ipv4 ? m->ipv4 : "");
		json_set_text(row, "IPv6Address", m->ipv6 ? m->ipv6 : "");
		json_set(j, m->container_id, row);
	}
	return j;
}

struct json *shape_network(const struct network_view *v, bool members)
{
	struct json *j = json_new_object();
	struct json *from = json_new_object();
	char time[RFC3339_CHARS + 1];

	json_set_text(j, "Name", v->name);
	json_set_text(j, "Id", v->id);
	json_set_text(j, "Created", rfc3339_text(v->created_ns, time));
	json_set_text(j, "Scope", v->scope);
	json_set_text(j, "Driver", v->driver);
	json_set_bool(j, "EnableIPv4", v->enable_ipv4);
	json_set_bool(j, "EnableIPv6", v->enable_ipv6);
	json_set(j, "IPAM", ipam_json(v));
	json_set_bool(j, "Internal", v->internal);
	json_set_bool(j, "Attachable", v->attachable);
	json_set_bool(j, "Ingress", v->ingress);
	json_set_text(from, "Network", "");
	json_set(j, "ConfigFrom", from);
	json_set_bool(j, "ConfigOnly", v->config_only);
	json_set(j, "Containers", members ? members_json(v) : json_new_object());
	json_set(j, "Options", shape_pairs(v->options));
	json_set(j, "Labels", shape_pairs(v->labels));
	return j;
}

struct json *shape_volume(const struct volume_view *v)
{
	struct json *j = json_new_object();
	char time[RFC3339_CHARS + 1];

	json_set_text(j, "CreatedAt", rfc3339_text(v->created_ns, time));
	json_set_text(j, "Driver", v->driver);
	json_set(j, "Labels", v->labels && v->labels->key ? shape_pairs(v->labels) : NULL);
	json_set_text(j, "Mountpoint", v->mountpoint);
	json_set_text(j, "Name", v->name);
	json_set(j, "Options", v->options && v->options->key ? shape_pairs(v->options) : NULL);
	json_set_text(j, "Scope", v->scope);
	if (v->size_bytes >= 0) {
		struct json *usage = json_new_object();

		json_set_i64(usage, "Size", v->size_bytes);
		json_set_i64(usage, "RefCount", v->ref_count);
		json_set(j, "UsageData", usage);
	}
	return j;
}

static const char *attribute(const struct event *v, const char *key)
{
	for (const struct json_pair *p = v->attributes; p && p->key; p++)
		if (strcmp(p->key, key) == 0)
			return p->value;
	return NULL;
}

struct json *shape_event(const struct event *v)
{
	struct json *j = json_new_object();
	struct json *actor = json_new_object();
	bool container = text_eq(v->type, "container");

	/* Three old names that clients before 1.22 and docker-compose 1 look for. */
	if (container || text_eq(v->type, "image")) {
		json_set_text(j, "status", v->action);
		json_set_text(j, "id", v->actor_id);
	}
	if (container && attribute(v, "image"))
		json_set_text(j, "from", attribute(v, "image"));
	json_set_text(actor, "ID", v->actor_id);
	json_set(actor, "Attributes", shape_pairs(v->attributes));
	json_set_text(j, "Type", v->type);
	json_set_text(j, "Action", v->action);
	json_set(j, "Actor", actor);
	json_set_text(j, "scope", "local");
	json_set_i64(j, "time", v->time_ns / NS_OF_A_SECOND);
	json_set_i64(j, "timeNano", v->time_ns);
	return j;
}
