/*
 * Creating a container: check, resolve the image, merge, make its directory and volumes, write
 * the record. Until the record is durable the container is hidden; when anything fails, what was
 * made is unmade.
 *
 *	check -> hold the image's layers -> directory -> mounts
 *	  -> [copy of the root, where overlay does not work]
 *	  -> record durable -> volumes filled -> acknowledged
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"

struct creation {
	struct workload *workload;
	struct image *image;
	engine_created *done;
	void *ctx;
	struct err error;
};

static void creation_free(struct creation *c)
{
	(void)image_unref(c->image);
	free(c);
}

/* Tells the failure and removes what is there. */
static void fail_now(void *arg)
{
	struct creation *c = arg;
	struct workload *w = c->workload;

	assert(c->error.kind != ERR_NONE);
	c->done(c->ctx, NULL, NULL, &c->error);
	if (w) {
		struct engine *g = w->engine;

		mounts_release(w);
		map_remove(&g->users[w->owner].names, w->name);
		map_remove(&g->workloads, w->id);
		workload_remove_files(g, w->id, NULL, NULL);
		(void)workload_free(w);
	}
	creation_free(c);
}

static void created(void *ctx, const struct err *e)
{
	struct creation *c = ctx;
	struct workload *w = c->workload;

	if (e) {
		c->error = *e;
		record_delete(w->engine->records, "container", w->id, NULL, NULL);
		fail_now(c);
		return;
	}
	w->hidden = false;
	event_container(w, "create", NULL);
	c->done(c->ctx, w->id, NULL, NULL);
	creation_free(c);
}

static void recorded(void *ctx, const struct err *e)
{
	struct creation *c = ctx;

	if (e) {
		c->error = *e;
		fail_now(c);
		return;
	}
	mounts_copy_up(c->workload, created, c);
}

static void root_copied(void *ctx, const struct image_result *r, const struct err *e)
{
	struct creation *c = ctx;

	if (e) {
		c->error = *e;
		fail_now(c);
		return;
	}
	workload_save(c->workload, recorded, c);
}

static int make_directory(struct workload *w, struct err *e)
{
	static const char *const parts[] = {"", "/upper", "/work"};

	for (size_t i = 0; i < array_len(parts); i++) {
		auto_free char *path = mem_printf("%s%s", w->dir, parts[i]);

		/* The upper directory is the container's root: it must be passable for everybody.
		 */
		if (mkdir(path, i == 1 ? 0755 : 0710) < 0)
			return err_sys(e, "cannot make the container's directory '%s'", path);
	}
	return 0;
}

/* Copies the request into the container's own arena by way of its JSON form. */
static int adopt_request(struct workload *w, const struct container_request *r, struct err *e)
{
	auto_json struct json *j = request_json(r);
	int bad = request_read(j, &w->arena, &w->request, e);

	if (bad < 0)
		return bad;
	w->request.name = w->name;
	w->request.platform = arena_dup_text(&w->arena, r->platform);
	return 0;
}

static int check_platform(const struct container_request *r, const struct image *image,
			  struct err *e)
{
	struct str rest = str_of(r->platform ? r->platform : ""), os, architecture;

	if (!rest.n || !image->architecture)
		return 0;
	(void)str_cut(&rest, '/', &os);
	(void)str_cut(&rest, '/', &architecture);
	if (architecture.n && !str_is(architecture, image->architecture))
		return err_set(e, ERR_NOT_FOUND,
			       "image '%s' is for %s/%s, not for the asked platform '%s'",
			       r->config.image, image->os ? image->os : "linux",
			       image->architecture, r->platform);
	return 0;
}

/* "container:alias": the other one must be there. */
static int check_links(struct workload *w, struct err *e)
{
	for (char **l = w->request.host.links; l && *l; l++) {
		struct str rest = str_of(*l), head;
		auto_free char *ref = NULL;
		struct workload *other;

		(void)str_cut(&rest, ':', &head);
		ref = str_dup(head);
		if (workload_find(&w->engine->users[w->owner], ref, &other, e) < 0)
			return err_wrap(e, "cannot link to '%s'", ref);
	}
	return 0;
}

static int take_name(struct user *u, struct workload *w, struct err *e)
{
	struct workload *holder = map_get(&u->names, w->name);

	if (holder)
		return err_set(e, ERR_EXISTS,
			       "Conflict. The container name \"/%s\" is already in use by "
			       "container \"%s\". "
			       "You have to remove (or rename) that container to be able to reuse "
			       "that name.",
			       w->name, holder->id);
	map_put(&u->names, w->name, w);
	return 0;
}

static int fill(struct workload *w, const struct container_request *r, struct creation *c,
		struct err *e)
{
	struct engine *g = w->engine;
	auto_free char *who = mem_printf("container %.12s", w->id);

	if (adopt_request(w, r, e) < 0)
		return -ERR_INVALID;
	w->runtime = runtime_find(r->host.runtime, e);
	if (!w->runtime)
		return -ERR_INVALID;
	w->image_ref = mem_dup_text(r->config.image ? r->config.image : "");
	if (*w->image_ref) {
		if (image_find(g->images, r->config.image, &c->image, e) < 0 ||
		    check_platform(r, c->image, e) < 0)
			return -ERR_NOT_FOUND;
		memcpy(w->image_id, c->image->id, sizeof(w->image_id));
		request_merge(w, c->image);
	} else {
		workload_keep_json(w);
	}
	if (w->runtime->check && w->runtime->check(w, e) < 0)
		return -ERR_INVALID;
	if (plug_normalise(w, e) < 0 || check_links(w, e) < 0)
		return -ERR_NOT_FOUND;
	if ((c->image && image_layers(g->images, c->image, who, &w->lower, &w->hold, e) < 0) ||
	    make_directory(w, e) < 0 || mounts_resolve(w, e) < 0)
		return -ERR_INTERNAL;
	return 0;
}

static int copy_root(struct creation *c, struct err *e)
{
	struct workload *w = c->workload;
	auto_free char *root = mem_printf("%s/root", w->dir);
	struct image_watch watch = {.done = root_copied, .ctx = c};
	struct image_task *task;

	if (mkdir(root, 0755) < 0)
		return err_sys(e, "cannot make the container's root '%s'", root);
	return image_root_copy(w->engine->images, c->image, root, &watch, &task, e);
}

static int begin(struct user *u, const struct container_request *r, struct creation *c,
		 struct err *e)
{
	struct engine *g = u->engine;
	char id[ENGINE_ID_HEX + 1];
	auto_free char *name = NULL;
	struct workload *w;

	if (request_check(r, e) < 0)
		return -ERR_INVALID;
	if ((!r->config.image || !*r->config.image) && !r->host.machine)
		return err_set(e, ERR_INVALID, "no image is named: \"Image\" is missing");
	world_random_hex(g->world, id, ENGINE_ID_HEX);
	name = r->name && *r->name ? mem_dup_text(*r->name == '/' ? r->name + 1 : r->name)
				   : name_invent(u);
	w = workload_new(g, id, u->owner, name);
	w->created_ns = world_now_ns(g->world);
	if (take_name(u, w, e) < 0) {
		(void)workload_free(w);
		return -ERR_EXISTS;
	}
	c->workload = w;
	map_put(&g->workloads, w->id, w);
	if (fill(w, r, c, e) < 0) {
		/* "Not found" makes clients pull: only the image may be that. */
		if (c->image && e->kind == ERR_NOT_FOUND)
			e->kind = ERR_INVALID;
		return -ERR_INVALID;
	}
	if (!w->runtime->machine && !image_overlay_works(g->images))
		return copy_root(c, e);
	workload_save(w, recorded, c);
	return 0;
}

void engine_create(struct user *u, const struct container_request *r, engine_created *done,
		   void *ctx)
{
	struct creation *c = mem_new(struct creation);

	assert(u && r && done);
	c->done = done;
	c->ctx = ctx;
	if (begin(u, r, c, &c->error) < 0)
		loop_defer(u->engine->loop, fail_now, c);
}
