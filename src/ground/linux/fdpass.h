/*
 * Descriptors over unix sockets (SCM_RIGHTS, unix(7)). One message carries some bytes and up to
 * FDPASS_MAX descriptors; what is received is close-on-exec from birth, and descriptors that the
 * caller has no room for are closed, never leaked. Blocking or not is the socket's own affair.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "ground/base/err.h"

#define FDPASS_MAX 64

/* Sends n bytes (at least 1) and the descriptors, which stay the caller's. Never raises SIGPIPE. */
int fdpass_send(int sock, const void *p, size_t n, const int *fds, size_t fds_n,
		struct err *e) must_use;

/*
 * Receives one message: *ret_n bytes (0: the peer has closed) and *ret_fds_n descriptors, at most
 * fds_max; the rest of fds is -1. ERR_BUSY when the socket does not block and has nothing. A
 * message longer than n bytes is ERR_INVALID on packet sockets.
 */
int fdpass_recv(int sock, void *p, size_t n, int *fds, size_t fds_max, size_t *ret_n,
		size_t *ret_fds_n, struct err *e) must_use;

/* A connected pair, close-on-exec. `type` is SOCK_STREAM or SOCK_SEQPACKET. */
int fdpass_pair(int type, int ret_pair[2], struct err *e) must_use;

/* Sockets at a path below dirfd; any length of path. The listener's file has mode 0600. */
int fdpass_listen(int dirfd, const char *path, int type, int *ret, struct err *e) must_use;
int fdpass_connect(int dirfd, const char *path, int type, int *ret, struct err *e) must_use;
