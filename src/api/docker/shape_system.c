/*
 * The node as JSON: version and info.
 */
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/rfc3339.h"

#define API_VERSION	"1.51"
#define API_VERSION_MIN "1.24"

/* Go's name of a machine, which Docker's clients expect. */
static const char *go_architecture(const char *machine)
{
	static const struct {
		const char *machine, *go;
	} names[] = {
		{"x86_64", "amd64"},	{"aarch64", "arm64"},	{"armv7l", "arm"},  {"i686", "386"},
		{"riscv64", "riscv64"}, {"ppc64le", "ppc64le"}, {"s390x", "s390x"},
	};

	for (size_t i = 0; i < array_len(names); i++)
		if (text_eq(names[i].machine, machine))
			return names[i].go;
	return machine;
}

struct json *shape_version(const struct system_info *s)
{
	struct json *j = json_new_object();
	struct json *platform = json_new_object();
	struct json *components = json_new_array();
	struct json *engine = json_new_object();
	struct json *details = json_new_object();
	const char *arch = go_architecture(s->architecture);

	json_set_text(platform, "Name", "Hull");
	json_set_text(details, "ApiVersion", API_VERSION);
	json_set_text(details, "MinAPIVersion", API_VERSION_MIN);
	json_set_text(details, "Arch", arch);
	json_set_text(details, "Os", "linux");
	json_set_text(details, "KernelVersion", s->kernel_version);
	json_set_text(details, "Experimental", "false");
	json_set_text(engine, "Name", "Engine");
	json_set_text(engine, "Version", HULL_VERSION);
	json_set(engine, "Details", details);
	json_append(components, engine);

	json_set(j, "Platform", platform);
	json_set(j, "Components", components);
	json_set_text(j, "Version", HULL_VERSION);
	json_set_text(j, "ApiVersion", API_VERSION);
	json_set_text(j, "MinAPIVersion", API_VERSION_MIN);
	json_set_text(j, "GitCommit", "");
	json_set_text(j, "GoVersion", "");
	json_set_text(j, "Os", "linux");
	json_set_text(j, "Arch", arch);
	json_set_text(j, "KernelVersion", s->kernel_version);
	json_set_text(j, "BuildTime", "");
	return j;
}

static struct json *list_of(const char *const *names, size_t n)
{
	struct json *j = json_new_array();

	for (size_t i = 0; i < n; i++)
		json_append(j, json_new_text(names[i]));
	return j;
}

static struct json *plugins_json(void)
{
	static const char *const volume[] = {"local"};
	static const char *const network[] = {"bridge", "host", "null"};
	static const char *const log[] = {"json-file", "local", "none"};
	struct json *j = json_new_object();

	json_set(j, "Volume", list_of(volume, array_len(volume)));
	json_set(j, "Network", list_of(network, array_len(network)));
	json_set(j, "Authorization", NULL);
	json_set(j, "Log", list_of(log, array_len(log)));
	return j;
}

static struct json *runtimes_json(void)
{
	static const char *const names[] = {"hull", "runc"};
	struct json *j = json_new_object();

	for (size_t i = 0; i < array_len(names); i++) {
		struct json *row = json_new_object();

		json_set_text(row, "path", "hull-keeper");
		json_set(j, names[i], row);
	}
	return j;
}

static struct json *registries_json(const struct system_info *s)
{
	struct json *j = json_new_object();
	struct json *cidrs = json_new_array();
	struct json *index = json_new_object();
	struct json *hub = json_new_object();

	json_append(cidrs, json_new_text("127.0.0.0/8"));
	json_set_text(hub, "Name", "docker.io");
	json_set(hub, "Mirrors", shape_texts(s->mirrors));
	json_set_bool(hub, "Secure", true);
	json_set_bool(hub, "Official", true);
	json_set(index, "docker.io", hub);
	for (size_t i = 0; s->insecure_registries && s->insecure_registries[i]; i++) {
		struct json *row = json_new_object();

		json_set_text(row, "Name", s->insecure_registries[i]);
		json_set(row, "Mirrors", json_new_array());
		json_set_bool(row, "Secure", false);
		json_set_bool(row, "Official", false);
		json_set(index, s->insecure_registries[i], row);
	}
	json_set(j, "InsecureRegistryCIDRs", cidrs);
	json_set(j, "IndexConfigs", index);
	json_set(j, "Mirrors", shape_texts(s->mirrors));
	return j;
}

static void set_counts(struct json *j, const struct system_info *s)
{
	json_set_i64(j, "Containers", s->containers);
	json_set_i64(j, "ContainersRunning", s->running);
	json_set_i64(j, "ContainersPaused", s->paused);
	json_set_i64(j, "ContainersStopped", s->stopped);
	json_set_i64(j, "Images", s->images);
}

static void set_abilities(struct json *j, const struct system_info *s)
{
	json_set_bool(j, "MemoryLimit", s->memory_limit);
	json_set_bool(j, "SwapLimit", s->swap_limit);
	json_set_bool(j, "CpuCfsPeriod", s->cpu_quota);
	json_set_bool(j, "CpuCfsQuota", s->cpu_quota);
	json_set_bool(j, "CPUShares", s->cpu_shares);
	json_set_bool(j, "CPUSet", s->cpuset);
	json_set_bool(j, "PidsLimit", s->pids_limit);
	json_set_bool(j, "IPv4Forwarding", s->ipv4_forwarding);
	json_set_bool(j, "OomKillDisable", s->oom_kill_disable);
	json_set_bool(j, "Debug", s->debug);
	json_set_bool(j, "ExperimentalBuild", false);
	json_set_bool(j, "LiveRestoreEnabled", true);
}

static void set_host(struct json *j, const struct system_info *s)
{
	char time[RFC3339_CHARS + 1];

	json_set_i64(j, "NFd", s->descriptors);
	json_set_i64(j, "NGoroutines", 0);
	json_set_i64(j, "NEventsListener", s->event_listeners);
	json_set_text(j, "SystemTime", rfc3339_text(s->now_ns, time));
	json_set_text(j, "KernelVersion", s->kernel_version);
	json_set_text(j, "OperatingSystem", s->operating_system);
	json_set_text(j, "OSVersion", "");
	json_set_text(j, "OSType", "linux");
	json_set_text(j, "Architecture", s->architecture);
	json_set_i64(j, "NCPU", s->cpus);
	json_set_i64(j, "MemTotal", s->memory_bytes);
	json_set_text(j, "Name", s->name);
	json_set_text(j, "DockerRootDir", s->root_dir);
}

static void set_empty(struct json *j)
{
	static const char *const commits[] = {"ContainerdCommit", "RuncCommit", "InitCommit"};
	struct json *swarm = json_new_object();

	for (size_t i = 0; i < array_len(commits); i++) {
		struct json *commit = json_new_object();

		json_set_text(commit, "ID", "");
		json_set(j, commits[i], commit);
	}
	json_set_text(swarm, "NodeID", "");
	json_set_text(swarm, "NodeAddr", "");
	json_set_text(swarm, "LocalNodeState", "inactive");
	json_set_bool(swarm, "ControlAvailable", false);
	json_set_text(swarm, "Error", "");
	json_set(swarm, "RemoteManagers", NULL);
	json_set(j, "Swarm", swarm);
	json_set(j, "GenericResources", NULL);
	json_set(j, "Labels", json_new_array());
	json_set_text(j, "HttpProxy", "");
	json_set_text(j, "HttpsProxy", "");
	json_set_text(j, "NoProxy", "");
	json_set_text(j, "Isolation", "");
}

struct json *shape_info(const struct system_info *s)
{
	struct json *j = json_new_object();

	json_set_text(j, "ID", s->id);
	set_counts(j, s);
	json_set_text(j, "Driver", s->driver);
	json_set(j, "DriverStatus", json_new_array());
	json_set(j, "Plugins", plugins_json());
	set_abilities(j, s);
	set_host(j, s);
	json_set_text(j, "LoggingDriver", "json-file");
	json_set_text(j, "CgroupDriver", s->cgroup_driver);
	json_set_text(j, "CgroupVersion", s->cgroup_version);
	json_set_text(j, "IndexServerAddress", "https://index.docker.io/v1/");
	json_set(j, "RegistryConfig", registries_json(s));
	json_set_text(j, "ServerVersion", HULL_VERSION);
	json_set(j, "Runtimes", runtimes_json());
	json_set_text(j, "DefaultRuntime", "hull");
	json_set_text(j, "InitBinary", s->init_binary ? s->init_binary : "");
	json_set(j, "SecurityOptions", shape_texts(s->security_options));
	set_empty(j);
	json_set(j, "Warnings", s->warnings && s->warnings[0] ? json_new_texts(s->warnings) : NULL);
	return j;
}
