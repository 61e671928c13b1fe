/*
 * What a client asks a container to be. The structs follow Docker's Config, HostConfig and
 * NetworkingConfig field by field, because that is the widest vocabulary any of our clients speaks;
 * the JSON form (request_read, request_write) is Docker's too and is what the record store keeps.
 *
 * Everything lives in the arena given to request_read and dies with it. A text that the client did
 * not give is NULL, a list NULL (not empty), a number 0 unless the field says otherwise. Reading
 * checks types only; what the words mean (capability names, ports, sizes below a minimum) is
 * checked by engine_create, which knows the host.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/format/json.h"

#define REQUEST_LIST_MAX 4096 /* members of any one list of a request */

struct health_check { /* durations in ns; 0: inherit or default, test NULL: inherit */
	char **test;  /* {"NONE"}, {"CMD", ...}, {"CMD-SHELL", line} */
	int64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
	int32_t retries;
};

/* Docker's Config: what the image may also say. */
struct container_config {
	char *hostname, *domainname;
	char *user; /* "name", "uid", either with ":group" */
	bool attach_stdin, attach_stdout, attach_stderr;
	bool tty, open_stdin, stdin_once;
	char **env; /* "KEY=VALUE"; "KEY" alone removes the image's */
	char **cmd, **entrypoint;
	char *image; /* as the client wrote it */
	char *working_dir;
	struct json *exposed_ports; /* {"80/tcp": {}} */
	struct json *volumes;	    /* {"/data": {}}: anonymous volumes */
	char *mac_address;
	bool network_disabled;
	struct json_pair *labels;
	char *stop_signal;
	int64_t *stop_timeout_s;
	struct health_check *health_check;
	char **on_build, **shell;
};

struct log_config {
	char *type; /* "json-file" (default), "local", "none" */
	struct json_pair *options;
};

struct restart_policy {
	char *name; /* "", "no", "always", "unless-stopped", "on-failure" */
	int32_t maximum_retry_count;
};

struct weight_device {
	char *path;
	uint32_t weight;
};

struct throttle_device {
	char *path;
	uint64_t rate; /* bytes or operations a second */
};

struct device_request {
	char *path_on_host, *path_in_container, *cgroup_permissions;
};

struct ulimit_request {
	char *name;	    /* "nofile" */
	int64_t soft, hard; /* -1: unlimited */
};

struct bind_options {
	char *propagation;
	bool non_recursive, create_mountpoint, read_only_non_recursive, read_only_force_recursive;
};

struct volume_driver {
	char *name;
	struct json_pair *options;
};

struct volume_options {
	bool no_copy;
	struct json_pair *labels;
	struct volume_driver *driver;
	char *subpath;
};

struct tmpfs_options {
	int64_t size_bytes;
	uint32_t mode;
};

struct mount_request {
	char *type; /* "bind", "volume", "tmpfs", "image" */
	char *source, *target;
	bool read_only;
	char *consistency;
	struct bind_options *bind;
	struct volume_options *volume;
	struct tmpfs_options *tmpfs;
};

/* Docker's HostConfig: what only the client may say. */
struct host_config {
	char **binds; /* "/host:/ctr[:opts]", "volume:/ctr[:opts]" */
	char *container_id_file;
	struct log_config log;
	char *network_mode; /* "", "default", "bridge", "host", "none", "container:X", a network */
	struct json *port_bindings; /* {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]} */
	struct restart_policy restart;
	bool auto_remove;
	char *volume_driver;
	char **volumes_from; /* "container[:ro|rw]" */
	struct mount_request *mounts;
	size_t mounts_n;
	char **cap_add, **cap_drop;
	char *cgroupns_mode; /* "", "host", "private" */
	char **dns, **dns_options, **dns_search, **extra_hosts, **group_add;
	char *ipc_mode; /* "", "none", "private", "shareable", "host", "container:X" */
	char *cgroup;
	char **links; /* "container:alias" */
	int32_t oom_score_adj;
	char *pid_mode; /* "", "host", "container:X" */
	bool privileged, publish_all_ports, readonly_rootfs;
	char **security_opt; /* "seccomp=unconfined", "seccomp={json}", "no-new-privileges" ... */
	struct json_pair *storage_opt, *tmpfs, *sysctls, *annotations;
	char *uts_mode, *userns_mode;
	int64_t shm_size;	   /* bytes; 0: 64 MiB */
	char *runtime;		   /* "", "hull", "runc": containers; "hull-vm": a machine */
	struct json *console_size; /* [rows, columns] */
	char *isolation;	   /* "vm": a machine, as runtime "hull-vm" */
	struct json *machine;	   /* of a machine: see runtime_vm.c; NULL: a usual one */
	/* resources */
	int64_t cpu_shares, memory, nano_cpus;
	char *cgroup_parent;
	uint32_t blkio_weight;
	struct weight_device *blkio_weight_device;
	size_t blkio_weight_device_n;
	struct throttle_device *blkio_read_bps, *blkio_write_bps, *blkio_read_iops,
		*blkio_write_iops;
	size_t blkio_read_bps_n, blkio_write_bps_n, blkio_read_iops_n, blkio_write_iops_n;
	int64_t cpu_period, cpu_quota, cpu_realtime_period, cpu_realtime_runtime;
	char *cpuset_cpus, *cpuset_mems;
	struct device_request *devices;
	size_t devices_n;
	char **device_cgroup_rules; /* "c 1:3 rwm" */
	struct json *device_requests;
	int64_t memory_reservation, memory_swap; /* swap: memory + swap; -1 unlimited, 0 twice */
	int64_t *memory_swappiness;		 /* NULL or -1: the host's */
	bool *oom_kill_disable;
	bool *init;
	int64_t *pids_limit; /* NULL, 0 or -1: none */
	struct ulimit_request *ulimits;
	size_t ulimits_n;
	char **masked_paths, **readonly_paths; /* NULL: the defaults; empty: none */
};

/* One network the container joins. */
struct endpoint_request {
	char *network;	   /* name or id: the key in EndpointsConfig */
	char *ipv4, *ipv6; /* asked addresses */
	char **link_local_ips;
	char **links, **aliases;
	char *mac_address;
	struct json_pair *driver_opts;
	int32_t gateway_priority;
};

struct container_request {
	char *name;	/* without the slash; NULL: the engine invents one */
	char *platform; /* "linux/amd64", NULL: the host's */
	struct container_config config;
	struct host_config host;
	struct endpoint_request *endpoints;
	size_t endpoints_n;
};

/*
 * Reads POST /containers/create's body. `body` must outlive the request (JSON fields are borrowed
 * from it). ERR_INVALID names the key. Cmd, Entrypoint and health tests may be one string or a
 * list.
 */
int request_read(struct json *body, struct arena *a, struct container_request *ret,
		 struct err *e) must_use;

/* The parts of Docker's inspect; new trees that the caller frees. */
struct json *request_config_json(const struct container_config *c);
struct json *request_host_json(const struct host_config *h);
/* All of it: what request_read reads. */
struct json *request_json(const struct container_request *r);
struct json *request_mount_json(const struct mount_request *m);
struct json *request_endpoint_json(const struct endpoint_request *r);

/* Reads one EndpointSettings (network connect) named `network`. */
int request_read_endpoint(const struct json *settings, const char *network, struct arena *a,
			  struct endpoint_request *ret, struct err *e) must_use;

/* POST /containers/ID/update: the resource members and RestartPolicy of a HostConfig; only the keys
 * that stand in `body` are changed in *host. */
int request_update(const struct json *body, struct arena *a, struct host_config *host,
		   struct err *e) must_use;
