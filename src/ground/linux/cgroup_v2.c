/*
 * cgroup v2: one directory; freezing, killing and device rules are core features of it. Joining is
 * clone3's CLONE_INTO_CGROUP, but for a container with a small memory limit, which is joined right
 * before exec as on v1 (a write to cgroup.procs is slow, but the set-up would not fit the limit).
 */
#include "ground/linux/cgroup_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>

#include "ground/linux/devices_bpf.h"

static int v2_join_self(struct cgroup *cg, bool in_clone_fd, struct err *e)
{
	int r = 0;

	assert(cg->n == 1 && cg->dirs[0].v2);
	if (in_clone_fd || cgroup_clone_fd(cg) < 0)
		return 0; /* there already, or late */
	r = cgroup_spit(cg->dirs[0].path, "cgroup.procs", "0", 1);
	errno = -r;
	return r < 0 ? err_sys(e, "cannot join the cgroup '%s'", cg->dirs[0].path) : 0;
}

static int v2_late_open(struct cgroup *cg, struct cgroup_late *ret, struct err *e)
{
	int fd = -1;

	assert(cg->n == 1);
	ret->fd = -1;
	if (cgroup_clone_fd(cg) >= 0)
		return 0;
	fd = cgroup_open_file(&cg->dirs[0], "cgroup.procs", O_WRONLY);
	errno = fd < 0 ? -fd : 0;
	if (fd < 0)
		return err_sys(e, "cannot open '%s/cgroup.procs' to join it", cg->dirs[0].path);
	ret->fd = fd;
	return 0;
}

static bool v2_frozen_now(const struct cgroup_dir *d)
{
	auto_strbuf struct strbuf b = {0};

	return cgroup_slurp(d->path, "cgroup.events", &b) == 0 &&
	       strstr(strbuf_text(&b), "frozen 1") != NULL;
}

/* cgroup.events polls with POLLPRI whenever a line of it changes. */
static int v2_freeze(struct cgroup *cg, bool freeze, int timeout_ms, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_FREEZER);
	auto_close int fd = -1;
	int r = 0;

	if (!d)
		return err_set(e, ERR_UNSUPPORTED, "cannot %s: the container has no cgroup",
			       freeze ? "pause" : "resume");
	fd = cgroup_open_file(d, "cgroup.events", O_RDONLY);
	r = fd < 0 ? fd : cgroup_spit(d->path, "cgroup.freeze", freeze ? "1" : "0", 1);
	errno = -r;
	if (r < 0)
		return err_sys(e, "cannot write '%d' to '%s/cgroup.freeze'", freeze, d->path);
	for (int waited = 0; waited <= timeout_ms; waited += 100) {
		struct pollfd p = {.fd = fd, .events = POLLPRI};
		char unused[256];

		if (v2_frozen_now(d) == freeze)
			return 0;
		(void)poll(&p, 1, 100);
		(void)!pread(fd, unused, sizeof unused, 0);
	}
	(void)cgroup_spit(d->path, "cgroup.freeze", "0", 1);
	return err_set(e, ERR_TIMEOUT, "the processes of '%s' did not stand still within %d ms",
		       d->path, timeout_ms);
}

/* Asked to freeze counts: a resume must be possible then too. */
static bool v2_is_frozen(struct cgroup *cg)
{
	auto_strbuf struct strbuf b = {0};
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_FREEZER);

	return d && cgroup_slurp(d->path, "cgroup.freeze", &b) == 0 &&
	       str_is(str_trim(strbuf_str(&b)), "1");
}

static int v2_kill(struct cgroup *cg, struct err *e)
{
	if (cgroup_spit(cg->dirs[0].path, "cgroup.kill", "1", 1) == 0)
		return 0;
	return cgroup_kill_listed(cg, e); /* before Linux 5.14, or gone */
}

static int v2_devices(struct cgroup *cg, const struct cgroup_device *rules, size_t n, struct err *e)
{
	return devices_bpf_replace(cg->dirs[0].path, rules, n, e);
}

static int v2_oom_open(struct cgroup *cg, int *ret_fd, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_MEMORY);
	auto_free char *path = NULL;
	auto_close int fd = -1;

	if (!d)
		return err_set(e, ERR_UNSUPPORTED,
			       "the cgroup controller 'memory' is not available here");
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0)
		return err_sys(e, "cannot make an inotify descriptor");
	if (asprintf(&path, "%s/memory.events", d->path) < 0)
		return err_set(e, ERR_EXHAUSTED, "out of memory");
	if (inotify_add_watch(fd, path, IN_MODIFY | IN_DELETE_SELF) < 0)
		return err_sys(e, "cannot watch '%s'", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

static uint64_t v2_oom_kills(struct cgroup *cg)
{
	uint64_t n = 0;

	return cgroup_read_key(cg, CGROUP_MEMORY, "memory.events", "oom_kill", &n) ? n : 0;
}

const struct cgroup_ops cgroup_ops_v2 = {
	.mode = CGROUP_MODE_V2,
	.join_self = v2_join_self,
	.late_open = v2_late_open,
	.freeze = v2_freeze,
	.is_frozen = v2_is_frozen,
	.kill = v2_kill,
	.devices = v2_devices,
	.oom_open = v2_oom_open,
	.oom_kills = v2_oom_kills,
};
