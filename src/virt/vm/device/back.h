/*
 * What stands behind a device on the host's side: a block back holds bytes, a net back carries
 * frames, a char back is a stream. A guest front (virtio, NVMe, serial) knows nothing else about
 * the host, and one back serves any front.
 *
 * Threads: everything is called on the loop's thread, callbacks too, and no callback comes from
 * within the call that asked for it. Whoever makes a back frees it, after its front.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ground/base/err.h"

#define BLOCK_SEGMENTS_MAX 1024
#define NET_FRAME_MAX	   65550 /* an Ethernet frame as large as offloads make it */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

/*
 * One request. The segments are guest memory: they stay valid and may change until `done`. Offset
 * and bytes are multiples of 512 and lie inside the disk (the front checks). BLOCK_FLUSH: every
 * write that was done before is on stable storage when it is done.
 */
struct block_request {
	enum block_op op;
	uint64_t offset, bytes;
	const struct iovec *segments;
	size_t segments_n;
	void (*done)(void *arg, int error); /* 0 or an errno */
	void *arg;
};

struct block_back;

struct block_ops {
	const char *name; /* "raw", "qcow2" */
	/* Borrows the request until it is done. Requests may complete in any order. */
	void (*submit)(struct block_back *b, struct block_request *r);
	struct block_back *(*free)(struct block_back *b); /* after the last request; syncs */
};

struct block_back { /* first member of every implementation */
	const struct block_ops *ops;
	uint64_t size_bytes;
	bool read_only;
	bool discards; /* BLOCK_DISCARD and BLOCK_ZERO give space back */
	char serial[21];
	uint64_t read_bytes, written_bytes, reads, writes; /* for statistics */
};

struct net_back;

struct net_ops {
	const char *name; /* "tap", "user" */
	/* One frame without virtio header, copied or sent before it returns. Dropped when the host
	 * cannot take it. */
	void (*send)(struct net_back *b, const struct iovec *segments, size_t n);
	/* The front can take frames again after its receiver said no. */
	void (*resume)(struct net_back *b);
	struct net_back *(*free)(struct net_back *b);
};

struct net_back {
	const struct net_ops *ops;
	/* Set by the front. False: keep the frame, it is offered again after resume(). */
	bool (*receive)(void *front, const uint8_t *frame, size_t n);
	void *front;
	uint64_t received_bytes, sent_bytes;
};

struct char_back;

struct char_ops {
	const char *name;
	/* Bytes taken; the rest is offered again when `writable` was called. */
	size_t (*write)(struct char_back *b, const uint8_t *bytes, size_t n);
	void (*resume)(struct char_back *b); /* the front takes input again */
	struct char_back *(*free)(struct char_back *b);
};

struct char_back {
	const struct char_ops *ops;
	/* Set by the front. `receive` returns how much it took. */
	size_t (*receive)(void *front, const uint8_t *bytes, size_t n);
	void (*writable)(void *front);
	void (*resized)(void *front, unsigned columns, unsigned rows);
	void *front;
	unsigned columns, rows; /* 0: not a terminal */
};
