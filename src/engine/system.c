/*
 * The node: what it is, what it holds, how much room that takes.
 */
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/engine_priv.h"
#include "engine/tree_size.h"
#include "ground/linux/cgroup.h"

static void count_containers(const struct user *u, struct system_info *s)
{
	map_each (&u->engine->workloads, it) {
		const struct workload *w = it->value;

		if (w->owner != u->owner || w->hidden)
			continue;
		s->containers++;
		s->running += w->state == WORKLOAD_RUNNING || w->state == WORKLOAD_RESTARTING;
		s->paused += w->state == WORKLOAD_PAUSED;
	}
	s->stopped = s->containers - s->running - s->paused;
}

static const char *operating_system(struct arena *a)
{
	auto_fclose FILE *f = fopen("/etc/os-release", "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		struct str value = str_trim(str_of(line));

		if (!str_starts(value, "PRETTY_NAME="))
			continue;
		value.p += strlen("PRETTY_NAME=");
		value.n -= strlen("PRETTY_NAME=");
		if (value.n > 1 && value.p[0] == '"') {
			value.p++;
			value.n -= 2;
		}
		return arena_dup(a, value);
	}
	return "Linux";
}

static bool has_controller(const char *name)
{
	auto_fclose FILE *f = fopen("/proc/cgroups", "re");
	char line[256], found[64];
	int hierarchy, groups, enabled;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %d %d %d", found, &hierarchy, &groups, &enabled) == 4 &&
		    text_eq(found, name))
			return enabled;
	return false;
}

static bool forwards(void)
{
	auto_fclose FILE *f = fopen("/proc/sys/net/ipv4/ip_forward", "re");

	return f && fgetc(f) == '1';
}

void engine_info(struct user *u, struct arena *a, struct system_info **ret)
{
	static char *const security[] = {"name=seccomp,profile=builtin", NULL};
	struct engine *g = u->engine;
	struct system_info *s = arena_new(a, struct system_info);
	struct image_usage usage;
	struct utsname name = {0};
	struct sysinfo host = {0};
	char hostname[256] = "";

	(void)uname(&name);
	(void)sysinfo(&host);
	(void)gethostname(hostname, sizeof(hostname) - 1);
	image_usage(g->images, &usage);
	*s = (struct system_info){
		.id = g->id,
		.name = arena_dup_text(a, hostname),
		.kernel_version = arena_dup_text(a, name.release),
		.operating_system = operating_system(a),
		.architecture = arena_dup_text(a, name.machine),
		.root_dir = g->root,
		.driver = image_overlay_works(g->images) ? "overlay2" : "copy",
		.cgroup_driver = "cgroupfs",
		.cgroup_version =
			access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? "2" : "1",
		.images = (int)usage.images,
		.cpus = get_nprocs(),
		.memory_bytes = (int64_t)host.totalram * host.mem_unit,
		.memory_limit = has_controller("memory"),
		.swap_limit = has_controller("memory"),
		.cpu_quota = has_controller("cpu"),
		.cpu_shares = has_controller("cpu"),
		.cpuset = has_controller("cpuset"),
		.pids_limit = has_controller("pids"),
		.blkio = has_controller("blkio"),
		.oom_kill_disable = has_controller("memory"),
		.ipv4_forwarding = forwards(),
		.debug = g->debug,
		.event_listeners = events_listeners(g->events),
		.now_ns = world_now_ns(g->world),
		.insecure_registries = g->insecure,
		.mirrors = g->mirrors,
		.security_options = security,
		.init_binary = "hull-init",
	};
	count_containers(u, s);
	*ret = s;
}

/* -- disk usage
 * ---------------------------------------------------------------------------------------- */

struct usage {
	struct user *user;
	engine_measured *done;
	void *ctx;
	struct arena arena;
	struct disk_usage result;
	char **uppers, **logs; /* of each container */
	struct err error;
};

static void usage_work(void *arg)
{
	struct usage *x = arg;

	for (size_t i = 0; i < x->result.containers_n; i++) {
		struct container_usage *c = &x->result.containers[i];

		c->sizes.rw_bytes = tree_size(x->uppers[i]);
		c->sizes.root_bytes += c->sizes.rw_bytes;
		x->result.logs_bytes += tree_size(x->logs[i]);
	}
	for (size_t i = 0; i < x->result.volumes_n; i++)
		x->result.volumes[i]->size_bytes = tree_size(x->result.volumes[i]->mountpoint);
}

static void usage_done(void *arg)
{
	struct usage *x = arg;

	x->done(x->ctx, x->error.kind ? NULL : &x->result, x->error.kind ? &x->error : NULL);
	arena_done(&x->arena);
	free(x);
}

static int64_t image_bytes(struct user *u, const char *id)
{
	auto_image struct image *i = NULL;
	struct err ignored = {0};

	return image_find(u->engine->images, id, &i, &ignored) >= 0 ? i->size_bytes : 0;
}

/* The views outlive this turn here: what they borrow from the engine is copied by value or lives as
 * long. */
static int usage_collect(struct usage *x)
{
	struct user *u = x->user;
	struct list_options all = {.all = true};
	struct filters none = {0};
	struct container_view **views;
	struct arena *a = &x->arena;
	size_t n;

	if (engine_list(u, &all, a, &views, &n, &x->error) < 0 ||
	    engine_images(u, true, &none, a, &x->result.images, &x->result.images_n, &x->error) <
		    0 ||
	    engine_volumes(u, &none, a, &x->result.volumes, &x->result.volumes_n, &x->error) < 0)
		return -ERR_INTERNAL;
	x->result.containers = arena_new_array(a, struct container_usage, n + 1);
	x->result.containers_n = n;
	x->uppers = arena_new_array(a, char *, n + 1);
	x->logs = arena_new_array(a, char *, n + 1);
	for (size_t i = 0; i < n; i++) {
		x->result.containers[i].view = views[i];
		x->result.containers[i].sizes.root_bytes = image_bytes(u, views[i]->image_id);
		x->uppers[i] = arena_dup_text(a, views[i]->upper_dir);
		x->logs[i] = arena_printf(a, "%s/container/%s/logs", u->engine->root, views[i]->id);
	}
	return 0;
}

void engine_disk_usage(struct user *u, engine_measured *done, void *ctx)
{
	struct usage *x = mem_new(struct usage);
	struct image_usage images;

	x->user = u;
	x->done = done;
	x->ctx = ctx;
	image_usage(u->engine->images, &images);
	x->result.layers_bytes = images.layer_bytes;
	if (usage_collect(x) < 0)
		loop_defer(u->engine->loop, usage_done, x);
	else
		loop_job(u->engine->loop, usage_work, usage_done, x);
}
