/*
 * Removing a container. The record goes first (then it does not exist for anybody, also after a
 * crash: the start sweeps directories without a record), its files after that, and only then the
 * client is told, so that "removed" means the room is free again.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"
#include "ground/linux/cgroup.h"

#define DEPTH_MAX	4096
#define CGROUP_LEAVE_MS 1000

/* Removes a tree below a directory, by descriptor and never through a link. Best effort: what
 * cannot be removed is tried again at the next start. */
static int remove_tree(int parent, const char *name, int depth)
{
	auto_close int fd = -1;
	auto_closedir DIR *dir = NULL;
	struct dirent *d;
	int bad = 0;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if ((errno != EISDIR && errno != EPERM) || depth > DEPTH_MAX)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	fd = -1; /* dir's now */
	while ((d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			bad = remove_tree(dirfd(dir), d->d_name, depth + 1) < 0 ? -EIO : bad;
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : bad;
}

struct file_removal {
	struct engine *engine;
	char *parent, *shm, *keeper, *cgroup;
	char id[ENGINE_ID_HEX + 1];
	engine_done *done;
	void *ctx;
	struct err error;
};

static void remove_below(const char *parent, const char *name)
{
	auto_close int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)remove_tree(fd, name, 0);
}

/*
 * The container's directory, the shared memory it offered to others, and what a keeper that was
 * killed before its first word left in the run directory and among the cgroups.
 */
static void remove_work(void *arg)
{
	struct file_removal *r = arg;
	struct err left = {0};
	auto_close int parent = open(r->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int bad;

	if (parent < 0)
		return;
	bad = remove_tree(parent, r->id, 0);
	if (bad < 0) {
		errno = -bad;
		(void)err_sys(&r->error, "cannot remove '%s/%s'", r->parent, r->id);
	}
	remove_below(r->shm, r->id);
	remove_below(r->keeper, r->id);
	if (cgroup_sweep(r->cgroup, CGROUP_LEAVE_MS, &left) < 0)
		log_debug("%s", left.text);
}

static void remove_done(void *arg)
{
	struct file_removal *r = arg;

	if (r->error.kind)
		log_warn("%s; it is tried again at the next start", r->error.text);
	if (r->done)
		r->done(r->ctx, NULL);
	free(r->parent);
	free(r->shm);
	free(r->keeper);
	free(r->cgroup);
	free(r);
}

void workload_remove_files(struct engine *g, const char *id, engine_done *done, void *ctx)
{
	struct file_removal *r = mem_new(struct file_removal);

	assert(strlen(id) <= ENGINE_ID_HEX);
	r->engine = g;
	r->parent = mem_printf("%s/container", g->root);
	r->shm = mem_printf("%s/shm", g->run);
	r->keeper = mem_printf("%s/keeper", g->run);
	r->cgroup = mem_printf("/hull-%s/%s", network_host_tag(g->net), id);
	memcpy(r->id, id, strlen(id) + 1);
	r->done = done;
	r->ctx = ctx;
	loop_job(g->loop, remove_work, remove_done, r);
}

struct removal {
	struct workload *workload;
	struct engine *engine;
	bool volumes;
	engine_done *done;
	void *ctx;
	struct err error;
};

/* Anonymous volumes go with their container when it was asked for (--rm, -v) and nobody else has
 * them. */
static void remove_volumes(struct workload *w)
{
	for (size_t i = 0; i < w->mounts_n; i++) {
		struct volume *v;
		struct err ignored = {0};
		auto_free char *name = NULL;

		if (w->mounts[i].kind != VOLUME_NAMED || !w->mounts[i].source ||
		    volume_find(w->engine->volumes, w->mounts[i].source, &v, &ignored) < 0 ||
		    !volume_spec(v)->anonymous || volume_users(v))
			continue;
		name = mem_dup_text(volume_spec(v)->name);
		if (volume_remove(w->engine->volumes, v, &ignored) < 0)
			continue;
		record_delete(w->engine->records, "volume", name, NULL, NULL);
		event_volume(w->engine, w->owner, "destroy", name);
	}
}

static void files_removed(void *ctx, const struct err *e)
{
	struct removal *r = ctx;
	struct workload *w = r->workload;

	event_container(w, "destroy", NULL);
	wait_removed(w);
	map_remove(&r->engine->workloads, w->id);
	(void)workload_free(w);
	if (r->done)
		r->done(r->ctx, NULL);
	free(r);
}

static void record_gone(void *ctx, const struct err *e)
{
	struct removal *r = ctx;
	struct workload *w = r->workload;

	if (e) {
		log_error("container %.12s: its record is not removed: %s", w->id, e->text);
		w->removing = false;
		w->state = WORKLOAD_DEAD;
		if (r->done)
			r->done(r->ctx, e);
		free(r);
		return;
	}
	if (map_get(&r->engine->users[w->owner].names, w->name) == w)
		map_remove(&r->engine->users[w->owner].names, w->name);
	w->hidden = true;
	mounts_release(w);
	if (r->volumes)
		remove_volumes(w);
	workload_remove_files(r->engine, w->id, files_removed, r);
}

/* The keeper has left: nobody writes into the container's directory any more. */
static void remove_record(struct workload *w)
{
	w->remove_when_lost = NULL;
	record_delete(w->engine->records, "container", w->id, record_gone, take(w->removal));
}

void workload_remove(struct workload *w, bool volumes, engine_done *done, void *ctx)
{
	struct removal *r = mem_new(struct removal);

	assert(!workload_runs(w));
	w->removing = true;
	w->state = WORKLOAD_REMOVING;
	r->workload = w;
	r->engine = w->engine;
	r->volumes = volumes;
	r->done = done;
	r->ctx = ctx;
	if (w->restart_timer)
		loop_timer_unset(w->restart_timer);
	attach_drop_all(w);
	exec_drop_all(w);
	w->removal = r;
	w->remove_when_lost = remove_record;
	if (w->keeper)
		keeper_forget(w->keeper);
	else
		remove_record(w);
}

/* -- the verb ------------------------------------------------------------------------------------
 */

static void refuse_now(void *arg)
{
	struct removal *r = arg;

	r->done(r->ctx, &r->error);
	free(r);
}

static void killed_then_remove(void *ctx, struct workload *w, const struct err *e)
{
	struct removal *r = ctx;

	workload_remove(w, r->volumes, r->done, r->ctx);
	free(r);
}

static void kill_sent(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	if (why)
		log_debug("kill for removal: %s", why->text);
}

static void kill_first(struct removal *r)
{
	struct workload *w = r->workload;

	w->removing = true;
	w->stopped_by_user = true;
	workload_on_end(w, killed_then_remove, r);
	if (w->keeper)
		keeper_stop(w->keeper, &(struct keeper_stop){.signal = SIGKILL, .timeout_s = 0},
			    (struct keeper_done){kill_sent, NULL});
}

/* A start under way has to come to its end first, whichever. */
static void start_then_remove(void *ctx, struct workload *w, const struct err *e)
{
	struct removal *r = ctx;

	if (workload_runs(w)) {
		kill_first(r);
		return;
	}
	workload_remove(w, r->volumes, r->done, r->ctx);
	free(r);
}

static void remove_checked(struct user *u, const char *ref, const struct remove_options *o,
			   struct removal *r)
{
	struct workload *w;

	if (workload_find(u, ref, &w, &r->error) < 0)
		return;
	r->workload = w;
	if (o->link)
		(void)err_set(&r->error, ERR_UNSUPPORTED, "removing a link is not supported");
	else if (w->removing)
		(void)err_set(&r->error, ERR_CONFLICT,
			      "removal of container %s is already in progress", ref);
	else if (workload_runs(w) && !o->force)
		(void)err_set(&r->error, ERR_CONFLICT,
			      "cannot remove container \"/%s\": container is %s: stop the "
			      "container before "
			      "removing or force remove",
			      w->name, workload_state_name(w->state));
}

void engine_remove(struct user *u, const char *ref, const struct remove_options *o,
		   engine_done *done, void *ctx)
{
	struct removal *r = mem_new(struct removal);

	assert(done);
	r->engine = u->engine;
	r->done = done;
	r->ctx = ctx;
	r->volumes = o->volumes;
	remove_checked(u, ref, o, r);
	if (r->error.kind) {
		loop_defer(u->engine->loop, refuse_now, r);
		return;
	}
	if (r->workload->starting) {
		r->workload->removing = true;
		workload_on_start(r->workload, start_then_remove, r);
	} else if (workload_runs(r->workload)) {
		kill_first(r);
	} else {
		workload_remove(r->workload, r->volumes, done, ctx);
		free(r);
	}
}
