/*
 * Pipes for standard streams: see stdio.h.
 */
#include "virt/keeper/stdio.h"

#include <fcntl.h>
#include <unistd.h>

#include "ground/base/own.h"

static int make_one(bool piped, bool is_input, int *ours, int *theirs, struct err *e)
{
	int ends[2];

	*ours = -1;
	if (!piped) {
		*theirs = open("/dev/null", (is_input ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
		return *theirs < 0 ? err_sys(e, "cannot open '/dev/null'") : 0;
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "cannot make a pipe for a standard stream");
	*ours = ends[is_input];
	*theirs = ends[!is_input];
	return 0;
}

int stdio_make(bool input, bool output, int ours[3], int theirs[3], struct err *e)
{
	int r;

	for (int i = 0; i < 3; i++)
		ours[i] = theirs[i] = -1;
	r = make_one(input, true, &ours[0], &theirs[0], e);
	for (int i = 1; i < 3 && r == 0; i++)
		r = make_one(output, false, &ours[i], &theirs[i], e);
	if (r < 0) {
		stdio_close(ours);
		stdio_close(theirs);
	}
	return r;
}

void stdio_close(int fds[3])
{
	for (int i = 0; i < 3; i++)
		fds[i] = fd_close(fds[i]);
}
