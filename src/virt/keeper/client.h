/*
 * A client: somebody attached to a set of streams through a socket of their own. It turns output
 * into Docker's frames (or raw bytes), keeps what the socket does not take, finds the detach
 * keys in input, and notices when the other side has gone.
 *
 *	replaying  -- the log's end reached -->  live  -- streams ended -->  draining --> gone
 *	any        -- left, failed, detach keys, draining done -->  gone
 *
 * replaying: output comes from the log's files only (the keeper writes there first, so nothing is
 * missed or told twice); live: output is what streams read; draining: no input, closes when `out`
 * is empty. Gone clients are freed.
 */
#pragma once

#include "ground/base/list.h"
#include "ground/base/str.h"
#include "virt/keeper/log_reader.h"
#include "virt/keeper/protocol.h"
#include "virt/keeper/turn.h"

#define CLIENT_BACKLOG	    65536 /* bytes that wait for a client before it holds output back */
#define CLIENT_INPUT	    4096  /* read at once */
#define CLIENT_KEYS_MAX	    16
#define CLIENT_FRAME_HEADER 8

enum client_phase { CLIENT_REPLAYING, CLIENT_LIVE, CLIENT_DRAINING };

struct client;

/* What a client asks of the streams it belongs to. */
struct client_ops {
	/* May input be read now? False holds it in the socket. */
	bool (*input_wanted)(void *ctx);
	void (*input)(void *ctx, const char *p, size_t n);
	void (*input_ended)(void *ctx, struct client *c);
	/* The replay is done and the client is live: output that the log's files lack is due. */
	void (*caught_up)(void *ctx, struct client *c);
	/* `out` shrank or the client left: output may flow again. */
	void (*relieved)(void *ctx);
	/* The client is about to be freed; it is still in the list. */
	void (*gone)(void *ctx, struct client *c, bool by_keys);
};

struct client {
	uint32_t magic;
	struct list link;
	struct turn *turn;
	struct turn_watch watch;
	const struct client_ops *ops;
	void *ctx;
	enum client_phase phase;
	char *session;
	bool want_stdin, want_stdout, want_stderr, multiplexed, no_stream;
	bool input_open; /* the client may still send */
	char keys[CLIENT_KEYS_MAX];
	size_t keys_n, keys_seen;
	struct strbuf out; /* for the socket */
	struct log_reader *replay;
};

/*
 * Takes fd (closed also on failure) and links the client into `clients`. Early input is handed on
 * from client_begin(), which the owner calls when the client is in place.
 */
int client_new(struct turn *turn, const struct keeper_attach *how, bool tty, int fd,
	       const struct client_ops *ops, void *ctx, struct list *clients, struct client **ret,
	       struct err *e) must_use;
struct client *client_free(struct client *c); /* closes; returns NULL */

/* Output that was just read; only live clients take it. */
void client_output(struct client *c, enum log_stream stream, const char *p, size_t n);
bool client_is_full(const struct client *c);

/* Nothing more will come: the client closes when all is written. May free c. */
void client_finish(struct client *c);
/* Input may be wanted now; renews what is watched. */
void client_refresh(struct client *c);

/* The frame header of n bytes of a stream. */
void client_frame(enum log_stream stream, size_t n, unsigned char ret[CLIENT_FRAME_HEADER]);

/*
 * Looks for the keys in input, across calls (c->keys_seen): *out receives what is input for
 * certain, false when the keys were found (what follows them is dropped).
 */
bool client_scan_keys(struct client *c, const char *p, size_t n, struct strbuf *out);
