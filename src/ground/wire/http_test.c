/*
 * The HTTP server in a thread of its own, driven by the small client, by raw sockets and by the
 * curl program; the big client against the same server.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/list.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/wire/http_client.h"
#include "ground/wire/http_local.h"
#include "ground/wire/http_server.h"

#define FLOOD_BYTES (32u << 20)

static struct loop *loop;
static struct http_server *server;
static pthread_t thread;
static char dir[32];
static char path[64];
static atomic_int asked, gone, finished, sunk;

struct slow {
	struct http_request *r;
	struct loop_timer *timer;
	int left;
	size_t sent;
	int fd;
};

static struct slow *slow_new(struct http_request *r)
{
	struct slow *s = mem_new(struct slow);

	s->r = r;
	s->fd = -1;
	return s;
}

static void slow_free(struct slow *s)
{
	s->timer = loop_timer_free(s->timer);
	free(s);
	finished++;
}

static void say_later(void *arg)
{
	struct slow *s = arg;

	http_reply_text(s->r, 200, "text/plain", "at last");
	slow_free(s);
}

static void push_piece(void *arg)
{
	struct slow *s = arg;
	char piece[16];

	(void)snprintf(piece, sizeof(piece), "piece %d\n", s->left);
	(void)http_reply_push(s->r, piece, strlen(piece));
	if (--s->left)
		return;
	http_reply_end(s->r);
	slow_free(s);
}

static void flood(void *arg)
{
	static const char block[65536];
	struct slow *s = arg;

	while (s->sent < FLOOD_BYTES) {
		s->sent += sizeof(block);
		if (http_reply_push(s->r, block, sizeof(block)) > HTTP_REPLY_FULL)
			return;
	}
	http_reply_end(s->r);
	slow_free(s);
}

static void waiter_gone(void *arg)
{
	struct slow *s = arg;

	gone++;
	http_reply_end(s->r);
	slow_free(s);
}

static void silent_gone(void *arg)
{
	struct slow *s = arg;

	gone++;
	http_request_drop(s->r);
	slow_free(s);
}

static void echo_body(void *arg, struct http_request *r, struct str body, const struct err *e)
{
	(void)arg;
	if (!e)
		http_reply(r, 200, "application/octet-stream", body.p, body.n);
}

static void *echo_raw(void *arg)
{
	struct slow *s = arg;
	char buf[256];
	ssize_t n;

	while ((n = recv(s->fd, buf, sizeof(buf), 0)) > 0)
		(void)send(s->fd, buf, (size_t)n, MSG_NOSIGNAL);
	(void)send(s->fd, "bye", 3, MSG_NOSIGNAL);
	(void)fd_close(s->fd);
	free(s);
	finished++;
	return NULL;
}

/* The connection goes to a thread that knows nothing of loop and server. */
static void hijacked(void *arg, int fd, struct str early)
{
	struct slow *s = arg;
	pthread_t t;

	if (fd < 0) {
		gone++;
		free(s);
		return;
	}
	s->fd = fd;
	(void)fcntl(fd, F_SETFL, 0);
	if (early.n)
		(void)send(fd, early.p, early.n, MSG_NOSIGNAL);
	(void)pthread_create(&t, NULL, echo_raw, s);
	(void)pthread_detach(t);
}

/* Takes a body in sips: every now and then it pauses, and is resumed by a timer. */
static void sink_resume(void *arg)
{
	struct slow *s = arg;

	http_request_resume(s->r);
}

static void sink_piece(void *arg, struct http_request *r, const void *bytes, size_t n)
{
	struct slow *s = arg;

	(void)bytes;
	sunk += (int)n;
	if (n == 0) {
		slow_free(s);
		http_reply_text(r, 200, NULL, "sunk");
	} else if (++s->left % 50 == 0) {
		http_request_pause(r);
		loop_timer_set(s->timer, 1, 0);
	}
}

static void handle_sink(struct http_request *r)
{
	struct slow *s = slow_new(r);

	sunk = 0;
	s->timer = loop_timer_new(loop, sink_resume, s);
	http_request_stream(r, sink_piece, s);
}

static void handle_later(struct http_request *r)
{
	struct slow *s = slow_new(r);

	s->timer = loop_timer_new(loop, say_later, s);
	loop_timer_set(s->timer, 20, 0);
}

static void handle_pieces(struct http_request *r)
{
	struct slow *s = slow_new(r);

	s->left = 3;
	http_reply_begin(r, 200, "text/plain");
	s->timer = loop_timer_new(loop, push_piece, s);
	loop_timer_set(s->timer, 30, 10);
}

static void handle_flood(struct http_request *r)
{
	struct slow *s = slow_new(r);

	http_reply_begin(r, 200, NULL);
	http_reply_on_drained(r, flood, s);
	http_request_on_gone(r, waiter_gone, s);
	flood(s);
}

static void handle_wait(struct http_request *r)
{
	http_reply_begin(r, 200, "application/json");
	http_request_on_gone(r, waiter_gone, slow_new(r));
}

static void handle_silent(struct http_request *r)
{
	asked++;
	http_request_on_gone(r, silent_gone, slow_new(r));
}

static void handle_attach(struct http_request *r)
{
	http_reply_header(r, "X-Extra", "1");
	http_request_hijack(r, "application/vnd.docker.raw-stream", hijacked, slow_new(r));
}

static void handle_echo(struct http_request *r)
{
	http_request_gather(r, 1000, echo_body, NULL);
}

static void handle_ask(struct http_request *r)
{
	auto_strbuf struct strbuf b = {0};
	struct unix_peer peer = {0};

	strbuf_printf(&b, "%s %s a=%s a=%s none=%d empty='%s' x=%s own=%d", http_request_method(r),
		      http_request_path(r), http_request_query_at(r, "a", 0),
		      http_request_query_at(r, "a", 1), http_request_query(r, "none") == NULL,
		      http_request_query(r, "empty"), http_request_header(r, "x-test"),
		      http_request_peer(r, &peer) && peer.pid == getpid());
	http_reply_header(r, "X-Reply", "yes");
	http_reply(r, 200, "text/plain", b.p, b.n);
}

static void handle_none(struct http_request *r)
{
	http_reply(r, 204, NULL, NULL, 0);
}

static void handle_redirect(struct http_request *r)
{
	http_reply_header(r, "Location", "/ask?a=1&a=2&empty");
	http_reply(r, 302, NULL, NULL, 0);
}

static const struct route {
	const char *path;
	void (*handle)(struct http_request *r);
} routes[] = {
	{"/ask", handle_ask},	    {"/echo", handle_echo},	    {"/later", handle_later},
	{"/pieces", handle_pieces}, {"/flood", handle_flood},	    {"/wait", handle_wait},
	{"/silent", handle_silent}, {"/attach", handle_attach},	    {"/sink", handle_sink},
	{"/none", handle_none},	    {"/redirect", handle_redirect},
};

static void handle(void *arg, struct http_request *r)
{
	(void)arg;
	for (size_t i = 0; i < array_len(routes); i++) {
		if (text_eq(routes[i].path, http_request_path(r))) {
			routes[i].handle(r);
			return;
		}
	}
	http_reply_message(r, 404, "no \"%s\" here", http_request_path(r));
}

static void *run(void *arg)
{
	(void)arg;
	loop_run(loop);
	return NULL;
}

static int setup(void **state)
{
	int fd = -1;
	struct err e = {0};

	(void)state;
	asked = gone = finished = 0;
	(void)snprintf(dir, sizeof(dir), "/tmp/http_test_XXXXXX");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/sock", dir);
	assert_int_equal(loop_new(&loop, &e), 0);
	assert_int_equal(http_server_new(loop, handle, NULL, &server, &e), 0);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0600, &fd, &e), 0);
	assert_int_equal(http_server_listen(server, fd, &e), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
	return 0;
}

static void free_server(void *arg)
{
	(void)arg;
	server = http_server_free(server);
	loop_defer(loop, (loop_fn *)loop_stop, loop);
}

static int teardown(void **state)
{
	(void)state;
	loop_post(loop, free_server, NULL);
	(void)pthread_join(thread, NULL);
	loop = loop_free(loop);
	(void)unlink(path);
	(void)rmdir(dir);
	return 0;
}

static void await(atomic_int *n, int value)
{
	for (int i = 0; i < 500 && *n != value; i++)
		(void)poll(NULL, 0, 10);
	assert_int_equal(*n, value);
}

static void call(struct http_local *h, const char *method, const char *target, const char *body,
		 int want_status, const char *want_body)
{
	struct http_local_request q = {.method = method,
				       .target = target,
				       .body = body,
				       .body_n = body ? strlen(body) : 0};
	auto_strbuf struct strbuf out = {0};
	struct err e = {0};
	int status = 0;

	assert_int_equal(http_local_call(h, &q, &status, &e), 0);
	assert_int_equal(status, want_status);
	assert_int_equal(http_local_read_all(h, 1 << 20, &out, &e), 0);
	if (want_body)
		assert_string_equal(strbuf_text(&out), want_body);
}

static void test_one_connection_serves_many(void **state)
{
	const char *const headers[] = {"X-Test: seen", NULL};
	struct http_local_request q = {"GET", "/ask?a=%201&a=b%26&empty", .headers = headers};
	auto_strbuf struct strbuf out = {0};
	struct http_local h;
	struct err e = {0};
	int status = 0;

	(void)state;
	assert_int_equal(http_local_open(path, &h, &e), 0);
	assert_int_equal(http_local_call(&h, &q, &status, &e), 0);
	assert_int_equal(http_local_read_all(&h, 1000, &out, &e), 0);
	assert_string_equal(strbuf_text(&out), "GET /ask a= 1 a=b& none=1 empty='' x=seen own=1");
	assert_string_equal(http_local_header(&h, "x-reply"), "yes");
	call(&h, "POST", "/echo", "hello", 200, "hello");
	call(&h, "POST", "/none", "unread body", 204, "");
	call(&h, "GET", "/later", NULL, 200, "at last");
	call(&h, "GET", "/pieces", NULL, 200, "piece 3\npiece 2\npiece 1\n");
	call(&h, "HEAD", "/later", NULL, 200, "");
	call(&h, "GET", "/nowhere", NULL, 404, "{\"message\":\"no \\\"/nowhere\\\" here\"}\n");
	call(&h, "GET", "/ask", NULL, 200, NULL);
	http_local_close(&h);
}

static void test_a_long_body_is_refused(void **state)
{
	auto_free char *body = mem_new_bytes(1, 2000001);
	struct http_local h;
	struct err e = {0};

	(void)state;
	memset(body, 'x', 2000000);
	body[1001] = '\0';
	assert_int_equal(http_local_open(path, &h, &e), 0);
	call(&h, "POST", "/echo", body, 413,
	     "{\"message\":\"the request's body is longer than 1000 bytes\"}\n");
	call(&h, "GET", "/none", NULL, 204, "");
	http_local_close(&h);
	body[1001] = 'x';
	assert_int_equal(http_local_open(path, &h, &e), 0);
	call(&h, "POST", "/echo", body, 413, NULL);
	http_local_close(&h);
}

/* The reply's head must arrive before its first byte: docker wait and logs -f depend on it. */
static void test_headers_come_at_once(void **state)
{
	struct http_local_request q = {"GET", "/wait"};
	struct http_local h;
	struct err e = {0};
	int status = 0;

	(void)state;
	assert_int_equal(http_local_open(path, &h, &e), 0);
	assert_int_equal(http_local_call(&h, &q, &status, &e), 0);
	assert_int_equal(status, 200);
	assert_int_equal(gone, 0);
	http_local_close(&h);
	await(&gone, 1);
	await(&finished, 1);
}

static void listen_tcp(void *arg)
{
	struct sockaddr_in *a = arg;
	socklen_t n = sizeof(*a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)a, n) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)a, &n) < 0 ||
	    http_server_listen(server, fd, NULL) < 0)
		return;
	asked++;
}

/* Over TCP nothing may wait for more to send: pieces come when they are pushed. */
static void test_tcp_is_not_held_back(void **state)
{
	static const char q[] = "GET /pieces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	struct sockaddr_in a = {0};
	char buf[1024];
	int reads = 0;
	int fd;

	(void)state;
	loop_post(loop, listen_tcp, &a);
	await(&asked, 1);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(write(fd, q, strlen(q)), (int)strlen(q));
	while (read(fd, buf, sizeof(buf)) > 0)
		reads++;
	assert_true(reads >= 2); /* the head, and 30 ms later the first piece */
	(void)fd_close(fd);
	await(&finished, 1);
}

static void test_leaving_is_noticed_while_silent(void **state)
{
	struct err e = {0};
	int fds[200];

	(void)state;
	for (int i = 0; i < 200; i++) {
		static const char q[] = "POST /silent HTTP/1.1\r\nHost: x\r\n\r\n";

		assert_int_equal(unix_connect(path, SOCK_STREAM, &fds[i], &e), 0);
		assert_int_equal(write(fds[i], q, strlen(q)), (int)strlen(q));
	}
	await(&asked, 200); /* a client that leaves before it was heard is no request at all */
	assert_int_equal(gone, 0);
	for (int i = 0; i < 200; i++)
		(void)fd_close(fds[i]);
	await(&gone, 200);
	await(&finished, 200);
}

static void test_flood_waits_for_the_client(void **state)
{
	struct http_local_request q = {"GET", "/flood"};
	auto_free char *buf = mem_new_bytes(1, 1 << 20);
	struct http_local h;
	struct err e = {0};
	int status = 0;
	size_t n = 1, all = 0;

	(void)state;
	assert_int_equal(http_local_open(path, &h, &e), 0);
	assert_int_equal(http_local_call(&h, &q, &status, &e), 0);
	(void)poll(NULL, 0, 50);
	assert_int_equal(finished, 0); /* held back */
	while (n) {
		assert_int_equal(http_local_read(&h, buf, 1 << 20, &n, &e), 0);
		all += n;
	}
	assert_int_equal(all, FLOOD_BYTES);
	assert_int_equal(finished, 1);
	http_local_close(&h);
	/* and a client that leaves in the middle */
	assert_int_equal(http_local_open(path, &h, &e), 0);
	assert_int_equal(http_local_call(&h, &q, &status, &e), 0);
	http_local_close(&h);
	await(&finished, 2);
}

static void attach(bool upgrade, const char *want_line)
{
	auto_strbuf struct strbuf got = {0};
	struct err e = {0};
	char buf[512];
	ssize_t n;
	int fd = -1;

	assert_int_equal(unix_connect(path, SOCK_STREAM, &fd, &e), 0);
	strbuf_printf(&got, "POST /attach HTTP/1.1\r\nHost: x\r\n%s\r\nearly ",
		      upgrade ? "Connection: Upgrade\r\nUpgrade: tcp\r\n" : "");
	assert_int_equal(write(fd, got.p, got.n), (int)got.n);
	strbuf_clear(&got);
	(void)poll(NULL, 0, 50);
	assert_int_equal(write(fd, "late", 4), 4);
	(void)shutdown(fd, SHUT_WR);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		strbuf_add(&got, buf, (size_t)n);
	assert_int_equal(n, 0);
	assert_true(text_starts(strbuf_text(&got), want_line));
	assert_non_null(strstr(strbuf_text(&got), "\r\nX-Extra: 1\r\n"));
	assert_true(text_ends(strbuf_text(&got), "\r\n\r\nearly latebye"));
	(void)fd_close(fd);
}

static void test_hijack_with_upgrade(void **state)
{
	(void)state;
	attach(true, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
		     "Connection: Upgrade\r\nUpgrade: tcp\r\n");
}

static void test_hijack_without_upgrade(void **state)
{
	(void)state;
	attach(false, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n");
}

/* What was taken over goes on when server and loop are gone. */
static void test_hijacked_outlives_the_server(void **state)
{
	struct http_local_request q = {"POST", "/attach"};
	auto_strbuf struct strbuf early = {0};
	struct http_local h;
	struct err e = {0};
	char buf[16];
	int status = 0, fd = -1;

	(void)state;
	assert_int_equal(http_local_open(path, &h, &e), 0);
	assert_int_equal(http_local_upgrade(&h, &q, &status, &fd, &early, &e), 0);
	assert_int_equal(status, 101);
	(void)teardown(NULL);
	assert_int_equal(write(fd, "still", 5), 5);
	assert_int_equal(read(fd, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "still", 5);
	(void)fd_close(fd);
	await(&finished, 1);
	(void)setup(NULL);
}

/* Many chunks in one read: the library gives out all of them although it was told to pause. */
static void send_small_chunks(struct http_local *h)
{
	auto_strbuf struct strbuf b = {0};
	char buf[512];
	ssize_t n;

	strbuf_add_text(&b, "PUT /sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 40000; i++)
		strbuf_add_text(&b, "a\r\n0123456789\r\n");
	strbuf_add_text(&b, "0\r\n\r\n");
	for (size_t at = 0; at < b.n; at += (size_t)n) {
		n = write(h->fd, b.p + at, b.n - at);
		assert_true(n > 0);
	}
	n = read(h->fd, buf, sizeof(buf) - 1);
	assert_true(n > 15);
	assert_memory_equal(buf, "HTTP/1.1 200 OK", 15);
	await(&sunk, 400000);
}

static void test_body_comes_in_pieces(void **state)
{
	auto_free char *body = mem_new_bytes(1, 3000001);
	struct http_local h;
	struct err e = {0};

	(void)state;
	memset(body, 'y', 3000000);
	assert_int_equal(http_local_open(path, &h, &e), 0);
	call(&h, "PUT", "/sink", body, 200, "sunk");
	await(&sunk, 3000000);
	call(&h, "PUT", "/sink", "", 200, "sunk");
	send_small_chunks(&h);
	http_local_close(&h);
}

/* A client that only half closes (socat, nc -N) still gets its answer. */
static void test_half_closed_clients_are_answered(void **state)
{
	static const char q[] = "GET /ask HTTP/1.0\r\n\r\n";
	struct err e = {0};
	char buf[1024];
	int fd = -1;

	(void)state;
	assert_int_equal(unix_connect(path, SOCK_STREAM, &fd, &e), 0);
	assert_int_equal(write(fd, q, strlen(q)), (int)strlen(q));
	(void)shutdown(fd, SHUT_WR);
	assert_true(read(fd, buf, sizeof(buf)) > 15);
	assert_memory_equal(buf + 8, " 200 OK", 7);
	(void)fd_close(fd);
}

static void test_malformed_requests_are_refused(void **state)
{
	static const char *const bad[] = {
		"GET\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct http_local h;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < array_len(bad); i++) {
		char buf[1024];
		int fd = -1;
		ssize_t n;

		assert_int_equal(unix_connect(path, SOCK_STREAM, &fd, &e), 0);
		assert_int_equal(write(fd, bad[i], strlen(bad[i])), (int)strlen(bad[i]));
		(void)shutdown(fd, SHUT_WR);
		n = read(fd, buf, sizeof(buf) - 1);
		if (n > 0)
			assert_true(buf[9] == '4' || buf[9] == '5');
		(void)fd_close(fd);
	}
	assert_int_equal(http_local_open(path, &h, &e), 0);
	call(&h, "GET", "/none", NULL, 204, "");
	http_local_close(&h);
}

static void test_freeing_the_server_ends_what_waits(void **state)
{
	struct http_local_request q = {"GET", "/wait"};
	struct http_local h;
	struct err e = {0};
	int status = 0;
	size_t n = 0;
	char buf[8];

	(void)state;
	assert_int_equal(http_local_open(path, &h, &e), 0);
	assert_int_equal(http_local_call(&h, &q, &status, &e), 0);
	(void)teardown(NULL);
	assert_int_equal(http_local_read(&h, buf, sizeof(buf), &n, &e), -ERR_GONE);
	assert_int_equal(finished, 1);
	http_local_close(&h);
	(void)setup(NULL);
}

/* The big client, on a loop of its own. */

struct got {
	struct loop *loop;
	struct strbuf body;
	int status, replied, pauses;
	struct err e;
	bool failed;
	struct loop_timer *timer;
	struct http_call *call;
};

static void got_replied(void *arg, struct http_call *c, int status)
{
	struct got *g = arg;

	(void)c;
	g->replied = status;
}

static void got_resume(void *arg)
{
	struct got *g = arg;

	http_call_resume(g->call);
}

static void got_data(void *arg, struct http_call *c, const void *bytes, size_t n)
{
	struct got *g = arg;

	strbuf_add(&g->body, bytes, n);
	if (g->pauses && g->timer) {
		g->pauses--;
		http_call_pause(c);
		loop_timer_set(g->timer, 20, 0);
	}
}

static void got_done(void *arg, struct http_call *c, int status, const struct err *e)
{
	struct got *g = arg;

	(void)c;
	g->status = status;
	g->failed = e != NULL;
	if (e)
		g->e = *e;
	loop_stop(g->loop);
}

static void fetch(struct got *g, struct http_call_options o)
{
	struct http_client *cl = NULL;
	struct err e = {0};

	assert_int_equal(loop_new(&g->loop, &e), 0);
	assert_int_equal(http_client_new(g->loop, "test/1", &cl, &e), 0);
	o.unix_socket = path;
	o.ops = (struct http_call_ops){got_replied, got_data, got_done};
	o.arg = g;
	if (g->pauses)
		g->timer = loop_timer_new(g->loop, got_resume, g);
	assert_int_equal(http_call_start(cl, &o, &g->call, &e), 0);
	loop_run(g->loop);
	cl = http_client_free(cl);
	g->timer = loop_timer_free(g->timer);
	g->loop = loop_free(g->loop);
}

static void test_client_follows_redirects(void **state)
{
	const char *const headers[] = {"X-Test: t", NULL};
	struct got g = {0};

	(void)state;
	fetch(&g, (struct http_call_options){.url = "http://host/redirect", .headers = headers});
	assert_false(g.failed);
	assert_int_equal(g.replied, 200);
	assert_string_equal(strbuf_text(&g.body), "GET /ask a=1 a=2 none=1 empty='' x=t own=1");
	strbuf_done(&g.body);
	g = (struct got){0};
	fetch(&g, (struct http_call_options){.url = "http://host/redirect", .redirects_max = -1});
	assert_int_equal(g.status, 302);
	strbuf_done(&g.body);
}

static void test_client_pauses_and_sends_bodies(void **state)
{
	struct got g = {.pauses = 3};
	auto_close int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	(void)state;
	fetch(&g, (struct http_call_options){.url = "http://host/flood"});
	assert_false(g.failed);
	assert_int_equal(g.body.n, FLOOD_BYTES);
	strbuf_done(&g.body);
	g = (struct got){0};
	fetch(&g, (struct http_call_options){
			  .url = "http://host/echo", .method = "POST", .body = "abc", .body_n = 3});
	assert_string_equal(strbuf_text(&g.body), "abc");
	strbuf_done(&g.body);
	g = (struct got){0};
	fetch(&g, (struct http_call_options){.url = "http://host/echo",
					     .method = "PUT",
					     .body_from_fd = true,
					     .body_fd = fd,
					     .body_offset = 1,
					     .body_size = 3});
	assert_string_equal(strbuf_text(&g.body), "ELF");
	strbuf_done(&g.body);
}

static void test_client_gives_up_on_silence(void **state)
{
	struct got g = {0};

	(void)state;
	fetch(&g, (struct http_call_options){.url = "http://host/wait", .stall_timeout_ms = 100});
	assert_true(g.failed);
	assert_int_equal(g.e.kind, ERR_TIMEOUT);
	await(&gone, 1);
	strbuf_done(&g.body);

	fetch(&g, (struct http_call_options){.url = "ftp://host/"});
	assert_true(g.failed);
	assert_int_equal(g.e.kind, ERR_INVALID);
}

/* Somebody else's client agrees. */
static void test_curl_understands_us(void **state)
{
	auto_free char *command = mem_printf(
		"exec curl -sS --unix-socket %s -d abc http://x/echo http://x/echo 2>&1", path);
	int fds[2];
	char buf[64] = {0};
	struct loop_spawn_options o = {.program = "/bin/sh",
				       .argv = (char *[]){"sh", "-c", command, NULL},
				       .envp = (char *[]){"PATH=/usr/bin:/bin", NULL},
				       .fds_n = 2};
	struct loop *l = NULL;
	struct err e = {0};
	size_t n = 0;
	ssize_t got;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	o.fds = (int[]){-1, fds[1]};
	assert_int_equal(loop_new(&l, &e), 0);
	assert_int_equal(loop_spawn(l, &o, NULL, &e), 0);
	(void)fd_close(fds[1]);
	while (n < sizeof(buf) - 1 && (got = read(fds[0], buf + n, sizeof(buf) - 1 - n)) > 0)
		n += (size_t)got;
	assert_string_equal(buf, "abcabc");
	(void)fd_close(fds[0]);
	l = loop_free(l);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_connection_serves_many),
		TEST(test_a_long_body_is_refused),
		TEST(test_headers_come_at_once),
		TEST(test_tcp_is_not_held_back),
		TEST(test_leaving_is_noticed_while_silent),
		TEST(test_flood_waits_for_the_client),
		TEST(test_hijack_with_upgrade),
		TEST(test_hijack_without_upgrade),
		TEST(test_hijacked_outlives_the_server),
		TEST(test_body_comes_in_pieces),
		TEST(test_half_closed_clients_are_answered),
		TEST(test_malformed_requests_are_refused),
		TEST(test_freeing_the_server_ends_what_waits),
		TEST(test_client_follows_redirects),
		TEST(test_client_pauses_and_sends_bodies),
		TEST(test_client_gives_up_on_silence),
		TEST(test_curl_understands_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
