/*
 * A root without overlay: layer directories laid over each other by copying, bottom first. Runs in
 * the confined child. A whiteout removes, an opaque folder replaces, everything else lies over
 * what is there. Data are shared by the file system where it can (reflink), else copied inside the
 * kernel.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/folder.h"
#include "virt/image/mark.h"
#include "virt/image/unpack.h"

#define DEPTH_MAX 1024

struct copy {
	int top;
	struct map links; /* inode in the layer → path below top */
	uint64_t entries, bytes;
};

static int copy_failed(struct err *e, const char *name, const char *doing)
{
	char quoted[200];

	return err_sys(e, "cannot %s '%s'", doing, extract_quote(name, quoted));
}

/* The bytes from `at` on, up to the next hole or the end. */
static int copy_stretch(struct copy *c, int from, int to, off_t *at, off_t end, const char *name,
			struct err *e)
{
	off_t out = *at;

	while (*at < end) {
		ssize_t n = copy_file_range(from, at, to, &out, (size_t)(end - *at), 0);

		if (n < 0)
			return copy_failed(e, name, "copy");
		if (n == 0)
			break;
		c->bytes += (uint64_t)n;
	}
	return 0;
}

/* Holes stay holes: an image's sparse file may be larger than the disk. */
static int copy_data(struct copy *c, int from, int to, off_t size, const char *name, struct err *e)
{
	off_t at = 0;

	if (ftruncate(to, size) < 0)
		return copy_failed(e, name, "set the size of");
	while (at < size) {
		off_t data = lseek(from, at, SEEK_DATA), hole;
		int r;

		if (data < 0 && errno == ENXIO)
			return 0;
		hole = data < 0 ? size : lseek(from, data, SEEK_HOLE);
		at = data < 0 ? at : data;
		r = copy_stretch(c, from, to, &at, hole < 0 ? size : hole, name, e);
		if (r < 0 || at < hole)
			return r; /* it became shorter: what is there was copied */
	}
	return 0;
}

static void copy_xattrs(int from, int to)
{
	char names[4096], value[65536];
	ssize_t n = flistxattr(from, names, sizeof(names));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t size;

		if (mark_is_xattr(names + at))
			continue;
		size = fgetxattr(from, names + at, value, sizeof(value));
		if (size >= 0)
			(void)fsetxattr(to, names + at, value, (size_t)size, 0);
	}
}

static int copy_regular(struct copy *c, int fromdir, int todir, const char *name,
			const struct stat *st, struct err *e)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
	auto_close int from = openat(fromdir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int to = openat(todir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (from < 0 || to < 0)
		return copy_failed(e, name, "open");
	r = copy_data(c, from, to, st->st_size, name, e);
	if (r < 0)
		return r;
	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
		return copy_failed(e, name, "set the owner of");
	copy_xattrs(from, to);
	return futimens(to, times) < 0 ? copy_failed(e, name, "set the time of") : 0;
}

static int copy_other(int fromdir, int todir, const char *name, const struct stat *st,
		      struct err *e)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
	char target[4096];
	ssize_t n =
		S_ISLNK(st->st_mode) ? readlinkat(fromdir, name, target, sizeof(target) - 1) : 0;
	int r;

	if (n < 0)
		return copy_failed(e, name, "read link");
	target[n] = '\0';
	r = S_ISLNK(st->st_mode) ? symlinkat(target, todir, name)
				 : mknodat(todir, name, st->st_mode, st->st_rdev);
	if (r < 0 || fchownat(todir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return copy_failed(e, name, "make");
	if (!S_ISLNK(st->st_mode) && fchmodat(todir, name, st->st_mode & 07777, 0) < 0)
		return copy_failed(e, name, "set the mode of");
	(void)utimensat(todir, name, times, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int copy_folder(struct copy *c, int from, int to, const char *path, int depth,
		       struct err *e);

static int open_target(struct copy *c, int fromdir, int todir, const char *name, int *ret_from,
		       int *ret_to, struct err *e)
{
	struct stat st;
	int from = openat(fromdir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (from < 0)
		return copy_failed(e, name, "open");
	*ret_from = from;
	if (fstatat(todir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (!S_ISDIR(st.st_mode) || mark_is_opaque(from))) {
		int r = folder_remove(todir, name, e);

		if (r < 0)
			return r;
	}
	if (mkdirat(todir, name, 0700) < 0 && errno != EEXIST)
		return copy_failed(e, name, "make");
	*ret_to = openat(todir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_to < 0 ? copy_failed(e, name, "open") : 0;
}

static int copy_one(struct copy *c, int fromdir, int todir, const char *name, const char *path,
		    int depth, struct err *e)
{
	auto_close int from = -1, to = -1;
	char key[32], *first = NULL;
	struct stat st;
	int r;

	if (fstatat(fromdir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return copy_failed(e, name, "look at");
	c->entries++;
	if (S_ISDIR(st.st_mode)) {
		r = open_target(c, fromdir, todir, name, &from, &to, e);
		return r < 0 ? r : copy_folder(c, from, to, path, depth + 1, e);
	}
	r = folder_remove(todir, name, e);
	if (r < 0 || mark_is_whiteout(fromdir, name, &st))
		return r;
	snprintf(key, sizeof(key), "%llx", (unsigned long long)st.st_ino);
	if (st.st_nlink > 1)
		first = map_get(&c->links, key);
	if (first)
		return linkat(c->top, first, todir, name, 0) < 0 ? copy_failed(e, path, "link") : 0;
	if (st.st_nlink > 1)
		(void)map_put(&c->links, key, mem_dup_text(path));
	return S_ISREG(st.st_mode) ? copy_regular(c, fromdir, todir, name, &st, e)
				   : copy_other(fromdir, todir, name, &st, e);
}

static int copy_folder(struct copy *c, int from, int to, const char *path, int depth, struct err *e)
{
	int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = again < 0 ? NULL : fdopendir(again);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	struct stat st;
	struct dirent *d;
	int r = 0;

	if (!dir || fstat(from, &st) < 0)
		return copy_failed(e, path, "read");
	if (depth > DEPTH_MAX)
		return err_set(e, ERR_INVALID, "folders are nested more than %d deep", DEPTH_MAX);
	while (r == 0 && (d = readdir(dir))) {
		auto_free char *child = NULL;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		child = path[0] ? mem_printf("%s/%s", path, d->d_name) : mem_dup_text(d->d_name);
		r = copy_one(c, from, to, d->d_name, child, depth, e);
	}
	if (r < 0)
		return r;
	copy_xattrs(from, to);
	times[1] = st.st_mtim;
	if (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0 ||
	    futimens(to, times) < 0)
		return copy_failed(e, path, "set the owner of");
	return 0;
}

int copy_layer(int layerfd, int topfd, struct unpack_answer *ret, struct err *e)
{
	struct copy c = {.top = topfd};
	int r = copy_folder(&c, layerfd, topfd, "", 0, e);

	map_each (&c.links, it)
		free(it->value);
	map_done(&c.links);
	ret->entries += c.entries;
	ret->bytes += c.bytes;
	return r;
}
