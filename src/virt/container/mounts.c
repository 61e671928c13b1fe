/*
 * The configuration's mounts, in its order. Each is made detached, given its attributes, and
 * attached to a descriptor found in the root (inroot.h): neither a link in the image nor a race
 * with a neighbour can move a mount elsewhere. A file system a user namespace may not make anew is
 * bound from the host.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/inroot.h"
#include "virt/container/copy_up.h"
#include "virt/container/job.h"
#include "virt/container/mount_options.h"

/* A destination below /proc, or a procfs elsewhere than /proc, would let an image fake /proc's
 * files. */
static int check_proc(const struct spec_mount *m, int target, struct err *e)
{
	static const char *const allowed[] = {"/proc/cpuinfo",
					      "/proc/diskstats",
					      "/proc/meminfo",
					      "/proc/stat",
					      "/proc/swaps",
					      "/proc/uptime",
					      "/proc/loadavg",
					      "/proc/slabinfo",
					      "/proc/net/dev",
					      "/proc/sys/kernel/ns_last_pid",
					      "/proc/sys/crypto/fips_enabled"};
	struct statfs s;

	if (fstatfs(target, &s) < 0)
		return err_sys(e, "cannot look at '%s'", m->destination);
	if (s.f_type != PROC_SUPER_MAGIC || !text_starts(m->destination, "/proc/"))
		return s.f_type == PROC_SUPER_MAGIC && !text_eq(m->destination, "/proc")
			       ? err_set(e, ERR_FORBIDDEN,
					 "mount '%s': it leads into the container's /proc",
					 m->destination)
			       : 0;
	for (size_t i = 0; i < array_len(allowed); i++)
		if (text_eq(m->destination, allowed[i]))
			return 0;
	if (m->type && text_eq(m->type, "bind") &&
	    text_starts(m->destination, "/proc/sys/fs/binfmt"))
		return 0;
	return err_set(e, ERR_FORBIDDEN, "mount '%s': nothing may be mounted inside /proc",
		       m->destination);
}

/* A volume that poses as /proc would receive what is written to /proc later. */
static int check_source(const struct spec_mount *m, int source, struct err *e)
{
	struct statfs s;

	if (!text_eq(m->destination, "/proc") && !text_eq(m->destination, "/proc/"))
		return 0;
	if (fstatfs(source, &s) < 0 || s.f_type != PROC_SUPER_MAGIC)
		return err_set(e, ERR_FORBIDDEN, "only a procfs may be mounted on /proc");
	return 0;
}

/* These two are what others trust by name: the name must be a directory, not a link to one. */
static int check_plain(const struct job *j, const struct spec_mount *m, struct err *e)
{
	auto_close int fd = -1;

	if (!text_eq(m->type, "proc") && !text_eq(m->type, "sysfs"))
		return 0;
	return inroot_open_nolinks(j->root, m->destination, O_PATH | O_DIRECTORY, &fd, e);
}

static int open_target(const struct job *j, const struct spec_mount *m, bool directory, int *ret,
		       struct err *e)
{
	int r = inroot_make(j->root, m->destination, directory, directory ? 0755 : 0644, ret, e);

	if (r < 0)
		return err_wrap(e, "mount point '%s'", m->destination);
	r = check_proc(m, *ret, e);
	if (r < 0)
		*ret = fd_close(*ret);
	return r;
}

static int apply_attributes(const struct mount_options *o, int mnt, bool whole, struct err *e)
{
	struct mount_change own = {.set = whole ? o->set : 0, .clear = whole ? o->clear : 0};
	struct mount_change below = {.set = o->rec_set, .clear = o->rec_clear, .recursive = true};
	int r = 0;

	if (own.set || own.clear)
		r = mount_change(mnt, &own, e);
	if (r == 0 && (below.set || below.clear))
		r = mount_change(mnt, &below, e);
	return r;
}

/* Propagation is told to the attached mount: a detached one has no peers yet. Private by default.
 */
static int apply_propagation(const struct mount_options *o, int mnt, struct err *e)
{
	struct mount_change c = {.propagation = o->propagation,
				 .recursive = o->propagation_recursive};

	return o->propagation ? mount_change(mnt, &c, e) : 0;
}

static int open_bind(const struct job *j, size_t i, const struct mount_options *o, int *ret,
		     struct err *e)
{
	const struct spec_mount *m = &j->s->mounts[i];
	const char *source = m->source ? m->source : "";

	if (j->sources && j->sources[i] >= 0) {
		*ret = fcntl(j->sources[i], F_DUPFD_CLOEXEC, 3);
		return *ret < 0 ? err_sys(e, "cannot keep a descriptor") : 0;
	}
	if (*source != '/')
		source = arena_printf(j->a, "%s/%s", j->o->bundle, source);
	return mount_clone(AT_FDCWD, source, o->recursive, true, ret, e);
}

static int make_bind(struct job *j, size_t i, const struct mount_options *o, struct err *e)
{
	const struct spec_mount *m = &j->s->mounts[i];
	auto_close int mnt = -1;
	auto_close int target = -1;
	struct stat s;
	int r = open_bind(j, i, o, &mnt, e);

	if (r < 0)
		return r;
	if (fstat(mnt, &s) < 0)
		return err_sys(e, "cannot look at '%s'", m->source);
	r = check_source(m, mnt, e);
	if (r < 0)
		return r;
	r = open_target(j, m, S_ISDIR(s.st_mode), &target, e);
	if (r == 0)
		r = apply_attributes(o, mnt, true, e);
	if (r == 0)
		r = mount_attach(mnt, target, e);
	return r < 0 ? r : apply_propagation(o, mnt, e);
}

/* Where a user namespace may not have its own: the host's, recursively, as the host shows it. */
static int bind_host(const struct mount_options *o, const char *path, int *ret, struct err *e)
{
	int r = mount_clone(AT_FDCWD, path, true, true, ret, e);

	return r < 0 ? r : apply_attributes(o, *ret, true, e);
}

/* devpts refuses a gid that the user namespace does not map; the terminal group is then nobody's.
 */
static void drop_gid(struct mount_options *o)
{
	for (size_t i = 0; i < o->data_n; i++)
		if (text_eq(o->data[i].key, "gid"))
			o->data[i] = o->data[--o->data_n];
}

static int make_detached(const struct job *j, const struct spec_mount *m, struct mount_options *o,
			 int *ret, struct err *e)
{
	uint64_t attrs = o->set;
	int r = mount_new(m->type, m->source, o->data, o->data_n, attrs, ret, e);

	if (r == 0 || !j->userns)
		return r;
	if (text_eq(m->type, "devpts") && r == -ERR_INVALID) {
		drop_gid(o);
		err_clear(e);
		r = mount_new(m->type, m->source, o->data, o->data_n, attrs, ret, e);
	} else if (r == -ERR_FORBIDDEN && text_eq(m->type, "sysfs")) {
		err_clear(e);
		r = bind_host(o, "/sys", ret, e);
	} else if (r == -ERR_FORBIDDEN && text_eq(m->type, "mqueue")) {
		err_clear(e);
		r = bind_host(o, "/dev/mqueue", ret, e);
	}
	return r;
}

static int make_new(struct job *j, const struct spec_mount *m, struct mount_options *o,
		    struct err *e)
{
	auto_close int mnt = -1;
	auto_close int target = -1;
	bool late_readonly = o->copy_up && (o->set & MOUNT_ATTR_RDONLY);
	struct mount_change readonly = {.set = MOUNT_ATTR_RDONLY};
	int r = open_target(j, m, true, &target, e);

	if (late_readonly)
		o->set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	if (r == 0)
		r = check_plain(j, m, e);
	if (r == 0)
		r = make_detached(j, m, o, &mnt, e);
	if (r == 0)
		r = check_source(m, mnt, e);
	if (r == 0 && o->copy_up)
		r = copy_up(target, mnt, e);
	if (r == 0 && late_readonly)
		r = mount_change(mnt, &readonly, e);
	if (r == 0)
		r = apply_attributes(o, mnt, false, e);
	if (r == 0)
		r = mount_attach(mnt, target, e);
	return r < 0 ? r : apply_propagation(o, mnt, e);
}

/* The tmpfs of a v1 layout. It is new and nobody else's: its entries are made by plain name. */
static int cgroup_top(struct job *j, const struct spec_mount *m, const struct mount_options *o,
		      int *ret, struct err *e)
{
	static const struct mount_option small[] = {{"mode", "755"}};
	auto_close int target = -1;
	int r = open_target(j, m, true, &target, e);

	if (r == 0)
		r = mount_new("tmpfs", "tmpfs", small, array_len(small),
			      o->set & ~(uint64_t)MOUNT_ATTR_RDONLY, ret, e);
	return r < 0 ? r : mount_attach(*ret, target, e);
}

static int cgroup_bind(struct job *j, const struct spec_mount *m, const struct mount_options *o,
		       const struct cgroup_mount *step, int top, struct err *e)
{
	auto_close int mnt = -1;
	auto_close int target = -1;
	int r = 0;

	if (!*step->name) {
		r = open_target(j, m, true, &target, e);
	} else {
		if (mkdirat(top, step->name, 0755) == 0 || errno == EEXIST)
			target = openat(top, step->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (target < 0)
			r = err_sys(e, "cannot make '%s/%s'", m->destination, step->name);
	}
	if (r == 0)
		r = mount_clone(AT_FDCWD, step->source, false, true, &mnt, e);
	if (r == 0)
		r = apply_attributes(o, mnt, true, e);
	return r < 0 ? r : mount_attach(mnt, target, e);
}

static int cgroup_step(struct job *j, const struct spec_mount *m, const struct mount_options *o,
		       const struct cgroup_mount *step, int *top, struct err *e)
{
	switch (step->kind) {
	case CGROUP_MOUNT_TMPFS:
		return cgroup_top(j, m, o, top, e);
	case CGROUP_MOUNT_BIND:
		return cgroup_bind(j, m, o, step, *top, e);
	case CGROUP_MOUNT_SYMLINK:
		if (symlinkat(step->source, *top, step->name) < 0 && errno != EEXIST)
			return err_sys(e, "cannot link '%s'", step->name);
		return 0;
	}
	return err_set(e, ERR_INTERNAL, "unknown step %d", (int)step->kind);
}

static int make_cgroup(struct job *j, const struct spec_mount *m, const struct mount_options *o,
		       struct err *e)
{
	struct cgroup_mount_plan *plan = arena_new(j->a, struct cgroup_mount_plan);
	struct mount_change readonly = {.set = MOUNT_ATTR_RDONLY};
	auto_close int top = -1;
	int r = job_join_cgroup(j, e);

	if (r < 0)
		return r;
	cgroup_mount_plan(j->cgroup, plan);
	for (size_t i = 0; r == 0 && i < plan->n; i++)
		r = cgroup_step(j, m, o, &plan->steps[i], &top, e);
	if (r == 0 && top >= 0 && (o->set & MOUNT_ATTR_RDONLY))
		r = mount_change(top, &readonly, e);
	cgroup_mount_plan_done(plan);
	return r;
}

static int make_one(struct job *j, size_t i, struct err *e)
{
	const struct spec_mount *m = &j->s->mounts[i];
	struct mount_options *o = arena_new(j->a, struct mount_options);
	int r = mount_options_parse(m, j->a, o, e);

	if (r < 0)
		return r;
	if (o->bind)
		r = make_bind(j, i, o, e);
	else if (!m->type)
		r = err_set(e, ERR_INVALID, "type is missing");
	else if (text_eq(m->type, "cgroup") || text_eq(m->type, "cgroup2"))
		r = make_cgroup(j, m, o, e);
	else
		r = make_new(j, m, o, e);
	return r < 0 ? err_wrap(e, "mount '%s'", m->destination) : 0;
}

int mounts_make(struct job *j, struct err *e)
{
	assert(j->root >= 0);
	for (size_t i = 0; i < j->s->mounts_n; i++) {
		int r = make_one(j, i, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int bind_one(struct job *j, const struct container_bind *b, struct err *e)
{
	struct mount_change readonly = {.set = MOUNT_ATTR_RDONLY};
	auto_close int mnt = -1;
	auto_close int target = -1;
	struct stat s;
	int r = 0;

	assert(b->target && *b->target == '/');
	assert(b->fd >= 0 || b->source);

	if (b->fd >= 0)
		mnt = fcntl(b->fd, F_DUPFD_CLOEXEC, 3);
	else
		r = mount_clone(AT_FDCWD, b->source, true, true, &mnt, e);
	if (r < 0)
		return r;
	if (fstat(mnt, &s) < 0)
		return err_sys(e, "cannot look at the source");
	r = inroot_make(j->root, b->target, S_ISDIR(s.st_mode), 0755, &target, e);
	if (r == 0 && b->readonly)
		r = mount_change(mnt, &readonly, e);
	return r < 0 ? r : mount_attach(mnt, target, e);
}

int mounts_make_binds(struct job *j, struct err *e)
{
	for (size_t i = 0; i < j->o->binds_n; i++)
		if (bind_one(j, &j->o->binds[i], e) < 0)
			return err_wrap(e, "mount '%s'", j->o->binds[i].target);
	return 0;
}
