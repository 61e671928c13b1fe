/*
 * The node itself: what it is, what it holds, how much room that takes.
 */
#pragma once

#include "engine/images.h"
#include "engine/volumes.h"

struct system_info {
	const char *id; /* stable per root */
	const char *name, *kernel_version, *operating_system, *architecture, *root_dir, *driver;
	const char *cgroup_driver, *cgroup_version; /* "cgroupfs", "1" */
	int containers, running, paused, stopped, images;
	int cpus;
	int64_t memory_bytes;
	bool memory_limit, swap_limit, cpu_quota, cpu_shares, cpuset, pids_limit, blkio,
		oom_kill_disable;
	bool ipv4_forwarding, debug;
	int descriptors, event_listeners;
	int64_t now_ns;
	char *const *warnings, *const *insecure_registries, *const *mirrors;
	char *const *security_options; /* "name=seccomp,profile=builtin" */
	const char *init_binary;
};
void engine_info(struct user *u, struct arena *a, struct system_info **ret);

/* Sizes measured in the job pool; layers_bytes counts each layer once. */
struct disk_usage {
	int64_t layers_bytes, logs_bytes;
	struct container_usage {
		const struct container_view *view;
		struct container_sizes sizes;
	} * containers;
	size_t containers_n;
	struct image_view **images;
	size_t images_n;
	struct volume_view **volumes;
	size_t volumes_n;
};
typedef void engine_measured(void *ctx, const struct disk_usage *d, const struct err *e);
void engine_disk_usage(struct user *u, engine_measured *done, void *ctx);

#define HULL_VERSION "0.1.0"
