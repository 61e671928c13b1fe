/*
 * Limits: what HostConfig says of memory, processors, processes and block devices, as
 * linux.resources, and whether it makes sense together.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"

#define CPU_PERIOD_US 100000

static int check_memory(const struct host_config *h, struct err *e)
{
	if (h->memory < 0)
		return err_set(e, ERR_INVALID, "invalid memory limit %lld: it is negative",
			       (long long)h->memory);
	if (h->memory > 0 && h->memory_swap > 0 && h->memory_swap < h->memory)
		return err_set(
			e, ERR_INVALID,
			"minimum memoryswap limit should be larger than memory limit, see usage");
	if (h->memory == 0 && h->memory_swap > 0)
		return err_set(
			e, ERR_INVALID,
			"you should always set the Memory limit when using Memoryswap limit, see "
			"usage");
	if (h->memory > 0 && h->memory_reservation > h->memory)
		return err_set(
			e, ERR_INVALID,
			"minimum memory limit can not be less than memory reservation limit, see "
			"usage");
	return 0;
}

static int check_cpu(const struct host_config *h, struct err *e)
{
	if (h->nano_cpus < 0)
		return err_set(e, ERR_INVALID, "invalid number of cpus: it is negative");
	if (h->nano_cpus > 0 && (h->cpu_quota || h->cpu_period))
		return err_set(e, ERR_INVALID,
			       "conflicting options: Nano CPUs and CPU Period or Quota cannot both "
			       "be set");
	if (h->cpu_quota > 0 && h->cpu_quota < 1000)
		return err_set(e, ERR_INVALID,
			       "CPU cfs quota can not be less than 1ms (i.e. 1000)");
	return 0;
}

/* Numbers with a range; 0 is "not set" except where the range holds it. */
static int check_ranges(const struct host_config *h, struct err *e)
{
	const struct {
		const char *what;
		int64_t value, least, most;
	} rows[] = {
		{"memory swappiness", h->memory_swappiness ? *h->memory_swappiness : 0, -1, 100},
		{"CPU cfs period (microseconds)", h->cpu_period ? h->cpu_period : 1000, 1000,
		 1000000},
		{"blkio weight", h->blkio_weight ? h->blkio_weight : 10, 10, 1000},
		{"oom score adj", h->oom_score_adj, -1000, 1000},
		{"shm size", h->shm_size, 0, INT64_MAX},
	};

	for (size_t i = 0; i < array_len(rows); i++)
		if (rows[i].value < rows[i].least || rows[i].value > rows[i].most)
			return err_set(e, ERR_INVALID, "invalid %s %lld: the range is %lld to %lld",
				       rows[i].what, (long long)rows[i].value,
				       (long long)rows[i].least, (long long)rows[i].most);
	return 0;
}

int oci_resources_check(const struct host_config *h, struct err *e)
{
	int bad = check_memory(h, e);

	if (bad >= 0)
		bad = check_cpu(h, e);
	return bad < 0 ? bad : check_ranges(h, e);
}

static void set_if(struct json *o, const char *key, int64_t value)
{
	if (value)
		json_set_i64(o, key, value);
}

static struct json *memory(const struct host_config *h)
{
	struct json *m = json_new_object();

	set_if(m, "limit", h->memory);
	set_if(m, "reservation", h->memory_reservation);
	if (h->memory > 0)
		json_set_i64(m, "swap", h->memory_swap ? h->memory_swap : 2 * h->memory);
	if (h->memory_swappiness && *h->memory_swappiness >= 0)
		json_set_i64(m, "swappiness", *h->memory_swappiness);
	if (h->oom_kill_disable && *h->oom_kill_disable)
		json_set_bool(m, "disableOOMKiller", true);
	return m;
}

static struct json *cpu(const struct host_config *h)
{
	struct json *c = json_new_object();

	set_if(c, "shares", h->cpu_shares);
	if (h->nano_cpus) {
		json_set_i64(c, "period", CPU_PERIOD_US);
		json_set_i64(c, "quota", h->nano_cpus * CPU_PERIOD_US / 1000000000);
	}
	set_if(c, "period", h->cpu_period);
	set_if(c, "quota", h->cpu_quota);
	set_if(c, "realtimePeriod", h->cpu_realtime_period);
	set_if(c, "realtimeRuntime", h->cpu_realtime_runtime);
	if (h->cpuset_cpus && *h->cpuset_cpus)
		json_set_text(c, "cpus", h->cpuset_cpus);
	if (h->cpuset_mems && *h->cpuset_mems)
		json_set_text(c, "mems", h->cpuset_mems);
	return c;
}

static int block_device(const char *path, struct json *o, struct err *e)
{
	struct stat st;

	if (stat(path ? path : "", &st) < 0)
		return err_sys(e, "cannot limit the device '%s'", path ? path : "");
	if (!S_ISBLK(st.st_mode))
		return err_set(e, ERR_INVALID, "cannot limit '%s': it is no block device", path);
	json_set_i64(o, "major", major(st.st_rdev));
	json_set_i64(o, "minor", minor(st.st_rdev));
	return 0;
}

static int throttles(struct json *b, const char *key, const struct throttle_device *list, size_t n,
		     struct err *e)
{
	struct json *all;

	if (!n)
		return 0;
	all = json_new_array();
	json_set(b, key, all);
	for (size_t i = 0; i < n; i++) {
		struct json *one = json_new_object();

		json_append(all, one);
		if (block_device(list[i].path, one, e) < 0)
			return -ERR_INVALID;
		json_set(one, "rate", json_new_u64(list[i].rate));
	}
	return 0;
}

static int block_io(const struct host_config *h, struct json *resources, struct err *e)
{
	struct json *b = json_new_object(), *weights;
	int bad = 0;

	json_set(resources, "blockIO", b);
	set_if(b, "weight", h->blkio_weight);
	if (h->blkio_weight_device_n) {
		weights = json_new_array();
		json_set(b, "weightDevice", weights);
		for (size_t i = 0; i < h->blkio_weight_device_n && bad >= 0; i++) {
			struct json *one = json_new_object();

			json_append(weights, one);
			bad = block_device(h->blkio_weight_device[i].path, one, e);
			json_set_i64(one, "weight", h->blkio_weight_device[i].weight);
		}
	}
	if (bad >= 0)
		bad = throttles(b, "throttleReadBpsDevice", h->blkio_read_bps, h->blkio_read_bps_n,
				e);
	if (bad >= 0)
		bad = throttles(b, "throttleWriteBpsDevice", h->blkio_write_bps,
				h->blkio_write_bps_n, e);
	if (bad >= 0)
		bad = throttles(b, "throttleReadIOPSDevice", h->blkio_read_iops,
				h->blkio_read_iops_n, e);
	if (bad >= 0)
		bad = throttles(b, "throttleWriteIOPSDevice", h->blkio_write_iops,
				h->blkio_write_iops_n, e);
	if (bad >= 0 && json_len(b) == 0)
		json_remove(resources, "blockIO");
	return bad;
}

static void set_unless_empty(struct json *o, const char *key, struct json *part)
{
	if (json_len(part))
		json_set(o, key, part);
	else
		(void)json_free(part);
}

int oci_resources(const struct host_config *h, struct json *resources, struct err *e)
{
	set_unless_empty(resources, "memory", memory(h));
	set_unless_empty(resources, "cpu", cpu(h));
	if (h->pids_limit && *h->pids_limit > 0) {
		struct json *pids = json_new_object();

		json_set_i64(pids, "limit", *h->pids_limit);
		json_set(resources, "pids", pids);
	}
	return block_io(h, resources, e);
}
