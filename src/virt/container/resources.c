/*
 * linux.resources into a cgroup. Each setting is a row: its name in the configuration, its
 * controller and its file on v1 and on v2; a row without a file on the version at hand is an error
 * when the configuration sets it. What needs order or arithmetic (memory with swap, CPU bandwidth,
 * shares as weight) is written out below. Block I/O is in resources_block.c, device rules in
 * resources_devices.c.
 *
 * Zero means "not set" for limits where zero could start nothing (memory, shares, weight, pids):
 * that is what engines send for a flag that nobody gave.
 */
#include "virt/container/resources_priv.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "ground/base/mem.h"
#include "ground/format/json.h"

static const struct setting {
	const char *key;
	enum cgroup_controller controller;
	const char *v1, *v2; /* NULL: the version has no such thing */
} settings[] = {
	[SET_SHARES] = {"cpu.shares", CGROUP_CPU, "cpu.shares", "cpu.weight"},
	[SET_IDLE] = {"cpu.idle", CGROUP_CPU, "cpu.idle", "cpu.idle"},
	[SET_PERIOD] = {"cpu.period", CGROUP_CPU, "cpu.cfs_period_us", "cpu.max"},
	[SET_QUOTA] = {"cpu.quota", CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max"},
	[SET_BURST] = {"cpu.burst", CGROUP_CPU, "cpu.cfs_burst_us", "cpu.max.burst"},
	[SET_RT_PERIOD] = {"cpu.realtimePeriod", CGROUP_CPU, "cpu.rt_period_us", NULL},
	[SET_RT_RUNTIME] = {"cpu.realtimeRuntime", CGROUP_CPU, "cpu.rt_runtime_us", NULL},
	[SET_CPUS] = {"cpu.cpus", CGROUP_CPUSET, "cpuset.cpus", "cpuset.cpus"},
	[SET_MEMS] = {"cpu.mems", CGROUP_CPUSET, "cpuset.mems", "cpuset.mems"},
	[SET_LIMIT] = {"memory.limit", CGROUP_MEMORY, "memory.limit_in_bytes", "memory.max"},
	[SET_RESERVATION] = {"memory.reservation", CGROUP_MEMORY, "memory.soft_limit_in_bytes",
			     "memory.low"},
	[SET_SWAP] = {"memory.swap", CGROUP_MEMORY, "memory.memsw.limit_in_bytes",
		      "memory.swap.max"},
	[SET_KERNEL_TCP] = {"memory.kernelTCP", CGROUP_MEMORY, "memory.kmem.tcp.limit_in_bytes",
			    NULL},
	[SET_SWAPPINESS] = {"memory.swappiness", CGROUP_MEMORY, "memory.swappiness", NULL},
	[SET_OOM] = {"memory.disableOOMKiller", CGROUP_MEMORY, "memory.oom_control", NULL},
	[SET_PIDS] = {"pids.limit", CGROUP_PIDS, "pids.max", "pids.max"},
	[SET_CLASS] = {"network.classID", CGROUP_NET_CLS, "net_cls.classid", NULL},
	[SET_PRIORITY] = {"network.priorities", CGROUP_NET_PRIO, "net_prio.ifpriomap", NULL},
	[SET_RDMA] = {"rdma", CGROUP_RDMA, "rdma.max", "rdma.max"},
};

int resources_put(struct cgroup *cg, enum setting_id id, const char *value, struct err *e)
{
	const struct setting *s = &settings[id];
	const char *file = cgroup_is_v2(cg, s->controller) ? s->v2 : s->v1;
	int r = 0;

	assert(id < array_len(settings) && s->key);
	assert(value);
	if (!file)
		return err_set(e, ERR_UNSUPPORTED,
			       "linux.resources.%s is '%s', but cgroup v2 has no such setting",
			       s->key, value);
	r = cgroup_write(cg, s->controller, file, value, e);
	return r < 0 ? err_wrap(e, "linux.resources.%s", s->key) : 0;
}

int resources_put_i64(struct cgroup *cg, enum setting_id id, int64_t value, struct err *e)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%" PRId64, value);
	return resources_put(cg, id, text, e);
}

static int put_u64(struct cgroup *cg, enum setting_id id, uint64_t value, struct err *e)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%" PRIu64, value);
	return resources_put(cg, id, text, e);
}

/* -1 is "max" on v2 and stays -1 on v1. */
static int put_limit(struct cgroup *cg, enum setting_id id, int64_t value, struct err *e)
{
	if (value < 0 && cgroup_is_v2(cg, settings[id].controller))
		return resources_put(cg, id, "max", e);
	return resources_put_i64(cg, id, value < 0 ? -1 : value, e);
}

static bool is_set(const int64_t *n)
{
	return n && *n != 0;
}

static bool is_set_u64(const uint64_t *n)
{
	return n && *n != 0;
}

/* For chains of settings: the next one is written when all before went well and it is set. */
static int then_limit(int r, struct cgroup *cg, enum setting_id id, const int64_t *n, struct err *e)
{
	return r == 0 && is_set(n) ? put_limit(cg, id, *n, e) : r;
}

static int then_text(int r, struct cgroup *cg, enum setting_id id, const char *text, struct err *e)
{
	return r == 0 && text && *text ? resources_put(cg, id, text, e) : r;
}

/* What is asked for. */

static unsigned int cpu_need(const struct spec_cpu *c)
{
	unsigned int need = 0;

	if (is_set_u64(c->shares) || is_set(c->quota) || is_set_u64(c->period) ||
	    is_set_u64(c->burst) || is_set(c->realtime_runtime) || is_set_u64(c->realtime_period) ||
	    is_set(c->idle))
		need |= CGROUP_BIT(CGROUP_CPU);
	if ((c->cpus && *c->cpus) || (c->mems && *c->mems))
		need |= CGROUP_BIT(CGROUP_CPUSET);
	return need;
}

static bool memory_asked(const struct spec_memory *m)
{
	return is_set(m->limit) || is_set(m->reservation) || is_set(m->swap) ||
	       is_set(m->kernel_tcp) || m->swappiness ||
	       (m->disable_oom_killer && *m->disable_oom_killer);
}

static bool block_asked(const struct spec_block_io *b)
{
	return (b->weight && *b->weight) || (b->leaf_weight && *b->leaf_weight) ||
	       b->weight_devices_n || b->read_bps_n || b->write_bps_n || b->read_iops_n ||
	       b->write_iops_n;
}

/* "memory.high" belongs to the controller before its dot. */
static unsigned int unified_need(const struct json_pair *p)
{
	unsigned int need = 0;

	for (; p && p->key; p++) {
		struct str rest = str_of(p->key), head = {0};

		(void)str_cut(&rest, '.', &head);
		if (str_is(head, "io"))
			need |= CGROUP_BIT(CGROUP_BLKIO);
		for (unsigned int c = 0; c < CGROUP_NAMED; c++)
			if (str_is(head, cgroup_controller_name(c)))
				need |= CGROUP_BIT(c);
	}
	return need;
}

static unsigned int network_need(const struct spec_net_classes *n)
{
	unsigned int need = n->class_id && *n->class_id ? CGROUP_BIT(CGROUP_NET_CLS) : 0;

	return need | (n->priorities_n ? CGROUP_BIT(CGROUP_NET_PRIO) : 0);
}

unsigned int resources_need(const struct spec_resources *r)
{
	unsigned int need = 0;

	if (!r)
		return 0;
	if (r->cpu)
		need |= cpu_need(r->cpu);
	if (r->memory && memory_asked(r->memory))
		need |= CGROUP_BIT(CGROUP_MEMORY);
	if (r->block_io && block_asked(r->block_io))
		need |= CGROUP_BIT(CGROUP_BLKIO);
	if (r->hugepages_n)
		need |= CGROUP_BIT(CGROUP_HUGETLB);
	if (r->network)
		need |= network_need(r->network);
	if (r->pids && is_set(r->pids->limit))
		need |= CGROUP_BIT(CGROUP_PIDS);
	if (json_len(r->rdma))
		need |= CGROUP_BIT(CGROUP_RDMA);
	return need | unified_need(r->unified);
}

/* CPU. */

/*
 * The quadratic through (2,1), (1024,100), (262144,10000) on logarithmic scales, as runc and
 * systemd's users have it since 2025; the older straight line made 1024 shares a weight of 39.
 */
uint64_t resources_cpu_weight(uint64_t shares)
{
	double l = 0, exponent = 0;

	if (shares == 0)
		return 0;
	if (shares <= 2)
		return 1;
	if (shares >= 262144)
		return 10000;
	l = log2((double)shares);
	assert(l > 1 && l < 18);
	exponent = (l * l + 125 * l) / 612.0 - 7.0 / 34.0;
	return (uint64_t)ceil(pow(10, exponent));
}

static int put_shares(struct cgroup *cg, uint64_t shares, struct err *e)
{
	if (cgroup_is_v2(cg, CGROUP_CPU))
		shares = resources_cpu_weight(shares);
	return put_u64(cg, SET_SHARES, shares, e);
}

/* A bound pair is refused in one order and taken in the other, depending on what stood there. */
static int put_pair(struct cgroup *cg, enum setting_id a, int64_t a_value, enum setting_id b,
		    int64_t b_value, struct err *e)
{
	int r = 0;

	if (!a_value || resources_put_i64(cg, a, a_value, NULL) == 0)
		return b_value ? resources_put_i64(cg, b, b_value, e) : 0;
	r = b_value ? resources_put_i64(cg, b, b_value, e) : 0;
	return r < 0 ? r : resources_put_i64(cg, a, a_value, e);
}

static int put_bandwidth_v2(struct cgroup *cg, const struct spec_cpu *c, struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	struct str rest = {0}, quota = STR("max");

	if (is_set(c->quota) && *c->quota > 0) {
		strbuf_printf(&b, "%" PRId64, *c->quota);
	} else {
		auto_strbuf struct strbuf now = {0};

		if (!is_set(c->quota) && cgroup_read(cg, CGROUP_CPU, "cpu.max", &now, NULL) == 0) {
			rest = str_trim(strbuf_str(&now));
			(void)str_cut(&rest, ' ', &quota);
		}
		strbuf_add(&b, quota.p, quota.n);
	}
	if (is_set_u64(c->period))
		strbuf_printf(&b, " %" PRIu64, *c->period);
	return resources_put(cg, SET_QUOTA, strbuf_text(&b), e);
}

static int put_bandwidth(struct cgroup *cg, const struct spec_cpu *c, struct err *e)
{
	int64_t quota = is_set(c->quota) ? (*c->quota < 0 ? -1 : *c->quota) : 0;
	int64_t period = is_set_u64(c->period) ? (int64_t)*c->period : 0;
	bool burst_done = false;
	int r = 0;

	/* A burst is at most the quota: lowered before it, raised after it. */
	if (c->burst)
		burst_done = put_u64(cg, SET_BURST, *c->burst, NULL) == 0;
	if (quota || period)
		r = cgroup_is_v2(cg, CGROUP_CPU)
			    ? put_bandwidth_v2(cg, c, e)
			    : put_pair(cg, SET_PERIOD, period, SET_QUOTA, quota, e);
	if (r == 0 && c->burst && (*c->burst || burst_done))
		r = put_u64(cg, SET_BURST, *c->burst, e);
	return r;
}

static int put_realtime(struct cgroup *cg, const struct spec_cpu *c, struct err *e)
{
	int64_t period = is_set_u64(c->realtime_period) ? (int64_t)*c->realtime_period : 0;
	int64_t runtime = is_set(c->realtime_runtime) ? *c->realtime_runtime : 0;

	return put_pair(cg, SET_RT_PERIOD, period, SET_RT_RUNTIME, runtime, e);
}

/* An idle group takes no shares. */
static int put_share(struct cgroup *cg, const struct spec_cpu *c, struct err *e)
{
	if (is_set(c->idle))
		return resources_put_i64(cg, SET_IDLE, *c->idle, e);
	if (c->idle) /* 0: fine where the kernel does not know it */
		(void)!resources_put_i64(cg, SET_IDLE, 0, NULL);
	return is_set_u64(c->shares) ? put_shares(cg, *c->shares, e) : 0;
}

static int put_cpu(struct cgroup *cg, const struct spec_cpu *c, struct err *e)
{
	int r = put_share(cg, c, e);

	if (r == 0)
		r = put_bandwidth(cg, c, e);
	if (r == 0)
		r = put_realtime(cg, c, e);
	r = then_text(r, cg, SET_CPUS, c->cpus, e);
	return then_text(r, cg, SET_MEMS, c->mems, e);
}

/* Memory. */

static const char *usage_file(struct cgroup *cg)
{
	return cgroup_is_v2(cg, CGROUP_MEMORY) ? "memory.current" : "memory.usage_in_bytes";
}

static int check_usage(struct cgroup *cg, int64_t limit, struct err *e)
{
	uint64_t usage = 0;

	if (limit <= 0 || cgroup_read_u64(cg, CGROUP_MEMORY, usage_file(cg), &usage, NULL) < 0 ||
	    usage <= (uint64_t)limit)
		return 0;
	return err_set(e, ERR_CONFLICT,
		       "linux.resources.memory.limit is %" PRId64 " bytes, but %" PRIu64
		       " are in use (%s)",
		       limit, usage, usage_file(cg));
}

/* v1: "swap" is memory and swap together, and never below memory. */
static int put_memory_v1(struct cgroup *cg, int64_t limit, int64_t swap, struct err *e)
{
	struct err why = {0};
	int r = 0;

	if (limit == -1 && swap == 0)
		(void)!put_limit(cg, SET_SWAP, -1, NULL);
	if (limit) {
		r = put_limit(cg, SET_LIMIT, limit, &why);
		if (r < 0 && swap &&
		    why.sys == EINVAL) { /* above the old swap limit: raise that first */
			r = put_limit(cg, SET_SWAP, swap, e);
			swap = 0;
			if (r == 0)
				r = put_limit(cg, SET_LIMIT, limit, e);
		} else if (r < 0) {
			if (why.sys == EBUSY && check_usage(cg, limit, e) < 0)
				return -ERR_CONFLICT;
			if (e)
				*e = why;
		}
	}
	return r == 0 && swap ? put_limit(cg, SET_SWAP, swap, e) : r;
}

/* v2: swap is counted apart: what the configuration calls swap, less the memory limit. */
static int put_swap_v2(struct cgroup *cg, int64_t limit, int64_t swap, struct err *e)
{
	struct err why = {0};
	uint64_t now = 0;
	int r = 0;

	if (swap > 0 && limit == 0 &&
	    cgroup_read_u64(cg, CGROUP_MEMORY, "memory.max", &now, NULL) == 0 && now != UINT64_MAX)
		limit = (int64_t)now;
	if (swap > 0 && (limit <= 0 || swap < limit))
		return err_set(
			e, ERR_INVALID,
			"linux.resources.memory.swap is %" PRId64
			": it counts memory and swap together, and the memory limit is %" PRId64,
			swap, limit);
	r = put_limit(cg, SET_SWAP, swap < 0 ? -1 : swap - limit, &why);
	if (r < 0 && (swap < 0 || swap == limit) && why.kind == ERR_UNSUPPORTED)
		return 0; /* a kernel without swap keeps that limit anyway */
	if (r < 0 && e)
		*e = why;
	return r;
}

static int put_memory_v2(struct cgroup *cg, int64_t limit, int64_t swap, struct err *e)
{
	int r = 0;

	if (limit == -1 && swap == 0)
		swap = -1;
	if (swap)
		r = put_swap_v2(cg, limit, swap, e);
	return then_limit(r, cg, SET_LIMIT, &limit, e);
}

static int put_memory(struct cgroup *cg, const struct spec_memory *m, struct err *e)
{
	int64_t limit = m->limit ? *m->limit : 0, swap = m->swap ? *m->swap : 0;
	bool check = m->check_before_update && *m->check_before_update;
	int r = check ? check_usage(cg, limit, e) : 0;

	if (r == 0 && (limit || swap))
		r = cgroup_is_v2(cg, CGROUP_MEMORY) ? put_memory_v2(cg, limit, swap, e)
						    : put_memory_v1(cg, limit, swap, e);
	r = then_limit(r, cg, SET_RESERVATION, m->reservation, e);
	r = then_limit(r, cg, SET_KERNEL_TCP, m->kernel_tcp, e);
	if (r == 0 && m->swappiness)
		r = put_u64(cg, SET_SWAPPINESS, *m->swappiness, e);
	if (r == 0 && m->disable_oom_killer && *m->disable_oom_killer)
		r = resources_put(cg, SET_OOM, "1", e);
	return r;
}

/* The rest. */

static int put_hugepages(struct cgroup *cg, const struct spec_hugepage *pages, size_t n,
			 struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const char *size = pages[i].page_size;
		const char *end = cgroup_is_v2(cg, CGROUP_HUGETLB) ? "max" : "limit_in_bytes";
		size_t digits = size ? strspn(size, "0123456789") : 0;
		char file[64], rsvd[64];
		int r = 0;

		if (!digits || digits > 9 ||
		    (!text_eq(size + digits, "KB") && !text_eq(size + digits, "MB") &&
		     !text_eq(size + digits, "GB")))
			return err_set(e, ERR_INVALID,
				       "linux.resources.hugepageLimits: invalid page size '%.40s'",
				       size ? size : "");
		(void)snprintf(file, sizeof file, "hugetlb.%s.%s", size, end);
		(void)snprintf(rsvd, sizeof rsvd, "hugetlb.%s.rsvd.%s", size, end);
		r = cgroup_write_u64(cg, CGROUP_HUGETLB, file, pages[i].limit, e);
		if (r < 0)
			return err_wrap(e, "linux.resources.hugepageLimits");
		/* Reservations too, where the kernel counts them (5.7): mmap fails, not the touch.
		 */
		(void)!cgroup_write_u64(cg, CGROUP_HUGETLB, rsvd, pages[i].limit, NULL);
	}
	return 0;
}

static int put_network(struct cgroup *cg, const struct spec_net_classes *n, struct err *e)
{
	int r = 0;

	if (n->class_id && *n->class_id)
		r = put_u64(cg, SET_CLASS, *n->class_id, e);
	for (size_t i = 0; r == 0 && i < n->priorities_n; i++) {
		const struct spec_priority *p = &n->priorities[i];
		auto_free char *line = mem_printf("%s %u", p->name ? p->name : "", p->priority);

		r = resources_put(cg, SET_PRIORITY, line, e);
	}
	return r;
}

static int put_rdma(struct cgroup *cg, const struct json *devices, struct err *e)
{
	struct json_iter it = {0};
	struct json *limits = NULL;
	const char *name = NULL;
	int r = 0;

	while (r == 0 && json_next(devices, &it, &name, &limits)) {
		int64_t handles = json_get_i64(limits, "hcaHandles", -1);
		int64_t objects = json_get_i64(limits, "hcaObjects", -1);
		auto_strbuf struct strbuf b = {0};

		strbuf_add_text(&b, name);
		if (handles >= 0)
			strbuf_printf(&b, " hca_handle=%" PRId64, handles);
		if (objects >= 0)
			strbuf_printf(&b, " hca_object=%" PRId64, objects);
		r = resources_put(cg, SET_RDMA, strbuf_text(&b), e);
	}
	return r;
}

/* Raw files of cgroup v2, line by line: the kernel takes one setting per write. */
static int put_unified(struct cgroup *cg, const struct json_pair *p, struct err *e)
{
	for (; p && p->key; p++) {
		struct str rest = str_trim(str_of(p->value)), line = {0};

		if (!*p->key || strchr(p->key, '/') || p->key[0] == '.')
			return err_set(
				e, ERR_INVALID,
				"linux.resources.unified: '%.100s' is not the name of a file",
				p->key);
		if (!cgroup_has(cg, CGROUP_UNIFIED))
			return err_set(e, ERR_UNSUPPORTED,
				       "linux.resources.unified sets '%s', but this host has no "
				       "cgroup v2",
				       p->key);
		while (str_cut(&rest, '\n', &line)) {
			auto_free char *value = str_dup(line);
			int r = cgroup_write(cg, CGROUP_UNIFIED, p->key, value, e);

			if (r < 0)
				return err_wrap(e, "linux.resources.unified");
		}
	}
	return 0;
}

static int put_all(struct cgroup *cg, const struct spec_resources *r, struct err *e)
{
	int bad = 0;

	if (r->memory)
		bad = put_memory(cg, r->memory, e);
	if (bad == 0 && r->cpu)
		bad = put_cpu(cg, r->cpu, e);
	if (bad == 0 && r->pids && is_set(r->pids->limit))
		bad = *r->pids->limit < 0 ? resources_put(cg, SET_PIDS, "max", e)
					  : resources_put_i64(cg, SET_PIDS, *r->pids->limit, e);
	if (bad == 0 && r->block_io)
		bad = resources_put_block(cg, r->block_io, e);
	if (bad == 0)
		bad = put_hugepages(cg, r->hugepages, r->hugepages_n, e);
	if (bad == 0 && r->network)
		bad = put_network(cg, r->network, e);
	if (bad == 0)
		bad = put_rdma(cg, r->rdma, e);
	if (bad == 0)
		bad = put_unified(cg, r->unified, e);
	return bad;
}

int resources_apply(struct cgroup *cg, const struct spec_resources *r, struct err *e)
{
	int bad = 0;

	assert(cg);
	bad = resources_put_devices(cg, r, e);
	return bad == 0 && r ? put_all(cg, r, e) : bad;
}

int resources_update(struct cgroup *cg, const struct spec_resources *r, struct err *e)
{
	int bad = 0;

	assert(r);
	if (r->memory && r->memory->disable_oom_killer && !*r->memory->disable_oom_killer &&
	    cgroup_has(cg, CGROUP_MEMORY) && !cgroup_is_v2(cg, CGROUP_MEMORY))
		bad = resources_put(cg, SET_OOM, "0", e);
	if (bad == 0 && r->devices_n)
		bad = resources_put_devices(cg, r, e);
	return bad == 0 ? put_all(cg, r, e) : bad;
}
