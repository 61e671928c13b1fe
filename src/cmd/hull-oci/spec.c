/*
 * spec: a default config.json to begin from.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/json.h"
#include "virt/container/spec.h"

struct spec_args {
	const char *bundle;
	bool rootless;
};

static const struct option_row options[] = {
	{'b', "bundle", OPTION_TEXT, offsetof(struct spec_args, bundle), "DIR",
	 "where to write it"},
	{0, "rootless", OPTION_FLAG, offsetof(struct spec_args, rootless), NULL,
	 "for a user without privileges"},
};

static const char *const capabilities[] = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE",
					   NULL};
static const char *const masked[] = {"/proc/acpi",
				     "/proc/asound",
				     "/proc/kcore",
				     "/proc/keys",
				     "/proc/latency_stats",
				     "/proc/timer_list",
				     "/proc/timer_stats",
				     "/proc/sched_debug",
				     "/sys/firmware",
				     "/proc/scsi",
				     NULL};
static const char *const readonly[] = {"/proc/bus",	      "/proc/fs", "/proc/irq", "/proc/sys",
				       "/proc/sysrq-trigger", NULL};

static const struct {
	const char *destination, *type, *source;
	const char *options[9];
} mounts[] = {
	{"/proc", "proc", "proc", {NULL}},
	{"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
	{"/dev/pts",
	 "devpts",
	 "devpts",
	 {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
	{"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
	{"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
	{"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
	{"/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}},
};

static struct json *texts(const char *const *list)
{
	return json_new_texts((char *const *)list);
}

static struct json *make_process(void)
{
	static const char *const sets[] = {"bounding", "effective", "permitted"};
	static const char *const args[] = {"sh", NULL};
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm",
		NULL};
	struct json *p = json_new_object(), *user = json_new_object(), *caps = json_new_object();
	struct json *limits = json_new_array(), *limit = json_new_object();

	json_set_bool(p, "terminal", true);
	json_set_i64(user, "uid", 0);
	json_set_i64(user, "gid", 0);
	json_set(p, "user", user);
	json_set(p, "args", texts(args));
	json_set(p, "env", texts(env));
	json_set_text(p, "cwd", "/");
	for (size_t i = 0; i < array_len(sets); i++)
		json_set(caps, sets[i], texts(capabilities));
	json_set(p, "capabilities", caps);
	json_set_text(limit, "type", "RLIMIT_NOFILE");
	json_set_i64(limit, "hard", 1024);
	json_set_i64(limit, "soft", 1024);
	json_append(limits, limit);
	json_set(p, "rlimits", limits);
	json_set_bool(p, "noNewPrivileges", true);
	return p;
}

/* Without privilege: no terminal group, and the host's /sys, whose network this is not. */
static struct json *make_mount(size_t i, bool rootless)
{
	struct json *m = json_new_object(), *o = json_new_array();
	bool sys = rootless && !strcmp(mounts[i].destination, "/sys");

	json_set_text(m, "destination", mounts[i].destination);
	json_set_text(m, "type", sys ? "none" : mounts[i].type);
	json_set_text(m, "source", sys ? "/sys" : mounts[i].source);
	if (sys)
		json_append(o, json_new_text("rbind"));
	for (size_t k = 0; mounts[i].options[k]; k++)
		if (!rootless || strcmp(mounts[i].options[k], "gid=5") != 0)
			json_append(o, json_new_text(mounts[i].options[k]));
	if (json_len(o))
		json_set(m, "options", o);
	else
		o = json_free(o);
	return m;
}

static struct json *make_mapping(uint32_t host)
{
	struct json *list = json_new_array(), *m = json_new_object();

	json_set_i64(m, "containerID", 0);
	json_set_i64(m, "hostID", host);
	json_set_i64(m, "size", 1);
	json_append(list, m);
	return list;
}

static struct json *make_linux(bool rootless)
{
	static const char *const kinds[] = {"pid", "ipc", "uts", "mount", "cgroup"};
	struct json *l = json_new_object(), *list = json_new_array();
	struct json *resources = json_new_object(), *rules = json_new_array(), *deny;

	for (size_t i = 0; i < array_len(kinds) + 1; i++) {
		struct json *n = json_new_object();

		json_set_text(n, "type",
			      i < array_len(kinds) ? kinds[i] : (rootless ? "user" : "network"));
		json_append(list, n);
	}
	json_set(l, "namespaces", list);
	if (rootless) {
		json_set(l, "uidMappings", make_mapping(geteuid()));
		json_set(l, "gidMappings", make_mapping(getegid()));
		rules = json_free(rules);
		resources = json_free(resources);
	} else {
		deny = json_new_object();
		json_set_bool(deny, "allow", false);
		json_set_text(deny, "access", "rwm");
		json_append(rules, deny);
		json_set(resources, "devices", rules);
		json_set(l, "resources", resources);
	}
	json_set(l, "maskedPaths", texts(masked));
	json_set(l, "readonlyPaths", texts(readonly));
	return l;
}

static struct json *make_spec(bool rootless)
{
	struct json *s = json_new_object(), *root = json_new_object(), *list = json_new_array();

	json_set_text(s, "ociVersion", SPEC_VERSION);
	json_set(s, "process", make_process());
	json_set_text(root, "path", "rootfs");
	json_set_bool(root, "readonly", true);
	json_set(s, "root", root);
	json_set_text(s, "hostname", "hull");
	for (size_t i = 0; i < array_len(mounts); i++)
		json_append(list, make_mount(i, rootless));
	json_set(s, "mounts", list);
	json_set(s, "linux", make_linux(rootless));
	return s;
}

int verb_spec(struct oci *o, int argc, char **argv, struct err *e)
{
	struct spec_args a = {.bundle = "."};
	auto_strbuf struct strbuf b = {0};
	auto_json struct json *s = NULL;
	auto_close int fd = -1;
	char *path;
	int first, r;

	r = options_parse(options, array_len(options), &a, argc, argv, false, &first, e);
	if (r < 0)
		return r;
	if (first != argc)
		return err_set(e, ERR_INVALID, "spec takes no operands");
	path = arena_printf(&o->arena, "%s/config.json", a.bundle);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_sys(e, "cannot make '%s'", path);
	s = make_spec(a.rootless);
	json_write_pretty(s, &b);
	strbuf_add_char(&b, '\n');
	if (write(fd, b.p, b.n) != (ssize_t)b.n)
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}
