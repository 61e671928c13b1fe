/* Frames by read(2) and writev(2): see net_fd.h. */
#include "virt/vm/device/net_fd.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/wire/loop.h"

#define NET_FD_MAGIC	0x4e455446u
#define FRAMES_PER_TURN 64

struct net_fd {
	struct net_back back; /* first */
	unsigned magic;
	int fd;
	struct loop_watch *watch;
	bool ended;
	size_t kept; /* bytes of a frame that the front did not take; 0: none */
	uint8_t frame[NET_FRAME_MAX];
};

static struct net_fd *as_net_fd(struct net_back *b)
{
	struct net_fd *f = container_of(b, struct net_fd, back);

	assert(f->magic == NET_FD_MAGIC);
	return f;
}

static void back_send(struct net_back *b, const struct iovec *segments, size_t n)
{
	struct net_fd *f = as_net_fd(b);
	ssize_t sent;

	assert(n > 0);
	if (f->ended)
		return;
	sent = writev(f->fd, segments, (int)n);
	if (sent > 0)
		b->sent_bytes += (uint64_t)sent;
	else if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
		f->ended = true;
}

/* False: the front has no room, or there is nothing more. */
static bool one_frame(struct net_fd *f)
{
	if (f->kept == 0) {
		ssize_t n = read(f->fd, f->frame, sizeof(f->frame));

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			f->ended = true; /* the network has gone: the cable is out */
		if (n <= 0)
			return false;
		f->kept = (size_t)n;
	}
	if (!f->back.receive || !f->back.receive(f->back.front, f->frame, f->kept))
		return false;
	f->back.received_bytes += f->kept;
	f->kept = 0;
	return true;
}

static void update(struct net_fd *f)
{
	loop_watch_want(f->watch, f->ended || f->kept > 0 ? 0 : LOOP_READ);
}

static void ready(void *arg, unsigned what)
{
	struct net_fd *f = arg;

	assert(f->magic == NET_FD_MAGIC);
	if (what & LOOP_ERROR)
		f->ended = true;
	for (int i = 0; i < FRAMES_PER_TURN && !f->ended && one_frame(f); i++)
		;
	update(f);
}

static void back_resume(struct net_back *b)
{
	struct net_fd *f = as_net_fd(b);

	if (f->kept > 0)
		(void)one_frame(f);
	update(f);
}

static struct net_back *back_free(struct net_back *b)
{
	struct net_fd *f = as_net_fd(b);

	f->watch = f->watch ? loop_watch_free(f->watch) : NULL;
	f->fd = fd_close(f->fd);
	f->magic = 0;
	free(f);
	return NULL;
}

static const struct net_ops user_ops = {"user", back_send, back_resume, back_free};
static const struct net_ops tap_ops = {"tap", back_send, back_resume, back_free};

int net_fd_new(struct loop *loop, int fd, const char *name, struct net_back **ret, struct err *e)
{
	struct net_fd *f = mem_new(struct net_fd);
	int r;

	assert(fd >= 0);
	f->magic = NET_FD_MAGIC;
	f->back.ops = text_eq(name, "tap") ? &tap_ops : &user_ops;
	f->fd = fd;
	r = loop_watch_new(loop, fd, LOOP_READ, ready, f, &f->watch, e);
	if (r < 0) {
		(void)back_free(&f->back);
		return err_wrap(e, "%s network", name);
	}
	*ret = &f->back;
	return 0;
}
