/* See terminal.h. */
#include "terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

static const int passed[] = {SIGTERM, SIGINT,  SIGHUP,	SIGQUIT, SIGUSR1,
			     SIGUSR2, SIGCONT, SIGALRM, SIGWINCH};

void terminal_prepare(struct guest_start *start)
{
	struct termios raw;
	struct winsize ws = {0};

	if (!start->tty)
		return;
	if (tcgetattr(0, &raw) == 0) {
		cfmakeraw(&raw);
		(void)tcsetattr(0, TCSANOW, &raw);
	}
	if (ioctl(0, TIOCGWINSZ, &ws) == 0 && ws.ws_row > 0) {
		start->rows = ws.ws_row;
		start->columns = ws.ws_col;
	}
}

int terminal_signals(struct err *e)
{
	sigset_t mask;
	int fd;

	(void)sigemptyset(&mask);
	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		(void)sigaddset(&mask, passed[i]);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_CLOEXEC);
	return fd < 0 ? err_sys(e, "cannot watch signals") : fd;
}
