/*
 * Minding a machine. With an image, the agent in the guest calls on <dir>/vsock_1024 as soon as it
 * serves: that connection carries the command. Without one the console is all there is, and hull-vm
 * gets our own streams.
 *
 * Ending: SIGTERM goes to the command through the agent (or presses the power button where there is
 * no agent); a second later, as long as nothing has ended, the button is pressed (SIGPWR to hull-vm);
 * the keeper kills us, and with us everything, when its patience is over.
 */
#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/unix.h"
#include "mate.h"
#include "terminal.h"
#include "virt/guest/session.h"

#define BUTTON_AFTER_MS 5000
#define END_MS		10000
#define TURN_MS		500
#define SLIRP_READY_MS	5000
#define STATUS_MAX	512
#define NET_FD		3

struct mind {
	const struct mate_spec *s;
	struct mate_child vm, slirp;
	int signals;
	int listener;	  /* the agent calls here; -1: no agent */
	int net;	  /* hull-vm's end of the packet socket; -1: none */
	int log;	  /* the kernel's console; -1: our own standard output */
	int64_t asked_ms; /* when it was asked to end; 0: not yet */
	bool pressed;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- hull-slirp ---- */

/* It says one line when its ports are open: "ok", or why not. */
static int await_slirp(int status, struct err *e)
{
	struct pollfd p = {.fd = status, .events = POLLIN};
	char line[STATUS_MAX] = {0};
	ssize_t n;

	if (poll(&p, 1, SLIRP_READY_MS) <= 0)
		return err_set(e, ERR_TIMEOUT, "hull-slirp does not start");
	n = read(status, line, sizeof(line) - 1);
	if (n <= 0)
		return err_set(e, ERR_UNAVAILABLE, "hull-slirp has ended");
	if (text_eq(line, "ok"))
		return 0;
	return err_set(e, ERR_UNAVAILABLE, "%s", line);
}

static int start_slirp(struct mind *m, struct err *e)
{
	char **argv = NULL;
	int packets[2] = {-1, -1}, status[2] = {-1, -1}, r;

	if (!m->s->hull_slirp)
		return err_set(e, ERR_INVALID, "the machine's description lacks hullSlirp");
	if (unix_pair(SOCK_SEQPACKET, packets, e) < 0 || unix_pair(SOCK_STREAM, status, e) < 0)
		return -ERR_SYSTEM;
	mem_append_text(&argv, m->s->hull_slirp);
	if (m->s->loopback)
		mem_append_text(&argv, "--loopback");
	for (char **p = m->s->publish; *p; p++) {
		mem_append_text(&argv, "--publish");
		mem_append_text(&argv, *p);
	}
	r = child_start(argv, (const int[]){-1, -1, 2, packets[1], status[1]}, 5, &m->slirp, e);
	argv = mem_free_texts(argv);
	(void)fd_close(packets[1]);
	(void)fd_close(status[1]);
	if (r == 0)
		r = await_slirp(status[0], e);
	(void)fd_close(status[0]);
	m->net = packets[0];
	return r;
}

/* ---- hull-vm ---- */

static void append_pair(char ***argv, const char *name, const char *value)
{
	mem_append_text(argv, name);
	mem_append_text(argv, value);
}

static void append_disk(char ***argv, const char *path, const char *format, bool read_only,
			const char *bus)
{
	auto_free char *text =
		mem_printf("%s,format=%s%s%s%s", path, format, read_only ? ",ro" : "",
			   bus ? ",bus=" : "", bus ? bus : "");

	append_pair(argv, "--disk", text);
}

static void append_net(const struct mind *m, char ***argv)
{
	auto_free char *tap = NULL;

	if (text_eq(m->s->net, "user")) {
		append_pair(argv, "--net", "fd=3");
	} else if (text_eq(m->s->net, "tap")) {
		tap = mem_printf("tap=%s", m->s->tap ? m->s->tap : "");
		append_pair(argv, "--net", tap);
	}
}

/* What the kernel is told: the caller's words last, so that they win. */
static char *command_line(const struct mate_spec *s)
{
	struct strbuf b = {0};

	if (s->image) {
		strbuf_add_text(&b, "console=ttyS0 quiet panic=-1 mitigations=off hull.lower=vda "
				    "hull.upper=vdb");
		if (text_eq(s->net, "user"))
			strbuf_add_text(&b, " hull.net=10.0.2.15/24,10.0.2.2,10.0.2.3");
		else if (text_eq(s->net, "tap"))
			strbuf_add_text(&b, " hull.net=dhcp");
		strbuf_printf(&b, " hull.name=%s", s->name ? s->name : "machine");
	} else if (!s->append) {
		strbuf_add_text(&b, "console=ttyS0 panic=-1 mitigations=off");
	}
	if (s->append)
		strbuf_printf(&b, "%s%s", b.n ? " " : "", s->append);
	return strbuf_take(&b);
}

static char **vm_arguments(const struct mind *m)
{
	const struct mate_spec *s = m->s;
	auto_free char *cpus = mem_printf("%u", s->cpus);
	auto_free char *memory = mem_printf("%lld", (long long)s->memory_bytes);
	auto_free char *line = command_line(s);
	char **argv = NULL;

	mem_append_text(&argv, s->hull_vm);
	mem_append_text(&argv, "--quiet");
	append_pair(&argv, "--accel", s->accel);
	append_pair(&argv, "--cpus", cpus);
	append_pair(&argv, "--memory", memory);
	append_pair(&argv, "--kernel", s->kernel);
	append_pair(&argv, "--append", line);
	append_pair(&argv, "--dir", s->dir);
	mem_append_text(&argv, "--control");
	append_pair(&argv, "--id", s->name ? s->name : "machine");
	if (s->initrd)
		append_pair(&argv, "--initrd", s->initrd);
	if (s->image) {
		mem_append_text(&argv, "--no-reboot");
		mem_append_text(&argv, "--vsock");
		append_disk(&argv, s->image, "raw", true, NULL);
		append_disk(&argv, s->upper, "raw", false, NULL);
	}
	for (size_t i = 0; i < s->disks_n; i++)
		append_disk(&argv, s->disks[i].path, s->disks[i].format, s->disks[i].read_only,
			    s->disks[i].bus);
	append_net(m, &argv);
	return argv;
}

static int start_vm(struct mind *m, struct err *e)
{
	char **argv = vm_arguments(m);
	int fds[] = {m->s->image ? -1 : 0, m->log >= 0 ? m->log : 1, 2, m->net};
	int r = child_start(argv, fds, m->net >= 0 ? 4 : 3, &m->vm, e);

	argv = mem_free_texts(argv);
	m->net = fd_close(m->net);
	return r;
}

/* ---- its life ---- */

static void press_button(struct mind *m)
{
	if (!m->pressed && m->vm.pid > 0)
		(void)kill(m->vm.pid, SIGPWR);
	m->pressed = true;
}

static bool on_signal(void *ctx, int sig)
{
	struct mind *m = ctx;

	if (sig == SIGTERM && m->asked_ms == 0)
		m->asked_ms = now_ms();
	return false;
}

/* Twice a second while the command runs: has the machine ended, is patience over? */
static int on_turn(void *ctx, struct err *e)
{
	struct mind *m = ctx;

	(void)e;
	if (m->asked_ms > 0 && now_ms() - m->asked_ms >= BUTTON_AFTER_MS)
		press_button(m);
	return 0;
}

/* Without an agent: what we are told goes to hull-vm. */
static void pass_signal(struct mind *m)
{
	struct signalfd_siginfo news;

	if (read(m->signals, &news, sizeof(news)) != (ssize_t)sizeof(news))
		return;
	if (news.ssi_signo == SIGWINCH)
		(void)kill(m->vm.pid, SIGWINCH);
	else if (m->asked_ms == 0) {
		m->asked_ms = now_ms();
		press_button(m);
	}
}

static int wait_for_vm(struct mind *m, struct err *e)
{
	int code = 0;

	for (;;) {
		struct pollfd set[] = {{.fd = m->vm.pidfd, .events = POLLIN},
				       {.fd = m->signals, .events = POLLIN}};

		if (poll(set, array_len(set), -1) < 0 && errno != EINTR)
			return err_sys(e, "cannot wait for the machine");
		if (set[1].revents)
			pass_signal(m);
		if (!set[0].revents)
			continue;
		return child_wait(&m->vm, -1, &code, e) < 0 ? -ERR_SYSTEM : code;
	}
}

/* The agent's call; a machine that ends before it has said why on its console. */
static int await_agent(struct mind *m, struct err *e)
{
	for (;;) {
		struct pollfd set[] = {{.fd = m->listener, .events = POLLIN},
				       {.fd = m->vm.pidfd, .events = POLLIN},
				       {.fd = m->signals, .events = POLLIN}};
		struct signalfd_siginfo news;

		if (poll(set, array_len(set), -1) < 0 && errno != EINTR)
			return err_sys(e, "cannot wait for the machine");
		if (set[0].revents)
			return accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
		if (set[1].revents)
			return err_set(
				e, ERR_UNAVAILABLE,
				"the machine ended before its agent answered; its console is "
				"in '%s'",
				m->s->console_log);
		if (set[2].revents && read(m->signals, &news, sizeof(news)) > 0 &&
		    (news.ssi_signo == SIGTERM || news.ssi_signo == SIGINT))
			return err_set(e, ERR_GONE, "ended while the machine booted");
	}
}

static int run_command(struct mind *m, struct err *e)
{
	struct guest_start start = m->s->process;
	struct guest_session session = {.stdio = {0, 1, 2},
					.start = &start,
					.signals = m->signals,
					.signalled = on_signal,
					.watch = -1,
					.woken = on_turn,
					.timeout_ms = TURN_MS,
					.ctx = m};
	auto_close int fd = await_agent(m, e);
	struct err why = {0};
	uint32_t code = MATE_CODE_FAILED;
	int ended, r;

	if (fd < 0)
		return -ERR_UNAVAILABLE;
	session.fd = fd;
	terminal_prepare(&start);
	r = guest_session_run(&session, &code, &why);
	fd = fd_close(fd);
	if (r < 0)
		(void)fprintf(stderr, "hull: %s\n", why.text);
	/* The agent switches the machine off behind its last word. */
	if (child_wait(&m->vm, END_MS, &ended, e) < 0)
		press_button(m);
	return (int)code;
}

static int prepare(struct mind *m, struct err *e)
{
	const struct mate_spec *s = m->s;
	auto_free char *path = mem_printf("%s/vsock_%u", s->dir, GUEST_PORT);

	/* hull-vm, which is nobody by then, has this directory as its root; ours above is closed. */
	if (mkdir(s->dir, 0711) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", s->dir);
	m->signals = terminal_signals(e);
	if (m->signals < 0)
		return -ERR_SYSTEM;
	if (text_eq(s->net, "user") && start_slirp(m, e) < 0)
		return -ERR_UNAVAILABLE;
	if (!s->image)
		return 0;
	m->log = open(s->console_log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (m->log < 0)
		return err_sys(e, "cannot open '%s'", s->console_log);
	if (disk_make_image(s, e) < 0 || disk_make_upper(s, e) < 0)
		return -ERR_SYSTEM;
	(void)unlink(path);
	return unix_listen(path, SOCK_STREAM, 0666, &m->listener, e);
}

int machine_mind(const struct mate_spec *s, struct err *e)
{
	struct mind m = {.s = s,
			 .vm = {.pidfd = -1},
			 .slirp = {.pidfd = -1},
			 .signals = -1,
			 .listener = -1,
			 .net = -1,
			 .log = -1};
	int r = prepare(&m, e);

	assert(s->dir);
	if (r == 0)
		r = start_vm(&m, e);
	if (r == 0)
		r = s->image ? run_command(&m, e) : wait_for_vm(&m, e);
	child_kill(&m.vm);
	child_kill(&m.slirp);
	(void)fd_close(m.listener);
	(void)fd_close(m.log);
	(void)fd_close(m.signals);
	return r;
}
