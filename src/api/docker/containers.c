/*
 * Containers: their list, their life and what is known about them.
 */
#include "api/docker/docker_priv.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/base/world.h"

/* -- the list -- */

struct list_state {
	struct container_view **views;
	struct container_sizes *sizes; /* NULL: not asked for */
	size_t n, at;
};

static void list_reply(struct call *c, const struct list_state *s)
{
	struct json *rows = json_new_array();
	int64_t now_ns = world_now_ns(&world_real);

	for (size_t i = 0; i < s->n; i++)
		json_append(rows, shape_container_row(s->views[i], s->sizes ? &s->sizes[i] : NULL,
						      now_ns));
	call_reply_json(c, 200, rows);
}

/* Sizes are measured one container after the other; one that vanished meanwhile counts nothing. */
static void list_sized(void *ctx, const struct container_sizes *sizes, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct list_state *s = c->state;

	if (!e)
		s->sizes[s->at] = *sizes;
	if (++s->at < s->n)
		engine_sizes(c->user, s->views[s->at]->id, list_sized, c);
	else
		list_reply(c, s);
}

void containers_list(struct call *c)
{
	struct list_state *s = arena_new(&c->arena, struct list_state);
	struct list_options o = {.all = param_flag(c, "all", false)};
	int64_t limit = 0;
	struct err e = {0};

	c->state = s;
	if (param_int(c, "limit", 0, &limit) < 0 || param_filters(c, &o.filters) < 0)
		return;
	o.limit = limit > 0 ? (int)limit : 0;
	if (limit > 0)
		o.all = true;
	if (engine_list(c->user, &o, &c->arena, &s->views, &s->n, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	if (!param_flag(c, "size", false) || s->n == 0) {
		list_reply(c, s);
		return;
	}
	s->sizes = arena_new_array(&c->arena, struct container_sizes, s->n);
	engine_sizes(c->user, s->views[0]->id, list_sized, c);
}

/* -- one container -- */

static void inspect_reply(struct call *c, const struct container_sizes *sizes)
{
	struct container_view *v = NULL;
	struct err e = {0};

	if (engine_inspect(c->user, c->params[0], &c->arena, &v, &e) < 0)
		call_reply_err(c, &e);
	else
		call_reply_json(c, 200, shape_container(c, v, sizes));
}

static void inspect_sized(void *ctx, const struct container_sizes *sizes, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		inspect_reply(c, sizes);
}

void containers_inspect(struct call *c)
{
	if (param_flag(c, "size", false))
		engine_sizes(c->user, c->params[0], inspect_sized, c);
	else
		inspect_reply(c, NULL);
}

static void created(void *ctx, const char *id, char *const *warnings, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set_text(j, "Id", id);
	json_set(j, "Warnings", shape_texts(warnings));
	call_reply_json(c, 201, j);
}

void containers_create(struct call *c)
{
	struct container_request q = {0};
	const char *name = call_query(c, "name");
	const char *platform = call_query(c, "platform");
	struct err e = {0};

	if (!c->body) {
		call_reply_message(c, 400, "config cannot be empty in order to create a container");
		return;
	}
	if (request_read(c->body, &c->arena, &q, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	if (name && name[0] == '/')
		name++;
	if (name && name[0])
		q.name = arena_dup_text(&c->arena, name);
	if (platform && platform[0])
		q.platform = arena_dup_text(&c->arena, platform);
	engine_create(c->user, &q, created, c);
}

void containers_start(struct call *c)
{
	engine_start(c->user, c->params[0], call_changed, c);
}

/* "t" and "signal" of stop and restart; t=-1: without end. */
static int stop_params(struct call *c, struct stop_options *ret)
{
	const char *t = call_query(c, "t");
	int64_t s = -1;

	if (param_int(c, "t", -1, &s) < 0)
		return -1;
	if (s > INT32_MAX || s < -1) {
		call_reply_message(c, 400, "invalid parameter 't'");
		return -1;
	}
	ret->timeout_s = t && s == -1 ? -2 : (int)s;
	ret->signal = call_query(c, "signal");
	if (ret->signal && !ret->signal[0])
		ret->signal = NULL;
	return 0;
}

void containers_stop(struct call *c)
{
	struct stop_options o;

	if (stop_params(c, &o) == 0)
		engine_stop(c->user, c->params[0], &o, call_changed, c);
}

void containers_restart(struct call *c)
{
	struct stop_options o;

	if (stop_params(c, &o) == 0)
		engine_restart(c->user, c->params[0], &o, call_done, c);
}

void containers_kill(struct call *c)
{
	engine_kill(c->user, c->params[0], call_query(c, "signal"), call_done, c);
}

void containers_pause(struct call *c)
{
	engine_pause(c->user, c->params[0], call_done, c);
}

void containers_unpause(struct call *c)
{
	engine_unpause(c->user, c->params[0], call_done, c);
}

void containers_rename(struct call *c)
{
	const char *name = call_query(c, "name");

	if (name && name[0] == '/')
		name++;
	if (!name || !name[0])
		call_reply_message(c, 400, "Neither old nor new names may be empty");
	else
		engine_rename(c->user, c->params[0], name, call_done, c);
}

static void updated(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set(j, "Warnings", json_new_array());
	call_reply_json(c, 200, j);
}

void containers_update(struct call *c)
{
	if (!c->body)
		call_reply_message(c, 400, "the request has no body");
	else
		engine_update(c->user, c->params[0], c->body, updated, c);
}

void containers_remove(struct call *c)
{
	struct remove_options o = {.force = param_flag(c, "force", false),
				   .volumes = param_flag(c, "v", false),
				   .link = param_flag(c, "link", false)};

	engine_remove(c->user, c->params[0], &o, call_done, c);
}

static void pruned(void *ctx, char *const *removed, int64_t freed_bytes, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set(j, "ContainersDeleted", removed && removed[0] ? shape_texts(removed) : NULL);
	json_set_i64(j, "SpaceReclaimed", freed_bytes);
	call_reply_json(c, 200, j);
}

void containers_prune(struct call *c)
{
	struct filters f = {0};

	if (param_filters(c, &f) == 0)
		engine_prune(c->user, &f, pruned, c);
}

static void resized(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		call_reply(c, 200);
}

void containers_resize(struct call *c)
{
	int64_t h = 0, w = 0;

	if (param_int(c, "h", 0, &h) < 0 || param_int(c, "w", 0, &w) < 0)
		return;
	if (h < 0 || w < 0 || h > UINT16_MAX || w > UINT16_MAX)
		call_reply_message(c, 400, "invalid terminal size");
	else
		engine_resize(c->user, c->params[0], (unsigned)h, (unsigned)w, resized, c);
}
