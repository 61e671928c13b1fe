/* The table of verbs, the help made from it, and the way from argv to a verb. See cli.h. */
#include "cli/cli.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/container.h"
#include "cli/copy.h"
#include "cli/daemon.h"
#include "cli/image.h"
#include "cli/run.h"
#include "cli/vm.h"
#include "ground/base/mem.h"

#define EXIT_FAILED  1
#define EXIT_USAGE   125
#define DEFAULT_ROOT "/var/lib/hull"
#define DEFAULT_RUN  "/run/hull"

struct global_options {
	const char *root, *run, *owner;
	bool help, version;
};

static const struct option_row global_rows[] = {
	{0, "root", OPTION_TEXT, offsetof(struct global_options, root), "R",
	 "where the daemon keeps what lasts (" DEFAULT_ROOT ")"},
	{0, "run", OPTION_TEXT, offsetof(struct global_options, run), "D",
	 "where its socket is (" DEFAULT_RUN ")"},
	{0, "owner", OPTION_TEXT, offsetof(struct global_options, owner), "NAME",
	 "whose containers are meant: cli, docker or kube"},
	{'h', "help", OPTION_FLAG, offsetof(struct global_options, help), NULL, "show this help"},
	{0, "version", OPTION_FLAG, offsetof(struct global_options, version), NULL,
	 "show the version"},
};

#define C(letter, name, type, field, arg, help)                                          \
	{                                                                                \
		letter, name, type, offsetof(struct container_options, field), arg, help \
	}
#define I(letter, name, type, field, arg, help)                                      \
	{                                                                            \
		letter, name, type, offsetof(struct image_options, field), arg, help \
	}
#define X(letter, name, type, field, arg, help)                                     \
	{                                                                           \
		letter, name, type, offsetof(struct exec_options, field), arg, help \
	}

static const struct option_row list_rows[] = {
	C('a', "all", OPTION_FLAG, all, NULL, "also those that do not run"),
	C('q', "quiet", OPTION_FLAG, quiet, NULL, "ids only"),
	C('f', "filter", OPTION_TEXTS, filter, "K=V", "only those that match"),
	C(0, "no-trunc", OPTION_FLAG, no_trunc, NULL, "do not shorten"),
};
static const struct option_row logs_rows[] = {
	C('f', "follow", OPTION_FLAG, follow, NULL, "go on as it grows"),
	C('n', "tail", OPTION_TEXT, tail, "N", "only the last N lines"),
	C('t', "timestamps", OPTION_FLAG, timestamps, NULL, "with the time of each line"),
	C(0, "since", OPTION_TEXT, since, "TIME", "only lines after this"),
	C(0, "until", OPTION_TEXT, until, "TIME", "only lines before this"),
};
static const struct option_row stop_rows[] = {
	C('t', "time", OPTION_I64, timeout, "SECONDS", "before it is killed"),
	C('s', "signal", OPTION_TEXT, signal, "SIGNAL", "what is sent first"),
};
static const struct option_row kill_rows[] = {
	C('s', "signal", OPTION_TEXT, signal, "SIGNAL", "what is sent (KILL)"),
};
static const struct option_row start_rows[] = {
	C('a', "attach", OPTION_FLAG, attach, NULL, "stay with it and show its output"),
	C('i', "interactive", OPTION_FLAG, interactive, NULL, "also send our standard input"),
};
static const struct option_row remove_rows[] = {
	C('f', "force", OPTION_FLAG, force, NULL, "kill it first"),
	C('v', "volumes", OPTION_FLAG, volumes, NULL, "and its anonymous volumes"),
};
static const struct option_row inspect_rows[] = {
	C(0, "type", OPTION_TEXT, type, "TYPE", "container, image, network or volume"),
};
static const struct option_row stats_rows[] = {
	C(0, "no-stream", OPTION_FLAG, no_stream, NULL, "once, not for ever"),
};
static const struct option_row exec_rows[] = {
	X('d', "detach", OPTION_FLAG, detach, NULL, "do not wait for it"),
	X('i', "interactive", OPTION_FLAG, interactive, NULL, "send our standard input"),
	X('t', "tty", OPTION_FLAG, tty, NULL, "give it a terminal"),
	X('e', "env", OPTION_TEXTS, env, "K=V", "set a variable"),
	X('w', "workdir", OPTION_TEXT, workdir, "DIR", "working directory"),
	X('u', "user", OPTION_TEXT, user, "USER[:GROUP]", "user, by name or number"),
	X(0, "privileged", OPTION_FLAG, privileged, NULL, "with all rights"),
};
static const struct option_row attach_rows[] = {
	{0, "no-stdin", OPTION_FLAG, offsetof(struct attach_options, no_stdin), NULL,
	 "do not send our standard input"},
};
static const struct option_row pull_rows[] = {
	I('q', "quiet", OPTION_FLAG, quiet, NULL, "no progress"),
	I(0, "platform", OPTION_TEXT, platform, "OS/ARCH", "which of an image's platforms"),
};
static const struct option_row load_rows[] = {
	I('i', "input", OPTION_TEXT, file, "FILE", "instead of standard input"),
	I('q', "quiet", OPTION_FLAG, quiet, NULL, "no progress"),
};
static const struct option_row save_rows[] = {
	I('o', "output", OPTION_TEXT, file, "FILE", "instead of standard output"),
};
static const struct option_row import_rows[] = {
	I('m', "message", OPTION_TEXT, message, "TEXT", "comment of the new image"),
};
static const struct option_row images_rows[] = {
	I('a', "all", OPTION_FLAG, all, NULL, "also those without a name"),
	I('q', "quiet", OPTION_FLAG, quiet, NULL, "ids only"),
};
static const struct option_row rmi_rows[] = {
	I('f', "force", OPTION_FLAG, force, NULL, "even when containers use it"),
};
static const struct option_row up_rows[] = {
	{0, "listen", OPTION_TEXT, offsetof(struct daemon_up_options, listen), "ADDRESS:PORT",
	 "where the Kubernetes API listens (127.0.0.1:6443)"},
};
static const struct option_row down_rows[] = {
	{0, "keep", OPTION_FLAG, offsetof(struct daemon_down_options, keep), NULL,
	 "leave the containers running"},
};
static const struct option_row copy_rows[] = {
	{'a', "archive", OPTION_FLAG, offsetof(struct copy_options, archive), NULL,
	 "keep owners and groups"},
	{'L', "follow-link", OPTION_FLAG, offsetof(struct copy_options, follow), NULL,
	 "copy what a link points at"},
};

static const struct container_options container_defaults = {.timeout = -1};

#define CONTAINER(name)                                                                       \
	static const struct option_table name##_table = {name##_rows, array_len(name##_rows), \
							 sizeof(struct container_options),    \
							 &container_defaults}
#define TABLE(name, type)                                                                     \
	static const struct option_table name##_table = {name##_rows, array_len(name##_rows), \
							 sizeof(struct type), NULL}

static const struct option_table no_container_table = {NULL, 0, sizeof(struct container_options),
						       &container_defaults};
CONTAINER(list);
CONTAINER(logs);
CONTAINER(stop);
CONTAINER(kill);
CONTAINER(start);
CONTAINER(remove);
CONTAINER(inspect);
CONTAINER(stats);
TABLE(exec, exec_options);
TABLE(attach, attach_options);
TABLE(pull, image_options);
TABLE(load, image_options);
TABLE(save, image_options);
TABLE(import, image_options);
TABLE(images, image_options);
TABLE(rmi, image_options);
TABLE(up, daemon_up_options);
TABLE(down, daemon_down_options);
TABLE(copy, copy_options);

static const struct verb verbs[] = {
	{"run", "IMAGE [COMMAND [ARG...]]", "make a container from an image and start it",
	 &run_table, true, 1, -1, run_verb},
	{"create", "IMAGE [COMMAND [ARG...]]", "make a container, do not start it", &run_table,
	 true, 1, -1, create_verb},
	{"exec", "CONTAINER COMMAND [ARG...]", "run a command in a running container", &exec_table,
	 true, 2, -1, exec_verb},
	{"ps", "", "list containers", &list_table, false, 0, 0, container_list_verb},
	{"logs", "CONTAINER", "show what a container printed", &logs_table, false, 1, 1,
	 container_logs_verb},
	{"attach", "CONTAINER", "join a running container's terminal or streams", &attach_table,
	 false, 1, 1, attach_verb},
	{"start", "CONTAINER...", "start containers", &start_table, false, 1, -1,
	 container_start_verb},
	{"stop", "CONTAINER...", "ask containers to end, then kill them", &stop_table, false, 1, -1,
	 container_stop_verb},
	{"restart", "CONTAINER...", "stop and start containers", &stop_table, false, 1, -1,
	 container_restart_verb},
	{"kill", "CONTAINER...", "send containers a signal", &kill_table, false, 1, -1,
	 container_kill_verb},
	{"pause", "CONTAINER...", "freeze containers", &no_container_table, false, 1, -1,
	 container_pause_verb},
	{"unpause", "CONTAINER...", "let frozen containers go on", &no_container_table, false, 1,
	 -1, container_unpause_verb},
	{"wait", "CONTAINER...", "wait for the end and print exit codes", NULL, false, 1, -1,
	 container_wait_verb},
	{"rm", "CONTAINER...", "remove containers", &remove_table, false, 1, -1,
	 container_remove_verb},
	{"rename", "CONTAINER NAME", "give a container another name", NULL, false, 2, 2,
	 container_rename_verb},
	{"cp", "SOURCE DESTINATION", "copy files in (PATH CONTAINER:PATH) or out", &copy_table,
	 false, 2, 2, copy_verb},
	{"inspect", "NAME...", "show all that is known, as JSON", &inspect_table, false, 1, -1,
	 container_inspect_verb},
	{"top", "CONTAINER", "list the processes of a container", NULL, false, 1, 1,
	 container_top_verb},
	{"stats", "[CONTAINER...]", "show use of CPU, memory and network", &stats_table, false, 0,
	 -1, container_stats_verb},
	{"images", "", "list images", &images_table, false, 0, 0, image_list_verb},
	{"pull", "IMAGE...", "fetch images from a registry", &pull_table, false, 1, -1,
	 image_pull_verb},
	{"push", "IMAGE", "send an image to a registry", &pull_table, false, 1, 1, image_push_verb},
	{"load", "[FILE]", "read images from an archive", &load_table, false, 0, 1,
	 image_load_verb},
	{"save", "IMAGE...", "write images to an archive", &save_table, false, 1, -1,
	 image_save_verb},
	{"import", "FILE [NAME]", "make an image from a tar of a root", &import_table, false, 1, 2,
	 image_import_verb},
	{"tag", "IMAGE NAME", "give an image another name", NULL, false, 2, 2, image_tag_verb},
	{"rmi", "IMAGE...", "remove images", &rmi_table, false, 1, -1, image_remove_verb},
	{"vm", "VERB ...", "virtual machines; hull vm lists its verbs", NULL, true, 0, -1, NULL,
	 false, NULL, vm_verbs},
	{"up", "", "start the daemon with a cluster, and keep it alive", &up_table, false, 0, 0,
	 daemon_up},
	{"kubeconfig", "", "print what kubectl needs to reach the cluster", NULL, false, 0, 0,
	 daemon_kubeconfig},
	{"down", "", "stop every container and the daemon", &down_table, false, 0, 0, daemon_down},
	{"status", "", "say whether the daemon runs and what it holds", NULL, false, 0, 0,
	 daemon_status},
	{"supervise", "", "keep hulld alive (hull up starts this)", NULL, false, 0, 0,
	 daemon_supervise, true},
};

/* Of all verbs, or of those behind one. */
static void print_usage(const struct verb *group)
{
	auto_strbuf struct strbuf options = {0};
	const struct verb *v = group ? group->members : verbs;
	size_t n = group ? SIZE_MAX : array_len(verbs);

	if (group)
		printf("usage: hull %s VERB ...\n\nVirtual machines on this machine.\n\n",
		       group->name);
	else
		printf("usage: hull [OPTIONS] VERB ...\n\n"
		       "Containers, images and virtual machines on this machine.\n\n");
	for (size_t i = 0; i < n && v[i].name; i++) {
		if (!v[i].hidden)
			printf("  %-9s %s\n", v[i].name, v[i].help);
	}
	options_help(global_rows, array_len(global_rows), &options);
	printf("\nOptions, before the verb or behind it:\n%s\nMore on one verb: hull %s%sVERB "
	       "--help\n",
	       strbuf_text(&options), group ? group->name : "", group ? " " : "");
}

/* "run", or "vm run" */
static char *full_name(const struct verb *v)
{
	return v->group ? mem_printf("%s %s", v->group, v->name) : mem_dup_text(v->name);
}

static void print_verb_help(const struct verb *v)
{
	auto_strbuf struct strbuf options = {0};
	auto_free char *name = full_name(v);

	if (v->members) {
		print_usage(v);
		return;
	}
	if (v->options)
		options_help(v->options->rows, v->options->n, &options);
	printf("usage: hull %s%s %s\n\n%s\n%s%s", name, options.n ? " [OPTIONS]" : "", v->operands,
	       v->help, options.n ? "\n" : "", strbuf_text(&options));
}

static const struct verb *verb_of(const struct verb *group, const char *name, struct err *e)
{
	const char *names[array_len(verbs)];
	const struct verb *v = group ? group->members : verbs;
	const char *closest;
	size_t n = 0;

	for (; n < array_len(verbs) && v[n].name; n++) {
		if (text_eq(v[n].name, name))
			return &v[n];
		names[n] = v[n].hidden ? NULL : v[n].name;
	}
	closest = options_closest(name, names, n);
	if (closest)
		(void)err_set(e, ERR_INVALID, "unknown verb '%s'; did you mean '%s'?", name,
			      closest);
	else
		(void)err_set(e, ERR_INVALID, "unknown verb '%s'; hull %s%s--help lists them", name,
			      group ? group->name : "", group ? " " : "");
	return NULL;
}

/* What was typed wrong ends with 125, what the daemon or the host refused with 1. */
static int complain(const struct err *e, int code)
{
	fprintf(stderr, "hull: %s\n", e->text);
	return code;
}

static int check_operands(const struct verb *v, int n, struct err *e)
{
	if (n >= v->operands_least && (v->operands_most < 0 || n <= v->operands_most))
		return 0;
	return err_set(e, ERR_INVALID, "usage: hull %s%s%s%s %s", v->group ? v->group : "",
		       v->group ? " " : "", v->name,
		       v->options && v->options->n ? " [OPTIONS]" : "", v->operands);
}

static int make_context(const struct global_options *g, struct context *c, struct err *e)
{
	int n;

	c->root = g->root ? g->root : DEFAULT_ROOT;
	c->run = g->run ? g->run : DEFAULT_RUN;
	c->owner = g->owner ? g->owner : "cli";
	if (c->root[0] != '/' || c->run[0] != '/')
		return err_set(e, ERR_INVALID, "--root and --run must be absolute paths");
	n = snprintf(c->socket, sizeof(c->socket), "%s/docker.sock", c->run);
	if (n < 0 || (size_t)n >= sizeof(c->socket))
		return err_set(e, ERR_INVALID,
			       "--run '%s' is too long: the socket's path has at most 107 bytes",
			       c->run);
	return 0;
}

/*
 * Behind the verb its own options and the global ones are both accepted, so the two tables are
 * joined into one; the joined rows point into one block that holds both structs.
 */
static int run_one(const struct verb *v, struct global_options *g, int argc, char **argv,
		   struct err *e)
{
	static const struct option_table none = {0};
	const struct option_table *own = v->options ? v->options : &none;
	size_t rows_n = own->n + array_len(global_rows);
	auto_free struct option_row *rows = mem_new_array(struct option_row, rows_n);
	size_t g_at = (own->size + 15) & ~(size_t)15;
	auto_free char *block = mem_new_bytes(1, g_at + sizeof(*g));
	struct context c = {0};
	int first = 0, r;

	for (size_t i = 0; i < rows_n; i++) {
		rows[i] = i < own->n ? own->rows[i] : global_rows[i - own->n];
		if (i >= own->n)
			rows[i].offset += g_at;
	}
	if (own->defaults)
		memcpy(block, own->defaults, own->size);
	memcpy(block + g_at, g, sizeof(*g));
	r = options_parse(rows, rows_n, block, argc, argv, v->operands_end, &first, e);
	memcpy(g, block + g_at, sizeof(*g));
	if (r == 0 && g->help) {
		print_verb_help(v);
		return 0;
	}
	if (r == 0)
		r = check_operands(v, argc - first, e);
	if (r == 0)
		r = make_context(g, &c, e);
	if (r < 0)
		return complain(e, EXIT_USAGE);
	r = v->run(&c, block, argc - first, argv + first, e);
	if (r < 0)
		r = complain(e, EXIT_FAILED);
	options_free(own->rows, own->n, block);
	return r;
}

/* `hull help [VERB [VERB]]` */
static int help(int argc, char **argv)
{
	const struct verb *v = argc > 0 ? verb_of(NULL, argv[0], NULL) : NULL;
	const struct verb *member = v && v->members && argc > 1 ? verb_of(v, argv[1], NULL) : NULL;

	if (v)
		print_verb_help(member ? member : v);
	else
		print_usage(NULL);
	return 0;
}

int cli_main(int argc, char **argv)
{
	struct global_options g = {0};
	const struct verb *v;
	struct err e = {0};
	int first = 0, r;

	r = options_parse(global_rows, array_len(global_rows), &g, argc, argv, true, &first, &e);
	if (r < 0)
		return complain(&e, EXIT_USAGE);
	if (g.version) {
		printf("hull 0.1.0\n");
		return 0;
	}
	if (first >= argc && !g.help) {
		print_usage(NULL);
		return EXIT_USAGE;
	}
	if (g.help || text_eq(argv[first], "help"))
		return help(argc - first - 1, argv + first + 1);
	v = verb_of(NULL, argv[first], &e);
	if (v && v->members) {
		const struct verb *group = v;

		first++;
		if (first >= argc || text_eq(argv[first], "--help") || text_eq(argv[first], "-h")) {
			print_usage(group);
			return first < argc ? 0 : EXIT_USAGE;
		}
		v = verb_of(group, argv[first], &e);
	}
	if (!v)
		return complain(&e, EXIT_USAGE);
	return run_one(v, &g, argc - first, argv + first, &e);
}
