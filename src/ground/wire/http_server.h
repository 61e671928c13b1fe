/*
 * An HTTP/1.1 server on the loop, for unix sockets and TCP. Each request is given to one handler;
 * every reply may come at once or much later, whole or in pieces, or the connection is taken over.
 *
 * Life of a request:
 *
 *   handle(arg, r)             headers are in. Ask for the body with _gather or _stream, or ignore
 *                              it; then, now or later, finish the request by one of these:
 *   http_reply*(r, ...)        a whole reply
 *   http_reply_begin(r, ...)   headers go out at once; http_reply_push(); http_reply_end() finishes
 *   http_request_hijack(r, ..) the bare descriptor is the caller's
 *   http_request_drop(r)       no reply, the connection is closed
 *
 * A request is finished exactly once, by its owner, also when its client has left: replies then go
 * nowhere. Until then r and all that was read from it stay valid; after that r must not be touched.
 * Leaving is told through http_request_on_gone(), at any time between handle and finish, never from
 * inside one of these functions. Connections are kept alive; pipelined requests wait their turn.
 *
 * Requests that break HTTP are refused (400) by the library below before they reach the handler; a
 * body over its limit is answered here with a JSON {"message": ...}.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/str.h"
#include "ground/wire/loop.h"
#include "ground/wire/unix.h"

#define HTTP_HEADERS_MAX_BYTES (32u << 10) /* request line and headers together */
#define HTTP_CONNECTIONS_MAX   8192
#define HTTP_SILENCE_SECONDS   600u /* of a client whose turn it is: its connection is closed */

struct http_server;
struct http_request;

typedef void http_handler_fn(void *arg, struct http_request *r);

int http_server_new(struct loop *l, http_handler_fn *handle, void *arg, struct http_server **ret,
		    struct err *e) must_use;
/* Serves a listening socket, which is taken (also on failure). Several may be added. */
int http_server_listen(struct http_server *s, int fd, struct err *e) must_use;
/*
 * The same over TLS (1.2 and newer). Clients may show a certificate, which is not judged here: the
 * handler reads it with http_request_certificate() and asks pki_identify(). They are told the name
 * of the authority whose certificates are wanted (ca_pem).
 */
struct pki_pair;
int http_server_listen_tls(struct http_server *s, int fd, const struct pki_pair *own,
			   const char *ca_pem, struct err *e) must_use;
/*
 * Who connects from now on over TLS meets this certificate; connections that are there go on. What
 * served until now stays, without listening, as long as the server does.
 */
int http_server_renew_tls(struct http_server *s, const struct pki_pair *own, const char *ca_pem,
			  struct err *e) must_use;
/* Stops listening and closes every connection; requests still owned stay valid until finished.
 * NULL. */
struct http_server *http_server_free(struct http_server *s);

/* What was asked. Texts are decoded and live as long as the request. */
const char *http_request_method(const struct http_request *r);
const char *http_request_path(const struct http_request *r); /* percent-decoded, without query */
const char *http_request_header(const struct http_request *r,
				const char *name); /* any case; NULL */
/* The i-th line of a header that comes more than once. */
const char *http_request_header_at(const struct http_request *r, const char *name, size_t i);
/* The i-th value of a query parameter, "" when it has none, NULL when absent. */
const char *http_request_query_at(const struct http_request *r, const char *name, size_t i);
static inline const char *http_request_query(const struct http_request *r, const char *name)
{
	return http_request_query_at(r, name, 0);
}
/* The i-th header or query parameter at all; false: there are fewer. */
bool http_request_each_header(const struct http_request *r, size_t i, const char **ret_name,
			      const char **ret_value);
bool http_request_each_query(const struct http_request *r, size_t i, const char **ret_name,
			     const char **ret_value);
bool http_request_wants_upgrade(const struct http_request *r); /* Connection: upgrade, Upgrade: x */
/* The client process of a unix socket connection; false over TCP. */
bool http_request_peer(const struct http_request *r, struct unix_peer *ret);
/* The certificate (DER) a client showed over TLS, or empty. Only that it has the key is sure. */
struct str http_request_certificate(const struct http_request *r);
bool http_request_is_gone(const struct http_request *r);

/* A place for the owner's own pointer. */
void http_request_set_data(struct http_request *r, void *data);
void *http_request_data(const struct http_request *r);

/* Tells once, on the loop, that the client left; the owner still has to finish r. NULL: nobody. */
void http_request_on_gone(struct http_request *r, loop_fn *fn, void *arg);

/*
 * The body. It is held back until the owner asks for it (now or later) or answers without it.
 *
 * - gather: the whole body at once. When it is longer than max_bytes (the client gets 413), or the
 *   client leaves in the middle, fn is called with r = NULL and e set: r is finished already.
 * - stream: fn for each piece, then once with n = 0; _pause and _resume hold the client back. That
 * the client left in the middle is told by http_request_on_gone().
 */
typedef void http_body_fn(void *arg, struct http_request *r, struct str body, const struct err *e);
typedef void http_piece_fn(void *arg, struct http_request *r, const void *bytes, size_t n);
void http_request_gather(struct http_request *r, size_t max_bytes, http_body_fn *fn, void *arg);
void http_request_stream(struct http_request *r, http_piece_fn *fn, void *arg);
void http_request_pause(struct http_request *r);
void http_request_resume(struct http_request *r);

/* Adds a header to the reply to come. */
void http_reply_header(struct http_request *r, const char *name, const char *value);

/* A whole reply; bytes are copied. content_type NULL: none. HEAD and 204/304 send no body. */
void http_reply(struct http_request *r, int status, const char *content_type, const void *bytes,
		size_t n);
/* The same with a body that is taken, not copied. */
void http_reply_take(struct http_request *r, int status, const char *content_type,
		     struct strbuf *body);
static inline void http_reply_text(struct http_request *r, int status, const char *content_type,
				   const char *text)
{
	http_reply(r, status, content_type, text, strlen(text));
}
/* {"message": TEXT} with the status that belongs to the error's kind. */
void http_reply_err(struct http_request *r, const struct err *e);
void http_reply_message(struct http_request *r, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * A reply in pieces (chunked). The headers leave at once. _push copies and never fails; it returns
 * how many bytes wait for the client: above HTTP_REPLY_FULL stop until `drained` is called (set it
 * with http_reply_on_drained, called when fewer than HTTP_REPLY_LOW wait). _end completes what was
 * pushed.
 */
#define HTTP_REPLY_FULL (256u << 10)
#define HTTP_REPLY_LOW	(64u << 10)
void http_reply_begin(struct http_request *r, int status, const char *content_type);
size_t http_reply_push(struct http_request *r, const void *bytes, size_t n);
void http_reply_on_drained(struct http_request *r, loop_fn *fn, void *arg);
void http_reply_end(struct http_request *r);

/*
 * Takes the connection over, as docker attach does: with an upgrade asked for, the reply is 101
 * with Connection and Upgrade headers (the protocol is "tcp", or what http_reply_header said for
 * "Upgrade"), else "200 OK" without length; then bytes are raw. The reply is written before
 * `hijacked` is called. fd is a full owner of the socket, not tied to this server or loop,
 * non-blocking: it may be handed to another process and lives on without this one. `early` is what
 * the client had sent already behind its request (usually empty), valid in the call. When the
 * client has left, fd is -1. Headers added with http_reply_header are sent too.
 *
 * Over TLS an upgrade must have been asked for (else fd is -1), and fd is one end of a socket pair
 * whose life ends with the server: it may not outlive this process. The client's close_notify is
 * end of file, shutting down writing sends one, closing fd ends the connection once all is sent.
 */
typedef void http_hijacked_fn(void *arg, int fd, struct str early);
void http_request_hijack(struct http_request *r, const char *content_type,
			 http_hijacked_fn *hijacked, void *arg);

/*
 * What a WebSocket server answers to a Sec-WebSocket-Key (RFC 6455 §4.2.2): false when that is not
 * 16 bytes in base64.
 */
#define HTTP_ACCEPT_ROOM 29
bool http_websocket_accept(const char *key, char ret[HTTP_ACCEPT_ROOM]);

void http_request_drop(struct http_request *r);
