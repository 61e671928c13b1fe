/*
 * The root: from a directory, from layers, or from a mount made outside; attached in the
 * container's own mount namespace, filled (mounts.c, device.c, mask.c), and pivoted into.
 * Everything goes by the root's descriptor: from root_prepare on no path of the container is
 * resolved from outside.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/inroot.h"
#include "ground/linux/mount.h"
#include "virt/container/job.h"

/* From <linux/fs.h>'s MS_*, which <sys/mount.h> hides behind its own. */
#define PROPAGATE_UNBINDABLE (1u << 17)
#define PROPAGATE_PRIVATE    (1u << 18)
#define PROPAGATE_SLAVE	     (1u << 19)
#define PROPAGATE_SHARED     (1u << 20)

static const struct propagation {
	const char *name;
	uint64_t type;
	bool recursive;
} propagations[] = {
	{"private", PROPAGATE_PRIVATE, false},	     {"rprivate", PROPAGATE_PRIVATE, true},
	{"slave", PROPAGATE_SLAVE, false},	     {"rslave", PROPAGATE_SLAVE, true},
	{"shared", PROPAGATE_SHARED, false},	     {"rshared", PROPAGATE_SHARED, true},
	{"unbindable", PROPAGATE_UNBINDABLE, false}, {"runbindable", PROPAGATE_UNBINDABLE, true},
};

static const struct propagation *find_propagation(const char *name)
{
	for (size_t i = 0; i < array_len(propagations); i++)
		if (text_eq(propagations[i].name, name))
			return &propagations[i];
	return NULL;
}

/*
 * What happens in the container must not happen on the host: the whole tree becomes a slave, also
 * where the configuration wants "shared" (that is for the root as seen by mounts below it:
 * root_finish).
 */
static int detach_propagation(const struct job *j, struct err *e)
{
	const struct propagation *p = find_propagation(j->s->os.rootfs_propagation);
	struct mount_change c = {.propagation = PROPAGATE_SLAVE, .recursive = true};
	auto_close int top = open("/", O_PATH | O_CLOEXEC);

	if (j->s->os.rootfs_propagation && !p)
		return err_set(e, ERR_INVALID, "linux.rootfsPropagation: unknown value '%s'",
			       j->s->os.rootfs_propagation);
	if (p && p->type == PROPAGATE_PRIVATE)
		c.propagation = PROPAGATE_PRIVATE;
	if (top < 0)
		return err_sys(e, "cannot open '/'");
	if (mount_change(top, &c, e) < 0)
		return err_wrap(e, "separating the mounts from the host's");
	return 0;
}

static int make_source(const struct job *j, int *ret, struct err *e)
{
	const struct container_overlay *v = j->o->overlay;
	struct stat s;

	if (j->root_source >= 0) {
		*ret = fcntl(j->root_source, F_DUPFD_CLOEXEC, 3);
		return *ret < 0 ? err_sys(e, "cannot keep the root's descriptor") : 0;
	}
	if (v)
		return mount_new_overlay(v->lower, v->upper, v->work, j->userns, ret, e);
	if (!j->rootfs)
		return err_set(e, ERR_INVALID, "root.path: missing");
	if (lstat(j->rootfs, &s) < 0)
		return err_sys(e, "root.path: cannot open '%s'", j->rootfs);
	if (S_ISLNK(s.st_mode))
		return err_set(e, ERR_FORBIDDEN, "root.path: '%s' is a symbolic link", j->rootfs);
	if (!S_ISDIR(s.st_mode))
		return err_set(e, ERR_INVALID, "root.path: '%s' is not a directory", j->rootfs);
	return mount_clone(AT_FDCWD, j->rootfs, true, false, ret, e);
}

int root_prepare(struct job *j, struct err *e)
{
	/* pivot_root wants the root mounted somewhere: a directory over itself, layers over the
	 * bundle. */
	const char *at = j->rootfs ? j->rootfs : j->o->bundle;
	auto_close int source = -1;
	auto_close int target = -1;
	struct mount_change own = {.propagation = PROPAGATE_PRIVATE};
	int r = detach_propagation(j, e);

	if (r < 0 || (r = make_source(j, &source, e)) < 0)
		return r;
	target = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target < 0)
		return err_sys(e, "cannot open '%s'", at);
	r = mount_attach(source, target, e);
	if (r == 0)
		r = mount_change(source, &own, e);
	if (r < 0)
		return err_wrap(e, "mounting the root at '%s'", at);
	j->root = take_fd(&source);
	return 0;
}

/* The working directory is made where it is missing: images name directories they do not hold. */
static int make_cwd(const struct job *j, struct err *e)
{
	const char *cwd = j->launch.p->cwd;
	auto_close int fd = -1;

	if (inroot_open(j->root, cwd, O_PATH, 0, &fd, NULL) == 0)
		return 0;
	/* On a read-only or foreign root this fails: entering the directory then says why. */
	if (inroot_make(j->root, cwd, true, 0755, &fd, e) < 0)
		err_clear(e);
	return 0;
}

static int finish_attributes(const struct job *j, struct err *e)
{
	const struct propagation *p = find_propagation(j->s->os.rootfs_propagation);
	bool readonly = j->o->overlay ? j->o->overlay->readonly || j->s->root.readonly
				      : j->s->root.readonly;
	struct mount_change c = {.set = readonly ? (uint64_t)MOUNT_ATTR_RDONLY : 0};
	int r = 0;

	if (readonly)
		r = mount_change(j->root, &c, e);
	if (r == 0 && p && (p->type == PROPAGATE_SHARED || p->type == PROPAGATE_UNBINDABLE)) {
		c = (struct mount_change){.propagation = p->type, .recursive = p->recursive};
		r = mount_change(j->root, &c, e);
	}
	return r < 0 ? err_wrap(e, "finishing the root") : 0;
}

int root_finish(struct job *j, struct err *e)
{
	int r;

	assert(j->root >= 0);
	r = make_cwd(j, e);

	if (r == 0)
		r = masks_apply(j, e);
	if (r == 0)
		r = finish_attributes(j, e);
	if (r == 0)
		r = j->o->no_pivot ? mount_move_root(j->root, e) : mount_pivot(j->root, e);
	return r;
}
