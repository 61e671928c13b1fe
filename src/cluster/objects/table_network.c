/*
 * Cells of services, endpoints, slices, ingresses and network policies.
 */
#include <assert.h>

#include "cluster/objects/table_priv.h"

#define SHOWN 3 /* of a list, before "+ N more..." */

static void comma(struct strbuf *out)
{
	if (out->n > 0)
		strbuf_add_char(out, ',');
}

static void more(size_t n, struct strbuf *out)
{
	if (n > SHOWN)
		strbuf_printf(out, " + %zu more...", n - SHOWN);
}

void cell_service_ip(const struct json *service, int64_t now_ns, struct strbuf *out)
{
	const char *ip = json_get_text(json_get(service, "spec"), "clusterIP");

	(void)now_ns;
	strbuf_add_text(out, ip && ip[0] ? ip : "<none>");
}

static void texts(const struct json *list, const char *key, struct strbuf *out)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		const char *text = key ? json_get_text(one, key) : json_text(one);

		if (!text || !text[0])
			continue;
		comma(out);
		strbuf_add_text(out, text);
	}
}

static void balancers(const struct json *object, struct strbuf *out)
{
	const struct json *list =
		json_get(json_get(json_get(object, "status"), "loadBalancer"), "ingress");

	for (size_t i = 0; i < json_len(list); i++) {
		const char *ip = json_get_text(json_at(list, i), "ip");
		const char *name = json_get_text(json_at(list, i), "hostname");

		comma(out);
		strbuf_add_text(out, ip && ip[0] ? ip : name ? name : "");
	}
}

void cell_service_external(const struct json *service, int64_t now_ns, struct strbuf *out)
{
	const struct json *spec = json_get(service, "spec");
	const char *type = json_get_text(spec, "type");

	(void)now_ns;
	if (text_eq(type, "ExternalName")) {
		strbuf_add_text(out, table_text(spec, "externalName"));
		return;
	}
	if (text_eq(type, "LoadBalancer"))
		balancers(service, out);
	texts(json_get(spec, "externalIPs"), NULL, out);
	if (out->n == 0 && text_eq(type, "LoadBalancer"))
		strbuf_add_text(out, "<pending>");
}

void cell_service_ports(const struct json *service, int64_t now_ns, struct strbuf *out)
{
	const struct json *ports = json_get(json_get(service, "spec"), "ports");

	(void)now_ns;
	for (size_t i = 0; i < json_len(ports); i++) {
		const struct json *port = json_at(ports, i);
		int64_t node = json_get_i64(port, "nodePort", 0);
		const char *protocol = json_get_text(port, "protocol");

		comma(out);
		strbuf_printf(out, "%lld", (long long)json_get_i64(port, "port", 0));
		if (node > 0)
			strbuf_printf(out, ":%lld", (long long)node);
		strbuf_printf(out, "/%s", protocol ? protocol : "TCP");
	}
}

/* One subset: each of its ports with each of its addresses. */
static void subset(const struct json *one, size_t *count, struct strbuf *out)
{
	const struct json *addresses = json_get(one, "addresses"), *ports = json_get(one, "ports");
	size_t n = json_len(ports) ? json_len(ports) : 1;

	for (size_t p = 0; p < n; p++) {
		for (size_t a = 0; a < json_len(addresses); a++) {
			if ((*count)++ >= SHOWN)
				continue;
			comma(out);
			strbuf_add_text(out, table_text(json_at(addresses, a), "ip"));
			if (json_len(ports) > 0)
				strbuf_printf(
					out, ":%lld",
					(long long)json_get_i64(json_at(ports, p), "port", 0));
		}
	}
}

void cell_endpoints(const struct json *endpoints, int64_t now_ns, struct strbuf *out)
{
	const struct json *subsets = json_get(endpoints, "subsets");
	size_t count = 0;

	(void)now_ns;
	for (size_t i = 0; i < json_len(subsets); i++)
		subset(json_at(subsets, i), &count, out);
	more(count, out);
}

void cell_slice_ports(const struct json *slice, int64_t now_ns, struct strbuf *out)
{
	const struct json *ports = json_get(slice, "ports");

	(void)now_ns;
	for (size_t i = 0; i < json_len(ports) && i < SHOWN; i++) {
		const struct json *port = json_get(json_at(ports, i), "port");
		const char *name = json_get_text(json_at(ports, i), "name");

		comma(out);
		if (port)
			strbuf_printf(out, "%lld", (long long)json_i64(port, 0));
		else
			strbuf_add_text(out, name && name[0] ? name : "*");
	}
	more(json_len(ports), out);
	if (json_len(ports) == 0)
		strbuf_add_text(out, "<unset>");
}

void cell_slice_endpoints(const struct json *slice, int64_t now_ns, struct strbuf *out)
{
	const struct json *list = json_get(slice, "endpoints");
	size_t count = 0;

	(void)now_ns;
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *addresses = json_get(json_at(list, i), "addresses");

		for (size_t a = 0; a < json_len(addresses); a++) {
			if (count++ >= SHOWN)
				continue;
			comma(out);
			strbuf_add_text(out, table_shown(json_at(addresses, a)));
		}
	}
	more(count, out);
	if (count == 0)
		strbuf_add_text(out, "<unset>");
}

void cell_ingress_class(const struct json *ingress, int64_t now_ns, struct strbuf *out)
{
	const char *name = json_get_text(json_get(ingress, "spec"), "ingressClassName");

	(void)now_ns;
	strbuf_add_text(out, name ? name : "<none>");
}

void cell_ingress_hosts(const struct json *ingress, int64_t now_ns, struct strbuf *out)
{
	const struct json *rules = json_get(json_get(ingress, "spec"), "rules");

	(void)now_ns;
	texts(rules, "host", out);
	if (out->n == 0)
		strbuf_add_char(out, '*');
}

void cell_ingress_address(const struct json *ingress, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	balancers(ingress, out);
	if (out->n == 0)
		strbuf_add_char(out, ' '); /* an empty cell, not "<none>" */
}

void cell_ingress_ports(const struct json *ingress, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	strbuf_add_text(out, json_len(json_get(json_get(ingress, "spec"), "tls")) > 0 ? "80, 443"
										      : "80");
}

void cell_ingress_parameters(const struct json *class, int64_t now_ns, struct strbuf *out)
{
	const struct json *p = json_get(json_get(class, "spec"), "parameters");
	const char *group = json_get_text(p, "apiGroup");

	(void)now_ns;
	if (!p)
		return;
	strbuf_add_text(out, table_text(p, "kind"));
	if (group)
		strbuf_printf(out, ".%s", group);
	strbuf_printf(out, "/%s", table_text(p, "name"));
}

void cell_pod_selector(const struct json *policy, int64_t now_ns, struct strbuf *out)
{
	(void)now_ns;
	table_selector(json_get(json_get(policy, "spec"), "podSelector"), out);
}
