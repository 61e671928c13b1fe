/*
 * tmpcopyup: see copy_up.h. Everything by descriptor and without following links; devices and
 * sockets are left out.
 */
#include "virt/container/copy_up.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/own.h"

struct copy {
	int depth;
	size_t entries;
};

static int copy_dir(struct copy *c, int from, int to, struct err *e);

static int copy_file(int from, int to, const char *name, const struct stat *s, struct err *e)
{
	auto_close int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int out = -1;
	ssize_t n;

	if (in < 0)
		return err_sys(e, "cannot read '%s'", name);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(e, "cannot make '%s'", name);
	do
		n = sendfile(out, in, NULL, 1 << 20);
	while (n > 0);
	if (n < 0)
		return err_sys(e, "cannot copy '%s'", name);
	if (fchown(out, s->st_uid, s->st_gid) < 0 || fchmod(out, s->st_mode & 07777) < 0)
		return err_sys(e, "cannot set the owner of '%s'", name);
	return 0;
}

static int copy_link(int from, int to, const char *name, const struct stat *s, struct err *e)
{
	char target[4096];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(e, "cannot read the link '%s'", name);
	target[n] = '\0';
	if (symlinkat(target, to, name) < 0 ||
	    fchownat(to, name, s->st_uid, s->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot make the link '%s'", name);
	return 0;
}

static int copy_sub(struct copy *c, int from, int to, const char *name, const struct stat *s,
		    struct err *e)
{
	auto_close int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int out = -1;

	if (in < 0)
		return err_sys(e, "cannot read the directory '%s'", name);
	if (mkdirat(to, name, 0700) < 0)
		return err_sys(e, "cannot make the directory '%s'", name);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return err_sys(e, "cannot open the directory '%s'", name);
	if (copy_dir(c, in, out, e) < 0)
		return err_wrap(e, "'%s'", name);
	if (fchown(out, s->st_uid, s->st_gid) < 0 || fchmod(out, s->st_mode & 07777) < 0)
		return err_sys(e, "cannot set the owner of '%s'", name);
	return 0;
}

static int copy_entry(struct copy *c, int from, int to, const char *name, struct err *e)
{
	struct stat s;

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	if (++c->entries > COPY_UP_ENTRIES_MAX)
		return err_set(e, ERR_EXHAUSTED, "more than %d files to copy", COPY_UP_ENTRIES_MAX);
	if (fstatat(from, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot look at '%s'", name);
	if (S_ISREG(s.st_mode))
		return copy_file(from, to, name, &s, e);
	if (S_ISLNK(s.st_mode))
		return copy_link(from, to, name, &s, e);
	return S_ISDIR(s.st_mode) ? copy_sub(c, from, to, name, &s, e) : 0;
}

static int copy_dir(struct copy *c, int from, int to, struct err *e)
{
	auto_closedir DIR *d = NULL;
	struct dirent *it;
	int fd, r = 0;

	if (c->depth == COPY_UP_DEPTH_MAX)
		return err_set(e, ERR_EXHAUSTED, "directories deeper than %d", COPY_UP_DEPTH_MAX);
	fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot read a directory");
	d = fdopendir(fd);
	if (!d) {
		(void)fd_close(fd);
		return err_sys(e, "cannot read a directory");
	}
	c->depth++;
	while (r == 0 && (it = readdir(d)))
		r = copy_entry(c, fd, to, it->d_name, e);
	c->depth--;
	return r;
}

int copy_up(int from, int to, struct err *e)
{
	struct copy c = {0};
	int r = copy_dir(&c, from, to, e);

	return r < 0 ? err_wrap(e, "tmpcopyup") : 0;
}
