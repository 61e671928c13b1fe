/*
 * A packet channel: whole messages with descriptors over a SOCK_SEQPACKET socket, on the loop. The
 * keeper's protocol and hull-net's control socket speak it. The bytes' meaning is the caller's.
 *
 * Messages keep their order and their bounds. Sending never blocks: what the socket does not take
 * is kept (up to PACKET_QUEUE_MAX bytes) and goes out when the peer reads. A channel is freed by
 * its owner, from any callback, also from its own.
 */
#pragma once

#include <stddef.h>

#include "ground/wire/loop.h"
#include "ground/wire/unix.h"

#define PACKET_BYTES_MAX (128u << 10) /* one message */
#define PACKET_QUEUE_MAX (4u << 20)   /* kept for a slow reader */

struct packet;
struct packet_listener;

struct packet_ops {
	/* fds[i] is closed after the call unless it was taken with take_fd(&fds[i]). */
	void (*received)(void *arg, const void *bytes, size_t n, int *fds, size_t fds_n);
	/* The peer closed or broke the protocol; told once, nothing is received after. */
	void (*closed)(void *arg);
};

/* Takes a connected SOCK_SEQPACKET descriptor (also on failure). */
int packet_open(struct loop *l, int fd, const struct packet_ops *ops, void *arg,
		struct packet **ret, struct err *e) must_use;
int packet_connect(struct loop *l, const char *path, const struct packet_ops *ops, void *arg,
		   struct packet **ret, struct err *e) must_use;
/* Drops what was not sent yet, closes. Returns NULL. */
struct packet *packet_free(struct packet *p);

/* Sends or keeps; descriptors are duplicated where the message is kept and stay the caller's. */
int packet_send(struct packet *p, const void *bytes, size_t n, const int *fds, size_t fds_n,
		struct err *e) must_use;
size_t packet_queued(const struct packet *p); /* bytes kept */
int packet_peer(const struct packet *p, struct unix_peer *ret, struct err *e) must_use;

/* Listens at `path`; each accepted descriptor is given to `accepted`, which owns it. */
int packet_listen(struct loop *l, const char *path, mode_t mode,
		  void (*accepted)(void *arg, int fd), void *arg, struct packet_listener **ret,
		  struct err *e) must_use;
struct packet_listener *packet_listener_free(struct packet_listener *pl); /* unlinks; NULL */
