/*
 * linux.resources.blockIO. Weights have three homes: blkio.weight (the old CFQ scheduler), the BFQ
 * scheduler's own files, and v2's io.weight, whose range is another. Throttles are one line per
 * device and direction: a file each on v1, one file on v2.
 */
#include "virt/container/resources_priv.h"

#include <inttypes.h>

#include "ground/base/mem.h"

uint64_t resources_io_weight(uint64_t weight)
{
	if (weight == 0)
		return 0;
	if (weight <= 10)
		return 1;
	return weight >= 1000 ? 10000 : 1 + (weight - 10) * 9999 / 990;
}

static int put_line(struct cgroup *cg, const char *file, const char *key, const char *line,
		    struct err *e)
{
	int r = cgroup_write(cg, CGROUP_BLKIO, file, line, e);

	return r < 0 ? err_wrap(e, "linux.resources.blockIO.%s", key) : 0;
}

static int put_weight(struct cgroup *cg, uint32_t weight, struct err *e)
{
	bool v2 = cgroup_is_v2(cg, CGROUP_BLKIO);
	const char *bfq = v2 ? "io.bfq.weight" : "blkio.bfq.weight";
	char line[40];

	(void)snprintf(line, sizeof line, "%u", weight);
	if (!v2 && cgroup_file_exists(cg, CGROUP_BLKIO, "blkio.weight"))
		return put_line(cg, "blkio.weight", "weight", line, e);
	if (!v2 || cgroup_file_exists(cg, CGROUP_BLKIO, bfq))
		return put_line(cg, bfq, "weight", line, e);
	(void)snprintf(line, sizeof line, "default %" PRIu64, resources_io_weight(weight));
	return put_line(cg, "io.weight", "weight", line, e);
}

static int put_device_weight(struct cgroup *cg, const struct spec_weight_device *d, struct err *e)
{
	bool v2 = cgroup_is_v2(cg, CGROUP_BLKIO);
	const char *file = v2 ? "io.bfq.weight" : "blkio.weight_device";
	uint64_t weight = d->weight ? *d->weight : 0;
	char line[80];

	if (v2 && !cgroup_file_exists(cg, CGROUP_BLKIO, file)) {
		file = "io.weight";
		weight = resources_io_weight(weight);
	} else if (!v2 && !cgroup_file_exists(cg, CGROUP_BLKIO, file)) {
		file = "blkio.bfq.weight_device";
	}
	(void)snprintf(line, sizeof line, "%" PRId64 ":%" PRId64 " %" PRIu64, d->major, d->minor,
		       weight);
	return put_line(cg, file, "weightDevice", line, e);
}

static int put_leaf(struct cgroup *cg, const struct spec_weight_device *d, uint32_t weight,
		    struct err *e)
{
	char line[80];

	if (cgroup_is_v2(cg, CGROUP_BLKIO))
		return err_set(
			e, ERR_UNSUPPORTED,
			"linux.resources.blockIO.leafWeight is %u, but cgroup v2 has no such "
			"setting",
			weight);
	if (d)
		(void)snprintf(line, sizeof line, "%" PRId64 ":%" PRId64 " %u", d->major, d->minor,
			       weight);
	else
		(void)snprintf(line, sizeof line, "%u", weight);
	return put_line(cg, d ? "blkio.leaf_weight_device" : "blkio.leaf_weight", "leafWeight",
			line, e);
}

static int put_throttles(struct cgroup *cg, const struct spec_throttle *t, size_t n, const char *v1,
			 const char *v2, const char *key, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		bool is_v2 = cgroup_is_v2(cg, CGROUP_BLKIO);
		char line[100];
		int r = 0;

		(void)snprintf(line, sizeof line, "%" PRId64 ":%" PRId64 " %s%" PRIu64, t[i].major,
			       t[i].minor, is_v2 ? v2 : "", t[i].rate);
		if (is_v2 && t[i].rate == 0) /* v1's "no limit" */
			(void)snprintf(line, sizeof line, "%" PRId64 ":%" PRId64 " %smax",
				       t[i].major, t[i].minor, v2);
		r = put_line(cg, is_v2 ? "io.max" : v1, key, line, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int resources_put_block(struct cgroup *cg, const struct spec_block_io *b, struct err *e)
{
	const struct {
		const struct spec_throttle *list;
		size_t n;
		const char *v1, *v2, *key;
	} rows[] = {
		{b->read_bps, b->read_bps_n, "blkio.throttle.read_bps_device",
		 "rbps=", "throttleReadBpsDevice"},
		{b->write_bps, b->write_bps_n, "blkio.throttle.write_bps_device",
		 "wbps=", "throttleWriteBpsDevice"},
		{b->read_iops, b->read_iops_n, "blkio.throttle.read_iops_device",
		 "riops=", "throttleReadIOPSDevice"},
		{b->write_iops, b->write_iops_n, "blkio.throttle.write_iops_device",
		 "wiops=", "throttleWriteIOPSDevice"},
	};
	int r = 0;

	if (b->weight && *b->weight)
		r = put_weight(cg, *b->weight, e);
	if (r == 0 && b->leaf_weight && *b->leaf_weight)
		r = put_leaf(cg, NULL, *b->leaf_weight, e);
	for (size_t i = 0; r == 0 && i < b->weight_devices_n; i++) {
		const struct spec_weight_device *d = &b->weight_devices[i];

		if (d->weight && *d->weight)
			r = put_device_weight(cg, d, e);
		if (r == 0 && d->leaf_weight && *d->leaf_weight)
			r = put_leaf(cg, d, *d->leaf_weight, e);
	}
	for (size_t i = 0; r == 0 && i < array_len(rows); i++)
		r = put_throttles(cg, rows[i].list, rows[i].n, rows[i].v1, rows[i].v2, rows[i].key,
				  e);
	return r;
}
