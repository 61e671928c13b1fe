/*
 * The container kind of isolation: its OCI spec into <root>/container/ID/config.json, and what its
 * keeper must know beside that.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"

static const char *const names[] = {"",	    "hull", "hull-oci", "runc", "io.containerd.runc.v2",
				    "crun", NULL};

const struct runtime_ops *runtime_find(const char *name, struct err *e)
{
	if (!name || text_in(name, (char *const *)names))
		return &runtime_container;
	if (text_in(name, (char *const *)runtime_vm.aliases))
		return &runtime_vm;
	(void)err_set(e, ERR_INVALID,
		      "unknown or invalid runtime name: %s; 'hull' (containers) and 'hull-vm' "
		      "(machines) are what this host has",
		      name);
	return NULL;
}

static int write_config(struct workload *w, const struct json *spec, struct err *e)
{
	auto_free char *path = mem_printf("%s/config.json", w->dir);
	auto_strbuf struct strbuf text = {0};
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	json_write(spec, &text);
	if (fd < 0 || write(fd, strbuf_text(&text), text.n) != (ssize_t)text.n)
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}

void workload_root_orders(struct workload *w, struct arena *a, struct keeper_orders *ret)
{
	if (!image_overlay_works(w->engine->images)) {
		ret->root_path = arena_printf(a, "%s/root", w->dir);
		return;
	}
	ret->lower = w->lower;
	ret->upper = arena_printf(a, "%s/upper", w->dir);
	ret->work = arena_printf(a, "%s/work", w->dir);
}

/* The directories where /etc/passwd may stand, topmost first. */
static char **passwd_roots(struct workload *w, struct arena *a)
{
	struct keeper_orders root = {0};
	size_t n = mem_count_texts(w->lower);
	char **list = arena_new_array(a, char *, n + 2);

	workload_root_orders(w, a, &root);
	list[0] = root.root_path ? root.root_path : root.upper;
	for (size_t i = 0; i < n && !root.root_path; i++)
		list[i + 1] = w->lower[i];
	return list;
}

static const char *log_option(const struct log_config *l, const char *key)
{
	for (const struct json_pair *p = l->options; p && p->key; p++)
		if (text_eq(p->key, key))
			return p->value;
	return NULL;
}

void workload_log_orders(const struct workload *w, struct arena *a, struct keeper_orders *o)
{
	const struct log_config *l = &w->request.host.log;
	const char *size = log_option(l, "max-size"), *files = log_option(l, "max-file");
	struct err checked = {0};
	uint32_t n = 0;

	if (text_eq(l->type, "none"))
		return;
	o->log_path = arena_printf(a, "%s/log", w->dir);
	if (text_eq(size, "-1"))
		o->log_bytes_max = -1;
	else if (size)
		(void)!parse_size(str_of(size), "max-size", &o->log_bytes_max, &checked);
	if (files && parse_u32(str_of(files), "max-file", &n, &checked) >= 0)
		o->log_files_max = n;
}

uint32_t restart_policy_of(const struct host_config *h)
{
	static const char *const policies[] = {
		[KEEPER_RESTART_NO] = "no",
		[KEEPER_RESTART_ALWAYS] = "always",
		[KEEPER_RESTART_UNLESS_STOPPED] = "unless-stopped",
		[KEEPER_RESTART_ON_FAILURE] = "on-failure",
	};

	for (uint32_t i = 0; i < array_len(policies); i++)
		if (text_eq(h->restart.name, policies[i]))
			return i;
	return KEEPER_RESTART_NO;
}

static void health_orders(const struct workload *w, struct arena *a, struct keeper_orders *o)
{
	const struct health_check *h = w->request.config.health_check;
	size_t n = h ? mem_count_texts(h->test) : 0, used = 0;
	char **shell = w->request.config.shell;
	static char *const usual[] = {(char *)"/bin/sh", (char *)"-c", NULL};

	if (n < 2 || text_eq(h->test[0], "NONE"))
		return;
	o->health_test = arena_new_array(a, char *, n + mem_count_texts(shell) + 3);
	if (text_eq(h->test[0], "CMD-SHELL"))
		for (char *const *s = shell && shell[0] ? shell : usual; *s; s++)
			o->health_test[used++] = *s;
	for (size_t i = 1; i < n; i++)
		o->health_test[used++] = h->test[i];
	o->health_interval_ns = h->interval_ns;
	o->health_timeout_ns = h->timeout_ns;
	o->health_start_period_ns = h->start_period_ns;
	o->health_start_interval_ns = h->start_interval_ns;
	o->health_retries = h->retries > 0 ? (uint32_t)h->retries : 0;
}

static enum keeper_net net_of(const struct workload *w)
{
	const char *mode = w->request.host.network_mode;

	if (text_eq(mode, "host"))
		return KEEPER_NET_HOST;
	return workload_has_own_net(w) ? KEEPER_NET_NEW : KEEPER_NET_JOIN;
}

static int prepare(struct workload *w, struct arena *a, struct keeper_orders *o, struct err *e)
{
	const struct container_request *r = &w->request;
	auto_json struct json *spec = NULL;
	struct identity user;

	if (identity_resolve(r->config.user, r->host.group_add, passwd_roots(w, a), a, &user, e) <
	    0)
		return -ERR_INVALID;
	if (oci_build(w, &user, &spec, e) < 0 || write_config(w, spec, e) < 0)
		return e->kind ? -(int)e->kind : -ERR_INTERNAL;
	*o = (struct keeper_orders){
		.id = w->id,
		.container_dir = w->dir,
		.run_dir = w->run_dir,
		.config_path = arena_printf(a, "%s/config.json", w->dir),
		.tty = r->config.tty,
		.open_stdin = r->config.open_stdin,
		.stdin_once = r->config.stdin_once,
		.restart = restart_policy_of(&r->host),
		.restart_max = (uint32_t)r->host.restart.maximum_retry_count,
		.restart_count = (uint32_t)w->restart_count,
		.net = net_of(w),
		.wait_go = true,
		.cgroup_path = oci_cgroup_path(w, a),
		.seccomp_dir = engine_path(w->engine, a, "seccomp"),
	};
	if (r->host.init && *r->host.init)
		o->init_path = (char *)engine_program(w->engine, a, "hull-init");
	workload_root_orders(w, a, o);
	workload_log_orders(w, a, o);
	health_orders(w, a, o);
	return 0;
}

const struct runtime_ops runtime_container = {
	.name = "container",
	.program = "hull-keeper",
	.aliases = names,
	.prepare = prepare,
};
