/*
 * A Service and its slices as rules for packets. Pure: trees in, a struct network_service out.
 */
#include <string.h>

#include "cluster/node/services_priv.h"
#include "ground/base/mem.h"

#define AFFINITY_S 10800 /* Kubernetes' default for sessionAffinity ClientIP */

/* ---- slices ---- */

struct slice_endpoint slice_endpoint(const struct json *slice, size_t i)
{
	const struct json *ep = json_at(json_get(slice, "endpoints"), i);
	const struct json *conditions = json_get(ep, "conditions");
	bool ready = json_get_bool(conditions, "ready", true);

	return (struct slice_endpoint){ep, ready, json_get_bool(conditions, "serving", ready)};
}

static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_protocol(const char *a, const char *b)
{
	return strcmp(a ? a : "TCP", b ? b : "TCP") == 0;
}

uint16_t slice_port(const struct json *slice, const struct json *service_port)
{
	const struct json *ports = json_get(slice, "ports");

	for (size_t i = 0; i < json_len(ports); i++) {
		const struct json *p = json_at(ports, i);

		if (same_text(json_get_text(p, "name"), json_get_text(service_port, "name")) &&
		    same_protocol(json_get_text(p, "protocol"),
				  json_get_text(service_port, "protocol")))
			return (uint16_t)json_get_i64(p, "port", 0);
	}
	return 0;
}

/* ---- one port ---- */

struct ends {
	struct network_service_endpoint *items;
	size_t n;
};

static bool is_there(const struct ends *e, const struct network_service_endpoint *ep)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->items[i].port == ep->port && ip_eq(&e->items[i].ip, &ep->ip))
			return true;
	return false;
}

static void take_endpoint(struct ends *e, const struct json *ep, uint16_t port, const char *node)
{
	const char *at = json_text(json_at(json_get(ep, "addresses"), 0));
	const char *on = json_get_text(ep, "nodeName");
	struct network_service_endpoint new = {.port = port, .local = on && strcmp(on, node) == 0};

	if (!at || ip_parse(str_of(at), "address", &new.ip, NULL) < 0 ||
	    e->n == NETWORK_SERVICE_ENDPOINTS_MAX || is_there(e, &new))
		return;
	e->items[e->n++] = new;
}

static void take_ends(const struct service_objects *o, const struct json *port, const char *node,
		      bool last_resort, struct ends *ret)
{
	for (size_t i = 0; i < o->slices_n; i++) {
		const struct json *slice = o->slices[i];
		uint16_t number = slice_port(slice, port);
		size_t n = json_len(json_get(slice, "endpoints"));

		for (size_t k = 0; number && k < n; k++) {
			struct slice_endpoint ep = slice_endpoint(slice, k);

			if (last_resort ? ep.serving : ep.ready)
				take_endpoint(ret, ep.endpoint, number, node);
		}
	}
}

static size_t count_endpoints(const struct service_objects *o)
{
	size_t n = 0;

	for (size_t i = 0; i < o->slices_n; i++)
		n += json_len(json_get(o->slices[i], "endpoints"));
	return n < NETWORK_SERVICE_ENDPOINTS_MAX ? n : NETWORK_SERVICE_ENDPOINTS_MAX;
}

static bool read_port(const struct service_objects *o, const struct json *j, const char *node,
		      struct arena *a, struct network_service_port *ret)
{
	const char *protocol = json_get_text(j, "protocol");
	struct ends ends = {
		arena_new_array(a, struct network_service_endpoint, count_endpoints(o) + 1), 0};

	*ret = (struct network_service_port){
		.port = (uint16_t)json_get_i64(j, "port", 0),
		.node_port = (uint16_t)json_get_i64(j, "nodePort", 0),
	};
	if (same_protocol(protocol, "UDP"))
		ret->proto = NETWORK_UDP;
	else if (same_protocol(protocol, "SCTP"))
		ret->proto = NETWORK_SCTP;
	take_ends(o, j, node, false, &ends);
	if (ends.n == 0)
		take_ends(o, j, node, true, &ends);
	ret->endpoints = ends.items;
	ret->endpoints_n = ends.n;
	return ret->port;
}

/* ---- the service ---- */

static size_t read_ips(const struct json *list, const char *member, struct arena *a,
		       const struct ip **ret)
{
	struct ip *ips = arena_new_array(a, struct ip, json_len(list) + 1);
	size_t n = 0;

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *j = json_at(list, i);
		const char *text = member ? json_get_text(j, member) : json_text(j);

		if (text && ip_parse(str_of(text), "address", &ips[n], NULL) == 0)
			n++;
	}
	*ret = ips;
	return n;
}

/* clusterIPs, or of one who does not say them clusterIP. */
static size_t read_cluster_ips(const struct json *spec, struct arena *a, const struct ip **ret)
{
	const char *one = json_get_text(spec, "clusterIP");
	struct ip *ip;
	size_t n = read_ips(json_get(spec, "clusterIPs"), NULL, a, ret);

	if (n || !one)
		return n;
	ip = arena_new(a, struct ip);
	if (ip_parse(str_of(one), "address", ip, NULL) < 0)
		return 0;
	*ret = ip;
	return 1;
}

static uint32_t read_affinity(const struct json *spec)
{
	const struct json *config = json_get(json_get(spec, "sessionAffinityConfig"), "clientIP");

	if (!text_eq(json_get_text(spec, "sessionAffinity"), "ClientIP"))
		return 0;
	return (uint32_t)json_get_i64(config, "timeoutSeconds", AFFINITY_S);
}

static bool is_local(const struct json *spec, const char *policy)
{
	return text_eq(json_get_text(spec, policy), "Local");
}

bool service_rules(const struct service_objects *o, const char *node, struct arena *a,
		   struct network_service *ret)
{
	const struct json *spec = json_get(o->service, "spec"), *list = json_get(spec, "ports");
	const struct json *ingress =
		json_get(json_get(json_get(o->service, "status"), "loadBalancer"), "ingress");
	const char *type = json_get_text(spec, "type");
	struct network_service_port *ports;

	*ret = (struct network_service){.key = o->key};
	if (text_eq(type, "ExternalName"))
		return false;
	ret->addresses_n = read_cluster_ips(spec, a, &ret->addresses);
	if (ret->addresses_n == 0)
		return false;
	ret->externals_n = read_ips(json_get(spec, "externalIPs"), NULL, a, &ret->externals);
	if (text_eq(type, "LoadBalancer"))
		ret->balanced_n = read_ips(ingress, "ip", a, &ret->balanced);
	ports = arena_new_array(a, struct network_service_port, json_len(list) + 1);
	for (size_t i = 0; i < json_len(list); i++)
		if (read_port(o, json_at(list, i), node, a, &ports[ret->ports_n]))
			ret->ports_n++;
	ret->ports = ports;
	ret->affinity_s = read_affinity(spec);
	ret->external_local = is_local(spec, "externalTrafficPolicy");
	ret->internal_local = is_local(spec, "internalTrafficPolicy");
	return true;
}
