/*
 * Masked and read-only paths. A masked file is covered by /dev/null, proven to be character device
 * 1:3 by its descriptor; a masked directory by one empty read-only tmpfs that all masks share. A
 * path that does not exist needs no mask. Everything is resolved in the root and mounted onto
 * descriptors.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/inroot.h"
#include "ground/linux/mount.h"
#include "virt/container/job.h"

struct covers {
	int null;  /* /dev/null, O_PATH */
	int empty; /* a read-only tmpfs */
};

static int open_null(int *ret, struct err *e)
{
	auto_close int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat s;

	if (fd < 0)
		return err_sys(e, "cannot open '/dev/null'");
	if (fstat(fd, &s) < 0 || !S_ISCHR(s.st_mode) || s.st_rdev != makedev(1, 3))
		return err_set(e, ERR_FORBIDDEN, "'/dev/null' is not the null device");
	*ret = take_fd(&fd);
	return 0;
}

/* The first masked directory gets the tmpfs itself, which is attached then and can be cloned. */
static int cover_directory(struct covers *c, int target, struct err *e)
{
	static const struct mount_option small[] = {{"size", "4k"}, {"mode", "0755"}};
	auto_close int copy = -1;
	int r;

	if (c->empty < 0) {
		r = mount_new("tmpfs", "tmpfs", small, array_len(small), MOUNT_ATTR_RDONLY,
			      &c->empty, e);
		return r < 0 ? r : mount_attach(c->empty, target, e);
	}
	r = mount_clone(c->empty, "", false, false, &copy, e);
	return r < 0 ? r : mount_attach(copy, target, e);
}

static int cover_file(struct covers *c, int target, struct err *e)
{
	auto_close int copy = -1;
	int r = 0;

	if (c->null < 0)
		r = open_null(&c->null, e);
	if (r == 0)
		r = mount_clone(c->null, "", false, false, &copy, e);
	return r < 0 ? r : mount_attach(copy, target, e);
}

static int mask_one(struct job *j, struct covers *c, const char *path, struct err *e)
{
	auto_close int target = -1;
	struct stat s;
	int r = inroot_open(j->root, path, O_PATH, 0, &target, e);

	/* ENOTDIR and EACCES: nothing that a process inside could reach either. */
	if (r < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
		return 0;
	if (r < 0)
		return r;
	if (fstat(target, &s) < 0)
		return err_sys(e, "cannot look at '%s'", path);
	return S_ISDIR(s.st_mode) ? cover_directory(c, target, e) : cover_file(c, target, e);
}

static int protect_one(struct job *j, const char *path, struct err *e)
{
	struct mount_change readonly = {.set = MOUNT_ATTR_RDONLY, .recursive = true};
	auto_close int target = -1;
	auto_close int copy = -1;
	int r = inroot_open(j->root, path, O_PATH, 0, &target, e);

	if (r < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
		return 0;
	if (r < 0 || (r = mount_clone(target, "", true, false, &copy, e)) < 0)
		return r;
	r = mount_change(copy, &readonly, e);
	return r < 0 ? r : mount_attach(copy, target, e);
}

int masks_apply(struct job *j, struct err *e)
{
	struct covers c = {-1, -1};
	int r = 0;

	assert(j->root >= 0);

	for (char **p = j->s->os.readonly_paths; r == 0 && p && *p; p++) {
		r = protect_one(j, *p, e);
		if (r < 0)
			r = err_wrap(e, "linux.readonlyPaths: '%s'", *p);
	}
	for (char **p = j->s->os.masked_paths; r == 0 && p && *p; p++) {
		r = mask_one(j, &c, *p, e);
		if (r < 0)
			r = err_wrap(e, "linux.maskedPaths: '%s'", *p);
	}
	(void)fd_close(c.null);
	(void)fd_close(c.empty);
	return r;
}
