/*
 * `hull vm ls` and `ps`: the machines among the workloads, and of those that run what each uses:
 * processor time and memory by its cgroup, disk and network by the machine's own count, which its
 * control socket tells.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/client.h"
#include "cli/table.h"
#include "cli/vm.h"
#include "cli/words.h"
#include "ground/base/mem.h"

#define REPLY_BYTES_MAX 65536
#define FILTER		"&filters=%7B%22isolation%22%3A%5B%22vm%22%5D%7D"

/* What hull-vm counts; NULL where it does not answer (it is just starting, or not ours to ask). */
static struct json *count_of(const struct context *c, const char *id)
{
	auto_free char *path = mem_printf("%s/keeper/%s/machine/control", c->run, id);
	auto_strbuf struct strbuf body = {0};
	struct json *j = NULL;
	struct http_local h;
	int status = 0;

	if (http_local_open(path, &h, NULL) < 0)
		return NULL;
	if (http_local_call(&h, &(struct http_local_request){"GET", "/vm/stats"}, &status, NULL) ==
		    0 &&
	    status == 200 && http_local_read_all(&h, REPLY_BYTES_MAX, &body, NULL) == 0)
		(void)!json_parse(strbuf_str(&body), "reply", &j, NULL);
	http_local_close(&h);
	return j;
}

static char *both(const struct json *j, const char *in, const char *out)
{
	auto_free char *a = words_bytes(json_get_i64(j, in, 0));
	auto_free char *b = words_bytes(json_get_i64(j, out, 0));

	return j ? mem_printf("%s / %s", a, b) : mem_dup_text("-");
}

static char *cpu_of(const struct json *stats)
{
	const struct json *usage = json_get(json_get(stats, "cpu_stats"), "cpu_usage");

	return mem_printf("%.1f s", (double)json_get_i64(usage, "total_usage", 0) / 1e9);
}

static void use_row(struct table *t, const struct context *c, const struct json *one,
		    const char *short_id, const char *name)
{
	const char *id = json_get_text(one, "Id");
	auto_free char *target = client_target("/containers/%s/stats?stream=0&one-shot=1", id);
	auto_free char *inspect = client_target("/containers/%s/json", id);
	auto_json struct json *stats = NULL, *all = NULL, *count = count_of(c, id);
	const struct json *machine;

	if (client_call(c, "GET", target, NULL, &stats, NULL) < 0 ||
	    client_call(c, "GET", inspect, NULL, &all, NULL) < 0)
		return; /* it ended meanwhile */
	machine = json_get(json_get(all, "HostConfig"), "Machine");
	auto_free char *cpu = cpu_of(stats);
	auto_free char *used =
		words_bytes(json_get_i64(json_get(stats, "memory_stats"), "usage", 0));
	auto_free char *given = words_bytes(json_get_i64(machine, "Memory", 512ll << 20));
	auto_free char *memory = mem_printf("%s / %s", used, given);
	auto_free char *disk = both(count, "disk_read_bytes", "disk_written_bytes");
	auto_free char *net = both(count, "net_received_bytes", "net_sent_bytes");
	auto_free char *cpus = mem_printf("%" PRId64, json_get_i64(machine, "Cpus", 1));
	const char *accel = count ? json_get_text(count, "accel") : NULL;

	table_row(t, short_id, name, json_get_text(one, "Status"), accel ? accel : "-", cpus, cpu,
		  memory, disk, net, NULL);
}

static void row(struct table *t, const struct context *c, const struct vm_list_options *o,
		const struct json *one, bool use)
{
	const char *id = json_get_text(one, "Id"), *image = json_get_text(one, "Image");
	const char *name = json_text(json_at(json_get(one, "Names"), 0));
	auto_free char *short_id = mem_printf("%.12s", id ? id : "");

	name = name && *name == '/' ? name + 1 : "";
	if (o->quiet)
		table_row(t, short_id, NULL);
	else if (use)
		use_row(t, c, one, short_id, name);
	else
		table_row(t, short_id, name, image && *image ? image : "-",
			  json_get_text(one, "Command"), json_get_text(one, "Status"), NULL);
}

static int show(const struct context *c, const struct vm_list_options *o, bool use, struct err *e)
{
	auto_json struct json *list = NULL;
	struct table t = {0};
	int r = client_call(c, "GET",
			    use ? "/containers/json?all=0" FILTER : "/containers/json?all=1" FILTER,
			    NULL, &list, e);

	if (r < 0)
		return r;
	if (!o->quiet && use)
		table_row(&t, "ID", "NAME", "STATUS", "ACCEL", "CPUS", "CPU TIME", "MEMORY",
			  "DISK READ / WRITTEN", "NET IN / OUT", NULL);
	else if (!o->quiet)
		table_row(&t, "ID", "NAME", "IMAGE", "COMMAND", "STATUS", NULL);
	for (size_t i = 0; i < json_len(list); i++)
		row(&t, c, o, json_at(list, i), use);
	table_print(&t, stdout);
	return 0;
}

int vm_list_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	return show(c, options, false, e);
}

int vm_use_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct vm_list_options *o = options;

	return show(c, o, !o->all, e);
}
