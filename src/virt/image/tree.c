/*
 * Tasks that are one child and nothing else: trees in and out (docker cp, export), a look at a
 * path, copied roots; garbage collection, and the question whether overlay works here.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/store/folder.h"
#include "virt/image/image_priv.h"

struct tree_task {
	struct image_task task; /* first */
	struct child *child;
	struct image_hold *hold; /* root_copy: the layers that are read */
};

static void on_child_done(void *arg, const struct unpack_answer *a, const struct err *e)
{
	struct tree_task *t = task_live(arg);

	t->child = NULL;
	if (a)
		t->task.result.bytes = (int64_t)a->bytes;
	task_end(&t->task, e);
}

static void on_cancel(struct image_task *task, const struct err *e)
{
	struct tree_task *t = task_live(task);

	(void)e;
	if (t->child)
		child_cancel(t->child);
}

static void on_release(struct image_task *task)
{
	struct tree_task *t = task_live(task);

	t->hold = image_hold_release(t->hold);
}

/* The child is there before the call returns: the caller may close its descriptors. */
static int start(struct image_store *s, const char *name, const struct unpack_orders *orders,
		 int data_fd, int dir_fd, const struct image_watch *w, struct tree_task **ret,
		 struct err *e)
{
	struct tree_task *t = task_new(s, sizeof(*t), w, name);
	const struct child_options o = {.orders = orders,
					.data_fd = data_fd,
					.dir_fd = dir_fd,
					.done = on_child_done,
					.arg = t};
	int r = child_start(s, &o, &t->child, e);

	if (r < 0) {
		task_drop(&t->task);
		return r;
	}
	t->task.cancel = on_cancel;
	t->task.release = on_release;
	*ret = t;
	return 0;
}

static void place_tree(struct unpack_orders *o, const struct image_tree *tree)
{
	assert(tree->dirfd >= 0 || (tree->lower && tree->lower[0]));
	if (tree->dirfd >= 0)
		return;
	o->lower = (char **)tree->lower;
	o->upper = (char *)tree->upper;
	o->work = (char *)tree->work;
}

int image_pack_start(struct image_store *s, const struct image_pack *p, const struct image_watch *w,
		     struct image_task **ret, struct err *e)
{
	struct unpack_orders orders = {.verb = "pack",
				       .limits = s->limits,
				       .path = (char *)p->path,
				       .rename = (char *)p->rename,
				       .one_mount = p->one_mount};
	struct tree_task *t;
	int r;

	place_tree(&orders, &p->tree);
	r = start(s, "copy out of a container", &orders, p->fd, p->tree.dirfd, w, &t, e);
	if (r == 0)
		*ret = &t->task;
	return r;
}

int image_unpack_start(struct image_store *s, const struct image_unpack *u,
		       const struct image_watch *w, struct image_task **ret, struct err *e)
{
	struct unpack_orders orders = {
		.verb = "tree",
		.limits = s->limits,
		.path = (char *)u->path,
		.devices = true,
		.no_overwrite = u->no_overwrite,
		.keep_owner = u->keep_owner,
		.uid = u->uid,
		.gid = u->gid,
	};
	struct tree_task *t;
	int r;

	place_tree(&orders, &u->tree);
	r = start(s, "copy into a container", &orders, u->fd, u->tree.dirfd, w, &t, e);
	if (r == 0)
		*ret = &t->task;
	return r;
}

int image_root_copy(struct image_store *s, const struct image *i, const char *dir,
		    const struct image_watch *w, struct image_task **ret, struct err *e)
{
	auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct unpack_orders orders = {.verb = "copy", .limits = s->limits};
	struct image_hold *hold = NULL;
	struct tree_task *t;
	char **top_first;
	size_t n = i->layers_n;
	int r;

	if (fd < 0)
		return err_sys(e, "cannot open '%s'", dir);
	r = image_layers(s, i, "a copy of its root", &top_first, &hold, e);
	if (r < 0)
		return r;
	for (size_t k = 0; k < n / 2; k++) {
		char *swap = top_first[k];

		top_first[k] = top_first[n - 1 - k];
		top_first[n - 1 - k] = swap;
	}
	orders.lower = top_first;
	r = start(s, "copy of an image's root", &orders, -1, fd, w, &t, e);
	(void)mem_free_texts(top_first);
	if (r < 0) {
		(void)image_hold_release(hold);
		return r;
	}
	t->hold = hold;
	*ret = &t->task;
	return 0;
}

/* ---- A look at a path ---- */

struct stat_call {
	void (*done)(void *ctx, const struct image_path_stat *st, const struct err *e);
	void *ctx;
};

static void on_stat(void *arg, const struct unpack_answer *a, const struct err *e)
{
	struct stat_call *c = arg;
	struct image_path_stat st = {0};

	if (a) {
		snprintf(st.name, sizeof(st.name), "%s", a->name ? a->name : "");
		snprintf(st.link_target, sizeof(st.link_target), "%s", a->link ? a->link : "");
		st.size_bytes = a->size;
		st.mtime_ns = a->mtime_ns;
		st.mode = a->mode;
	}
	c->done(c->ctx, a ? &st : NULL, e);
	free(c);
}

int image_stat_start(struct image_store *s, const struct image_tree *tree, const char *path,
		     void (*done)(void *ctx, const struct image_path_stat *st, const struct err *e),
		     void *ctx, struct err *e)
{
	struct unpack_orders orders = {.verb = "stat", .limits = s->limits, .path = (char *)path};
	struct stat_call *c = mem_new(struct stat_call);
	struct child_options o = {
		.orders = &orders, .data_fd = -1, .dir_fd = tree->dirfd, .done = on_stat, .arg = c};
	struct child *child;
	int r;

	c->done = done;
	c->ctx = ctx;
	place_tree(&orders, tree);
	r = child_start(s, &o, &child, e);
	if (r < 0)
		free(c);
	return r;
}

/* ---- Garbage ---- */

static void on_collected(void *arg)
{
	struct image_task *t = arg;

	task_end(t, NULL);
}

static void begin_gc(struct image_task *t)
{
	t->result.freed_bytes = index_collect(t->store, on_collected, t);
}

/* Too late to stop: what was marked is hidden already. */
static void cancel_gc(struct image_task *t, const struct err *e)
{
	if (!t->begin)
		task_end(t, e);
}

int image_gc_start(struct image_store *s, const struct image_watch *w, struct image_task **ret,
		   struct err *e)
{
	struct image_task *t = task_new(s, sizeof(*t), w, "garbage collection");

	(void)e;
	t->cancel = cancel_gc;
	task_begin(t, begin_gc);
	*ret = t;
	return 0;
}

/* ---- Does overlay work here? ---- */

#define PROBE "probe"

static void on_probed(void *arg, const struct unpack_answer *a, const struct err *e)
{
	struct image_store *s = arg;

	(void)a;
	s->overlay = e == NULL;
	(void)!folder_remove(s->image_fd, PROBE, NULL);
}

static int make_probe(struct image_store *s)
{
	static const char *const dirs[] = {PROBE, PROBE "/one", PROBE "/two", PROBE "/upper",
					   PROBE "/work"};
	auto_close int fd = -1;

	for (size_t i = 0; i < array_len(dirs); i++)
		if (mkdirat(s->image_fd, dirs[i], 0700) < 0 && errno != EEXIST)
			return -1;
	fd = openat(s->image_fd, PROBE "/two/lower", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	return fd < 0 ? -1 : 0;
}

void tree_probe_overlay(struct image_store *s)
{
	auto_free char *one = mem_printf("%s/image/" PROBE "/one", s->root);
	auto_free char *two = mem_printf("%s/image/" PROBE "/two", s->root);
	auto_free char *upper = mem_printf("%s/image/" PROBE "/upper", s->root);
	auto_free char *work = mem_printf("%s/image/" PROBE "/work", s->root);
	char *lower[] = {one, two, NULL};
	struct unpack_orders orders = {
		.verb = "probe", .limits = s->limits, .lower = lower, .upper = upper, .work = work};
	struct child_options o = {
		.orders = &orders, .data_fd = -1, .dir_fd = -1, .done = on_probed, .arg = s};
	struct child *child;

	if (make_probe(s) < 0 || child_start(s, &o, &child, NULL) < 0)
		s->overlay = 0;
}

bool image_overlay_works(struct image_store *s)
{
	/* Not answered yet, a few milliseconds after the start: nearly every host can. */
	return s->overlay != 0;
}
