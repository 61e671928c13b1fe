/*
 * A container's files: copy in and out, export, commit, changes, sizes. Trees are packed and
 * unpacked by the image store's confined child; here is only which tree it is. A running
 * container's is the root of its first process, a stopped one's is its overlay.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"
#include "engine/tree_size.h"
#include "ground/linux/process.h"

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

static int tree_of(struct workload *w, struct file_job *j, bool writable, struct image_tree *ret,
		   struct err *e)
{
	struct keeper_orders root = {0};

	memcpy(j->id, w->id, sizeof(j->id));
	*ret = (struct image_tree){.dirfd = -1};
	if (w->pid && workload_runs(w)) {
		if (open_root(w, &j->root, e) < 0)
			return -ERR_SYSTEM;
		ret->dirfd = j->root;
		return 0;
	}
	workload_root_orders(w, &j->arena, &root);
	if (root.root_path) {
		j->root = open(root.root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (j->root < 0)
			return err_sys(e, "cannot open '%s'", root.root_path);
		ret->dirfd = j->root;
		return 0;
	}
	if (!root.lower)
		return err_set(e, ERR_GONE, "the layers of container '%s' are gone with its image",
			       w->name);
	ret->lower = root.lower;
	ret->upper = root.upper;
	ret->work = root.work;
	return 0;
}

/* -- stat
 * ------------------------------------------------------------------------------------------- */

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

static void stat_now(void *arg)
{
	struct file_job *j = arg;

	j->stat(j->ctx, NULL, &j->error);
	job_free(j);
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

void engine_archive_stat(struct user *u, const char *ref, const char *path, engine_stat_found *done,
			 void *ctx)
{
	struct file_job *j = job_new(u, ctx);
	struct image_tree tree;
	struct workload *w;

	j->stat = done;
	if (workload_find(u, ref, &w, &j->error) < 0 ||
	    tree_of(w, j, false, &tree, &j->error) < 0 ||
	    image_stat_start(u->engine->images, &tree, path, stat_found, j, &j->error) < 0)
		loop_defer(u->engine->loop, stat_now, j);
}

/* -- out
 * --------------------------------------------------------------------------------------------- */

static void pack_done(void *ctx, const struct image_result *r, const struct err *e)
{
	struct file_job *j = ctx;

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

static void pack_begin(struct file_job *j, const struct image_tree *tree, const char *path,
		       const char *rename)
{
	struct image_watch watch = {.done = pack_done, .ctx = j};
	struct image_pack p = {.tree = *tree, .path = path, .rename = rename, .fd = j->pipe};

	if (image_pack_start(j->engine->images, &p, &watch, &j->task, &j->error) < 0)
		loop_defer(j->engine->loop, pack_refused, j);
	j->pipe = fd_close(j->pipe);
}

/* docker cp out: first what it is, then (when that went well) the archive. */
struct archive_get {
	struct file_job *job;
	struct image_tree tree;
};

static void get_found(void *ctx, const struct image_path_stat *s, const struct err *e)
{
	struct archive_get *g = ctx;
	struct file_job *j = g->job;
	struct path_stat v = {0};

	if (!e)
		v = stat_of(s);
	if (!j->abandoned)
		j->stat(j->ctx, e ? NULL : &v, e);
	if (e || j->abandoned) {
		j->error = e ? *e : (struct err){.kind = ERR_GONE};
		j->pipe = fd_close(j->pipe);
		pack_refused(j);
	} else {
		pack_begin(j, &g->tree, j->path, NULL);
	}
	free(g);
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
	struct archive_get *g = mem_new(struct archive_get);
	struct stream *s = out_stream(j, sink);
	struct workload *w;

	g->job = j;
	j->stat = stat;
	j->path = mem_dup_text(path);
	if (j->error.kind || workload_find(u, ref, &w, &j->error) < 0 ||
	    tree_of(w, j, false, &g->tree, &j->error) < 0 ||
	    image_stat_start(u->engine->images, &g->tree, path, get_found, g, &j->error) < 0) {
		j->pipe = fd_close(j->pipe);
		free(g);
		loop_defer(u->engine->loop, pack_refused, j);
	}
	return s;
}

struct stream *engine_export(struct user *u, const char *ref, const struct sink *sink)
{
	struct file_job *j = job_new(u, NULL);
	struct stream *s = out_stream(j, sink);
	struct image_tree tree;
	struct workload *w;

	if (j->error.kind || workload_find(u, ref, &w, &j->error) < 0 ||
	    tree_of(w, j, false, &tree, &j->error) < 0) {
		j->pipe = fd_close(j->pipe);
		loop_defer(u->engine->loop, pack_refused, j);
		return s;
	}
	event_container(w, "export", NULL);
	pack_begin(j, &tree, "/", "");
	return s;
}

/* -- in
 * -----------------------------------------------------------------------------------------------
 */

static void unpack_done(void *ctx, const struct image_result *r, const struct err *e)
{
	struct file_job *j = ctx;

	if (!j->abandoned)
		j->done(j->ctx, e);
	job_free(j);
}

static void unpack_refused(void *arg)
{
	struct file_job *j = arg;

	if (!j->abandoned)
		j->done(j->ctx, &j->error);
	job_free(j);
}

static int unpack_begin(struct user *u, const char *ref, const char *path,
			const struct archive_put_options *o, int fd, struct file_job *j)
{
	struct image_watch watch = {.done = unpack_done, .ctx = j};
	struct image_unpack up = {
		.path = path,
		.fd = fd,
		.no_overwrite = o->no_overwrite_dir_non_dir,
		.keep_owner = o->copy_uid_gid,
	};
	struct workload *w;

	if (workload_find(u, ref, &w, &j->error) < 0)
		return -ERR_NOT_FOUND;
	if (w->request.host.readonly_rootfs && !w->mounts_n)
		return err_set(&j->error, ERR_FORBIDDEN, "container rootfs is marked read-only");
	if (tree_of(w, j, true, &up.tree, &j->error) < 0)
		return -ERR_SYSTEM;
	return image_unpack_start(u->engine->images, &up, &watch, &j->task, &j->error);
}

struct feed *engine_archive_put(struct user *u, const char *ref, const char *path,
				const struct archive_put_options *o, engine_done *done, void *ctx)
{
	struct file_job *j = job_new(u, ctx);
	int fds[2] = {-1, -1};
	struct feed *f;

	j->done = done;
	if (pipe2(fds, O_CLOEXEC) < 0)
		(void)err_sys(&j->error, "cannot make a pipe");
	if (j->error.kind || unpack_begin(u, ref, path, o, fds[0], j) < 0)
		loop_defer(u->engine->loop, unpack_refused, j);
	(void)fd_close(fds[0]);
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
	memcpy(j->id, w->id, sizeof(j->id));
	workload_root_orders(w, &j->arena, &root);
	if (root.root_path)
		return err_set(&j->error, ERR_UNSUPPORTED,
			       "commit needs overlay, which does not work under '%s'",
			       u->engine->root);
	own = request_config_json(&w->request.config);
	json_remove(own, "Image");
	if (changes_merge(own, o->config, o->changes, &j->config, &j->error) < 0 ||
	    image_find(u->engine->images, w->image_id, &j->image, &j->error) < 0)
		return -ERR_INVALID;
	struct image_commit c = {
		.base = j->image,
		.upper = root.upper,
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

struct measuring {
	struct engine *engine;
	char *upper;
	char **lower;
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

	if (m->sizes)
		m->result.rw_bytes = tree_size(m->upper);
	else
		changes_find(m->upper, m->lower, &m->changes);
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
	m->upper = mem_dup_text(root.upper ? root.upper : root.root_path);
	m->lower = mem_dup_texts(w->lower);
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
