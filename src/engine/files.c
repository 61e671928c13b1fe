/*
 * A container's files: copy in and out, export, commit, changes, sizes. Trees are packed and
 * unpacked by the image store's confined child; here is only which tree it is. A running
 * container's is the root of its first process, a stopped one's is its overlay. Export takes the
 * root alone, a copy also what is mounted there.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"
#include "engine/tree_size.h"
#include "ground/linux/process.h"
#include "virt/keeper/files.h"

/* One work on one container's tree. */
struct file_job {
	struct engine *engine;
	char id[ENGINE_ID_HEX + 1];
	struct image_task *task;
	struct arena arena;
	int root; /* of the running container, or -1 */
	struct stream *stream;
	engine_stat_found *stat;
	engine_done *done;
	engine_committed *committed;
	void *ctx;
	void (*then)(struct file_job *j); /* when the tree is there, or error is set */
	struct image_tree tree;
	struct files_query query;
	struct keeper_orders orders;
	struct archive_put_options put;
	const char *rename;
	struct image *image;
	struct json *config;
	char *path;
	int pipe;
	bool abandoned, paused;
	struct err error;
};

static struct file_job *job_new(struct user *u, void *ctx)
{
	struct file_job *j = mem_new(struct file_job);

	j->engine = u->engine;
	j->ctx = ctx;
	j->root = j->pipe = -1;
	return j;
}

static void job_free(struct file_job *j)
{
	(void)fd_close(j->root);
	(void)fd_close(j->pipe);
	(void)image_unref(j->image);
	j->config = json_free(j->config);
	arena_done(&j->arena);
	free(j->path);
	free(j);
}

static char **texts_in_arena(char *const *list, struct arena *a)
{
	size_t n = mem_count_texts(list);
	char **copy = list ? arena_new_array(a, char *, n + 1) : NULL;

	for (size_t i = 0; i < n; i++)
		copy[i] = arena_dup_text(a, list[i]);
	return copy;
}

/* The root of a running container through its first process, checked to be that very process. */
static int open_root(const struct workload *w, int *ret, struct err *e)
{
	auto_free char *path = mem_printf("/proc/%d/root", w->pid);
	auto_close int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "cannot enter the files of container '%s'", w->name);
	if (!process_alive(w->pid, (uint64_t)w->pid_start))
		return err_set(e, ERR_CONFLICT, "container '%s' ended just now; try again",
			       w->name);
	*ret = take_fd(&fd);
	return 0;
}

/* What a stopped container would see at its volumes' and binds' places. */
static void find_binds(struct workload *w, struct file_job *j)
{
	struct files_bind *binds = arena_new_array(&j->arena, struct files_bind, w->mounts_n + 1);

	for (size_t i = 0; i < w->mounts_n; i++) {
		const struct volume_mount *m = &w->mounts[i];
		const char *source = m->kind == VOLUME_BIND ? m->source : NULL;
		struct volume *v;
		struct err ignored = {0};

		if (m->kind == VOLUME_NAMED &&
		    volume_find(w->engine->volumes, m->source, &v, &ignored) >= 0)
			source = volume_path(v);
		if (source)
			binds[j->query.binds_n++] = (struct files_bind){
				.source = arena_dup_text(&j->arena, source),
				.target = arena_dup_text(&j->arena, m->target),
				.readonly = m->read_only,
			};
	}
	j->query.binds = binds;
}

static void tree_work(void *arg)
{
	struct file_job *j = arg;

	(void)!files_open(&j->query, &j->root, &j->error);
}

static void tree_ready(void *arg)
{
	struct file_job *j = arg;

	if (j->query.orders)
		j->tree.dirfd = j->root;
	j->then(j);
}

/* Its files are on disks of its own; what /proc shows of its process is the host. */
static int refuse_machine(const struct workload *w, struct err *e)
{
	if (!w->runtime->machine)
		return 0;
	return err_set(e, ERR_UNSUPPORTED,
		       "'%s' is a machine: its files can only be reached from inside", w->name);
}

static int tree_begin(struct user *u, const char *ref, struct file_job *j, struct err *e)
{
	struct workload *w;

	if (workload_find(u, ref, &w, e) < 0)
		return -ERR_NOT_FOUND;
	if (refuse_machine(w, e) < 0)
		return -ERR_UNSUPPORTED;
	memcpy(j->id, w->id, sizeof(j->id));
	if (w->pid && workload_runs(w)) {
		if (open_root(w, &j->root, e) < 0)
			return -ERR_SYSTEM;
		j->tree.dirfd = j->root;
		return 0;
	}
	workload_root_orders(w, &j->arena, &j->orders);
	if (!j->orders.root_path && !j->orders.lower)
		return err_set(e, ERR_GONE, "the layers of container '%s' are gone with its image",
			       w->name);
	j->orders.lower = texts_in_arena(j->orders.lower, &j->arena);
	if (w->mounts_n) {
		j->query.orders = &j->orders;
		j->query.keeper_path = engine_program(u->engine, &j->arena, "hull-keeper");
		find_binds(w, j);
		return 0;
	}
	if (j->orders.root_path) {
		j->root = open(j->orders.root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (j->root < 0)
			return err_sys(e, "cannot open '%s'", j->orders.root_path);
		j->tree.dirfd = j->root;
		return 0;
	}
	j->tree.lower = j->orders.lower;
	j->tree.upper = j->orders.upper;
	j->tree.work = j->orders.work;
	return 0;
}

/*
 * Finds the tree of a container, then calls then(): a running one is entered through its first
 * process, a stopped one with mounts is put together by files_open on a pool thread, one without is
 * mounted by the confined child itself.
 */
static void tree_of(struct user *u, const char *ref, struct file_job *j,
		    void (*then)(struct file_job *j))
{
	j->then = then;
	j->tree.dirfd = -1;
	if (!j->error.kind && tree_begin(u, ref, j, &j->error) >= 0 && j->query.orders)
		loop_job(u->engine->loop, tree_work, tree_ready, j);
	else
		loop_defer(u->engine->loop, tree_ready, j);
}

/* st_mode as Go's FileMode: type bits live at the top there. */
static uint32_t go_mode(uint32_t mode)
{
	static const struct {
		uint32_t type, go;
	} types[] = {
		{S_IFDIR, 1u << 31},  {S_IFLNK, 1u << 27}, {S_IFIFO, 1u << 25},
		{S_IFSOCK, 1u << 24}, {S_IFBLK, 1u << 26}, {S_IFCHR, 1u << 26 | 1u << 21},
	};
	uint32_t go = mode & 0777;

	for (size_t i = 0; i < array_len(types); i++)
		if ((mode & S_IFMT) == types[i].type)
			go |= types[i].go;
	go |= mode & S_ISUID ? 1u << 23 : 0;
	go |= mode & S_ISGID ? 1u << 22 : 0;
	go |= mode & S_ISVTX ? 1u << 20 : 0;
	return go;
}

static struct path_stat stat_of(const struct image_path_stat *s)
{
	return (struct path_stat){
		.name = s->name,
		.size = s->size_bytes,
		.mode = go_mode(s->mode),
		.mtime_ns = s->mtime_ns,
		.link_target = s->link_target,
	};
}

static void stat_found(void *ctx, const struct image_path_stat *s, const struct err *e)
{
	struct file_job *j = ctx;
	struct path_stat v = {0};

	if (!e)
		v = stat_of(s);
	j->stat(j->ctx, e ? NULL : &v, e);
	job_free(j);
}

static void stat_go(struct file_job *j)
{
	if (!j->error.kind &&
	    image_stat_start(j->engine->images, &j->tree, j->path, stat_found, j, &j->error) >= 0)
		return;
	j->stat(j->ctx, NULL, &j->error);
	job_free(j);
}

void engine_archive_stat(struct user *u, const char *ref, const char *path, engine_stat_found *done,
			 void *ctx)
{
	struct file_job *j = job_new(u, ctx);

	j->stat = done;
	j->path = mem_dup_text(path);
	tree_of(u, ref, j, stat_go);
}

static void pack_done(void *ctx, const struct image_result *r, const struct err *e)
{
	struct file_job *j = ctx;

	j->task = NULL;
	stream_finish(j->stream, e);
	job_free(j);
}

static void pack_refused(void *arg)
{
	struct file_job *j = arg;

	stream_finish(j->stream, &j->error);
	job_free(j);
}

static void pack_cancelled(void *ctx)
{
	struct file_job *j = ctx;

	j->abandoned = true;
	if (j->task)
		image_task_cancel(j->task);
}

static void pack_go(struct file_job *j)
{
	struct image_watch watch = {.done = pack_done, .ctx = j};
	struct image_pack p = {
		.tree = j->tree,
		.path = j->path,
		.rename = j->rename,
		.fd = j->pipe,
		.one_mount = !j->stat, /* export, not copy */
	};

	if (!j->error.kind && j->abandoned)
		(void)err_set(&j->error, ERR_GONE, "the client has left");
	if (j->error.kind ||
	    image_pack_start(j->engine->images, &p, &watch, &j->task, &j->error) < 0)
		loop_defer(j->engine->loop, pack_refused, j);
	j->pipe = fd_close(j->pipe);
}

/* docker cp out: first what it is, then (when that went well) the archive. */
static void get_found(void *ctx, const struct image_path_stat *s, const struct err *e)
{
	struct file_job *j = ctx;
	struct path_stat v = {0};

	if (!e)
		v = stat_of(s);
	if (!j->abandoned)
		j->stat(j->ctx, e ? NULL : &v, e);
	if (e)
		j->error = *e;
	pack_go(j);
}

static void get_go(struct file_job *j)
{
	if (j->error.kind ||
	    image_stat_start(j->engine->images, &j->tree, j->path, get_found, j, &j->error) < 0)
		pack_go(j);
}

static struct stream *out_stream(struct file_job *j, const struct sink *sink)
{
	int fds[2] = {-1, -1};

	if (pipe2(fds, O_CLOEXEC) < 0)
		(void)err_sys(&j->error, "cannot make a pipe");
	j->pipe = fds[1];
	j->stream = stream_from_fd(j->engine, fds[0], sink);
	stream_on_cancel(j->stream, pack_cancelled, j);
	return j->stream;
}

struct stream *engine_archive_get(struct user *u, const char *ref, const char *path,
				  engine_stat_found *stat, const struct sink *sink)
{
	struct file_job *j = job_new(u, sink->ctx);
	struct stream *s = out_stream(j, sink);

	j->stat = stat;
	j->path = mem_dup_text(path);
	tree_of(u, ref, j, get_go);
	return s;
}

struct stream *engine_export(struct user *u, const char *ref, const struct sink *sink)
{
	struct file_job *j = job_new(u, NULL);
	struct stream *s = out_stream(j, sink);
	struct workload *w;
	struct err ignored = {0};

	j->path = mem_dup_text("/");
	j->rename = "";
	if (workload_find(u, ref, &w, &ignored) >= 0)
		event_container(w, "export", NULL);
	tree_of(u, ref, j, pack_go);
	return s;
}

static void unpack_done(void *ctx, const struct image_result *r, const struct err *e)
{
	struct file_job *j = ctx;

	j->task = NULL; /* done() may cancel the feed: there is nothing to cancel any more */
	j->done(j->ctx, e);
	job_free(j);
}

static void unpack_go(struct file_job *j)
{
	struct image_watch watch = {.done = unpack_done, .ctx = j};
	struct image_unpack up = {
		.tree = j->tree,
		.path = j->path,
		.fd = j->pipe,
		.no_overwrite = j->put.no_overwrite_dir_non_dir,
		.keep_owner = j->put.copy_uid_gid,
	};
	const struct workload *w = map_get(&j->engine->workloads, j->id);

	if (!j->error.kind && w && w->request.host.readonly_rootfs && !w->mounts_n)
		(void)err_set(&j->error, ERR_FORBIDDEN, "container rootfs is marked read-only");
	if (!j->error.kind && j->abandoned)
		(void)err_set(&j->error, ERR_GONE, "the client has left");
	if (!j->error.kind &&
	    image_unpack_start(j->engine->images, &up, &watch, &j->task, &j->error) >= 0) {
		j->pipe = fd_close(j->pipe);
		return;
	}
	j->done(j->ctx, &j->error);
	job_free(j);
}

struct feed *engine_archive_put(struct user *u, const char *ref, const char *path,
				const struct archive_put_options *o, engine_done *done, void *ctx)
{
	struct file_job *j = job_new(u, ctx);
	int fds[2] = {-1, -1};
	struct feed *f;

	j->done = done;
	j->put = *o;
	j->path = mem_dup_text(path);
	if (pipe2(fds, O_CLOEXEC) < 0)
		(void)err_sys(&j->error, "cannot make a pipe");
	j->pipe = fds[0];
	tree_of(u, ref, j, unpack_go);
	f = feed_to_fd(u->engine, fds[1]);
	feed_on_cancel(f, pack_cancelled, j);
	return f;
}

/* -- commit
 * -------------------------------------------------------------------------------------------- */

static void commit_tell(struct file_job *j, const char *image_id, const struct err *e)
{
	struct workload *w = map_get(&j->engine->workloads, j->id);

	if (j->paused && w && w->keeper && w->state == WORKLOAD_RUNNING)
		keeper_resume(w->keeper, (struct keeper_done){0});
	if (!e && w)
		event_container(w, "commit", "imageID", image_id, NULL);
	j->committed(j->ctx, image_id, e);
	job_free(j);
}

static void commit_done(void *ctx, const struct image_result *r, const struct err *e)
{
	commit_tell(ctx, r && r->image ? r->image->id : NULL, e);
}

static void commit_refused(void *arg)
{
	struct file_job *j = arg;

	commit_tell(j, NULL, &j->error);
}

static int commit_begin(struct user *u, const char *ref, const struct commit_options *o,
			struct file_job *j)
{
	struct image_watch watch = {.done = commit_done, .ctx = j};
	auto_json struct json *own = NULL;
	struct keeper_orders root = {0};
	struct workload *w;

	if (workload_find(u, ref, &w, &j->error) < 0)
		return -ERR_NOT_FOUND;
	if (refuse_machine(w, &j->error) < 0)
		return -ERR_UNSUPPORTED;
	memcpy(j->id, w->id, sizeof(j->id));
	workload_root_orders(w, &j->arena, &root);
	own = request_config_json(&w->request.config);
	json_remove(own, "Image");
	if (changes_merge(own, o->config, o->changes, &j->config, &j->error) < 0 ||
	    image_find(u->engine->images, w->image_id, &j->image, &j->error) < 0)
		return -ERR_INVALID;
	struct image_commit c = {
		/* A copied root does not know what is its own: it becomes one layer. */
		.base = root.root_path ? NULL : j->image,
		.upper = root.root_path ? root.root_path : root.upper,
		.reference = o->reference && *o->reference ? o->reference : NULL,
		.author = o->author,
		.message = o->comment,
		.config = j->config,
		.owner = (enum image_owner)u->owner,
	};
	if (o->pause && w->state == WORKLOAD_RUNNING && w->keeper) {
		j->paused = true;
		keeper_pause(w->keeper, (struct keeper_done){0});
	}
	return image_commit_start(u->engine->images, &c, &watch, &j->task, &j->error);
}

void engine_commit(struct user *u, const char *ref, const struct commit_options *o,
		   engine_committed *done, void *ctx)
{
	struct file_job *j = job_new(u, ctx);

	j->committed = done;
	if (commit_begin(u, ref, o, j) < 0)
		loop_defer(u->engine->loop, commit_refused, j);
}

/* -- changes and sizes
 * ---------------------------------------------------------------------------------- */

/* Places that the runtime mounts over: that they exist in the upper directory is no change. */
static const char *const always_mounted[] = {"/dev",	   "/proc",	    "/sys",
					     "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"};

struct measuring {
	struct engine *engine;
	char *upper;
	char **lower, **mounted;
	int64_t image_bytes;
	bool sizes;
	struct changes changes;
	struct container_sizes result;
	engine_changes_found *found;
	engine_sized *sized;
	void *ctx;
	struct err error;
};

static void measure_work(void *arg)
{
	struct measuring *m = arg;

	if (m->sizes) {
		m->result.rw_bytes = tree_size(m->upper);
		return;
	}
	changes_find(m->upper, m->lower, &m->changes);
	changes_drop(&m->changes, m->mounted);
}

static void measured(void *arg)
{
	struct measuring *m = arg;
	const struct err *e = m->error.kind ? &m->error : NULL;

	m->result.root_bytes = m->result.rw_bytes + m->image_bytes;
	if (m->sizes)
		m->sized(m->ctx, e ? NULL : &m->result, e);
	else
		m->found(m->ctx, m->changes.list, m->changes.n, e);
	changes_done(&m->changes);
	m->lower = mem_free_texts(m->lower);
	m->mounted = mem_free_texts(m->mounted);
	free(m->upper);
	free(m);
}

static void measure(struct user *u, const char *ref, struct measuring *m)
{
	auto_arena struct arena a = {0};
	struct keeper_orders root = {0};
	auto_image struct image *i = NULL;
	struct err ignored = {0};
	struct workload *w;

	m->engine = u->engine;
	if (workload_find(u, ref, &w, &m->error) < 0) {
		loop_defer(u->engine->loop, measured, m);
		return;
	}
	workload_root_orders(w, &a, &root);
	if (root.root_path && m->found) {
		(void)err_set(&m->error, ERR_UNSUPPORTED,
			      "what changed is not known: overlay does not work under '%s', and "
			      "the root is a copy",
			      u->engine->root);
		loop_defer(u->engine->loop, measured, m);
		return;
	}
	m->upper = mem_dup_text(root.upper ? root.upper : root.root_path);
	m->lower = mem_dup_texts(w->lower);
	for (size_t k = 0; k < array_len(always_mounted); k++)
		mem_append_text(&m->mounted, always_mounted[k]);
	for (size_t k = 0; k < w->mounts_n; k++)
		mem_append_text(&m->mounted, w->mounts[k].target);
	if (image_find(u->engine->images, w->image_id, &i, &ignored) >= 0)
		m->image_bytes = i->size_bytes;
	loop_job(u->engine->loop, measure_work, measured, m);
}

void engine_changes(struct user *u, const char *ref, engine_changes_found *done, void *ctx)
{
	struct measuring *m = mem_new(struct measuring);

	m->found = done;
	m->ctx = ctx;
	measure(u, ref, m);
}

void engine_sizes(struct user *u, const char *ref, engine_sized *done, void *ctx)
{
	struct measuring *m = mem_new(struct measuring);

	m->sizes = true;
	m->sized = done;
	m->ctx = ctx;
	measure(u, ref, m);
}
