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

/*
 * Disk usage is measured on a pool thread from paths; meanwhile containers come and go, so the
 * views are made after it, and take what was measured by name.
 */
struct usage {
	struct user *user;
	engine_measured *done;
	void *ctx;
	struct arena arena;
	char **paths; /* upper directories of containers, then mountpoints of volumes */
	char **names; /* their ids and names */
	int64_t *bytes;
	size_t n;
	char *containers; /* <root>/container */
	int64_t logs_bytes;
	struct err error;
};

static void usage_work(void *arg)
{
	struct usage *x = arg;

	for (size_t i = 0; i < x->n; i++) {
		x->bytes[i] = tree_size(x->paths[i]);
		x->logs_bytes += logs_size(x->containers, x->names[i]);
	}
}

static void usage_add(struct usage *x, const char *name, const char *path)
{
	x->names[x->n] = arena_dup_text(&x->arena, name);
	x->paths[x->n++] = arena_dup_text(&x->arena, path);
}

static int64_t usage_of(const struct usage *x, const char *name)
{
	for (size_t i = 0; i < x->n; i++)
		if (text_eq(x->names[i], name))
			return x->bytes[i];
	return 0;
}

static int64_t image_bytes(struct user *u, const char *id)
{
	auto_image struct image *i = NULL;
	struct err ignored = {0};

	return image_find(u->engine->images, id, &i, &ignored) >= 0 ? i->size_bytes : 0;
}

static int usage_views(struct usage *x, struct disk_usage *d)
{
	struct user *u = x->user;
	struct list_options all = {.all = true};
	struct filters none = {0};
	struct container_view **views;
	struct image_usage images;

	image_usage(u->engine->images, &images);
	d->layers_bytes = images.layer_bytes;
	d->logs_bytes = x->logs_bytes;
	if (engine_list(u, &all, &x->arena, &views, &d->containers_n, &x->error) < 0 ||
	    engine_images(u, true, &none, &x->arena, &d->images, &d->images_n, &x->error) < 0 ||
	    engine_volumes(u, &none, &x->arena, &d->volumes, &d->volumes_n, &x->error) < 0)
		return -ERR_INTERNAL;
	d->containers = arena_new_array(&x->arena, struct container_usage, d->containers_n + 1);
	for (size_t i = 0; i < d->containers_n; i++) {
		struct container_usage *c = &d->containers[i];

		c->view = views[i];
		c->sizes.rw_bytes = usage_of(x, views[i]->id);
		c->sizes.root_bytes = c->sizes.rw_bytes + image_bytes(u, views[i]->image_id);
	}
	for (size_t i = 0; i < d->volumes_n; i++)
		d->volumes[i]->size_bytes = usage_of(x, d->volumes[i]->name);
	return 0;
}

static void usage_done(void *arg)
{
	struct usage *x = arg;
	struct disk_usage d = {0};

	if (usage_views(x, &d) < 0)
		x->done(x->ctx, NULL, &x->error);
	else
		x->done(x->ctx, &d, NULL);
	arena_done(&x->arena);
	free(x);
}

void engine_disk_usage(struct user *u, engine_measured *done, void *ctx)
{
	struct usage *x = mem_new(struct usage);
	struct arena *a = &x->arena;
	struct volume *v = NULL;
	size_t room = u->engine->workloads.count;

	while ((v = volume_next(u->engine->volumes, v)) != NULL)
		room++;
	x->user = u;
	x->done = done;
	x->ctx = ctx;
	x->containers = engine_path(u->engine, a, "container");
	x->names = arena_new_array(a, char *, room + 1);
	x->paths = arena_new_array(a, char *, room + 1);
	x->bytes = arena_new_array(a, int64_t, room + 1);
	map_each (&u->engine->workloads, it) {
		struct workload *w = it->value;
		struct keeper_orders root = {0};

		workload_root_orders(w, a, &root);
		if (w->owner == u->owner && !w->hidden)
			usage_add(x, w->id, root.upper ? root.upper : root.root_path);
	}
	while ((v = volume_next(u->engine->volumes, v)) != NULL)
		usage_add(x, volume_spec(v)->name, volume_path(v));
	loop_job(u->engine->loop, usage_work, usage_done, x);
}
