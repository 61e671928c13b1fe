/*
 * A small blocking HTTP/1.1 client over a unix socket, for the command line: one connection, one
 * request at a time, replies whole or in pieces, and the taken-over connection of attach and exec.
 * It starts in microseconds because it needs no library. Not for strangers' servers: those are for
 * http_client.h.
 *
 *	struct http_local h;
 *	http_local_open("/run/hull/docker.sock", &h, e);
 *	http_local_call(&h, &(struct http_local_request){"GET", "/containers/json"}, &status, e);
 *	while ((r = http_local_read(&h, buf, sizeof(buf), &n, e)) == 0 && n) ...
 *	http_local_close(&h);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/str.h"
#include "ground/wire/http_head.h"

struct http_local {
	int fd;		  /* -1: closed */
	struct strbuf in; /* received, not yet consumed */
	struct http_head head;
	struct http_body body;
	bool open; /* a reply's body is being read */
	bool head_only;
};

struct http_local_request {
	const char *method;
	const char *target;	    /* path and query, already encoded */
	const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
	const void *body;
	size_t body_n;
	bool body_from_fd; /* send all that body_fd yields, chunked; stays the caller's */
	int body_fd;
};

int http_local_open(const char *socket_path, struct http_local *ret, struct err *e) must_use;
void http_local_close(struct http_local *h);

/* Sends the request and reads the reply's head. A body left over from the last call is read away.
 */
int http_local_call(struct http_local *h, const struct http_local_request *q, int *ret_status,
		    struct err *e) must_use;
const char *http_local_header(const struct http_local *h, const char *name); /* any case; NULL */

/* Reads some of the reply's body: *ret_n = 0 at its end. _read_all: all of it, at most max_bytes.
 */
int http_local_read(struct http_local *h, void *buf, size_t room, size_t *ret_n,
		    struct err *e) must_use;
int http_local_read_all(struct http_local *h, size_t max_bytes, struct strbuf *out,
			struct err *e) must_use;

/*
 * Asks for the raw connection (Connection: Upgrade, Upgrade: tcp). With 101 or 200 *ret_fd is the
 * socket, now the caller's, and h is closed; *early receives what came behind the headers. Any
 * other status leaves h open for reading the error's body, *ret_fd is -1.
 */
int http_local_upgrade(struct http_local *h, const struct http_local_request *q, int *ret_status,
		       int *ret_fd, struct strbuf *early, struct err *e) must_use;

/* Percent-encodes for use in a path segment or query value; appends to out. */
void http_encode(struct strbuf *out, const char *text);
