/*
 * Copying a tree by descriptor: directories, files (shared or copied by the kernel), symbolic links
 * as they are, devices, fifos; owners, modes, times and extended attributes; hard links within the
 * tree stay hard links. Nothing is ever followed. Sockets are left out: nobody listens to a copy.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/volume/volume_priv.h"

#define DEPTH_MAX	256
#define XATTR_NAMES_MAX 65536
#define XATTR_VALUE_MAX 65536
#define CHUNK_BYTES	(1 << 30)

struct copy {
	int top;	  /* of the destination */
	struct map links; /* "dev:ino" of files with several names -> destination path */
};

/* ---- attributes ---- */

static int copy_xattrs(int src, int dst, const char *name, struct err *e)
{
	char names[XATTR_NAMES_MAX];
	ssize_t n = flistxattr(src, names, sizeof(names));
	auto_free char *value = NULL;

	if (n < 0 && (errno == ENOTSUP || errno == ENOSYS))
		return 0;
	if (n < 0)
		return err_sys(e, "cannot list the attributes of '%s'", name);
	value = mem_new_bytes(XATTR_VALUE_MAX, 1);
	for (const char *at = names; at < names + n; at += strlen(at) + 1) {
		ssize_t len;

		if (text_starts(at, "trusted.overlay.") || text_starts(at, "user.overlay."))
			continue;
		len = fgetxattr(src, at, value, XATTR_VALUE_MAX);
		if (len >= 0 && fsetxattr(dst, at, value, (size_t)len, 0) < 0 && errno != ENOTSUP)
			return err_sys(e, "cannot set attribute '%s' of '%s'", at, name);
	}
	return 0;
}

static int copy_attributes(int src, int dst, const struct stat *st, const char *name, struct err *e)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	int r;

	/* chown first: it clears set-id bits and capabilities */
	if (fchown(dst, st->st_uid, st->st_gid) < 0 || fchmod(dst, st->st_mode & 07777) < 0)
		return err_sys(e, "cannot set owner and mode of '%s'", name);
	r = copy_xattrs(src, dst, name, e);
	if (r == 0 && futimens(dst, times) < 0)
		r = err_sys(e, "cannot set the times of '%s'", name);
	return r;
}

/* ---- files ---- */

static int copy_by_hand(int src, int dst, struct err *e)
{
	auto_free char *buf = mem_new_bytes(1 << 17, 1);
	ssize_t n;

	while ((n = read(src, buf, 1 << 17)) > 0)
		for (ssize_t at = 0; at < n;) {
			ssize_t put = write(dst, buf + at, (size_t)(n - at));

			if (put < 0)
				return err_sys(e, "cannot write");
			at += put;
		}
	return n < 0 ? err_sys(e, "cannot read") : 0;
}

static int copy_bytes(int src, int dst, struct err *e)
{
	ssize_t n;

	if (ioctl(dst, FICLONE, src) == 0)
		return 0;
	do
		n = copy_file_range(src, NULL, dst, NULL, CHUNK_BYTES, 0);
	while (n > 0);
	if (n == 0)
		return 0;
	if (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)
		return copy_by_hand(src, dst, e);
	return err_sys(e, "cannot copy");
}

static int copy_file(int from, int to, const char *name, const struct stat *st, struct err *e)
{
	auto_close int src = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	auto_close int dst = -1;
	int r;

	if (src < 0)
		return err_sys(e, "cannot open '%s'", name);
	dst = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (dst < 0)
		return err_sys(e, "cannot make '%s'", name);
	r = copy_bytes(src, dst, e);
	if (r < 0)
		return err_wrap(e, "'%s'", name);
	return copy_attributes(src, dst, st, name, e);
}

static int copy_symlink(int from, int to, const char *name, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(e, "cannot read link '%s'", name);
	target[n] = '\0';
	if (symlinkat(target, to, name) < 0)
		return err_sys(e, "cannot make link '%s'", name);
	return 0;
}

/* What has no descriptor of its own: links and nodes. */
static int set_owner(int to, const char *name, const struct stat *st, struct err *e)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot set the owner of '%s'", name);
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0) < 0)
		return err_sys(e, "cannot set the mode of '%s'", name);
	if (utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot set the times of '%s'", name);
	return 0;
}

/* ---- the walk ---- */

static int copy_below(struct copy *c, int from, int to, const char *prefix, int depth,
		      struct err *e);

static int copy_dir(struct copy *c, int from, int to, const char *name, const struct stat *st,
		    const char *path, int depth, struct err *e)
{
	auto_close int src = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int dst = -1;
	int r;

	if (src < 0)
		return err_sys(e, "cannot open directory '%s'", path);
	if (mkdirat(to, name, 0700) < 0)
		return err_sys(e, "cannot make directory '%s'", path);
	dst = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dst < 0)
		return err_sys(e, "cannot open directory '%s'", path);
	r = copy_below(c, src, dst, path, depth - 1, e);
	return r < 0 ? r : copy_attributes(src, dst, st, path, e);
}

static int copy_entry(struct copy *c, int from, int to, const char *name, const char *path,
		      int depth, struct err *e)
{
	char key[48];
	const char *first;
	struct stat st;
	int r;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot look at '%s'", path);
	if (S_ISSOCK(st.st_mode))
		return 0;
	if (S_ISDIR(st.st_mode))
		return copy_dir(c, from, to, name, &st, path, depth, e);
	(void)snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st.st_dev,
		       (unsigned long long)st.st_ino);
	first = st.st_nlink > 1 ? map_get(&c->links, key) : NULL;
	if (first)
		return linkat(c->top, first, to, name, 0) < 0 ? err_sys(e, "cannot link '%s'", path)
							      : 0;
	if (st.st_nlink > 1)
		(void)map_put(&c->links, key, mem_dup_text(path));
	if (S_ISREG(st.st_mode))
		return copy_file(from, to, name, &st, e);
	if (S_ISLNK(st.st_mode))
		r = copy_symlink(from, to, name, e);
	else
		r = mknodat(to, name, st.st_mode, st.st_rdev) < 0
			    ? err_sys(e, "cannot make device '%s'", path)
			    : 0;
	return r < 0 ? r : set_owner(to, name, &st, e);
}

static int copy_below(struct copy *c, int from, int to, const char *prefix, int depth,
		      struct err *e)
{
	int list = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = list < 0 ? NULL : fdopendir(list);
	struct dirent *entry;
	int r = 0;

	if (!d)
		return err_sys(e, "cannot read directory '%s'", prefix);
	if (depth == 0)
		return err_set(e, ERR_EXHAUSTED, "directory '%.200s' is nested more than %d deep",
			       prefix, DEPTH_MAX);
	while (r == 0 && (entry = readdir(d))) {
		auto_free char *path = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		path = *prefix ? mem_printf("%s/%s", prefix, entry->d_name)
			       : mem_dup_text(entry->d_name);
		r = copy_entry(c, from, to, entry->d_name, path, depth, e);
	}
	return r;
}

int copy_tree(int src, int dst, struct err *e)
{
	struct copy c = {.top = dst};
	struct stat st;
	int r;

	if (fstat(src, &st) < 0)
		return err_sys(e, "cannot look at the directory to copy");
	r = copy_below(&c, src, dst, "", DEPTH_MAX, e);
	if (r == 0)
		r = copy_attributes(src, dst, &st, ".", e);
	map_each (&c.links, it)
		free(it->value);
	map_done(&c.links);
	return r;
}
