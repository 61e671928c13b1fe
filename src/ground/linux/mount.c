/*
 * Mounts by descriptor: see mount.h. The only file that calls the mount system calls.
 */
#include "ground/linux/mount.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

/* <sys/mount.h> and <linux/mount.h> of Debian 12 cannot be included together. */
extern int mount(const char *source, const char *target, const char *type, unsigned long flags,
		 const void *data);
extern int umount2(const char *target, int flags);
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
#ifndef MS_MOVE
#define MS_MOVE 8192
#endif

static int sys_move_mount(int from, int to)
{
	return (int)syscall(SYS_move_mount, from, "", to, "",
			    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int sys_fsconfig(int fs, unsigned int cmd, const char *key, const char *value, int aux)
{
	return (int)syscall(SYS_fsconfig, fs, cmd, key, value, aux);
}

int mount_clone(int dirfd, const char *path, bool recursive, bool follow, int *ret, struct err *e)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	int fd;

	assert(path && ret);
	flags |= recursive ? (unsigned int)AT_RECURSIVE : 0;
	flags |= follow ? 0 : (unsigned int)AT_SYMLINK_NOFOLLOW;
	flags |= *path ? 0 : (unsigned int)AT_EMPTY_PATH;
	fd = (int)syscall(SYS_open_tree, dirfd, path, flags);
	if (fd < 0)
		return err_sys(e, "cannot clone the mount of '%s'", path);
	*ret = fd;
	return 0;
}

/* The kernel explains refused options as lines in the context's own log: "e overlay: ...". */
static int fs_error(int fs, const char *fstype, const char *what, struct err *e)
{
	int sys = errno;
	char line[512];
	ssize_t n = read(fs, line, sizeof(line) - 1);

	errno = sys;
	if (n <= 2)
		return err_sys(e, "cannot mount a new %s (%s)", fstype, what);
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return err_sys(e, "cannot mount a new %s (%s; the kernel says '%s')", fstype, what,
		       line + 2);
}

static int fs_open(const char *fstype, int *ret, struct err *e)
{
	int fs = (int)syscall(SYS_fsopen, fstype, FSOPEN_CLOEXEC);

	if (fs < 0 && errno == ENODEV)
		return err_set(e, ERR_UNSUPPORTED, "the kernel has no file system '%s'", fstype);
	if (fs < 0)
		return err_sys(e, "cannot open the file system '%s'", fstype);
	*ret = fs;
	return 0;
}

static int fs_finish(int fs, const char *fstype, uint64_t attrs, int *ret, struct err *e)
{
	int mnt;

	if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_error(fs, fstype, "creating it", e);
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, (unsigned int)attrs);
	if (mnt < 0)
		return fs_error(fs, fstype, "making the mount", e);
	*ret = mnt;
	return 0;
}

int mount_new(const char *fstype, const char *what, const struct mount_option *options, size_t n,
	      uint64_t attrs, int *ret, struct err *e)
{
	auto_close int fs = -1;
	int r = fs_open(fstype, &fs, e);

	if (r < 0)
		return r;
	if (what && *what && sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", what, 0) < 0)
		return fs_error(fs, fstype, "setting the source", e);
	for (size_t i = 0; i < n; i++) {
		const char *v = options[i].value;
		unsigned int cmd = v ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

		if (sys_fsconfig(fs, cmd, options[i].key, v, 0) < 0)
			return fs_error(fs, fstype, options[i].key, e);
	}
	return fs_finish(fs, fstype, attrs, ret, e);
}

static int overlay_dir(int fs, const char *key, const char *path, struct err *e)
{
	auto_close int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "cannot open the layer '%s'", path);
	/* Descriptors since Linux 6.13; before that a path, of which fsconfig takes 255 bytes. */
	if (sys_fsconfig(fs, FSCONFIG_SET_FD, key, NULL, fd) == 0 ||
	    sys_fsconfig(fs, FSCONFIG_SET_STRING, key, path, 0) == 0)
		return 0;
	return fs_error(fs, "overlay", key, e);
}

int mount_new_overlay(char *const *lower, const char *upper, const char *work, bool in_userns,
		      int *ret, struct err *e)
{
	auto_close int fs = -1;
	int r = fs_open("overlay", &fs, e);

	if (r < 0)
		return r;
	assert(lower && lower[0]);
	assert(!upper == !work);
	(void)sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", "overlay", 0);
	for (size_t i = 0; lower[i]; i++) {
		r = overlay_dir(fs, "lowerdir+", lower[i], e);
		if (r < 0)
			return r;
	}
	if (upper && ((r = overlay_dir(fs, "upperdir", upper, e)) < 0 ||
		      (r = overlay_dir(fs, "workdir", work, e)) < 0))
		return r;
	if (in_userns && sys_fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0)
		return fs_error(fs, "overlay", "userxattr", e);
	return fs_finish(fs, "overlay", 0, ret, e);
}

int mount_attach(int mnt, int target, struct err *e)
{
	if (sys_move_mount(mnt, target) < 0)
		return err_sys(e, "cannot attach the mount");
	return 0;
}

int mount_change(int mnt, const struct mount_change *c, struct err *e)
{
	struct mount_attr attr = {
		.attr_set = c->set, .attr_clr = c->clear, .propagation = c->propagation};
	unsigned int flags = AT_EMPTY_PATH | (c->recursive ? AT_RECURSIVE : 0);

	if (c->idmap) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)c->userns_fd;
	}
	/* The access-time settings are one field: changing one means clearing all of it. */
	if ((c->set | c->clear) & MOUNT_ATTR__ATIME) {
		attr.attr_clr |= MOUNT_ATTR__ATIME;
		attr.attr_set &= ~(c->clear & (uint64_t)MOUNT_ATTR__ATIME) | c->set;
	}
	if (syscall(SYS_mount_setattr, mnt, "", flags, &attr, sizeof(attr)) < 0)
		return err_sys(e, "cannot change the mount's attributes");
	return 0;
}

int mount_pivot(int root, struct err *e)
{
	if (fchdir(root) < 0)
		return err_sys(e, "cannot enter the new root");
	/* With both names the same the old root lands on top of the new: pivot_root(2), NOTES. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, "cannot pivot to the new root%s",
			       errno == EINVAL ? " (on an initramfs, ask for no pivot)" : "");
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "cannot leave the old root");
	if (chdir("/") < 0)
		return err_sys(e, "cannot enter '/'");
	return 0;
}

int mount_move_root(int root, struct err *e)
{
	if (fchdir(root) < 0)
		return err_sys(e, "cannot enter the new root");
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
		return err_sys(e, "cannot move the new root over '/'");
	if (chroot(".") < 0 || chdir("/") < 0)
		return err_sys(e, "cannot enter '/'");
	return 0;
}
