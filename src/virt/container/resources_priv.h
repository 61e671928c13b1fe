/*
 * Inside of resources*.c: the settings that are one row of a table each, and the parts of
 * resources_apply that have a file of their own. Not for other files of the room.
 */
#pragma once

#include "ground/linux/cgroup.h"
#include "virt/container/resources.h"
#include "virt/container/spec.h"

enum setting_id {
	SET_SHARES,
	SET_IDLE,
	SET_PERIOD,
	SET_QUOTA,
	SET_BURST,
	SET_RT_PERIOD,
	SET_RT_RUNTIME,
	SET_CPUS,
	SET_MEMS,
	SET_LIMIT,
	SET_RESERVATION,
	SET_SWAP,
	SET_KERNEL_TCP,
	SET_SWAPPINESS,
	SET_OOM,
	SET_PIDS,
	SET_CLASS,
	SET_PRIORITY,
	SET_RDMA,
};

int resources_put(struct cgroup *cg, enum setting_id id, const char *value, struct err *e) must_use;
int resources_put_i64(struct cgroup *cg, enum setting_id id, int64_t value, struct err *e) must_use;
int resources_put_block(struct cgroup *cg, const struct spec_block_io *b, struct err *e) must_use;
int resources_put_devices(struct cgroup *cg, const struct spec_resources *r,
			  struct err *e) must_use;
