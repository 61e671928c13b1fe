/*
 * Descriptors over unix sockets: see fdpass.h.
 */
#include "ground/linux/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ground/base/own.h"

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
};

int fdpass_send(int sock, const void *p, size_t n, const int *fds, size_t fds_n, struct err *e)
{
	union control control;
	struct iovec iov = {(void *)p, n};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;
	ssize_t sent;

	assert(n > 0 && fds_n <= FDPASS_MAX);
	if (fds_n) {
		memset(&control, 0, sizeof(control));
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * fds_n);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fds_n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fds_n);
	}
	do
		sent = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return err_sys(e, "cannot send to the peer");
	if ((size_t)sent != n)
		return err_set(e, ERR_UNAVAILABLE, "the peer took only %zd of %zu bytes", sent, n);
	return 0;
}

/* Keeps the first fds_max, closes the rest. */
static size_t take_rights(struct msghdr *m, int *fds, size_t fds_max)
{
	size_t kept = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (kept < fds_max)
				fds[kept++] = fd;
			else
				(void)fd_close(fd);
		}
	}
	return kept;
}

int fdpass_recv(int sock, void *p, size_t n, int *fds, size_t fds_max, size_t *ret_n,
		size_t *ret_fds_n, struct err *e)
{
	union control control;
	struct iovec iov = {p, n};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	size_t kept;
	ssize_t got;

	assert(ret_n);
	for (size_t i = 0; i < fds_max; i++)
		fds[i] = -1;
	do
		got = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(e, "cannot receive from the peer");
	kept = take_rights(&m, fds, fds_max);
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		for (size_t i = 0; i < kept; i++)
			fds[i] = fd_close(fds[i]);
		return err_set(e, ERR_INVALID, "the peer's message is longer than %zu bytes", n);
	}
	*ret_n = (size_t)got;
	if (ret_fds_n)
		*ret_fds_n = kept;
	return 0;
}

int fdpass_pair(int type, int ret_pair[2], struct err *e)
{
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret_pair) < 0)
		return err_sys(e, "cannot make a pair of sockets");
	return 0;
}

/* sun_path holds 108 bytes: the directory is named through its descriptor instead. */
static int address(int dirfd, const char *path, struct sockaddr_un *ret, int *ret_dir,
		   struct err *e)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char dir[4096];
	int n;

	*ret_dir = -1;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (dirfd == AT_FDCWD && strlen(path) < sizeof(ret->sun_path)) {
		memcpy(ret->sun_path, path, strlen(path) + 1);
		return 0;
	}
	n = snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		     slash ? path : ".");
	if (n < 0 || (size_t)n >= sizeof(dir))
		return err_set(e, ERR_INVALID, "the path of the socket is too long");
	*ret_dir = openat(dirfd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dir < 0)
		return err_sys(e, "cannot open the directory of the socket '%s'", path);
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", *ret_dir, name);
	if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
		return err_set(e, ERR_INVALID, "the name of the socket '%s' is too long", name);
	return 0;
}

int fdpass_listen(int dirfd, const char *path, int type, int *ret, struct err *e)
{
	struct sockaddr_un a;
	auto_close int dir = -1;
	auto_close int sock = -1;
	mode_t mask;
	int r = address(dirfd, path, &a, &dir, e);

	if (r < 0)
		return r;
	sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return err_sys(e, "cannot make a socket");
	mask = umask(0177);
	r = bind(sock, (struct sockaddr *)&a, sizeof(a));
	(void)umask(mask);
	if (r < 0)
		return err_sys(e, "cannot bind the socket '%s'", path);
	if (listen(sock, 64) < 0)
		return err_sys(e, "cannot listen on '%s'", path);
	*ret = take_fd(&sock);
	return 0;
}

int fdpass_connect(int dirfd, const char *path, int type, int *ret, struct err *e)
{
	struct sockaddr_un a;
	auto_close int dir = -1;
	auto_close int sock = -1;
	int r = address(dirfd, path, &a, &dir, e);

	if (r < 0)
		return r;
	sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return err_sys(e, "cannot make a socket");
	if (connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, "cannot connect to '%s'", path);
	*ret = take_fd(&sock);
	return 0;
}
