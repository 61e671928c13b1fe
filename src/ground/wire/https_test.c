/*
 * TLS: a client in a process of its own speaks to the server on the loop, once with a certificate
 * and once without; the handler says who it is.
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
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "ground/base/own.h"
#include "ground/wire/http_server.h"
#include "ground/wire/pki.h"

#define NOW 1000000000 /* certificates by the real clock, the identity by this one */
#define FAR 4000000000LL

static struct pki_pair ca, own, mine;
static const struct pki_pair *before; /* what the server shows until it is renewed */

static struct loop *http_loop;
static int taken;

static void took(void *arg, int fd, struct str early)
{
	(void)arg;
	(void)early;
	taken = fd;
}

static void later(void *arg)
{
	(void)http_reply_push(arg, "two", 3);
	http_reply_end(arg);
}

static void handle(void *arg, struct http_request *r)
{
	struct str cert = http_request_certificate(r);
	struct pki_identity id = {0};
	struct err e = {0};

	(void)arg;
	if (strcmp(http_request_path(r), "/take") == 0) {
		http_request_hijack(r, NULL, took, NULL);
	} else if (strcmp(http_request_path(r), "/pieces") == 0) {
		http_reply_begin(r, 200, "text/plain");
		(void)http_reply_push(r, "one", 3);
		loop_defer(http_loop, later, r);
	} else if (!cert.n) {
		http_reply_text(r, 401, "text/plain", "nobody");
	} else if (pki_identify(ca.cert_pem, cert, NOW, &id, &e) < 0) {
		http_reply_err(r, &e);
	} else {
		http_reply_text(r, 200, "text/plain", id.name);
		pki_identity_done(&id);
	}
}

/* The client's process: 0 when the reply holds both texts and the server is who it should be. */
static int ask(uint16_t port, const char *path, const struct pki_pair *who, const char *status,
	       const char *body)
{
	char text[128];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = port};
	gnutls_certificate_credentials_t cred;
	gnutls_datum_t trust = {(unsigned char *)ca.cert_pem, (unsigned)strlen(ca.cert_pem)};
	gnutls_session_t t;
	char got[4096] = {0};
	size_t n = 0;
	int records = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(text, sizeof(text),
		       "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return 1;
	(void)gnutls_certificate_allocate_credentials(&cred);
	(void)gnutls_certificate_set_x509_trust_mem(cred, &trust, GNUTLS_X509_FMT_PEM);
	if (who) {
		gnutls_datum_t c = {(unsigned char *)who->cert_pem,
				    (unsigned)strlen(who->cert_pem)};
		gnutls_datum_t k = {(unsigned char *)who->key_pem, (unsigned)strlen(who->key_pem)};

		if (gnutls_certificate_set_x509_key_mem(cred, &c, &k, GNUTLS_X509_FMT_PEM) < 0)
			return 2;
	}
	/* Shown whomever the server says it trusts, as kubectl does. */
	(void)gnutls_init(&t, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT);
	(void)gnutls_set_default_priority(t);
	(void)gnutls_credentials_set(t, GNUTLS_CRD_CERTIFICATE, cred);
	gnutls_session_set_verify_cert(t, "localhost", 0);
	gnutls_transport_set_int(t, fd);
	if (gnutls_handshake(t) < 0)
		return 3;
	if (gnutls_record_send(t, text, strlen(text)) < 0)
		return 4;
	for (ssize_t r;
	     n < sizeof(got) - 1 && (r = gnutls_record_recv(t, got + n, sizeof(got) - 1 - n)) > 0;
	     records++)
		n += (size_t)r;
	if (records > 1 && strcmp(path, "/") == 0) /* head and body of a small reply are one */
		return 6;
	return strstr(got, status) && strstr(got, body) ? 0 : 5;
}

static void over(void *arg, unsigned ready)
{
	(void)ready;
	loop_stop(arg);
}

static int serve_one(const char *path, const struct pki_pair *who, const char *status,
		     const char *body)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof(a);
	struct http_server *s = NULL;
	struct loop_watch *w = NULL;
	struct loop *l = NULL;
	struct err e = {0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2], go[2], code = -1;
	pid_t pid;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		char byte;

		(void)close(ends[0]);
		(void)close(go[1]);
		(void)close(fd);
		(void)!read(go[0], &byte, 1); /* until the server is as it shall be met */
		_exit(ask(a.sin_port, path, who, status, body));
	}
	(void)close(ends[1]);
	assert_int_equal(loop_new(&l, &e), 0);
	http_loop = l;
	assert_int_equal(http_server_new(l, handle, NULL, &s, &e), 0);
	assert_int_equal(http_server_listen_tls(s, fd, before ? before : &own, ca.cert_pem, &e), 0);
	if (before)
		assert_int_equal(http_server_renew_tls(s, &own, ca.cert_pem, &e), 0);
	(void)close(go[0]);
	(void)close(go[1]);
	assert_int_equal(loop_watch_new(l, ends[0], LOOP_READ | LOOP_HUP, over, l, &w, &e), 0);
	loop_run(l);
	w = loop_watch_free(w);
	s = http_server_free(s);
	(void)loop_free(l);
	(void)close(ends[0]);
	assert_int_equal(waitpid(pid, &code, 0), pid);
	return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static int set_up(void **state)
{
	static char *names[] = {(char *)"localhost", NULL};
	struct pki_request s = {.name = "hulld", .names = names, .server = true, .until_s = FAR};
	struct pki_request c = {.name = "jane", .client = true, .until_s = FAR};
	struct err e = {0};

	(void)state;
	assert_int_equal(pki_make_ca("hull", 0, FAR, &ca, &e), 0);
	assert_int_equal(pki_issue(&ca, &s, &own, &e), 0);
	assert_int_equal(pki_issue(&ca, &c, &mine, &e), 0);
	return 0;
}

static void known(void **state)
{
	(void)state;
	assert_int_equal(serve_one("/", &mine, " 200 ", "jane"), 0);
}

static void unknown(void **state)
{
	auto_pki_pair struct pki_pair other = {0}, forged = {0};
	struct pki_request c = {.name = "jane", .client = true, .until_s = FAR};
	struct err e = {0};

	(void)state;
	assert_int_equal(serve_one("/", NULL, " 401 ", "nobody"), 0);
	assert_int_equal(pki_make_ca("hull", 0, FAR, &other, &e), 0);
	assert_int_equal(pki_issue(&other, &c, &forged, &e), 0);
	assert_int_equal(serve_one("/", &forged, " 403 ", "not signed"), 0);
}

/* The client would refuse the certificate of before: nobody it trusts has signed it. */
static void renewed(void **state)
{
	static char *names[] = {(char *)"localhost", NULL};
	struct pki_request q = {.name = "hulld", .names = names, .server = true, .until_s = FAR};
	auto_pki_pair struct pki_pair other = {0}, old = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(pki_make_ca("other", 0, FAR, &other, &e), 0);
	assert_int_equal(pki_issue(&other, &q, &old, &e), 0);
	before = &old;
	assert_int_equal(serve_one("/", &mine, " 200 ", "jane"), 0);
	assert_int_equal(serve_one("/pieces", &mine, "one", "two"), 0);
	before = NULL;
}

static void streams(void **state)
{
	(void)state;
	assert_int_equal(serve_one("/pieces", &mine, "one", "two"), 0);
}

/* Not over TLS: the owner hears that there is no descriptor, the client gets no reply. */
static void not_taken_over(void **state)
{
	(void)state;
	taken = 0;
	assert_int_equal(serve_one("/take", &mine, "HTTP/1.1", ""), 5);
	assert_int_equal(taken, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(known), cmocka_unit_test(unknown),
					   cmocka_unit_test(renewed), cmocka_unit_test(streams),
					   cmocka_unit_test(not_taken_over)};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
