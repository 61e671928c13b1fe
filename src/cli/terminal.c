/* Raw mode and size of the user's terminal: see terminal.h. */
#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct {
	struct termios before;
	int fd;
	volatile bool raw;
} term = {.fd = -1};

bool terminal_is(int fd)
{
	return isatty(fd) == 1;
}

int terminal_raw(int fd, struct err *e)
{
	struct termios raw;

	if (tcgetattr(fd, &term.before) < 0)
		return err_sys(e, "cannot read the terminal's settings");
	raw = term.before;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
		return err_sys(e, "cannot set the terminal to raw mode");
	term.fd = fd;
	term.raw = true;
	return 0;
}

void terminal_restore(void)
{
	if (!term.raw)
		return;
	term.raw = false;
	(void)tcsetattr(term.fd, TCSADRAIN, &term.before);
}

void terminal_size(int fd, unsigned int *ret_rows, unsigned int *ret_columns)
{
	struct winsize ws = {0};

	if (ioctl(fd, TIOCGWINSZ, &ws) < 0 || ws.ws_row == 0 || ws.ws_col == 0) {
		*ret_rows = 24;
		*ret_columns = 80;
		return;
	}
	*ret_rows = ws.ws_row;
	*ret_columns = ws.ws_col;
}
