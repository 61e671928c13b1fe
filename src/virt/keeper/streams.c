/*
 * Streams: see streams.h for the order of things. One reading block is static: the keeper has one
 * thread, and a buffer per stream would cost memory in each of hundreds of keepers.
 */
#include "virt/keeper/streams.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ground/base/mem.h"

static void renew(struct streams *s);

static bool held_back(const struct streams *s)
{
	const struct list *l = &s->clients;

	if (s->process_ended)
		return false;
	for (const struct list *at = l->next; at != l; at = at->next)
		if (client_is_full(container_of(at, const struct client, link)))
			return true;
	return false;
}

static void hand_out(struct streams *s, enum log_stream stream, const char *p, size_t n)
{
	/* The disk is full or gone: the container goes on, its clients still see everything. */
	if (s->log)
		(void)!log_file_add(s->log, stream, p, n, NULL);
	if (s->capture && s->capture->n < s->capture_max) {
		size_t room = s->capture_max - s->capture->n;

		strbuf_add(s->capture, p, n < room ? n : room);
	}
	list_each (&s->clients, struct client, link, c)
		client_output(c, stream, p, n);
}

static void close_source(struct streams_source *source)
{
	struct streams *s = source->owner;
	int fd = source->watch.fd;

	if (fd < 0)
		return;
	turn_unwatch(s->turn, &source->watch);
	(void)fd_close(fd);
	if (s->log)
		(void)log_file_end(s->log, source->stream, NULL);
}

static void check_ended(struct streams *s)
{
	if (s->all_read || s->out[0].watch.fd >= 0 || s->out[1].watch.fd >= 0)
		return;
	s->all_read = true;
	if (s->process_ended) {
		turn_timer_unset(&s->grace);
		s->ended(s->ctx);
	}
}

/* Reads a block: 1 something came, 0 nothing now, -1 the end. */
static int read_source(struct streams_source *source)
{
	static char block[STREAMS_BLOCK];
	ssize_t n = read(source->watch.fd, block, sizeof(block));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* EIO is a terminal's end: its last user has closed it. */
	if (n <= 0)
		return -1;
	hand_out(source->owner, source->stream, block, (size_t)n);
	return 1;
}

static void write_input(struct streams *s)
{
	struct turn_watch *to = s->tty ? &s->out[0].watch : &s->in;
	ssize_t n = 0;

	if (to->fd >= 0 && s->input.n > 0)
		n = write(to->fd, s->input.p, s->input.n);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* The process closed its input: what is left has no reader. */
		strbuf_done(&s->input);
		s->input_ended = true;
	} else if (n > 0) {
		strbuf_drop_front(&s->input, (size_t)n);
	}
	if (s->input.n == 0)
		strbuf_done(&s->input);
	if (s->input.n == 0 && s->input_ended && !s->tty && s->in.fd >= 0) {
		int fd = s->in.fd;

		turn_unwatch(s->turn, &s->in);
		(void)fd_close(fd);
	}
}

static void on_source(void *ctx, uint32_t events)
{
	struct streams_source *source = ctx;
	struct streams *s = source->owner;
	int got = 1;

	if (events & EPOLLOUT)
		write_input(s);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		got = read_source(source);
	if (got < 0) {
		close_source(source);
		check_ended(s);
		return;
	}
	renew(s);
}

static void on_input(void *ctx, uint32_t events)
{
	struct streams *s = ctx;

	/* EPOLLERR: the reading end is closed; the write finds out and ends the input. */
	if ((events & EPOLLERR) && s->input.n == 0) {
		int fd = s->in.fd;

		turn_unwatch(s->turn, &s->in);
		(void)fd_close(fd);
		s->input_ended = true;
	} else {
		write_input(s);
	}
	renew(s);
}

/* Watches what is worth watching now. */
static void renew(struct streams *s)
{
	bool held = held_back(s);

	for (int i = 0; i < 2; i++) {
		uint32_t events = held ? 0 : EPOLLIN;

		if (s->tty && i == 0 && s->input.n > 0)
			events |= EPOLLOUT;
		/* A held source that has hung up would be told again and again: it rests unwatched.
		 */
		turn_watch_want(s->turn, &s->out[i].watch, held ? events | EPOLLET : events);
	}
	turn_watch_want(s->turn, &s->in, s->input.n > 0 ? EPOLLOUT : 0);
	list_each (&s->clients, struct client, link, c)
		client_refresh(c);
}

static bool client_input_wanted(void *ctx)
{
	const struct streams *s = ctx;

	/* Input for a process that is to come stays in the client's socket. */
	return s->live && s->input.n < STREAMS_INPUT_MAX;
}

static void client_input(void *ctx, const char *p, size_t n)
{
	struct streams *s = ctx;

	if (s->input_ended || !s->input_expected)
		return; /* nobody reads it: it is taken and dropped, so that the client can end */
	strbuf_add(&s->input, p, n);
	write_input(s);
	if (s->input.n > 0)
		renew(s);
}

static void client_input_ended(void *ctx, struct client *c)
{
	struct streams *s = ctx;

	if (!c->want_stdin || !s->stdin_once || s->tty)
		return;
	s->input_ended = true;
	write_input(s);
}

/* The beginning of a line that the log keeps until its end comes. */
static void client_caught_up(void *ctx, struct client *c)
{
	struct streams *s = ctx;

	for (enum log_stream i = LOG_STREAM_STDOUT; s->log && i <= LOG_STREAM_STDERR; i++) {
		struct str kept = log_file_kept(s->log, i);

		client_output(c, i, kept.p, kept.n);
	}
}

static void client_relieved(void *ctx)
{
	struct streams *s = ctx;

	if (s->live)
		renew(s);
}

static void client_gone(void *ctx, struct client *c, bool by_keys)
{
	struct streams *s = ctx;

	assert(s->clients_n > 0);
	s->clients_n--;
	if (c->input_open && !by_keys && s->live)
		client_input_ended(s, c);
	if (s->detached)
		s->detached(s->ctx, c->session, by_keys);
}

static const struct client_ops client_ops = {
	.input_wanted = client_input_wanted,
	.input = client_input,
	.input_ended = client_input_ended,
	.caught_up = client_caught_up,
	.relieved = client_relieved,
	.gone = client_gone,
};

static void grace_over(void *ctx)
{
	struct streams *s = ctx;

	close_source(&s->out[0]);
	close_source(&s->out[1]);
	check_ended(s);
}

void streams_init(struct streams *s, struct turn *turn)
{
	*s = (struct streams){.turn = turn};
	list_init(&s->clients);
	turn_timer_init(&s->grace, grace_over, s);
	for (int i = 0; i < 2; i++)
		s->out[i] = (struct streams_source){
			.owner = s,
			.stream = i ? LOG_STREAM_STDERR : LOG_STREAM_STDOUT,
			.watch = {.fd = -1, .fn = on_source, .ctx = &s->out[i]}};
	s->in = (struct turn_watch){.fd = -1, .fn = on_input, .ctx = s};
}

static void close_input(struct streams *s)
{
	int fd = s->in.fd;

	turn_unwatch(s->turn, &s->in);
	(void)fd_close(fd);
	strbuf_done(&s->input);
}

void streams_reset(struct streams *s)
{
	turn_timer_unset(&s->grace);
	close_source(&s->out[0]);
	close_source(&s->out[1]);
	close_input(s);
	s->live = s->process_ended = s->all_read = s->input_ended = false;
}

void streams_done(struct streams *s)
{
	streams_reset(s);
	list_each (&s->clients, struct client, link, c)
		(void)client_free(c);
	s->clients_n = 0;
}

static int begin_one(struct streams *s, struct turn_watch *w, int fd, uint32_t events,
		     struct err *e)
{
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_SETFL, O_NONBLOCK | (fcntl(fd, F_GETFL) & O_APPEND)) < 0 ||
	    turn_watch(s->turn, w, fd, events, e) < 0) {
		(void)fd_close(fd);
		return err_sys(e, "cannot use a standard stream");
	}
	return 0;
}

int streams_begin(struct streams *s, const int fds[3], struct err *e)
{
	int r, out0 = s->tty ? fds[0] : fds[1], in = s->tty ? -1 : fds[0];

	assert(!s->live);
	r = begin_one(s, &s->out[0].watch, out0, EPOLLIN, e);
	if (begin_one(s, &s->out[1].watch, fds[2], EPOLLIN, e) < 0)
		r = -ERR_SYSTEM;
	if (begin_one(s, &s->in, in, 0, e) < 0)
		r = -ERR_SYSTEM;
	s->live = true;
	if (r == 0)
		renew(s);
	return r;
}

int streams_attach(struct streams *s, const struct keeper_attach *how, int fd, struct err *e)
{
	struct client *c = NULL;
	int r;

	if (s->clients_n >= KEEPER_CLIENTS_MAX) {
		(void)fd_close(fd);
		return err_set(e, ERR_EXHAUSTED, "container has %d attached clients already",
			       KEEPER_CLIENTS_MAX);
	}
	r = client_new(s->turn, how, s->tty, fd, &client_ops, s, &s->clients, &c, e);
	if (r < 0)
		return r;
	s->clients_n++;
	if (how->logs && s->log_path)
		r = log_reader_open(&(struct log_query){.path = s->log_path, .tail = -1},
				    &c->replay, e);
	if (c->replay)
		c->phase = CLIENT_REPLAYING;
	if (how->early && how->early_n > 0 && c->want_stdin && s->input_expected)
		strbuf_add(&s->input, how->early, how->early_n);
	if (s->live)
		write_input(s);
	/* A first look writes the replay, or closes a client that wants nothing more. */
	if (c->phase != CLIENT_LIVE)
		turn_watch_want(s->turn, &c->watch, EPOLLOUT);
	else
		client_refresh(c);
	return 0;
}

void streams_process_ended(struct streams *s)
{
	assert(s->live);
	s->process_ended = true;
	if (s->all_read) {
		s->ended(s->ctx);
		return;
	}
	turn_timer_set(s->turn, &s->grace, STREAMS_GRACE_NS);
	renew(s);
}

void streams_finish_clients(struct streams *s)
{
	list_each (&s->clients, struct client, link, c)
		client_finish(c);
}

int streams_resize(struct streams *s, uint32_t rows, uint32_t columns, struct err *e)
{
	struct winsize size = {.ws_row = (uint16_t)rows, .ws_col = (uint16_t)columns};

	if (rows > UINT16_MAX || columns > UINT16_MAX)
		return err_set(e, ERR_INVALID, "invalid terminal size %ux%u", rows, columns);
	if (!s->tty || s->out[0].watch.fd < 0)
		return 0; /* not there yet, or no terminal: Docker's clients ask anyway */
	if (ioctl(s->out[0].watch.fd, TIOCSWINSZ, &size) < 0)
		return err_sys(e, "cannot resize the terminal to %ux%u", rows, columns);
	return 0;
}

void streams_tell(struct streams *s, enum log_stream stream, const char *text)
{
	list_each (&s->clients, struct client, link, c)
		client_output(c, stream, text, strlen(text));
}
