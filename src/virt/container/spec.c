/*
 * Decoding of config.json: shape tables, one per object of the specification, and the rules that a
 * shape cannot say. Nothing here looks at the host.
 */
#include "virt/container/spec.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"

#define F(key, type, st, member)                \
	{                                       \
		key, type, offsetof(st, member) \
	}
#define STRUCT(key, st, member, sh)                           \
	{                                                     \
		key, JSON_STRUCT, offsetof(st, member), &(sh) \
	}
#define OPT(key, st, member, sh)                                  \
	{                                                         \
		key, JSON_OPT_STRUCT, offsetof(st, member), &(sh) \
	}
#define LIST(key, st, member, sh)                                                     \
	{                                                                             \
		key, JSON_LIST, offsetof(st, member), &(sh), offsetof(st, member##_n) \
	}
#define SHAPE(name, st) static const struct json_shape name##_shape = JSON_SHAPE(st, name##_fields)

static const struct json_field device_rule_fields[] = {
	F("allow", JSON_FLAG, struct spec_device_rule, allow),
	F("type", JSON_TEXT, struct spec_device_rule, type),
	F("major", JSON_OPT_I64, struct spec_device_rule, major),
	F("minor", JSON_OPT_I64, struct spec_device_rule, minor),
	F("access", JSON_TEXT, struct spec_device_rule, access),
};
SHAPE(device_rule, struct spec_device_rule);

#define OPT_FLAG(key, st, member)                        \
	{                                                \
		key, JSON_OPT_FLAG, offsetof(st, member) \
	}

static const struct json_field memory_fields[] = {
	F("limit", JSON_OPT_I64, struct spec_memory, limit),
	F("reservation", JSON_OPT_I64, struct spec_memory, reservation),
	F("swap", JSON_OPT_I64, struct spec_memory, swap),
	F("kernel", JSON_OPT_I64, struct spec_memory, kernel),
	F("kernelTCP", JSON_OPT_I64, struct spec_memory, kernel_tcp),
	F("swappiness", JSON_OPT_U64, struct spec_memory, swappiness),
	OPT_FLAG("disableOOMKiller", struct spec_memory, disable_oom_killer),
	OPT_FLAG("useHierarchy", struct spec_memory, use_hierarchy),
	OPT_FLAG("checkBeforeUpdate", struct spec_memory, check_before_update),
};
SHAPE(memory, struct spec_memory);

static const struct json_field cpu_fields[] = {
	F("shares", JSON_OPT_U64, struct spec_cpu, shares),
	F("quota", JSON_OPT_I64, struct spec_cpu, quota),
	F("burst", JSON_OPT_U64, struct spec_cpu, burst),
	F("period", JSON_OPT_U64, struct spec_cpu, period),
	F("realtimeRuntime", JSON_OPT_I64, struct spec_cpu, realtime_runtime),
	F("realtimePeriod", JSON_OPT_U64, struct spec_cpu, realtime_period),
	F("cpus", JSON_TEXT, struct spec_cpu, cpus),
	F("mems", JSON_TEXT, struct spec_cpu, mems),
	F("idle", JSON_OPT_I64, struct spec_cpu, idle),
};
SHAPE(cpu, struct spec_cpu);

static const struct json_field weight_device_fields[] = {
	F("major", JSON_I64, struct spec_weight_device, major),
	F("minor", JSON_I64, struct spec_weight_device, minor),
	F("weight", JSON_OPT_U32, struct spec_weight_device, weight),
	F("leafWeight", JSON_OPT_U32, struct spec_weight_device, leaf_weight),
};
SHAPE(weight_device, struct spec_weight_device);

static const struct json_field throttle_fields[] = {
	F("major", JSON_I64, struct spec_throttle, major),
	F("minor", JSON_I64, struct spec_throttle, minor),
	F("rate", JSON_U64, struct spec_throttle, rate),
};
SHAPE(throttle, struct spec_throttle);

static const struct json_field block_io_fields[] = {
	F("weight", JSON_OPT_U32, struct spec_block_io, weight),
	F("leafWeight", JSON_OPT_U32, struct spec_block_io, leaf_weight),
	LIST("weightDevice", struct spec_block_io, weight_devices, weight_device_shape),
	LIST("throttleReadBpsDevice", struct spec_block_io, read_bps, throttle_shape),
	LIST("throttleWriteBpsDevice", struct spec_block_io, write_bps, throttle_shape),
	LIST("throttleReadIOPSDevice", struct spec_block_io, read_iops, throttle_shape),
	LIST("throttleWriteIOPSDevice", struct spec_block_io, write_iops, throttle_shape),
};
SHAPE(block_io, struct spec_block_io);

static const struct json_field hugepage_fields[] = {
	F("pageSize", JSON_TEXT, struct spec_hugepage, page_size),
	F("limit", JSON_U64, struct spec_hugepage, limit),
};
SHAPE(hugepage, struct spec_hugepage);

static const struct json_field priority_fields[] = {
	F("name", JSON_TEXT, struct spec_priority, name),
	F("priority", JSON_U32, struct spec_priority, priority),
};
SHAPE(priority, struct spec_priority);

static const struct json_field net_classes_fields[] = {
	F("classID", JSON_OPT_U32, struct spec_net_classes, class_id),
	LIST("priorities", struct spec_net_classes, priorities, priority_shape),
};
SHAPE(net_classes, struct spec_net_classes);

static const struct json_field pids_fields[] = {
	F("limit", JSON_OPT_I64, struct spec_pids, limit),
};
SHAPE(pids, struct spec_pids);

static const struct json_field resources_fields[] = {
	LIST("devices", struct spec_resources, devices, device_rule_shape),
	OPT("memory", struct spec_resources, memory, memory_shape),
	OPT("cpu", struct spec_resources, cpu, cpu_shape),
	OPT("blockIO", struct spec_resources, block_io, block_io_shape),
	LIST("hugepageLimits", struct spec_resources, hugepages, hugepage_shape),
	OPT("network", struct spec_resources, network, net_classes_shape),
	OPT("pids", struct spec_resources, pids, pids_shape),
	F("rdma", JSON_ANY, struct spec_resources, rdma),
	F("unified", JSON_TEXT_MAP, struct spec_resources, unified),
};
const struct json_shape spec_resources_shape = JSON_SHAPE(struct spec_resources, resources_fields);

static const struct json_field seccomp_arg_fields[] = {
	F("index", JSON_U32, struct spec_seccomp_arg, index),
	F("value", JSON_U64, struct spec_seccomp_arg, value),
	F("valueTwo", JSON_U64, struct spec_seccomp_arg, value_two),
	F("op", JSON_TEXT, struct spec_seccomp_arg, op),
};
SHAPE(seccomp_arg, struct spec_seccomp_arg);

static const struct json_field seccomp_rule_fields[] = {
	F("names", JSON_TEXTS, struct spec_seccomp_rule, names),
	F("action", JSON_TEXT, struct spec_seccomp_rule, action),
	F("errnoRet", JSON_OPT_U32, struct spec_seccomp_rule, errno_ret),
	LIST("args", struct spec_seccomp_rule, args, seccomp_arg_shape),
};
SHAPE(seccomp_rule, struct spec_seccomp_rule);

static const struct json_field seccomp_fields[] = {
	F("defaultAction", JSON_TEXT, struct spec_seccomp, default_action),
	F("defaultErrnoRet", JSON_OPT_U32, struct spec_seccomp, default_errno_ret),
	F("architectures", JSON_TEXTS, struct spec_seccomp, architectures),
	F("flags", JSON_TEXTS, struct spec_seccomp, flags),
	F("listenerPath", JSON_TEXT, struct spec_seccomp, listener_path),
	F("listenerMetadata", JSON_TEXT, struct spec_seccomp, listener_metadata),
	LIST("syscalls", struct spec_seccomp, rules, seccomp_rule_shape),
};
const struct json_shape spec_seccomp_shape = JSON_SHAPE(struct spec_seccomp, seccomp_fields);

static const struct json_field user_fields[] = {
	F("uid", JSON_U32, struct spec_user, uid),
	F("gid", JSON_U32, struct spec_user, gid),
	F("umask", JSON_OPT_U32, struct spec_user, umask),
	F("additionalGids", JSON_ANY, struct spec_user, additional_gids),
	F("username", JSON_TEXT, struct spec_user, username),
};
SHAPE(user, struct spec_user);

static const struct json_field capabilities_fields[] = {
	F("bounding", JSON_TEXTS, struct spec_capabilities, bounding),
	F("effective", JSON_TEXTS, struct spec_capabilities, effective),
	F("inheritable", JSON_TEXTS, struct spec_capabilities, inheritable),
	F("permitted", JSON_TEXTS, struct spec_capabilities, permitted),
	F("ambient", JSON_TEXTS, struct spec_capabilities, ambient),
};
SHAPE(capabilities, struct spec_capabilities);

static const struct json_field rlimit_fields[] = {
	F("type", JSON_TEXT, struct spec_rlimit, type),
	F("soft", JSON_U64, struct spec_rlimit, soft),
	F("hard", JSON_U64, struct spec_rlimit, hard),
};
SHAPE(rlimit, struct spec_rlimit);

static const struct json_field scheduler_fields[] = {
	F("policy", JSON_TEXT, struct spec_scheduler, policy),
	F("nice", JSON_I32, struct spec_scheduler, nice),
	F("priority", JSON_I32, struct spec_scheduler, priority),
	F("flags", JSON_TEXTS, struct spec_scheduler, flags),
	F("runtime", JSON_U64, struct spec_scheduler, runtime),
	F("deadline", JSON_U64, struct spec_scheduler, deadline),
	F("period", JSON_U64, struct spec_scheduler, period),
};
SHAPE(scheduler, struct spec_scheduler);

static const struct json_field io_priority_fields[] = {
	F("class", JSON_TEXT, struct spec_io_priority, class_name),
	F("priority", JSON_I32, struct spec_io_priority, priority),
};
SHAPE(io_priority, struct spec_io_priority);

static const struct json_field exec_affinity_fields[] = {
	F("initial", JSON_TEXT, struct spec_exec_affinity, initial),
	F("final", JSON_TEXT, struct spec_exec_affinity, final),
};
SHAPE(exec_affinity, struct spec_exec_affinity);

static const struct json_field console_fields[] = {
	F("height", JSON_U32, struct spec_console, height),
	F("width", JSON_U32, struct spec_console, width),
};
SHAPE(console, struct spec_console);

static const struct json_field process_fields[] = {
	F("terminal", JSON_FLAG, struct spec_process, terminal),
	STRUCT("consoleSize", struct spec_process, console, console_shape),
	STRUCT("user", struct spec_process, user, user_shape),
	F("args", JSON_TEXTS, struct spec_process, args),
	F("env", JSON_TEXTS, struct spec_process, env),
	F("cwd", JSON_TEXT, struct spec_process, cwd),
	OPT("capabilities", struct spec_process, capabilities, capabilities_shape),
	LIST("rlimits", struct spec_process, rlimits, rlimit_shape),
	F("noNewPrivileges", JSON_FLAG, struct spec_process, no_new_privileges),
	F("apparmorProfile", JSON_TEXT, struct spec_process, apparmor_profile),
	F("selinuxLabel", JSON_TEXT, struct spec_process, selinux_label),
	F("oomScoreAdj", JSON_OPT_I64, struct spec_process, oom_score_adj),
	OPT("scheduler", struct spec_process, scheduler, scheduler_shape),
	OPT("ioPriority", struct spec_process, io_priority, io_priority_shape),
	OPT("execCPUAffinity", struct spec_process, exec_affinity, exec_affinity_shape),
};
const struct json_shape spec_process_shape = JSON_SHAPE(struct spec_process, process_fields);

static const struct json_field root_fields[] = {
	F("path", JSON_TEXT, struct spec_root, path),
	F("readonly", JSON_FLAG, struct spec_root, readonly),
};
SHAPE(root, struct spec_root);

static const struct json_field id_map_fields[] = {
	F("containerID", JSON_U32, struct spec_id_map, container_id),
	F("hostID", JSON_U32, struct spec_id_map, host_id),
	F("size", JSON_U32, struct spec_id_map, size),
};
SHAPE(id_map, struct spec_id_map);

static const struct json_field mount_fields[] = {
	F("destination", JSON_TEXT, struct spec_mount, destination),
	F("type", JSON_TEXT, struct spec_mount, type),
	F("source", JSON_TEXT, struct spec_mount, source),
	F("options", JSON_TEXTS, struct spec_mount, options),
	LIST("uidMappings", struct spec_mount, uid_mappings, id_map_shape),
	LIST("gidMappings", struct spec_mount, gid_mappings, id_map_shape),
};
SHAPE(mount, struct spec_mount);

static const struct json_field hook_fields[] = {
	F("path", JSON_TEXT, struct spec_hook, path),
	F("args", JSON_TEXTS, struct spec_hook, args),
	F("env", JSON_TEXTS, struct spec_hook, env),
	F("timeout", JSON_OPT_I64, struct spec_hook, timeout),
};
SHAPE(hook, struct spec_hook);

static const struct json_field hooks_fields[] = {
	LIST("prestart", struct spec_hooks, prestart, hook_shape),
	LIST("createRuntime", struct spec_hooks, create_runtime, hook_shape),
	LIST("createContainer", struct spec_hooks, create_container, hook_shape),
	LIST("startContainer", struct spec_hooks, start_container, hook_shape),
	LIST("poststart", struct spec_hooks, poststart, hook_shape),
	LIST("poststop", struct spec_hooks, poststop, hook_shape),
};
SHAPE(hooks, struct spec_hooks);

static const struct json_field namespace_fields[] = {
	F("type", JSON_TEXT, struct spec_namespace, type),
	F("path", JSON_TEXT, struct spec_namespace, path),
};
SHAPE(namespace, struct spec_namespace);

static const struct json_field device_fields[] = {
	F("type", JSON_TEXT, struct spec_device, type),
	F("path", JSON_TEXT, struct spec_device, path),
	F("major", JSON_I64, struct spec_device, major),
	F("minor", JSON_I64, struct spec_device, minor),
	F("fileMode", JSON_OPT_U32, struct spec_device, file_mode),
	F("uid", JSON_OPT_U32, struct spec_device, uid),
	F("gid", JSON_OPT_U32, struct spec_device, gid),
};
SHAPE(device, struct spec_device);

static const struct json_field time_offset_fields[] = {
	F("secs", JSON_I64, struct spec_time_offset, secs),
	F("nanosecs", JSON_U32, struct spec_time_offset, nanosecs),
};
SHAPE(time_offset, struct spec_time_offset);

static const struct json_field time_offsets_fields[] = {
	OPT("monotonic", struct spec_time_offsets, monotonic, time_offset_shape),
	OPT("boottime", struct spec_time_offsets, boottime, time_offset_shape),
};
SHAPE(time_offsets, struct spec_time_offsets);

static const struct json_field rdt_fields[] = {
	F("closID", JSON_TEXT, struct spec_rdt, clos_id),
	F("l3CacheSchema", JSON_TEXT, struct spec_rdt, l3_cache_schema),
	F("memBwSchema", JSON_TEXT, struct spec_rdt, mem_bw_schema),
	F("schemata", JSON_TEXTS, struct spec_rdt, schemata),
	F("enableMonitoring", JSON_FLAG, struct spec_rdt, enable_monitoring),
};
SHAPE(rdt, struct spec_rdt);

static const struct json_field personality_fields[] = {
	F("domain", JSON_TEXT, struct spec_personality, domain),
	F("flags", JSON_TEXTS, struct spec_personality, flags),
};
SHAPE(personality, struct spec_personality);

static const struct json_field linux_fields[] = {
	LIST("namespaces", struct spec_linux, namespaces, namespace_shape),
	LIST("uidMappings", struct spec_linux, uid_mappings, id_map_shape),
	LIST("gidMappings", struct spec_linux, gid_mappings, id_map_shape),
	OPT("timeOffsets", struct spec_linux, time_offsets, time_offsets_shape),
	LIST("devices", struct spec_linux, devices, device_shape),
	F("netDevices", JSON_ANY, struct spec_linux, net_devices),
	F("cgroupsPath", JSON_TEXT, struct spec_linux, cgroups_path),
	OPT("resources", struct spec_linux, resources, spec_resources_shape),
	OPT("intelRdt", struct spec_linux, rdt, rdt_shape),
	F("sysctl", JSON_TEXT_MAP, struct spec_linux, sysctl),
	OPT("seccomp", struct spec_linux, seccomp, spec_seccomp_shape),
	F("rootfsPropagation", JSON_TEXT, struct spec_linux, rootfs_propagation),
	F("maskedPaths", JSON_TEXTS, struct spec_linux, masked_paths),
	F("readonlyPaths", JSON_TEXTS, struct spec_linux, readonly_paths),
	F("mountLabel", JSON_TEXT, struct spec_linux, mount_label),
	OPT("personality", struct spec_linux, personality, personality_shape),
};
SHAPE(linux, struct spec_linux);

static const struct json_field spec_fields[] = {
	F("ociVersion", JSON_TEXT, struct spec, version),
	OPT("process", struct spec, process, spec_process_shape),
	STRUCT("root", struct spec, root, root_shape),
	F("hostname", JSON_TEXT, struct spec, hostname),
	F("domainname", JSON_TEXT, struct spec, domainname),
	LIST("mounts", struct spec, mounts, mount_shape),
	OPT("hooks", struct spec, hooks, hooks_shape),
	F("annotations", JSON_TEXT_MAP, struct spec, annotations),
	STRUCT("linux", struct spec, os, linux_shape),
};
const struct json_shape spec_shape = JSON_SHAPE(struct spec, spec_fields);

static const char *const namespace_types[] = {"pid", "network", "mount",  "ipc",
					      "uts", "user",	"cgroup", "time"};

static int check_gids(const struct json *gids, const char *what, struct err *e)
{
	if (!gids || json_kind(gids) == JSON_NULL)
		return 0;
	if (json_kind(gids) != JSON_ARRAY)
		return err_set(e, ERR_INVALID, "%s: process.user.additionalGids: expected an array",
			       what);
	for (size_t i = 0; i < json_len(gids); i++) {
		const struct json *g = json_at(gids, i);
		int64_t gid = json_i64(g, -1);

		if (json_kind(g) != JSON_NUMBER || gid < 0 || gid > UINT32_MAX)
			return err_set(e, ERR_INVALID,
				       "%s: process.user.additionalGids[%zu]: not a group id", what,
				       i);
	}
	return 0;
}

static int check_process(const struct spec_process *p, const char *what, struct err *e)
{
	if (!p->args || !p->args[0])
		return err_set(e, ERR_INVALID, "%s: process.args: nothing to run", what);
	if (!p->cwd || p->cwd[0] != '/')
		return err_set(e, ERR_INVALID, "%s: process.cwd: '%s' is not an absolute path",
			       what, p->cwd ? p->cwd : "");
	for (size_t i = 0; i < p->rlimits_n; i++)
		if (!p->rlimits[i].type)
			return err_set(e, ERR_INVALID, "%s: process.rlimits[%zu].type: missing",
				       what, i);
	return check_gids(p->user.additional_gids, what, e);
}

static int check_namespaces(const struct spec_linux *l, const char *what, struct err *e)
{
	for (size_t i = 0; i < l->namespaces_n; i++) {
		const char *type = l->namespaces[i].type;
		bool known = false;

		for (size_t k = 0; k < array_len(namespace_types); k++)
			known |= text_eq(type, namespace_types[k]);
		if (!known)
			return err_set(e, ERR_INVALID,
				       "%s: linux.namespaces[%zu].type: unknown namespace '%s'",
				       what, i, type ? type : "");
		for (size_t k = 0; k < i; k++)
			if (text_eq(type, l->namespaces[k].type))
				return err_set(e, ERR_INVALID,
					       "%s: linux.namespaces: '%s' is there twice", what,
					       type);
		if (l->namespaces[i].path && !*l->namespaces[i].path)
			l->namespaces[i].path = NULL;
	}
	return 0;
}

static int check_mounts(const struct spec *s, const char *what, struct err *e)
{
	if (s->mounts_n > SPEC_MOUNTS_MAX)
		return err_set(e, ERR_INVALID, "%s: mounts: more than %d", what, SPEC_MOUNTS_MAX);
	for (size_t i = 0; i < s->mounts_n; i++) {
		const struct spec_mount *m = &s->mounts[i];

		if (!m->destination || !*m->destination)
			return err_set(e, ERR_INVALID, "%s: mounts[%zu].destination: missing", what,
				       i);
		if (m->uid_mappings_n > SPEC_PAIRS_MAX || m->gid_mappings_n > SPEC_PAIRS_MAX)
			return err_set(e, ERR_INVALID, "%s: mounts[%zu]: too many id mappings",
				       what, i);
	}
	return 0;
}

static int check_linux(const struct spec_linux *l, const char *what, struct err *e)
{
	if (l->uid_mappings_n > SPEC_PAIRS_MAX || l->gid_mappings_n > SPEC_PAIRS_MAX)
		return err_set(e, ERR_INVALID, "%s: linux: more than %d id mappings", what,
			       SPEC_PAIRS_MAX);
	for (size_t i = 0; i < l->devices_n; i++)
		if (!l->devices[i].path || l->devices[i].path[0] != '/' || !l->devices[i].type)
			return err_set(e, ERR_INVALID,
				       "%s: linux.devices[%zu]: type and absolute path are needed",
				       what, i);
	return check_namespaces(l, what, e);
}

static int check_hooks(const struct spec_hook *h, size_t n, const char *what, const char *key,
		       struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (!h[i].path || h[i].path[0] != '/')
			return err_set(e, ERR_INVALID,
				       "%s: hooks.%s[%zu].path: an absolute path is needed", what,
				       key, i);
		if (h[i].timeout && *h[i].timeout <= 0)
			return err_set(e, ERR_INVALID,
				       "%s: hooks.%s[%zu].timeout: must be above zero", what, key,
				       i);
	}
	return 0;
}

static int check_all_hooks(const struct spec_hooks *h, const char *what, struct err *e)
{
	int r = 0;

	if (!h)
		return 0;
#define CHECK(member, key) \
	if (r == 0)        \
	r = check_hooks(h->member, h->member##_n, what, key, e)
	CHECK(prestart, "prestart");
	CHECK(create_runtime, "createRuntime");
	CHECK(create_container, "createContainer");
	CHECK(start_container, "startContainer");
	CHECK(poststart, "poststart");
	CHECK(poststop, "poststop");
#undef CHECK
	return r;
}

int spec_decode(const struct json *j, const char *what, struct arena *a, struct spec **ret,
		struct err *e)
{
	struct spec *s = arena_new(a, struct spec);
	int r = json_decode(j, &spec_shape, what, a, s, e);

	if (r < 0)
		return r;
	if (!s->version)
		return err_set(e, ERR_INVALID, "%s: ociVersion: missing", what);
	if (!text_starts(s->version, "1."))
		return err_set(e, ERR_UNSUPPORTED, "%s: ociVersion: '%s' is not 1.x", what,
			       s->version);
	if (s->process && (r = check_process(s->process, what, e)) < 0)
		return r;
	if ((r = check_mounts(s, what, e)) < 0 || (r = check_linux(&s->os, what, e)) < 0 ||
	    (r = check_all_hooks(s->hooks, what, e)) < 0)
		return r;
	*ret = s;
	return 0;
}

int spec_read(int dirfd, const char *path, struct arena *a, struct spec **ret, struct err *e)
{
	auto_json struct json *j = NULL;
	int r = json_read_file(dirfd, path, SPEC_SIZE_MAX, &j, e);

	if (r < 0)
		return r;
	r = spec_decode(j, path, a, ret, e);
	if (r == 0)
		(*ret)->tree = take(j);
	return r;
}

int spec_decode_process(const struct json *j, const char *what, struct arena *a,
			struct spec_process **ret, struct err *e)
{
	struct spec_process *p = arena_new(a, struct spec_process);
	int r = json_decode(j, &spec_process_shape, what, a, p, e);

	if (r == 0)
		r = check_process(p, what, e);
	if (r == 0)
		*ret = p;
	return r;
}

void spec_done(struct spec *s)
{
	if (s)
		s->tree = json_free(s->tree);
}

const char *spec_annotation(const struct spec *s, const char *key)
{
	for (const struct json_pair *p = s->annotations; p && p->key; p++)
		if (text_eq(p->key, key))
			return p->value;
	return NULL;
}

const struct spec_namespace *spec_namespace(const struct spec *s, const char *type)
{
	for (size_t i = 0; i < s->os.namespaces_n; i++)
		if (text_eq(s->os.namespaces[i].type, type))
			return &s->os.namespaces[i];
	return NULL;
}
