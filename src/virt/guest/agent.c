/*
 * Theory of operation. A poll set is built anew each turn: signals, the listener, and per session
 * its connection and its process's streams. A session reads output only while few bytes wait for
 * the host, and accepts no more input than the credit of protocol.h. `exit` is sent when the process
 * was reaped and its output has ended (or 200 ms later: a grandchild may hold a pipe open); the
 * session then waits until the bytes are written and closes.
 */
#include "virt/guest/agent.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ground/base/list.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/guest/process.h"

#define OUT_FULL_BYTES (256u << 10)
#define READ_BYTES     (64u << 10)
#define POLL_MAX       (3 + GUEST_SESSIONS_MAX * 4)
#define GRACE_MS       200

enum session_phase {
	SESSION_OPEN,	 /* no process yet */
	SESSION_RUNNING, /* process.pid is there */
	SESSION_REAPED,	 /* exit code known, output not ended yet */
	SESSION_CLOSING, /* the last frame is queued */
};

struct session {
	struct list link;
	enum session_phase phase;
	int fd;
	struct strbuf in, out, input; /* input: bytes for the process */
	bool greeted, input_ended, power_off;
	struct guest_process process;
	uint32_t exit_code;
	int64_t reaped_ms;
	struct pollfd *slots[4]; /* of this turn: connection, input, two outputs */
};

struct agent {
	const struct agent_options *options;
	struct list sessions;
	size_t sessions_n;
	int signals;
	bool ending;
	enum guest_shutdown how;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void session_add(struct agent *a, int fd)
{
	struct session *s = mem_new(struct session);

	s->fd = fd;
	s->process = (struct guest_process){.input = -1, .output = {-1, -1}};
	list_append(&a->sessions, &s->link);
	a->sessions_n++;
	guest_write_u32(&s->out, GUEST_HELLO, GUEST_PROTOCOL_VERSION);
}

/* Whatever state it is in: a process without its host has nobody to run for. */
static void session_free(struct agent *a, struct session *s)
{
	if (s->phase == SESSION_RUNNING)
		(void)kill(-s->process.pid, SIGKILL);
	if (s->power_off)
		a->ending = true;
	guest_process_close(&s->process);
	(void)fd_close(s->fd);
	strbuf_done(&s->in);
	strbuf_done(&s->out);
	strbuf_done(&s->input);
	list_remove(&s->link);
	a->sessions_n--;
	free(s);
}

static int on_hello(struct session *s, const struct guest_frame *f, struct err *e)
{
	uint32_t version;

	if (guest_read_u32(f, &version, e) < 0)
		return -ERR_INVALID;
	if (version != GUEST_PROTOCOL_VERSION)
		return err_set(e, ERR_UNSUPPORTED, "the host speaks version %u, this agent %d",
			       version, GUEST_PROTOCOL_VERSION);
	s->greeted = true;
	return 0;
}

static int on_start(struct session *s, const struct guest_frame *f, struct err *e)
{
	auto_arena struct arena a = {0};
	struct guest_start start;
	struct err why = {0};
	uint32_t code;

	if (s->phase != SESSION_OPEN)
		return err_set(e, ERR_INVALID, "a session runs one process");
	if (guest_read_start(f, &a, &start, e) < 0)
		return -ERR_INVALID;
	s->power_off = start.power_off;
	if (guest_process_start(&start, &s->process, &code, &why) < 0) {
		guest_write_failed(&s->out, code, why.text);
		s->phase = SESSION_CLOSING;
		return 0;
	}
	s->phase = SESSION_RUNNING;
	guest_write_u32(&s->out, GUEST_STARTED, (uint32_t)s->process.pid);
	return 0;
}

static int on_data(struct session *s, const struct guest_frame *f, struct err *e)
{
	if (f->stream != 0)
		return err_set(e, ERR_INVALID, "input of stream %u", f->stream);
	if (s->input.n + f->payload.n > GUEST_CREDIT)
		return err_set(e, ERR_INVALID, "input beyond the credit of %u bytes", GUEST_CREDIT);
	if (s->process.input >= 0)
		strbuf_add(&s->input, f->payload.p, f->payload.n);
	else /* it has closed its input: nobody reads what comes */
		guest_write_u32(&s->out, GUEST_TAKEN, (uint32_t)f->payload.n);
	return 0;
}

static int on_resize(struct session *s, const struct guest_frame *f, struct err *e)
{
	uint32_t rows, columns;

	if (guest_read_pair(f, &rows, &columns, e) < 0)
		return -ERR_INVALID;
	if (s->phase == SESSION_RUNNING && rows <= UINT16_MAX && columns <= UINT16_MAX)
		(void)!guest_process_resize(&s->process, rows, columns, NULL);
	return 0;
}

static int on_signal(struct session *s, const struct guest_frame *f, struct err *e)
{
	uint32_t sig;

	if (guest_read_u32(f, &sig, e) < 0)
		return -ERR_INVALID;
	if (sig == 0 || sig > (uint32_t)SIGRTMAX)
		return err_set(e, ERR_INVALID, "signal %u", sig);
	if (s->phase == SESSION_RUNNING)
		(void)kill(s->process.pid, (int)sig);
	return 0;
}

static int on_clock(struct session *s, const struct guest_frame *f, struct err *e)
{
	uint32_t low, high;
	uint64_t ns;
	struct timespec t;

	if (guest_read_pair(f, &low, &high, e) < 0)
		return -ERR_INVALID;
	ns = (uint64_t)high << 32 | low;
	t = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	(void)clock_settime(CLOCK_REALTIME, &t);
	guest_write(&s->out, GUEST_DONE, 0, (struct str){0});
	return 0;
}

static int on_end(struct session *s, const struct guest_frame *f, struct err *e)
{
	(void)f;
	(void)e;
	s->input_ended = true;
	return 0;
}

static int on_frame(struct agent *a, struct session *s, const struct guest_frame *f, struct err *e)
{
	uint32_t how;

	if (!s->greeted && f->type != GUEST_HELLO)
		return err_set(e, ERR_INVALID, "a session begins with hello");
	switch (f->type) {
	case GUEST_HELLO:
		return on_hello(s, f, e);
	case GUEST_START:
		return on_start(s, f, e);
	case GUEST_DATA:
		return on_data(s, f, e);
	case GUEST_END:
		return on_end(s, f, e);
	case GUEST_RESIZE:
		return on_resize(s, f, e);
	case GUEST_SIGNAL:
		return on_signal(s, f, e);
	case GUEST_CLOCK:
		return on_clock(s, f, e);
	case GUEST_SHUTDOWN:
		if (guest_read_u32(f, &how, e) < 0)
			return -ERR_INVALID;
		a->how = how == GUEST_REBOOT ? GUEST_REBOOT : GUEST_POWER_OFF;
		a->ending = true;
		guest_write(&s->out, GUEST_DONE, 0, (struct str){0});
		return 0;
	default: /* of a later release */
		return 0;
	}
}

static int session_receive(struct agent *a, struct session *s, struct err *e)
{
	static char piece[READ_BYTES];
	struct guest_frame f;
	size_t n;
	ssize_t got = read(s->fd, piece, sizeof(piece));
	int r;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0)
		return err_set(e, ERR_GONE, "the host left");
	strbuf_add(&s->in, piece, (size_t)got);
	while ((r = guest_next(&s->in, &f, &n, e)) > 0) {
		r = on_frame(a, s, &f, e);
		if (r < 0)
			return r;
		strbuf_drop_front(&s->in, n);
	}
	return r;
}

static void close_input(struct session *s)
{
	struct guest_process *p = &s->process;

	if (p->input == p->output[0])
		(void)!write(p->input, "\4", 1); /* the end of a terminal's input is Ctrl-D */
	else
		p->input = fd_close(p->input);
}

static void session_feed(struct session *s)
{
	struct guest_process *p = &s->process;
	ssize_t n = write(p->input, s->input.p, s->input.n);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) { /* it reads no more */
		guest_write_u32(&s->out, GUEST_TAKEN, (uint32_t)s->input.n);
		strbuf_clear(&s->input);
		if (p->input != p->output[0])
			p->input = fd_close(p->input);
		return;
	}
	strbuf_drop_front(&s->input, (size_t)n);
	guest_write_u32(&s->out, GUEST_TAKEN, (uint32_t)n);
}

static void session_drain(struct session *s, int which)
{
	static char piece[GUEST_DATA_MAX];
	struct guest_process *p = &s->process;
	ssize_t n = read(p->output[which], piece, sizeof(piece));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		guest_write(&s->out, GUEST_DATA, (unsigned)which + 1,
			    (struct str){piece, (size_t)n});
		return;
	}
	/* A terminal ends with EIO. */
	if (p->output[which] == p->input)
		p->input = -1;
	p->output[which] = fd_close(p->output[which]);
}

static void session_exit_if_done(struct session *s)
{
	const struct guest_process *p = &s->process;
	bool over = now_ms() - s->reaped_ms >= GRACE_MS;

	if (s->phase != SESSION_REAPED || ((p->output[0] >= 0 || p->output[1] >= 0) && !over))
		return;
	guest_write_u32(&s->out, GUEST_EXIT, s->exit_code);
	guest_process_close(&s->process);
	s->phase = SESSION_CLOSING;
}

static void reap(struct agent *a)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		list_each (&a->sessions, struct session, link, s) {
			if (s->phase != SESSION_RUNNING || s->process.pid != pid)
				continue;
			s->phase = SESSION_REAPED;
			s->reaped_ms = now_ms();
			s->exit_code = WIFSIGNALED(status) ? 128u + (unsigned)WTERMSIG(status)
							   : (unsigned)WEXITSTATUS(status);
		}
}

static int session_send(struct session *s, struct err *e)
{
	ssize_t n = write(s->fd, s->out.p, s->out.n);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_sys(e, "cannot send to the host");
	strbuf_drop_front(&s->out, (size_t)n);
	return 0;
}

static struct pollfd *slot(struct pollfd *set, size_t *n, int fd, short events)
{
	if (fd < 0 || events == 0)
		return NULL;
	assert(*n < POLL_MAX);
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	set[*n] = (struct pollfd){.fd = fd, .events = events};
	return &set[(*n)++];
}

static void session_slots(struct session *s, struct pollfd *set, size_t *n)
{
	const struct guest_process *p = &s->process;
	bool room = s->out.n < OUT_FULL_BYTES;

	s->slots[0] = slot(set, n, s->fd, (short)(POLLIN | (s->out.n > 0 ? POLLOUT : 0)));
	s->slots[1] = slot(set, n, s->input.n > 0 ? p->input : -1, POLLOUT);
	for (int i = 0; i < 2; i++)
		s->slots[2 + i] = slot(set, n, room ? p->output[i] : -1, POLLIN);
}

/* False: it is over. */
static bool session_turn(struct agent *a, struct session *s)
{
	struct err e = {0};
	const struct pollfd *c = s->slots[0];

	if (c && (c->revents & (POLLIN | POLLHUP | POLLERR)) && session_receive(a, s, &e) < 0)
		return false;
	for (int i = 0; i < 2; i++)
		if (s->slots[2 + i] && s->slots[2 + i]->revents && s->process.output[i] >= 0)
			session_drain(s, i);
	if (s->slots[1] && s->slots[1]->revents && s->process.input >= 0)
		session_feed(s);
	if (s->input_ended && s->input.n == 0 && s->process.input >= 0) {
		s->input_ended = false;
		close_input(s);
	}
	session_exit_if_done(s);
	if (s->out.n > 0 && session_send(s, &e) < 0)
		return false;
	return s->phase != SESSION_CLOSING || s->out.n > 0;
}

/* EV_KEY, KEY_POWER, pressed. */
static bool button_pressed(int fd)
{
	struct input_event ev;

	while (read(fd, &ev, sizeof(ev)) == (ssize_t)sizeof(ev))
		if (ev.type == EV_KEY && ev.code == KEY_POWER && ev.value == 1)
			return true;
	return false;
}

static void accept_one(struct agent *a)
{
	int fd = accept4(a->options->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (a->sessions_n >= GUEST_SESSIONS_MAX)
		(void)fd_close(fd);
	else
		session_add(a, fd);
}

static void turn(struct agent *a)
{
	static struct pollfd set[POLL_MAX];
	struct signalfd_siginfo news;
	struct pollfd *signals, *listener, *power;
	size_t n = 0;
	bool reaped = false;

	signals = slot(set, &n, a->signals, POLLIN);
	listener = slot(set, &n, a->options->listener, POLLIN);
	power = slot(set, &n, a->options->power, POLLIN);
	list_each (&a->sessions, struct session, link, s) {
		session_slots(s, set, &n);
		reaped = reaped || s->phase == SESSION_REAPED;
	}
	if (poll(set, n, reaped ? GRACE_MS : -1) < 0)
		return;
	if (signals->revents) {
		(void)!read(a->signals, &news, sizeof(news));
		reap(a);
	}
	list_each (&a->sessions, struct session, link, s)
		if (!session_turn(a, s))
			session_free(a, s);
	if (listener && listener->revents)
		accept_one(a);
	if (power && power->revents && button_pressed(a->options->power))
		a->ending = true;
}

int agent_run(const struct agent_options *o, enum guest_shutdown *ret, struct err *e)
{
	struct agent a = {.options = o, .how = GUEST_POWER_OFF};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t mask;

	assert(o->listener >= 0 || o->ready >= 0);
	list_init(&a.sessions);
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	a.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (a.signals < 0)
		return err_sys(e, "cannot watch children");
	if (o->ready >= 0)
		session_add(&a, o->ready);
	while (!a.ending)
		turn(&a);
	list_each (&a.sessions, struct session, link, s) {
		if (s->out.n > 0)
			(void)!session_send(s, NULL);
		session_free(&a, s);
	}
	a.signals = fd_close(a.signals);
	*ret = a.how;
	return 0;
}
