/*
 * Unix sockets. A path longer than sun_path is reached through /proc/self/fd of its directory, so
 * that deep --run directories work. Descriptors travel in one SCM_RIGHTS message.
 */
#include "ground/wire/unix.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

/* Fills `a` for `path`; *ret_dir keeps a directory open that `a` goes through, or -1. */
static int address_of(const char *path, struct sockaddr_un *a, int *ret_dir, struct err *e)
{
	size_t n = strlen(path);
	const char *slash = strrchr(path, '/');
	auto_free char *dir = NULL;
	auto_close int fd = -1;
	int len;

	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	*ret_dir = -1;
	if (n < sizeof(a->sun_path)) {
		memcpy(a->sun_path, path, n + 1);
		return 0;
	}
	if (!slash)
		return err_set(e, ERR_INVALID, "socket name '%s' is too long", path);
	dir = str_dup((struct str){path, (size_t)(slash - path)});
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot open '%s'", dir);
	len = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", fd, slash + 1);
	if (len < 0 || (size_t)len >= sizeof(a->sun_path))
		return err_set(e, ERR_INVALID, "socket name '%s' is too long", slash + 1);
	*ret_dir = take_fd(&fd);
	return 0;
}

static int make_socket(int type, int *ret_fd, struct err *e)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, "cannot make a unix socket");
	*ret_fd = fd;
	return 0;
}

/* A name left over from a process that is gone may be taken; one that answers may not. */
static int clear_name(const char *path, const struct sockaddr_un *a, int type, struct err *e)
{
	auto_close int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "cannot look at '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_EXISTS, "'%s' exists and is not a socket", path);
	if (make_socket(type, &fd, e) < 0)
		return -ERR_SYSTEM;
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno != ECONNREFUSED)
		return err_set(e, ERR_EXISTS, "'%s' is in use by another process", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, "cannot remove the old socket '%s'", path);
	return 0;
}

int unix_listen(const char *path, int type, mode_t mode, int *ret_fd, struct err *e)
{
	auto_close int fd = -1;
	auto_close int dir = -1;
	struct sockaddr_un a;
	int r = address_of(path, &a, &dir, e);

	if (r == 0)
		r = clear_name(path, &a, type & ~SOCK_NONBLOCK, e);
	if (r == 0)
		r = make_socket(type, &fd, e);
	if (r < 0)
		return r;
	/* bind() makes the name with the socket's own mode: no moment of being open to everybody.
	 */
	if (fchmod(fd, mode) < 0)
		return err_sys(e, "cannot set the mode of socket '%s'", path);
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, "cannot bind socket '%s'", path);
	if (chmod(path, mode) < 0) /* the umask may have taken bits away */
		return err_sys(e, "cannot set the mode of socket '%s'", path);
	if (listen(fd, SOMAXCONN) < 0)
		return err_sys(e, "cannot listen on socket '%s'", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

int unix_connect(const char *path, int type, int *ret_fd, struct err *e)
{
	auto_close int fd = -1;
	auto_close int dir = -1;
	struct sockaddr_un a;
	int r = address_of(path, &a, &dir, e);

	if (r == 0)
		r = make_socket(type, &fd, e);
	if (r < 0)
		return r;
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return errno == ECONNREFUSED
			       ? err_set(e, ERR_UNAVAILABLE,
					 "cannot connect to '%s': nobody listens there", path)
			       : err_sys(e, "cannot connect to '%s'", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

int unix_pair(int type, int ret_fds[2], struct err *e)
{
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret_fds) < 0)
		return err_sys(e, "cannot make a socket pair");
	return 0;
}

int unix_peer(int fd, struct unix_peer *ret, struct err *e)
{
	struct ucred c;
	socklen_t n = sizeof(c);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) < 0)
		return err_sys(e, "cannot tell who is at the other end of a socket");
	*ret = (struct unix_peer){c.pid, c.uid, c.gid};
	return 0;
}

int unix_send(int fd, const void *bytes, size_t n, const int *fds, size_t fds_n, struct err *e)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * UNIX_FDS_MAX)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	assert(n > 0); /* an empty message reads like the end */
	assert(fds_n <= UNIX_FDS_MAX);
	if (fds_n) {
		struct cmsghdr *c;

		m.msg_control = control.room;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * fds_n);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fds_n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fds_n);
	}
	do
		sent = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 1;
	if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
		return err_set(e, ERR_GONE, "cannot send a message: the peer has gone");
	if (sent < 0)
		return err_sys(e, "cannot send a message of %zu bytes", n);
	if ((size_t)sent < n)
		return err_set(e, ERR_EXHAUSTED, "cannot send a message of %zu bytes whole", n);
	return 0;
}

/* Collects what came in SCM_RIGHTS; what does not fit is closed. Returns whether all fitted. */
static bool collect_fds(struct msghdr *m, int *fds, size_t room, size_t *ret_n)
{
	bool fits = !(m->msg_flags & MSG_CTRUNC);
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < room) {
				fds[n++] = fd;
			} else {
				fits = false;
				(void)fd_close(fd);
			}
		}
	}
	*ret_n = n;
	return fits;
}

int unix_receive(int fd, void *bytes, size_t room, size_t *ret_n, int *fds, size_t *fds_n,
		 struct err *e)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * UNIX_FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = room};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control.room)};
	size_t fds_room = fds_n ? *fds_n : 0;
	size_t got_fds = 0;
	ssize_t got;
	bool fits;

	do
		got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 1;
	if (got == 0 || (got < 0 && errno == ECONNRESET))
		return err_set(e, ERR_GONE, "the peer closed the connection");
	if (got < 0)
		return err_sys(e, "cannot receive a message");
	fits = collect_fds(&m, fds, fds_room, &got_fds) && !(m.msg_flags & MSG_TRUNC);
	if (!fits) {
		for (size_t i = 0; i < got_fds; i++)
			fds[i] = fd_close(fds[i]);
		return err_set(e, ERR_INVALID,
			       "a message is longer than %zu bytes or carries more "
			       "than %zu descriptors",
			       room, fds_room);
	}
	if (fds_n)
		*fds_n = got_fds;
	*ret_n = (size_t)got;
	return 0;
}
