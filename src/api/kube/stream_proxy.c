/*
 * Proxies: one request relayed to a TCP connection of a pod, and its reply back. Method, path,
 * query, headers and body go over as they are, but for what belongs to the hop. The reply is passed
 * on as it comes, at the client's speed.
 *
 * Not done: connections that are taken over (WebSockets through a proxy), links inside pages.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "api/kube/stream_priv.h"
#include "ground/base/own.h"
#include "ground/wire/http_head.h"
#include "ground/wire/http_local.h"

#define RELAY_MAGIC    0x4b726c79u
#define PROXY_BODY_MAX ((size_t)16 << 20)

struct relay {
	uint32_t magic;
	struct stream life; /* once it is connected */
	struct kube_request *request;
	struct loop *loop;
	struct stream_node node;
	uint16_t port;
	int fd;
	struct loop_watch *watch;
	struct strbuf out, in; /* request and reply */
	struct http_head head;
	struct http_body body;
	bool connecting, left; /* left: the client, while the node connects */
	bool begun, full, head_only;
};

static struct relay *relay_of(void *p)
{
	struct relay *l = p;

	assert(l->magic == RELAY_MAGIC);
	return l;
}

static void relay_free(struct relay *l)
{
	if (l->request) {
		http_reply_on_drained(l->request->http, NULL, NULL);
		http_request_on_gone(l->request->http, NULL, NULL);
	}
	list_remove(&l->life.link);
	l->watch = loop_watch_free(l->watch);
	l->fd = fd_close(l->fd);
	strbuf_done(&l->out);
	strbuf_done(&l->in);
	http_head_done(&l->head);
	l->magic = 0;
	free(l);
}

/* Nothing more comes, or nothing right. */
static void relay_fail(struct relay *l, const char *why)
{
	struct kube_request *r = l->request;
	bool begun = l->begun;

	relay_free(l);
	if (!begun) {
		answer_status(r, 503, "ServiceUnavailable", NULL,
			      "error trying to reach service: %s", why);
		return;
	}
	http_request_drop(r->http); /* the client must not take it for whole */
	request_end(r);
}

static void relay_end(struct relay *l)
{
	struct kube_request *r = l->request;

	relay_free(l);
	http_reply_end(r->http);
	request_end(r);
}

/* -- the request ------------------------------------------------------------------------------- */

static bool is_of_the_hop(const char *name)
{
	static const char *const names[] = {"Connection",
					    "Keep-Alive",
					    "Proxy-Connection",
					    "TE",
					    "Trailer",
					    "Upgrade",
					    "Host",
					    "Transfer-Encoding",
					    "Content-Length",
					    "Authorization",
					    "Expect"};

	for (size_t i = 0; i < array_len(names); i++)
		if (strcasecmp(names[i], name) == 0)
			return true;
	return false;
}

static void put_path(struct strbuf *out, const struct kube_request *r)
{
	struct str rest = str_of(r->rest ? r->rest : ""), part;
	const char *name, *value;

	while (str_cut(&rest, '/', &part)) {
		auto_free char *text = str_dup(part);

		strbuf_add_char(out, '/');
		http_encode(out, text);
	}
	if (!r->rest || text_ends(http_request_path(r->http), "/"))
		strbuf_add_char(out, '/');
	for (size_t i = 0; http_request_each_query(r->http, i, &name, &value); i++) {
		strbuf_add_char(out, i ? '&' : '?');
		http_encode(out, name);
		strbuf_add_char(out, '=');
		http_encode(out, value);
	}
}

static void put_request(struct relay *l, struct str body)
{
	const struct kube_request *r = l->request;
	const char *method = http_request_method(r->http), *name, *value;
	const char *host = http_request_header(r->http, "Host");

	strbuf_printf(&l->out, "%s ", method);
	put_path(&l->out, r);
	strbuf_printf(&l->out, " HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n",
		      host ? host : "localhost");
	for (size_t i = 0; http_request_each_header(r->http, i, &name, &value); i++)
		if (!is_of_the_hop(name))
			strbuf_printf(&l->out, "%s: %s\r\n", name, value);
	if (body.n || text_eq(method, "POST") || text_eq(method, "PUT"))
		strbuf_printf(&l->out, "Content-Length: %zu\r\n", body.n);
	strbuf_add_text(&l->out, "\r\n");
	strbuf_add(&l->out, body.p, body.n);
	l->head_only = text_eq(method, "HEAD");
}

/* -- the reply --------------------------------------------------------------------------------- */

static void put_headers(struct relay *l)
{
	struct kube_request *r = l->request;
	const char *path = http_request_path(r->http);
	size_t prefix = strlen(path) - (r->rest ? strlen(r->rest) : 0);

	while (prefix > 1 && path[prefix - 1] == '/')
		prefix--;
	for (size_t i = 0; i < l->head.fields_n; i++) {
		const char *name = l->head.fields[i].name, *value = l->head.fields[i].value;

		if (is_of_the_hop(name) || strcasecmp(name, "Content-Type") == 0)
			continue;
		if (strcasecmp(name, "Location") == 0 && value[0] == '/') {
			auto_free char *there = mem_printf("%.*s%s", (int)prefix, path, value);

			http_reply_header(r->http, name, there);
			continue;
		}
		http_reply_header(r->http, name, value);
	}
}

/* The head is in l->head. false: the reply is over. */
static bool reply_begins(struct relay *l)
{
	struct kube_request *r = l->request;
	const char *type = http_head_get(&l->head, "Content-Type");
	int status = l->head.status;

	put_headers(l);
	if (l->head_only || status == 204 || status == 304) {
		relay_free(l);
		http_reply(r->http, status, type, "", 0);
		request_end(r);
		return false;
	}
	http_reply_begin(r->http, status, type);
	l->begun = true;
	return true;
}

/* What is in l->in goes on. false: the reply is over, well or not. */
static bool pass_on(struct relay *l)
{
	struct str piece;
	size_t used = 0;

	while (!l->body.ended) {
		if (http_body_next(&l->body, strbuf_str(&l->in), &piece, &used, NULL) < 0) {
			relay_fail(l, "its reply is damaged");
			return false;
		}
		if (piece.n &&
		    http_reply_push(l->request->http, piece.p, piece.n) > HTTP_REPLY_FULL)
			l->full = true;
		strbuf_drop_front(&l->in, used);
		if (!used && !l->body.ended)
			return true;
	}
	relay_end(l);
	return false;
}

static bool read_head(struct relay *l)
{
	size_t n = 0;
	int r;

	do {
		http_head_done(&l->head);
		l->head = (struct http_head){0};
		r = http_head_parse(strbuf_str(&l->in), &l->head, &n, NULL);
		if (r == 1)
			return true;
		if (r == 0)
			strbuf_drop_front(&l->in, n);
	} while (r == 0 && l->head.status >= 100 && l->head.status < 200);
	if (r < 0 || http_body_start(&l->head, l->head_only, &l->body, NULL) < 0) {
		relay_fail(l, "it does not speak HTTP");
		return false;
	}
	return reply_begins(l) && pass_on(l);
}

/* false: it is over. */
static bool receive(struct relay *l)
{
	char block[STREAM_BLOCK];
	ssize_t n = recv(l->fd, block, sizeof(block), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n > 0) {
		strbuf_add(&l->in, block, (size_t)n);
		return l->begun ? pass_on(l) : read_head(l);
	}
	if (l->begun && n == 0 && l->body.kind == HTTP_BODY_UNTIL_CLOSE)
		relay_end(l);
	else
		relay_fail(l, "the connection was closed");
	return false;
}

static void ready(void *arg, unsigned what)
{
	struct relay *l = relay_of(arg);

	if (l->out.n) {
		ssize_t n = send(l->fd, l->out.p, l->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			strbuf_clear(&l->out); /* its reply may be there all the same */
		else if (n > 0)
			strbuf_drop_front(&l->out, (size_t)n);
	}
	if (what & (LOOP_READ | LOOP_HUP) && !l->full && !receive(l))
		return;
	loop_watch_want(l->watch, (l->full ? 0 : LOOP_READ) | (l->out.n ? LOOP_WRITE : 0));
}

static void drained(void *arg)
{
	struct relay *l = relay_of(arg);

	l->full = false;
	loop_watch_want(l->watch, LOOP_READ | (l->out.n ? LOOP_WRITE : 0));
}

static void gone(void *arg)
{
	struct relay *l = relay_of(arg);
	struct kube_request *r = take(l->request);

	http_reply_on_drained(r->http, NULL, NULL);
	http_request_drop(r->http);
	request_end(r);
	if (l->connecting)
		l->left = true; /* the node's answer frees it */
	else
		relay_free(l);
}

static void life_end(struct stream *s)
{
	gone(container_of(s, struct relay, life));
}

static void connected(void *ctx, int fd, const struct err *e)
{
	struct relay *l = relay_of(ctx);
	struct err why = {0};

	l->connecting = false;
	if (l->left) {
		(void)fd_close(fd);
		relay_free(l);
		return;
	}
	if (e) {
		relay_fail(l, e->text);
		return;
	}
	l->fd = fd;
	stream_add(l->request->kube, &l->life, life_end);
	if (loop_watch_new(l->loop, fd, LOOP_READ | LOOP_WRITE, ready, l, &l->watch, &why) < 0)
		relay_fail(l, why.text);
	else
		http_reply_on_drained(l->request->http, drained, l);
}

static void with_body(void *arg, struct http_request *http, struct str body, const struct err *e)
{
	struct relay *l = relay_of(arg);

	(void)e;
	if (!http) { /* too long, or it left: answered */
		request_end(take(l->request));
		relay_free(l);
		return;
	}
	put_request(l, body);
	l->connecting = true;
	http_request_on_gone(http, gone, l);
	l->node.ops->connect(l->node.node, &l->node.target, l->port, connected, l);
}

void proxy_run(struct kube_request *r, const struct stream_node *n, uint16_t port)
{
	struct relay *l = mem_new(struct relay);

	assert(port);
	*l = (struct relay){.magic = RELAY_MAGIC,
			    .request = r,
			    .loop = r->kube->loop,
			    .node = *n,
			    .port = port,
			    .fd = -1};
	list_init(&l->life.link);
	http_request_gather(r->http, PROXY_BODY_MAX, with_body, l);
}
