/*
 * Containers as JSON: a row of the list, the whole of inspect, a sample of stats.
 */
#include <stdio.h>
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"

#define NS_OF_A_SECOND 1000000000LL
#define SHM_BYTES      (64LL << 20)

/* -- the words of docker ps -- */

static void health_words(struct strbuf *out, const struct container_view *v)
{
	if (!v->health)
		return;
	if (text_eq(v->health->status, "starting"))
		strbuf_add_text(out, " (health: starting)");
	else if (!text_eq(v->health->status, "none"))
		strbuf_printf(out, " (%s)", v->health->status);
}

void shape_status(struct strbuf *out, const struct container_view *v, int64_t now_ns)
{
	switch (v->state) {
	case WORKLOAD_RUNNING:
	case WORKLOAD_PAUSED:
		strbuf_add_text(out, "Up ");
		shape_duration(out, now_ns - v->started_ns);
		if (v->state == WORKLOAD_PAUSED)
			strbuf_add_text(out, " (Paused)");
		else
			health_words(out, v);
		return;
	case WORKLOAD_RESTARTING:
	case WORKLOAD_EXITED:
		strbuf_printf(out, "%s (%d) ",
			      v->state == WORKLOAD_EXITED ? "Exited" : "Restarting", v->exit_code);
		shape_duration(out, now_ns - v->finished_ns);
		strbuf_add_text(out, " ago");
		return;
	case WORKLOAD_CREATED:
		strbuf_add_text(out, "Created");
		return;
	case WORKLOAD_REMOVING:
		strbuf_add_text(out, "Removal In Progress");
		return;
	case WORKLOAD_DEAD:
		strbuf_add_text(out, "Dead");
		return;
	case WORKLOAD_STATES:
		break;
	}
	__builtin_unreachable();
}

/* path and arguments in one line; those with a space are quoted. */
static struct json *command_json(const struct container_view *v)
{
	auto_strbuf struct strbuf b = {0};

	strbuf_add_text(&b, v->path ? v->path : "");
	for (size_t i = 0; v->args && v->args[i]; i++) {
		bool quote = strchr(v->args[i], ' ');

		strbuf_printf(&b, quote ? " '%s'" : " %s", v->args[i]);
	}
	return json_new_text(strbuf_text(&b));
}

static struct json *port_rows(const struct container_view *v)
{
	struct json *rows = json_new_array();

	for (size_t i = 0; i < v->ports_n; i++) {
		const struct port_view *p = &v->ports[i];
		struct json *row = json_new_object();

		if (p->host_port && p->host_ip && p->host_ip[0])
			json_set_text(row, "IP", p->host_ip);
		json_set_i64(row, "PrivatePort", p->container_port);
		if (p->host_port)
			json_set_i64(row, "PublicPort", p->host_port);
		json_set_text(row, "Type", p->protocol);
		json_append(rows, row);
	}
	return rows;
}

static struct json *endpoints_json(const struct container_view *v)
{
	struct json *j = json_new_object();

	for (size_t i = 0; i < v->endpoints_n; i++)
		json_set(j, v->endpoints[i].network_name, shape_endpoint(&v->endpoints[i]));
	return j;
}

struct json *shape_container_row(const struct container_view *v, const struct container_sizes *s,
				 int64_t now_ns)
{
	auto_strbuf struct strbuf status = {0};
	auto_free char *name = mem_printf("/%s", v->name);
	struct json *j = json_new_object();
	struct json *names = json_new_array();
	struct json *host = json_new_object();
	struct json *settings = json_new_object();

	json_append(names, json_new_text(name));
	json_set_text(j, "Id", v->id);
	json_set(j, "Names", names);
	json_set_text(j, "Image", v->image_ref);
	json_set_text(j, "ImageID", v->image_id);
	json_set(j, "Command", command_json(v));
	json_set_i64(j, "Created", v->created_ns / NS_OF_A_SECOND);
	json_set(j, "Ports", port_rows(v));
	if (s) {
		json_set_i64(j, "SizeRw", s->rw_bytes);
		json_set_i64(j, "SizeRootFs", s->root_bytes);
	}
	json_set(j, "Labels", shape_pairs(v->config->labels));
	json_set_text(j, "State", workload_state_name(v->state));
	shape_status(&status, v, now_ns);
	json_set_text(j, "Status", strbuf_text(&status));
	json_set_text(host, "NetworkMode",
		      v->host->network_mode && v->host->network_mode[0] ? v->host->network_mode
									: "default");
	json_set(j, "HostConfig", host);
	json_set(settings, "Networks", endpoints_json(v));
	json_set(j, "NetworkSettings", settings);
	json_set(j, "Mounts", shape_mounts(v));
	return j;
}

/* -- inspect -- */

static struct json *text_or_empty(const char *text)
{
	return json_new_text(text ? text : "");
}

/* The addresses of one endpoint; at the top of NetworkSettings they stand for the default bridge.
 */
static void set_addresses(struct json *j, const struct endpoint_view *v)
{
	json_set(j, "EndpointID", text_or_empty(v->endpoint_id));
	json_set(j, "Gateway", text_or_empty(v->gateway4));
	json_set(j, "IPAddress", text_or_empty(v->ipv4));
	json_set_i64(j, "IPPrefixLen", v->prefix4);
	json_set(j, "IPv6Gateway", text_or_empty(v->gateway6));
	json_set(j, "GlobalIPv6Address", text_or_empty(v->ipv6));
	json_set_i64(j, "GlobalIPv6PrefixLen", v->prefix6);
	json_set(j, "MacAddress", text_or_empty(v->mac));
}

static struct json *texts_or_null(char *const *list)
{
	return list && list[0] ? json_new_texts(list) : NULL;
}

static struct json *asked_addresses(const struct endpoint_request *q)
{
	struct json *j;

	if (!q || (!q->ipv4 && !q->ipv6))
		return NULL;
	j = json_new_object();
	if (q->ipv4)
		json_set_text(j, "IPv4Address", q->ipv4);
	if (q->ipv6)
		json_set_text(j, "IPv6Address", q->ipv6);
	return j;
}

struct json *shape_endpoint(const struct endpoint_view *v)
{
	struct json *j = json_new_object();
	const struct endpoint_request *q = v->request;

	json_set(j, "IPAMConfig", asked_addresses(q));
	json_set(j, "Links", texts_or_null(v->links));
	json_set(j, "Aliases", texts_or_null(v->aliases));
	json_set(j, "DriverOpts", q && q->driver_opts ? shape_pairs(q->driver_opts) : NULL);
	json_set_i64(j, "GwPriority", q ? q->gateway_priority : 0);
	json_set(j, "NetworkID", text_or_empty(v->network_id));
	set_addresses(j, v);
	json_set(j, "DNSNames", texts_or_null(v->dns_names));
	return j;
}

/* {"80/tcp": [{"HostIp", "HostPort"}] or null} */
struct json *shape_ports(const struct container_view *v)
{
	struct json *j = json_new_object();

	for (size_t i = 0; i < v->ports_n; i++) {
		const struct port_view *p = &v->ports[i];
		auto_free char *key = mem_printf("%u/%s", p->container_port, p->protocol);
		auto_free char *host_port = mem_printf("%u", p->host_port);
		struct json *rows = json_get(j, key);
		struct json *row;

		if (!p->host_port) {
			if (!rows)
				json_set(j, key, NULL);
			continue;
		}
		if (json_kind(rows) != JSON_ARRAY) {
			json_set(j, key, json_new_array());
			rows = json_get(j, key);
		}
		row = json_new_object();
		json_set(row, "HostIp", text_or_empty(p->host_ip));
		json_set_text(row, "HostPort", host_port);
		json_append(rows, row);
	}
	return j;
}

struct json *shape_mounts(const struct container_view *v)
{
	struct json *rows = json_new_array();

	for (size_t i = 0; i < v->mounts_n; i++) {
		const struct mount_view *m = &v->mounts[i];
		struct json *row = json_new_object();

		json_set_text(row, "Type", m->type);
		if (m->name && m->name[0])
			json_set_text(row, "Name", m->name);
		json_set(row, "Source", text_or_empty(m->source));
		json_set_text(row, "Destination", m->destination);
		if (m->driver && m->driver[0])
			json_set_text(row, "Driver", m->driver);
		json_set(row, "Mode", text_or_empty(m->mode));
		json_set_bool(row, "RW", m->writable);
		json_set(row, "Propagation", text_or_empty(m->propagation));
		json_append(rows, row);
	}
	return rows;
}

static struct json *health_json(const struct health_view *h)
{
	struct json *j = json_new_object();
	struct json *log = json_new_array();
	char start[RFC3339_CHARS + 1], end[RFC3339_CHARS + 1];

	for (size_t i = 0; i < h->log_n; i++) {
		struct json *row = json_new_object();

		json_set_text(row, "Start", rfc3339_text(h->log[i].start_ns, start));
		json_set_text(row, "End", rfc3339_text(h->log[i].end_ns, end));
		json_set_i64(row, "ExitCode", h->log[i].exit_code);
		json_set(row, "Output", text_or_empty(h->log[i].output));
		json_append(log, row);
	}
	json_set_text(j, "Status", h->status);
	json_set_i64(j, "FailingStreak", h->failing_streak);
	json_set(j, "Log", log);
	return j;
}

static struct json *state_json(const struct container_view *v)
{
	struct json *j = json_new_object();
	bool running = v->state == WORKLOAD_RUNNING || v->state == WORKLOAD_PAUSED;
	char time[RFC3339_CHARS + 1];

	json_set_text(j, "Status", workload_state_name(v->state));
	json_set_bool(j, "Running", running || v->state == WORKLOAD_RESTARTING);
	json_set_bool(j, "Paused", v->state == WORKLOAD_PAUSED);
	json_set_bool(j, "Restarting", v->state == WORKLOAD_RESTARTING);
	json_set_bool(j, "OOMKilled", v->oom_killed);
	json_set_bool(j, "Dead", v->state == WORKLOAD_DEAD);
	json_set_i64(j, "Pid", v->pid);
	json_set_i64(j, "ExitCode", v->exit_code);
	json_set(j, "Error", text_or_empty(v->error));
	json_set_text(j, "StartedAt", rfc3339_text(v->started_ns, time));
	json_set_text(j, "FinishedAt", rfc3339_text(v->finished_ns, time));
	if (v->health)
		json_set(j, "Health", health_json(v->health));
	return j;
}

/* What stands where nothing was asked for: Docker's clients look for values, not for null. */
static const struct filler {
	const char *key, *text;
} config_fillers[] = {{"Hostname", ""},
		      {"Domainname", ""},
		      {"User", ""},
		      {"Image", ""},
		      {"WorkingDir", ""}},
  host_fillers[] = {{"IpcMode", "private"}, {"Runtime", "hull"}};

static void fill(struct json *j, const struct filler *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *text = json_get_text(j, list[i].key);

		if (!text || !text[0])
			json_set_text(j, list[i].key, list[i].text);
	}
}

struct json *shape_config(const struct container_config *config)
{
	struct json *j = request_config_json(config);

	fill(j, config_fillers, array_len(config_fillers));
	return j;
}

static struct json *host_json(const struct host_config *h)
{
	struct json *j = request_host_json(h);
	struct json *log = json_get(j, "LogConfig");
	const char *type = json_get_text(log, "Type");

	fill(j, host_fillers, array_len(host_fillers));
	if (log && (!type || !type[0]))
		json_set_text(log, "Type", "json-file");
	if (json_get_i64(j, "ShmSize", 0) == 0)
		json_set_i64(j, "ShmSize", SHM_BYTES);
	if (json_kind(json_get(j, "ConsoleSize")) != JSON_ARRAY) {
		struct json *size = json_new_array();

		json_append(size, json_new_i64(0));
		json_append(size, json_new_i64(0));
		json_set(j, "ConsoleSize", size);
	}
	return j;
}

static struct json *graph_json(const struct container_view *v)
{
	struct json *j = json_new_object();
	struct json *data = json_new_object();

	json_set(data, "LowerDir", text_or_empty(v->lower_dirs));
	json_set(data, "UpperDir", text_or_empty(v->upper_dir));
	json_set(data, "WorkDir", text_or_empty(v->work_dir));
	json_set(j, "Data", data);
	json_set_text(j, "Name", "overlay2");
	return j;
}

static struct json *network_settings_json(const struct container_view *v)
{
	static const struct endpoint_view none;
	const struct endpoint_view *first = &none;
	struct json *j = json_new_object();

	for (size_t i = 0; i < v->endpoints_n; i++)
		if (text_eq(v->endpoints[i].network_name, "bridge"))
			first = &v->endpoints[i];
	json_set_text(j, "Bridge", "");
	json_set_text(j, "SandboxID", v->sandbox_key && v->sandbox_key[0] ? v->id : "");
	json_set(j, "SandboxKey", text_or_empty(v->sandbox_key));
	json_set(j, "Ports", shape_ports(v));
	json_set_bool(j, "HairpinMode", false);
	json_set_text(j, "LinkLocalIPv6Address", "");
	json_set_i64(j, "LinkLocalIPv6PrefixLen", 0);
	json_set(j, "SecondaryIPAddresses", NULL);
	json_set(j, "SecondaryIPv6Addresses", NULL);
	set_addresses(j, first);
	json_set(j, "Networks", endpoints_json(v));
	return j;
}

static void set_paths(struct json *j, const struct container_view *v)
{
	auto_free char *name = mem_printf("/%s", v->name);

	json_set(j, "ResolvConfPath", text_or_empty(v->resolv_conf_path));
	json_set(j, "HostnamePath", text_or_empty(v->hostname_path));
	json_set(j, "HostsPath", text_or_empty(v->hosts_path));
	json_set(j, "LogPath", text_or_empty(v->log_path));
	json_set_text(j, "Name", name);
}

struct json *shape_container(const struct call *c, const struct container_view *v,
			     const struct container_sizes *s)
{
	struct json *j = json_new_object();
	char time[RFC3339_CHARS + 1];

	(void)c;
	json_set_text(j, "Id", v->id);
	json_set_text(j, "Created", rfc3339_text(v->created_ns, time));
	json_set(j, "Path", text_or_empty(v->path));
	json_set(j, "Args", shape_texts(v->args));
	json_set(j, "State", state_json(v));
	json_set_text(j, "Image", v->image_id);
	set_paths(j, v);
	json_set_i64(j, "RestartCount", v->restart_count);
	json_set_text(j, "Driver", "overlay2");
	json_set_text(j, "Platform", "linux");
	json_set_text(j, "MountLabel", "");
	json_set_text(j, "ProcessLabel", "");
	json_set_text(j, "AppArmorProfile", "");
	json_set(j, "ExecIDs", texts_or_null(v->exec_ids));
	json_set(j, "HostConfig", host_json(v->host));
	json_set(j, "GraphDriver", graph_json(v));
	if (s) {
		json_set_i64(j, "SizeRw", s->rw_bytes);
		json_set_i64(j, "SizeRootFs", s->root_bytes);
	}
	json_set(j, "Mounts", shape_mounts(v));
	json_set(j, "Config", shape_config(v->config));
	json_set(j, "NetworkSettings", network_settings_json(v));
	return j;
}

/* -- stats -- */

static void set_u64(struct json *j, const char *key, uint64_t n)
{
	json_set(j, key, json_new_u64(n));
}

static struct json *cpu_json(const struct container_stats *s, uint64_t total, uint64_t system,
			     bool now)
{
	struct json *j = json_new_object();
	struct json *usage = json_new_object();
	struct json *throttling = json_new_object();

	set_u64(usage, "total_usage", total);
	set_u64(usage, "usage_in_kernelmode", now ? s->cpu_system_ns : 0);
	set_u64(usage, "usage_in_usermode", now ? s->cpu_user_ns : 0);
	set_u64(throttling, "periods", now ? s->periods : 0);
	set_u64(throttling, "throttled_periods", now ? s->throttled_periods : 0);
	set_u64(throttling, "throttled_time", now ? s->throttled_ns : 0);
	json_set(j, "cpu_usage", usage);
	if (system)
		set_u64(j, "system_cpu_usage", system);
	if (system)
		set_u64(j, "online_cpus", s->online_cpus);
	json_set(j, "throttling_data", throttling);
	return j;
}

static struct json *memory_json(const struct container_stats *s)
{
	struct json *j = json_new_object();
	struct json *detail = json_new_object();
	bool v2 = s->cgroup_v2;

	if (!s->running) {
		json_set(j, "stats", detail);
		return j;
	}
	set_u64(j, "usage", s->memory_usage);
	if (!v2)
		set_u64(j, "max_usage", s->memory_max);
	set_u64(detail, v2 ? "inactive_file" : "total_inactive_file", s->memory_inactive_file);
	set_u64(detail, v2 ? "anon" : "total_rss", s->memory_anon);
	set_u64(detail, v2 ? "file" : "total_cache", s->memory_file);
	json_set(j, "stats", detail);
	if (!v2)
		set_u64(j, "failcnt", s->memory_failcnt);
	set_u64(j, "limit", s->memory_limit);
	return j;
}

static void add_io(struct json *rows, const char *op, uint64_t value)
{
	struct json *row = json_new_object();

	json_set_i64(row, "major", 0);
	json_set_i64(row, "minor", 0);
	json_set_text(row, "op", op);
	set_u64(row, "value", value);
	json_append(rows, row);
}

static struct json *io_json(const struct container_stats *s)
{
	static const char *const unused[] = {"io_queue_recursive",     "io_service_time_recursive",
					     "io_wait_time_recursive", "io_merged_recursive",
					     "io_time_recursive",      "sectors_recursive"};
	struct json *j = json_new_object();
	struct json *bytes = json_new_array();
	struct json *count = json_new_array();

	if (s->running) {
		add_io(bytes, "read", s->blkio_read_bytes);
		add_io(bytes, "write", s->blkio_write_bytes);
		add_io(count, "read", s->blkio_reads);
		add_io(count, "write", s->blkio_writes);
	}
	json_set(j, "io_service_bytes_recursive", bytes);
	json_set(j, "io_serviced_recursive", count);
	for (size_t i = 0; i < array_len(unused); i++)
		json_set(j, unused[i], json_new_array());
	return j;
}

static struct json *interfaces_json(const struct container_stats *s)
{
	struct json *j = json_new_object();

	for (size_t i = 0; i < s->interfaces_n; i++) {
		const struct interface_stats *n = &s->interfaces[i];
		struct json *row = json_new_object();

		set_u64(row, "rx_bytes", n->rx_bytes);
		set_u64(row, "rx_packets", n->rx_packets);
		set_u64(row, "rx_errors", n->rx_errors);
		set_u64(row, "rx_dropped", n->rx_dropped);
		set_u64(row, "tx_bytes", n->tx_bytes);
		set_u64(row, "tx_packets", n->tx_packets);
		set_u64(row, "tx_errors", n->tx_errors);
		set_u64(row, "tx_dropped", n->tx_dropped);
		json_set(j, n->name, row);
	}
	return j;
}

struct json *shape_stats(const struct container_stats *s)
{
	auto_free char *name = mem_printf("/%s", s->name);
	struct json *j = json_new_object();
	struct json *pids = json_new_object();
	char time[RFC3339_CHARS + 1];

	if (s->running) {
		set_u64(pids, "current", s->pids_current);
		if (s->pids_limit)
			set_u64(pids, "limit", s->pids_limit);
	}
	json_set_text(j, "name", name);
	json_set_text(j, "id", s->id);
	json_set_text(j, "read", rfc3339_text(s->running ? s->read_ns : 0, time));
	json_set_text(j, "preread", rfc3339_text(s->preread_ns, time));
	json_set(j, "pids_stats", pids);
	json_set(j, "blkio_stats", io_json(s));
	json_set_i64(j, "num_procs", 0);
	json_set(j, "storage_stats", json_new_object());
	json_set(j, "cpu_stats", cpu_json(s, s->cpu_total_ns, s->system_cpu_ns, true));
	json_set(j, "precpu_stats", cpu_json(s, s->precpu_total_ns, s->presystem_cpu_ns, false));
	json_set(j, "memory_stats", memory_json(s));
	if (s->interfaces_n)
		json_set(j, "networks", interfaces_json(s));
	return j;
}
