/*
 * Calls to the daemon: one request and its JSON reply, or a reply that streams. A reply of 400 and
 * above becomes an error with the daemon's own sentence. Where no daemon listens, one is started
 * (daemon.h).
 */
#pragma once

#include "cli/cli.h"
#include "ground/format/json.h"
#include "ground/wire/http_local.h"

struct client_request {
	const char *method;
	const char *target; /* path and query, encoded */
	const struct json *body;
	int body_fd; /* sent whole, chunked, when body_type is set */
	const char *body_type;
};

/* Calls and reads the whole reply; *ret (may be NULL) is the caller's, NULL when there is no body.
 */
int client_call(const struct context *c, const char *method, const char *target,
		const struct json *body, struct json **ret, struct err *e) must_use;

/* Calls and leaves the reply's body to be read from *ret; the caller closes it. */
int client_open(const struct context *c, const struct client_request *q, struct http_local *ret,
		struct err *e) must_use;

/* Calls with a body from a descriptor; the reply's body is read away. */
int client_send(const struct context *c, const struct client_request *q, struct err *e) must_use;

/* Turns the connection into a raw one (attach, exec); *ret_fd is the caller's. */
int client_upgrade(const struct context *c, const char *target, const struct json *body,
		   int *ret_fd, struct strbuf *early, struct err *e) must_use;

/* Reads one JSON value per line until the end of the reply; `each` says 0 to go on. */
int client_each(struct http_local *h, int (*each)(void *arg, const struct json *j), void *arg,
		struct err *e) must_use;

/* Copies the rest of the reply to fd. */
int client_copy(struct http_local *h, int fd, struct err *e) must_use;

/* A target: "/containers/%s/json" with the name percent-encoded; freed by the caller. */
char *client_target(const char *fmt, const char *name);
