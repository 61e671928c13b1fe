/*
 * What the API asks of a node: the things that no object can say. `cluster/node` implements it for
 * the node of this process, `api/node` will for others; `api/kube` finds the node of a pod, calls,
 * and speaks SPDY or WebSocket towards its client.
 *
 * Verbs complete by one callback, never from inside the call. Loop thread only. ERR_NOT_FOUND:
 * there is no such pod or container here; ERR_CONFLICT: it does not run (the text says why).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"
#include "ground/format/json.h"

struct node_target {
	const char *namespace, *pod, *uid; /* uid may be NULL */
	const char *container;		   /* NULL: the only one */
};

struct node_log_options {
	bool follow, previous, timestamps;
	int64_t since_ns;    /* wall clock; 0: from the beginning */
	int64_t tail_lines;  /* -1: all */
	int64_t limit_bytes; /* -1: all */
	const char *stream;  /* "All", "Stdout", "Stderr"; NULL: all */
};

/* data() answers 1 when it is full: nothing more until node_stream_resume(). end() comes last. */
struct node_sink {
	int (*data)(void *ctx, const void *p, size_t n);
	void (*end)(void *ctx, const struct err *e);
	void *ctx;
};
struct node_stream {
	void (*resume)(struct node_stream *s);
	void (*cancel)(struct node_stream *s); /* frees it; no callback after that */
};

struct node_exec {
	char *const *command; /* NULL-terminated; NULL: attach to the container's own process */
	bool tty, in, out, error;
	unsigned int rows, columns; /* 0: unset */
};

/*
 * A process (or the container) with its streams. The caller gives one end of a socket pair (taken):
 * what it sends is stdin, its shutdown of writing is stdin's end; what it receives is raw
 * with a terminal, else frames of Docker's form (stream, 0, 0, 0, big-endian length, bytes) with
 * stream 1 stdout, 2 stderr.
 */
struct node_session;
struct node_session_events {
	/* It runs, or why not. After an error nothing else is told, and the session is gone. */
	void (*started)(void *ctx, struct node_session *s, const struct err *e);
	/* It ended; all output has been written to the socket. The session is gone. */
	void (*exited)(void *ctx, int code);
	void *ctx;
};

typedef void node_fd_done(void *ctx, int fd, const struct err *e); /* fd is the receiver's */
typedef void node_json_done(void *ctx, const struct json *answer, const struct err *e);

struct node_ops {
	int (*log)(void *node, const struct node_target *t, const struct node_log_options *o,
		   const struct node_sink *sink, struct node_stream **ret, struct err *e);
	void (*exec)(void *node, const struct node_target *t, const struct node_exec *x, int fd,
		     const struct node_session_events *on);
	void (*resize)(void *node, struct node_session *s, unsigned int rows, unsigned int columns);
	/*
	 * The client left: nothing is told any more. An exec's process goes on, as with
	 * Kubernetes.
	 */
	void (*leave)(void *node, struct node_session *s);
	/* A TCP connection to a port on the pod's own loopback. */
	void (*port_forward)(void *node, const struct node_target *t, uint16_t port,
			     node_fd_done *done, void *ctx);
	/* A TCP connection to the pod's address, for proxies. */
	void (*connect)(void *node, const struct node_target *t, uint16_t port, node_fd_done *done,
			void *ctx);
	/*
	 * What it uses now: {"node": {"cpu": nanocores, "memory": bytes}, "pods": [{"namespace",
	 * "name", "containers": [{"name", "cpu", "memory"}]}], "time": RFC 3339, "window_s": n}.
	 */
	void (*stats)(void *node, node_json_done *done, void *ctx);
};

/* The node of a name; NULL: this process cannot reach it. */
struct node_directory {
	const struct node_ops *(*find)(void *ctx, const char *node_name, void **ret_node);
	void *ctx;
};
