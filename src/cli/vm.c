/*
 * `hull vm run` and `console`: see vm.h. A machine is created by the same call as a container, with
 * HostConfig.Runtime "hull-vm" and what it is made of in HostConfig.Machine (engine/runtime_vm.c).
 */
#include "cli/vm.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/run.h"
#include "cli/stream.h"
#include "cli/terminal.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"

#define EXIT_NOT_BEGUN	  125
#define LEAVE_KEY	  "ctrl-]"
#define LEAVE_KEY_ENCODED "ctrl-%%5D" /* in a format */

/* Files are named as the daemon can find them, wherever it runs. */
static char *absolute(const char *path)
{
	char where[PATH_MAX];

	if (*path == '/' || !getcwd(where, sizeof(where)))
		return mem_dup_text(path);
	return mem_printf("%s/%s", where, path);
}

static void set_path(struct json *j, const char *key, const char *path)
{
	auto_free char *full = path ? absolute(path) : NULL;

	if (full)
		json_set_text(j, key, full);
}

/* PATH,format=F[,ro][,bus=B] */
static int add_disk(const char *text, struct json *disks, struct err *e)
{
	struct str rest = str_of(text), word;
	struct json *d = json_new_object();
	auto_free char *path = NULL;

	json_append(disks, d);
	(void)str_cut(&rest, ',', &word);
	path = str_dup(word);
	set_path(d, "Path", path);
	while (rest.p && str_cut(&rest, ',', &word)) {
		struct str key, value = word;

		(void)str_cut(&value, '=', &key);
		if (str_is(word, "ro"))
			json_set_bool(d, "ReadOnly", true);
		else if (str_is(key, "format"))
			json_set(d, "Format", json_new_str(value));
		else if (str_is(key, "bus"))
			json_set(d, "Bus", json_new_str(value));
		else
			return err_set(e, ERR_INVALID,
				       "option --disk '%s': unknown word '%.*s'; say "
				       "PATH,format=raw|qcow2[,ro][,bus=virtio|nvme]",
				       text, (int)word.n, word.p);
	}
	if (!json_get(d, "Format"))
		return err_set(e, ERR_INVALID,
			       "option --disk '%s': its format is not guessed; add ,format=raw or "
			       ",format=qcow2",
			       text);
	return 0;
}

static bool is_port(struct str text)
{
	uint32_t port;

	return parse_u32(text, "port", &port, NULL) >= 0 && port > 0 && port <= UINT16_MAX;
}

/* [ADDRESS:]HOST:GUEST[/udp] -> "tcp:ADDRESS:HOST:GUEST" */
static int add_port(const char *text, struct json *list, struct err *e)
{
	struct str rest = str_of(text), ports, first, second = {0}, third = {0};
	auto_free char *line = NULL;
	bool udp;

	(void)str_cut(&rest, '/', &ports);
	udp = rest.p && str_is(rest, "udp");
	(void)str_cut(&ports, ':', &first);
	(void)str_cut(&ports, ':', &second);
	if (ports.p)
		third = ports;
	if (!third.p) {
		third = second;
		second = first;
		first = STR("0.0.0.0");
	}
	if ((rest.p && rest.n > 0 && !udp && !str_is(rest, "tcp")) || !is_port(second) ||
	    !is_port(third))
		return err_set(
			e, ERR_INVALID,
			"option --publish '%s': say [ADDRESS:]HOST:GUEST[/udp], as in 8080:80",
			text);
	line = mem_printf("%s:%.*s:%.*s:%.*s", udp ? "udp" : "tcp", (int)first.n, first.p,
			  (int)second.n, second.p, (int)third.n, third.p);
	json_append(list, json_new_text(line));
	return 0;
}

static int add_lists(const struct vm_options *o, struct json *m, struct err *e)
{
	struct json *disks = json_new_array(), *ports = json_new_array();

	json_set(m, "Disks", disks);
	json_set(m, "Publish", ports);
	for (char **d = o->disk; d && *d; d++)
		if (add_disk(*d, disks, e) < 0)
			return -ERR_INVALID;
	for (char **p = o->publish; p && *p; p++)
		if (add_port(*p, ports, e) < 0)
			return -ERR_INVALID;
	return 0;
}

static int make_machine(const struct vm_options *o, struct json *m, struct err *e)
{
	if (o->accel)
		json_set_text(m, "Accel", o->accel);
	if (o->cpus)
		json_set_i64(m, "Cpus", o->cpus);
	if (o->memory)
		json_set_i64(m, "Memory", o->memory);
	if (o->disk_size)
		json_set_i64(m, "DiskSize", o->disk_size);
	if (o->append)
		json_set_text(m, "Append", o->append);
	/* A name without a slash is a kept kernel, unless such a file lies here. */
	if (o->kernel && !strchr(o->kernel, '/') && access(o->kernel, F_OK) < 0)
		json_set_text(m, "Kernel", o->kernel);
	else
		set_path(m, "Kernel", o->kernel);
	set_path(m, "Initrd", o->initrd);
	json_set_bool(m, "Loopback", o->allow_loopback);
	if (o->net && text_starts(o->net, "tap=")) {
		json_set_text(m, "Net", "tap");
		json_set_text(m, "Tap", o->net + strlen("tap="));
	} else if (o->net) {
		json_set_text(m, "Net", o->net);
	}
	return add_lists(o, m, e);
}

static void add_restart(const struct vm_options *o, struct json *host)
{
	struct str rest = str_of(o->restart), name = {0};
	struct json *policy = json_new_object();
	uint32_t count = 0;

	if (o->restart)
		(void)str_cut(&rest, ':', &name);
	json_set(policy, "Name", json_new_str(name.p ? name : STR("")));
	if (name.p && rest.p && parse_u32(rest, "restarts", &count, NULL) >= 0)
		json_set_i64(policy, "MaximumRetryCount", count);
	json_set(host, "RestartPolicy", policy);
}

static void add_process(const struct vm_options *o, struct json *config)
{
	struct json *env = json_new_array();

	for (char **v = o->env; v && *v; v++) {
		const char *ours = strchr(*v, '=') ? NULL : getenv(*v);
		auto_free char *pair = ours ? mem_printf("%s=%s", *v, ours) : mem_dup_text(*v);

		if (strchr(pair, '='))
			json_append(env, json_new_text(pair));
	}
	json_set(config, "Env", env);
	if (o->workdir)
		json_set_text(config, "WorkingDir", o->workdir);
	if (o->user)
		json_set_text(config, "User", o->user);
	if (o->hostname)
		json_set_text(config, "Hostname", o->hostname);
	if (o->entrypoint) {
		char *const entry[] = {(char *)(uintptr_t)o->entrypoint, NULL};

		json_set(config, "Entrypoint", json_new_texts(entry));
	}
}

static void add_labels(const struct vm_options *o, struct json *config)
{
	struct json *labels = json_new_object();

	for (char **l = o->label; l && *l; l++) {
		struct str rest = str_of(*l), key;
		auto_free char *name = NULL;

		(void)str_cut(&rest, '=', &key);
		name = str_dup(key);
		json_set(labels, name, json_new_str(rest.p ? rest : STR("")));
	}
	json_set(config, "Labels", labels);
}

/* How its streams stand: those of a command, or a console. */
static struct attach_how streams_of(const struct vm_options *o, bool image)
{
	bool terminal = terminal_is(STDIN_FILENO);

	return (struct attach_how){
		/* A console of the background can be joined later: it has a terminal. */
		.tty = image ? o->tty : o->detach || terminal,
		.interactive = image ? o->interactive : true,
		.removed = o->remove,
		.keys = LEAVE_KEY,
	};
}

static int make_body(const struct vm_options *o, const char *image, char **command,
		     const struct attach_how *how, struct json **ret, struct err *e)
{
	auto_json struct json *config = json_new_object();
	struct json *host = json_new_object(), *m = json_new_object();

	json_set(config, "HostConfig", host);
	json_set(host, "Machine", m);
	json_set_text(host, "Runtime", "hull-vm");
	json_set_text(host, "Isolation", "vm");
	json_set_text(host, "NetworkMode", "host");
	json_set_bool(host, "AutoRemove", o->remove);
	if (image)
		json_set_text(config, "Image", image);
	if (command && *command)
		json_set(config, "Cmd", json_new_texts(command));
	json_set_bool(config, "Tty", how->tty);
	json_set_bool(config, "OpenStdin", how->interactive);
	json_set_bool(config, "StdinOnce", how->interactive && !o->detach && image);
	json_set_bool(config, "AttachStdin", how->interactive && !o->detach);
	json_set_bool(config, "AttachStdout", !o->detach);
	json_set_bool(config, "AttachStderr", !o->detach);
	add_process(o, config);
	add_labels(o, config);
	add_restart(o, host);
	if (make_machine(o, m, e) < 0)
		return -ERR_INVALID;
	*ret = take(config);
	return 0;
}

static int begin(const struct context *c, const struct vm_options *o, int argc, char **argv,
		 struct err *e)
{
	const char *image = argc > 0 ? argv[0] : NULL;
	const struct create_how create = {
		.image = image, .name = o->name, .pull = o->pull, .quiet = o->quiet};
	struct attach_how how = streams_of(o, image != NULL);
	auto_json struct json *body = NULL;
	auto_free char *id = NULL;
	int r;

	if (!image && !o->kernel)
		return err_set(
			e, ERR_INVALID,
			"say what to boot: an IMAGE, or --kernel FILE with --disk or --initrd");
	if (image && o->tty && o->interactive && !o->detach && !terminal_is(STDIN_FILENO))
		return err_set(e, ERR_INVALID,
			       "standard input is not a terminal, so -t cannot be used with -i");
	r = make_body(o, image, image ? argv + 1 : NULL, &how, &body, e);
	if (r == 0)
		r = run_create(c, &create, body, &id, e);
	if (r < 0)
		return r;
	if (!o->detach)
		return run_attached(c, id, &how, e);
	r = run_start(c, id, o->remove, e);
	if (r == 0)
		printf("%s\n", id);
	return r;
}

int vm_run_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	int r = begin(c, options, argc, argv, e);

	if (r >= 0)
		return r;
	fprintf(stderr, "hull: %s\n", e->text);
	return EXIT_NOT_BEGUN;
}

int vm_console_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	auto_free char *inspect = client_target("/containers/%s/json", argv[0]);
	auto_free char *path =
		client_target("/containers/%s/attach?stream=1&stdout=1&stderr=1", argv[0]);
	auto_free char *attach = mem_printf("%s&stdin=1&detachKeys=" LEAVE_KEY_ENCODED, path);
	auto_free char *resize = client_target("/containers/%s/resize", argv[0]);
	auto_json struct json *j = NULL;
	auto_strbuf struct strbuf early = {0};
	auto_close int fd = -1;
	bool tty;
	int r = client_call(c, "GET", inspect, NULL, &j, e);

	if (r < 0)
		return r;
	if (!json_get_bool(json_get(j, "State"), "Running", false))
		return err_set(e, ERR_CONFLICT,
			       "machine '%s' is not running; start it with: hull vm start %s",
			       argv[0], argv[0]);
	tty = json_get_bool(json_get(j, "Config"), "Tty", false);
	if (terminal_is(STDIN_FILENO))
		fprintf(stderr, "Ctrl-] leaves the console\n");
	r = client_upgrade(c, attach, NULL, &fd, &early, e);
	if (r == 0)
		r = stream_run(
			&(struct stream_options){c, fd, &early, true, tty, resize, NULL, NULL}, e);
	return r;
}
