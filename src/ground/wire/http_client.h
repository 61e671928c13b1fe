/*
 * An HTTP client on the loop, over libcurl: registries, and anything that takes its time. Exchanges
 * run side by side and share connections. Redirects are followed, within limits, and never carry
 * the Authorization header to another host, port or scheme. For a short exchange with the daemon
 * from the command line, see http_local.h, which needs neither the loop nor the library.
 *
 * Callbacks come on the loop's thread, never from inside http_call_start(). `done` is called
 * exactly once, last, unless the call was cancelled; after it the call is gone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/str.h"
#include "ground/wire/loop.h"

#define HTTP_CALL_CONNECT_TIMEOUT_MS 15000
#define HTTP_CALL_STALL_TIMEOUT_MS \
	60000 /* without a byte either way; paused calls do not stall \
	       */
#define HTTP_CALL_REDIRECTS_MAX 10

struct http_client;
struct http_call;

int http_client_new(struct loop *l, const char *user_agent, struct http_client **ret,
		    struct err *e) must_use;
struct http_client *http_client_free(struct http_client *c); /* cancels what runs; returns NULL */

struct http_call_ops {
	/* The final reply's status and headers are in; before the first data. May be NULL. */
	void (*replied)(void *arg, struct http_call *c, int status);
	/* A piece of the final reply's body. May be NULL: the body is dropped. */
	void (*data)(void *arg, struct http_call *c, const void *bytes, size_t n);
	/* The end: status of the reply (any status is a success here), or e set when there was none
	 * or it broke off: ERR_UNAVAILABLE (no connection), ERR_TIMEOUT, ERR_FORBIDDEN
	 * (certificate). */
	void (*done)(void *arg, struct http_call *c, int status, const struct err *e);
};

struct http_call_options {
	const char *method;	    /* NULL: GET */
	const char *url;	    /* http or https; copied like everything here */
	const char *unix_socket;    /* connect there, whatever the host in the url */
	const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
	const char *authorization; /* the header's value, "Bearer ..." or "Basic ..."; NULL: none */
	const void *body;	   /* copied; NULL: none */
	size_t body_n;
	bool body_from_fd; /* read body_size bytes of body_fd from body_offset on (pread) */
	int body_fd;	   /* stays the caller's, kept open until done */
	int64_t body_offset, body_size;
	int redirects_max;	    /* 0: HTTP_CALL_REDIRECTS_MAX; -1: none */
	int64_t connect_timeout_ms; /* 0: default */
	int64_t stall_timeout_ms;   /* 0: default; -1: none */
	bool insecure;		    /* do not check the server's certificate */
	bool plain_http2;	    /* HTTP/2 from the first byte, without TLS (gRPC) */
	const char *ca_file;	    /* more trusted roots (PEM); NULL: the system's */
	struct http_call_ops ops;
	void *arg;
};

int http_call_start(struct http_client *cl, const struct http_call_options *o,
		    struct http_call **ret, struct err *e) must_use;
/* Ends it now, without a word to ops. Allowed in every callback but `done`. Returns NULL. */
struct http_call *http_call_cancel(struct http_call *c);

/* Back-pressure: after _pause at most the pieces already read are delivered, none until _resume. */
void http_call_pause(struct http_call *c);
void http_call_resume(struct http_call *c);

int http_call_status(const struct http_call *c); /* 0 before the headers */
const char *http_call_header(const struct http_call *c,
			     const char *name);	      /* last one; any case; NULL */
const char *http_call_url(const struct http_call *c); /* after redirects */
