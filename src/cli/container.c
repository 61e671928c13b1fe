/* Verbs on containers that exist: see container.h. Acting verbs go on after a failure and say each.
 */
#include "cli/container.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/run.h"
#include "cli/table.h"
#include "cli/words.h"
#include "ground/base/mem.h"

/* Calls METHOD on the target of every operand and prints the operand that it did; 1 if any failed.
 */
static int each_operand(const struct context *c, const char *method, const char *fmt,
			const char *query, int argc, char **argv, struct err *e)
{
	int failed = 0;

	for (int i = 0; i < argc; i++) {
		auto_free char *path = client_target(fmt, argv[i]);
		auto_free char *target = mem_printf("%s%s", path, query);

		if (client_call(c, method, target, NULL, NULL, e) < 0) {
			fprintf(stderr, "hull: %s\n", e->text);
			failed = 1;
		} else {
			printf("%s\n", argv[i]);
		}
	}
	return failed;
}

/* "?t=10&signal=TERM" from --time and --signal. */
static char *stop_query(const struct container_options *o)
{
	struct strbuf q = {0};

	if (o->timeout >= 0)
		strbuf_printf(&q, "?t=%" PRId64, o->timeout);
	if (o->signal) {
		strbuf_add_text(&q, q.n ? "&signal=" : "?signal=");
		http_encode(&q, o->signal);
	}
	return strbuf_take(&q);
}

int container_stop_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e)
{
	auto_free char *query = stop_query(options);

	return each_operand(c, "POST", "/containers/%s/stop", query, argc, argv, e);
}

int container_restart_verb(const struct context *c, void *options, int argc, char **argv,
			   struct err *e)
{
	auto_free char *query = stop_query(options);

	return each_operand(c, "POST", "/containers/%s/restart", query, argc, argv, e);
}

int container_kill_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e)
{
	auto_free char *query = stop_query(options);

	return each_operand(c, "POST", "/containers/%s/kill", query, argc, argv, e);
}

int container_pause_verb(const struct context *c, void *options, int argc, char **argv,
			 struct err *e)
{
	return each_operand(c, "POST", "/containers/%s/pause", "", argc, argv, e);
}

int container_unpause_verb(const struct context *c, void *options, int argc, char **argv,
			   struct err *e)
{
	return each_operand(c, "POST", "/containers/%s/unpause", "", argc, argv, e);
}

int container_remove_verb(const struct context *c, void *options, int argc, char **argv,
			  struct err *e)
{
	const struct container_options *o = options;
	auto_free char *query = mem_printf("?force=%d&v=%d", o->force, o->volumes);

	return each_operand(c, "DELETE", "/containers/%s", query, argc, argv, e);
}

int container_start_verb(const struct context *c, void *options, int argc, char **argv,
			 struct err *e)
{
	const struct container_options *o = options;
	auto_free char *target = NULL;
	auto_json struct json *j = NULL;
	int r;

	if (!o->attach)
		return each_operand(c, "POST", "/containers/%s/start", "", argc, argv, e);
	if (argc != 1)
		return err_set(e, ERR_INVALID, "start -a takes one container");
	target = client_target("/containers/%s/json", argv[0]);
	r = client_call(c, "GET", target, NULL, &j, e);
	if (r < 0)
		return r;
	return run_attached(
		c, argv[0],
		&(struct attach_how){
			.interactive = o->interactive,
			.tty = json_get_bool(json_get(j, "Config"), "Tty", false),
			.removed = json_get_bool(json_get(j, "HostConfig"), "AutoRemove", false)},
		e);
}

int container_wait_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e)
{
	for (int i = 0; i < argc; i++) {
		auto_free char *target = client_target("/containers/%s/wait", argv[i]);
		auto_json struct json *j = NULL;
		int r = client_call(c, "POST", target, NULL, &j, e);

		if (r < 0)
			return r;
		printf("%" PRId64 "\n", json_get_i64(j, "StatusCode", -1));
	}
	return 0;
}

int container_rename_verb(const struct context *c, void *options, int argc, char **argv,
			  struct err *e)
{
	auto_free char *path = client_target("/containers/%s/rename?name=", argv[0]);
	auto_strbuf struct strbuf target = {0};

	strbuf_add_text(&target, path);
	http_encode(&target, argv[1]);
	return client_call(c, "POST", strbuf_text(&target), NULL, NULL, e);
}

/* {"status":["running"]} from --filter status=running. */
static int filters_query(char *const *filters, struct strbuf *target, struct err *e)
{
	auto_json struct json *all = json_new_object();
	auto_strbuf struct strbuf text = {0};

	for (size_t i = 0; filters && filters[i]; i++) {
		struct str rest = str_of(filters[i]), key = {0};
		auto_free char *name = NULL;
		struct json *list;

		(void)str_cut(&rest, '=', &key);
		if (!rest.p)
			return err_set(e, ERR_INVALID, "option --filter '%s': say KEY=VALUE",
				       filters[i]);
		name = str_dup(key);
		list = json_get(all, name);
		if (!list) {
			list = json_new_array();
			json_set(all, name, list);
		}
		json_append(list, json_new_str(rest));
	}
	json_write(all, &text);
	strbuf_add_text(target, "&filters=");
	http_encode(target, strbuf_text(&text));
	return 0;
}

static void list_row(struct table *t, const struct container_options *o, const struct json *one)
{
	const char *id = json_get_text(one, "Id");
	const char *name = json_text(json_at(json_get(one, "Names"), 0));
	const char *command = json_get_text(one, "Command");
	auto_free char *short_id = mem_printf(o->no_trunc ? "%s" : "%.12s", id ? id : "");
	auto_free char *short_command =
		mem_printf(o->no_trunc ? "%s" : "%.30s", command ? command : "");
	auto_free char *age = words_ago(json_get_i64(one, "Created", 0), time(NULL));
	auto_free char *ports = words_ports(json_get(one, "Ports"));

	if (o->quiet)
		table_row(t, short_id, NULL);
	else
		table_row(t, short_id, name && *name == '/' ? name + 1 : "",
			  json_get_text(one, "Image"), short_command, age,
			  json_get_text(one, "Status"), ports, NULL);
}

int container_list_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e)
{
	const struct container_options *o = options;
	auto_strbuf struct strbuf target = {0};
	auto_json struct json *list = NULL;
	struct table t = {0};
	int r;

	strbuf_printf(&target, "/containers/json?all=%d", o->all);
	r = filters_query(o->filter, &target, e);
	if (r == 0)
		r = client_call(c, "GET", strbuf_text(&target), NULL, &list, e);
	if (r < 0)
		return r;
	if (!o->quiet)
		table_row(&t, "ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", NULL);
	for (size_t i = 0; i < json_len(list); i++)
		list_row(&t, o, json_at(list, i));
	table_print(&t, stdout);
	return 0;
}

/* Docker's frames to our two outputs; a terminal's log has none. */
static int copy_frames(struct http_local *h, struct err *e)
{
	struct strbuf in = {0};
	char buf[65536];
	size_t n = 0;
	int r;

	while ((r = http_local_read(h, buf, sizeof(buf), &n, e)) == 0 && n) {
		strbuf_add(&in, buf, n);
		while (in.n >= 8) {
			const unsigned char *p = (const unsigned char *)in.p;
			size_t len =
				(size_t)p[4] << 24 | (size_t)p[5] << 16 | (size_t)p[6] << 8 | p[7];

			if (in.n - 8 < len)
				break;
			(void)fwrite(in.p + 8, 1, len, p[0] == 2 ? stderr : stdout);
			strbuf_drop_front(&in, 8 + len);
		}
		fflush(stdout);
	}
	strbuf_done(&in);
	return r;
}

int container_logs_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e)
{
	const struct container_options *o = options;
	auto_free char *inspect = client_target("/containers/%s/json", argv[0]);
	auto_free char *path = client_target("/containers/%s/logs", argv[0]);
	auto_json struct json *j = NULL;
	auto_strbuf struct strbuf target = {0};
	struct http_local h;
	int r = client_call(c, "GET", inspect, NULL, &j, e);

	if (r < 0)
		return r;
	strbuf_printf(&target, "%s?stdout=1&stderr=1&follow=%d&timestamps=%d&tail=", path,
		      o->follow, o->timestamps);
	http_encode(&target, o->tail ? o->tail : "all");
	if (o->since) {
		strbuf_add_text(&target, "&since=");
		http_encode(&target, o->since);
	}
	if (o->until) {
		strbuf_add_text(&target, "&until=");
		http_encode(&target, o->until);
	}
	r = client_open(c,
			&(struct client_request){.method = "GET", .target = strbuf_text(&target)},
			&h, e);
	if (r < 0)
		return r;
	if (json_get_bool(json_get(j, "Config"), "Tty", false))
		r = client_copy(&h, STDOUT_FILENO, e);
	else
		r = copy_frames(&h, e);
	http_local_close(&h);
	return r;
}

/* A container of that name, or else an image. */
int container_inspect_verb(const struct context *c, void *options, int argc, char **argv,
			   struct err *e)
{
	static const struct {
		const char *type, *fmt;
	} kinds[] = {{"container", "/containers/%s/json"},
		     {"image", "/images/%s/json"},
		     {"network", "/networks/%s"},
		     {"volume", "/volumes/%s"}};
	const struct container_options *o = options;
	auto_json struct json *all = json_new_array();
	auto_strbuf struct strbuf text = {0};
	int failed = 0;

	for (int i = 0; i < argc; i++) {
		struct json *j = NULL;
		int r = -ERR_NOT_FOUND;

		for (size_t k = 0; r == -ERR_NOT_FOUND && k < array_len(kinds); k++) {
			auto_free char *target = client_target(kinds[k].fmt, argv[i]);

			if (!o->type || text_eq(o->type, kinds[k].type))
				r = client_call(c, "GET", target, NULL, &j, e);
		}
		if (r == -ERR_NOT_FOUND)
			(void)err_set(e, ERR_NOT_FOUND, "there is no %s '%s'",
				      o->type ? o->type : "container, image, network or volume",
				      argv[i]);
		if (r < 0) {
			fprintf(stderr, "hull: %s\n", e->text);
			failed = 1;
		} else {
			json_append(all, j);
		}
	}
	json_write_pretty(all, &text);
	printf("%s\n", strbuf_text(&text));
	return failed;
}

int container_top_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	auto_free char *target = client_target("/containers/%s/top", argv[0]);
	auto_json struct json *j = NULL;
	const struct json *titles, *rows;
	int r = client_call(c, "GET", target, NULL, &j, e);

	if (r < 0)
		return r;
	titles = json_get(j, "Titles");
	rows = json_get(j, "Processes");
	for (size_t i = 0; i <= json_len(rows); i++) {
		const struct json *row = i ? json_at(rows, i - 1) : titles;

		for (size_t k = 0; k < json_len(row); k++) {
			const char *cell = json_text(json_at(row, k));

			printf(k + 1 < json_len(row) ? "%-10s " : "%s\n", cell ? cell : "");
		}
	}
	return 0;
}

static int64_t deep(const struct json *j, const char *a, const char *b)
{
	return json_get_i64(json_get(j, a), b, 0);
}

/* CPU time used between the two samples, as a share of one CPU. */
static double cpu_percent(const struct json *s)
{
	const struct json *now = json_get(s, "cpu_stats"), *before = json_get(s, "precpu_stats");
	double used = (double)(deep(now, "cpu_usage", "total_usage") -
			       deep(before, "cpu_usage", "total_usage"));
	double all = (double)(json_get_i64(now, "system_cpu_usage", 0) -
			      json_get_i64(before, "system_cpu_usage", 0));
	double cpus = (double)json_get_i64(now, "online_cpus", 1);

	return all > 0 && used > 0 ? used / all * cpus * 100 : 0;
}

static void stats_row(struct table *t, const struct json *s)
{
	const char *name = json_get_text(s, "name");
	int64_t cache = deep(json_get(s, "memory_stats"), "stats", "total_inactive_file");
	int64_t used = deep(s, "memory_stats", "usage") - cache;
	auto_free char *cpu = mem_printf("%.2f%%", cpu_percent(s));
	auto_free char *memory = words_bytes(used > 0 ? used : 0);
	auto_free char *limit = words_bytes(deep(s, "memory_stats", "limit"));
	auto_free char *both = mem_printf("%s / %s", memory, limit);
	auto_free char *pids = mem_printf("%" PRId64, deep(s, "pids_stats", "current"));
	int64_t in = 0, out = 0;
	struct json_iter it = {0};
	const char *key;
	struct json *nic;

	while (json_next(json_get(s, "networks"), &it, &key, &nic)) {
		in += json_get_i64(nic, "rx_bytes", 0);
		out += json_get_i64(nic, "tx_bytes", 0);
	}
	auto_free char *received = words_bytes(in);
	auto_free char *sent = words_bytes(out);
	auto_free char *net = mem_printf("%s / %s", received, sent);

	table_row(t, name && *name == '/' ? name + 1 : "", cpu, both, net, pids, NULL);
}

static int stats_round(const struct context *c, int argc, char **argv, struct err *e)
{
	struct table t = {0};
	int r = 0;

	assert(argc == 0 || argv);
	table_row(&t, "NAME", "CPU", "MEMORY / LIMIT", "NET IN / OUT", "PIDS", NULL);
	for (int i = 0; i < argc && r == 0; i++) {
		auto_free char *target = client_target("/containers/%s/stats?stream=0", argv[i]);
		auto_json struct json *s = NULL;

		r = client_call(c, "GET", target, NULL, &s, e);
		if (r == 0)
			stats_row(&t, s);
	}
	table_print(&t, r == 0 ? stdout : NULL);
	return r;
}

int container_stats_verb(const struct context *c, void *options, int argc, char **argv,
			 struct err *e)
{
	const struct container_options *o = options;
	int r;

	do {
		auto_json struct json *list = NULL;
		char **names = NULL;

		for (int i = 0; i < argc; i++)
			mem_append_text(&names, argv[i]);
		r = argc ? 0 : client_call(c, "GET", "/containers/json", NULL, &list, e);
		for (size_t i = 0; r == 0 && i < json_len(list); i++)
			mem_append_text(&names, json_get_text(json_at(list, i), "Id"));
		if (!o->no_stream && isatty(STDOUT_FILENO))
			printf("\033[H\033[J");
		if (r == 0)
			r = stats_round(c, (int)mem_count_texts(names), names, e);
		fflush(stdout);
		(void)mem_free_texts(names);
	} while (r == 0 && !o->no_stream);
	return r;
}
