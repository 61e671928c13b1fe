/*
 * Descriptors as a char back: see char_fd.h. Whatever cannot be polled (a regular file, /dev/null)
 * is read a piece per loop turn and written at once.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/char_fd.h"

#define CHAR_FD_MAGIC 0x43484644u
#define PIECE_BYTES   1024

struct char_fd {
	struct char_back back; /* first */
	unsigned magic;
	struct char_fd_config c;
	struct loop_watch *in, *out, *both; /* both: one descriptor for the two */
	bool in_plain;			    /* cannot be polled */
	bool in_ended, out_broken, wants_out;
	uint8_t piece[PIECE_BYTES];
	size_t at, n; /* read and not yet taken by the front */
};

static struct char_fd *as_char_fd(struct char_back *b)
{
	struct char_fd *f = container_of(b, struct char_fd, back);

	assert(f->magic == CHAR_FD_MAGIC);
	return f;
}

static void read_piece(void *arg);

/* What is waited for follows from what is wanted: input while there is room, output while
 * stuck. */
static void update_wants(struct char_fd *f)
{
	unsigned in = f->n == 0 && !f->in_ended ? LOOP_READ : 0;
	unsigned out = f->wants_out && !f->out_broken ? LOOP_WRITE : 0;

	if (f->both)
		loop_watch_want(f->both, in | out);
	if (f->in)
		loop_watch_want(f->in, in);
	if (f->out)
		loop_watch_want(f->out, out);
	if (f->in_plain && in) {
		loop_defer_cancel(f->c.loop, read_piece, f);
		loop_defer(f->c.loop, read_piece, f);
	}
}

/* ---- input ---- */

static void call_escaped(void *arg)
{
	struct char_fd *f = arg;

	f->c.escaped(f->c.arg);
}

/* Takes the escape byte out of the piece. */
static void look_for_escape(struct char_fd *f)
{
	uint8_t *found = f->c.escape < 0 ? NULL : memchr(f->piece, f->c.escape, f->n);

	if (!found)
		return;
	f->n = (size_t)(found - f->piece);
	loop_defer(f->c.loop, call_escaped, f);
}

static void offer(struct char_fd *f)
{
	while (f->n > 0 && f->back.receive) {
		size_t taken = f->back.receive(f->back.front, f->piece + f->at, f->n);

		assert(taken <= f->n);
		f->at += taken;
		f->n -= taken;
		if (taken == 0)
			break;
	}
}

static void read_piece(void *arg)
{
	struct char_fd *f = arg;
	ssize_t n;

	if (f->n > 0 || f->in_ended)
		return;
	n = read(f->c.in, f->piece, sizeof(f->piece));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		f->in_ended = true;
	} else {
		f->at = 0;
		f->n = (size_t)n;
		look_for_escape(f);
		offer(f);
	}
	update_wants(f);
}

static void back_resume(struct char_back *b)
{
	struct char_fd *f = as_char_fd(b);

	offer(f);
	update_wants(f);
}

/* ---- output ---- */

static size_t back_write(struct char_back *b, const uint8_t *bytes, size_t n)
{
	struct char_fd *f = as_char_fd(b);
	size_t done = 0;

	while (done < n && f->c.out >= 0 && !f->out_broken) {
		ssize_t k = write(f->c.out, bytes + done, n - done);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno == EAGAIN && (f->out || f->both)) {
			f->wants_out = true;
			update_wants(f);
			return done;
		}
		if (k < 0)
			f->out_broken = true; /* nobody reads any longer: the guest goes on */
		else
			done += (size_t)k;
	}
	return n;
}

static void ready(void *arg, unsigned what)
{
	struct char_fd *f = arg;

	assert(f->magic == CHAR_FD_MAGIC);
	if (what & LOOP_WRITE) {
		f->wants_out = false;
		update_wants(f);
		if (f->back.writable)
			f->back.writable(f->back.front);
	}
	if (what & (LOOP_READ | LOOP_HUP))
		read_piece(f);
	if (what & LOOP_ERROR)
		f->in_ended = f->out_broken = true;
}

/* ---- birth and death ---- */

void char_fd_resize(struct char_back *b)
{
	struct char_fd *f = as_char_fd(b);
	struct winsize size;

	if (f->c.out < 0 || ioctl(f->c.out, TIOCGWINSZ, &size) < 0)
		return;
	b->columns = size.ws_col;
	b->rows = size.ws_row;
	if (b->resized)
		b->resized(b->front, b->columns, b->rows);
}

static struct char_back *back_free(struct char_back *b)
{
	struct char_fd *f = as_char_fd(b);

	loop_defer_cancel(f->c.loop, read_piece, f);
	loop_defer_cancel(f->c.loop, call_escaped, f);
	if (f->in)
		f->in = loop_watch_free(f->in);
	if (f->out)
		f->out = loop_watch_free(f->out);
	if (f->both)
		f->both = loop_watch_free(f->both);
	f->magic = 0;
	free(f);
	return NULL;
}

static const struct char_ops ops = {"descriptor", back_write, back_resume, back_free};

static struct loop_watch *watch(struct char_fd *f, int fd)
{
	struct loop_watch *w = NULL;

	return fd >= 0 && loop_watch_new(f->c.loop, fd, 0, ready, f, &w, NULL) == 0 ? w : NULL;
}

int char_fd_new(const struct char_fd_config *c, struct char_back **ret, struct err *e)
{
	struct char_fd *f = mem_new(struct char_fd);

	assert(c->loop);
	assert(c->escape < 0 || c->escaped);
	f->magic = CHAR_FD_MAGIC;
	f->back.ops = &ops;
	f->c = *c;
	f->in_ended = c->in < 0;
	if (c->in >= 0 && c->in == c->out) {
		f->both = watch(f, c->in);
	} else {
		f->in = watch(f, c->in);
		f->out = watch(f, c->out);
	}
	f->in_plain = c->in >= 0 && !f->in && !f->both;
	char_fd_resize(&f->back);
	update_wants(f);
	*ret = &f->back;
	return 0;
}
