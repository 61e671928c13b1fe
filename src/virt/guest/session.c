/*
 * One session, seen from the host: see session.h. The guest is hostile: frames are bounded, output
 * is written as it comes and never kept beyond one frame, an exit code is a number and nothing else.
 */
#include "virt/guest/session.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/unix.h"

#define CODE_NO_START 125
#define ASK_MS	      5000
#define REPLY_MAX     64

struct running {
	const struct guest_session *o;
	struct strbuf in, out;
	size_t credit;
	bool input_open, ended;
	uint32_t code;
	int result; /* of the end; negative: *e is set */
};

static int send_all(int fd, struct strbuf *out, struct err *e)
{
	while (out->n > 0) {
		ssize_t n = send(fd, out->p, out->n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, ERR_GONE, "the agent in the machine does not answer");
		strbuf_drop_front(out, (size_t)n);
	}
	return 0;
}

static void write_output(int fd, struct str bytes)
{
	while (fd >= 0 && bytes.n > 0) {
		ssize_t n = write(fd, bytes.p, bytes.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			(void)poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
			continue;
		}
		if (n < 0)
			return; /* nobody reads it any more */
		bytes.p += n;
		bytes.n -= (size_t)n;
	}
}

static int on_failed(struct running *r, const struct guest_frame *f, struct err *e)
{
	auto_arena struct arena a = {0};
	const char *text;
	uint32_t code;

	if (guest_read_failed(f, &a, &code, &text, e) < 0)
		return -ERR_INVALID;
	r->code = code == 127 ? 127 : 126;
	return err_set(e, code == 127 ? ERR_NOT_FOUND : ERR_INVALID, "%s", text);
}

static int on_exit_frame(struct running *r, const struct guest_frame *f, struct err *e)
{
	if (guest_read_u32(f, &r->code, e) < 0)
		return -ERR_INVALID;
	r->code &= 255;
	r->ended = true;
	return 0;
}

static int on_taken(struct running *r, const struct guest_frame *f, struct err *e)
{
	uint32_t n;

	if (guest_read_u32(f, &n, e) < 0)
		return -ERR_INVALID;
	if (n > GUEST_CREDIT - r->credit)
		return err_set(e, ERR_INVALID, "the agent gave more credit than there is");
	r->credit += n;
	return 0;
}

static int on_hello(const struct guest_frame *f, struct err *e)
{
	uint32_t version;

	if (guest_read_u32(f, &version, e) < 0)
		return -ERR_INVALID;
	if (version != GUEST_PROTOCOL_VERSION)
		return err_set(e, ERR_UNSUPPORTED,
			       "the agent in the machine speaks version %u, this host %d: add the "
			       "kernel again with 'hull vm kernel add'",
			       version, GUEST_PROTOCOL_VERSION);
	return 0;
}

static int on_frame(struct running *r, const struct guest_frame *f, struct err *e)
{
	switch (f->type) {
	case GUEST_HELLO:
		return on_hello(f, e);
	case GUEST_STARTED:
		if (r->o->started)
			r->o->started(r->o->ctx);
		return 0;
	case GUEST_FAILED:
		return on_failed(r, f, e);
	case GUEST_DATA:
		write_output(r->o->stdio[f->stream == 2 ? 2 : 1], f->payload);
		return 0;
	case GUEST_TAKEN:
		return on_taken(r, f, e);
	case GUEST_EXIT:
		return on_exit_frame(r, f, e);
	default: /* of a later release */
		return 0;
	}
}

static int receive(int fd, struct strbuf *in, struct err *e)
{
	static char piece[GUEST_DATA_MAX];
	ssize_t n = read(fd, piece, sizeof(piece));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return err_set(e, ERR_GONE, "the machine ended before its command did");
	strbuf_add(in, piece, (size_t)n);
	return 0;
}

static int receive_frames(struct running *r, struct err *e)
{
	struct guest_frame f;
	size_t n;
	int more = receive(r->o->fd, &r->in, e);

	while (more >= 0 && !r->ended && (more = guest_next(&r->in, &f, &n, e)) > 0) {
		more = on_frame(r, &f, e);
		strbuf_drop_front(&r->in, n);
	}
	return more < 0 ? more : 0;
}

static int send_input(struct running *r, struct err *e)
{
	static char piece[GUEST_DATA_MAX];
	size_t room = r->credit < sizeof(piece) ? r->credit : sizeof(piece);
	ssize_t n = read(r->o->stdio[0], piece, room);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0) {
		guest_write(&r->out, GUEST_DATA, 0, (struct str){piece, (size_t)n});
		r->credit -= (size_t)n;
	} else {
		guest_write(&r->out, GUEST_END, 0, (struct str){0});
		r->input_open = false;
	}
	return send_all(r->o->fd, &r->out, e);
}

static int send_size(struct running *r, struct err *e)
{
	struct winsize ws = {0};

	if (ioctl(r->o->stdio[1], TIOCGWINSZ, &ws) < 0 || ws.ws_row == 0)
		return 0;
	guest_write_pair(&r->out, GUEST_RESIZE, ws.ws_row, ws.ws_col);
	return send_all(r->o->fd, &r->out, e);
}

static int send_signal(struct running *r, struct err *e)
{
	struct signalfd_siginfo news;
	int sig;

	if (read(r->o->signals, &news, sizeof(news)) != (ssize_t)sizeof(news))
		return 0;
	sig = (int)news.ssi_signo;
	if (r->o->signalled && r->o->signalled(r->o->ctx, sig))
		return 0;
	if (sig == SIGWINCH)
		return send_size(r, e);
	guest_write_u32(&r->out, GUEST_SIGNAL, (uint32_t)sig);
	return send_all(r->o->fd, &r->out, e);
}

static int turn(struct running *r, struct err *e)
{
	const struct guest_session *o = r->o;
	struct pollfd set[] = {
		{.fd = o->fd, .events = POLLIN},
		{.fd = r->input_open && r->credit > 0 ? o->stdio[0] : -1, .events = POLLIN},
		{.fd = o->signals, .events = POLLIN},
		{.fd = o->watch, .events = POLLIN},
	};
	int n = poll(set, array_len(set), o->timeout_ms > 0 ? o->timeout_ms : -1), bad = 0;

	if (n < 0)
		return errno == EINTR ? 0 : err_sys(e, "cannot wait for the machine");
	if (set[2].revents)
		bad = send_signal(r, e);
	if (bad == 0 && set[0].revents)
		bad = receive_frames(r, e);
	if (bad == 0 && !r->ended && set[1].revents)
		bad = send_input(r, e);
	if (bad == 0 && !r->ended && (set[3].revents || n == 0) && o->woken)
		bad = o->woken(o->ctx, e);
	return bad;
}

int guest_session_run(const struct guest_session *o, uint32_t *ret_code, struct err *e)
{
	struct running r = {.o = o, .credit = GUEST_CREDIT, .code = CODE_NO_START};
	int bad;

	assert(o->fd >= 0);
	assert(o->start);
	r.input_open = o->start->want_stdin && o->stdio[0] >= 0;
	guest_write_u32(&r.out, GUEST_HELLO, GUEST_PROTOCOL_VERSION);
	bad = guest_write_start(&r.out, o->start, e);
	if (bad == 0)
		bad = send_all(o->fd, &r.out, e);
	while (bad == 0 && !r.ended)
		bad = turn(&r, e);
	strbuf_done(&r.in);
	strbuf_done(&r.out);
	*ret_code = r.code;
	return bad;
}

/* Sends what is in `out` behind a hello and waits for `done`. */
static int ask(int fd, struct strbuf *question, struct err *e)
{
	auto_strbuf struct strbuf in = {0}, out = {0};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct guest_frame f;
	size_t n;
	int bad;

	guest_write_u32(&out, GUEST_HELLO, GUEST_PROTOCOL_VERSION);
	strbuf_add(&out, question->p, question->n);
	bad = send_all(fd, &out, e);
	while (bad == 0) {
		if (poll(&p, 1, ASK_MS) == 0)
			return err_set(e, ERR_TIMEOUT, "the agent in the machine does not answer");
		bad = receive(fd, &in, e);
		while (bad == 0 && (bad = guest_next(&in, &f, &n, e)) > 0) {
			if (f.type == GUEST_DONE)
				return 0;
			bad = f.type == GUEST_HELLO ? on_hello(&f, e) : 0;
			strbuf_drop_front(&in, n);
		}
	}
	return bad;
}

int guest_ask_clock(int fd, uint64_t now_ns, struct err *e)
{
	auto_strbuf struct strbuf question = {0};

	guest_write_pair(&question, GUEST_CLOCK, (uint32_t)now_ns, (uint32_t)(now_ns >> 32));
	return ask(fd, &question, e);
}

int guest_ask_shutdown(int fd, enum guest_shutdown how, struct err *e)
{
	auto_strbuf struct strbuf question = {0};

	guest_write_u32(&question, GUEST_SHUTDOWN, how);
	return ask(fd, &question, e);
}

/* One byte at a time: what follows the line belongs to the stream. */
static int read_reply(int fd, int timeout_ms, char line[REPLY_MAX], struct err *e)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t n = 0;

	while (n + 1 < REPLY_MAX) {
		if (poll(&p, 1, timeout_ms) == 0)
			return err_set(e, ERR_TIMEOUT, "no answer from the machine's socket");
		if (read(fd, line + n, 1) != 1)
			break;
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = '\0';
	return 0;
}

int guest_connect(const char *path, unsigned port, int timeout_ms, int *ret_fd, struct err *e)
{
	auto_free char *question = mem_printf("CONNECT %u\n", port);
	auto_close int fd = -1;
	char line[REPLY_MAX];

	if (unix_connect(path, SOCK_STREAM, &fd, e) < 0)
		return e ? -(int)e->kind : -ERR_UNAVAILABLE;
	if (send(fd, question, strlen(question), MSG_NOSIGNAL) != (ssize_t)strlen(question))
		return err_sys(e, "cannot ask '%s' for port %u", path, port);
	if (read_reply(fd, timeout_ms, line, e) < 0)
		return -ERR_TIMEOUT;
	if (!text_starts(line, "OK "))
		return err_set(e, ERR_UNAVAILABLE,
			       "nobody listens on port %u in the machine (is it still booting?)",
			       port);
	*ret_fd = take_fd(&fd);
	return 0;
}
