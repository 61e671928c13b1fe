/*
 * Streams of running pods, beneath the routes of stream.c:
 *
 *	duplex	 the client's connection after its upgrade: bytes both ways, bounded
 *	channels stdin, stdout, stderr, status and resize over it, by SPDY or by WebSocket
 *	exec	 channels joined to a process on a node (exec, attach)
 *	forward	 SPDY streams joined to connections of a node (portforward)
 *	proxy	 a request relayed to a connection of a node
 *
 * Nobody is read whose bytes nobody takes: a client that does not read holds back its process, a
 * process that does not read its client, and neither makes anything grow beyond the limits below.
 */
#pragma once

#include "api/kube/kube_priv.h"
#include "cluster/objects/node_ops.h"
#include "ground/format/spdy.h"

#define STREAM_FULL	   (256u << 10) /* bytes that wait for a client: its source rests */
#define STREAM_LOW	   (64u << 10)	/* fewer: it goes on */
#define STREAM_BLOCK	   (32u << 10)
#define STREAM_LINGER_MS   10000 /* to take what was sent, and to close */
#define STREAM_CREATE_MS   30000 /* to open the streams that were announced */
#define STREAM_COMMAND_MAX 1024	 /* arguments */

/* What must end with the server: a link in kube's list of streams. */
struct stream {
	struct list link;
	void (*end)(struct stream *s); /* removes itself, at the latest with the server's loop */
};
static inline void stream_add(struct kube *k, struct stream *s, void (*end)(struct stream *s))
{
	s->end = end;
	list_append(&k->streams, &s->link);
}

/* -- duplex ------------------------------------------------------------------------------------ */

struct duplex;
struct duplex_events {
	void (*bytes)(void *ctx, const char *p, size_t n); /* came from the client */
	void (*room)(void *ctx); /* after duplex_room() was 0 there is room again */
	void (*gone)(void *ctx); /* the client left */
};
struct duplex *duplex_new(struct kube *k, int fd, const struct duplex_events *on, void *ctx);
/* Appends to what is sent; sends at the end of the turn. */
struct strbuf *duplex_out(struct duplex *d);
void duplex_flush(struct duplex *d);
size_t duplex_room(struct duplex *d);
void duplex_hold(struct duplex *d, bool hold); /* do not read the client */
/*
 * The owner is done: no more callbacks. What is to be sent is sent, the client may close, then it
 * frees itself; also when the server ends.
 */
void duplex_finish(struct duplex *d);

/* -- channels ---------------------------------------------------------------------------------- */

enum channel {
	CHANNEL_IN,
	CHANNEL_OUT,
	CHANNEL_ERR,
	CHANNEL_STATUS,
	CHANNEL_RESIZE,
	CHANNELS,
	CHANNEL_NONE = 255
};

struct channel_protocol {
	const char *name;
	bool websocket;
	bool json;   /* the status is a Status object; else its message, nothing when well */
	bool base64; /* text frames: a digit, then base64 */
};

struct channels_events {
	void (*ready)(void *ctx); /* all streams are there */
	void (*bytes)(void *ctx, enum channel c, struct str bytes);
	void (*ended)(void *ctx, enum channel c);
	void (*room)(void *ctx);
	void (*gone)(void *ctx);
};

/* What the client offers first of what is known; NULL: nothing. */
const struct channel_protocol *channels_protocol(struct kube_request *r);
void channels_greet(struct kube_request *r, const struct channel_protocol *p);

struct channels;
/* wanted: bits of `1 << channel`. */
struct channels *channels_new(struct kube *k, int fd, const struct channel_protocol *p,
			      unsigned wanted, const struct channels_events *on, void *ctx);
bool channels_are_ready(const struct channels *c); /* so from the beginning over WebSocket */
size_t channels_room(struct channels *c, enum channel to);
void channels_write(struct channels *c, enum channel to, struct str bytes);
void channels_hold(struct channels *c, bool hold);
/* code 0 and error NULL: well. Sends the status, ends all channels; c is gone, also from inside its
 * own events. */
void channels_finish(struct channels *c, int code, const struct err *error);
void channels_leave(struct channels *c); /* without a word */

/* -- upgrade ----------------------------------------------------------------------------------- */

/* The first of `names` (NULL-terminated) that the client offers in the header; NULL. */
const char *upgrade_offer(const struct kube_request *r, const char *header,
			  const char *const *names);
bool upgrade_is_websocket(const struct kube_request *r);
bool upgrade_is_spdy(const struct kube_request *r);
void upgrade_greet_websocket(struct kube_request *r, const char *protocol); /* NULL: none */
void upgrade_greet_spdy(struct kube_request *r, const char *protocol);

/* -- the verbs: each ends the request ---------------------------------------------------------- */

struct stream_node {
	const struct node_ops *ops;
	void *node;
	struct node_target target; /* texts live in the request's arena */
	bool tty;		   /* of the container */
};
void exec_run(struct kube_request *r, const struct stream_node *n);
void forward_run(struct kube_request *r, const struct stream_node *n);
void log_run(struct kube_request *r, const struct stream_node *n);
/* stream_node.c: what a node answers to by itself. */
void node_proxy_run(struct kube_request *r);
void proxy_run(struct kube_request *r, const struct stream_node *n, uint16_t port);
