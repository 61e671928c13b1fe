/*
 * Actions: what a probe or a hook does once, in the words of the pod's spec. A command in the
 * container, an HTTP request, a connection, a question over gRPC, or just some time. Each has a
 * time limit, ends with one word (well or not) and a text for people, and can be called off.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/http_client.h"
#include "ground/wire/loop.h"
#include "ground/wire/unix.h"

#define ACTION_MAGIC	0x41435421u
#define OUTPUT_MAX	1024 /* bytes of what it said that are told */
#define GRPC_REPLY_MAX	64
#define FRAME_HEAD	8 /* of the streams of a process: see node_ops.h */
#define HTTP_FINE_FIRST 200
#define HTTP_FINE_END	400

struct action {
	uint32_t magic;
	struct list link;
	struct pod_container *container;
	struct loop_timer *timer;
	int64_t timeout_ms;
	bool sleeps;
	char exec[ENGINE_ID_HEX + 1];
	int fd;
	struct loop_watch *watch;
	struct http_call *call;
	bool grpc;
	char *url;
	struct strbuf said; /* its output, or the reply's bytes */
	bool good;
	char *text; /* how it ended, told late */
	action_done *done;
	void *ctx;
};

/* -- the end ----------------------------------------------------------------------------------- */

static void tell(void *arg)
{
	struct action *a = arg;
	action_done *done = a->done;
	void *ctx = a->ctx;
	char *text = take(a->text);
	bool good = a->good;

	a->exec[0] = '\0'; /* what it began is over */
	(void)action_cancel(a);
	done(ctx, good, text ? text : "");
	free(text);
}

/* The first word counts; it is told from outside of whoever says it. */
static void finish(struct action *a, bool good, char *text)
{
	assert(a->magic == ACTION_MAGIC);
	if (a->text) {
		free(text);
		return;
	}
	a->good = good;
	a->text = text;
	a->watch = loop_watch_free(a->watch);
	loop_timer_unset(a->timer);
	loop_defer(a->container->pod->agent->loop, tell, a);
}

static void kill_process(struct action *a)
{
	auto_arena struct arena arena = {0};
	struct exec_view *v;
	struct err e;

	if (engine_exec_inspect(a->container->pod->agent->user, a->exec, &arena, &v, &e) == 0 &&
	    v->running && v->pid > 0)
		(void)kill(v->pid, SIGKILL);
}

struct action *action_cancel(struct action *a)
{
	if (!a)
		return NULL;
	assert(a->magic == ACTION_MAGIC);
	if (a->exec[0] && !a->text)
		kill_process(a);
	loop_defer_cancel(a->container->pod->agent->loop, tell, a);
	a->watch = loop_watch_free(a->watch);
	a->timer = loop_timer_free(a->timer);
	if (a->call)
		(void)http_call_cancel(a->call);
	(void)fd_close(a->fd);
	list_remove(&a->link);
	free(a->url);
	free(a->text);
	strbuf_done(&a->said);
	a->magic = 0;
	free(a);
	return NULL;
}

static void late(void *arg)
{
	struct action *a = arg;

	if (a->sleeps) {
		finish(a, true, mem_dup_text(""));
		return;
	}
	if (a->exec[0])
		kill_process(a);
	finish(a, false,
	       a->exec[0] ? mem_printf("command timed out after %llds",
				       (long long)(a->timeout_ms / 1000))
	       : a->url	  ? mem_printf("Get \"%s\": context deadline exceeded (Client.Timeout "
					 "exceeded while awaiting headers)",
				       a->url)
			  : mem_printf("no connection within %llds",
				       (long long)(a->timeout_ms / 1000)));
}

/* -- a command --------------------------------------------------------------------------------- */

/* Frames of Docker's form become plain text; a broken end is left out. */
static void unframe(const struct strbuf *in, struct strbuf *out)
{
	const unsigned char *p = (const unsigned char *)in->p;
	size_t at = 0;

	while (at + FRAME_HEAD <= in->n) {
		size_t n = (size_t)p[at + 4] << 24 | (size_t)p[at + 5] << 16 |
			   (size_t)p[at + 6] << 8 | p[at + 7];

		at += FRAME_HEAD;
		if (n > in->n - at)
			n = in->n - at;
		if (out->n < OUTPUT_MAX)
			strbuf_add(out, in->p + at, n);
		at += n;
	}
}

static void hear(struct action *a)
{
	char piece[4096];
	ssize_t n;

	while ((n = read(a->fd, piece, sizeof(piece))) > 0)
		if (a->said.n < (size_t)16 * OUTPUT_MAX)
			strbuf_add(&a->said, piece, (size_t)n);
	if (n == 0 || errno != EAGAIN)
		a->watch = loop_watch_free(a->watch);
}

static void heard(void *arg, unsigned int ready)
{
	(void)ready;
	hear(arg);
}

static void exec_done(struct action *a, int code)
{
	auto_strbuf struct strbuf plain = {0};

	if (a->watch)
		hear(a);
	unframe(&a->said, &plain);
	finish(a, code == 0,
	       plain.n ? str_dup(str_trim(strbuf_str(&plain)))
	       : code  ? mem_printf("command exited with code %d", code)
		       : mem_dup_text(""));
}

void action_exec_ended(struct node_agent *agent, const char *exec_id, int code)
{
	list_each (&agent->actions, struct action, link, a)
		if (text_eq(a->exec, exec_id))
			exec_done(a, code);
}

struct exec_late {
	struct node_agent *agent;
	char exec[ENGINE_ID_HEX + 1];
};

static void exec_started(void *ctx, const struct err *e)
{
	struct exec_late *l = ctx;

	list_each (&l->agent->actions, struct action, link, a)
		if (e && text_eq(a->exec, l->exec))
			finish(a, false, mem_dup_text(e->text));
	free(l);
}

static int start_exec(struct action *a, const struct json *handler, struct err *e)
{
	struct pod_container *c = a->container;
	auto_arena struct arena arena = {0};
	const struct json *command = json_get(handler, "command");
	struct exec_request r = {.attach_stdout = true, .attach_stderr = true};
	struct exec_late *l;
	int ends[2];

	r.cmd = arena_new_array(&arena, char *, json_len(command) + 1);
	for (size_t i = 0; i < json_len(command); i++)
		r.cmd[i] = arena_dup_text(&arena, json_text(json_at(command, i)));
	if (!r.cmd[0])
		return err_set(e, ERR_INVALID, "the command is empty");
	if (unix_pair(SOCK_STREAM, ends, e) < 0)
		return -ERR_SYSTEM;
	a->fd = ends[0];
	if (loop_watch_new(c->pod->agent->loop, a->fd, LOOP_READ, heard, a, &a->watch, e) < 0 ||
	    engine_exec_create(c->pod->agent->user, c->id, &r, a->exec, e) < 0) {
		(void)fd_close(ends[1]);
		return -(int)e->kind;
	}
	l = mem_new(struct exec_late);
	l->agent = c->pod->agent;
	memcpy(l->exec, a->exec, sizeof(l->exec));
	engine_exec_start(c->pod->agent->user, a->exec, &(struct exec_start_options){0}, ends[1],
			  STR(""), exec_started, l);
	return 0;
}

/* -- where it connects to ---------------------------------------------------------------------- */

static const char *address_of(const struct pod_container *c, const struct json *handler)
{
	const char *host = json_get_text(handler, "host");

	if (host && host[0])
		return host;
	return pod_ip(c->pod);
}

/* A number, or the name of one of the container's ports. 0: there is none. */
static uint16_t port_of(const struct json *spec, const struct json *port)
{
	const struct json *list = json_get(spec, "ports");
	const char *name = json_text(port);
	uint32_t n = (uint32_t)json_i64(port, 0);
	struct err e;

	for (size_t i = 0; name && i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "name"), name))
			return (uint16_t)json_get_i64(json_at(list, i), "containerPort", 0);
	if (name && parse_u32(str_of(name), "port", &n, &e) < 0)
		return 0;
	return n > UINT16_MAX ? 0 : (uint16_t)n;
}

/* -- HTTP and gRPC ----------------------------------------------------------------------------- */

static void reply_data(void *arg, struct http_call *c, const void *bytes, size_t n)
{
	struct action *a = arg;

	(void)c;
	if (a->said.n + n <= (a->grpc ? GRPC_REPLY_MAX : OUTPUT_MAX))
		strbuf_add(&a->said, bytes, n);
}

/* The answer of grpc.health.v1: a frame that holds {1: status}; 1 is SERVING. */
static void grpc_done(struct action *a, struct http_call *c, int status)
{
	const char *code = http_call_header(c, "grpc-status"),
		   *why = http_call_header(c, "grpc-message");
	static const char serving[] = {0, 0, 0, 0, 2, 8, 1};

	if (status == HTTP_FINE_FIRST && a->said.n == sizeof(serving) &&
	    memcmp(a->said.p, serving, sizeof(serving)) == 0)
		finish(a, true, mem_dup_text(""));
	else if (code && !text_eq(code, "0"))
		finish(a, false,
		       mem_printf("rpc error: code = %s desc = %s", code, why ? why : ""));
	else
		finish(a, false,
		       mem_dup_text("service unhealthy (responded with \"NOT_SERVING\")"));
}

static void reply_done(void *arg, struct http_call *c, int status, const struct err *e)
{
	struct action *a = arg;

	a->call = NULL;
	if (e)
		finish(a, false, mem_printf("Get %s", e->text));
	else if (a->grpc)
		grpc_done(a, c, status);
	else if (status >= HTTP_FINE_FIRST && status < HTTP_FINE_END)
		finish(a, true, mem_dup_text(""));
	else
		finish(a, false, mem_printf("HTTP probe failed with statuscode: %d", status));
}

static const char **headers_of(struct arena *arena, const struct json *handler)
{
	const struct json *list = json_get(handler, "httpHeaders");
	const char **h = arena_new_array(arena, const char *, json_len(list) + 3);
	size_t n = 0;

	h[n++] = "Accept: */*";
	h[n++] = "Connection: close";
	for (size_t i = 0; i < json_len(list); i++)
		h[n++] = arena_printf(arena, "%s: %s", json_get_text(json_at(list, i), "name"),
				      json_get_text(json_at(list, i), "value"));
	return h;
}

static int start_http(struct action *a, const struct json *spec, const struct json *handler,
		      struct err *e)
{
	auto_arena struct arena arena = {0};
	const char *scheme = json_get_text(handler, "scheme"),
		   *path = json_get_text(handler, "path");
	const char *host = address_of(a->container, handler);
	uint16_t port = port_of(spec, json_get(handler, "port"));
	bool tls = text_eq(scheme, "HTTPS"), v6 = strchr(host, ':') != NULL;
	struct http_call_options o = {.headers = headers_of(&arena, handler),
				      .connect_timeout_ms = a->timeout_ms,
				      .stall_timeout_ms = a->timeout_ms,
				      .insecure = true,
				      .ops = {.done = reply_done},
				      .arg = a};

	if (port == 0)
		return err_set(e, ERR_INVALID,
			       "the port of the request is neither a number nor the name of one "
			       "of the container's ports");
	a->url = mem_printf("%s://%s%s%s:%u%s%s", tls ? "https" : "http", v6 ? "[" : "", host,
			    v6 ? "]" : "", port, path && path[0] == '/' ? "" : "/",
			    path ? path : "");
	o.url = a->url;
	return http_call_start(a->container->pod->agent->http, &o, &a->call, e);
}

static int start_grpc(struct action *a, const struct json *handler, struct err *e)
{
	static const char *const headers[] = {"Content-Type: application/grpc", "TE: trailers",
					      NULL};
	const char *service = json_get_text(handler, "service");
	auto_strbuf struct strbuf body = {0};
	size_t n = service ? strlen(service) : 0;
	struct http_call_options o = {.method = "POST",
				      .headers = headers,
				      .connect_timeout_ms = a->timeout_ms,
				      .stall_timeout_ms = a->timeout_ms,
				      .plain_http2 = true,
				      .ops = {.data = reply_data, .done = reply_done},
				      .arg = a};

	if (n > 100)
		return err_set(e, ERR_INVALID, "the service's name is longer than 100 bytes");
	strbuf_add(&body, "\0\0\0\0", 4);
	strbuf_add_char(&body, (char)(n ? n + 2 : 0));
	if (n) { /* HealthCheckRequest {1: service} */
		strbuf_add_char(&body, '\n');
		strbuf_add_char(&body, (char)n);
		strbuf_add(&body, service, n);
	}
	a->grpc = true;
	a->url = mem_printf("http://%s:%u/grpc.health.v1.Health/Check",
			    address_of(a->container, handler),
			    (unsigned int)json_get_i64(handler, "port", 0));
	o.url = a->url;
	o.body = body.p;
	o.body_n = body.n;
	return http_call_start(a->container->pod->agent->http, &o, &a->call, e);
}

/* -- a connection ------------------------------------------------------------------------------ */

static void connected(void *arg, unsigned int ready)
{
	struct action *a = arg;
	int sys = 0;
	socklen_t n = sizeof(sys);

	(void)ready;
	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &sys, &n) < 0)
		sys = errno;
	finish(a, sys == 0,
	       sys ? mem_printf("dial tcp: connect: %s", strerror(sys)) : mem_dup_text(""));
}

static int start_connection(struct action *a, const struct json *spec, const struct json *handler,
			    struct err *e)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	const char *host = address_of(a->container, handler);
	uint16_t port = port_of(spec, json_get(handler, "port"));

	to.sin_port = htons(port);
	if (port == 0 || inet_pton(AF_INET, host, &to.sin_addr) != 1)
		return err_set(e, ERR_INVALID, "cannot connect to port %u of \"%s\"", port, host);
	a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0)
		return err_sys(e, "cannot make a socket");
	if (connect(a->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return err_sys(e, "dial tcp %s:%u: connect", host, port);
	return loop_watch_new(a->container->pod->agent->loop, a->fd, LOOP_WRITE, connected, a,
			      &a->watch, e);
}

/* -- the beginning ----------------------------------------------------------------------------- */

static int begin(struct action *a, const struct json *spec, const struct json *handler,
		 struct err *e)
{
	const struct json *h;

	if ((h = json_get(handler, "exec")) != NULL)
		return start_exec(a, h, e);
	if ((h = json_get(handler, "httpGet")) != NULL)
		return start_http(a, spec, h, e);
	if ((h = json_get(handler, "tcpSocket")) != NULL)
		return start_connection(a, spec, h, e);
	if ((h = json_get(handler, "grpc")) != NULL)
		return start_grpc(a, h, e);
	if ((h = json_get(handler, "sleep")) == NULL)
		return err_set(e, ERR_INVALID,
			       "no handler is given: exec, httpGet, tcpSocket, "
			       "grpc and sleep are known");
	a->sleeps = true;
	loop_timer_set(a->timer, json_get_i64(h, "seconds", 0) * 1000, 0);
	return 0;
}

struct action *action_start(struct pod_container *c, const struct json *spec,
			    const struct json *handler, int64_t timeout_ms, action_done *done,
			    void *ctx)
{
	struct action *a = mem_new(struct action);
	struct node_agent *agent = c->pod->agent;
	struct err e;

	assert(done && timeout_ms >= 0);
	a->magic = ACTION_MAGIC;
	a->container = c;
	a->fd = -1;
	a->timeout_ms = timeout_ms;
	a->done = done;
	a->ctx = ctx;
	a->timer = loop_timer_new(agent->loop, late, a);
	list_append(&agent->actions, &a->link);
	if (begin(a, spec, handler, &e) < 0)
		finish(a, false, mem_dup_text(e.text));
	else if (!a->sleeps)
		loop_timer_set(a->timer, timeout_ms, 0);
	return a;
}
