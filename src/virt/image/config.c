/*
 * An image's config decoded (OCI image-spec config.md, and Docker's additions: Healthcheck,
 * OnBuild, Shell). Values are checked where a wrong one would mislead the engine: digests, ports,
 * the number of history lines.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"
#include "ground/base/rfc3339.h"
#include "ground/store/digest.h"
#include "virt/image/image.h"
#include "virt/image/manifest.h"

#define PORTS_MAX 65536

struct run_part {
	char **env, **entrypoint, **cmd, **onbuild, **shell;
	char *user, *workdir, *stop_signal, *hostname;
	struct json_pair *labels;
	struct json *volumes, *ports;
	struct image_health health;
};

struct whole {
	char *architecture, *variant, *os, *author, *created, *comment;
	struct run_part run;
	struct image_step *history;
	size_t history_n;
	struct {
		char *type;
		char **diff_ids;
	} rootfs;
};

static const struct json_field health_fields[] = {
	{"Test", JSON_TEXTS, offsetof(struct image_health, test)},
	{"Interval", JSON_I64, offsetof(struct image_health, interval_ns)},
	{"Timeout", JSON_I64, offsetof(struct image_health, timeout_ns)},
	{"StartPeriod", JSON_I64, offsetof(struct image_health, start_period_ns)},
	{"StartInterval", JSON_I64, offsetof(struct image_health, start_interval_ns)},
	{"Retries", JSON_I64, offsetof(struct image_health, retries)},
};
static const struct json_shape health_shape = JSON_SHAPE(struct image_health, health_fields);

static const struct json_field run_fields[] = {
	{"Env", JSON_TEXTS, offsetof(struct run_part, env)},
	{"Entrypoint", JSON_TEXTS, offsetof(struct run_part, entrypoint)},
	{"Cmd", JSON_TEXTS, offsetof(struct run_part, cmd)},
	{"OnBuild", JSON_TEXTS, offsetof(struct run_part, onbuild)},
	{"Shell", JSON_TEXTS, offsetof(struct run_part, shell)},
	{"User", JSON_TEXT, offsetof(struct run_part, user)},
	{"WorkingDir", JSON_TEXT, offsetof(struct run_part, workdir)},
	{"StopSignal", JSON_TEXT, offsetof(struct run_part, stop_signal)},
	{"Hostname", JSON_TEXT, offsetof(struct run_part, hostname)},
	{"Labels", JSON_TEXT_MAP, offsetof(struct run_part, labels)},
	{"Volumes", JSON_ANY, offsetof(struct run_part, volumes)},
	{"ExposedPorts", JSON_ANY, offsetof(struct run_part, ports)},
	{"Healthcheck", JSON_STRUCT, offsetof(struct run_part, health), .shape = &health_shape},
};
static const struct json_shape run_shape = JSON_SHAPE(struct run_part, run_fields);

static const struct json_field step_fields[] = {
	{"created", JSON_TEXT, offsetof(struct image_step, created)},
	{"created_by", JSON_TEXT, offsetof(struct image_step, created_by)},
	{"author", JSON_TEXT, offsetof(struct image_step, author)},
	{"comment", JSON_TEXT, offsetof(struct image_step, comment)},
	{"empty_layer", JSON_FLAG, offsetof(struct image_step, empty_layer)},
};
static const struct json_shape step_shape = JSON_SHAPE(struct image_step, step_fields);

static const struct json_field rootfs_fields[] = {
	{"type", JSON_TEXT, 0},
	{"diff_ids", JSON_TEXTS, sizeof(char *)},
};
static const struct json_shape rootfs_shape = {2 * sizeof(char *), rootfs_fields, 2};

static const struct json_field whole_fields[] = {
	{"architecture", JSON_TEXT, offsetof(struct whole, architecture)},
	{"variant", JSON_TEXT, offsetof(struct whole, variant)},
	{"os", JSON_TEXT, offsetof(struct whole, os)},
	{"author", JSON_TEXT, offsetof(struct whole, author)},
	{"created", JSON_TEXT, offsetof(struct whole, created)},
	{"comment", JSON_TEXT, offsetof(struct whole, comment)},
	{"config", JSON_STRUCT, offsetof(struct whole, run), .shape = &run_shape},
	{"history", JSON_LIST, offsetof(struct whole, history), .shape = &step_shape,
	 .count = offsetof(struct whole, history_n)},
	{"rootfs", JSON_STRUCT, offsetof(struct whole, rootfs), .shape = &rootfs_shape,
	 .required = true},
};
static const struct json_shape whole_shape = JSON_SHAPE(struct whole, whole_fields);

static int read_port(const char *text, struct arena *a, struct image_port *ret, struct err *e)
{
	struct str rest = str_of(text), number = rest;
	uint32_t port;
	int r;

	(void)str_cut(&rest, '/', &number);
	r = parse_u32(number, "exposed port", &port, e);
	if (r < 0 || port == 0 || port > 65535)
		return err_set(e, ERR_INVALID, "config.ExposedPorts: '%s' is no port", text);
	ret->port = (uint16_t)port;
	ret->protocol = rest.n > 0 && strchr(text, '/') ? arena_dup(a, rest) : "tcp";
	if (!text_eq(ret->protocol, "tcp") && !text_eq(ret->protocol, "udp") &&
	    !text_eq(ret->protocol, "sctp"))
		return err_set(e, ERR_INVALID,
			       "config.ExposedPorts: '%s' is neither tcp, udp nor sctp", text);
	return 0;
}

static int read_ports(const struct json *ports, struct image *i, struct err *e)
{
	struct json_iter it = {0};
	size_t n = json_len(ports);
	struct image_port *list;
	const char *key;
	struct json *value;

	if (n > PORTS_MAX)
		return err_set(e, ERR_INVALID, "config.ExposedPorts: %zu ports", n);
	list = arena_new_array(&i->arena, struct image_port, n + 1);
	for (size_t k = 0; k < n && json_next(ports, &it, &key, &value); k++) {
		int r = read_port(key, &i->arena, &list[k], e);

		if (r < 0)
			return r;
		i->ports_n = k + 1;
	}
	i->ports = list;
	return 0;
}

static void read_volumes(const struct json *volumes, struct image *i)
{
	struct json_iter it = {0};
	size_t n = json_len(volumes);
	struct json *value;
	const char *key;

	if (n == 0)
		return;
	i->volumes = arena_new_array(&i->arena, char *, n + 1);
	for (size_t k = 0; k < n && json_next(volumes, &it, &key, &value); k++)
		i->volumes[k] = arena_dup_text(&i->arena, key);
}

static int check_diff_ids(struct image *i, const char *what, struct err *e)
{
	i->layers_n = mem_count_texts(i->diff_ids);
	if (i->layers_n > IMAGE_LAYERS_MAX)
		return err_set(e, ERR_INVALID,
			       "%s: rootfs.diff_ids: %zu layers are more than the %d allowed", what,
			       i->layers_n, IMAGE_LAYERS_MAX);
	for (size_t k = 0; k < i->layers_n; k++) {
		int r = digest_check(str_of(i->diff_ids[k]), e);

		if (r < 0)
			return err_wrap(e, "%s: rootfs.diff_ids[%zu]", what, k);
	}
	return 0;
}

static void take_fields(struct image *i, const struct whole *w)
{
	const struct run_part *run = &w->run;

	i->architecture = w->architecture;
	i->variant = w->variant;
	i->os = w->os;
	i->author = w->author;
	i->created = w->created;
	i->comment = w->comment;
	i->env = run->env;
	i->entrypoint = run->entrypoint;
	i->cmd = run->cmd;
	i->onbuild = run->onbuild;
	i->shell = run->shell;
	i->user = run->user;
	i->workdir = run->workdir;
	i->stop_signal = run->stop_signal;
	i->hostname = run->hostname;
	i->labels = run->labels;
	i->health = run->health;
	i->history = w->history;
	i->history_n = w->history_n;
	i->diff_ids = w->rootfs.diff_ids;
	if (i->created)
		(void)!rfc3339_parse(i->created, &i->created_ns, NULL);
}

int manifest_config(struct str bytes, const char *what, struct image **ret, struct err *e)
{
	struct image *i = mem_new(struct image);
	struct whole w;
	int r;

	i->refs = 1;
	digest_of(bytes.p, bytes.n, i->id);
	r = json_parse(bytes, what, &i->config_owned, e);
	if (r == 0)
		r = json_decode(i->config_owned, &whole_shape, what, &i->arena, &w, e);
	if (r < 0) {
		(void)image_unref(i);
		return r;
	}
	i->config = i->config_owned;
	take_fields(i, &w);
	r = check_diff_ids(i, what, e);
	if (r == 0) {
		read_volumes(w.run.volumes, i);
		r = read_ports(w.run.ports, i, e);
		if (r < 0)
			r = err_wrap(e, "%s", what);
	}
	if (r < 0) {
		(void)image_unref(i);
		return r;
	}
	*ret = i;
	return 0;
}

struct image *image_ref(struct image *i)
{
	assert(i && i->refs > 0);
	i->refs++;
	return i;
}

struct image *image_unref(struct image *i)
{
	if (!i)
		return NULL;
	assert(i->refs > 0);
	if (--i->refs > 0)
		return NULL;
	(void)json_free(i->config_owned);
	arena_done(&i->arena);
	free(i);
	return NULL;
}
