/*
 * The OCI runtime specification 1.2's config.json as structs, decoded by shape tables (spec.c).
 *
 * Every pointer lives in the arena given to spec_decode and dies with it; JSON_ANY members are
 * borrowed from the decoded tree. An absent key is NULL, 0 or an empty list: what "absent" means is
 * the business of who applies it. Pointers to numbers (`int64_t *limit`) tell "absent" from 0.
 * Enumerations stay texts here and are looked up in tables where they are applied (capabilities,
 * rlimits, actions).
 *
 * spec_decode checks shape, limits and the few rules that every user relies on (args not empty,
 * cwd and mount destinations absolute, known namespace types, no namespace twice); it does not
 * touch the host.
 *
 *	auto_arena struct arena a = {0};
 *	struct spec *s;
 *	if (spec_read(AT_FDCWD, "config.json", &a, &s, e) < 0)
 *		return err_wrap(e, ...);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/format/json.h"

#define SPEC_VERSION	"1.2.0"
#define SPEC_SIZE_MAX	(8u << 20) /* bytes of a config.json */
#define SPEC_MOUNTS_MAX 10000
#define SPEC_PAIRS_MAX	340 /* the kernel's limit of id map lines */

/* Resources: linux.resources, also the argument of `update`. */
struct spec_device_rule {
	bool allow;
	char *type;	/* "a" "b" "c" "u" "p", NULL: a */
	int64_t *major; /* NULL or -1: every one */
	int64_t *minor;
	char *access; /* of "rwm", NULL: all three */
};

struct spec_memory {
	int64_t *limit, *reservation, *swap, *kernel, *kernel_tcp; /* bytes, -1: unlimited */
	uint64_t *swappiness;
	bool *disable_oom_killer;
	bool *use_hierarchy;
	bool *check_before_update;
};

struct spec_cpu {
	uint64_t *shares;
	int64_t *quota; /* microseconds per period, -1: none */
	uint64_t *burst, *period;
	int64_t *realtime_runtime;
	uint64_t *realtime_period;
	char *cpus, *mems; /* "0-3,7" */
	int64_t *idle;
};

struct spec_weight_device {
	int64_t major, minor;
	uint32_t *weight, *leaf_weight;
};

struct spec_throttle {
	int64_t major, minor;
	uint64_t rate; /* bytes or operations per second */
};

struct spec_block_io {
	uint32_t *weight, *leaf_weight;
	struct spec_weight_device *weight_devices;
	size_t weight_devices_n;
	struct spec_throttle *read_bps, *write_bps, *read_iops, *write_iops;
	size_t read_bps_n, write_bps_n, read_iops_n, write_iops_n;
};

struct spec_hugepage {
	char *page_size; /* "2MB" */
	uint64_t limit;	 /* bytes */
};

struct spec_priority {
	char *name;
	uint32_t priority;
};

struct spec_net_classes {
	uint32_t *class_id;
	struct spec_priority *priorities;
	size_t priorities_n;
};

struct spec_pids {
	int64_t *limit; /* -1: unlimited */
};

struct spec_resources {
	struct spec_device_rule *devices;
	size_t devices_n;
	struct spec_memory *memory;
	struct spec_cpu *cpu;
	struct spec_block_io *block_io;
	struct spec_hugepage *hugepages;
	size_t hugepages_n;
	struct spec_net_classes *network;
	struct spec_pids *pids;
	struct json *rdma;	   /* {"mlx5_1": {"hcaHandles": n, "hcaObjects": n}} or NULL */
	struct json_pair *unified; /* file name → value, cgroup v2 only; NULL when absent */
};

/* Seccomp: linux.seccomp. */
struct spec_seccomp_arg {
	uint32_t index;
	uint64_t value, value_two;
	char *op; /* "SCMP_CMP_EQ" ... */
};

struct spec_seccomp_rule {
	char **names;
	char *action; /* "SCMP_ACT_ERRNO" ... */
	uint32_t *errno_ret;
	struct spec_seccomp_arg *args;
	size_t args_n;
};

struct spec_seccomp {
	char *default_action;
	uint32_t *default_errno_ret;
	char **architectures; /* "SCMP_ARCH_X86_64" ... */
	char **flags;	      /* "SECCOMP_FILTER_FLAG_LOG" ... */
	char *listener_path, *listener_metadata;
	struct spec_seccomp_rule *rules;
	size_t rules_n;
};

/* Process. */
struct spec_user {
	uint32_t uid, gid;
	uint32_t *umask;
	struct json *additional_gids; /* array of numbers or NULL; checked by spec_decode */
	char *username;
};

struct spec_capabilities {
	char **bounding, **effective, **inheritable, **permitted, **ambient;
};

struct spec_rlimit {
	char *type; /* "RLIMIT_NOFILE" */
	uint64_t soft, hard;
};

struct spec_scheduler {
	char *policy;
	int32_t nice, priority;
	char **flags;
	uint64_t runtime, deadline, period;
};

struct spec_io_priority {
	char *class_name; /* "IOPRIO_CLASS_BE" */
	int32_t priority;
};

struct spec_exec_affinity {
	char *initial, *final;
};

struct spec_console {
	uint32_t height, width;
};

struct spec_process {
	bool terminal;
	struct spec_console console;
	struct spec_user user;
	char **args, **env;
	char *cwd;
	struct spec_capabilities *capabilities;
	struct spec_rlimit *rlimits;
	size_t rlimits_n;
	bool no_new_privileges;
	char *apparmor_profile, *selinux_label;
	int64_t *oom_score_adj;
	struct spec_scheduler *scheduler;
	struct spec_io_priority *io_priority;
	struct spec_exec_affinity *exec_affinity;
};

/* Root, mounts, hooks. */
struct spec_root {
	char *path;
	bool readonly;
};

struct spec_id_map {
	uint32_t container_id, host_id, size;
};

struct spec_mount {
	char *destination, *type, *source;
	char **options;
	struct spec_id_map *uid_mappings, *gid_mappings;
	size_t uid_mappings_n, gid_mappings_n;
};

struct spec_hook {
	char *path;
	char **args, **env;
	int64_t *timeout; /* seconds */
};

struct spec_hooks {
	struct spec_hook *prestart, *create_runtime, *create_container, *start_container,
		*poststart, *poststop;
	size_t prestart_n, create_runtime_n, create_container_n, start_container_n, poststart_n,
		poststop_n;
};

/* Linux. */
struct spec_namespace {
	char *type; /* "pid" "network" "mount" "ipc" "uts" "user" "cgroup" "time" */
	char *path; /* NULL: make a new one */
};

struct spec_device {
	char *type, *path;
	int64_t major, minor;
	uint32_t *file_mode, *uid, *gid;
};

struct spec_time_offset {
	int64_t secs;
	uint32_t nanosecs;
};

struct spec_time_offsets {
	struct spec_time_offset *monotonic, *boottime;
};

struct spec_rdt {
	char *clos_id, *l3_cache_schema, *mem_bw_schema;
	char **schemata;
	bool enable_monitoring;
};

struct spec_personality {
	char *domain; /* "LINUX" "LINUX32" */
	char **flags;
};

struct spec_linux {
	struct spec_namespace *namespaces;
	size_t namespaces_n;
	struct spec_id_map *uid_mappings, *gid_mappings;
	size_t uid_mappings_n, gid_mappings_n;
	struct spec_time_offsets *time_offsets;
	struct spec_device *devices;
	size_t devices_n;
	struct json *net_devices; /* {"eth0": {"name": "ct0"}} or NULL */
	char *cgroups_path;
	struct spec_resources *resources;
	struct spec_rdt *rdt;
	struct json_pair *sysctl;
	struct spec_seccomp *seccomp;
	char *rootfs_propagation;
	char **masked_paths, **readonly_paths;
	char *mount_label;
	struct spec_personality *personality;
};

struct spec {
	char *version;
	struct spec_process *process; /* NULL: create only, never started */
	struct spec_root root;
	char *hostname, *domainname;
	struct spec_mount *mounts;
	size_t mounts_n;
	struct spec_hooks *hooks;
	struct json_pair *annotations;
	struct spec_linux os;
	struct json *tree; /* what this was decoded from; freed by spec_done */
};

extern const struct json_shape spec_shape, spec_process_shape, spec_resources_shape,
	spec_seccomp_shape;

/* Decodes a tree; `what` names it in errors. The tree must outlive *ret (spec.tree is left NULL).
 */
int spec_decode(const struct json *j, const char *what, struct arena *a, struct spec **ret,
		struct err *e) must_use;

/* Reads and decodes a file of at most SPEC_SIZE_MAX bytes; release with spec_done, then the arena.
 */
int spec_read(int dirfd, const char *path, struct arena *a, struct spec **ret,
	      struct err *e) must_use;

/* The process of an exec: the same rules as spec.process. */
int spec_decode_process(const struct json *j, const char *what, struct arena *a,
			struct spec_process **ret, struct err *e) must_use;

void spec_done(struct spec *s); /* drops the tree; NULL is fine */

/* The value of an annotation, or NULL. */
const char *spec_annotation(const struct spec *s, const char *key);

/* The namespace of that type, or NULL when the container shares the runtime's. */
const struct spec_namespace *spec_namespace(const struct spec *s, const char *type);
