/*
 * The door: every request gets the headers that Docker's clients look for, its version checked, its
 * owner found, its body read as JSON where its route says so, and then its handler.
 */
#include "api/docker/docker.h"

#include <assert.h>
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"
#include "ground/wire/http_client.h"

#define TEXT_(x) #x
#define TEXT(x)	 TEXT_(x)

static const struct {
	const char *name, *value;
} headers[] = {
	{"Api-Version", "1." TEXT(DOCKER_API_MINOR)},
	{"Docker-Experimental", "false"},
	{"Ostype", "linux"},
	{"Server", "Hull/" HULL_VERSION " (linux)"},
};

static void handle_body(void *arg, struct http_request *r, struct str body, const struct err *e)
{
	struct call *c = call_of(arg);
	struct err why = {0};

	(void)r;
	if (e) { /* too long, or the client left: answered already */
		call_release(c);
		return;
	}
	body = str_trim(body);
	if (body.n && json_parse(body, "request body", &c->body, &why) < 0) {
		call_reply_err(c, &why);
		return;
	}
	if (c->body && json_kind(c->body) == JSON_NULL)
		c->body = json_free(c->body);
	if (c->body && json_kind(c->body) != JSON_OBJECT) {
		call_reply_message(c, 400, "request body: expected a JSON object");
		return;
	}
	c->route->handle(c);
}

static struct call *call_new(struct docker *d, struct http_request *r, enum owner owner)
{
	struct call *c = mem_new(struct call);

	c->magic = CALL_MAGIC;
	c->docker = d;
	c->r = r;
	c->user = engine_user(d->engine, owner);
	return c;
}

/* Who does not say speaks for docker. */
static bool owner_of(const struct http_request *r, enum owner *ret)
{
	const char *name = http_request_header(r, "X-Hull-Owner");

	*ret = OWNER_DOCKER;
	for (int i = 0; name && i < OWNERS; i++) {
		*ret = (enum owner)i;
		if (text_eq(owner_name(*ret), name))
			return true;
	}
	return !name;
}

static void handle(void *arg, struct http_request *r)
{
	struct docker *d = arg;
	const char *path = http_request_path(r);
	enum owner owner;
	bool known = owner_of(r, &owner);
	struct call *c = call_new(d, r, owner);
	struct err e = {0};

	for (size_t i = 0; i < array_len(headers); i++)
		http_reply_header(r, headers[i].name, headers[i].value);
	if (!known) {
		call_reply_message(c, 400, "the header X-Hull-Owner names an unknown owner");
		return;
	}
	if (route_version(&path, &c->minor, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	c->route = route_find(routes, routes_n, http_request_method(r), path, &c->arena, c->params);
	if (!c->route)
		call_reply_message(c, 404, "page not found");
	else if (c->route->body == BODY_JSON)
		http_request_gather(r, CALL_BODY_MAX, handle_body, c);
	else
		c->route->handle(c);
}

int docker_new(struct loop *l, struct engine *engine, struct docker **ret, struct err *e)
{
	struct docker *d = mem_new(struct docker);
	int r;

	d->loop = l;
	d->engine = engine;
	r = http_server_new(l, handle, d, &d->server, e);
	if (r < 0) {
		free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int docker_listen(struct docker *d, int fd, struct err *e)
{
	return http_server_listen(d->server, fd, e);
}

struct docker *docker_free(struct docker *d)
{
	if (!d)
		return NULL;
	d->server = http_server_free(d->server);
	d->client = http_client_free(d->client);
	free(d);
	return NULL;
}
