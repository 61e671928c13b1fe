/*
 * Makers: see maker.h. The answer is one message on a packet socket: a fixed header, the texts
 * behind it, and the pidfd and the terminal's master as descriptors.
 */
#include "virt/keeper/maker.h"

#include <assert.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/fdpass.h"

struct maker {
	struct turn *turn;
	struct turn_watch watch;
	maker_done *done;
	void *ctx;
};

/* The same program reads it: a struct as it stands in memory. */
struct answer {
	struct err err;
	int exit_code;
	pid_t pid;
	uint64_t start_time;
	bool has_pidfd, has_console;
	size_t cgroup_n;
};

static void tell(int sock, const struct answer *a, struct str cgroup, const struct container *c)
{
	auto_strbuf struct strbuf message = {0};
	int fds[2];
	size_t n = 0;

	if (a->has_pidfd)
		fds[n++] = c->pidfd;
	if (a->has_console)
		fds[n++] = c->console;
	strbuf_add(&message, a, sizeof(*a));
	strbuf_add(&message, cgroup.p, cgroup.n);
	(void)!fdpass_send(sock, message.p, message.n, fds, n, NULL);
}

_Noreturn static void child(pid_t keeper, int sock, maker_work *work, const void *job)
{
	auto_strbuf struct strbuf cgroup = {0};
	struct container c = CONTAINER_INIT;
	struct answer a = {0};

	/* It ends with the keeper: nobody else would know what it made. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != keeper)
		_exit(1);
	turn_child_signals();
	if (work(job, &c, &a.err) < 0) {
		if (a.err.kind == ERR_NONE)
			(void)err_set(&a.err, ERR_INTERNAL, "work failed without a reason");
		a.exit_code = container_exit_code(&a.err);
		tell(sock, &a, (struct str){0}, &c);
		_exit(1);
	}
	if (c.cgroup)
		cgroup_save(c.cgroup, &cgroup);
	if (cgroup.n > MAKER_TEXT_MAX)
		strbuf_clear(&cgroup);
	a.pid = c.pid;
	a.start_time = c.start_time;
	a.has_pidfd = c.pidfd >= 0;
	a.has_console = c.console >= 0;
	a.cgroup_n = cgroup.n;
	tell(sock, &a, strbuf_str(&cgroup), &c);
	_exit(0);
}

static void read_answer(int sock, struct maker_outcome *o, char *text)
{
	static char raw[sizeof(struct answer) + MAKER_TEXT_MAX];
	struct answer a;
	int fds[2] = {-1, -1};
	size_t n = 0, fds_n = 0, at = 0;

	o->pidfd = o->console = -1;
	o->cgroup = text;
	text[0] = '\0';
	if (fdpass_recv(sock, raw, sizeof(raw), fds, 2, &n, &fds_n, &o->err) < 0)
		return;
	if (n < sizeof(a)) {
		o->exit_code = 128;
		o->killed = true;
		(void)err_set(&o->err, ERR_INTERNAL,
			      "the process that prepares containers was killed before it was done");
		return;
	}
	memcpy(&a, raw, sizeof(a));
	o->err = a.err;
	o->exit_code = a.exit_code;
	o->pid = a.pid;
	o->start_time = a.start_time;
	if (a.has_pidfd)
		o->pidfd = fds[at++];
	if (a.has_console)
		o->console = fds[at];
	assert(a.cgroup_n == n - sizeof(a));
	memcpy(text, raw + sizeof(a), a.cgroup_n);
	text[a.cgroup_n] = '\0';
}

static void on_answer(void *ctx, uint32_t events)
{
	struct maker *m = ctx;
	auto_free char *text = mem_new_bytes(1, MAKER_TEXT_MAX + 1);
	auto_free struct maker_outcome *o = mem_new(struct maker_outcome);
	maker_done *done = m->done;
	void *done_ctx = m->ctx;

	(void)events;
	read_answer(m->watch.fd, o, text);
	(void)maker_free(m);
	if (done)
		done(done_ctx, o);
	else if (o->pidfd >= 0)
		(void)kill(o->pid, SIGKILL);
	(void)fd_close(o->pidfd);
	(void)fd_close(o->console);
}

int maker_start(struct turn *turn, maker_work *work, const void *job, maker_done *done, void *ctx,
		struct maker **ret, struct err *e)
{
	struct maker *m;
	pid_t keeper = getpid(), pid;
	int pair[2], r;

	r = fdpass_pair(SOCK_SEQPACKET, pair, e);
	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0)
		child(keeper, pair[1], work, job);
	(void)fd_close(pair[1]);
	if (pid < 0) {
		r = err_sys(e, "cannot fork");
		(void)fd_close(pair[0]);
		return r;
	}
	m = mem_new(struct maker);
	m->turn = turn;
	m->watch = (struct turn_watch){.fd = -1, .fn = on_answer, .ctx = m};
	m->done = done;
	m->ctx = ctx;
	r = turn_watch(turn, &m->watch, pair[0], EPOLLIN, e);
	if (r < 0) {
		m->watch.fd = pair[0];
		(void)maker_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

struct maker *maker_free(struct maker *m)
{
	int fd;

	if (!m)
		return NULL;
	fd = m->watch.fd;
	turn_unwatch(m->turn, &m->watch);
	(void)fd_close(fd);
	free(m);
	return NULL;
}
