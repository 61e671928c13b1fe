/*
 * Networks and their members.
 */
#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

void networks_list(struct call *c)
{
	struct network_view **views = NULL;
	struct filters f = {0};
	struct err e = {0};
	struct json *rows;
	size_t n = 0;

	if (param_filters(c, &f) < 0)
		return;
	if (engine_networks(c->user, &f, &c->arena, &views, &n, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	rows = json_new_array();
	for (size_t i = 0; i < n; i++)
		json_append(rows, shape_network(views[i], false));
	call_reply_json(c, 200, rows);
}

void networks_inspect(struct call *c)
{
	struct network_view *v = NULL;
	struct err e = {0};

	if (engine_network_inspect(c->user, c->params[0], &c->arena, &v, &e) < 0)
		call_reply_err(c, &e);
	else
		call_reply_json(c, 200, shape_network(v, true));
}

static void made(void *ctx, const char *id, const char *warning, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set_text(j, "Id", id);
	json_set_text(j, "Warning", warning ? warning : "");
	call_reply_json(c, 201, j);
}

void networks_create(struct call *c)
{
	struct network_request q = {0};
	struct err e = {0};

	if (!c->body)
		call_reply_message(c, 400, "the request has no body");
	else if (network_request_read(c->body, &c->arena, &q, &e) < 0)
		call_reply_err(c, &e);
	else
		engine_network_create(c->user, &q, made, c);
}

void networks_remove(struct call *c)
{
	engine_network_remove(c->user, c->params[0], call_done, c);
}

static void changed(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		call_reply(c, 200);
}

void networks_connect(struct call *c)
{
	const char *container = json_get_text(c->body, "Container");
	const struct json *settings = json_get(c->body, "EndpointConfig");
	struct endpoint_request q = {.network = arena_dup_text(&c->arena, c->params[0])};
	struct err e = {0};

	if (!container || !container[0])
		call_reply_message(c, 400, "the key 'Container' is missing");
	else if (json_kind(settings) == JSON_OBJECT &&
		 request_read_endpoint(settings, c->params[0], &c->arena, &q, &e) < 0)
		call_reply_err(c, &e);
	else
		engine_network_connect(c->user, c->params[0], container, &q, changed, c);
}

void networks_disconnect(struct call *c)
{
	const char *container = json_get_text(c->body, "Container");

	if (!container || !container[0])
		call_reply_message(c, 400, "the key 'Container' is missing");
	else
		engine_network_disconnect(c->user, c->params[0], container,
					  json_get_bool(c->body, "Force", false), changed, c);
}

static void pruned(void *ctx, char *const *removed, int64_t freed_bytes, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	(void)freed_bytes;
	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set(j, "NetworksDeleted", removed && removed[0] ? shape_texts(removed) : NULL);
	call_reply_json(c, 200, j);
}

void networks_prune(struct call *c)
{
	struct filters f = {0};

	if (param_filters(c, &f) == 0)
		engine_network_prune(c->user, &f, pruned, c);
}
