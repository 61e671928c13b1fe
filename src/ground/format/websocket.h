/*
 * WebSocket frames (RFC 6455) over wslay: one end of a connection after its handshake, as a pure
 * codec. Bytes that came are given to websocket_feed(), which tells the pieces of messages as they
 * are; nothing is gathered, so a message may be of any length. What is to be sent gathers in
 * websocket_out(), whose bytes the owner takes away.
 *
 * Masks, fragments, control frames between fragments and UTF-8 are checked; pings and the peer's
 * close are answered in here. An owner should not feed on while websocket_out() is long: a flood of
 * pings would let it grow. Extensions (compression) are not done.
 *
 * The client's end is for tests: its masks are not random.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

enum websocket_code { /* of a close */
		      WEBSOCKET_NORMAL = 1000,
		      WEBSOCKET_PROTOCOL_ERROR = 1002,
		      WEBSOCKET_TOO_BIG = 1009,
		      WEBSOCKET_INTERNAL_ERROR = 1011,
};

struct websocket;

/*
 * A piece of a message, from inside websocket_feed(); it must be dealt with in the call, and the
 * codec must not be freed there. A message has at least one piece.
 */
typedef void websocket_piece_fn(void *ctx, bool text, struct str piece, bool first, bool last);

struct websocket *websocket_new(bool client, websocket_piece_fn *piece, void *ctx);
struct websocket *websocket_free(struct websocket *w); /* NULL allowed; returns NULL */
own_define(websocket, struct websocket *, (void)websocket_free);
#define auto_websocket own_auto(websocket)

/*
 * ERR_GONE: the peer closed, and what follows is of no interest. ERR_INVALID: it breaks the
 * protocol. Either way the answer is in websocket_out().
 */
int websocket_feed(struct websocket *w, const void *p, size_t n, struct err *e) must_use;
struct strbuf *websocket_out(struct websocket *w);

/* One binary or text message of two parts: a channel's number and its bytes, say. */
void websocket_send(struct websocket *w, bool text, struct str head, struct str body);
void websocket_ping(struct websocket *w);
void websocket_close(struct websocket *w, enum websocket_code code, const char *why);
