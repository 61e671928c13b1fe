/*
 * A network's specification: its JSON shape (which is also its record), strict checks of everything
 * that came from a client, and the reading of options. Addresses are pool.c's.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"
#include "virt/network/network_priv.h"

#define OPTION_BRIDGE "com.docker.network.bridge."
#define MTU_MIN	      68
#define MTU_MAX	      65535

static const struct json_field subnet_fields[] = {
	{"subnet", JSON_TEXT, offsetof(struct network_subnet, subnet)},
	{"gateway", JSON_TEXT, offsetof(struct network_subnet, gateway)},
	{"range", JSON_TEXT, offsetof(struct network_subnet, ip_range)},
	{"aux", JSON_TEXT_MAP, offsetof(struct network_subnet, aux), .omit_empty = true},
};
static const struct json_shape subnet_shape = JSON_SHAPE(struct network_subnet, subnet_fields);

static const struct json_field spec_fields[] = {
	{"name", JSON_TEXT, offsetof(struct network_spec, name), .required = true},
	{"id", JSON_TEXT, offsetof(struct network_spec, id)},
	{"driver", JSON_TEXT, offsetof(struct network_spec, driver)},
	{"created", JSON_TEXT, offsetof(struct network_spec, created)},
	{"owner", JSON_TEXT, offsetof(struct network_spec, owner)},
	{"internal", JSON_FLAG, offsetof(struct network_spec, internal)},
	{"attachable", JSON_FLAG, offsetof(struct network_spec, attachable)},
	{"ipv6", JSON_FLAG, offsetof(struct network_spec, ipv6)},
	{"default_bridge", JSON_FLAG, offsetof(struct network_spec, default_bridge)},
	{"subnets", JSON_LIST, offsetof(struct network_spec, subnets), &subnet_shape,
	 offsetof(struct network_spec, subnets_n)},
	{"labels", JSON_TEXT_MAP, offsetof(struct network_spec, labels)},
	{"options", JSON_TEXT_MAP, offsetof(struct network_spec, options)},
};
static const struct json_shape spec_shape = JSON_SHAPE(struct network_spec, spec_fields);

struct json *spec_encode(const struct network_spec *s)
{
	return json_encode(&spec_shape, s);
}

const char *spec_option(const struct network *n, const char *key)
{
	for (const struct json_pair *p = n->spec.options; p && p->key; p++)
		if (strcmp(p->key, key) == 0)
			return p->value;
	return NULL;
}

static bool name_char(char c, bool first)
{
	bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

	return word || (!first && (c == '_' || c == '.' || c == '-'));
}

static int check_name(const char *name, struct err *e)
{
	size_t n = name ? strlen(name) : 0;

	if (n == 0)
		return err_set(e, ERR_INVALID, "a network needs a name");
	if (n > NETWORK_NAME_MAX)
		return err_set(e, ERR_INVALID,
			       "network name '%.40s...' is longer than %d characters", name,
			       NETWORK_NAME_MAX);
	for (size_t i = 0; i < n; i++)
		if (!name_char(name[i], i == 0))
			return err_set(e, ERR_INVALID,
				       "invalid network name '%s': use letters, digits and, not "
				       "first, '_', '.', '-'",
				       name);
	return 0;
}

static int check_id(const char *id, struct err *e)
{
	if (strlen(id) != 64 || strspn(id, "0123456789abcdef") != 64)
		return err_set(e, ERR_INVALID, "invalid network id '%.80s': not 64 hex digits", id);
	return 0;
}

static int read_driver(struct network *n, struct err *e)
{
	static const struct {
		const char *name;
		enum network_driver driver;
	} drivers[] = {
		{"bridge", DRIVER_BRIDGE},
		{"host", DRIVER_HOST},
		{"none", DRIVER_NONE},
		{"null", DRIVER_NONE}, /* what Docker calls the driver of "none" */
	};

	for (size_t i = 0; i < array_len(drivers); i++) {
		if (!text_eq(n->spec.driver, drivers[i].name))
			continue;
		n->driver = drivers[i].driver;
		if (n->driver != DRIVER_BRIDGE && n->spec.subnets_n)
			return err_set(e, ERR_INVALID, "driver '%s' takes no subnet",
				       n->spec.driver);
		return 0;
	}
	return err_set(e, ERR_NOT_FOUND,
		       "unknown network driver '%s': there are bridge, host and none",
		       n->spec.driver);
}

static int read_interface_name(const char *name, const char *what, char ret[IFNAMSIZ],
			       struct err *e)
{
	if (!*name || strlen(name) >= IFNAMSIZ || strpbrk(name, "/ \t\n:%") ||
	    strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(e, ERR_INVALID,
			       "invalid %s '%.40s': 1 to %d characters without '/', ':' or space",
			       what, name, IFNAMSIZ - 1);
	(void)snprintf(ret, IFNAMSIZ, "%s", name);
	return 0;
}

static int read_flag(const struct network *n, const char *key, bool *ret, struct err *e)
{
	const char *text = spec_option(n, key);

	return text ? parse_bool(str_of(text), key, ret, e) : 0;
}

static int read_mtu(struct network *n, struct err *e)
{
	const char *text = spec_option(n, "com.docker.network.driver.mtu");
	int r;

	if (!text)
		return 0;
	r = parse_u32(str_of(text), "MTU", &n->mtu, e);
	if (r < 0)
		return r;
	if (n->mtu != 0 && (n->mtu < MTU_MIN || n->mtu > MTU_MAX))
		return err_set(e, ERR_INVALID, "invalid MTU '%s': %d to %d", text, MTU_MIN,
			       MTU_MAX);
	return 0;
}

static int read_options(struct network *n, struct err *e)
{
	const char *bridge = spec_option(n, OPTION_BRIDGE "name");
	const char *prefix = spec_option(n, "com.docker.network.container_iface_prefix");
	const char *binding = spec_option(n, OPTION_BRIDGE "host_binding_ipv4");
	const char *mode = spec_option(n, OPTION_BRIDGE "gateway_mode_ipv4");
	int r;

	n->icc = n->masquerade = true;
	(void)snprintf(n->bridge, sizeof(n->bridge), "hl-%s-%.7s", n->host->tag, n->spec.id);
	(void)snprintf(n->iface_prefix, sizeof(n->iface_prefix), "eth");
	if (mode && strcmp(mode, "nat") != 0)
		return err_set(e, ERR_UNSUPPORTED, "gateway mode '%s' is not supported: use nat",
			       mode);
	r = bridge ? read_interface_name(bridge, "bridge name", n->bridge, e) : 0;
	if (r == 0 && prefix)
		r = strlen(prefix) > IFNAMSIZ - 5
			    ? err_set(e, ERR_INVALID, "interface prefix '%.40s' is too long",
				      prefix)
			    : read_interface_name(prefix, "interface prefix", n->iface_prefix, e);
	if (r == 0 && binding && *binding)
		r = ip_parse(str_of(binding), "host binding address", &n->binding, e);
	if (r == 0)
		r = read_flag(n, OPTION_BRIDGE "enable_icc", &n->icc, e);
	if (r == 0)
		r = read_flag(n, OPTION_BRIDGE "enable_ip_masquerade", &n->masquerade, e);
	if (r == 0)
		r = read_mtu(n, e);
	return r;
}

int spec_take_record(struct network *n, const struct json *record, struct err *e)
{
	struct network_spec *s = &n->spec;
	int r;

	assert(n->host);
	r = json_decode(record, &spec_shape, "network", &n->arena, s, e);
	if (r < 0)
		return r;
	r = check_name(s->name, e);
	if (r < 0)
		return r;
	if (!s->driver)
		s->driver = arena_dup_text(&n->arena, "bridge");
	if (!s->id) {
		s->id = arena_new_bytes(&n->arena, 65);
		world_random_hex(n->host->world, s->id, 64);
	}
	r = check_id(s->id, e);
	if (r == 0)
		r = read_driver(n, e);
	if (r == 0)
		r = read_options(n, e);
	return r;
}

int spec_take(struct network *n, const struct network_spec *spec, struct err *e)
{
	/* Through JSON: the copy is deep, and what a record cannot say cannot be made either. */
	auto_json struct json *j = spec_encode(spec);

	return spec_take_record(n, j, e);
}
