/*
 * Published ports: Docker's map of "port/proto" to host bindings becomes a list, ranges included.
 */
#include "engine/engine_priv.h"
#include "ground/base/parse.h"

/* "80", "80/udp": the container's side. */
static int parse_key(const char *key, uint16_t *ret_port, enum network_proto *ret_proto,
		     struct err *e)
{
	struct str rest = str_of(key), head;
	uint32_t port;

	(void)str_cut(&rest, '/', &head);
	if (parse_u32(head, "port", &port, e) < 0)
		return -ERR_INVALID;
	if (port == 0 || port > 65535)
		return err_set(e, ERR_INVALID, "invalid port '%s': 1 to 65535 is expected", key);
	*ret_proto = NETWORK_TCP;
	if (rest.n && network_proto_parse(rest, ret_proto, e) < 0)
		return -ERR_INVALID;
	*ret_port = (uint16_t)port;
	return 0;
}

/* "", "8080" or "8000-8010". */
static int parse_host_port(const char *text, struct network_port *p, struct err *e)
{
	struct str rest = str_of(text ? text : ""), head;
	uint32_t first, last;

	if (!rest.n)
		return 0;
	(void)str_cut(&rest, '-', &head);
	if (parse_u32(head, "host port", &first, e) < 0)
		return -ERR_INVALID;
	last = first;
	if (rest.n && parse_u32(rest, "host port", &last, e) < 0)
		return -ERR_INVALID;
	if (first > 65535 || last > 65535 || last < first)
		return err_set(e, ERR_INVALID,
			       "invalid host port '%s': it is not within 1 to 65535", text);
	p->host_port = (uint16_t)first;
	p->host_port_last = last > first ? (uint16_t)last : 0;
	return 0;
}

static int parse_binding(const struct json *j, uint16_t port, enum network_proto proto,
			 struct network_port *ret, struct err *e)
{
	const char *ip = json_get_text(j, "HostIp");

	*ret = (struct network_port){.port = port, .proto = proto};
	if (ip && strlen(ip) >= sizeof(ret->host_ip))
		return err_set(e, ERR_INVALID, "invalid host address '%s' of port %u", ip, port);
	if (ip)
		memcpy(ret->host_ip, ip, strlen(ip) + 1);
	return parse_host_port(json_get_text(j, "HostPort"), ret, e);
}

struct ports {
	struct network_port *list;
	size_t n, room;
};

static void add(struct ports *p, const struct network_port *one)
{
	mem_grow(p->list, p->n + 1, p->room);
	p->list[p->n++] = *one;
}

static int add_bindings(const struct json *bindings, struct ports *all, struct err *e)
{
	struct json_iter it = {0};
	const char *key;
	struct json *list;

	while (json_next(bindings, &it, &key, &list)) {
		enum network_proto proto;
		uint16_t port;

		if (parse_key(key, &port, &proto, e) < 0)
			return -ERR_INVALID;
		for (size_t i = 0; i < json_len(list); i++) {
			struct network_port one;

			if (parse_binding(json_at(list, i), port, proto, &one, e) < 0)
				return -ERR_INVALID;
			if (all->n >= NETWORK_PORTS_MAX)
				return err_set(e, ERR_INVALID, "more than %d published ports",
					       NETWORK_PORTS_MAX);
			add(all, &one);
		}
	}
	return 0;
}

/* -P: what is exposed and not bound gets a free port. */
static int add_exposed(const struct container_request *r, struct ports *all, struct err *e)
{
	struct json_iter it = {0};
	const char *key;
	struct json *value;

	while (json_next(r->config.exposed_ports, &it, &key, &value)) {
		struct network_port one = {0};

		if (parse_key(key, &one.port, &one.proto, e) < 0)
			return -ERR_INVALID;
		if (r->host.publish_all_ports &&
		    json_len(json_get(r->host.port_bindings, key)) == 0)
			add(all, &one);
	}
	return 0;
}

int ports_of(const struct container_request *r, struct arena *a, struct network_port **ret,
	     size_t *ret_n, struct err *e)
{
	struct ports all = {0};
	int bad = add_bindings(r->host.port_bindings, &all, e);

	if (bad >= 0)
		bad = add_exposed(r, &all, e);
	if (bad >= 0) {
		*ret = arena_new_array(a, struct network_port, all.n + 1);
		if (all.n)
			memcpy(*ret, all.list, all.n * sizeof(*all.list));
		*ret_n = all.n;
	}
	free(all.list);
	return bad;
}
