/*
 * The standard streams of one run of a process (the container's, or an exec's): from its pipes or
 * terminal to the log and the clients, and from the clients to its input.
 *
 * Order: the log has every byte before any client. A client with more than CLIENT_BACKLOG bytes
 * waiting stops the reading (the process then blocks, as with Docker); the log therefore stops too,
 * but loses nothing. When the process has ended (streams_process_ended) reading no longer waits for
 * anybody: what a pipe can still hold is small.
 */
#pragma once

#include "virt/keeper/client.h"
#include "virt/keeper/log_file.h"

#define STREAMS_INPUT_MAX 16384 /* input that waits for the process */
#define STREAMS_BLOCK	  16384 /* read at once */

/* How long a stream may stay open behind its process: somebody outside may hold its other end. */
#define STREAMS_GRACE_NS 1000000000LL

struct streams;

struct streams_source {
	struct streams *owner;
	enum log_stream stream;
	struct turn_watch watch; /* fd: the pipe's reading end, or the terminal's master */
};

struct streams {
	struct turn *turn;
	struct log_file *log; /* borrowed; NULL: none */
	const char *log_path; /* for replays; NULL: none */
	bool tty, stdin_once;
	bool input_expected; /* the process has (or will have) an input that clients feed */
	struct streams_source out[2];
	struct turn_watch in; /* a pipe's writing end; unused with a terminal */
	struct strbuf input;  /* for the process */
	bool input_ended;     /* close `in` when `input` is empty */
	bool live;	      /* descriptors are there */
	bool process_ended;
	bool all_read; /* every source has ended */
	struct list clients;
	size_t clients_n;
	struct strbuf *capture; /* output is kept here too, up to capture_max */
	size_t capture_max;
	struct turn_timer grace;
	/* All output was read and logged. Clients may still drain. */
	void (*ended)(void *ctx);
	/* A client is gone (its session, whether by keys). */
	void (*detached)(void *ctx, const char *session, bool by_keys);
	void *ctx;
};

void streams_init(struct streams *s, struct turn *turn);
/* Closes descriptors; clients that still drain are dropped. */
void streams_done(struct streams *s);

/* Descriptors of a new run, taken; -1: that stream is not there. With a terminal, fds[0] is its
 * master and the others are -1; else 0 is the input's writing end, 1 and 2 the reading ends. */
int streams_begin(struct streams *s, const int fds[3], struct err *e) must_use;

/* Adds a client; fd is taken. Works before streams_begin: output is then sent from the first byte.
 */
int streams_attach(struct streams *s, const struct keeper_attach *how, int fd,
		   struct err *e) must_use;

/* The process is gone: reads what is there, `ended` follows (at once, or within STREAMS_GRACE_NS).
 */
void streams_process_ended(struct streams *s);

/* Lets go of the clients when their last byte is written. */
void streams_finish_clients(struct streams *s);

/* The run is over, another may begin: clients stay. */
void streams_reset(struct streams *s);

int streams_resize(struct streams *s, uint32_t rows, uint32_t columns, struct err *e) must_use;

/* Text to every client, as output of that stream, not logged. */
void streams_tell(struct streams *s, enum log_stream stream, const char *text);
