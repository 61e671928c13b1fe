/*
 * Volumes.
 */
#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

void volumes_list(struct call *c)
{
	struct volume_view **views = NULL;
	struct filters f = {0};
	struct err e = {0};
	struct json *j, *rows;
	size_t n = 0;

	if (param_filters(c, &f) < 0)
		return;
	if (engine_volumes(c->user, &f, &c->arena, &views, &n, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	j = json_new_object();
	rows = json_new_array();
	for (size_t i = 0; i < n; i++)
		json_append(rows, shape_volume(views[i]));
	json_set(j, "Volumes", rows);
	json_set(j, "Warnings", NULL);
	call_reply_json(c, 200, j);
}

void volumes_inspect(struct call *c)
{
	struct volume_view *v = NULL;
	struct err e = {0};

	if (engine_volume_inspect(c->user, c->params[0], &c->arena, &v, &e) < 0)
		call_reply_err(c, &e);
	else
		call_reply_json(c, 200, shape_volume(v));
}

static void made(void *ctx, const struct volume_view *v, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		call_reply_json(c, 201, shape_volume(v));
}

void volumes_create(struct call *c)
{
	struct volume_request q = {0};
	struct err e = {0};

	if (c->body && volume_request_read(c->body, &c->arena, &q, &e) < 0)
		call_reply_err(c, &e);
	else
		engine_volume_create(c->user, &q, made, c);
}

void volumes_remove(struct call *c)
{
	engine_volume_remove(c->user, c->params[0], param_flag(c, "force", false), call_done, c);
}

#define NAMED_STAY 42 /* since API 1.42 named volumes are pruned only when asked for */

static void pruned(void *ctx, char *const *removed, int64_t freed_bytes, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set(j, "VolumesDeleted", removed && removed[0] ? shape_texts(removed) : NULL);
	json_set_i64(j, "SpaceReclaimed", freed_bytes);
	call_reply_json(c, 200, j);
}

void volumes_prune(struct call *c)
{
	struct filters f = {0};

	if (param_filters(c, &f) == 0)
		engine_volume_prune(c->user, &f, c->minor < NAMED_STAY, pruned, c);
}
