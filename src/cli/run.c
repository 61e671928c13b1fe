/*
 * run, exec and attach: see run.h. Running in the foreground is four calls: create, attach, wait,
 * start, in this order, so that neither the first byte nor the exit code can be missed.
 */
#include "cli/run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/image.h"
#include "cli/request.h"
#include "cli/stream.h"
#include "cli/terminal.h"
#include "ground/base/mem.h"

#define EXIT_NOT_BEGUN 125
#define EXIT_KILLED    137

#define ROW(letter, name, type, field, arg, help)                                  \
	{                                                                          \
		letter, name, type, offsetof(struct run_options, field), arg, help \
	}

static const struct option_row run_rows[] = {
	ROW('d', "detach", OPTION_FLAG, detach, NULL, "run in the background and print the id"),
	ROW('i', "interactive", OPTION_FLAG, interactive, NULL, "keep standard input open"),
	ROW('t', "tty", OPTION_FLAG, tty, NULL, "give it a terminal"),
	ROW(0, "rm", OPTION_FLAG, remove, NULL, "remove the container when it ends"),
	ROW(0, "name", OPTION_TEXT, name, "NAME", "name of the container"),
	ROW('e', "env", OPTION_TEXTS, env, "K=V", "set a variable (K alone: copy ours)"),
	ROW(0, "env-file", OPTION_TEXTS, env_file, "FILE", "read variables from a file"),
	ROW('v', "volume", OPTION_TEXTS, volume, "SRC:DST[:ro]",
	    "mount a directory or named volume"),
	ROW(0, "tmpfs", OPTION_TEXTS, tmpfs, "DST[:OPTS]", "mount memory at DST"),
	ROW('p', "publish", OPTION_TEXTS, publish, "[[IP:]HOST:]PORT", "publish a port or range"),
	ROW('P', "publish-all", OPTION_FLAG, publish_all, NULL, "publish every exposed port"),
	ROW(0, "expose", OPTION_TEXTS, expose, "PORT", "declare a port"),
	ROW(0, "network", OPTION_TEXT, network, "NET", "a network, host, none or container:NAME"),
	ROW(0, "net", OPTION_TEXT, network, "NET", "the same as --network"),
	ROW(0, "network-alias", OPTION_TEXTS, network_alias, "NAME",
	    "another name on that network"),
	ROW(0, "ip", OPTION_TEXT, ip, "ADDR", "a fixed address on that network"),
	ROW(0, "dns", OPTION_TEXTS, dns, "ADDR", "name server"),
	ROW(0, "add-host", OPTION_TEXTS, add_host, "NAME:ADDR", "add a line to /etc/hosts"),
	ROW('h', "hostname", OPTION_TEXT, hostname, "NAME", "host name inside"),
	ROW('w', "workdir", OPTION_TEXT, workdir, "DIR", "working directory"),
	ROW('u', "user", OPTION_TEXT, user, "USER[:GROUP]", "user, by name or number"),
	ROW(0, "group-add", OPTION_TEXTS, group_add, "GROUP", "one more group"),
	ROW(0, "entrypoint", OPTION_TEXT, entrypoint, "PROGRAM",
	    "instead of the image's entry point"),
	ROW('l', "label", OPTION_TEXTS, label, "K=V", "label the container"),
	ROW('m', "memory", OPTION_SIZE, memory, "BYTES", "limit memory, as in 512m"),
	ROW(0, "memory-swap", OPTION_SIZE, memory_swap, "BYTES", "limit memory and swap together"),
	ROW(0, "memory-reservation", OPTION_SIZE, memory_reservation, "BYTES",
	    "memory kept for it"),
	ROW(0, "cpus", OPTION_TEXT, cpus, "N", "limit CPU time, as in 1.5"),
	ROW('c', "cpu-shares", OPTION_I64, cpu_shares, "N", "weight against others (1024)"),
	ROW(0, "cpuset-cpus", OPTION_TEXT, cpuset, "LIST", "CPUs it may use, as in 0-2,4"),
	ROW(0, "pids-limit", OPTION_I64, pids_limit, "N", "limit the number of processes"),
	ROW(0, "ulimit", OPTION_TEXTS, ulimit, "NAME=SOFT[:HARD]", "set a resource limit"),
	ROW(0, "shm-size", OPTION_SIZE, shm_size, "BYTES", "size of /dev/shm"),
	ROW(0, "cap-add", OPTION_TEXTS, cap_add, "CAP", "give a capability"),
	ROW(0, "cap-drop", OPTION_TEXTS, cap_drop, "CAP", "take a capability away"),
	ROW(0, "security-opt", OPTION_TEXTS, security_opt, "OPT",
	    "no-new-privileges, seccomp=FILE, …"),
	ROW(0, "privileged", OPTION_FLAG, privileged, NULL, "give it all rights and devices"),
	ROW(0, "device", OPTION_TEXTS, device, "HOST[:CTR[:rwm]]", "add a device"),
	ROW(0, "sysctl", OPTION_TEXTS, sysctl, "K=V", "set a kernel parameter inside"),
	ROW(0, "read-only", OPTION_FLAG, read_only, NULL, "mount its root read-only"),
	ROW(0, "init", OPTION_FLAG, init, NULL, "run an init that reaps and forwards signals"),
	ROW(0, "pid", OPTION_TEXT, pid, "MODE", "host or container:NAME"),
	ROW(0, "ipc", OPTION_TEXT, ipc, "MODE", "host, private, shareable or container:NAME"),
	ROW(0, "restart", OPTION_TEXT, restart, "POLICY",
	    "no, always, unless-stopped, on-failure[:N]"),
	ROW(0, "stop-signal", OPTION_TEXT, stop_signal, "SIGNAL", "what stop sends first"),
	ROW(0, "stop-timeout", OPTION_I64, stop_timeout, "SECONDS", "before stop kills"),
	ROW(0, "health-cmd", OPTION_TEXT, health_cmd, "LINE", "check health with this"),
	ROW(0, "health-interval", OPTION_DURATION, health_interval, "TIME", "between two checks"),
	ROW(0, "health-timeout", OPTION_DURATION, health_timeout, "TIME", "of one check"),
	ROW(0, "health-retries", OPTION_I64, health_retries, "N",
	    "failures that make it unhealthy"),
	ROW(0, "no-healthcheck", OPTION_FLAG, no_healthcheck, NULL, "ignore the image's check"),
	ROW(0, "log-driver", OPTION_TEXT, log_driver, "NAME", "json-file, local or none"),
	ROW(0, "log-opt", OPTION_TEXTS, log_opt, "K=V", "max-size, max-file"),
	ROW(0, "platform", OPTION_TEXT, platform, "OS/ARCH", "which of an image's platforms"),
	ROW(0, "runtime", OPTION_TEXT, runtime, "NAME", "another runtime"),
	ROW(0, "pull", OPTION_TEXT, pull, "WHEN", "always, missing or never"),
	ROW('q', "quiet", OPTION_FLAG, quiet, NULL, "no progress while pulling"),
};
const struct option_table run_table = {run_rows, array_len(run_rows), sizeof(struct run_options),
				       NULL};

int run_create(const struct context *c, const struct create_how *how, const struct json *body,
	       char **ret_id, struct err *e)
{
	auto_json struct json *reply = NULL;
	auto_strbuf struct strbuf target = {0};
	bool always = how->image && text_eq(how->pull, "always");
	int r;

	strbuf_add_text(&target, "/containers/create?name=");
	http_encode(&target, how->name ? how->name : "");
	if (how->platform) {
		strbuf_add_text(&target, "&platform=");
		http_encode(&target, how->platform);
	}
	if (always && (r = image_pull(c, how->image, how->platform, how->quiet, e)) < 0)
		return r;
	r = client_call(c, "POST", strbuf_text(&target), body, &reply, e);
	if (r == -ERR_NOT_FOUND && how->image && strstr(e->text, "No such image") && !always &&
	    !text_eq(how->pull, "never")) {
		fprintf(stderr, "hull: image '%s' is not here, pulling it\n", how->image);
		r = image_pull(c, how->image, how->platform, how->quiet, e);
		if (r == 0)
			r = client_call(c, "POST", strbuf_text(&target), body, &reply, e);
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < json_len(json_get(reply, "Warnings")); i++)
		fprintf(stderr, "hull: warning: %s\n",
			json_text(json_at(json_get(reply, "Warnings"), i)));
	*ret_id = mem_dup_text(json_get_text(reply, "Id"));
	return *ret_id ? 0 : err_set(e, ERR_INTERNAL, "the daemon gave no id");
}

static int create(const struct context *c, const struct run_options *o, char **argv, char **ret_id,
		  struct err *e)
{
	const struct create_how how = {.image = argv[0],
				       .name = o->name,
				       .platform = o->platform,
				       .pull = o->pull,
				       .quiet = o->quiet};
	auto_json struct json *body = NULL;

	if (request_make(o, argv[0], argv + 1, &body, e) < 0)
		return -(int)e->kind;
	return run_create(c, &how, body, ret_id, e);
}

/*
 * The code a container that could not be started is left with: 126, 127, or 125 when unknown. One
 * with --rm may be gone by now; then the words tell by which the docker client knows, too.
 */
static int code_of_failed_start(const struct context *c, const char *id, const char *why)
{
	auto_free char *target = client_target("/containers/%s/json", id);
	auto_json struct json *j = NULL;
	int64_t code = 0;

	if (client_call(c, "GET", target, NULL, &j, NULL) == 0)
		code = json_get_i64(json_get(j, "State"), "ExitCode", 0);
	else if (strstr(why, "no such file or directory"))
		code = 127;
	else if (strstr(why, "permission denied"))
		code = 126;
	return code == 126 || code == 127 ? (int)code : EXIT_NOT_BEGUN;
}

static void remove_quietly(const struct context *c, const char *id)
{
	auto_free char *target = client_target("/containers/%s?force=1&v=1", id);

	(void)!client_call(c, "DELETE", target, NULL, NULL, NULL);
}

int run_start(const struct context *c, const char *id, bool removed, struct err *e)
{
	auto_free char *target = client_target("/containers/%s/start", id);
	int r = client_call(c, "POST", target, NULL, NULL, e), code;

	if (r == 0)
		return 0;
	code = code_of_failed_start(c, id, e->text);
	if (removed)
		remove_quietly(c, id);
	fprintf(stderr, "hull: %s\n", e->text);
	return code;
}

/*
 * Reads the reply of a wait call that is already open. Says why it was killed, where the daemon
 * knows: a limit that was hit, and how much was asked.
 */
static int waited_code(struct http_local *h, struct err *e)
{
	auto_strbuf struct strbuf reply = {0};
	auto_json struct json *j = NULL;
	const char *why;
	int r = http_local_read_all(h, 1u << 16, &reply, e);

	if (r == 0)
		r = json_parse(strbuf_str(&reply), "the reply of wait", &j, e);
	if (r < 0)
		return err_wrap(e, "waiting for the container");
	r = (int)json_get_i64(j, "StatusCode", 1);
	why = json_get_text(j, "Reason");
	if (r == EXIT_KILLED && why)
		fprintf(stderr, "hull: %s\n", why);
	return r;
}

/* It was left with the detach keys, not ended: it still runs. */
static bool goes_on(const struct context *c, const char *id)
{
	auto_free char *target = client_target("/containers/%s/json", id);
	auto_json struct json *j = NULL;

	return client_call(c, "GET", target, NULL, &j, NULL) == 0 &&
	       json_get_bool(json_get(j, "State"), "Running", false);
}

static char *attach_target(const char *id, const struct attach_how *how)
{
	auto_free char *path =
		client_target("/containers/%s/attach?stream=1&stdout=1&stderr=1", id);
	struct strbuf target = {0};

	strbuf_add_text(&target, path);
	if (how->interactive)
		strbuf_add_text(&target, "&stdin=1");
	if (how->keys) {
		strbuf_add_text(&target, "&detachKeys=");
		http_encode(&target, how->keys);
	}
	return strbuf_take(&target);
}

int run_attached(const struct context *c, const char *id, const struct attach_how *how,
		 struct err *e)
{
	auto_free char *attach = attach_target(id, how);
	auto_free char *wait =
		client_target(how->removed ? "/containers/%s/wait?condition=removed"
					   : "/containers/%s/wait?condition=next-exit",
			      id);
	auto_free char *resize = client_target("/containers/%s/resize", id);
	auto_free char *kill = client_target("/containers/%s/kill", id);
	auto_strbuf struct strbuf early = {0};
	const struct client_request wait_request = {.method = "POST", .target = wait};
	struct http_local waiting;
	auto_close int fd = -1;
	int r = client_upgrade(c, attach, NULL, &fd, &early, e);

	if (r < 0)
		return r;
	r = client_open(c, &wait_request, &waiting, e);
	if (r < 0)
		return r;
	r = run_start(c, id, how->removed, e);
	if (r == 0)
		r = stream_run(&(struct stream_options){c, fd, &early, how->interactive, how->tty,
							resize, how->tty ? NULL : kill, NULL},
			       e);
	if (r == 0 && how->tty && how->interactive && goes_on(c, id)) {
		http_local_close(&waiting);
		return 0;
	}
	if (r == 0)
		r = waited_code(&waiting, e);
	http_local_close(&waiting);
	return r;
}

int run_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct run_options *o = options;
	auto_free char *id = NULL;
	int r;

	if (o->tty && o->interactive && !o->detach && !terminal_is(STDIN_FILENO))
		return err_set(e, ERR_INVALID,
			       "standard input is not a terminal, so -t cannot be used with -i");
	r = create(c, o, argv, &id, e);
	if (r == 0 && o->detach) {
		r = run_start(c, id, o->remove, e);
		if (r == 0)
			printf("%s\n", id);
	} else if (r == 0) {
		r = run_attached(c, id,
				 &(struct attach_how){.interactive = o->interactive,
						      .tty = o->tty,
						      .removed = o->remove},
				 e);
	}
	if (r >= 0)
		return r;
	fprintf(stderr, "hull: %s\n", e->text);
	return EXIT_NOT_BEGUN;
}

int create_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	auto_free char *id = NULL;
	int r = create(c, options, argv, &id, e);

	if (r == 0)
		printf("%s\n", id);
	return r;
}

static struct json *exec_body(const struct exec_options *o, char **command)
{
	struct json *body = json_new_object();

	json_set(body, "Cmd", json_new_texts(command));
	json_set_bool(body, "AttachStdin", o->interactive && !o->detach);
	json_set_bool(body, "AttachStdout", !o->detach);
	json_set_bool(body, "AttachStderr", !o->detach);
	json_set_bool(body, "Tty", o->tty);
	json_set_bool(body, "Privileged", o->privileged);
	if (o->env)
		json_set(body, "Env", json_new_texts(o->env));
	if (o->workdir)
		json_set_text(body, "WorkingDir", o->workdir);
	if (o->user)
		json_set_text(body, "User", o->user);
	return body;
}

/* Starts the prepared exec and stays with it; returns its exit code. */
static int exec_attached(const struct context *c, const char *id, const struct exec_options *o,
			 struct err *e)
{
	auto_free char *begin = client_target("/exec/%s/start", id);
	auto_free char *inspect = client_target("/exec/%s/json", id);
	auto_free char *resize = client_target("/exec/%s/resize", id);
	auto_json struct json *how = json_new_object(), *result = NULL;
	auto_strbuf struct strbuf early = {0};
	auto_close int fd = -1;
	int r;

	json_set_bool(how, "Detach", o->detach);
	json_set_bool(how, "Tty", o->tty);
	if (o->detach)
		return client_call(c, "POST", begin, how, NULL, e);
	r = client_upgrade(c, begin, how, &fd, &early, e);
	if (r == 0)
		r = stream_run(&(struct stream_options){c, fd, &early, o->interactive, o->tty,
							resize, NULL, NULL},
			       e);
	if (r == 0)
		r = client_call(c, "GET", inspect, NULL, &result, e);
	return r < 0 ? r : (int)json_get_i64(result, "ExitCode", EXIT_NOT_BEGUN);
}

int exec_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct exec_options *o = options;
	auto_free char *target = client_target("/containers/%s/exec", argv[0]);
	auto_json struct json *body = exec_body(o, argv + 1), *reply = NULL;
	const char *id;
	int r;

	if (o->tty && o->interactive && !terminal_is(STDIN_FILENO))
		return err_set(e, ERR_INVALID,
			       "standard input is not a terminal, so -t cannot be used with -i");
	r = client_call(c, "POST", target, body, &reply, e);
	if (r < 0)
		return r;
	id = json_get_text(reply, "Id");
	return id ? exec_attached(c, id, o, e) : err_set(e, ERR_INTERNAL, "the daemon gave no id");
}

int attach_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct attach_options *o = options;
	auto_free char *inspect = client_target("/containers/%s/json", argv[0]);
	auto_free char *attach = client_target(
		o->no_stdin ? "/containers/%s/attach?stream=1&stdout=1&stderr=1"
			    : "/containers/%s/attach?stream=1&stdout=1&stderr=1&stdin=1",
		argv[0]);
	auto_free char *resize = client_target("/containers/%s/resize", argv[0]);
	auto_free char *kill = client_target("/containers/%s/kill", argv[0]);
	auto_json struct json *j = NULL, *after = NULL;
	auto_strbuf struct strbuf early = {0};
	auto_close int fd = -1;
	bool tty, open;
	int r = client_call(c, "GET", inspect, NULL, &j, e);

	if (r < 0)
		return r;
	tty = json_get_bool(json_get(j, "Config"), "Tty", false);
	open = json_get_bool(json_get(j, "Config"), "OpenStdin", false) && !o->no_stdin;
	if (!json_get_bool(json_get(j, "State"), "Running", false))
		return err_set(e, ERR_CONFLICT,
			       "container '%s' is not running; start it with: hull start %s",
			       argv[0], argv[0]);
	r = client_upgrade(c, attach, NULL, &fd, &early, e);
	if (r == 0)
		r = stream_run(&(struct stream_options){c, fd, &early, open, tty, resize,
							tty ? NULL : kill, NULL},
			       e);
	if (r == 0)
		r = client_call(c, "GET", inspect, NULL, &after, e);
	if (r < 0)
		return r;
	return (int)json_get_i64(json_get(after, "State"), "ExitCode", 0);
}
