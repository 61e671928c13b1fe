/*
 * update: limits of a running container, from a file, standard input or flags. Flags are put into
 * the same JSON that a file holds, so that one path leads to the cgroup.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/format/json.h"
#include "virt/container/resources.h"
#include "virt/container/spec.h"

struct update_args {
	const char *file;
	const char *value[20]; /* by row of `flags` */
	const char *l3_cache_schema, *mem_bw_schema;
};

enum value_kind { NUMBER, BYTES, TEXT };

/* One row is one flag: where its value goes in linux.resources. */
static const struct flag {
	const char *name, *section, *key;
	enum value_kind kind;
} flags[] = {
	{"blkio-weight", "blockIO", "weight", NUMBER},
	{"cpu-period", "cpu", "period", NUMBER},
	{"cpu-quota", "cpu", "quota", NUMBER},
	{"cpu-burst", "cpu", "burst", NUMBER},
	{"cpu-share", "cpu", "shares", NUMBER},
	{"cpu-rt-period", "cpu", "realtimePeriod", NUMBER},
	{"cpu-rt-runtime", "cpu", "realtimeRuntime", NUMBER},
	{"cpu-idle", "cpu", "idle", NUMBER},
	{"cpuset-cpus", "cpu", "cpus", TEXT},
	{"cpuset-mems", "cpu", "mems", TEXT},
	{"kernel-memory", "memory", "kernel", BYTES},
	{"kernel-memory-tcp", "memory", "kernelTCP", BYTES},
	{"memory", "memory", "limit", BYTES},
	{"memory-reservation", "memory", "reservation", BYTES},
	{"memory-swap", "memory", "swap", BYTES},
	{"pids-limit", "pids", "limit", NUMBER},
};
static_assert(array_len(flags) <= 20, "a place for every flag");

static int read_value(const struct flag *f, const char *text, struct json **ret, struct err *e)
{
	int64_t n;
	int r;

	if (f->kind == TEXT) {
		*ret = json_new_text(text);
		return 0;
	}
	r = f->kind == BYTES && *text != '-' ? parse_size(str_of(text), f->name, &n, e)
					     : parse_i64(str_of(text), f->name, &n, e);
	if (r == 0)
		*ret = json_new_i64(n);
	return r;
}

static int add_flags(const struct update_args *a, struct json *resources, struct err *e)
{
	for (size_t i = 0; i < array_len(flags); i++) {
		struct json *value = NULL;

		if (!a->value[i])
			continue;
		if (read_value(&flags[i], a->value[i], &value, e) < 0)
			return -(int)e->kind;
		if (!json_get(resources, flags[i].section))
			json_set(resources, flags[i].section, json_new_object());
		json_set(json_get(resources, flags[i].section), flags[i].key, value);
	}
	return 0;
}

static int read_input(struct json **ret, struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	char buf[4096];
	ssize_t n;

	while ((n = read(STDIN_FILENO, buf, sizeof(buf))) > 0) {
		strbuf_add(&b, buf, (size_t)n);
		if (b.n > SPEC_SIZE_MAX)
			return err_set(e, ERR_INVALID, "update: the input is too long");
	}
	return json_parse(strbuf_str(&b), "standard input", ret, e);
}

static int parse_args(int argc, char **argv, struct update_args *a, int *ret_first, struct err *e)
{
	struct option_row rows[array_len(flags) + 3];
	size_t n = 0;

	rows[n++] = (struct option_row){'r',	     "resources",
					OPTION_TEXT, offsetof(struct update_args, file),
					"FILE",	     "from a file"};
	rows[n++] = (struct option_row){0,	     "l3-cache-schema",
					OPTION_TEXT, offsetof(struct update_args, l3_cache_schema),
					"S",	     ""};
	rows[n++] = (struct option_row){0,	     "mem-bw-schema",
					OPTION_TEXT, offsetof(struct update_args, mem_bw_schema),
					"S",	     ""};
	for (size_t i = 0; i < array_len(flags); i++)
		rows[n++] = (struct option_row){
			0,	     flags[i].name,
			OPTION_TEXT, offsetof(struct update_args, value) + i * sizeof(a->value[0]),
			"N",	     flags[i].key};
	return options_parse(rows, n, a, argc, argv, false, ret_first, e);
}

int verb_update(struct oci *o, int argc, char **argv, struct err *e)
{
	struct update_args a = {0};
	auto_record struct record rec = RECORD_INIT;
	auto_json struct json *j = NULL;
	struct spec_resources res;
	const char *id = "";
	int first, r;

	r = parse_args(argc, argv, &a, &first, e);
	if (r == 0)
		r = oci_one_id(argc, argv, first, &id, e);
	if (r == 0 && (a.l3_cache_schema || a.mem_bw_schema))
		r = err_set(e, ERR_UNSUPPORTED, "this host has no resctrl (Intel RDT)");
	if (r == 0)
		r = record_open(o, id, &rec, e);
	if (r == 0 && a.file)
		r = strcmp(a.file, "-") ? json_read_file(AT_FDCWD, a.file, SPEC_SIZE_MAX, &j, e)
					: read_input(&j, e);
	if (r < 0)
		return r;
	if (!j)
		j = json_new_object();
	if (!strcmp(rec.status, "stopped"))
		return err_set(e, ERR_CONFLICT, "cannot update container '%s': it is stopped", id);
	r = add_flags(&a, j, e);
	if (r == 0)
		r = json_decode(j, &spec_resources_shape, "resources", &o->arena, &res, e);
	return r < 0 ? r : resources_update(rec.cgroup, &res, e);
}
