/*
 * Names inside a stranger's root: see inroot.h.
 *
 * The common case is one openat2. Only when something is missing does make_missing() walk: it keeps
 * the part that was resolved so far as a link-free path and re-opens it with RESOLVE_NO_SYMLINKS
 * before each step, so that a swap between two steps is an error and never an escape.
 */
#include "ground/linux/inroot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "ground/base/str.h"

#define RACE_TRIES 128

static int open2(int root, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
			       .mode = flags & O_CREAT ? mode : 0,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve};
	int fd = -1;

	/* EAGAIN: a rename happened beside a "..", and the kernel could not prove containment. */
	for (int i = 0; i < RACE_TRIES; i++) {
		fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd;
}

int inroot_open(int root, const char *path, int flags, mode_t mode, int *ret, struct err *e)
{
	int fd = open2(root, path, flags, mode, 0);

	if (fd < 0)
		return err_sys(e, "cannot open '%s' in the root", path);
	*ret = fd;
	return 0;
}

int inroot_open_nolinks(int root, const char *path, int flags, int *ret, struct err *e)
{
	int fd = open2(root, path, flags, 0, RESOLVE_NO_SYMLINKS);

	if (fd < 0 && errno == ELOOP)
		return err_set(e, ERR_FORBIDDEN, "'%s' in the root leads through a symbolic link",
			       path);
	if (fd < 0)
		return err_sys(e, "cannot open '%s' in the root", path);
	*ret = fd;
	return 0;
}

/* A walk: `done` is link-free and exists, `rest` is still to go. */
struct walk {
	int root;
	char done[INROOT_PATH_MAX];
	char rest[INROOT_PATH_MAX];
	int links;
};

/* Takes the first component off `rest`. false: nothing is left. */
static bool walk_next(struct walk *w, char name[256], bool *ret_bad)
{
	char *p = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(p, "/");

	*ret_bad = n > 255;
	if (!n || n > 255)
		return false;
	memcpy(name, p, n);
	name[n] = '\0';
	p += n;
	memmove(w->rest, p, strlen(p) + 1);
	return true;
}

static void walk_up(struct walk *w)
{
	char *slash = strrchr(w->done, '/');

	*(slash ? slash : w->done) = '\0';
}

static int walk_push(struct walk *w, const char *name, struct err *e)
{
	size_t n = strlen(w->done), m = strlen(name);

	if (n + m + 2 > sizeof(w->done))
		return err_set(e, ERR_INVALID, "a path in the root is longer than %d bytes",
			       INROOT_PATH_MAX);
	if (n)
		w->done[n++] = '/';
	memcpy(w->done + n, name, m + 1);
	return 0;
}

static int walk_link(struct walk *w, const char *target, struct err *e)
{
	char joined[2 * INROOT_PATH_MAX];
	int n = snprintf(joined, sizeof(joined), "%s/%s", target, w->rest);

	if (++w->links > INROOT_LINKS_MAX)
		return err_set(e, ERR_INVALID, "too many symbolic links in the root at '%s'",
			       w->done);
	if (n < 0 || (size_t)n >= sizeof(w->rest))
		return err_set(e, ERR_INVALID, "a path in the root is longer than %d bytes",
			       INROOT_PATH_MAX);
	if (*target == '/')
		w->done[0] = '\0';
	memcpy(w->rest, joined, (size_t)n + 1);
	return 0;
}

static bool walk_at_end(const struct walk *w)
{
	return w->rest[strspn(w->rest, "/")] == '\0';
}

static int make_one(int dir, const char *name, bool directory, mode_t mode, struct err *e)
{
	int fd;

	if (directory) {
		if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
			return err_sys(e, "cannot make the directory '%s' in the root", name);
		return 0;
	}
	fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0 && errno != EEXIST)
		return err_sys(e, "cannot make the file '%s' in the root", name);
	(void)fd_close(fd);
	return 0;
}

/* One component: a link is followed, a missing thing made, an existing one entered. */
static int walk_step(struct walk *w, const char *name, bool directory, mode_t mode, struct err *e)
{
	char target[INROOT_PATH_MAX];
	bool last = walk_at_end(w);
	auto_close int dir = -1;
	ssize_t n;
	int r;

	if (!strcmp(name, "."))
		return 0;
	if (!strcmp(name, "..")) {
		walk_up(w);
		return 0;
	}
	dir = open2(w->root, w->done, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
	if (dir < 0)
		return err_sys(e, "cannot open the directory '/%s' in the root", w->done);
	n = readlinkat(dir, name, target, sizeof(target) - 1);
	if (n >= 0) {
		target[n] = '\0';
		return walk_link(w, target, e);
	}
	if (errno == ENOENT) {
		r = make_one(dir, name, !last || directory, last ? mode : 0755, e);
		if (r < 0)
			return r;
	} else if (errno != EINVAL) {
		return err_sys(e, "cannot look at '%s' in the root", name);
	}
	return walk_push(w, name, e);
}

static int walk_all(struct walk *w, const char *path, bool directory, mode_t mode, struct err *e)
{
	char name[256];
	bool bad;
	int r;

	if (strlen(path) >= sizeof(w->rest))
		return err_set(e, ERR_INVALID, "a path in the root is longer than %d bytes",
			       INROOT_PATH_MAX);
	memcpy(w->rest, path, strlen(path) + 1);
	while (walk_next(w, name, &bad)) {
		r = walk_step(w, name, directory, mode, e);
		if (r < 0)
			return r;
	}
	return bad ? err_set(e, ERR_INVALID, "a name in '%s' is longer than 255 bytes", path) : 0;
}

/*
 * The frequent case: only the last name is missing. Its directory was resolved in the root, the
 * name is made and opened there without following anything. -1: not that case.
 */
static int make_last(int root, const char *path, bool directory, mode_t mode)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char parent[INROOT_PATH_MAX], target[1];
	size_t n = slash ? (size_t)(slash - path) : 0;
	auto_close int dir = -1;

	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") || n >= sizeof(parent))
		return -1;
	memcpy(parent, path, n);
	parent[n] = '\0';
	dir = open2(root, n ? parent : "/", O_PATH | O_DIRECTORY, 0, 0);
	if (dir < 0 || readlinkat(dir, name, target, sizeof(target)) >= 0 || errno != ENOENT ||
	    make_one(dir, name, directory, mode, NULL) < 0)
		return -1;
	return openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

int inroot_make(int root, const char *path, bool directory, mode_t mode, int *ret, struct err *e)
{
	struct walk w = {.root = root};
	int fd, r;

	assert(ret);
	fd = open2(root, path, O_PATH, 0, 0);
	if (fd < 0 && errno != ENOENT)
		return err_sys(e, "cannot open '%s' in the root", path);
	if (fd < 0)
		fd = make_last(root, path, directory, mode);
	if (fd < 0) {
		r = walk_all(&w, path, directory, mode, e);
		if (r < 0)
			return r;
		fd = open2(root, w.done, O_PATH, 0, RESOLVE_NO_SYMLINKS);
		if (fd < 0)
			return err_sys(e, "cannot open '%s' in the root", path);
	}
	*ret = fd;
	return 0;
}

int inroot_make_parent(int root, const char *path, int *ret_dir, const char **ret_name,
		       struct err *e)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char parent[INROOT_PATH_MAX];
	size_t n = slash ? (size_t)(slash - path) : 0;

	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return err_set(e, ERR_INVALID, "'%s' does not end in a name", path);
	if (n >= sizeof(parent))
		return err_set(e, ERR_INVALID, "a path in the root is longer than %d bytes",
			       INROOT_PATH_MAX);
	memcpy(parent, path, n);
	parent[n] = '\0';
	*ret_name = name;
	return inroot_make(root, parent, true, 0755, ret_dir, e);
}
