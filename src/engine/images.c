/*
 * Images, as an API sees them: virt/image's tasks and questions, with the asker's owner, events,
 * and the check that no container uses what is to go.
 */
#include <fcntl.h>
#include <unistd.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"

/* One long work of the image store, and who waits for it. */
struct image_job {
	struct engine *engine;
	enum owner owner;
	struct image_task *task;
	engine_progress *progress;
	engine_done *done;
	engine_loaded *loaded;
	engine_imported *imported;
	void *ctx;
	struct stream *stream; /* save */
	char **names;	       /* load: what was loaded */
	char *reference;
	const char *event;
	bool abandoned; /* the client went away: nobody is called */
	struct err refused;
};

static struct image_job *job_new(struct user *u, void *ctx)
{
	struct image_job *j = mem_new(struct image_job);

	j->engine = u->engine;
	j->owner = u->owner;
	j->ctx = ctx;
	return j;
}

static void job_free(struct image_job *j)
{
	j->names = mem_free_texts(j->names);
	free(j->reference);
	free(j);
}

/* load says "Loaded image: x\n", line by line: the names are kept for the end. */
static void note_loaded(struct image_job *j, const char *line)
{
	static const char *const heads[] = {"Loaded image: ", "Loaded image ID: "};

	for (size_t i = 0; i < array_len(heads); i++)
		if (text_starts(line, heads[i])) {
			auto_free char *name = str_dup(str_trim(str_of(line + strlen(heads[i]))));

			mem_append_text(&j->names, name);
		}
}

static void on_progress(void *ctx, const struct image_progress *p)
{
	struct image_job *j = ctx;

	if (p->stream)
		note_loaded(j, p->stream); /* told at the end, to quiet clients too */
	if (j->abandoned || !j->progress || p->stream)
		return;
	j->progress(j->ctx, &(struct progress){
				    .status = p->status,
				    .id = p->id,
				    .current = p->current,
				    .total = p->total,
				    .aux_tag = p->push_tag,
				    .aux_digest = p->push_digest,
				    .aux_size = p->push_size,
			    });
}

static void tell(struct image_job *j, const char *image_id, const struct err *e)
{
	static char *none[] = {NULL};

	if (j->stream) {
		stream_finish(j->stream, e);
		return;
	}
	if (j->abandoned)
		return;
	if (j->loaded)
		j->loaded(j->ctx, j->names ? j->names : none, e);
	else if (j->imported)
		j->imported(j->ctx, image_id, e);
	else
		j->done(j->ctx, e);
}

static void on_done(void *ctx, const struct image_result *r, const struct err *e)
{
	struct image_job *j = ctx;

	j->task = NULL; /* its callback may cancel: there is nothing to cancel any more */
	if (!e && j->event)
		event_image(j->engine, j->owner, j->event,
			    r && r->image ? r->image->id : j->reference, j->reference);
	tell(j, r && r->image ? r->image->id : NULL, e);
	job_free(j);
}

static void refused_now(void *arg)
{
	struct image_job *j = arg;

	tell(j, NULL, &j->refused);
	job_free(j);
}

static struct image_watch watch_of(struct image_job *j)
{
	return (struct image_watch){.progress = on_progress, .done = on_done, .ctx = j};
}

static void refuse(struct image_job *j)
{
	assert(j->refused.kind);
	loop_defer(j->engine->loop, refused_now, j);
}

void image_job_cancel(struct image_job *j)
{
	if (!j)
		return;
	j->abandoned = true;
	if (j->task)
		image_task_cancel(j->task);
}

static struct image_auth auth_of(const struct registry_auth *a)
{
	if (!a)
		return (struct image_auth){0};
	return (struct image_auth){.username = a->username,
				   .password = a->password,
				   .identity_token = a->identity_token,
				   .registry_token = a->registry_token,
				   .server = a->server_address};
}

struct image_job *engine_pull(struct user *u, const struct pull_options *o,
			      engine_progress *progress, engine_done *done, void *ctx)
{
	struct image_job *j = job_new(u, ctx);
	struct image_watch w = watch_of(j);
	struct image_pull p = {
		.reference = o->reference,
		.platform = o->platform && *o->platform ? o->platform : NULL,
		.owner = (enum image_owner)u->owner,
		.auth = auth_of(&o->auth),
		.all_tags = o->all_tags,
	};

	j->progress = progress;
	j->done = done;
	j->reference = mem_dup_text(o->reference);
	j->event = "pull";
	if (image_pull_start(u->engine->images, &p, &w, &j->task, &j->refused) < 0)
		refuse(j);
	return j;
}

struct image_job *engine_push(struct user *u, const char *reference,
			      const struct registry_auth *auth, engine_progress *progress,
			      engine_done *done, void *ctx)
{
	struct image_job *j = job_new(u, ctx);
	struct image_watch w = watch_of(j);
	struct image_push p = {
		.reference = reference,
		.owner = (enum image_owner)u->owner,
		.auth = auth_of(auth),
	};

	j->progress = progress;
	j->done = done;
	j->reference = mem_dup_text(reference);
	j->event = "push";
	if (image_push_start(u->engine->images, &p, &w, &j->task, &j->refused) < 0)
		refuse(j);
	return j;
}

/* -- through pipes: load, import, save
 * ---------------------------------------------------------------- */

static int make_pipe(int fds[2], struct err *e)
{
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "cannot make a pipe");
	(void)fcntl(fds[0], F_SETPIPE_SZ, 1 << 20); /* best effort: fewer wake-ups */
	return 0;
}

/* The client left in the middle of its upload: the work is undone, and its callback says so. */
static void feed_gone(void *ctx)
{
	struct image_job *j = ctx;

	if (j->task)
		image_task_cancel(j->task);
}

struct feed *engine_load(struct user *u, engine_progress *progress, engine_loaded *done, void *ctx)
{
	struct image_job *j = job_new(u, ctx);
	struct image_watch w = watch_of(j);
	int fds[2] = {-1, -1};
	struct feed *f;

	j->progress = progress;
	j->loaded = done;
	if (make_pipe(fds, &j->refused) < 0 ||
	    image_load_start(u->engine->images, fds[0], (enum image_owner)u->owner, &w, &j->task,
			     &j->refused) < 0)
		refuse(j);
	(void)fd_close(fds[0]);
	f = feed_to_fd(u->engine, fds[1]);
	feed_on_cancel(f, feed_gone, j);
	return f;
}

struct feed *engine_import(struct user *u, const struct import_options *o, engine_imported *done,
			   void *ctx)
{
	struct image_job *j = job_new(u, ctx);
	struct image_watch w = watch_of(j);
	auto_json struct json *config = NULL;
	int fds[2] = {-1, -1};
	struct feed *f;

	j->imported = done;
	j->reference = mem_dup_text(o->reference);
	j->event = "import";
	if (changes_apply(NULL, o->changes, &config, &j->refused) < 0 ||
	    make_pipe(fds, &j->refused) < 0) {
		refuse(j);
		return feed_to_fd(u->engine, -1);
	}
	struct image_import i = {
		.fd = fds[0],
		.reference = o->reference && *o->reference ? o->reference : NULL,
		.message = o->message,
		.platform = o->platform && *o->platform ? o->platform : NULL,
		.config = config,
		.owner = (enum image_owner)u->owner,
	};
	if (image_import_start(u->engine->images, &i, &w, &j->task, &j->refused) < 0)
		refuse(j);
	(void)fd_close(fds[0]);
	f = feed_to_fd(u->engine, fds[1]);
	feed_on_cancel(f, feed_gone, j);
	return f;
}

static void save_cancelled(void *ctx)
{
	struct image_job *j = ctx;

	if (j->task)
		image_task_cancel(j->task);
}

struct stream *engine_save(struct user *u, char *const *refs, const struct sink *sink)
{
	struct image_job *j = job_new(u, NULL);
	struct image_watch w = watch_of(j);
	int fds[2] = {-1, -1};

	if (make_pipe(fds, &j->refused) < 0 ||
	    image_save_start(u->engine->images, refs, fds[1], &w, &j->task, &j->refused) < 0)
		refuse(j);
	(void)fd_close(fds[1]);
	j->stream = stream_from_fd(u->engine, fds[0], sink);
	stream_on_cancel(j->stream, save_cancelled, j);
	return j->stream;
}

/* -- names
 * --------------------------------------------------------------------------------------------- */

void engine_tag(struct user *u, const char *ref, const char *reference, engine_done *done,
		void *ctx)
{
	auto_image struct image *i = NULL;
	struct err e = {0};

	if (image_find(u->engine->images, ref, &i, &e) >= 0 &&
	    image_tag(u->engine->images, i, reference, (enum image_owner)u->owner, &e) >= 0)
		event_image(u->engine, u->owner, "tag", i->id, reference);
	engine_finish(u->engine, done, ctx, e.kind ? &e : NULL);
}

struct image_end {
	engine_image_gone *done;
	void *ctx;
	struct engine *engine;
	struct image_removed *list;
	size_t n;
	int64_t freed;
	struct err error;
};

static void image_end_now(void *arg)
{
	struct image_end *x = arg;
	struct image_gone *gone = mem_new_array(struct image_gone, x->n + 1);

	for (size_t i = 0; i < x->n; i++)
		gone[i] = (struct image_gone){x->list[i].untagged, x->list[i].deleted};
	if (x->n > 0)
		erofs_sweep(x->engine);
	x->done(x->ctx, gone, x->n, x->freed, x->error.kind ? &x->error : NULL);
	image_removed_free(x->list, x->n);
	free(gone);
	free(x);
}

static int containers_of(struct engine *g, const char *image_id, const struct workload **ret)
{
	int n = 0;

	map_each (&g->workloads, it) {
		const struct workload *w = it->value;

		if (text_eq(w->image_id, image_id)) {
			*ret = w;
			n++;
		}
	}
	return n;
}

/* With one name left, or by id, the image itself goes: no container may need it. */
static int insist_unused(struct user *u, const struct image *i, const char *ref, bool force,
			 struct err *e)
{
	char **tags = image_tags(u->engine->images, i, IMAGE_OWNER_ANY);
	size_t n = mem_count_texts(tags);
	const struct workload *user = NULL;
	const char *hex = i->id + strlen("sha256:");
	bool by_id = text_starts(ref, "sha256:") || text_starts(hex, ref);

	(void)mem_free_texts(tags);
	if (!containers_of(u->engine, i->id, &user) || (n > 1 && !by_id))
		return 0;
	if (workload_runs(user) && (by_id || !force))
		return err_set(
			e, ERR_CONFLICT,
			"conflict: unable to %s %s (%s) - container %.12s is using its referenced "
			"image %.12s",
			by_id ? "delete" : "remove repository reference", ref,
			workload_runs(user) && by_id ? "cannot be forced" : "must force", user->id,
			hex);
	if (!force)
		return err_set(
			e, ERR_CONFLICT,
			"conflict: unable to %s \"%s\" (must force) - container %.12s is using its "
			"referenced image %.12s",
			by_id ? "delete" : "remove repository reference", ref, user->id, hex);
	return 0;
}

static void say_removed(struct user *u, const struct image_end *x)
{
	for (size_t i = 0; i < x->n; i++) {
		const char *what = x->list[i].untagged ? x->list[i].untagged : x->list[i].deleted;

		event_image(u->engine, u->owner, x->list[i].untagged ? "untag" : "delete", what,
			    what);
	}
}

void engine_image_remove(struct user *u, const char *ref, bool force, bool no_prune,
			 engine_image_gone *done, void *ctx)
{
	struct image_end *x = mem_new(struct image_end);
	auto_image struct image *i = NULL;

	x->done = done;
	x->ctx = ctx;
	x->engine = u->engine;
	if (image_find(u->engine->images, ref, &i, &x->error) >= 0 &&
	    insist_unused(u, i, ref, force, &x->error) >= 0 &&
	    image_remove(u->engine->images, ref, (enum image_owner)u->owner, force, &x->list, &x->n,
			 &x->error) >= 0)
		say_removed(u, x);
	loop_defer(u->engine->loop, image_end_now, x);
}

static void gc_done(void *ctx, const struct image_result *r, const struct err *e)
{
	struct image_end *x = ctx;

	if (e)
		log_warn("removing unused layers: %s", e->text);
	x->freed = r ? r->freed_bytes : 0;
	image_end_now(x);
}

static const char *const known_prune[] = {"dangling", "until", "label", "label!", NULL};

static void prune_one(struct user *u, const struct image *i, struct image_end *x)
{
	struct image_removed *list = NULL;
	size_t n = 0, room = x->n;
	struct err ignored = {0};
	char **tags = image_tags(u->engine->images, i, (enum image_owner)u->owner);

	for (char **t = tags; t && (*t || t == tags); t++) {
		const char *name = *t ? *t : i->id;

		if (image_remove(u->engine->images, name, (enum image_owner)u->owner, !*t, &list,
				 &n, &ignored) < 0)
			break;
		mem_grow(x->list, x->n + n, room);
		if (n)
			memcpy(x->list + x->n, list, n * sizeof(*list));
		x->n += n;
		free(list);
		if (!*t)
			break;
	}
	(void)mem_free_texts(tags);
}

void engine_image_prune(struct user *u, const struct filters *f, engine_image_gone *done, void *ctx)
{
	struct image_end *x = mem_new(struct image_end);
	struct image_watch w = {.done = gc_done, .ctx = x};
	struct image_task *task;
	struct image **all = NULL;
	bool dangling = true;
	int64_t until = 0;
	size_t n = 0;

	x->done = done;
	x->ctx = ctx;
	x->engine = u->engine;
	if (filters_check(f, known_prune, &x->error) < 0 ||
	    filter_flag(f, "dangling", true, &dangling, &x->error) < 0 ||
	    filter_until(f, u->engine->world, &until, &x->error) < 0) {
		loop_defer(u->engine->loop, image_end_now, x);
		return;
	}
	n = image_list(u->engine->images, &all);
	for (size_t i = 0; i < n; i++) {
		char **tags = image_tags(u->engine->images, all[i], (enum image_owner)u->owner);
		char **anybody = image_tags(u->engine->images, all[i], IMAGE_OWNER_ANY);
		bool named = tags[0] != NULL, foreign = anybody[0] && !tags[0];
		const struct workload *used;

		tags = mem_free_texts(tags);
		anybody = mem_free_texts(anybody);
		if (!foreign && !(dangling && named) && (!until || all[i]->created_ns < until) &&
		    filter_match_labels(f, all[i]->labels) &&
		    !containers_of(u->engine, all[i]->id, &used))
			prune_one(u, all[i], x);
		(void)image_unref(all[i]);
	}
	free(all);
	say_removed(u, x);
	if (image_gc_start(u->engine->images, &w, &task, &x->error) < 0)
		loop_defer(u->engine->loop, image_end_now, x);
}
