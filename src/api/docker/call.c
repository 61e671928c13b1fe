/*
 * A call and its short answers.
 */
#include <assert.h>
#include <stdlib.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

struct call *call_of(void *p)
{
	struct call *c = p;

	assert(c->magic == CALL_MAGIC);
	return c;
}

const char *call_query(const struct call *c, const char *name)
{
	return http_request_query(c->r, name);
}

void call_release(struct call *c)
{
	assert(c->magic == CALL_MAGIC);
	c->body = json_free(c->body);
	c->held = json_free(c->held);
	arena_done(&c->arena);
	c->magic = 0;
	free(c);
}

void call_reply(struct call *c, int status)
{
	http_reply(c->r, status, NULL, NULL, 0);
	call_release(c);
}

void call_reply_json(struct call *c, int status, struct json *j)
{
	auto_strbuf struct strbuf b = {0};

	json_write(j, &b);
	strbuf_add_char(&b, '\n');
	(void)json_free(j);
	http_reply(c->r, status, TYPE_JSON, b.p, b.n);
	call_release(c);
}

/* Scripts and libraries look for Docker's "No such container", with its capital. */
void call_reply_err(struct call *c, const struct err *e)
{
	struct err docker = *e;

	if (text_starts(docker.text, "no such "))
		docker.text[0] = 'N';
	http_reply_err(c->r, &docker);
	call_release(c);
}

void call_reply_message(struct call *c, int status, const char *text)
{
	http_reply_message(c->r, status, "%s", text);
	call_release(c);
}

void call_done(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		call_reply(c, 204);
}

void call_changed(void *ctx, bool unchanged, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		call_reply(c, unchanged ? 304 : 204);
}
