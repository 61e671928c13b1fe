/*
 * Pseudo terminals: see pty.h. The slave is opened with TIOCGPTPEER (Linux 4.13): a swapped
 * /dev/pts/N cannot be mistaken for it.
 */
#include "ground/linux/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "ground/base/own.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

int pty_open(int devpts, int *ret_master, int *ret_slave, struct err *e)
{
	auto_close int master = -1;
	auto_close int slave = -1;
	struct stat mine, theirs;
	struct statfs s;
	int unlock = 0;

	if (fstatfs(devpts, &s) < 0 || s.f_type != DEVPTS_SUPER_MAGIC)
		return err_set(e, ERR_INVALID, "the container has no devpts for a terminal");
	master = openat(devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
	if (master < 0)
		return err_sys(e, "cannot open a terminal");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, "cannot unlock the terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(e, "cannot open the terminal's other end");
	if (fstat(devpts, &mine) < 0 || fstat(slave, &theirs) < 0 || mine.st_dev != theirs.st_dev ||
	    !S_ISCHR(theirs.st_mode))
		return err_set(e, ERR_FORBIDDEN, "the terminal is not of the container's devpts");
	*ret_master = take_fd(&master);
	*ret_slave = take_fd(&slave);
	return 0;
}

int pty_resize(int master, uint32_t rows, uint32_t columns, struct err *e)
{
	struct winsize w = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

	if (rows > UINT16_MAX || columns > UINT16_MAX)
		return err_set(e, ERR_INVALID, "a terminal of %u x %u is too large", columns, rows);
	if (ioctl(master, TIOCSWINSZ, &w) < 0)
		return err_sys(e, "cannot resize the terminal");
	return 0;
}

int pty_adopt(int slave, struct err *e)
{
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_sys(e, "cannot take the terminal");
	for (int i = 0; i < 3; i++)
		if (dup3(slave, i, 0) < 0 && errno != EINVAL)
			return err_sys(e, "cannot put the terminal on descriptor %d", i);
	return 0;
}
