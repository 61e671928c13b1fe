/*
 * The node itself: its object, made or brought up to date at the start, and its lease, renewed
 * every ten seconds. What a node has is read from the machine.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"

#define PODS_MAX       110
#define RESERVED_BYTES ((int64_t)256 << 20) /* of memory, for the machine itself */
#define LEASE_SECONDS  40

static const struct kind *nodes(void)
{
	return kind_of_resource("", "v1", "nodes");
}

static struct json *labels_of(const struct node_agent *a)
{
	const char *const rows[][2] = {
		{"kubernetes.io/hostname", a->node_name},
		{"kubernetes.io/os", "linux"},
		{"kubernetes.io/arch", "amd64"},
		{"beta.kubernetes.io/os", "linux"},
		{"beta.kubernetes.io/arch", "amd64"},
		{"node-role.kubernetes.io/control-plane", ""},
	};
	struct json *j = json_new_object();

	for (size_t i = 0; i < array_len(rows); i++)
		json_set_text(j, rows[i][0], rows[i][1]);
	return j;
}

/* -- capacity ---------------------------------------------------------------------------------- */

static void set_amounts(struct json *j, int64_t cpus, int64_t memory, int64_t disk)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld", (long long)cpus);
	json_set_text(j, "cpu", text);
	(void)snprintf(text, sizeof(text), "%lldKi", (long long)(memory / 1024));
	json_set_text(j, "memory", text);
	(void)snprintf(text, sizeof(text), "%lldKi", (long long)(disk / 1024));
	json_set_text(j, "ephemeral-storage", text);
	(void)snprintf(text, sizeof(text), "%d", PODS_MAX);
	json_set_text(j, "pods", text);
	json_set_text(j, "hugepages-2Mi", "0");
}

static void set_capacity(const struct node_agent *a, struct json *status)
{
	auto_arena struct arena arena = {0};
	struct json *all = json_new_object(), *usable = json_new_object();
	struct system_info *info;
	struct statvfs fs = {0};
	int64_t disk;

	engine_info(a->user, &arena, &info);
	(void)statvfs(a->o.root, &fs);
	disk = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
	set_amounts(all, info->cpus, info->memory_bytes, disk);
	set_amounts(usable, info->cpus,
		    info->memory_bytes > 2 * RESERVED_BYTES ? info->memory_bytes - RESERVED_BYTES
							    : info->memory_bytes,
		    disk / 10 * 9);
	json_set(status, "capacity", all);
	json_set(status, "allocatable", usable);
}

static void add_condition(const struct node_agent *a, struct json *list, const char *type,
			  const char *value, const char *reason, const char *message)
{
	struct json *c = json_new_object();
	char now[NODE_TIME];

	rfc3339_seconds(world_now_ns(a->world), now);
	json_set_text(c, "type", type);
	json_set_text(c, "status", value);
	json_set_text(c, "reason", reason);
	json_set_text(c, "message", message);
	json_set_text(c, "lastHeartbeatTime", now);
	json_set_text(c, "lastTransitionTime", now);
	json_append(list, c);
}

static struct json *conditions_of(const struct node_agent *a)
{
	struct json *list = json_new_array();

	add_condition(a, list, "MemoryPressure", "False", "KubeletHasSufficientMemory",
		      "kubelet has sufficient memory available");
	add_condition(a, list, "DiskPressure", "False", "KubeletHasNoDiskPressure",
		      "kubelet has no disk pressure");
	add_condition(a, list, "PIDPressure", "False", "KubeletHasSufficientPID",
		      "kubelet has sufficient PID available");
	add_condition(a, list, "Ready", "True", "KubeletReady", "kubelet is posting ready status");
	return list;
}

static void set_info(const struct node_agent *a, struct json *status)
{
	auto_arena struct arena arena = {0};
	auto_free char *runtime = mem_printf("hull://%s", a->o.version);
	struct json *j = json_new_object();
	struct system_info *info;

	engine_info(a->user, &arena, &info);
	json_set_text(j, "machineID", info->id);
	json_set_text(j, "systemUUID", info->id);
	json_set_text(j, "bootID", info->id);
	json_set_text(j, "kernelVersion", info->kernel_version);
	json_set_text(j, "osImage", info->operating_system);
	json_set_text(j, "containerRuntimeVersion", runtime);
	json_set_text(j, "kubeletVersion", "v1.33.0+hull");
	json_set_text(j, "kubeProxyVersion", "v1.33.0+hull");
	json_set_text(j, "operatingSystem", "linux");
	json_set_text(j, "architecture", "amd64");
	json_set(status, "nodeInfo", j);
}

static struct json *status_of(const struct node_agent *a)
{
	const char *const rows[][2] = {{"InternalIP", a->o.address}, {"Hostname", a->node_name}};
	struct json *status = json_new_object(), *addresses = json_new_array();

	for (size_t i = 0; i < array_len(rows); i++) {
		struct json *one = json_new_object();

		json_set_text(one, "type", rows[i][0]);
		json_set_text(one, "address", rows[i][1]);
		json_append(addresses, one);
	}
	json_set(status, "addresses", addresses);
	set_capacity(a, status);
	json_set(status, "conditions", conditions_of(a));
	set_info(a, status);
	return status;
}

/* -- registering ------------------------------------------------------------------------------- */

static void registered(void *ctx, const struct outcome *o)
{
	struct node_agent *a = ctx;

	if (o->error) {
		log_error("node %s cannot register: %s", a->node_name, o->error->text);
		return;
	}
	if (!a->registered)
		log_info("node %s is ready", a->node_name);
	a->registered = true;
}

static void made(void *ctx, const struct outcome *o)
{
	struct node_agent *a = ctx;
	struct json *patch = json_new_object();

	if (o->error && o->error->kind != ERR_EXISTS)
		log_error("node %s cannot register: %s", a->node_name, o->error->text);
	json_set(patch, "status", status_of(a));
	client_patch(&a->client, &(struct client_target){nodes(), NULL, a->node_name, "status"},
		     PATCH_MERGE, patch, NULL, registered, a);
}

void node_register(struct node_agent *a)
{
	struct json *node = json_new_object(), *meta = json_new_object();

	json_set_text(meta, "name", a->node_name);
	json_set(meta, "labels", labels_of(a));
	json_set(node, "metadata", meta);
	client_create(&a->client, &(struct client_target){nodes(), NULL}, node, NULL, made, a);
	node_beat(a);
}

/* -- the lease --------------------------------------------------------------------------------- */

static struct json *lease_of(const struct node_agent *a)
{
	struct json *lease = json_new_object(), *meta = json_new_object(),
		    *spec = json_new_object();
	char now[RFC3339_CHARS + 1];

	json_set_text(meta, "name", a->node_name);
	json_set(lease, "metadata", meta);
	json_set_text(spec, "holderIdentity", a->node_name);
	json_set_i64(spec, "leaseDurationSeconds", LEASE_SECONDS);
	json_set_text(spec, "renewTime", rfc3339_micros(world_now_ns(a->world), now));
	json_set(lease, "spec", spec);
	return lease;
}

/* Whether it was given up meanwhile, as one that does not answer. */
static bool is_given_up(const struct node_agent *a)
{
	const struct object *o = a->registered ? informer_get(a->nodes, NULL, a->node_name) : NULL;
	const struct json *status = o ? json_get(object_tree(o), "status") : NULL;
	const struct json *ready = json_find(json_get(status, "conditions"), "type", "Ready");

	return ready && !text_eq(json_get_text(ready, "status"), "True");
}

void node_beat(void *arg)
{
	struct node_agent *a = arg;
	const struct kind *k = kind_of_resource("coordination.k8s.io", "v1", "leases");

	client_update(&a->client, &(struct client_target){k, "kube-node-lease", a->node_name},
		      lease_of(a), &(struct write_options){.upsert = true}, NULL, NULL);
	if (is_given_up(a))
		made(a, &(struct outcome){.error = NULL});
}
