/*
 * One poll loop over three descriptors: our standard input, the connection, and a signalfd.
 * Docker's frame is eight bytes (stream, 0, 0, 0, length in big endian) before each piece of
 * output.
 */
#include "cli/stream.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/terminal.h"
#include "ground/base/cursor.h"
#include "ground/base/mem.h"

#define FRAME_HEAD_BYTES 8

struct stream {
	const struct stream_options *o;
	struct strbuf in; /* from the daemon, not yet framed out */
	uint32_t left;	  /* bytes of the current frame still to come */
	int to;		  /* descriptor of the current frame */
	bool input_ended;
};

static int write_all(int fd, const char *p, size_t n, struct err *e)
{
	while (n) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN) {
			(void)poll(&(struct pollfd){fd, POLLOUT, 0}, 1, -1);
			continue;
		}
		if (put < 0)
			return err_sys(e, "cannot write the container's output");
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

/* Writes out every whole frame, and what is there of the last one. */
static int deliver(struct stream *s, struct err *e)
{
	int r = 0;

	if (s->o->tty) {
		r = write_all(STDOUT_FILENO, s->in.p, s->in.n, e);
		strbuf_clear(&s->in);
		return r;
	}
	while (r == 0 && s->in.n) {
		if (s->left == 0) {
			struct cursor c = cursor_of(s->in.p, s->in.n);
			uint8_t which = cursor_u8(&c);

			(void)cursor_bytes(&c, 3);
			s->left = cursor_be32(&c);
			if (c.bad)
				return 0;
			s->to = which == 1 || which == 0 ? STDOUT_FILENO : STDERR_FILENO;
			strbuf_drop_front(&s->in, FRAME_HEAD_BYTES);
		}
		size_t n = s->in.n < s->left ? s->in.n : s->left;

		r = write_all(s->to, s->in.p, n, e);
		s->left -= (uint32_t)n;
		strbuf_drop_front(&s->in, n);
	}
	return r;
}

static void send_resize(const struct stream_options *o)
{
	unsigned int rows, columns;
	auto_free char *target = NULL;

	if (!o->resize || !o->tty)
		return;
	terminal_size(STDOUT_FILENO, &rows, &columns);
	target = mem_printf("%s?h=%u&w=%u", o->resize, rows, columns);
	(void)!client_call(o->context, "POST", target, NULL, NULL, NULL);
}

/* A signal for us becomes a signal for the container, as if it ran here. */
static int take_signal(struct stream *s, int sfd, struct err *e)
{
	struct signalfd_siginfo info;
	auto_free char *target = NULL;

	if (read(sfd, &info, sizeof(info)) != sizeof(info))
		return 0;
	if (info.ssi_signo == SIGWINCH) {
		send_resize(s->o);
		return 0;
	}
	if (!s->o->kill) {
		terminal_restore();
		return err_set(e, ERR_GONE, "ended by signal %u", info.ssi_signo);
	}
	target = mem_printf("%s?signal=%u", s->o->kill, info.ssi_signo);
	(void)!client_call(s->o->context, "POST", target, NULL, NULL, NULL);
	return 0;
}

/* Moves what we have on standard input to the connection; at its end the other side sees one too.
 */
static int take_input(struct stream *s, struct err *e)
{
	char buf[16384];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0) {
		if (write_all(s->o->fd, buf, (size_t)n, NULL) == 0)
			return 0;
	}
	s->input_ended = true;
	(void)shutdown(s->o->fd, SHUT_WR);
	return 0;
}

/* 1: the daemon's side has ended. */
static int take_output(struct stream *s, struct err *e)
{
	char buf[65536];
	ssize_t n = read(s->o->fd, buf, sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return 1;
	strbuf_add(&s->in, buf, (size_t)n);
	return deliver(s, e);
}

static int loop(struct stream *s, int sfd, struct err *e)
{
	int r = deliver(s, e);

	while (r == 0) {
		struct pollfd p[] = {
			{s->o->fd, POLLIN, 0},
			{sfd, POLLIN, 0},
			{s->o->stdin_open && !s->input_ended ? STDIN_FILENO : -1, POLLIN, 0},
		};

		if (poll(p, array_len(p), -1) < 0)
			continue;
		if (p[1].revents)
			r = take_signal(s, sfd, e);
		if (r == 0 && p[2].revents)
			r = take_input(s, e);
		if (r == 0 && p[0].revents)
			r = take_output(s, e);
	}
	return r < 0 ? r : 0;
}

int stream_run(const struct stream_options *o, struct err *e)
{
	struct stream s = {.o = o};
	auto_close int sfd = -1;
	sigset_t mask, before;
	bool raw = o->tty && o->stdin_open && terminal_is(STDIN_FILENO);
	int r;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGWINCH);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGHUP);
	if (!raw)
		(void)sigaddset(&mask, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &mask, &before);
	sfd = signalfd(-1, &mask, SFD_CLOEXEC);
	if (sfd < 0)
		return err_sys(e, "cannot watch for signals");
	r = raw ? terminal_raw(STDIN_FILENO, e) : 0;
	if (r == 0) {
		send_resize(o);
		strbuf_add(&s.in, o->early->p, o->early->n);
		r = loop(&s, sfd, e);
	}
	terminal_restore();
	strbuf_done(&s.in);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}
