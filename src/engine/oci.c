/*
 * The OCI spec of a container, built at each start from the merged request: Docker's defaults,
 * changed by what was asked for. Pure: it reads the request and a few facts about other containers
 * it joins, and writes nothing.
 */
#include <ctype.h>

#include "engine/engine_priv.h"

static const char *const masked_paths[] = {
	"/proc/asound",
	"/proc/acpi",
	"/proc/interrupts",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/sys/firmware",
	"/sys/devices/virtual/powercap",
	NULL,
};
static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

static struct json *args_of(const struct container_config *c)
{
	struct json *args = json_new_array();

	for (char **p = c->entrypoint; p && *p; p++)
		json_append(args, json_new_text(*p));
	for (char **p = c->cmd; p && *p; p++)
		json_append(args, json_new_text(*p));
	return args;
}

static bool has_variable(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env && *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return true;
	return false;
}

static void append_variable(struct json *env, const char *name, const char *value)
{
	auto_free char *text = mem_printf("%s=%s", name, value);

	json_append(env, json_new_text(text));
}

static struct json *env_of(const struct workload *w, const struct identity *user)
{
	const struct container_config *c = &w->request.config;
	struct json *env = json_new_array();

	if (!has_variable(c->env, "HOSTNAME"))
		append_variable(env, "HOSTNAME", c->hostname);
	if (c->tty && !has_variable(c->env, "TERM"))
		append_variable(env, "TERM", "xterm");
	for (char **p = c->env; p && *p; p++)
		json_append(env, json_new_text(*p));
	if (!has_variable(c->env, "HOME"))
		append_variable(env, "HOME", user->home);
	return env;
}

static struct json *user_of(const struct identity *user)
{
	struct json *j = json_new_object(), *groups = json_new_array();

	json_set_i64(j, "uid", user->uid);
	json_set_i64(j, "gid", user->gid);
	for (size_t i = 0; i < user->groups_n; i++)
		json_append(groups, json_new_i64(user->groups[i]));
	json_set(j, "additionalGids", groups);
	return j;
}

/* The inheritable and ambient sets stay empty: see the security list of the reference. */
static struct json *capabilities_of(char *const *list, bool root)
{
	static char *none[] = {NULL};
	struct json *j = json_new_object();

	json_set(j, "bounding", json_new_texts(list));
	json_set(j, "effective", json_new_texts(root ? list : none));
	json_set(j, "permitted", json_new_texts(root ? list : none));
	return j;
}

static struct json *rlimits_of(const struct host_config *h)
{
	struct json *list = json_new_array();

	for (size_t i = 0; i < h->ulimits_n; i++) {
		struct json *one = json_new_object();
		auto_free char *type =
			mem_printf("RLIMIT_%s", h->ulimits[i].name ? h->ulimits[i].name : "");

		for (char *p = type; *p; p++)
			*p = (char)toupper((unsigned char)*p);
		json_set_text(one, "type", type);
		json_set(one, "hard", json_new_u64((uint64_t)h->ulimits[i].hard));
		json_set(one, "soft", json_new_u64((uint64_t)h->ulimits[i].soft));
		json_append(list, one);
	}
	return list;
}

static bool no_new_privileges(const struct host_config *h)
{
	const char *value;

	return oci_security_option(h, "no-new-privileges", &value) && !text_eq(value, "false");
}

static struct json *process_of(const struct workload *w, const struct identity *user,
			       char *const *capabilities)
{
	const struct container_request *r = &w->request;
	struct json *p = json_new_object();
	const char *cwd = r->config.working_dir;

	json_set_bool(p, "terminal", r->config.tty);
	json_set(p, "user", user_of(user));
	json_set(p, "args", args_of(&r->config));
	json_set(p, "env", env_of(w, user));
	json_set_text(p, "cwd", cwd && *cwd ? cwd : "/");
	json_set(p, "capabilities", capabilities_of(capabilities, user->uid == 0));
	if (r->host.ulimits_n)
		json_set(p, "rlimits", rlimits_of(&r->host));
	json_set_bool(p, "noNewPrivileges", no_new_privileges(&r->host));
	if (r->host.oom_score_adj)
		json_set_i64(p, "oomScoreAdj", r->host.oom_score_adj);
	return p;
}

/* "container:X", "sandbox:X": a namespace of another container's first process, or a pinned one. */
static int join(struct workload *w, const char *mode, const char *type, const char *file,
		struct json *namespaces, struct err *e)
{
	struct json *n = json_new_object();
	struct workload *other;
	auto_free char *path = NULL;

	json_append(namespaces, n);
	json_set_text(n, "type", type);
	if (sandbox_mode(mode)) {
		if (sandbox_path(w->engine, mode, file, &path, e) < 0)
			return -ERR_NOT_FOUND;
		json_set_text(n, "path", path);
		return 0;
	}
	if (workload_find(&w->engine->users[w->owner], mode + 10, &other, e) < 0)
		return err_wrap(e, "cannot join a %s namespace", type);
	if (other->state != WORKLOAD_RUNNING || !other->pid)
		return err_set(e, ERR_CONFLICT,
			       "cannot join the %s namespace of container '%s': it is not running",
			       type, other->name);
	path = mem_printf("/proc/%d/ns/%s", other->pid, file);
	json_set_text(n, "path", path);
	return 0;
}

static int namespaces_of(struct workload *w, struct json *list, struct err *e)
{
	const struct host_config *h = &w->request.host;
	const struct {
		const char *type, *file, *mode;
		bool joinable;
	} rows[] = {
		{"mount", "mnt", NULL, false},
		{"pid", "pid", h->pid_mode, true},
		{"ipc", "ipc", h->ipc_mode, true},
		{"uts", "uts", h->uts_mode, true},
		{"cgroup", "cgroup", h->cgroupns_mode, false},
		/* a joined one comes as a descriptor with the keeper's orders */
		{"network", "net", h->network_mode, false},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct json *n;

		if (text_eq(rows[i].mode, "host"))
			continue;
		if (rows[i].joinable && rows[i].mode &&
		    (sandbox_mode(rows[i].mode) || text_starts(rows[i].mode, "container:"))) {
			if (join(w, rows[i].mode, rows[i].type, rows[i].file, list, e) < 0)
				return -ERR_CONFLICT;
			continue;
		}
		n = json_new_object();
		json_set_text(n, "type", rows[i].type);
		json_append(list, n);
	}
	return 0;
}

static struct json *sysctls_of(const struct workload *w)
{
	const struct host_config *h = &w->request.host;
	struct json *s = json_new_object();

	if (workload_has_own_net(w)) {
		json_set_text(s, "net.ipv4.ip_unprivileged_port_start", "0");
		json_set_text(s, "net.ipv4.ping_group_range", "0 2147483647");
	}
	for (const struct json_pair *p = h->sysctls; p && p->key; p++)
		json_set_text(s, p->key, p->value);
	return s;
}

static int seccomp_of(const struct host_config *h, char *const *capabilities,
		      struct json *linux_part, struct err *e)
{
	struct json *profile = NULL;
	const char *given;

	if (h->privileged)
		return 0;
	if (!oci_security_option(h, "seccomp", &given) || !given || text_eq(given, "builtin")) {
		json_set(linux_part, "seccomp", oci_seccomp(capabilities));
		return 0;
	}
	if (text_eq(given, "unconfined"))
		return 0;
	if (json_parse(str_of(given), "seccomp profile", &profile, e) < 0)
		return -ERR_INVALID;
	json_set(linux_part, "seccomp", oci_seccomp_profile(profile, capabilities));
	(void)json_free(profile);
	return 0;
}

static void paths_of(const struct host_config *h, struct json *linux_part)
{
	const char *value;
	bool open = h->privileged ||
		    (oci_security_option(h, "systempaths", &value) && text_eq(value, "unconfined"));

	if (open)
		return;
	json_set(linux_part, "maskedPaths",
		 json_new_texts(h->masked_paths ? h->masked_paths : (char *const *)masked_paths));
	json_set(linux_part, "readonlyPaths",
		 json_new_texts(h->readonly_paths ? h->readonly_paths
						  : (char *const *)readonly_paths));
}

char *oci_cgroup_path(const struct workload *w, struct arena *a)
{
	const char *parent = w->request.host.cgroup_parent;

	if (parent && *parent)
		return arena_printf(a, "%s%s/%s", *parent == '/' ? "" : "/", parent, w->id);
	return arena_printf(a, "/hull-%s/%s", network_host_tag(w->engine->net), w->id);
}

static int linux_of(struct workload *w, char *const *capabilities, struct json *l, struct err *e)
{
	const struct host_config *h = &w->request.host;
	struct json *namespaces = json_new_array(), *resources = json_new_object();
	auto_arena struct arena a = {0};
	int bad;

	json_set(l, "namespaces", namespaces);
	json_set(l, "resources", resources);
	json_set(l, "sysctl", sysctls_of(w));
	json_set_text(l, "cgroupsPath", oci_cgroup_path(w, &a));
	paths_of(h, l);
	bad = namespaces_of(w, namespaces, e);
	if (bad >= 0)
		bad = oci_resources(h, resources, e);
	if (bad >= 0)
		bad = oci_devices(h, l, resources, e);
	if (bad >= 0)
		bad = seccomp_of(h, capabilities, l, e);
	return bad;
}

static struct json *annotations_of(const struct host_config *h)
{
	struct json *j = json_new_object();

	for (const struct json_pair *p = h->annotations; p && p->key; p++)
		json_set_text(j, p->key, p->value);
	return j;
}

int oci_build(struct workload *w, const struct identity *user, struct json **ret, struct err *e)
{
	const struct container_request *r = &w->request;
	auto_json struct json *spec = json_new_object();
	struct json *root = json_new_object(), *mounts = json_new_array(), *l = json_new_object();
	auto_arena struct arena a = {0};
	char **capabilities;
	int bad;

	json_set_text(spec, "ociVersion", "1.2.0");
	json_set_text(root, "path", "rootfs");
	json_set_bool(root, "readonly", r->host.readonly_rootfs);
	json_set(spec, "root", root);
	json_set(spec, "mounts", mounts);
	json_set(spec, "linux", l);
	bad = oci_capabilities(&r->host, &a, &capabilities, e);
	if (bad < 0)
		return bad;
	json_set(spec, "process", process_of(w, user, capabilities));
	if (json_len(json_get(json_get(spec, "process"), "args")) == 0)
		return err_set(
			e, ERR_INVALID,
			"no command specified: neither the image '%s' nor the request says what to "
			"run",
			w->image_ref);
	if (!text_eq(r->host.uts_mode, "host") && !sandbox_mode(r->host.uts_mode))
		json_set_text(spec, "hostname", r->config.hostname);
	if (r->config.domainname && *r->config.domainname && !text_eq(r->host.uts_mode, "host") &&
	    !sandbox_mode(r->host.uts_mode))
		json_set_text(spec, "domainname", r->config.domainname);
	if (r->host.annotations)
		json_set(spec, "annotations", annotations_of(&r->host));
	bad = oci_mounts(w, mounts, e);
	if (bad >= 0)
		bad = linux_of(w, capabilities, l, e);
	if (bad >= 0)
		*ret = take(spec);
	return bad;
}
