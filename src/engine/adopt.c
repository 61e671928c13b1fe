/*
 * Starting is recovering: records are read, running keepers found again, dead ones buried,
 * half-made things removed, networks made what they should be, restart policies applied; then the
 * engine is ready.
 *
 *	record says runs	keeper lives	-> adopted; its state tells what happened meanwhile
 *				keeper is gone	-> buried: exit record, or 137 "supervisor killed";
 *						   then the restart policy
 *	record says stopped	keeper lives	-> it started, we died before the record: adopted,
 *						   too (one that still waits for `go` is sent away)
 *	no record		keeper lives	-> killed
 *				directory	-> removed
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"
#include "ground/linux/cgroup.h"
#include "virt/keeper/record.h"
#include "virt/keeper/restart.h"

#define CGROUP_LEAVE_MS 2000

/* -- burying ----------------------------------------------------------------------------------- */

struct burial {
	struct engine *engine;
	struct workload *workload; /* NULL: nobody's */
	char *run_dir, *container_dir, *cgroup_path;
	struct arena arena;
	struct exit_record record;
	bool has_record;
	struct err error;
};

static void recovered_one(struct engine *g)
{
	assert(g->recovering > 0);
	if (--g->recovering == 0 && g->ready) {
		engine_done *ready = g->ready;

		g->ready = NULL;
		log_info("serving: %zu containers, %zu of them running", g->workloads.count,
			 engine_running(g));
		ready(g->ready_ctx, NULL);
	}
}

static void bury_work(void *arg)
{
	struct burial *b = arg;
	struct err missing = {0};

	if (keeper_bury(b->run_dir, b->container_dir, &b->error) < 0)
		return;
	/* Killed before it wrote down its cgroups, it leaves them to us by their path. */
	if (cgroup_sweep(b->cgroup_path, CGROUP_LEAVE_MS, &missing) < 0)
		log_warn("%s", missing.text);
	err_clear(&missing);
	b->has_record = b->workload &&
			exit_record_read(b->container_dir, &b->arena, &b->record, &missing) >= 0;
}

/* The run the record tells of is the one that we knew, or a later one; an older end says nothing.
 */
static bool tells_of_this_run(const struct workload *w, const struct exit_record *r)
{
	return r->started_at_ns >= w->started_ns || r->finished_at_ns >= w->started_ns;
}

static struct keeper_died died_of(const struct workload *w, const struct burial *b)
{
	const struct exit_record *r = &b->record;

	if (!b->has_record || !tells_of_this_run(w, r) || r->restarting)
		return (struct keeper_died){.exit_code = 137,
					    .signal = SIGKILL,
					    .started_at_ns = w->started_ns,
					    .finished_at_ns = world_now_ns(w->engine->world),
					    .sentence = (char *)"supervisor killed"};
	return (struct keeper_died){
		.exit_code = r->exit_code,
		.signal = r->signal,
		.oom_killed = r->oom_killed,
		.stopped = r->stopped && !r->supervisor_killed,
		.started_at_ns = r->started_at_ns,
		.finished_at_ns = r->finished_at_ns,
		.restart_count = r->restart_count,
		.sentence = r->sentence,
	};
}

static void restart_due(void *arg)
{
	struct workload *w = as_workload(arg);

	w->restart_planned = false;
	if (w->state == WORKLOAD_EXITED && !w->starting && !w->removing)
		workload_start(w, NULL, NULL);
}

/* A keeper restarts its container by itself; only when it was killed the policy is ours. */
static bool plan_restart(struct workload *w, const struct keeper_died *d)
{
	struct restart r = {
		.policy = restart_policy_of(&w->request.host),
		.max = (uint32_t)w->request.host.restart.maximum_retry_count,
		.count = (uint32_t)w->restart_count,
	};
	int64_t delay_ns = 0;

	if (w->removing || w->stopped_by_user ||
	    !restart_next(&r, d->exit_code, d->stopped, d->finished_at_ns - d->started_at_ns,
			  &delay_ns))
		return false;
	w->restart_count = (int)r.count;
	if (!w->restart_timer)
		w->restart_timer = loop_timer_new(w->engine->loop, restart_due, w);
	w->restart_planned = true;
	loop_timer_set(w->restart_timer, delay_ns / 1000000, 0);
	return true;
}

static void buried(void *arg)
{
	struct burial *b = arg;
	struct engine *g = b->engine;
	struct workload *w = b->workload;
	bool first = w && w->recovering;

	if (b->error.kind)
		log_error("container %s: %s", b->run_dir, b->error.text);
	if (w && !workload_runs(w))
		unplug_all(w);
	if (w && workload_runs(w)) {
		struct keeper_died d = died_of(w, b);
		bool by_keeper =
			b->has_record && !b->record.supervisor_killed && !b->record.restarting;

		workload_ended(w, &d);
		if (!by_keeper)
			(void)plan_restart(w, &d);
	}
	if (w)
		w->recovering = false;
	if (first || !w)
		recovered_one(g);
	arena_done(&b->arena);
	free(b->run_dir);
	free(b->container_dir);
	free(b->cgroup_path);
	free(b);
}

static void bury(struct engine *g, struct workload *w, const char *run_dir,
		 const char *container_dir)
{
	struct burial *b = mem_new(struct burial);

	b->engine = g;
	b->workload = w;
	b->run_dir = mem_dup_text(run_dir);
	b->container_dir = mem_dup_text(container_dir);
	b->cgroup_path =
		w ? mem_dup_text(oci_cgroup_path(w, &b->arena))
		  : mem_printf("/hull-%s/%s", network_host_tag(g->net), strrchr(run_dir, '/') + 1);
	loop_job(g->loop, bury_work, buried, b);
}

void adopt_bury(struct workload *w)
{
	bury(w->engine, w, w->run_dir, w->dir);
}

/* -- adopting ---------------------------------------------------------------------------------- */

static void adopted(struct workload *w)
{
	if (w->recovering) {
		w->recovering = false;
		recovered_one(w->engine);
	}
}

/* The keeper's first word on a new connection; the news we missed follow as events. */
void adopt_state(void *ctx, const struct keeper_state *s)
{
	struct workload *w = as_workload(ctx);

	health_set(w, s->health, s->health_streak);
	switch ((enum keeper_phase)s->phase) {
	case KEEPER_PREPARING:
		keeper_forget(w->keeper);
		unplug_all(w);
		if (workload_runs(w))
			w->state = w->started_once ? WORKLOAD_EXITED : WORKLOAD_CREATED;
		break;
	case KEEPER_CREATING:
	case KEEPER_RUNNING:
	case KEEPER_PAUSED:
		workload_started(w, &s->started);
		if (s->phase == KEEPER_PAUSED)
			w->state = WORKLOAD_PAUSED;
		exec_adopt(w, s);
		workload_save(w, NULL, NULL);
		break;
	case KEEPER_RESTARTING:
		w->state = WORKLOAD_RESTARTING;
		break;
	case KEEPER_ENDED:
		if (!workload_runs(w))
			w->state = WORKLOAD_RUNNING;
		if (s->has_died)
			workload_ended(w, &s->died);
		else
			workload_ended(w,
				       &(struct keeper_died){
					       .exit_code = s->has_fault ? s->fault.exit_code : 137,
					       .finished_at_ns = world_now_ns(w->engine->world),
					       .sentence = s->fault.text});
		break;
	}
	adopted(w);
}

static void adopt(struct workload *w, bool was_running)
{
	struct engine *g = w->engine;
	struct err e = {0};

	g->recovering++;
	w->recovering = true;
	plug_load(w);
	if (keeper_adopt(g->loop, w->run_dir, &workload_keeper_events, w, &w->keeper, &e) >= 0)
		return;
	log_debug("container %.12s: %s", w->id, e.text);
	if (was_running || workload_runs(w)) {
		bury(g, w, w->run_dir, w->dir);
		return;
	}
	unplug_all(w);
	bury(g, w, w->run_dir, w->dir);
}

/* -- reading records --------------------------------------------------------------------------- */

struct reading {
	struct engine *engine;
	struct err *e;
	int bad;
};

static void read_network(void *ctx, const char *key, struct str value)
{
	struct reading *r = ctx;
	auto_json struct json *j = NULL;
	struct network *n;
	struct err e = {0};

	if (json_parse(value, "network", &j, &e) < 0 || network_load(r->engine->net, j, &n, &e) < 0)
		log_error("network '%s' is left out: %s", key, e.text);
}

static void read_volume(void *ctx, const char *key, struct str value)
{
	struct reading *r = ctx;
	auto_json struct json *j = NULL;
	struct volume *v;
	struct err e = {0};

	if (json_parse(value, "volume", &j, &e) < 0 ||
	    volume_load(r->engine->volumes, j, &v, &e) < 0)
		log_error("volume '%s' is left out: %s", key, e.text);
}

static void read_container(void *ctx, const char *key, struct str value)
{
	struct reading *r = ctx;
	struct engine *g = r->engine;
	struct workload *w;
	struct err e = {0};

	if (workload_decode(g, key, value, &w, &e) < 0) {
		/* Its directory is kept: a newer or a mended release may read it. */
		log_error("container '%s' is left out: its record cannot be read: %s", key, e.text);
		map_put(&g->unreadable, key, g);
		return;
	}
	map_put(&g->workloads, w->id, w);
	map_put(&g->users[w->owner].names, w->name, w);
}

static void hold_layers(struct workload *w)
{
	auto_free char *who = mem_printf("container %.12s", w->id);
	struct err e = {0};

	if (!*w->image_id) /* a machine of its own disks */
		return;
	if (image_hold_id(w->engine->images, w->image_id, who, &w->lower, &w->hold, &e) < 0)
		log_warn("container %.12s cannot be started: %s", w->id, e.text);
}

static int default_networks(struct engine *g, struct err *e)
{
	static const char *const names[] = {"bridge", "host", "none"};
	char now[RFC3339_CHARS + 1];

	(void)rfc3339_text(world_now_ns(g->world), now);
	for (size_t i = 0; i < array_len(names); i++) {
		struct network_spec spec = {
			.name = (char *)names[i],
			.driver = (char *)names[i],
			.created = now,
			.owner = (char *)owner_name(OWNER_DOCKER),
			.default_bridge = i == 0,
		};
		struct network *n;
		struct err missing = {0};

		if (network_find(g->net, names[i], &n, &missing) >= 0)
			continue;
		if (network_create(g->net, &spec, &n, e) < 0)
			return err_wrap(e, "cannot make the network '%s'", names[i]);
		engine_network_save(g, n, NULL, NULL);
	}
	return 0;
}

/* -- sweeping what a crash left ---------------------------------------------------------------- */

static bool is_id(const char *name)
{
	return strlen(name) == ENGINE_ID_HEX && strspn(name, "0123456789abcdef") == ENGINE_ID_HEX;
}

static void sweep(struct engine *g, const char *dir,
		  void (*strange)(struct engine *g, const char *id))
{
	auto_closedir DIR *d = opendir(dir);
	struct dirent *entry;

	while (d && (entry = readdir(d)) != NULL)
		if (is_id(entry->d_name) && !map_get(&g->workloads, entry->d_name) &&
		    !map_get(&g->unreadable, entry->d_name))
			strange(g, entry->d_name);
}

static void strange_directory(struct engine *g, const char *id)
{
	log_info("removing container %.12s, which was never finished or is half removed", id);
	workload_remove_files(g, id, NULL, NULL);
}

/* Where a container that nobody knows stood on the networks. */
static void strange_endpoint(struct engine *g, const char *id)
{
	auto_free char *path = mem_printf("%s/endpoint/%s", g->run, id);

	(void)unlink(path);
}

/* A keeper without a record: its container must not run. */
static void strange_keeper(struct engine *g, const char *id)
{
	auto_free char *run_dir = mem_printf("%s/keeper/%s", g->run, id);
	auto_free char *dir = mem_printf("%s/container/%s", g->root, id);
	auto_arena struct arena a = {0};
	struct keeper_record r;
	struct err e = {0};

	log_info("ending the supervisor of container %.12s, which nobody knows", id);
	if (keeper_record_read(run_dir, &a, &r, &e) >= 0 && keeper_record_lives(&r) && r.pid > 1)
		(void)kill((pid_t)r.pid, SIGKILL);
	g->recovering++;
	bury(g, NULL, run_dir, dir);
}

/* -- all of it --------------------------------------------------------------------------------- */

static void boot_restart(struct workload *w)
{
	uint32_t policy = restart_policy_of(&w->request.host);

	if (w->state != WORKLOAD_EXITED || w->starting || w->removing || w->restart_planned)
		return;
	if (policy == KEEPER_RESTART_ALWAYS ||
	    (policy == KEEPER_RESTART_UNLESS_STOPPED && !w->stopped_by_user))
		workload_start(w, NULL, NULL);
}

/* Everything that lives was heard of: now policies, and what was to be removed. */
static void finish_recovery(void *arg)
{
	struct engine *g = arg;

	map_each (&g->workloads, it) {
		struct workload *w = it->value;

		if (w->state == WORKLOAD_REMOVING ||
		    (w->state == WORKLOAD_EXITED && w->request.host.auto_remove && !w->removing))
			workload_remove(w, true, NULL, NULL);
		else if (!w->was_running)
			boot_restart(w);
	}
	recovered_one(g);
}

int adopt_all(struct engine *g, struct err *e)
{
	struct reading r = {g, e, 0};
	struct err warn = {0};
	auto_free char *containers = mem_printf("%s/container", g->root);
	auto_free char *endpoints = mem_printf("%s/endpoint", g->run);
	auto_free char *keepers = mem_printf("%s/keeper", g->run);

	g->recovering = 1; /* this function itself */
	record_each(g->records, "network", read_network, &r);
	record_each(g->records, "volume", read_volume, &r);
	record_each(g->records, "container", read_container, &r);
	if (default_networks(g, e) < 0)
		return -ERR_INTERNAL;
	if (volume_sweep(g->volumes, &warn) < 0)
		log_warn("%s", warn.text);
	sweep(g, endpoints, strange_endpoint);
	sweep(g, keepers, strange_keeper);
	sweep(g, containers, strange_directory);
	erofs_sweep(g);
	exec_read_all(g);
	map_each (&g->workloads, it) {
		struct workload *w = it->value;

		hold_layers(w);
		w->was_running = workload_runs(w);
		if (w->was_running || access(w->run_dir, F_OK) == 0)
			adopt(w, w->was_running);
		else
			strange_endpoint(g, w->id);
	}
	record_each(g->records, "sandbox", sandbox_adopt, g);
	if (network_reconcile(g->net, &warn) < 0)
		log_error("the networks are not all as they should be: %s", warn.text);
	loop_defer(g->loop, finish_recovery, g);
	return 0;
}

size_t engine_running(const struct engine *g)
{
	size_t n = 0;

	map_each (&g->workloads, it)
		n += workload_runs(it->value);
	return n;
}
