/* Requests over the daemon's unix socket: see client.h. */
#include "cli/client.h"

#include <errno.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "ground/base/mem.h"

#define REPLY_MAX_BYTES (64u << 20)
#define LINE_MAX_BYTES	(16u << 20)
#define HEADERS_MAX	4

struct headers {
	char *owner;
	char *type;
	const char *list[HEADERS_MAX];
};

static void headers_done(struct headers *h)
{
	free(h->owner);
	free(h->type);
}

static void headers_make(struct headers *h, const struct context *c, const char *type)
{
	size_t n = 0;

	h->owner = mem_printf("X-Hull-Owner: %s", c->owner);
	h->list[n++] = h->owner;
	if (type) {
		h->type = mem_printf("Content-Type: %s", type);
		h->list[n++] = h->type;
	}
	h->list[n] = NULL;
}

static enum err_kind kind_of_status(int status)
{
	for (int k = ERR_NOT_FOUND; k < ERR_KINDS; k++) {
		if (err_kind_info((enum err_kind)k)->http_status == status)
			return (enum err_kind)k;
	}
	return ERR_SYSTEM;
}

/* Reads the body of a refusal and closes the connection. */
static int refused(struct http_local *h, int status, struct err *e)
{
	auto_strbuf struct strbuf body = {0};
	auto_json struct json *j = NULL;
	const char *message = NULL;
	int r = http_local_read_all(h, 1u << 20, &body, e);

	http_local_close(h);
	if (r < 0)
		return r;
	if (json_parse(strbuf_str(&body), "reply", &j, NULL) == 0)
		message = json_get_text(j, "message");
	return err_set(e, kind_of_status(status), "%s",
		       message ? message : "the daemon refused without saying why");
}

static int connect_to(const struct context *c, struct http_local *ret, struct err *e)
{
	int r = http_local_open(c->socket, ret, e);

	if (r == 0 || (e->sys != ENOENT && e->sys != ECONNREFUSED))
		return r;
	err_clear(e);
	r = daemon_ensure(c, e);
	return r < 0 ? r : http_local_open(c->socket, ret, e);
}

int client_open(const struct context *c, const struct client_request *q, struct http_local *ret,
		struct err *e)
{
	__attribute__((cleanup(headers_done))) struct headers headers = {0};
	auto_strbuf struct strbuf body = {0};
	struct http_local_request request = {.method = q->method, .target = q->target};
	int status = 0;
	int r = connect_to(c, ret, e);

	if (r < 0)
		return r;
	if (q->body)
		json_write(q->body, &body);
	headers_make(&headers, c,
		     q->body_type ? q->body_type
		     : q->body	  ? "application/json"
				  : NULL);
	request.headers = headers.list;
	request.body = body.p;
	request.body_n = body.n;
	request.body_from_fd = q->body_type != NULL;
	request.body_fd = q->body_fd;
	r = http_local_call(ret, &request, &status, e);
	if (r < 0) {
		http_local_close(ret);
		return err_wrap(e, "asking the daemon at '%s'", c->socket);
	}
	return status >= 400 ? refused(ret, status, e) : 0;
}

int client_call(const struct context *c, const char *method, const char *target,
		const struct json *body, struct json **ret, struct err *e)
{
	const struct client_request q = {.method = method, .target = target, .body = body};
	auto_strbuf struct strbuf reply = {0};
	struct http_local h;
	int r = client_open(c, &q, &h, e);

	if (r < 0)
		return r;
	r = http_local_read_all(&h, REPLY_MAX_BYTES, &reply, e);
	http_local_close(&h);
	if (r < 0 || !ret)
		return r;
	*ret = NULL;
	return reply.n ? json_parse(strbuf_str(&reply), "the daemon's reply", ret, e) : 0;
}

int client_send(const struct context *c, const struct client_request *q, struct err *e)
{
	struct strbuf reply = {0};
	struct http_local h;
	int r = client_open(c, q, &h, e);

	if (r < 0)
		return r;
	r = http_local_read_all(&h, REPLY_MAX_BYTES, &reply, e);
	http_local_close(&h);
	strbuf_done(&reply);
	return r;
}

int client_upgrade(const struct context *c, const char *target, const struct json *body,
		   int *ret_fd, struct strbuf *early, struct err *e)
{
	__attribute__((cleanup(headers_done))) struct headers headers = {0};
	auto_strbuf struct strbuf text = {0};
	struct http_local_request request = {.method = "POST", .target = target};
	struct http_local h;
	int status = 0, fd = -1;
	int r = connect_to(c, &h, e);

	if (r < 0)
		return r;
	if (body)
		json_write(body, &text);
	headers_make(&headers, c, body ? "application/json" : NULL);
	request.headers = headers.list;
	request.body = text.p;
	request.body_n = text.n;
	r = http_local_upgrade(&h, &request, &status, &fd, early, e);
	if (r < 0) {
		http_local_close(&h);
		return r;
	}
	if (fd < 0)
		return refused(&h, status, e);
	*ret_fd = fd;
	return 0;
}

/* Hands whole lines of `line` to each; returns what each said, 0 while it wants more. */
static int take_lines(struct strbuf *line, bool ended, int (*each)(void *arg, const struct json *j),
		      void *arg, struct err *e)
{
	int r = 0;

	while (r == 0 && line->n) {
		auto_json struct json *j = NULL;
		const char *end = memchr(line->p, '\n', line->n);
		size_t n = end ? (size_t)(end - line->p) : line->n;

		if (!end && !ended)
			return 0;
		if (str_trim((struct str){line->p, n}).n) {
			r = json_parse((struct str){line->p, n}, "the daemon's stream", &j, e);
			if (r == 0)
				r = each(arg, j);
		}
		strbuf_drop_front(line, end ? n + 1 : n);
	}
	return r;
}

int client_each(struct http_local *h, int (*each)(void *arg, const struct json *j), void *arg,
		struct err *e)
{
	auto_strbuf struct strbuf line = {0};
	char buf[16384];
	size_t n = 0;
	int r;

	do {
		r = http_local_read(h, buf, sizeof(buf), &n, e);
		if (r < 0)
			return r;
		strbuf_add(&line, buf, n);
		if (line.n > LINE_MAX_BYTES)
			return err_set(e, ERR_INVALID, "the daemon sent a line that is too long");
		r = take_lines(&line, n == 0, each, arg, e);
	} while (r == 0 && n);
	return r;
}

int client_copy(struct http_local *h, int fd, struct err *e)
{
	char buf[65536];
	size_t n = 0;
	int r;

	while ((r = http_local_read(h, buf, sizeof(buf), &n, e)) == 0 && n) {
		for (size_t at = 0; at < n;) {
			ssize_t put = write(fd, buf + at, n - at);

			if (put < 0 && errno == EINTR)
				continue;
			if (put < 0)
				return err_sys(e, "cannot write the output");
			at += (size_t)put;
		}
	}
	return r;
}

char *client_target(const char *fmt, const char *name)
{
	auto_strbuf struct strbuf encoded = {0};
	const char *at = strstr(fmt, "%s");
	struct strbuf out = {0};

	http_encode(&encoded, name);
	strbuf_add(&out, fmt, (size_t)(at - fmt));
	strbuf_add_text(&out, strbuf_text(&encoded));
	strbuf_add_text(&out, at + 2);
	return strbuf_take(&out);
}
