/*
 * A Service and its slices as names, as the DNS specification of Kubernetes asks for (version
 * 1.1.0): addresses and ports of services, and of the pods behind one without an address. Pure:
 * trees in, records out. Names that say their own address (ns.pod) are hull-net's to make.
 */
#include <ctype.h>
#include <string.h>

#include "cluster/node/services_priv.h"
#include "ground/base/mem.h"
#include "ground/format/dns.h"

struct names {
	const struct service_objects *objects;
	const struct json *spec;
	struct arena *arena;
	const char *name; /* the service's */
	struct network_record *records;
	size_t n, room; /* of the arena's array */
};

static struct network_record *add(struct names *s, enum network_record_type type, const char *name)
{
	struct network_record *more;

	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 16;
		more = arena_new_array(s->arena, struct network_record, s->room);
		if (s->n)
			memcpy(more, s->records, s->n * sizeof(*more));
		s->records = more;
	}
	s->records[s->n] = (struct network_record){.type = type, .name = name};
	return &s->records[s->n++];
}

static void add_ip(struct names *s, const char *name, const struct ip *ip)
{
	add(s, NETWORK_RECORD_IP, name)->ip = *ip;
}

static void add_reverse(struct names *s, const struct ip *ip, const char *name)
{
	char reverse[DNS_NAME_MAX];

	dns_reverse_name(ip, reverse);
	add(s, NETWORK_RECORD_PTR, arena_dup_text(s->arena, reverse))->target = name;
}

/* "_http._tcp.web.default.svc.DOMAIN"; a port without a name has none. */
static void add_port(struct names *s, const struct json *port, uint16_t number, const char *target)
{
	const char *protocol = json_get_text(port, "protocol"), *name = json_get_text(port, "name");
	struct network_record *r;
	char *text;

	if (!name || !*name || !number)
		return;
	text = arena_printf(s->arena, "_%s._%s.%s", name, protocol ? protocol : "TCP", s->name);
	for (char *at = text; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	r = add(s, NETWORK_RECORD_SRV, text);
	r->target = target;
	r->port = number;
}

static void add_cluster_ips(struct names *s)
{
	const struct json *list = json_get(s->spec, "clusterIPs"),
			  *ports = json_get(s->spec, "ports");
	const char *one = json_get_text(s->spec, "clusterIP");
	size_t n = json_len(list) ? json_len(list) : one != NULL;

	for (size_t i = 0; i < n; i++) {
		const char *text = json_len(list) ? json_text(json_at(list, i)) : one;
		struct ip ip;

		if (!text || ip_parse(str_of(text), "address", &ip, NULL) < 0)
			continue;
		add_ip(s, s->name, &ip);
		add_reverse(s, &ip, s->name);
	}
	for (size_t i = 0; i < json_len(ports); i++)
		add_port(s, json_at(ports, i), (uint16_t)json_get_i64(json_at(ports, i), "port", 0),
			 s->name);
}

/* Its host name, or its address with dashes. */
static const char *endpoint_name(struct names *s, const struct json *ep, const struct ip *ip)
{
	const char *hostname = json_get_text(ep, "hostname");
	char *label;

	if (hostname && *hostname)
		return arena_printf(s->arena, "%s.%s", hostname, s->name);
	label = arena_dup_text(s->arena, ip_text(ip).t);
	for (char *at = label; *at; at++)
		if (*at == '.' || *at == ':')
			*at = '-';
	return arena_printf(s->arena, "%s.%s", label, s->name);
}

static void add_endpoint(struct names *s, const struct json *slice, const struct json *ep)
{
	const struct json *ports = json_get(s->spec, "ports");
	const char *text = json_text(json_at(json_get(ep, "addresses"), 0));
	const char *name;
	struct ip ip;

	if (!text || ip_parse(str_of(text), "address", &ip, NULL) < 0)
		return;
	name = endpoint_name(s, ep, &ip);
	add_ip(s, s->name, &ip);
	add_ip(s, name, &ip);
	add_reverse(s, &ip, name);
	for (size_t i = 0; i < json_len(ports); i++) {
		const struct json *port = json_at(ports, i);

		add_port(s, port, slice_port(slice, port), name);
	}
}

static void add_endpoints(struct names *s)
{
	const struct service_objects *o = s->objects;

	for (size_t i = 0; i < o->slices_n; i++) {
		size_t n = json_len(json_get(o->slices[i], "endpoints"));

		for (size_t k = 0; k < n && s->n + 8 < NETWORK_RECORDS_MAX; k++) {
			struct slice_endpoint ep = slice_endpoint(o->slices[i], k);

			if (ep.ready)
				add_endpoint(s, o->slices[i], ep.endpoint);
		}
	}
}

static bool is_same(const struct network_record *a, const struct network_record *b)
{
	return a->type == b->type && strcmp(a->name, b->name) == 0 && ip_eq(&a->ip, &b->ip) &&
	       strcmp(a->target ? a->target : "", b->target ? b->target : "") == 0 &&
	       a->port == b->port;
}

/* Two endpoints of one host name share its ports' records, and neighbours they are. */
static void drop_doubles(struct names *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		bool seen = false;

		for (size_t k = kept > 16 ? kept - 16 : 0; k < kept && !seen; k++)
			seen = is_same(&s->records[k], &s->records[i]);
		if (!seen)
			s->records[kept++] = s->records[i];
	}
	s->n = kept;
}

size_t service_names(const struct service_objects *o, const char *domain, struct arena *a,
		     struct network_record **ret)
{
	struct names s = {.objects = o, .spec = json_get(o->service, "spec"), .arena = a};
	const char *external = json_get_text(s.spec, "externalName");

	s.name = arena_printf(a, "%s.%s.svc.%s", o->name, o->namespace, domain);
	if (text_eq(json_get_text(s.spec, "type"), "ExternalName")) {
		size_t n = external ? strlen(external) : 0;

		if (n)
			add(&s, NETWORK_RECORD_CNAME, s.name)->target = arena_printf(
				a, "%.*s", (int)(external[n - 1] == '.' ? n - 1 : n), external);
	} else if (text_eq(json_get_text(s.spec, "clusterIP"), "None")) {
		add_endpoints(&s);
	} else {
		add_cluster_ips(&s);
	}
	drop_doubles(&s);
	*ret = s.records;
	return s.n;
}
