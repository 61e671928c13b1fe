/*
 * What a cgroup reports, in the shape of runc's `events --stats`, so that engines' parsers take it:
 * one reader per section, v1 and v2 side by side. A file that cannot be read leaves its numbers
 * out.
 */
#include "virt/container/resources_priv.h"

#include <assert.h>
#include <dirent.h>
#include <inttypes.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/format/json.h"

#define CPUS_MAX 8192

static uint64_t number(struct cgroup *cg, enum cgroup_controller c, const char *file)
{
	uint64_t n = 0;

	return cgroup_read_u64(cg, c, file, &n, NULL) == 0 ? n : 0;
}

static uint64_t key(struct cgroup *cg, enum cgroup_controller c, const char *file, const char *name)
{
	uint64_t n = 0;

	return cgroup_read_key(cg, c, file, name, &n) ? n : 0;
}

static void set_u64(struct json *o, const char *name, uint64_t n)
{
	json_set(o, name, json_new_u64(n));
}

/* Every "key value" line of a file as one object. */
static struct json *all_keys(struct cgroup *cg, enum cgroup_controller c, const char *file)
{
	auto_strbuf struct strbuf b = {0};
	struct json *o = json_new_object();
	struct str rest = {0}, line = {0}, name = {0};

	if (cgroup_read(cg, c, file, &b, NULL) < 0)
		return o;
	rest = strbuf_str(&b);
	while (str_cut(&rest, '\n', &line)) {
		auto_free char *text = NULL;
		uint64_t n = 0;

		if (!str_cut(&line, ' ', &name) || parse_u64(str_trim(line), "", &n, NULL) < 0)
			continue;
		text = str_dup(name);
		set_u64(o, text, n);
	}
	return o;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", and the same for "full". */
static struct json *pressure(struct cgroup *cg, const char *file)
{
	auto_strbuf struct strbuf b = {0};
	struct json *o = NULL;
	struct str rest = {0}, line = {0};

	if (!cgroup_has(cg, CGROUP_UNIFIED) || cgroup_read(cg, CGROUP_UNIFIED, file, &b, NULL) < 0)
		return NULL;
	o = json_new_object();
	rest = str_trim(strbuf_str(&b));
	while (str_cut(&rest, '\n', &line)) {
		auto_free char *text = str_dup(line);
		double avg10 = 0, avg60 = 0, avg300 = 0;
		uint64_t total = 0;
		char kind[8] = "";
		struct json *one = NULL;

		if (sscanf(text, "%7s avg10=%lf avg60=%lf avg300=%lf total=%" SCNu64, kind, &avg10,
			   &avg60, &avg300, &total) != 5)
			continue;
		one = json_new_object();
		json_set(one, "avg10", json_new_double(avg10));
		json_set(one, "avg60", json_new_double(avg60));
		json_set(one, "avg300", json_new_double(avg300));
		set_u64(one, "total", total);
		json_set(o, kind, one);
	}
	return o;
}

static void set_pressure(struct cgroup *cg, struct json *o, const char *file)
{
	struct json *p = pressure(cg, file);

	if (p)
		json_set(o, "psi", p);
}

/* CPU. */

static struct json *per_cpu(struct cgroup *cg)
{
	auto_strbuf struct strbuf b = {0};
	struct json *list = json_new_array();
	struct str rest = {0}, word = {0};

	if (cgroup_read(cg, CGROUP_CPUACCT, "cpuacct.usage_percpu", &b, NULL) < 0)
		return list;
	rest = str_trim(strbuf_str(&b));
	while (str_cut(&rest, ' ', &word)) {
		uint64_t n = 0;

		if (parse_u64(word, "", &n, NULL) == 0)
			json_append(list, json_new_i64((int64_t)n));
	}
	return list;
}

static void cpu_v1(struct cgroup *cg, struct json *usage, struct json *throttling)
{
	uint64_t tick_ns = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK);

	set_u64(usage, "total", number(cg, CGROUP_CPUACCT, "cpuacct.usage"));
	json_set(usage, "percpu", per_cpu(cg));
	set_u64(usage, "kernel", key(cg, CGROUP_CPUACCT, "cpuacct.stat", "system") * tick_ns);
	set_u64(usage, "user", key(cg, CGROUP_CPUACCT, "cpuacct.stat", "user") * tick_ns);
	set_u64(throttling, "throttledTime", key(cg, CGROUP_CPU, "cpu.stat", "throttled_time"));
}

static void cpu_v2(struct cgroup *cg, struct json *usage, struct json *throttling)
{
	set_u64(usage, "total", key(cg, CGROUP_CPUACCT, "cpu.stat", "usage_usec") * 1000);
	set_u64(usage, "kernel", key(cg, CGROUP_CPUACCT, "cpu.stat", "system_usec") * 1000);
	set_u64(usage, "user", key(cg, CGROUP_CPUACCT, "cpu.stat", "user_usec") * 1000);
	set_u64(throttling, "throttledTime",
		key(cg, CGROUP_CPUACCT, "cpu.stat", "throttled_usec") * 1000);
}

static struct json *cpu_section(struct cgroup *cg)
{
	struct json *o = json_new_object(), *usage = json_new_object(),
		    *throttling = json_new_object();
	enum cgroup_controller c = cgroup_has(cg, CGROUP_CPU) ? CGROUP_CPU : CGROUP_CPUACCT;

	if (cgroup_is_v2(cg, CGROUP_CPUACCT))
		cpu_v2(cg, usage, throttling);
	else
		cpu_v1(cg, usage, throttling);
	set_u64(throttling, "periods", key(cg, c, "cpu.stat", "nr_periods"));
	set_u64(throttling, "throttledPeriods", key(cg, c, "cpu.stat", "nr_throttled"));
	json_set(o, "usage", usage);
	json_set(o, "throttling", throttling);
	set_pressure(cg, o, "cpu.pressure");
	return o;
}

/* "0-2,7" as [0,1,2,7]. */
static struct json *number_list(struct cgroup *cg, const char *file)
{
	auto_strbuf struct strbuf b = {0};
	struct json *list = json_new_array();
	struct str rest = {0}, range = {0};

	if (cgroup_read(cg, CGROUP_CPUSET, file, &b, NULL) < 0)
		return list;
	rest = str_trim(strbuf_str(&b));
	while (rest.n && str_cut(&rest, ',', &range)) {
		struct str first = {0};
		uint32_t from = 0, to = 0;

		(void)str_cut(&range, '-', &first);
		if (parse_u32(first, "", &from, NULL) < 0)
			continue;
		to = from;
		if (range.p && parse_u32(range, "", &to, NULL) < 0)
			continue;
		for (; from <= to && json_len(list) < CPUS_MAX; from++)
			json_append(list, json_new_i64(from));
	}
	return list;
}

static struct json *cpuset_section(struct cgroup *cg)
{
	struct json *o = json_new_object();

	json_set(o, "cpus", number_list(cg, "cpuset.cpus"));
	json_set(o, "mems", number_list(cg, "cpuset.mems"));
	if (cgroup_is_v2(cg, CGROUP_CPUSET))
		return o;
	set_u64(o, "cpu_exclusive", number(cg, CGROUP_CPUSET, "cpuset.cpu_exclusive"));
	set_u64(o, "mem_hardwall", number(cg, CGROUP_CPUSET, "cpuset.mem_hardwall"));
	set_u64(o, "mem_exclusive", number(cg, CGROUP_CPUSET, "cpuset.mem_exclusive"));
	set_u64(o, "memory_migrate", number(cg, CGROUP_CPUSET, "cpuset.memory_migrate"));
	set_u64(o, "memory_spread_page", number(cg, CGROUP_CPUSET, "cpuset.memory_spread_page"));
	set_u64(o, "memory_spread_slab", number(cg, CGROUP_CPUSET, "cpuset.memory_spread_slab"));
	set_u64(o, "memory_pressure", number(cg, CGROUP_CPUSET, "cpuset.memory_pressure"));
	set_u64(o, "sched_load_balance", number(cg, CGROUP_CPUSET, "cpuset.sched_load_balance"));
	return o;
}

/* Memory. */

static struct json *memory_entry(struct cgroup *cg, const char *prefix)
{
	static const struct {
		const char *name, *file;
	} rows[] = {{"limit", "limit_in_bytes"},
		    {"usage", "usage_in_bytes"},
		    {"max", "max_usage_in_bytes"},
		    {"failcnt", "failcnt"}};
	struct json *o = json_new_object();

	for (size_t i = 0; i < array_len(rows); i++) {
		char file[64];

		(void)snprintf(file, sizeof file, "%s.%s", prefix, rows[i].file);
		set_u64(o, rows[i].name, number(cg, CGROUP_MEMORY, file));
	}
	return o;
}

static void memory_v1(struct cgroup *cg, struct json *o)
{
	json_set(o, "usage", memory_entry(cg, "memory"));
	json_set(o, "swap", memory_entry(cg, "memory.memsw"));
	json_set(o, "kernel", memory_entry(cg, "memory.kmem"));
	json_set(o, "kernelTCP", memory_entry(cg, "memory.kmem.tcp"));
	set_u64(o, "cache", key(cg, CGROUP_MEMORY, "memory.stat", "cache"));
}

/* Engines know v1's meaning: swap is memory and swap together. */
static void memory_v2(struct cgroup *cg, struct json *o)
{
	struct json *usage = json_new_object(), *swap = json_new_object();
	uint64_t now = number(cg, CGROUP_MEMORY, "memory.current");
	uint64_t limit = number(cg, CGROUP_MEMORY, "memory.max");
	uint64_t swap_limit = number(cg, CGROUP_MEMORY, "memory.swap.max"), both = 0;

	set_u64(usage, "limit", limit);
	set_u64(usage, "usage", now);
	set_u64(usage, "max", number(cg, CGROUP_MEMORY, "memory.peak"));
	set_u64(usage, "failcnt", key(cg, CGROUP_MEMORY, "memory.events", "max"));
	if (__builtin_add_overflow(limit, swap_limit, &both))
		both = UINT64_MAX;
	set_u64(swap, "limit", both);
	set_u64(swap, "usage", now + number(cg, CGROUP_MEMORY, "memory.swap.current"));
	set_u64(swap, "failcnt", key(cg, CGROUP_MEMORY, "memory.swap.events", "fail"));
	json_set(o, "usage", usage);
	json_set(o, "swap", swap);
	set_u64(o, "cache", key(cg, CGROUP_MEMORY, "memory.stat", "file"));
}

static struct json *memory_section(struct cgroup *cg)
{
	struct json *o = json_new_object();

	if (cgroup_is_v2(cg, CGROUP_MEMORY))
		memory_v2(cg, o);
	else
		memory_v1(cg, o);
	json_set(o, "raw", all_keys(cg, CGROUP_MEMORY, "memory.stat"));
	set_pressure(cg, o, "memory.pressure");
	return o;
}

static struct json *pids_section(struct cgroup *cg)
{
	struct json *o = json_new_object();
	uint64_t limit = number(cg, CGROUP_PIDS, "pids.max");

	set_u64(o, "current", number(cg, CGROUP_PIDS, "pids.current"));
	if (limit != UINT64_MAX)
		set_u64(o, "limit", limit);
	return o;
}

/* Block I/O. */

static void add_block(struct json *list, uint32_t major, uint32_t minor, const char *op,
		      uint64_t value)
{
	struct json *o = json_new_object();

	json_set_i64(o, "major", major);
	json_set_i64(o, "minor", minor);
	json_set_text(o, "op", op);
	set_u64(o, "value", value);
	json_append(list, o);
}

/* v1: "8:0 Read 4096" per line; a last line "Total 4096" is the sum and skipped. */
static struct json *block_list(struct cgroup *cg, const char *bfq, const char *throttle)
{
	auto_strbuf struct strbuf b = {0};
	struct json *list = json_new_array();
	struct str rest = {0}, line = {0};
	struct err e = {0};

	if (cgroup_read(cg, CGROUP_BLKIO, bfq, &b, &e) < 0 || !strchr(strbuf_text(&b), ':')) {
		strbuf_clear(&b);
		if (cgroup_read(cg, CGROUP_BLKIO, throttle, &b, &e) < 0)
			return list;
	}
	rest = strbuf_str(&b);
	while (str_cut(&rest, '\n', &line)) {
		auto_free char *text = str_dup(line);
		uint32_t major = 0, minor = 0;
		uint64_t value = 0;
		char op[16] = "";

		if (sscanf(text, "%" SCNu32 ":%" SCNu32 " %15s %" SCNu64, &major, &minor, op,
			   &value) == 4)
			add_block(list, major, minor, op, value);
	}
	return list;
}

/* v2: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" per device. */
static void block_v2(struct cgroup *cg, struct json *bytes, struct json *ops)
{
	auto_strbuf struct strbuf b = {0};
	struct str rest = {0}, line = {0};

	if (cgroup_read(cg, CGROUP_BLKIO, "io.stat", &b, NULL) < 0)
		return;
	rest = strbuf_str(&b);
	while (str_cut(&rest, '\n', &line)) {
		auto_free char *text = str_dup(line);
		uint32_t major = 0, minor = 0;
		uint64_t rb = 0, wb = 0, ri = 0, wi = 0;

		if (sscanf(text,
			   "%" SCNu32 ":%" SCNu32 " rbytes=%" SCNu64 " wbytes=%" SCNu64
			   " rios=%" SCNu64 " wios=%" SCNu64,
			   &major, &minor, &rb, &wb, &ri, &wi) != 6)
			continue;
		add_block(bytes, major, minor, "Read", rb);
		add_block(bytes, major, minor, "Write", wb);
		add_block(ops, major, minor, "Read", ri);
		add_block(ops, major, minor, "Write", wi);
	}
}

static struct json *block_section(struct cgroup *cg)
{
	struct json *o = json_new_object();

	if (cgroup_is_v2(cg, CGROUP_BLKIO)) {
		struct json *bytes = json_new_array(), *ops = json_new_array();

		block_v2(cg, bytes, ops);
		json_set(o, "ioServiceBytesRecursive", bytes);
		json_set(o, "ioServicedRecursive", ops);
	} else {
		json_set(o, "ioServiceBytesRecursive",
			 block_list(cg, "blkio.bfq.io_service_bytes_recursive",
				    "blkio.throttle.io_service_bytes_recursive"));
		json_set(o, "ioServicedRecursive",
			 block_list(cg, "blkio.bfq.io_serviced_recursive",
				    "blkio.throttle.io_serviced_recursive"));
	}
	set_pressure(cg, o, "io.pressure");
	return o;
}

/* Huge pages: the host's sizes name the files ("hugepages-2048kB" is 2MB). */
static struct json *hugetlb_section(struct cgroup *cg)
{
	struct json *o = json_new_object();
	bool v2 = cgroup_is_v2(cg, CGROUP_HUGETLB);
	auto_closedir DIR *dir = opendir("/sys/kernel/mm/hugepages");

	for (struct dirent *at = NULL; dir && (at = readdir(dir));) {
		unsigned int kib = 0;
		char size[16], file[64];
		struct json *one = NULL;

		if (sscanf(at->d_name, "hugepages-%ukB", &kib) != 1)
			continue;
		(void)snprintf(size, sizeof size, "%u%s",
			       kib >= 1 << 20 ? kib >> 20
			       : kib >= 1024  ? kib >> 10
					      : kib,
			       kib >= 1 << 20 ? "GB"
			       : kib >= 1024  ? "MB"
					      : "KB");
		one = json_new_object();
		(void)snprintf(file, sizeof file, "hugetlb.%s.%s", size,
			       v2 ? "current" : "usage_in_bytes");
		set_u64(one, "usage", number(cg, CGROUP_HUGETLB, file));
		(void)snprintf(file, sizeof file, "hugetlb.%s.%s", size, v2 ? "events" : "failcnt");
		set_u64(one, "failcnt",
			v2 ? key(cg, CGROUP_HUGETLB, file, "max")
			   : number(cg, CGROUP_HUGETLB, file));
		json_set(o, size, one);
	}
	return o;
}

int resources_stats(struct cgroup *cg, struct json **ret, struct err *e)
{
	static const struct {
		const char *name;
		enum cgroup_controller controller;
		struct json *(*read)(struct cgroup *cg);
	} sections[] = {
		{"cpu", CGROUP_CPUACCT, cpu_section},
		{"cpuset", CGROUP_CPUSET, cpuset_section},
		{"memory", CGROUP_MEMORY, memory_section},
		{"pids", CGROUP_PIDS, pids_section},
		{"blkio", CGROUP_BLKIO, block_section},
		{"hugetlb", CGROUP_HUGETLB, hugetlb_section},
	};
	struct json *o = NULL;

	assert(ret);
	if (cgroup_mode(cg) == CGROUP_MODE_NONE)
		return err_set(e, ERR_UNSUPPORTED, "the container has no cgroup to count in");
	o = json_new_object();
	for (size_t i = 0; i < array_len(sections); i++) {
		bool there = cgroup_dir(cg, sections[i].controller) != NULL;

		json_set(o, sections[i].name, there ? sections[i].read(cg) : json_new_object());
	}
	json_set(o, "intel_rdt", json_new_object());
	json_set(o, "network_interfaces", NULL);
	*ret = o;
	return 0;
}

void resources_event(const char *type, const char *id, struct json *data, struct strbuf *out)
{
	auto_json struct json *o = json_new_object();

	assert(type && id);
	json_set_text(o, "type", type);
	json_set_text(o, "id", id);
	if (data)
		json_set(o, "data", data);
	json_write(o, out);
	strbuf_add_char(out, '\n');
}
