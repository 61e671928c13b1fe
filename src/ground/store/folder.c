/*
 * Folders by descriptor. Removal descends with openat(O_NOFOLLOW), one descriptor for each level,
 * so that a link put in its way leads nowhere. What is mounted below is left alone.
 */
#include "ground/store/folder.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

#define FOLDER_DEPTH_MAX 4096

/* Empties the folder of `dir`; `dev` guards against mounts. Recursion is bounded by depth. */
static int empty_folder(int fd, dev_t dev, int depth, struct err *e);

static int remove_one(int dirfd, const char *name, dev_t dev, int depth, struct err *e)
{
	struct stat st;
	int fd, r;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, "cannot remove '%s'", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0
				       : err_sys(e, "cannot open folder '%s' to remove it", name);
	if (fstat(fd, &st) < 0 || (dev != 0 && st.st_dev != dev)) {
		(void)fd_close(fd);
		return err_set(e, ERR_BUSY, "cannot remove '%s': something is mounted there", name);
	}
	r = empty_folder(fd, st.st_dev, depth + 1, e);
	if (r < 0)
		return r;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "cannot remove folder '%s'", name);
	return 0;
}

/* Takes fd. */
static int empty_folder(int fd, dev_t dev, int depth, struct err *e)
{
	DIR *dir = fdopendir(fd);
	struct dirent *d;
	int r = 0;

	if (!dir) {
		(void)fd_close(fd);
		return err_sys(e, "cannot read a folder to remove it");
	}
	if (depth > FOLDER_DEPTH_MAX)
		r = err_set(e, ERR_INVALID, "folders are nested more than %d deep",
			    FOLDER_DEPTH_MAX);
	while (r == 0 && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		r = remove_one(dirfd(dir), d->d_name, dev, depth, e);
	}
	(void)closedir(dir);
	return r;
}

int folder_remove(int dirfd, const char *name, struct err *e)
{
	assert(name && name[0] && !strchr(name, '/') && strcmp(name, "..") != 0);
	return remove_one(dirfd, name, 0, 0, e);
}

uint64_t folder_bytes(int dirfd, const char *name)
{
	struct stat st;
	uint64_t sum;
	DIR *dir;
	int fd;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	sum = (uint64_t)st.st_blocks * 512 /
	      (S_ISDIR(st.st_mode) || st.st_nlink == 0 ? 1 : st.st_nlink);
	if (!S_ISDIR(st.st_mode))
		return sum;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	dir = fd < 0 ? NULL : fdopendir(fd);
	for (struct dirent *d; dir && (d = readdir(dir));)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			sum += folder_bytes(fd, d->d_name);
	if (dir)
		(void)closedir(dir);
	return sum;
}

static int write_all(int fd, struct str bytes)
{
	for (size_t at = 0; at < bytes.n;) {
		ssize_t n = write(fd, bytes.p + at, bytes.n - at);

		if (n < 0 && errno != EINTR)
			return -1;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int folder_put(int dirfd, const char *name, struct str bytes, unsigned int mode, struct err *e)
{
	auto_free char *tmp = mem_printf(".%s.new", name);
	auto_close int fd = -1;

	assert(!strchr(name, '/'));
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return err_sys(e, "cannot create '%s'", name);
	if (write_all(fd, bytes) < 0 || fsync(fd) < 0 || renameat(dirfd, tmp, dirfd, name) < 0) {
		int r = err_sys(e, "cannot write '%s'", name);

		(void)unlinkat(dirfd, tmp, 0);
		return r;
	}
	return fsync(dirfd) < 0 ? err_sys(e, "cannot sync the folder of '%s'", name) : 0;
}
