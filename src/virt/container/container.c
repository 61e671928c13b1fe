/*
 * What is done to a container that exists: through the gate, signals, freezing, the end.
 */
#include "virt/container/container.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/process.h"
#include "virt/container/note.h"

#define FREEZE_TIMEOUT_MS 10000

/* The word, then silence until exec closes the socket; or the reason why it did not. */
static int pass_gate(int gate, struct err *e)
{
	struct note n;
	int r;

	n.type = NOTE_END;
	r = note_send(gate, NOTE_START, NULL, 0, NULL, 0, e);

	if (r == -ERR_UNAVAILABLE)
		return err_set(e, ERR_GONE, "the container's process has ended");
	if (r == 0)
		r = note_recv(gate, &n, e);
	if (r < 0)
		return r;
	if (n.type != NOTE_END)
		return err_set(e, ERR_INTERNAL, "note %u came from the gate", n.type);
	return 0;
}

int container_start(struct container *c, struct err *e)
{
	int r;

	assert(c->pid > 0 && c->pidfd >= 0);
	if (c->gate < 0)
		return err_set(e, ERR_CONFLICT, "the container was started already");
	r = pass_gate(c->gate, e);
	c->gate = fd_close(c->gate);
	return r;
}

int container_start_at(int dirfd, const char *path, struct err *e)
{
	auto_close int gate = -1;
	int r = fdpass_connect(dirfd, path, SOCK_SEQPACKET, &gate, e);

	if (r == -ERR_UNAVAILABLE)
		return err_set(e, ERR_GONE, "the container's process has ended");
	return r < 0 ? r : pass_gate(gate, e);
}

void container_done(struct container *c)
{
	c->pidfd = fd_close(c->pidfd);
	c->gate = fd_close(c->gate);
	c->console = fd_close(c->console);
	c->cgroup = cgroup_free(c->cgroup);
	*c = (struct container)CONTAINER_INIT;
}

int container_kill(struct container *c, int sig, bool all, struct err *e)
{
	assert(sig > 0);
	assert(c->pidfd >= 0);
	if (all && c->cgroup)
		return sig == SIGKILL ? cgroup_kill(c->cgroup, e)
				      : cgroup_signal(c->cgroup, sig, e);
	return process_signal(c->pidfd, sig, e);
}

int container_pause(struct container *c, struct err *e)
{
	assert(c->cgroup);
	return cgroup_freeze(c->cgroup, true, FREEZE_TIMEOUT_MS, e);
}

int container_resume(struct container *c, struct err *e)
{
	assert(c->cgroup);
	return cgroup_freeze(c->cgroup, false, FREEZE_TIMEOUT_MS, e);
}

int container_delete(struct container *c, int timeout_ms, struct err *e)
{
	return cgroup_end(c->cgroup, timeout_ms, e);
}

int container_exit_code(const struct err *e)
{
	if (e->kind == ERR_NONE)
		return 0;
	if (strstr(e->text, "cannot execute '") || strstr(e->text, "executable file not found"))
		return e->kind == ERR_NOT_FOUND ? 127 : 126;
	return 125;
}
