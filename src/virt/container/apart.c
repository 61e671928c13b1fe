/*
 * Preparation apart: the forked child does all and hands back a pid, three descriptors and the
 * cgroup as text. The caller is made a subreaper, so that the container's process becomes its child
 * when the forked child ends. The answer is awaited without a word of it touching the heap.
 */
#include "virt/container/apart.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/namespace.h"
#include "virt/container/note.h"

struct made {
	pid_t pid;
	uint64_t start_time;
	bool has_gate, has_console;
	char cgroup[]; /* to the note's end */
};

static int tell(int sock, const struct container *c, struct err *e)
{
	struct made m = {.pid = c->pid,
			 .start_time = c->start_time,
			 .has_gate = c->gate >= 0,
			 .has_console = c->console >= 0};
	auto_strbuf struct strbuf b = {0};
	int fds[3] = {c->pidfd};
	size_t n = 1;

	if (m.has_gate)
		fds[n++] = c->gate;
	if (m.has_console)
		fds[n++] = c->console;
	strbuf_add(&b, &m, sizeof(m));
	cgroup_save(c->cgroup, &b);
	if (b.n > NOTE_BYTES_MAX)
		return err_set(e, ERR_INVALID, "linux.cgroupsPath is too long");
	return note_send(sock, NOTE_MADE, b.p, b.n, fds, n, e);
}

static _Noreturn void child_run(const struct container_order *o, int sock)
{
	struct container c = CONTAINER_INIT;
	struct err e = {0};
	int r = container_create_here(o, &c, &e);

	if (r == 0)
		r = tell(sock, &c, &e);
	if (r < 0)
		note_send_error(sock, &e);
	_exit(r < 0);
}

static int hear(const struct note *n, struct container *ret, struct err *e)
{
	struct container c = CONTAINER_INIT;
	struct made m;
	size_t at = 1;
	int r;

	assert(n->n >= sizeof(m) && n->fds_n >= 1);
	memcpy(&m, n->bytes, sizeof(m));
	r = cgroup_load((struct str){n->bytes + sizeof(m), n->n - sizeof(m)}, &c.cgroup, e);
	c.pid = m.pid;
	c.start_time = m.start_time;
	c.pidfd = n->fds[0];
	if (m.has_gate && at < n->fds_n)
		c.gate = n->fds[at++];
	if (m.has_console && at < n->fds_n)
		c.console = n->fds[at++];
	if (r < 0) {
		container_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

int apart_create(const struct container_order *o, struct container *ret, struct err *e)
{
	int pair[2] = {-1, -1};
	struct note n;
	pid_t pid;
	int r;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, "cannot become a subreaper");
	n.n = 0; /* not the bytes: they would be pages of a small process */
	n.fds_n = 0;
	r = fdpass_pair(SOCK_SEQPACKET, pair, e);
	if (r == 0)
		r = namespace_clone(0, -1, &pid, NULL, e);
	if (r == 0 && pid == 0) {
		pair[0] = fd_close(pair[0]);
		child_run(o, pair[1]);
	}
	pair[1] = fd_close(pair[1]);
	if (r == 0) {
		r = note_expect(pair[0], NOTE_MADE, &n, e);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	pair[0] = fd_close(pair[0]);
	return r < 0 ? r : hear(&n, ret, e);
}
