/*
 * Rules for services and the addresses behind them.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/ip.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

static bool is_type(const struct json *spec, const char *type)
{
	return text_eq(json_get_text(spec, "type"), type);
}

static void service_port(struct check *c, const struct json *port, bool many, bool node_ports)
{
	const char *name = json_get_text(port, "name");

	check_port(c, port, "port");
	check_port(c, port, "targetPort");
	check_name(c, port, "targetPort", name_wrong_port);
	check_name(c, port, "name", name_wrong_label);
	if (many && (!name || !name[0]))
		check_add(c, CAUSE_REQUIRED, "name", NULL, "%s", "");
	if (!node_ports && json_get_i64(port, "nodePort", 0) != 0)
		check_add(c, CAUSE_FORBIDDEN, "nodePort", NULL,
			  "may not be used when `type` is 'ClusterIP'");
}

static void same_ports(struct check *c, const struct json *ports)
{
	auto_map struct map seen = {0};

	for (size_t i = 0; i < json_len(ports); i++) {
		auto_json struct json *shown = json_new_object();
		auto_strbuf struct strbuf key = {0}, at = {0};

		json_set_i64(shown, "port", json_get_i64(json_at(ports, i), "port", 0));
		json_set_text(shown, "protocol", json_get_text(json_at(ports, i), "protocol"));
		json_write(shown, &key);
		strbuf_printf(&at, "ports[%zu]", i);
		if (map_put(&seen, strbuf_text(&key), &seen))
			check_add(c, CAUSE_DUPLICATE, strbuf_text(&at), shown, "%s", "");
	}
}

static void service_ports(struct check *c, const struct json *spec, const struct json *old)
{
	const struct json *ports = json_get(spec, "ports");
	/* Who leaves another type behind may leave its node ports in the manifest. */
	bool node_ports = !is_type(spec, "ClusterIP") || (old && !is_type(old, "ClusterIP"));

	for (size_t i = 0; i < json_len(ports); i++) {
		size_t before = check_down(c, "ports[%zu]", i);

		service_port(c, json_at(ports, i), json_len(ports) > 1, node_ports);
		check_up(c, before);
	}
	check_unique(c, ports, "ports", "name");
	same_ports(c, ports);
}

static bool says(const struct json *object, const char *key)
{
	const char *text = json_get_text(object, key);

	return text && text[0];
}

static const char *wrong_host(const char *name)
{
	size_t n = strlen(name);
	auto_free char *text = mem_printf("%.*s", (int)(name[n - 1] == '.' ? n - 1 : n), name);

	return name_wrong_subdomain(text);
}

/* Addresses from outside: where they lead to, and who may use them. */
static void service_outside(struct check *c, const struct json *spec, const struct json *old)
{
	const struct json *ips = json_get(spec, "externalIPs");
	const struct json *ranges = json_get(spec, "loadBalancerSourceRanges");
	bool inner = is_type(spec, "ClusterIP") && (!old || is_type(old, "ClusterIP"));

	for (size_t i = 0; i < json_len(ips); i++) {
		auto_json struct json *one = json_new_object();
		auto_strbuf struct strbuf at = {0};

		strbuf_printf(&at, "externalIPs[%zu]", i);
		json_set(one, strbuf_text(&at), json_ref(json_at(ips, i)));
		check_address(c, one, strbuf_text(&at));
	}
	for (size_t i = 0; i < json_len(ranges); i++) {
		const struct json *one = json_at(ranges, i);
		auto_strbuf struct strbuf at = {0};
		struct ip_net net;

		strbuf_printf(&at, "loadBalancerSourceRanges[%zu]", i);
		if (!strchr(json_text(one), '/') ||
		    ip_net_parse(json_str(one), "range", &net, NULL) < 0)
			check_add(c, CAUSE_INVALID, strbuf_text(&at), one,
				  "must be a valid CIDR value, (e.g. 10.9.8.0/24 or "
				  "2001:db8::/64)");
	}
	if (inner && says(spec, "externalTrafficPolicy") && json_len(ips) == 0)
		check_add(c, CAUSE_INVALID, "externalTrafficPolicy",
			  json_get(spec, "externalTrafficPolicy"),
			  "may only be set for externally-accessible services");
}

static void service_address(struct check *c, const struct json *spec)
{
	const struct json *ip = json_get(spec, "clusterIP");
	struct ip parsed;

	if (!says(spec, "clusterIP") || is_type(spec, "ExternalName"))
		return;
	if (text_eq(json_text(ip), "None")) {
		if (is_type(spec, "LoadBalancer") || is_type(spec, "NodePort"))
			check_add(c, CAUSE_INVALID, "clusterIPs[0]", ip,
				  "may not be set to 'None' for %s services",
				  json_get_text(spec, "type"));
		return;
	}
	if (ip_parse(json_str(ip), "clusterIP", &parsed, NULL) < 0)
		check_add(c, CAUSE_INVALID, "clusterIPs[0]", ip,
			  "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

void check_service_spec(struct check *c, const struct json *object, const struct json *old)
{
	bool alias = is_type(object, "ExternalName");
	const struct json *ip = json_get(object, "clusterIP");

	if (json_len(json_get(object, "ports")) == 0 && !alias && !text_eq(json_text(ip), "None"))
		check_add(c, CAUSE_REQUIRED, "ports", NULL, "%s", "");
	if (alias && !says(object, "externalName"))
		check_add(c, CAUSE_REQUIRED, "externalName", NULL, "%s", "");
	if (alias)
		check_name(c, object, "externalName", wrong_host);
	service_ports(c, object, old);
	service_address(c, object);
	service_outside(c, object, old);
	check_labels(c, json_get(object, "selector"), "selector");
	if (says(old, "clusterIP") && says(object, "clusterIP") && !alias &&
	    !is_type(old, "ExternalName") && !json_equal(json_get(old, "clusterIP"), ip))
		check_add(c, CAUSE_INVALID, "clusterIPs[0]", ip, "may not change once set");
}

void check_endpoint(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_address(c, object, "ip");
}

void check_endpoint_port(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_port(c, object, "port");
}
