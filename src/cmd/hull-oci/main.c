/*
 * hull-oci: the container library behind the command line that podman, containerd, buildah and
 * dockerd expect of an OCI runtime. Wiring only: global options, the table of verbs, where errors
 * go.
 *
 * An error is one line on standard error, and with --log one record in that file, in the form that
 * engines read ({"level":"error","msg":...,"time":...}).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"
#include "ground/base/str.h"
#include "ground/format/json.h"
#include "ground/linux/process.h"
#include "virt/container/spec.h"

#ifndef HULL_VERSION
#define HULL_VERSION "0.1.0"
#endif

static const struct option_row options[] = {
	{0, "root", OPTION_TEXT, offsetof(struct oci, root), "DIR",
	 "where containers are recorded"},
	{0, "log", OPTION_TEXT, offsetof(struct oci, log), "FILE", "write errors there too"},
	{0, "log-format", OPTION_TEXT, offsetof(struct oci, log_format), "text|json",
	 "form of the log"},
	{0, "log-level", OPTION_TEXT, offsetof(struct oci, log_level), "LEVEL",
	 "debug, info, warning or error"},
	{0, "debug", OPTION_FLAG, offsetof(struct oci, debug), NULL, "log more"},
	{0, "systemd-cgroup", OPTION_FLAG, offsetof(struct oci, systemd_cgroup), NULL,
	 "cgroup paths have the form slice:prefix:name"},
	{0, "cgroup-manager", OPTION_TEXT, offsetof(struct oci, cgroup_manager),
	 "cgroupfs|systemd|disabled", "how cgroups are made"},
	{0, "rootless", OPTION_TEXT, offsetof(struct oci, rootless), "true|false|auto",
	 "accepted; decided by the rights at hand"},
	{0, "criu", OPTION_TEXT, offsetof(struct oci, criu), "PATH", "accepted and ignored"},
	{'v', "version", OPTION_FLAG, offsetof(struct oci, version), NULL, "print versions"},
	{'h', "help", OPTION_FLAG, offsetof(struct oci, help), NULL, "print this"},
};

static verb_fn verb_unsupported;

static const struct verb {
	const char *name;
	verb_fn *run;
	const char *help;
	bool enters; /* comes near a container's processes: the program file is protected first */
} verbs[] = {
	{"create", verb_create, "make a container; its program waits for start", true},
	{"start", verb_start, "start a created container", false},
	{"run", verb_run, "create and start", true},
	{"exec", verb_exec, "run one more program in a container", true},
	{"kill", verb_kill, "send a signal", false},
	{"delete", verb_delete, "remove a stopped container", false},
	{"state", verb_state, "print the state as JSON", false},
	{"list", verb_list, "list containers", false},
	{"ps", verb_ps, "list a container's processes", false},
	{"pause", verb_pause, "freeze all processes", false},
	{"resume", verb_resume, "thaw them", false},
	{"update", verb_update, "change limits", false},
	{"events", verb_events, "print statistics and out-of-memory events", false},
	{"spec", verb_spec, "write a default config.json", false},
	{"features", verb_features, "print what this runtime can do, as JSON", false},
	{"checkpoint", verb_unsupported, "not supported", false},
	{"restore", verb_unsupported, "not supported", false},
};

static int verb_unsupported(struct oci *o, int argc, char **argv, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "%s is not supported by this runtime", argv[0]);
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < array_len(verbs); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static int unknown_verb(const char *name, struct err *e)
{
	const char *names[array_len(verbs)];
	const char *near;

	for (size_t i = 0; i < array_len(verbs); i++)
		names[i] = verbs[i].name;
	near = options_closest(name, names, array_len(names));
	if (near)
		return err_set(e, ERR_INVALID, "unknown command '%s'; did you mean '%s'?", name,
			       near);
	return err_set(e, ERR_INVALID, "unknown command '%s'; see hull-oci --help", name);
}

static void print_help(void)
{
	auto_strbuf struct strbuf b = {0};

	(void)printf("usage: hull-oci [OPTIONS] COMMAND ...\n\ncommands:\n");
	for (size_t i = 0; i < array_len(verbs); i++)
		(void)printf("  %-12s%s\n", verbs[i].name, verbs[i].help);
	options_help(options, array_len(options), &b);
	(void)printf("\noptions:\n%s", strbuf_text(&b));
}

static void print_version(void)
{
	(void)printf("hull-oci version " HULL_VERSION "\nspec: " SPEC_VERSION "\n");
}

static void write_log(const struct oci *o, const struct err *e)
{
	auto_close int fd = -1;
	auto_strbuf struct strbuf b = {0};
	char now[RFC3339_CHARS + 1];
	struct timespec t;

	if (!o->log || !*o->log)
		return;
	fd = open(o->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	(void)rfc3339_text((int64_t)t.tv_sec * 1000000000 + t.tv_nsec, now);
	if (o->log_format && !strcmp(o->log_format, "json")) {
		auto_json struct json *j = json_new_object();

		json_set_text(j, "level", "error");
		json_set_text(j, "msg", e->text);
		json_set_text(j, "time", now);
		json_write(j, &b);
	} else {
		strbuf_printf(&b, "time=\"%s\" level=error msg=\"%s\"", now, e->text);
	}
	strbuf_add_char(&b, '\n');
	(void)!write(fd, b.p, b.n);
}

/* Root of a user namespace only: what rootless engines run us as. */
static bool is_nested_root(void)
{
	auto_close int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	char map[128];
	ssize_t n = fd < 0 ? -1 : read(fd, map, sizeof(map) - 1);

	if (n <= 0)
		return false;
	map[n] = '\0';
	return !strstr(map, " 4294967295\n");
}

static int default_root(struct oci *o, struct err *e)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");

	if (o->root)
		return 0;
	o->root = "/run/hull-oci";
	if (geteuid() == 0 && !(dir && *dir && is_nested_root()))
		return 0;
	if (!dir || !*dir)
		return err_set(e, ERR_INVALID, "no --root is given and XDG_RUNTIME_DIR is not set");
	o->root = arena_printf(&o->arena, "%s/hull-oci", dir);
	return 0;
}

static int run(struct oci *o, int argc, char **argv, struct err *e)
{
	const struct verb *v;
	int first, r;

	r = options_parse(options, array_len(options), o, argc, argv, true, &first, e);
	if (r < 0)
		return r;
	if (o->version) {
		print_version();
		return 0;
	}
	if (o->help || first >= argc || !strcmp(argv[first], "help")) {
		print_help();
		return o->help || first < argc ? 0 : 1;
	}
	v = find_verb(argv[first]);
	if (!v)
		return unknown_verb(argv[first], e);
	if (v->enters && (r = process_protect_exe(argv, e)) < 0)
		return r;
	r = default_root(o, e);
	return r < 0 ? r : v->run(o, argc - first, argv + first, e);
}

int main(int argc, char **argv)
{
	struct oci o = {0};
	struct err e = {0};
	int r = run(&o, argc, argv, &e);

	if (r < 0) {
		(void)fprintf(stderr, "hull-oci: %s\n", e.text);
		write_log(&o, &e);
		r = container_exit_code(&e);
		r = r == 125 ? 1 : r;
	}
	arena_done(&o.arena);
	return r;
}
