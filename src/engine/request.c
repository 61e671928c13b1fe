/*
 * What a client asks for, as Docker's JSON: one shape table per struct, read and written by the
 * same rows.
 *
 * Only what a table cannot say is code here: a command may be one string, the endpoints are an
 * object whose keys are the networks, and an update changes just the keys that stand in it.
 */
#include "engine/request.h"

#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"

#define ROW(type, key, kind, member, ...)                        \
	{                                                        \
		key, kind, offsetof(type, member), ##__VA_ARGS__ \
	}
#define LIST(type, key, member, of)                                                       \
	{                                                                                 \
		key, JSON_LIST, offsetof(type, member), &(of), offsetof(type, member##_n) \
	}

#define H(key, kind, member, ...) ROW(struct health_check, key, kind, member, ##__VA_ARGS__)
static const struct json_field health_fields[] = {
	H("Test", JSON_TEXTS, test, .omit_empty = true),
	H("Interval", JSON_I64, interval_ns, .omit_empty = true),
	H("Timeout", JSON_I64, timeout_ns, .omit_empty = true),
	H("StartPeriod", JSON_I64, start_period_ns, .omit_empty = true),
	H("StartInterval", JSON_I64, start_interval_ns, .omit_empty = true),
	H("Retries", JSON_I32, retries, .omit_empty = true),
};
static const struct json_shape health_shape = JSON_SHAPE(struct health_check, health_fields);

#define C(key, kind, member, ...) ROW(struct container_config, key, kind, member, ##__VA_ARGS__)
static const struct json_field config_fields[] = {
	C("Hostname", JSON_TEXT, hostname),
	C("Domainname", JSON_TEXT, domainname),
	C("User", JSON_TEXT, user),
	C("AttachStdin", JSON_FLAG, attach_stdin),
	C("AttachStdout", JSON_FLAG, attach_stdout),
	C("AttachStderr", JSON_FLAG, attach_stderr),
	C("ExposedPorts", JSON_ANY, exposed_ports, .omit_empty = true),
	C("Tty", JSON_FLAG, tty),
	C("OpenStdin", JSON_FLAG, open_stdin),
	C("StdinOnce", JSON_FLAG, stdin_once),
	C("Env", JSON_TEXTS, env),
	C("Cmd", JSON_TEXTS, cmd),
	C("Healthcheck", JSON_OPT_STRUCT, health_check, &health_shape, .omit_empty = true),
	C("Image", JSON_TEXT, image),
	C("Volumes", JSON_ANY, volumes),
	C("WorkingDir", JSON_TEXT, working_dir),
	C("Entrypoint", JSON_TEXTS, entrypoint),
	C("NetworkDisabled", JSON_FLAG, network_disabled, .omit_empty = true),
	C("MacAddress", JSON_TEXT, mac_address, .omit_empty = true),
	C("OnBuild", JSON_TEXTS, on_build),
	C("Labels", JSON_TEXT_MAP, labels, .empty_list = true),
	C("StopSignal", JSON_TEXT, stop_signal, .omit_empty = true),
	C("StopTimeout", JSON_OPT_I64, stop_timeout_s, .omit_empty = true),
	C("Shell", JSON_TEXTS, shell, .omit_empty = true),
};
static const struct json_shape config_shape = JSON_SHAPE(struct container_config, config_fields);

static const struct json_field log_fields[] = {
	ROW(struct log_config, "Type", JSON_TEXT, type),
	ROW(struct log_config, "Config", JSON_TEXT_MAP, options, .empty_list = true),
};
static const struct json_shape log_shape = JSON_SHAPE(struct log_config, log_fields);

static const struct json_field restart_fields[] = {
	ROW(struct restart_policy, "Name", JSON_TEXT, name),
	ROW(struct restart_policy, "MaximumRetryCount", JSON_I32, maximum_retry_count),
};
static const struct json_shape restart_shape = JSON_SHAPE(struct restart_policy, restart_fields);

static const struct json_field weight_fields[] = {
	ROW(struct weight_device, "Path", JSON_TEXT, path),
	ROW(struct weight_device, "Weight", JSON_U32, weight),
};
static const struct json_shape weight_shape = JSON_SHAPE(struct weight_device, weight_fields);

static const struct json_field throttle_fields[] = {
	ROW(struct throttle_device, "Path", JSON_TEXT, path),
	ROW(struct throttle_device, "Rate", JSON_U64, rate),
};
static const struct json_shape throttle_shape = JSON_SHAPE(struct throttle_device, throttle_fields);

static const struct json_field device_fields[] = {
	ROW(struct device_request, "PathOnHost", JSON_TEXT, path_on_host),
	ROW(struct device_request, "PathInContainer", JSON_TEXT, path_in_container),
	ROW(struct device_request, "CgroupPermissions", JSON_TEXT, cgroup_permissions),
};
static const struct json_shape device_shape = JSON_SHAPE(struct device_request, device_fields);

static const struct json_field ulimit_fields[] = {
	ROW(struct ulimit_request, "Name", JSON_TEXT, name),
	ROW(struct ulimit_request, "Hard", JSON_I64, hard),
	ROW(struct ulimit_request, "Soft", JSON_I64, soft),
};
static const struct json_shape ulimit_shape = JSON_SHAPE(struct ulimit_request, ulimit_fields);

#define B(key, kind, member) ROW(struct bind_options, key, kind, member, .omit_empty = true)
static const struct json_field bind_fields[] = {
	B("Propagation", JSON_TEXT, propagation),
	B("NonRecursive", JSON_FLAG, non_recursive),
	B("CreateMountpoint", JSON_FLAG, create_mountpoint),
	B("ReadOnlyNonRecursive", JSON_FLAG, read_only_non_recursive),
	B("ReadOnlyForceRecursive", JSON_FLAG, read_only_force_recursive),
};
static const struct json_shape bind_shape = JSON_SHAPE(struct bind_options, bind_fields);

static const struct json_field driver_fields[] = {
	ROW(struct volume_driver, "Name", JSON_TEXT, name, .omit_empty = true),
	ROW(struct volume_driver, "Options", JSON_TEXT_MAP, options, .omit_empty = true),
};
static const struct json_shape driver_shape = JSON_SHAPE(struct volume_driver, driver_fields);

#define V(key, kind, member, ...) \
	ROW(struct volume_options, key, kind, member, ##__VA_ARGS__, .omit_empty = true)
static const struct json_field volume_fields[] = {
	V("NoCopy", JSON_FLAG, no_copy),
	V("Labels", JSON_TEXT_MAP, labels),
	V("DriverConfig", JSON_OPT_STRUCT, driver, &driver_shape),
	V("Subpath", JSON_TEXT, subpath),
};
static const struct json_shape volume_shape = JSON_SHAPE(struct volume_options, volume_fields);

static const struct json_field tmpfs_fields[] = {
	ROW(struct tmpfs_options, "SizeBytes", JSON_I64, size_bytes, .omit_empty = true),
	ROW(struct tmpfs_options, "Mode", JSON_U32, mode, .omit_empty = true),
};
static const struct json_shape tmpfs_shape = JSON_SHAPE(struct tmpfs_options, tmpfs_fields);

#define M(key, kind, member, ...) \
	ROW(struct mount_request, key, kind, member, ##__VA_ARGS__, .omit_empty = true)
static const struct json_field mount_fields[] = {
	M("Type", JSON_TEXT, type),
	M("Source", JSON_TEXT, source),
	M("Target", JSON_TEXT, target),
	M("ReadOnly", JSON_FLAG, read_only),
	M("Consistency", JSON_TEXT, consistency),
	M("BindOptions", JSON_OPT_STRUCT, bind, &bind_shape),
	M("VolumeOptions", JSON_OPT_STRUCT, volume, &volume_shape),
	M("TmpfsOptions", JSON_OPT_STRUCT, tmpfs, &tmpfs_shape),
};
static const struct json_shape mount_shape = JSON_SHAPE(struct mount_request, mount_fields);

#define O(key, kind, member, ...) ROW(struct host_config, key, kind, member, ##__VA_ARGS__)
#define L(key, member, of)	  LIST(struct host_config, key, member, of)
static const struct json_field host_fields[] = {
	O("Binds", JSON_TEXTS, binds),
	O("ContainerIDFile", JSON_TEXT, container_id_file),
	O("LogConfig", JSON_STRUCT, log, &log_shape),
	O("NetworkMode", JSON_TEXT, network_mode),
	O("PortBindings", JSON_ANY, port_bindings),
	O("RestartPolicy", JSON_STRUCT, restart, &restart_shape),
	O("AutoRemove", JSON_FLAG, auto_remove),
	O("VolumeDriver", JSON_TEXT, volume_driver),
	O("VolumesFrom", JSON_TEXTS, volumes_from),
	{"Mounts", JSON_LIST, offsetof(struct host_config, mounts), &mount_shape,
	 offsetof(struct host_config, mounts_n), .omit_empty = true},
	O("CapAdd", JSON_TEXTS, cap_add),
	O("CapDrop", JSON_TEXTS, cap_drop),
	O("CgroupnsMode", JSON_TEXT, cgroupns_mode),
	O("Dns", JSON_TEXTS, dns),
	O("DnsOptions", JSON_TEXTS, dns_options),
	O("DnsSearch", JSON_TEXTS, dns_search),
	O("ExtraHosts", JSON_TEXTS, extra_hosts),
	O("GroupAdd", JSON_TEXTS, group_add),
	O("IpcMode", JSON_TEXT, ipc_mode),
	O("Cgroup", JSON_TEXT, cgroup),
	O("Links", JSON_TEXTS, links),
	O("OomScoreAdj", JSON_I32, oom_score_adj),
	O("PidMode", JSON_TEXT, pid_mode),
	O("Privileged", JSON_FLAG, privileged),
	O("PublishAllPorts", JSON_FLAG, publish_all_ports),
	O("ReadonlyRootfs", JSON_FLAG, readonly_rootfs),
	O("SecurityOpt", JSON_TEXTS, security_opt),
	O("StorageOpt", JSON_TEXT_MAP, storage_opt, .omit_empty = true),
	O("Tmpfs", JSON_TEXT_MAP, tmpfs, .omit_empty = true),
	O("UTSMode", JSON_TEXT, uts_mode),
	O("UsernsMode", JSON_TEXT, userns_mode),
	O("ShmSize", JSON_I64, shm_size),
	O("Sysctls", JSON_TEXT_MAP, sysctls, .omit_empty = true),
	O("Runtime", JSON_TEXT, runtime),
	O("ConsoleSize", JSON_ANY, console_size),
	O("Isolation", JSON_TEXT, isolation),
	O("Machine", JSON_ANY, machine, .omit_empty = true),
	O("CpuShares", JSON_I64, cpu_shares),
	O("Memory", JSON_I64, memory),
	O("NanoCpus", JSON_I64, nano_cpus),
	O("CgroupParent", JSON_TEXT, cgroup_parent),
	O("BlkioWeight", JSON_U32, blkio_weight),
	L("BlkioWeightDevice", blkio_weight_device, weight_shape),
	L("BlkioDeviceReadBps", blkio_read_bps, throttle_shape),
	L("BlkioDeviceWriteBps", blkio_write_bps, throttle_shape),
	L("BlkioDeviceReadIOps", blkio_read_iops, throttle_shape),
	L("BlkioDeviceWriteIOps", blkio_write_iops, throttle_shape),
	O("CpuPeriod", JSON_I64, cpu_period),
	O("CpuQuota", JSON_I64, cpu_quota),
	O("CpuRealtimePeriod", JSON_I64, cpu_realtime_period),
	O("CpuRealtimeRuntime", JSON_I64, cpu_realtime_runtime),
	O("CpusetCpus", JSON_TEXT, cpuset_cpus),
	O("CpusetMems", JSON_TEXT, cpuset_mems),
	L("Devices", devices, device_shape),
	O("DeviceCgroupRules", JSON_TEXTS, device_cgroup_rules),
	O("DeviceRequests", JSON_ANY, device_requests),
	O("MemoryReservation", JSON_I64, memory_reservation),
	O("MemorySwap", JSON_I64, memory_swap),
	O("MemorySwappiness", JSON_OPT_I64, memory_swappiness),
	O("OomKillDisable", JSON_OPT_FLAG, oom_kill_disable),
	O("Init", JSON_OPT_FLAG, init, .omit_empty = true),
	O("PidsLimit", JSON_OPT_I64, pids_limit),
	L("Ulimits", ulimits, ulimit_shape),
	O("MaskedPaths", JSON_TEXTS, masked_paths),
	O("ReadonlyPaths", JSON_TEXTS, readonly_paths),
	O("Annotations", JSON_TEXT_MAP, annotations, .omit_empty = true),
};
static const struct json_shape host_shape = JSON_SHAPE(struct host_config, host_fields);

#define E(key, kind, member, ...) ROW(struct endpoint_request, key, kind, member, ##__VA_ARGS__)
static const struct json_field endpoint_fields[] = {
	E("Links", JSON_TEXTS, links),
	E("Aliases", JSON_TEXTS, aliases),
	E("MacAddress", JSON_TEXT, mac_address),
	E("DriverOpts", JSON_TEXT_MAP, driver_opts),
	E("GwPriority", JSON_I32, gateway_priority),
};
static const struct json_shape endpoint_shape =
	JSON_SHAPE(struct endpoint_request, endpoint_fields);

struct ipam_request {
	char *ipv4, *ipv6;
	char **link_local_ips;
};
static const struct json_field ipam_fields[] = {
	ROW(struct ipam_request, "IPv4Address", JSON_TEXT, ipv4, .omit_empty = true),
	ROW(struct ipam_request, "IPv6Address", JSON_TEXT, ipv6, .omit_empty = true),
	ROW(struct ipam_request, "LinkLocalIPs", JSON_TEXTS, link_local_ips, .omit_empty = true),
};
static const struct json_shape ipam_shape = JSON_SHAPE(struct ipam_request, ipam_fields);

/* A member that may be one string becomes a list of one. */
static void wrap_text(struct json *object, const char *key)
{
	const char *text = json_get_text(object, key);
	struct json *list;

	if (!text)
		return;
	list = json_new_array();
	json_append(list, json_new_text(text));
	json_set(object, key, list);
}

static int check_lists(const struct container_request *r, struct err *e)
{
	size_t largest = r->endpoints_n;
	char **const lists[] = {r->config.env,	     r->config.cmd,	   r->host.binds,
				r->host.extra_hosts, r->config.entrypoint, r->host.links,
				r->host.group_add};
	const size_t counts[] = {r->host.mounts_n, r->host.devices_n, r->host.ulimits_n,
				 json_len(r->config.exposed_ports),
				 json_len(r->host.port_bindings)};

	for (size_t i = 0; i < array_len(lists); i++) {
		size_t n = mem_count_texts(lists[i]);

		largest = n > largest ? n : largest;
	}
	for (size_t i = 0; i < array_len(counts); i++)
		largest = counts[i] > largest ? counts[i] : largest;
	if (largest > REQUEST_LIST_MAX * 16)
		return err_set(e, ERR_INVALID,
			       "a list of the request has %zu members, at most %d are allowed",
			       largest, REQUEST_LIST_MAX * 16);
	return 0;
}

int request_read_endpoint(const struct json *settings, const char *network, struct arena *a,
			  struct endpoint_request *ret, struct err *e)
{
	struct endpoint_request r = {0};
	struct ipam_request ipam = {0};
	const struct json *asked = json_get(settings, "IPAMConfig");

	assert(network && a && ret);
	if (json_kind(settings) == JSON_OBJECT) {
		if (json_decode(settings, &endpoint_shape, network, a, &r, e) < 0)
			return -ERR_INVALID;
		if (json_kind(asked) == JSON_OBJECT &&
		    json_decode(asked, &ipam_shape, "IPAMConfig", a, &ipam, e) < 0)
			return -ERR_INVALID;
	}
	r.network = arena_dup_text(a, network);
	r.ipv4 = ipam.ipv4 && *ipam.ipv4 ? ipam.ipv4 : NULL;
	r.ipv6 = ipam.ipv6 && *ipam.ipv6 ? ipam.ipv6 : NULL;
	r.link_local_ips = ipam.link_local_ips;
	if (r.mac_address && !*r.mac_address)
		r.mac_address = NULL;
	*ret = r;
	return 0;
}

static int read_endpoints(const struct json *all, struct arena *a, struct container_request *r,
			  struct err *e)
{
	struct json_iter it = {0};
	struct json *settings;
	const char *network;

	if (json_kind(all) != JSON_OBJECT || json_len(all) == 0)
		return 0;
	r->endpoints = arena_new_array(a, struct endpoint_request, json_len(all));
	while (json_next(all, &it, &network, &settings)) {
		int bad = request_read_endpoint(settings, network, a, &r->endpoints[r->endpoints_n],
						e);

		if (bad < 0)
			return bad;
		r->endpoints_n++;
	}
	return 0;
}

int request_read(struct json *body, struct arena *a, struct container_request *ret, struct err *e)
{
	struct container_request r = {0};
	const struct json *host = json_get(body, "HostConfig");
	int bad;

	assert(a && ret);
	if (json_kind(body) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "the request's body is not a JSON object");
	wrap_text(body, "Cmd");
	wrap_text(body, "Entrypoint");
	bad = json_decode(body, &config_shape, "request", a, &r.config, e);
	if (bad >= 0 && json_kind(host) == JSON_OBJECT)
		bad = json_decode(host, &host_shape, "HostConfig", a, &r.host, e);
	if (bad >= 0)
		bad = read_endpoints(
			json_get(json_get(body, "NetworkingConfig"), "EndpointsConfig"), a, &r, e);
	if (bad >= 0)
		bad = check_lists(&r, e);
	if (bad < 0)
		return bad;
	*ret = r;
	return 0;
}

struct json *request_config_json(const struct container_config *c)
{
	return json_encode(&config_shape, c);
}

struct json *request_host_json(const struct host_config *h)
{
	return json_encode(&host_shape, h);
}

struct json *request_mount_json(const struct mount_request *m)
{
	return json_encode(&mount_shape, m);
}

struct json *request_endpoint_json(const struct endpoint_request *r)
{
	struct json *j = json_encode(&endpoint_shape, r);
	struct ipam_request ipam = {r->ipv4, r->ipv6, r->link_local_ips};

	if (r->ipv4 || r->ipv6 || r->link_local_ips)
		json_set(j, "IPAMConfig", json_encode(&ipam_shape, &ipam));
	else
		json_set(j, "IPAMConfig", NULL);
	return j;
}

struct json *request_json(const struct container_request *r)
{
	struct json *j = request_config_json(&r->config);
	struct json *networking = json_new_object(), *all = json_new_object();

	for (size_t i = 0; i < r->endpoints_n; i++)
		json_set(all, r->endpoints[i].network, request_endpoint_json(&r->endpoints[i]));
	json_set(networking, "EndpointsConfig", all);
	json_set(j, "HostConfig", request_host_json(&r->host));
	json_set(j, "NetworkingConfig", networking);
	return j;
}

/* What `update` may change: the resource rows of the table, by key. */
static const char *const updatable[] = {
	"BlkioWeight",	      "CpuShares",  "CpuPeriod",  "CpuQuota",	   "CpuRealtimePeriod",
	"CpuRealtimeRuntime", "CpusetCpus", "CpusetMems", "Memory",	   "MemoryReservation",
	"MemorySwap",	      "NanoCpus",   "PidsLimit",  "RestartPolicy",
};

static const struct json_field *host_field(const char *key)
{
	for (size_t i = 0; i < array_len(host_fields); i++)
		if (text_eq(host_fields[i].key, key))
			return &host_fields[i];
	assert(!"a row of `updatable` is no row of the host's table");
	return NULL;
}

/* The client sends every key; what is zero or empty there means "leave it". */
static bool says_something(const struct json *value)
{
	const char *text = json_text(value);

	if (text)
		return *text != '\0';
	if (json_kind(value) == JSON_OBJECT)
		return json_get_text(value, "Name") && *json_get_text(value, "Name");
	return json_kind(value) == JSON_NUMBER && json_i64(value, 0) != 0;
}

int request_update(const struct json *body, struct arena *a, struct host_config *host,
		   struct err *e)
{
	assert(a && host);
	if (json_kind(body) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "the request's body is not a JSON object");
	for (size_t i = 0; i < array_len(updatable); i++) {
		const struct json_field *f = host_field(updatable[i]);
		const struct json_shape one = {sizeof(struct host_config), f, 1};
		struct host_config changed;
		size_t size = f->type == JSON_STRUCT ? f->shape->size : sizeof(int64_t);

		if (!says_something(json_get(body, f->key)))
			continue;
		if (json_decode(body, &one, "update", a, &changed, e) < 0)
			return -ERR_INVALID;
		if (f->type == JSON_U32)
			size = sizeof(uint32_t);
		memcpy((char *)host + f->offset, (char *)&changed + f->offset, size);
	}
	return 0;
}
