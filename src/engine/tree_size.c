/*
 * How much room a tree takes (each inode once), and what differs in an overlay's upper directory
 * from what lies below it. Both run on a pool thread, by descriptor, and follow no link.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "engine/engine_priv.h"
#include "engine/tree_size.h"

#define DEPTH_MAX 1024

struct walk {
	int64_t bytes;
	struct map seen; /* inodes with several names */
};

static void count(struct walk *k, const struct stat *st)
{
	char key[40];

	if (st->st_nlink > 1 && !S_ISDIR(st->st_mode)) {
		(void)snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
			       (unsigned long long)st->st_ino);
		if (map_get(&k->seen, key))
			return;
		map_put(&k->seen, key, k);
	}
	k->bytes += S_ISREG(st->st_mode) || S_ISLNK(st->st_mode) ? st->st_size : 0;
}

static void walk(struct walk *k, int parent, const char *name, int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *d;

	if (!dir) {
		(void)fd_close(fd);
		return;
	}
	while ((d = readdir(dir)) != NULL) {
		struct stat st;

		if (text_eq(d->d_name, ".") || text_eq(d->d_name, "..") ||
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		count(k, &st);
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			walk(k, fd, d->d_name, depth + 1);
	}
}

int64_t tree_size(const char *path)
{
	struct walk k = {0};

	walk(&k, AT_FDCWD, path, 0);
	map_done(&k.seen);
	return k.bytes;
}

int64_t logs_size(const char *containers, const char *id)
{
	auto_free char *path = mem_printf("%s/%s", containers, id);
	auto_closedir DIR *dir = opendir(path);
	struct dirent *d;
	struct stat st;
	int64_t bytes = 0;

	while (dir && (d = readdir(dir)) != NULL)
		if (text_eq(d->d_name, "log") || text_starts(d->d_name, "log."))
			bytes += fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0
					 ? st.st_size
					 : 0;
	return bytes;
}

/* -- what changed
 * ---------------------------------------------------------------------------------- */

static void note(struct changes *c, int kind, const char *path)
{
	if (c->n >= CHANGES_MAX)
		return;
	mem_grow(c->list, c->n + 1, c->room);
	c->list[c->n++] = (struct change){kind, mem_dup_text(path)};
}

/* Does a lower layer have this path? Layers are directories of ours; the path came from our upper.
 */
static bool below(char *const *lower, const char *path)
{
	for (; lower && *lower; lower++) {
		auto_close int root = open(*lower, O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct stat st;

		if (root >= 0 && fstatat(root, path + 1, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return !(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
	}
	return false;
}

static void compare(struct changes *c, char *const *lower, int parent, const char *name,
		    const char *path, int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *d;

	if (!dir) {
		(void)fd_close(fd);
		return;
	}
	while ((d = readdir(dir)) != NULL) {
		auto_free char *inside = mem_printf("%s/%s", path, d->d_name);
		struct stat st;

		if (text_eq(d->d_name, ".") || text_eq(d->d_name, "..") ||
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) {
			note(c, CHANGE_DELETED, inside);
			continue;
		}
		note(c, below(lower, inside) ? CHANGE_MODIFIED : CHANGE_ADDED, inside);
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			compare(c, lower, fd, d->d_name, inside, depth + 1);
	}
}

static int by_path(const void *a, const void *b)
{
	const struct change *x = a, *y = b;

	return strcmp(x->path, y->path);
}

void changes_find(const char *upper, char *const *lower, struct changes *ret)
{
	compare(ret, lower, AT_FDCWD, upper, "", 0);
	if (ret->n)
		qsort(ret->list, ret->n, sizeof(*ret->list), by_path);
}

static bool is_parent(const char *path, const char *of)
{
	size_t n = strlen(path);

	return !strncmp(path, of, n) && of[n] == '/';
}

/* A directory on the way to a mount says nothing when no other change lies in it. */
static bool only_leads_there(const struct changes *c, size_t at, char *const *mounted)
{
	bool leads = false;

	for (char *const *m = mounted; m && *m; m++)
		leads = leads || is_parent(c->list[at].path, *m);
	for (size_t i = at + 1; leads && i < c->n && is_parent(c->list[at].path, c->list[i].path);
	     i++)
		if (c->list[i].kind >= 0)
			return false;
	return leads;
}

void changes_drop(struct changes *c, char *const *mounted)
{
	size_t kept = 0;

	for (size_t i = c->n; i-- > 0;) /* children before parents */
		if ((c->list[i].kind == CHANGE_ADDED && text_in(c->list[i].path, mounted)) ||
		    only_leads_there(c, i, mounted))
			c->list[i].kind = -1;
	for (size_t i = 0; i < c->n; i++)
		if (c->list[i].kind >= 0)
			c->list[kept++] = c->list[i];
		else
			free((char *)c->list[i].path);
	c->n = kept;
}

void changes_done(struct changes *c)
{
	for (size_t i = 0; i < c->n; i++)
		free((char *)c->list[i].path);
	free(c->list);
	*c = (struct changes){0};
}
