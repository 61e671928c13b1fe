/*
 * What create, run and exec share: pid files, console and pidfd sockets, and standing in the
 * foreground until the container's process ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/process.h"
#include "ground/linux/pty.h"

int write_pid_file(const char *path, pid_t pid, struct err *e)
{
	auto_free char *temporary = NULL;
	auto_close int fd = -1;
	char text[16];
	int n;

	if (!path)
		return 0;
	temporary = mem_printf("%s.new", path);
	n = snprintf(text, sizeof(text), "%d", pid);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(temporary, path) < 0)
		return err_sys(e, "cannot write the pid file '%s'", path);
	return 0;
}

int connect_console(const char *path, int *ret, struct err *e)
{
	int r;

	if (!path)
		return 0;
	r = fdpass_connect(AT_FDCWD, path, SOCK_STREAM, ret, e);
	return r < 0 ? err_wrap(e, "console socket") : 0;
}

int send_pidfd(const char *path, int pidfd, struct err *e)
{
	auto_close int sock = -1;
	int r;

	if (!path)
		return 0;
	r = fdpass_connect(AT_FDCWD, path, SOCK_STREAM, &sock, e);
	if (r == 0)
		r = fdpass_send(sock, "pidfd", 5, &pidfd, 1, e);
	return r < 0 ? err_wrap(e, "pidfd socket") : 0;
}

unsigned int listen_fds(void)
{
	const char *text = getenv("LISTEN_FDS");
	uint32_t n;

	return text && parse_u32(str_of(text), "LISTEN_FDS", &n, NULL) == 0 &&
			       n <= CONTAINER_PRESERVE_MAX
		       ? n
		       : 0;
}

/* The terminal: ours becomes raw, and bytes go both ways. */
struct relay {
	int master; /* -1: no terminal, or it has hung up */
	bool input; /* standard input still gives */
	bool raw;
	struct termios before;
};

static void relay_begin(struct relay *r, int master)
{
	struct termios t;
	struct winsize w;

	*r = (struct relay){.master = master, .input = master >= 0};
	if (master < 0 || tcgetattr(STDIN_FILENO, &r->before) < 0)
		return;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) == 0)
		(void)!pty_resize(master, w.ws_row, w.ws_col, NULL);
	t = r->before;
	cfmakeraw(&t);
	r->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static void relay_end(struct relay *r)
{
	if (r->raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &r->before);
}

/* One read, written out whole. False at the end of the source. */
static bool copy_some(int from, int to)
{
	char buf[8192];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	for (ssize_t at = 0; at < n;) {
		ssize_t wrote = write(to, buf + at, (size_t)(n - at));

		if (wrote < 0 && errno != EINTR)
			return false;
		at += wrote > 0 ? wrote : 0;
	}
	return true;
}

static void pass_signals(int signals, const struct container *c, int master)
{
	struct signalfd_siginfo s;
	struct winsize w;

	if (read(signals, &s, sizeof(s)) != (ssize_t)sizeof(s))
		return;
	if (s.ssi_signo == SIGCHLD || s.ssi_signo == SIGPIPE)
		return;
	if (s.ssi_signo != SIGWINCH)
		(void)!process_signal(c->pidfd, (int)s.ssi_signo, NULL);
	else if (master >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &w) == 0)
		(void)!pty_resize(master, w.ws_row, w.ws_col, NULL);
}

enum { AT_END, AT_SIGNALS, AT_OUTPUT, AT_INPUT, AT_COUNT };

static void relay_turn(const struct container *c, struct relay *r, const struct pollfd *p)
{
	if (p[AT_OUTPUT].revents && !copy_some(r->master, STDOUT_FILENO))
		r->master = -1;
	if (p[AT_INPUT].revents && r->master >= 0 && !copy_some(STDIN_FILENO, r->master))
		r->input = false;
	if (p[AT_SIGNALS].revents)
		pass_signals(p[AT_SIGNALS].fd, c, r->master);
}

static int relay_loop(const struct container *c, struct relay *r, int signals)
{
	for (bool ended = false;;) {
		struct pollfd p[AT_COUNT] = {
			[AT_END] = {.fd = ended ? -1 : c->pidfd, .events = POLLIN},
			[AT_SIGNALS] = {.fd = signals, .events = POLLIN},
			[AT_OUTPUT] = {.fd = r->master, .events = POLLIN},
			[AT_INPUT] = {.fd = r->input ? STDIN_FILENO : -1, .events = POLLIN},
		};

		/* After the end, what the terminal still holds is shown, and no more awaited. */
		if (poll(p, AT_COUNT, ended ? 0 : -1) < 0 && errno != EINTR)
			return -1;
		relay_turn(c, r, p);
		if (ended && !p[AT_OUTPUT].revents)
			return 0;
		ended |= p[AT_END].revents != 0;
		if (ended && r->master < 0)
			return 0;
	}
}

int supervise(const struct container *c, int master, struct err *e)
{
	auto_close int signals = -1;
	struct relay relay;
	sigset_t all, old;
	int status = 0, r;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return err_sys(e, "cannot wait for signals");
	relay_begin(&relay, master);
	r = relay_loop(c, &relay, signals);
	relay_end(&relay);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return err_sys(e, "cannot wait for the container");
	r = process_wait(c->pidfd, -1, &status, e);
	return r < 0 ? r : process_exit_code(status);
}
