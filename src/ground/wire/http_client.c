/*
 * The HTTP client over libcurl's multi interface. libcurl tells which sockets to watch and when to
 * be woken; the loop watches and wakes. A call that ended is told from a deferred call, so that
 * `done` may start or cancel others.
 *
 * Credentials: the Authorization header is given to libcurl as a header of the call's own, which it
 * does not send on to another host, port or scheme after a redirect. A redirect never leads from
 * https to http.
 */
#include "ground/wire/http_client.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ground/base/list.h"
#include "ground/base/own.h"
#include "ground/wire/http_head.h"

#define CLIENT_MAGIC   0x48744363u
#define CALL_MAGIC     0x48744361u
#define STALL_CHECK_MS 5000

struct http_client {
	unsigned magic;
	struct loop *loop;
	CURLM *multi;
	struct loop_timer *timer;
	char *user_agent;
	struct list calls;
	struct list sockets;
};

/* A socket libcurl asked to watch. */
struct call_socket {
	struct list link;
	struct http_client *client;
	struct loop_watch *watch;
	curl_socket_t fd;
};

struct http_call {
	unsigned magic;
	struct list link;
	struct http_client *client;
	CURL *easy;
	struct curl_slist *headers;
	struct http_call_ops ops;
	void *arg;
	bool started; /* in the multi handle */
	bool paused;
	bool ended;
	bool inside;	/* in one of libcurl's callbacks: no call into libcurl for this handle */
	bool cancelled; /* from inside */
	bool replied;
	bool http2;
	CURLcode result;
	char why[CURL_ERROR_SIZE];
	struct strbuf head; /* of the reply that is being read, as bytes */
	struct http_head reply;
	int body_fd;
	int64_t body_start, body_at, body_end;
	struct loop_timer *stall;
	int64_t stall_ms, heard_ms;
	bool stalled;
};

static void unpause(void *arg);

static struct http_call *call_of(void *p)
{
	struct http_call *c = p;

	assert(c->magic == CALL_MAGIC);
	return c;
}

static void call_free(struct http_call *c)
{
	if (c->started)
		(void)curl_multi_remove_handle(c->client->multi, c->easy);
	list_remove(&c->link);
	loop_defer_cancel(c->client->loop, unpause, c);
	c->stall = loop_timer_free(c->stall);
	curl_easy_cleanup(c->easy);
	curl_slist_free_all(c->headers);
	strbuf_done(&c->head);
	http_head_done(&c->reply);
	c->magic = 0;
	free(c);
}

/* What libcurl's failure means to us. */
static const struct failure {
	CURLcode code;
	enum err_kind kind;
} failures[] = {
	{CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT},   {CURLE_PEER_FAILED_VERIFICATION, ERR_FORBIDDEN},
	{CURLE_SSL_CACERT_BADFILE, ERR_INVALID},   {CURLE_URL_MALFORMAT, ERR_INVALID},
	{CURLE_UNSUPPORTED_PROTOCOL, ERR_INVALID}, {CURLE_TOO_MANY_REDIRECTS, ERR_INVALID},
	{CURLE_OUT_OF_MEMORY, ERR_EXHAUSTED},
};

static void explain(const struct http_call *c, struct err *e)
{
	const char *why = c->why[0] ? c->why : curl_easy_strerror(c->result);
	enum err_kind kind = ERR_UNAVAILABLE;
	const char *url = http_call_url(c);
	long sys = 0;

	if (c->result == CURLE_COULDNT_CONNECT)
		(void)curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &sys);
	for (size_t i = 0; i < array_len(failures); i++)
		if (failures[i].code == c->result)
			kind = failures[i].kind;
	if (c->stalled)
		(void)err_set(e, ERR_TIMEOUT, "%s: nothing came for %lld seconds", url,
			      (long long)(c->stall_ms / 1000));
	else if (sys)
		(void)err_set(e, kind, "%s: cannot connect: %s", url, strerror((int)sys));
	else
		(void)err_set(e, kind, "%s: %s", url, why);
	e->sys = (int)sys;
}

static void call_ended(void *arg)
{
	struct http_call *c = call_of(arg);
	struct http_call_ops ops = c->ops;
	struct err e = {0};
	int status = http_call_status(c);
	bool failed = c->result != CURLE_OK;
	void *ctx = c->arg;

	if (failed)
		explain(c, &e);
	if (!failed && !c->replied && ops.replied) {
		c->replied = true;
		c->inside = true;
		ops.replied(ctx, c, status);
		if (c->cancelled) {
			call_free(c);
			return;
		}
	}
	c->inside = true; /* `done` must not cancel its own call */
	ops.done(ctx, c, failed ? 0 : status, failed ? &e : NULL);
	call_free(c);
}

static void free_later(void *arg)
{
	call_free(call_of(arg));
}

static void check_ended(struct http_client *cl)
{
	CURLMsg *m;
	int left = 0;

	while ((m = curl_multi_info_read(cl->multi, &left))) {
		struct http_call *c = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		c = call_of(c);
		if (!c->stalled)
			c->result = m->data.result;
		(void)curl_multi_remove_handle(cl->multi, c->easy);
		c->started = false;
		c->ended = true;
		c->stall = loop_timer_free(c->stall);
		/* Cancelled from inside its own callback: nobody else frees it. */
		loop_defer_cancel(cl->loop, free_later, c);
		loop_defer(cl->loop, c->cancelled ? free_later : call_ended, c);
	}
}

/*
 * libcurl tells its timer only when it thinks it changed, and now and then thinks wrong (a handle
 * added while another's expiry has the same moment waits a second): ask it each time.
 */
static void rearm(struct http_client *cl)
{
	long ms = -1;

	(void)curl_multi_timeout(cl->multi, &ms);
	if (ms < 0)
		loop_timer_unset(cl->timer);
	else
		loop_timer_set(cl->timer, ms, 0);
}

static void act(struct http_client *cl, curl_socket_t fd, int what)
{
	int running = 0;

	(void)curl_multi_socket_action(cl->multi, fd, what, &running);
	check_ended(cl);
	rearm(cl);
}

/* libcurl's side: sockets and timer. */

static void socket_ready(void *arg, unsigned ready)
{
	struct call_socket *s = arg;
	int what = 0;

	if (ready & LOOP_READ)
		what |= CURL_CSELECT_IN;
	if (ready & LOOP_WRITE)
		what |= CURL_CSELECT_OUT;
	if (ready & LOOP_ERROR)
		what |= CURL_CSELECT_ERR;
	act(s->client, s->fd, what);
}

static void socket_free(struct call_socket *s)
{
	list_remove(&s->link);
	s->watch = loop_watch_free(s->watch);
	free(s);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct http_client *cl = arg;
	struct call_socket *s = known;
	unsigned want = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			socket_free(s);
		(void)curl_multi_assign(cl->multi, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		want |= LOOP_READ;
	if (what & CURL_POLL_OUT)
		want |= LOOP_WRITE;
	if (s) {
		loop_watch_want(s->watch, want);
		return 0;
	}
	s = mem_new(struct call_socket);
	*s = (struct call_socket){.client = cl, .fd = fd};
	if (loop_watch_new(cl->loop, fd, want, socket_ready, s, &s->watch, NULL) < 0) {
		free(s);
		return -1;
	}
	list_append(&cl->sockets, &s->link);
	(void)curl_multi_assign(cl->multi, fd, s);
	return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_client *cl = arg;

	(void)multi;
	if (timeout_ms < 0)
		loop_timer_unset(cl->timer);
	else
		loop_timer_set(cl->timer, timeout_ms, 0);
	return 0;
}

static void timer_due(void *arg)
{
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

int http_client_new(struct loop *l, const char *user_agent, struct http_client **ret, struct err *e)
{
	struct http_client *cl = mem_new(struct http_client);

	cl->magic = CLIENT_MAGIC;
	cl->loop = l;
	cl->multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
	if (!cl->multi) {
		free(cl);
		return err_set(e, ERR_SYSTEM, "cannot make an HTTP client");
	}
	cl->user_agent = mem_dup_text(user_agent);
	cl->timer = loop_timer_new(l, timer_due, cl);
	list_init(&cl->calls);
	list_init(&cl->sockets);
	(void)curl_multi_setopt(cl->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(cl->multi, CURLMOPT_SOCKETDATA, cl);
	(void)curl_multi_setopt(cl->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	(void)curl_multi_setopt(cl->multi, CURLMOPT_TIMERDATA, cl);
	*ret = cl;
	return 0;
}

struct http_client *http_client_free(struct http_client *cl)
{
	if (!cl)
		return NULL;
	assert(cl->magic == CLIENT_MAGIC);
	list_each (&cl->calls, struct http_call, link, c) {
		loop_defer_cancel(cl->loop, call_ended, c);
		loop_defer_cancel(cl->loop, free_later, c);
		call_free(c);
	}
	(void)curl_multi_cleanup(cl->multi); /* closes kept connections through on_socket */
	list_each (&cl->sockets, struct call_socket, link, s)
		socket_free(s);
	cl->timer = loop_timer_free(cl->timer);
	curl_global_cleanup();
	free(cl->user_agent);
	cl->magic = 0;
	free(cl);
	return NULL;
}

/* The reply. */

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct http_call *c = call_of(arg);
	size_t used = 0;

	n *= size;
	c->heard_ms = loop_now_ms(c->client->loop);
	if (n >= 5 && memcmp(p, "HTTP/", 5) == 0)
		strbuf_clear(&c->head); /* a new reply: after 100 Continue, or a redirect */
	if (c->head.n + n > HTTP_HEAD_MAX_BYTES)
		return 0;
	if (c->http2 && n > 7 && memcmp(p, "HTTP/2 ", 7) == 0) {
		strbuf_add_text(&c->head, "HTTP/1.1 "); /* what follows has the same form */
		strbuf_add(&c->head, p + 7, n - 7);
	} else {
		strbuf_add(&c->head, p, n);
	}
	if (n > 2)
		return n;
	if (c->head.n > 7 && memcmp(c->head.p, "HTTP/2", 6) == 0)
		return 0; /* never asked for */
	http_head_done(&c->reply);
	if (http_head_parse(strbuf_str(&c->head), &c->reply, &used, NULL) != 0)
		return 0;
	return n;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
	struct http_call *c = call_of(arg);

	n *= size;
	c->heard_ms = loop_now_ms(c->client->loop);
	if (c->cancelled)
		return 0;
	if (c->paused)
		return CURL_WRITEFUNC_PAUSE;
	c->inside = true;
	if (!c->replied) {
		c->replied = true;
		if (c->ops.replied)
			c->ops.replied(c->arg, c, http_call_status(c));
	}
	if (!c->cancelled && c->paused) { /* paused by `replied`: this piece comes again */
		c->inside = false;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (!c->cancelled && c->ops.data)
		c->ops.data(c->arg, c, p, n);
	c->inside = false;
	return c->cancelled ? 0 : n;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
	struct http_call *c = call_of(arg);
	size_t room = size * n;
	ssize_t got;

	c->heard_ms = loop_now_ms(c->client->loop);
	if ((int64_t)room > c->body_end - c->body_at)
		room = (size_t)(c->body_end - c->body_at);
	if (room == 0)
		return 0;
	got = pread(c->body_fd, p, room, c->body_at);
	if (got <= 0)
		return CURL_READFUNC_ABORT;
	c->body_at += got;
	return (size_t)got;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_call *c = call_of(arg);

	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	c->body_at = c->body_start + offset;
	return CURL_SEEKFUNC_OK;
}

/* Nothing came for too long: the call ends here. */
static void check_stall(void *arg)
{
	struct http_call *c = call_of(arg);

	if (c->paused)
		c->heard_ms = loop_now_ms(c->client->loop);
	if (c->ended || loop_now_ms(c->client->loop) - c->heard_ms < c->stall_ms)
		return;
	(void)curl_multi_remove_handle(c->client->multi, c->easy);
	c->started = false;
	c->stalled = c->ended = true;
	c->result = CURLE_OPERATION_TIMEDOUT;
	c->stall = loop_timer_free(c->stall);
	loop_defer(c->client->loop, call_ended, c);
}

/* Starting. */

static void set_body(struct http_call *c, const struct http_call_options *o)
{
	if (o->body_from_fd) {
		c->body_fd = o->body_fd;
		c->body_start = c->body_at = o->body_offset;
		c->body_end = o->body_offset + o->body_size;
		(void)curl_easy_setopt(c->easy, CURLOPT_UPLOAD, 1L);
		(void)curl_easy_setopt(c->easy, CURLOPT_READFUNCTION, on_read);
		(void)curl_easy_setopt(c->easy, CURLOPT_READDATA, c);
		(void)curl_easy_setopt(c->easy, CURLOPT_SEEKFUNCTION, on_seek);
		(void)curl_easy_setopt(c->easy, CURLOPT_SEEKDATA, c);
		(void)curl_easy_setopt(c->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)o->body_size);
		(void)curl_easy_setopt(c->easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	} else if (o->body) {
		(void)curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body_n);
		(void)curl_easy_setopt(c->easy, CURLOPT_COPYPOSTFIELDS, o->body);
	} else if (text_eq(o->method, "POST") || text_eq(o->method, "PUT") ||
		   text_eq(o->method, "PATCH")) {
		(void)curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
		(void)curl_easy_setopt(c->easy, CURLOPT_COPYPOSTFIELDS, "");
	}
	if (text_eq(o->method, "HEAD"))
		(void)curl_easy_setopt(c->easy, CURLOPT_NOBODY, 1L);
	else if (o->method)
		(void)curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, o->method);
}

static void add_header(struct http_call *c, const char *line)
{
	struct curl_slist *more = curl_slist_append(c->headers, line);

	if (more)
		c->headers = more;
}

static void set_headers(struct http_call *c, const struct http_call_options *o)
{
	bool typed = false;

	for (size_t i = 0; o->headers && o->headers[i]; i++) {
		add_header(c, o->headers[i]);
		if (strncasecmp(o->headers[i], "Content-Type:", 13) == 0)
			typed = true;
	}
	if (o->authorization) {
		auto_free char *line = mem_printf("Authorization: %s", o->authorization);

		add_header(c, line);
	}
	add_header(c, "Expect:"); /* no waiting for 100 Continue */
	if (!typed)
		add_header(c, "Content-Type:"); /* libcurl's own guess would be a form */
	(void)curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
}

static void set_transport(struct http_call *c, const struct http_call_options *o)
{
	bool secure = strncasecmp(o->url, "https:", 6) == 0;
	long connect_ms =
		o->connect_timeout_ms ? o->connect_timeout_ms : HTTP_CALL_CONNECT_TIMEOUT_MS;
	long redirects = o->redirects_max ? o->redirects_max : HTTP_CALL_REDIRECTS_MAX;

	(void)curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(c->easy, CURLOPT_REDIR_PROTOCOLS_STR,
			       secure ? "https" : "http,https");
	(void)curl_easy_setopt(c->easy, CURLOPT_FOLLOWLOCATION, redirects > 0 ? 1L : 0L);
	(void)curl_easy_setopt(c->easy, CURLOPT_MAXREDIRS, redirects);
	(void)curl_easy_setopt(c->easy, CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL);
	c->http2 = o->plain_http2;
	if (c->http2) { /* libcurl 7.88 stumbles where calls share such a connection */
		(void)curl_easy_setopt(c->easy, CURLOPT_FRESH_CONNECT, 1L);
		(void)curl_easy_setopt(c->easy, CURLOPT_FORBID_REUSE, 1L);
	}
	(void)curl_easy_setopt(c->easy, CURLOPT_HTTP_VERSION,
			       o->plain_http2 ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
					      : (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	(void)curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYPEER, o->insecure ? 0L : 1L);
	(void)curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYHOST, o->insecure ? 0L : 2L);
	if (o->ca_file)
		(void)curl_easy_setopt(c->easy, CURLOPT_CAINFO, o->ca_file);
	if (o->unix_socket)
		(void)curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, o->unix_socket);
}

static void set_callbacks(struct http_call *c)
{
	(void)curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->why);
	(void)curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_BUFFERSIZE, 256L << 10);
	(void)curl_easy_setopt(c->easy, CURLOPT_USERAGENT, c->client->user_agent);
}

static void set_stall(struct http_call *c, int64_t stall_timeout_ms)
{
	if (stall_timeout_ms < 0)
		return;
	c->stall_ms = stall_timeout_ms ? stall_timeout_ms : HTTP_CALL_STALL_TIMEOUT_MS;
	c->heard_ms = loop_now_ms(c->client->loop);
	c->stall = loop_timer_new(c->client->loop, check_stall, c);
	loop_timer_set(c->stall, c->stall_ms < STALL_CHECK_MS ? c->stall_ms : STALL_CHECK_MS,
		       c->stall_ms < STALL_CHECK_MS ? c->stall_ms : STALL_CHECK_MS);
}

static void begin(void *arg)
{
	struct http_call *c = call_of(arg);

	if (c->cancelled)
		return;
	if (curl_multi_add_handle(c->client->multi, c->easy) == CURLM_OK) {
		c->started = true;
		rearm(c->client);
		return;
	}
	c->result = CURLE_FAILED_INIT;
	c->ended = true;
	loop_defer(c->client->loop, call_ended, c);
}

int http_call_start(struct http_client *cl, const struct http_call_options *o,
		    struct http_call **ret, struct err *e)
{
	struct http_call *c = mem_new(struct http_call);

	assert(cl->magic == CLIENT_MAGIC);
	assert(o->url);
	assert(o->ops.done);
	c->magic = CALL_MAGIC;
	c->client = cl;
	c->ops = o->ops;
	c->arg = o->arg;
	c->body_fd = -1;
	list_append(&cl->calls, &c->link);
	c->easy = curl_easy_init();
	if (!c->easy || curl_easy_setopt(c->easy, CURLOPT_URL, o->url) != CURLE_OK) {
		call_free(c);
		return err_set(e, ERR_EXHAUSTED, "cannot start an HTTP call: out of memory");
	}
	set_callbacks(c);
	set_transport(c, o);
	set_body(c, o);
	set_headers(c, o);
	set_stall(c, o->stall_timeout_ms);
	loop_defer(cl->loop, begin, c); /* also when asked for from inside libcurl */
	*ret = c;
	return 0;
}

struct http_call *http_call_cancel(struct http_call *c)
{
	if (!c)
		return NULL;
	(void)call_of(c);
	assert(!c->cancelled);
	c->cancelled = true;
	loop_defer_cancel(c->client->loop, call_ended, c);
	if (!c->inside) /* a callback that is running notices by itself */
		loop_defer(c->client->loop, free_later, c);
	return NULL;
}

static void unpause(void *arg)
{
	struct http_call *c = call_of(arg);

	if (c->paused || !c->started)
		return;
	c->heard_ms = loop_now_ms(c->client->loop);
	(void)curl_easy_pause(c->easy, CURLPAUSE_CONT);
	check_ended(c->client);
}

void http_call_pause(struct http_call *c)
{
	c->paused = true;
	loop_defer_cancel(c->client->loop, unpause, c);
}

void http_call_resume(struct http_call *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	loop_defer(c->client->loop, unpause, c); /* libcurl may deliver from inside the unpausing */
}

int http_call_status(const struct http_call *c)
{
	return c->reply.status;
}

const char *http_call_header(const struct http_call *c, const char *name)
{
	const char *value = NULL;

	for (size_t i = 0; i < c->reply.fields_n; i++)
		if (strcasecmp(c->reply.fields[i].name, name) == 0)
			value = c->reply.fields[i].value;
	return value;
}

const char *http_call_url(const struct http_call *c)
{
	char *url = NULL;

	(void)curl_easy_getinfo(c->easy, CURLINFO_EFFECTIVE_URL, &url);
	return url ? url : "";
}
