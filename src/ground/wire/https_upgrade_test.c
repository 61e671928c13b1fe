/*
 * Connections over TLS that were taken over: a client in a process of its own against a caller in a
 * thread, which owns the descriptor. Much is echoed and the client ends its half first; the caller
 * says something and closes; the server goes away in the middle; nobody asked for an upgrade.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "ground/base/own.h"
#include "ground/wire/http_server.h"
#include "ground/wire/pki.h"

#define FAR  4000000000LL
#define MUCH ((size_t)24 << 20)

static struct pki_pair ca, own;

struct run {
	void *(*caller)(void *arg); /* thread with the descriptor */
	int fd;
	bool taken, leave; /* leave: the server ends once it was taken over */
	pthread_t thread;
	struct loop *loop;
};

static void took(void *arg, int fd, struct str early)
{
	struct run *r = arg;

	assert_int_equal(early.n, 0);
	r->fd = fd;
	r->taken = true;
	if (r->leave)
		loop_stop(r->loop);
	if (fd < 0 || !r->caller)
		return;
	(void)fcntl(fd, F_SETFL, 0);
	assert_int_equal(pthread_create(&r->thread, NULL, r->caller, r), 0);
}

static void handle(void *arg, struct http_request *r)
{
	http_reply_header(r, "Upgrade", "SPDY/3.1");
	http_reply_header(r, "X-Stream-Protocol-Version", "v4.channel.k8s.io");
	http_request_hijack(r, NULL, took, arg);
}

/* -- the client -------------------------------------------------------------------------------- */

static int dial(uint16_t port, gnutls_session_t *ret)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = port};
	gnutls_certificate_credentials_t cred;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return 1;
	(void)gnutls_certificate_allocate_credentials(&cred);
	(void)gnutls_init(ret, GNUTLS_CLIENT);
	(void)gnutls_set_default_priority(*ret);
	(void)gnutls_credentials_set(*ret, GNUTLS_CRD_CERTIFICATE, cred);
	gnutls_transport_set_int(*ret, fd);
	return gnutls_handshake(*ret) < 0 ? 2 : 0;
}

/* Reads the head of the reply, byte by byte. */
static int greet(gnutls_session_t t, const char *ask, const char *expect)
{
	char got[2048] = {0};
	size_t n = 0;

	if (gnutls_record_send(t, ask, strlen(ask)) < 0)
		return 3;
	while (!strstr(got, "\r\n\r\n"))
		if (n == sizeof(got) - 1 || gnutls_record_recv(t, got + n++, 1) <= 0)
			return 4;
	return strncmp(got, "HTTP/1.1 101 ", 13) == 0 && strcasestr(got, expect) &&
			       strcasestr(got, "\r\nConnection: Upgrade\r\n") &&
			       strcasestr(got, "\r\nUpgrade: SPDY/3.1\r\n")
		       ? 0
		       : 5;
}

static const char ask[] = "POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
			  "Upgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n";

static int start(uint16_t port, gnutls_session_t *ret)
{
	int r = dial(port, ret);

	return r ? r : greet(*ret, ask, "\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
}

static void *send_much(void *arg)
{
	static char block[50000];

	for (size_t at = 0; at < MUCH;) {
		size_t n = MUCH - at < sizeof(block) ? MUCH - at : sizeof(block);

		for (size_t i = 0; i < n; i++)
			block[i] = (char)((at + i) % 251);
		for (size_t done = 0; done < n;) {
			ssize_t r = gnutls_record_send(arg, block + done, n - done);

			if (r < 0)
				return NULL;
			done += (size_t)r;
		}
		at += n;
	}
	(void)gnutls_bye(arg, GNUTLS_SHUT_WR);
	return NULL;
}

static int client_echo(uint16_t port)
{
	static char block[65536];
	gnutls_session_t t;
	pthread_t sender;
	int r = start(port, &t);
	size_t at = 0;
	ssize_t n;

	if (r)
		return r;
	(void)pthread_create(&sender, NULL, send_much, t);
	while ((n = gnutls_record_recv(t, block, sizeof(block))) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			if (block[i] != (char)(at % 251))
				return 6;
	return at == MUCH ? 0 : 7;
}

static int client_hears(uint16_t port)
{
	gnutls_session_t t;
	char got[64] = {0};
	int r = start(port, &t);
	size_t at = 0;

	if (r)
		return r;
	for (ssize_t n; at < sizeof(got) - 1 &&
			(n = gnutls_record_recv(t, got + at, sizeof(got) - 1 - at)) > 0;)
		at += (size_t)n;
	return strcmp(got, "farewell") == 0 ? 0 : 8;
}

static int client_cut(uint16_t port)
{
	gnutls_session_t t;
	char c;
	int r = start(port, &t);

	if (r)
		return r;
	return gnutls_record_recv(t, &c, 1) <= 0 ? 0 : 9;
}

static int client_leaves(uint16_t port)
{
	gnutls_session_t t;
	int r = start(port, &t);

	if (r)
		return r;
	(void)gnutls_record_send(t, "x", 1);
	return 0; /* the kernel closes, without a word of TLS */
}

static int client_plain(uint16_t port)
{
	gnutls_session_t t;
	int r = dial(port, &t);

	if (r)
		return r;
	return greet(t, "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n", "") == 4 ? 0 : 10;
}

/* -- the caller -------------------------------------------------------------------------------- */

static void *caller_echo(void *arg)
{
	static char block[30000];
	struct run *r = arg;
	ssize_t n;

	while ((n = recv(r->fd, block, sizeof(block), 0)) > 0)
		if (send(r->fd, block, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	(void)close(r->fd);
	return NULL;
}

static void *caller_farewell(void *arg)
{
	struct run *r = arg;

	(void)!write(r->fd, "farewell", 8);
	(void)close(r->fd);
	return NULL;
}

/* One byte, then the end. */
static void *caller_left(void *arg)
{
	struct run *r = arg;
	char c[2];

	assert_int_equal(recv(r->fd, c, 2, 0), 1);
	assert_true(recv(r->fd, c, 1, 0) <= 0);
	(void)close(r->fd);
	return NULL;
}

/* -- both -------------------------------------------------------------------------------------- */

static void over(void *arg, unsigned ready)
{
	(void)ready;
	loop_stop(arg);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static int serve(struct run *run, int (*client)(uint16_t port))
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof(a);
	struct http_server *s = NULL;
	struct loop_watch *w = NULL;
	struct err e = {0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2], code = -1;
	pid_t pid;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(ends[0]);
		(void)close(fd);
		_exit(client(a.sin_port));
	}
	(void)close(ends[1]);
	assert_int_equal(loop_new(&run->loop, &e), 0);
	assert_int_equal(http_server_new(run->loop, handle, run, &s, &e), 0);
	assert_int_equal(http_server_listen_tls(s, fd, &own, ca.cert_pem, &e), 0);
	assert_int_equal(
		loop_watch_new(run->loop, ends[0], LOOP_READ | LOOP_HUP, over, run->loop, &w, &e),
		0);
	loop_run(run->loop);
	w = loop_watch_free(w);
	s = http_server_free(s);
	loop_defer(run->loop, stop, run->loop); /* a turn, for what it left to be released */
	loop_run(run->loop);
	if (run->thread)
		assert_int_equal(pthread_join(run->thread, NULL), 0);
	(void)loop_free(run->loop);
	(void)close(ends[0]);
	assert_int_equal(waitpid(pid, &code, 0), pid);
	return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static int set_up(void **state)
{
	static char *names[] = {(char *)"localhost", NULL};
	struct pki_request s = {.name = "hulld", .names = names, .server = true, .until_s = FAR};
	struct err e = {0};

	(void)state;
	assert_int_equal(pki_make_ca("hull", 0, FAR, &ca, &e), 0);
	assert_int_equal(pki_issue(&ca, &s, &own, &e), 0);
	return 0;
}

static void echoes(void **state)
{
	struct run r = {.caller = caller_echo};

	(void)state;
	assert_int_equal(serve(&r, client_echo), 0);
}

static void caller_closes(void **state)
{
	struct run r = {.caller = caller_farewell};

	(void)state;
	assert_int_equal(serve(&r, client_hears), 0);
}

static void client_goes(void **state)
{
	struct run r = {.caller = caller_left};

	(void)state;
	assert_int_equal(serve(&r, client_leaves), 0);
}

static void server_goes(void **state)
{
	struct run r = {.leave = true};
	char c;

	(void)state;
	assert_int_equal(serve(&r, client_cut), 0);
	assert_true(recv(r.fd, &c, 1, MSG_DONTWAIT) == 0);
	(void)close(r.fd);
}

static void not_asked_for(void **state)
{
	struct run r = {.fd = 0};

	(void)state;
	assert_int_equal(serve(&r, client_plain), 0);
	assert_true(r.taken);
	assert_int_equal(r.fd, -1);
}

/* The example of RFC 6455 §1.3. */
static void accepts(void **state)
{
	char text[HTTP_ACCEPT_ROOM];

	(void)state;
	assert_true(http_websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", text));
	assert_string_equal(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_false(http_websocket_accept("dGhlIHNhbXBsZSBub25j", text));
	assert_false(http_websocket_accept("?", text));
	assert_false(http_websocket_accept(NULL, text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(echoes),	 cmocka_unit_test(caller_closes),
		cmocka_unit_test(client_goes),	 cmocka_unit_test(server_goes),
		cmocka_unit_test(not_asked_for), cmocka_unit_test(accepts),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
