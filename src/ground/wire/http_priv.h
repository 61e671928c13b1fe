/*
 * Between the files of the HTTP server: http_server.c drives the library, http_request.c is the
 * owner's side of a request.
 *
 * States of a request (`phase`), each edge taken inside the library's access handler:
 *
 *	ASKED	headers are in, the connection rests until the owner asks for the body or answers
 *	  |	http_kick(): resume
 *	BODY	the body comes in: given to the owner's callback, or drained
 *	  |	the whole request has come
 *	READY	the connection rests until there is a reply
 *	  |	reply queued, or hijack
 *	ANSWERED the library sends; in a streamed reply it rests while nothing is queued
 *
 * `connection` is NULL once the library is done with it. A request is released when its owner has
 * finished it and the library is done, from a deferred call, so that no caller sees it vanish.
 */
#pragma once

#include <microhttpd.h>

#include "ground/base/arena.h"
#include "ground/base/list.h"
#include "ground/wire/http_server.h"

#define HTTP_REQUEST_MAGIC 0x48745265u

enum http_phase { HTTP_ASKED, HTTP_BODY, HTTP_READY, HTTP_ANSWERED };
enum http_body_mode { HTTP_DRAIN, HTTP_GATHER, HTTP_STREAM };
enum http_reply_mode { HTTP_NO_REPLY, HTTP_WHOLE, HTTP_PIECES, HTTP_HIJACK, HTTP_DROP };

struct http_port;

struct http_pair {
	const char *name, *value;
};

struct http_pairs {
	struct http_pair *items;
	size_t n, room;
};

struct http_request {
	unsigned magic;
	struct list link; /* in its port's list while it has a connection */
	struct http_port *port;
	struct loop *loop;
	struct MHD_Connection *connection;
	struct loop_watch *watch; /* for the client leaving */
	int fd;			  /* the library's, borrowed */
	enum http_phase phase;
	bool resting;  /* suspended in the library */
	bool finished; /* by the owner */
	bool releasing;
	bool gone;
	bool gone_told;

	struct arena arena;
	const char *method, *path;
	struct http_pairs headers, query;
	bool unix_socket, tls;
	struct str certificate;
	void *data;
	loop_fn *on_gone;
	void *gone_arg;

	/* the request's body */
	bool has_body;
	bool asked; /* the owner wants it, or it may be drained */
	enum http_body_mode body_mode;
	bool paused;
	struct strbuf body;
	size_t body_max;
	http_body_fn *gathered;
	http_piece_fn *piece;
	void *body_arg;

	/* the reply */
	enum http_reply_mode reply;
	int status;
	const char *content_type;
	struct http_pairs reply_headers;
	struct strbuf out; /* bytes of the reply that the library has not taken yet */
	bool ended;	   /* nothing more will be pushed */
	bool corked;	   /* head and body of the reply become one record */
	loop_fn *drained;
	void *drained_arg;

	/* taking the connection over */
	http_hijacked_fn *hijacked;
	void *hijacked_arg;
	int hijack_fd;	 /* the socket, ours */
	int hijack_pipe; /* the far end of what the library writes its own reply into */
};

struct http_request *http_request_of(void *p);
void http_pairs_add(struct http_request *r, struct http_pairs *p, const char *name,
		    const char *value);
const char *http_pairs_get(const struct http_pairs *p, const char *name, size_t i);

/* Lets a resting connection go on, in the library's next run. */
void http_kick(struct http_request *r);
/* The owner is done with r: released when the library is too. */
void http_finish(struct http_request *r);
/* Watches for the client leaving, once there is nothing to read from it. */
void http_watch(struct http_request *r);
void http_tell_gone(struct http_request *r);
void http_release_later(struct http_request *r);

/* The body, told by the library's side. */
void http_body_piece(struct http_request *r, const void *bytes, size_t n);
void http_body_end(struct http_request *r);
void http_body_broken(struct http_request *r); /* the client left in the middle */

/* Runs the library soon: something changed that it does not see by itself. */
void http_port_kick(struct http_port *p);

/*
 * A connection over TLS that was taken over, while it rests: sends the reply's head and returns the
 * caller's descriptor, or -1. Ends by itself, dropping the request, or with http_upgrades_end().
 */
struct http_upgrade;
int http_upgrade_begin(struct http_request *r, struct list *upgrades, const struct strbuf *head);
void http_upgrades_end(struct list *upgrades);
