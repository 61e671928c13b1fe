/*
 * Cluster addresses and node ports of services. What is given out is known from the services in the
 * store; what is on its way is taken at once, so that two services never get the same. An address
 * that was asked for by name is given when it lies in the range and is free.
 *
 * As in Kubernetes the lower part of the range is left to those who ask by name: addresses are
 * drawn from the upper part first.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/ip.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define NAMED_MAX 256 /* addresses at most that only names get */

static bool is_text(const struct json *o, const char *key, const char *value)
{
	return text_eq(json_get_text(o, key), value);
}

static const char *const none = "None";

static bool has_ip(const struct json *spec)
{
	const char *ip = json_get_text(spec, "clusterIP");

	return ip && ip[0] && !text_eq(ip, none);
}

static void each_held(const struct json *spec, struct map *ips, struct map *ports, bool take_them)
{
	const struct json *list = json_get(spec, "clusterIPs"), *all = json_get(spec, "ports");
	char number[16];

	for (size_t i = 0; has_ip(spec) && i < json_len(list); i++) {
		const char *ip = json_text(json_at(list, i));

		(void)(take_them ? map_put(ips, ip, ips) : map_remove(ips, ip));
	}
	for (size_t i = 0; i < json_len(all); i++) {
		int64_t port = json_get_i64(json_at(all, i), "nodePort", 0);

		(void)snprintf(number, sizeof(number), "%lld", (long long)port);
		if (port)
			(void)(take_them ? map_put(ports, number, ports)
					 : map_remove(ports, number));
	}
	(void)snprintf(number, sizeof(number), "%lld",
		       (long long)json_get_i64(spec, "healthCheckNodePort", 0));
	if (!text_eq(number, "0"))
		(void)(take_them ? map_put(ports, number, ports) : map_remove(ports, number));
}

static bool load(void *ctx, const struct object *o)
{
	struct objects *os = ctx;

	each_held(json_get(object_tree(o), "spec"), &os->cluster_ips, &os->node_ports, true);
	return true;
}

void allocate_load(struct objects *os)
{
	objects_each(os, kind_of_resource("", "v1", "services"), NULL, load, os);
}

/* -- addresses --------------------------------------------------------------------------------- */

static void take_ip(struct change *c, const char *ip)
{
	(void)map_put(&c->objects->cluster_ips, ip, c->objects);
	mem_append_text(&c->taken_ips, ip);
}

static bool draw_ip(struct change *c, const struct ip_net *range, struct ip_text *ret)
{
	uint32_t size = 1u << (32 - range->bits), named = size / 16, start;
	const struct world *w = c->objects->world;
	struct ip base = ip_net_base(range);

	if (named > NAMED_MAX)
		named = NAMED_MAX;
	w->random(w->ctx, &start, sizeof(start));
	for (uint32_t n = 0; n < size; n++) {
		uint32_t i = named + (uint32_t)(((uint64_t)start + n) % (size - named));
		struct ip at;

		if (n >= size - named) /* the upper part is full */
			i = n - (size - named);
		at = ip_plus(base, i);
		*ret = ip_text(&at);
		if (i != 0 && i != size - 1 && !map_get(&c->objects->cluster_ips, ret->t))
			return true;
	}
	return false;
}

/* The address that was asked for; false with a cause. */
static bool named_ip(struct change *c, const struct ip_net *range, const struct json *asked,
		     struct ip_text *ret)
{
	struct ip want;
	struct err e;

	if (ip_parse(json_str(asked), "clusterIP", &want, &e) < 0 || !ip_in(&want, range)) {
		cause_add(
			&c->causes, CAUSE_INVALID, "spec.clusterIPs", asked,
			"failed to allocate IP %s: the provided IP is not in the valid range. The "
			"range of valid IPs is %s",
			json_text(asked), c->objects->o.service_cidr);
		return false;
	}
	*ret = ip_text(&want);
	if (!map_get(&c->objects->cluster_ips, ret->t))
		return true;
	cause_add(&c->causes, CAUSE_INVALID, "spec.clusterIPs", asked,
		  "failed to allocate IP %s: provided IP is already allocated", ret->t);
	return false;
}

static void give_ip(struct change *c, struct json *spec)
{
	struct json *list;
	struct ip_net range;
	struct ip_text text;
	struct err e;

	if (ip_net_parse(str_of(c->objects->o.service_cidr), "service range", &range, &e) < 0) {
		cause_add(&c->causes, CAUSE_INVALID, "spec.clusterIPs", NULL, "%s", e.text);
		return;
	}
	if (has_ip(spec)) {
		if (!named_ip(c, &range, json_get(spec, "clusterIP"), &text))
			return;
	} else if (!draw_ip(c, &range, &text)) {
		cause_add(&c->causes, CAUSE_INVALID, "spec.clusterIPs", NULL,
			  "failed to allocate IP: range is full");
		return;
	}
	take_ip(c, text.t);
	json_set_text(spec, "clusterIP", text.t);
	list = json_new_array();
	json_append(list, json_new_text(text.t));
	json_set(spec, "clusterIPs", list);
}

static void set_families(struct json *spec)
{
	struct json *list = json_new_array();

	if (json_get(spec, "ipFamilies")) {
		(void)json_free(list);
		return;
	}
	json_append(list, json_new_text("IPv4"));
	json_set(spec, "ipFamilies", list);
	if (!json_get(spec, "ipFamilyPolicy"))
		json_set_text(spec, "ipFamilyPolicy", "SingleStack");
}

static void addresses(struct change *c, struct json *spec, const struct json *old)
{
	const char *was = json_get_text(old, "clusterIP");

	if (is_text(spec, "type", "ExternalName")) {
		json_remove(spec, "clusterIP");
		json_remove(spec, "clusterIPs");
		return;
	}
	set_families(spec);
	if (was && was[0] && !json_get(spec, "clusterIP"))
		json_set_text(spec, "clusterIP", was);
	if (was && was[0] && is_text(spec, "clusterIP", was)) {
		if (!json_get(spec, "clusterIPs") && json_get(old, "clusterIPs"))
			json_set(spec, "clusterIPs", json_ref(json_get(old, "clusterIPs")));
		return;
	}
	if (was && was[0] && !is_text(old, "type", "ExternalName")) {
		cause_add(&c->causes, CAUSE_INVALID, "spec.clusterIPs[0]",
			  json_get(spec, "clusterIP"), "may not change once set");
		return;
	}
	if (is_text(spec, "clusterIP", none)) {
		struct json *list = json_new_array();

		json_append(list, json_new_text(none));
		json_set(spec, "clusterIPs", list);
		return;
	}
	give_ip(c, spec);
}

/* -- ports ------------------------------------------------------------------------------------- */

static void take_port(struct change *c, const char *number)
{
	(void)map_put(&c->objects->node_ports, number, c->objects);
	mem_append_text(&c->taken_ports, number);
}

static void port_range(const struct objects *os, unsigned int *ret_first, unsigned int *ret_last)
{
	*ret_first = os->o.node_ports_first ? os->o.node_ports_first : 30000;
	*ret_last = os->o.node_ports_first ? os->o.node_ports_last : 32767;
}

static bool draw_port(struct change *c, char number[16], unsigned int *ret)
{
	const struct world *w = c->objects->world;
	unsigned int first, last;
	uint32_t start;

	port_range(c->objects, &first, &last);
	w->random(w->ctx, &start, sizeof(start));
	for (unsigned int n = 0; n <= last - first; n++) {
		*ret = first + (start + n) % (last - first + 1);
		(void)snprintf(number, 16, "%u", *ret);
		if (!map_get(&c->objects->node_ports, number))
			return true;
	}
	return false;
}

static bool held_before(const struct json *old, int64_t port)
{
	const struct json *list = json_get(old, "ports");

	for (size_t i = 0; i < json_len(list); i++)
		if (json_get_i64(json_at(list, i), "nodePort", 0) == port)
			return true;
	return false;
}

static void give_port(struct change *c, struct json *port, size_t i, const struct json *old)
{
	int64_t want = json_get_i64(port, "nodePort", 0);
	unsigned int drawn = 0, first, last;
	char number[16], field[48];

	port_range(c->objects, &first, &last);
	(void)snprintf(field, sizeof(field), "spec.ports[%zu].nodePort", i);
	if (want && held_before(old, want))
		return;
	if (want && (want < first || want > last)) {
		cause_add(&c->causes, CAUSE_INVALID, field, json_get(port, "nodePort"),
			  "provided port is not in the valid range. The range of valid ports is "
			  "%u-%u",
			  first, last);
		return;
	}
	(void)snprintf(number, sizeof(number), "%lld", (long long)want);
	if (want && map_get(&c->objects->node_ports, number)) {
		/* the same port number of two protocols is one node port */
		if (!text_in(number, c->taken_ports))
			cause_add(&c->causes, CAUSE_INVALID, field, json_get(port, "nodePort"),
				  "provided port is already allocated");
		return;
	}
	if (!want && !draw_port(c, number, &drawn)) {
		cause_add(&c->causes, CAUSE_INVALID, field, NULL,
			  "failed to allocate a nodePort: range is full");
		return;
	}
	take_port(c, number);
	json_set_i64(port, "nodePort", want ? want : (int64_t)drawn);
}

static const struct json *same_port(const struct json *old, const struct json *port)
{
	const struct json *list = json_get(old, "ports");

	for (size_t i = 0; i < json_len(list); i++)
		if (json_get_i64(json_at(list, i), "port", 0) == json_get_i64(port, "port", 0) &&
		    text_eq(json_get_text(json_at(list, i), "protocol"),
			    json_get_text(port, "protocol")))
			return json_at(list, i);
	return NULL;
}

static void ports(struct change *c, struct json *spec, const struct json *old)
{
	struct json *list = json_get(spec, "ports");
	bool wants = is_text(spec, "type", "NodePort") ||
		     (is_text(spec, "type", "LoadBalancer") &&
		      json_get_bool(spec, "allocateLoadBalancerNodePorts", true));

	if (is_text(spec, "type", "ClusterIP") && json_len(json_get(spec, "externalIPs")) == 0)
		json_remove(spec, "externalTrafficPolicy"); /* of a type that it was */
	if (!is_text(spec, "type", "LoadBalancer"))
		json_remove(spec, "allocateLoadBalancerNodePorts");
	for (size_t i = 0; i < json_len(list); i++) {
		struct json *port = json_at(list, i);
		int64_t was = json_get_i64(same_port(old, port), "nodePort", 0);

		if (is_text(spec, "type", "ClusterIP") || is_text(spec, "type", "ExternalName")) {
			json_remove(port, "nodePort");
			continue;
		}
		if (was && !json_get_i64(port, "nodePort", 0))
			json_set_i64(port, "nodePort", was);
		if (wants)
			give_port(c, port, i, old);
	}
}

void allocate_service(struct change *c)
{
	struct json *spec = json_get(c->object, "spec");
	const struct json *old = c->old ? json_get(object_tree(c->old), "spec") : NULL;

	assert(spec);
	if (c->object && json_get_text(json_get(c->object, "metadata"), "deletionTimestamp"))
		return;
	addresses(c, spec, old);
	if (c->causes.n == 0)
		ports(c, spec, old);
}

/* What a change took and did not keep, and what it replaced or removed, is free again. */
void allocate_end(struct change *c)
{
	struct objects *os = c->objects;
	const struct object *newest;

	if (!kind_is(c->stored, "", "Service"))
		return;
	if (c->error.kind || c->dry_run) {
		for (size_t i = 0; c->taken_ips && c->taken_ips[i]; i++)
			(void)map_remove(&os->cluster_ips, c->taken_ips[i]);
		for (size_t i = 0; c->taken_ports && c->taken_ports[i]; i++)
			(void)map_remove(&os->node_ports, c->taken_ports[i]);
		return;
	}
	if (c->old && c->old != c->result)
		each_held(json_get(object_tree(c->old), "spec"), &os->cluster_ips, &os->node_ports,
			  false);
	newest = objects_newest(os, c->stored, c->namespace, c->name);
	if (newest)
		each_held(json_get(object_tree(newest), "spec"), &os->cluster_ips, &os->node_ports,
			  true);
}
