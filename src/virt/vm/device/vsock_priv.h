/*
 * Between virtio_vsock.c (the device: queues, packets) and vsock_connection.c (one stream: its
 * unix socket, its buffer, its credit).
 *
 * A connection's states:
 *	GREETING --(CONNECT line read)--> REQUESTED --(RESPONSE)--> OPEN	from the host
 *	OPEN								from the guest, at once
 *	OPEN --(guest shut both ways)--> CLOSING --(buffer written)--> freed, RST sent
 *	any --(RST, error)--> freed
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ground/base/list.h"
#include "virt/vm/device/virtio.h"
#include "virt/vm/device/virtio_vsock.h"

struct loop_watch;
struct vsock;

enum vsock_state { VSOCK_GREETING, VSOCK_REQUESTED, VSOCK_OPEN, VSOCK_CLOSING };

enum vsock_op {
	VSOCK_REQUEST = 1,
	VSOCK_RESPONSE,
	VSOCK_RST,
	VSOCK_SHUTDOWN,
	VSOCK_RW,
	VSOCK_CREDIT_UPDATE,
	VSOCK_CREDIT_REQUEST,
	VSOCK_OPS
};
#define VSOCK_NO_RECEIVE 1u /* flags of a shutdown */
#define VSOCK_NO_SEND	 2u

struct vsock_connection {
	struct list link;
	struct vsock *vsock;
	enum vsock_state state;
	bool dead; /* the device was reset: the loop frees it soon */
	int fd;
	struct loop_watch *watch;
	uint32_t guest_port, host_port;
	/* What the guest can take, in its own count of bytes. */
	uint32_t peer_room, peer_taken, sent;
	/* What the guest was told that we took. */
	uint32_t taken, taken_told;
	unsigned owed;	  /* 1 << op: packets to send when there are buffers */
	bool readable;	  /* the host's program has bytes for the guest */
	bool host_ended;  /* it will have no more */
	bool guest_ended; /* the guest will send no more */
	/* From the guest, not yet written: [at, at + n). */
	uint8_t *buffer;
	size_t at, n;
};

/* A packet's header as it stands in the queue (5.10.6). */
struct vsock_header {
	uint64_t from_cid, to_cid;
	uint32_t from_port, to_port, bytes;
	uint16_t type, op;
	uint32_t flags, room, taken;
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_header) == 44, "virtio 1.2, 5.10.6");

/* ---- vsock_connection.c ---- */

/* Takes the descriptor (also on failure: NULL). */
struct vsock_connection *vsock_connection_new(struct vsock *v, struct loop *l, int fd,
					      enum vsock_state state);
void vsock_connection_free(struct vsock_connection *c);
/* Writes or keeps; false where the guest sent more than it was allowed, or nobody reads. */
bool vsock_connection_write(struct vsock_connection *c, struct virtqueue_list *bytes, size_t n);
bool vsock_connection_say(struct vsock_connection *c, const char *text);
/* Reads for the guest into its own memory: bytes, 0 for not now (readable and host_ended say
 * why). */
size_t vsock_connection_read(struct vsock_connection *c, const struct iovec *v, size_t n);
/* How much may be sent to the guest. */
uint32_t vsock_connection_credit(const struct vsock_connection *c);
void vsock_connection_watch(struct vsock_connection *c);

/* ---- virtio_vsock.c: from a connection's watch, with the lock ---- */

/* The CONNECT line is there. */
void vsock_request(struct vsock_connection *c, uint32_t port);
/* Ends it with an RST to the guest. */
void vsock_end(struct vsock_connection *c);
/* Something may be sent to the guest. */
void vsock_progress(struct vsock *v);
void vsock_lock(struct vsock *v);
void vsock_unlock(struct vsock *v);
