/*
 * state, list, ps: what is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/cgroup.h"

static void print_json(struct json *j, bool pretty)
{
	auto_strbuf struct strbuf b = {0};

	if (pretty)
		json_write_pretty(j, &b);
	else
		json_write(j, &b);
	(void)printf("%s\n", strbuf_text(&b));
}

/* A stopped container's pid is nobody's. */
static void hide_pid(struct record *r)
{
	if (!strcmp(r->status, "stopped"))
		r->state.pid = 0;
}

int verb_state(struct oci *o, int argc, char **argv, struct err *e)
{
	auto_record struct record rec = RECORD_INIT;
	auto_json struct json *j = NULL;
	const char *id = "";
	int r = oci_one_id(argc, argv, 1, &id, e);

	if (r == 0)
		r = record_open(o, id, &rec, e);
	if (r < 0)
		return r;
	hide_pid(&rec);
	j = state_oci(&rec.state);
	if (!rec.state.pid)
		json_set_i64(j, "pid", 0);
	print_json(j, true);
	return 0;
}

struct list_args {
	const char *format;
	bool quiet;
};

static const struct option_row list_options[] = {
	{'f', "format", OPTION_TEXT, offsetof(struct list_args, format), "table|json", "form"},
	{'q', "quiet", OPTION_FLAG, offsetof(struct list_args, quiet), NULL, "ids only"},
};

static void list_row(const struct record *r)
{
	const struct state *s = &r->state;

	(void)printf("%-30s %-9lld %-10s %-40s %-31s %s\n", s->id, (long long)s->pid, r->status,
		     s->bundle ? s->bundle : "", s->created ? s->created : "",
		     s->owner ? s->owner : "");
}

static void list_one(struct oci *o, const char *id, const struct list_args *a, struct json *all)
{
	auto_record struct record rec = RECORD_INIT;

	/* A directory without a readable record is one half made or half gone: not listed. */
	if (record_open(o, id, &rec, NULL) < 0)
		return;
	hide_pid(&rec);
	if (a->quiet)
		(void)printf("%s\n", id);
	else if (all)
		json_append(all, state_oci(&rec.state));
	else
		list_row(&rec);
}

int verb_list(struct oci *o, int argc, char **argv, struct err *e)
{
	struct list_args a = {.format = "table"};
	auto_json struct json *all = NULL;
	char **ids = NULL;
	int first, r;

	r = options_parse(list_options, array_len(list_options), &a, argc, argv, false, &first, e);
	if (r == 0 && first != argc)
		r = err_set(e, ERR_INVALID, "list takes no operands");
	if (r == 0 && strcmp(a.format, "table") != 0 && strcmp(a.format, "json") != 0)
		r = err_set(e, ERR_INVALID, "list: unknown format '%s'", a.format);
	if (r == 0)
		r = record_ids(o, &ids, e);
	if (r < 0)
		return r;
	if (!strcmp(a.format, "json") && !a.quiet)
		all = json_new_array();
	else if (!a.quiet)
		(void)printf("%-30s %-9s %-10s %-40s %-31s %s\n", "ID", "PID", "STATUS", "BUNDLE",
			     "CREATED", "OWNER");
	for (char **id = ids; id && *id; id++)
		list_one(o, *id, &a, all);
	if (all)
		print_json(all, false);
	ids = (mem_free_texts(ids), NULL);
	return 0;
}

static const struct option_row ps_options[] = {
	{'f', "format", OPTION_TEXT, offsetof(struct list_args, format), "table|json", "form"},
};

/* The arguments of a process, separated by spaces; its name in brackets for one without. */
static void read_command(pid_t pid, char *out, size_t size)
{
	char path[64];
	ssize_t n = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, out, size - 1);
	(void)fd_close(fd);
	if (n <= 0)
		n = snprintf(out, size, "[?]");
	for (ssize_t i = 0; i + 1 < n; i++)
		if (out[i] == '\0')
			out[i] = ' ';
	out[n] = '\0';
}

int verb_ps(struct oci *o, int argc, char **argv, struct err *e)
{
	struct list_args a = {.format = "table"};
	auto_record struct record rec = RECORD_INIT;
	auto_json struct json *all = json_new_array();
	auto_free pid_t *pids = NULL;
	size_t n = 0;
	int first, r;

	r = options_parse(ps_options, array_len(ps_options), &a, argc, argv, true, &first, e);
	if (r < 0)
		return r;
	if (first >= argc)
		return err_set(e, ERR_INVALID, "ps: a container id is needed");
	r = record_open(o, argv[first], &rec, e);
	if (r == 0)
		r = cgroup_pids(rec.cgroup, &pids, &n, e);
	if (r < 0)
		return r;
	if (strcmp(a.format, "json") != 0)
		(void)printf("%-9s %s\n", "PID", "COMMAND");
	for (size_t i = 0; i < n; i++) {
		char command[4096];

		json_append(all, json_new_i64(pids[i]));
		if (!strcmp(a.format, "json"))
			continue;
		read_command(pids[i], command, sizeof(command));
		(void)printf("%-9d %s\n", pids[i], command);
	}
	if (!strcmp(a.format, "json"))
		print_json(all, false);
	return 0;
}
