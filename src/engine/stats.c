/*
 * Statistics of a container: its cgroup's numbers, read on a pool thread, with the earlier sample
 * beside them so that a client can tell rates. A stream samples each second; without one_shot the
 * first answer waits for a second sample.
 */
#include <inttypes.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "engine/engine_priv.h"
#include "engine/streams_priv.h"
#include "ground/linux/cgroup.h"
#include "virt/container/resources.h"

#define PERIOD_MS 1000

struct stats_stream {
	struct stream stream;
	struct engine *engine;
	char id[ENGINE_ID_HEX + 1];
	struct stats_options options;
	struct stats_sink sink;
	struct loop_timer *timer;
	struct container_stats last; /* read_ns 0: none yet */
	bool sampling, cancelled, telling;
};

/* What a pool thread needs, and gives back. */
struct sample {
	struct stats_stream *stream;
	char *cgroup_dirs;
	int pid;
	struct container_stats stats;
};

static uint64_t host_cpu_ns(void)
{
	auto_fclose FILE *f = fopen("/proc/stat", "re");
	uint64_t n[7] = {0}, sum = 0;
	uint64_t tick = (uint64_t)(1000000000 / sysconf(_SC_CLK_TCK));

	if (!f || fscanf(f,
			 "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			 " %" SCNu64,
			 &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6]) != 7)
		return 0;
	for (size_t i = 0; i < array_len(n); i++)
		sum += n[i];
	return sum * tick;
}

static uint64_t u64_of(const struct json *o, const char *key)
{
	return (uint64_t)json_get_i64(o, key, 0);
}

static uint64_t sum_op(const struct json *list, const char *op)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "op"), op))
			sum += u64_of(json_at(list, i), "value");
	return sum;
}

static uint64_t either(const struct json *o, const char *a, const char *b)
{
	return json_get(o, a) ? u64_of(o, a) : u64_of(o, b);
}

static void take_numbers(const struct json *j, struct container_stats *s)
{
	const struct json *cpu = json_get(j, "cpu"), *usage = json_get(cpu, "usage");
	const struct json *throttling = json_get(cpu, "throttling");
	const struct json *memory = json_get(j, "memory"), *used = json_get(memory, "usage");
	const struct json *raw = json_get(memory, "raw"), *blkio = json_get(j, "blkio");
	const struct json *bytes = json_get(blkio, "ioServiceBytesRecursive");
	const struct json *ops = json_get(blkio, "ioServicedRecursive");
	struct sysinfo host;

	s->cpu_total_ns = u64_of(usage, "total");
	s->cpu_user_ns = u64_of(usage, "user");
	s->cpu_system_ns = u64_of(usage, "kernel");
	s->periods = u64_of(throttling, "periods");
	s->throttled_periods = u64_of(throttling, "throttledPeriods");
	s->throttled_ns = u64_of(throttling, "throttledTime");
	s->memory_usage = u64_of(used, "usage");
	s->memory_max = u64_of(used, "max");
	s->memory_failcnt = u64_of(used, "failcnt");
	s->memory_limit = u64_of(used, "limit");
	if (sysinfo(&host) == 0) {
		uint64_t all = (uint64_t)host.totalram * host.mem_unit;

		if (!s->memory_limit || s->memory_limit > all)
			s->memory_limit = all;
	}
	s->memory_inactive_file = either(raw, "total_inactive_file", "inactive_file");
	s->memory_anon = either(raw, "total_rss", "anon");
	s->memory_file = either(raw, "total_cache", "file");
	s->pids_current = u64_of(json_get(j, "pids"), "current");
	s->pids_limit = u64_of(json_get(j, "pids"), "limit");
	s->blkio_read_bytes = sum_op(bytes, "Read");
	s->blkio_write_bytes = sum_op(bytes, "Write");
	s->blkio_reads = sum_op(ops, "Read");
	s->blkio_writes = sum_op(ops, "Write");
}

static void read_interfaces(int pid, struct container_stats *s)
{
	auto_free char *path = mem_printf("/proc/%d/net/dev", pid);
	auto_fclose FILE *f = fopen(path, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f) && s->interfaces_n < array_len(s->interfaces)) {
		struct interface_stats *i = &s->interfaces[s->interfaces_n];
		uint64_t skipped[8];

		if (sscanf(line,
			   " %15[^:]: %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			   " %" SCNu64,
			   i->name, &i->rx_bytes, &i->rx_packets, &i->rx_errors, &i->rx_dropped,
			   &skipped[0], &skipped[1], &skipped[2], &skipped[3], &i->tx_bytes,
			   &i->tx_packets, &i->tx_errors, &i->tx_dropped) == 13 &&
		    !text_eq(i->name, "lo"))
			s->interfaces_n++;
	}
}

static void sample_work(void *arg)
{
	struct sample *p = arg;
	auto_cgroup struct cgroup *cg = NULL;
	auto_json struct json *j = NULL;
	struct err ignored = {0};

	p->stats.system_cpu_ns = host_cpu_ns();
	p->stats.online_cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	if (!p->stats.running || !p->cgroup_dirs ||
	    cgroup_load(str_of(p->cgroup_dirs), &cg, &ignored) < 0 ||
	    resources_stats(cg, &j, &ignored) < 0)
		return;
	p->stats.cgroup_v2 = cgroup_is_v2(cg, CGROUP_MEMORY);
	take_numbers(j, &p->stats);
	read_interfaces(p->pid, &p->stats);
}

static void stats_free(struct stream *stream)
{
	struct stats_stream *s = container_of(stream, struct stats_stream, stream);

	if (s->sampling || s->telling) {
		s->cancelled = true;
		return;
	}
	s->timer = loop_timer_free(s->timer);
	s->stream.magic = 0;
	free(s);
}

static void stats_end(struct stats_stream *s, const struct err *e)
{
	struct stats_sink sink = s->sink;

	stats_free(&s->stream);
	sink.end(sink.ctx, e);
}

static void sampled(void *arg)
{
	struct sample *p = arg;
	struct stats_stream *s = p->stream;
	struct workload *w = map_get(&s->engine->workloads, s->id);
	bool first = s->last.read_ns == 0;

	s->sampling = false;
	if (!s->cancelled && w) {
		p->stats.id = w->id;
		p->stats.name = w->name;
		p->stats.read_ns = world_now_ns(s->engine->world);
		p->stats.preread_ns = s->last.read_ns;
		p->stats.precpu_total_ns = s->last.cpu_total_ns;
		p->stats.presystem_cpu_ns = s->last.system_cpu_ns;
		s->last = p->stats;
		if (!first || s->options.one_shot || !p->stats.running) {
			s->telling = true;
			s->sink.stats(s->sink.ctx, &p->stats);
			s->telling = false;
			first = false;
		}
	}
	free(p->cgroup_dirs);
	free(p);
	if (s->cancelled)
		stats_free(&s->stream);
	else if (!w || (!first && !s->options.stream))
		stats_end(s, NULL);
	else
		loop_timer_set(s->timer, PERIOD_MS, 0);
}

static void sample_begin(void *arg)
{
	struct stats_stream *s = arg;
	struct workload *w = map_get(&s->engine->workloads, s->id);
	struct sample *p;

	if (!w || w->hidden) {
		stats_end(s, NULL);
		return;
	}
	p = mem_new(struct sample);
	p->stream = s;
	p->pid = w->pid;
	p->stats.running = w->pid != 0 && workload_runs(w);
	p->cgroup_dirs = mem_dup_text(w->cgroup_dirs);
	s->sampling = true;
	loop_job(s->engine->loop, sample_work, sampled, p);
}

int engine_stats(struct user *u, const char *ref, const struct stats_options *o,
		 const struct stats_sink *sink, struct stream **ret, struct err *e)
{
	struct stats_stream *s;
	struct workload *w;

	if (workload_find(u, ref, &w, e) < 0)
		return -ERR_NOT_FOUND;
	s = mem_new(struct stats_stream);
	s->stream = (struct stream){STREAM_MAGIC, NULL, stats_free};
	s->engine = u->engine;
	memcpy(s->id, w->id, sizeof(s->id));
	s->options = *o;
	s->sink = *sink;
	s->timer = loop_timer_new(u->engine->loop, sample_begin, s);
	loop_timer_set(s->timer, 0, 0);
	*ret = &s->stream;
	return 0;
}
