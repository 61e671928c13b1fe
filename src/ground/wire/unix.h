/*
 * Unix sockets: listening and connecting by path of any length, messages with descriptors, and who
 * is at the other end. Needs no loop and no library: static programs (hull-keeper) use it too.
 *
 * Every socket is close-on-exec. Types are SOCK_STREAM or SOCK_SEQPACKET, SOCK_NONBLOCK may be
 * or'ed in.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ground/base/err.h"

#define UNIX_FDS_MAX 16 /* descriptors in one message */

/* Binds and listens; a dead socket of that name is replaced, a living one is an error (ERR_EXISTS).
 */
int unix_listen(const char *path, int type, mode_t mode, int *ret_fd, struct err *e) must_use;
int unix_connect(const char *path, int type, int *ret_fd, struct err *e) must_use;
int unix_pair(int type, int ret_fds[2], struct err *e) must_use;

struct unix_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};
int unix_peer(int fd, struct unix_peer *ret, struct err *e) must_use;

/*
 * One message with descriptors; the descriptors stay the caller's. Returns 0, or 1 when the socket
 * is non-blocking and full. Waits otherwise, repeats when interrupted, never raises SIGPIPE. On a
 * stream socket fewer bytes than asked for are an error (ERR_EXHAUSTED): keep messages small there.
 */
int unix_send(int fd, const void *bytes, size_t n, const int *fds, size_t fds_n,
	      struct err *e) must_use;

/*
 * Receives at most `room` bytes and *fds_n descriptors (in: room, out: count; close-on-exec, now
 * the caller's). Returns 0 with *ret_n bytes, 1 when there is nothing yet (non-blocking), -ERR_GONE
 * when the peer closed. A message that does not fit whole is an error, its descriptors are closed.
 */
int unix_receive(int fd, void *bytes, size_t room, size_t *ret_n, int *fds, size_t *fds_n,
		 struct err *e) must_use;
