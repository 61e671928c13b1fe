/*
 * SPDY/3.1 framing: one end of a connection, as a pure codec. Bytes that came are given to
 * spdy_next(), which tells one event after the other; what is to be sent gathers in spdy_out(),
 * whose bytes the owner takes away. kubectl's exec, attach and port-forward speak it.
 *
 *	while ((r = spdy_next(s, &in, &v, e)) > 0)
 *		handle(&v);			(r < 0: the connection is of no use any more)
 *	send(fd, spdy_out(s)->p, ...), strbuf_drop_front(spdy_out(s), sent);
 *
 * Life of a stream: SYN_STREAM, answered by spdy_reply() (what is sent before it is dropped by
 * kubectl), then data both ways. Each side ends its half with `fin`; the stream is forgotten when
 * both halves have ended, or with a reset. What is sent to a stream that is gone goes nowhere.
 *
 * Windows: kubectl's library (spdystream) has none, neither way. So windows that are used up are
 * given back (spdy_consumed) to whoever may count them, but a peer's own are obeyed only once it
 * has shown that it counts: by a WINDOW_UPDATE or an initial window in SETTINGS. Who does not read
 * is held back by not reading from it.
 *
 * Pings are answered in here. Priorities, credentials and server push are not done. An owner should
 * not read on while spdy_out() is long: a flood of pings would let it grow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/cursor.h"
#include "ground/base/err.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

#define SPDY_STREAMS_MAX       512	   /* of one connection at a time; more are refused */
#define SPDY_CONTROL_MAX_BYTES (16u << 10) /* of a control frame, compressed */
#define SPDY_BLOCK_MAX_BYTES   (16u << 10) /* of a header block, inflated */
#define SPDY_HEADERS_MAX       64
#define SPDY_WINDOW	       (64u << 10)
#define SPDY_DATA_MAX_BYTES    (32u << 10) /* of the data frames that are made here */

enum spdy_reset_reason { /* of RST_STREAM */
			 SPDY_PROTOCOL_ERROR = 1,
			 SPDY_INVALID_STREAM = 2,
			 SPDY_REFUSED_STREAM = 3,
			 SPDY_CANCEL = 5,
			 SPDY_INTERNAL_ERROR = 6,
			 SPDY_FLOW_CONTROL_ERROR = 7,
			 SPDY_ALREADY_CLOSED = 9,
};

struct spdy_header {
	struct str name, value; /* names are lower case */
};

enum spdy_event_kind {
	SPDY_OPENED,  /* the peer opened a stream: id, headers, fin */
	SPDY_REPLIED, /* to ours: id, headers, fin */
	SPDY_HEADERS, /* more headers: id, headers, fin */
	SPDY_DATA,    /* id, data (maybe empty), fin */
	SPDY_RESET,   /* the stream is gone: id, status */
	SPDY_ROOM,    /* spdy_room() may have grown: id, 0: of all streams */
	SPDY_GOAWAY,  /* no new streams: status */
};

struct spdy_event {
	enum spdy_event_kind kind;
	uint32_t id;
	const struct spdy_header *headers; /* all texts are borrowed until the next call */
	size_t headers_n;
	struct str data;
	bool fin; /* nothing more comes on this stream */
	uint32_t status;
};

struct spdy;
struct spdy *spdy_new(bool client);
struct spdy *spdy_free(struct spdy *s); /* NULL allowed; returns NULL */
own_define(spdy, struct spdy *, (void)spdy_free);
#define auto_spdy own_auto(spdy)

/*
 * 1: an event is in *ret, there may be more; 0: `in` is used up (what is incomplete is kept).
 * ERR_INVALID: the peer breaks the protocol; ERR_EXHAUSTED: it exceeds a limit above. Either way a
 * GOAWAY is in spdy_out(), and each further call fails too.
 */
int spdy_next(struct spdy *s, struct cursor *in, struct spdy_event *ret, struct err *e) must_use;
struct strbuf *spdy_out(struct spdy *s);

/* Opens a stream and returns its id; 0: SPDY_STREAMS_MAX are open. */
uint32_t spdy_open(struct spdy *s, const struct spdy_header *h, size_t n, bool fin);
void spdy_reply(struct spdy *s, uint32_t id, const struct spdy_header *h, size_t n, bool fin);
/* At most spdy_room() bytes. */
void spdy_data(struct spdy *s, uint32_t id, const void *p, size_t n, bool fin);
void spdy_reset(struct spdy *s, uint32_t id, enum spdy_reset_reason why);
void spdy_goaway(struct spdy *s, uint32_t status);
void spdy_consumed(struct spdy *s, uint32_t id, size_t n);

/* How many bytes may be sent now; SIZE_MAX where the peer does not count. */
size_t spdy_room(const struct spdy *s, uint32_t id);
bool spdy_is_open(const struct spdy *s, uint32_t id);
size_t spdy_streams(const struct spdy *s);

/* The value of a header; "" (p not NULL) when it is empty, p NULL when absent. */
struct str spdy_header_value(const struct spdy_header *h, size_t n, const char *name);
