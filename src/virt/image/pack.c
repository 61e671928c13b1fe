/*
 * Trees into tar: docker cp out, export, commit (an overlay's upper, whose marks become ".wh."
 * members), and a saved image from its blobs. Runs in the confined child. Hard links are found by
 * inode; sockets are left out, since tar has no word for them. A file that shrinks while it is read
 * is filled with zeros, one that grows is cut.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/tar.h"
#include "virt/image/mark.h"
#include "virt/image/unpack.h"

#define COPY_STEP	(256u << 10)
#define XATTR_NAMES_MAX 65536
#define DEPTH_MAX	1024

struct pack {
	struct tar_writer *out;
	const struct unpack_orders *orders;
	struct map links; /* "dev:ino" → the name it was first written under */
	unsigned char *step;
	char xattr_names[XATTR_NAMES_MAX];
	uint64_t entries, mount; /* the mount that the tree's top lies on */
};

static int pack_failed(struct err *e, const char *name, const char *doing)
{
	char quoted[200];

	return err_sys(e, "cannot %s '%s'", doing, extract_quote(name, quoted));
}

static bool xattr_leaves(const char *name)
{
	return strcmp(name, "security.capability") == 0 ||
	       (text_starts(name, "user.") && !text_starts(name, "user.overlay."));
}

/* Fills item's attributes from fd; the values live in the arena. */
static void read_xattrs(struct pack *p, int fd, struct tar_item *item, struct arena *a)
{
	ssize_t n = flistxattr(fd, p->xattr_names, sizeof(p->xattr_names));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(p->xattr_names + at) + 1) {
		const char *name = p->xattr_names + at;
		ssize_t size = xattr_leaves(name) ? fgetxattr(fd, name, NULL, 0) : -1;
		void *value;

		if (size < 0 || item->xattrs_n == TAR_XATTRS_MAX)
			continue;
		value = arena_new_bytes(a, (size_t)size + 1);
		size = fgetxattr(fd, name, value, (size_t)size);
		if (size >= 0)
			item->xattrs[item->xattrs_n++] =
				(struct tar_xattr){arena_dup_text(a, name), value, (size_t)size};
	}
}

static void item_of(struct tar_item *item, const char *name, const struct stat *st)
{
	item->name = name;
	item->hard_link = item->sym_link = NULL;
	item->mode = st->st_mode;
	item->uid = st->st_uid;
	item->gid = st->st_gid;
	item->dev_major = major(st->st_rdev);
	item->dev_minor = minor(st->st_rdev);
	item->size_bytes = S_ISREG(st->st_mode) ? st->st_size : 0;
	item->mtime_s = st->st_mtim.tv_sec;
	item->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	item->xattrs_n = 0;
}

/* size bytes of fd from 0; zeros where it is shorter by now. */
static int write_file(struct pack *p, int fd, int64_t size, const char *name, struct err *e)
{
	for (int64_t at = 0; at < size;) {
		size_t want = size - at < COPY_STEP ? (size_t)(size - at) : COPY_STEP;
		ssize_t n = pread(fd, p->step, want, at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pack_failed(e, name, "read");
		if (n == 0) {
			memset(p->step, 0, want);
			n = (ssize_t)want;
		}
		r = tar_write(p->out, p->step, (size_t)n, e);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

/* true: the inode was written before, and item is a link to it now. */
static bool seen_before(struct pack *p, const struct stat *st, struct tar_item *item)
{
	char key[48];
	char *first;

	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return false;
	snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
		 (unsigned long long)st->st_ino);
	first = map_get(&p->links, key);
	if (first)
		item->hard_link = first;
	else
		(void)map_put(&p->links, key, mem_dup_text(item->name));
	return first != NULL;
}

static int put_plain(struct pack *p, const char *name, const struct stat *like, struct err *e)
{
	auto_free struct tar_item *item = mem_new(struct tar_item);

	item_of(item, name, like);
	item->mode = S_IFREG | 0600;
	item->size_bytes = 0;
	return tar_put(p->out, item, e);
}

static int pack_any(struct pack *p, int dirfd, const char *base, const char *name, int depth,
		    struct err *e);

static int pack_children(struct pack *p, int fd, const char *name, int depth, struct err *e)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = again < 0 ? NULL : fdopendir(again);
	struct dirent *d;
	int r = 0;

	if (!dir) {
		(void)fd_close(again);
		return pack_failed(e, name, "read the folder");
	}
	if (depth > DEPTH_MAX)
		return err_set(e, ERR_INVALID, "folders are nested more than %d deep", DEPTH_MAX);
	while (r == 0 && (d = readdir(dir))) {
		auto_free char *child = NULL;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		child = name[0] ? mem_printf("%s/%s", name, d->d_name) : mem_dup_text(d->d_name);
		r = pack_any(p, fd, d->d_name, child, depth + 1, e);
	}
	return r;
}

/* Takes fd. `name` is "" for a top that has no member of its own. */
static int pack_dir(struct pack *p, int fd_taken, const char *name, const struct stat *st,
		    int depth, struct err *e)
{
	auto_close int fd = fd_taken;
	auto_arena struct arena a = {0};
	auto_free struct tar_item *item = mem_new(struct tar_item);
	int r = 0;

	if (name[0]) {
		item_of(item, arena_printf(&a, "%s/", name), st);
		read_xattrs(p, fd, item, &a);
		r = tar_put(p->out, item, e);
	}
	if (r == 0 && p->orders->whiteouts && mark_is_opaque(fd))
		r = put_plain(p, arena_printf(&a, "%s%s.wh..wh..opq", name, name[0] ? "/" : ""), st,
			      e);
	return r < 0 ? r : pack_children(p, fd, name, depth, e);
}

static int pack_file(struct pack *p, int fd_taken, const char *name, const struct stat *st,
		     struct err *e)
{
	auto_close int fd = fd_taken;
	auto_arena struct arena a = {0};
	auto_free struct tar_item *item = mem_new(struct tar_item);
	bool linked;
	int r;

	item_of(item, name, st);
	linked = seen_before(p, st, item);
	if (!linked)
		read_xattrs(p, fd, item, &a);
	r = tar_put(p->out, item, e);
	return r < 0 || linked ? r : write_file(p, fd, st->st_size, name, e);
}

static int pack_special(struct pack *p, int dirfd, const char *base, const char *name,
			const struct stat *st, struct err *e)
{
	auto_free struct tar_item *item = mem_new(struct tar_item);
	char target[4096];
	ssize_t n;

	if (S_ISSOCK(st->st_mode))
		return 0;
	item_of(item, name, st);
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dirfd, base, target, sizeof(target) - 1);
		if (n < 0)
			return pack_failed(e, name, "read the link");
		target[n] = '\0';
		item->sym_link = target;
	}
	(void)seen_before(p, st, item);
	return tar_put(p->out, item, e);
}

static int pack_whiteout(struct pack *p, const char *base, const char *name, const struct stat *st,
			 struct err *e)
{
	auto_free char *marked =
		mem_printf("%.*s.wh.%s", (int)(strlen(name) - strlen(base)), name, base);

	return put_plain(p, marked, st, e);
}

static int pack_content(struct pack *p, int dirfd, const char *base, const char *name, bool is_dir,
			int depth, struct err *e)
{
	int flags = is_dir ? O_DIRECTORY : O_NONBLOCK, fd;
	struct stat st;

	fd = openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags);
	if (fd < 0)
		return errno == ENOENT ? 0 : pack_failed(e, name, "open");
	/* What was opened is what counts: the tree may be a running container's. */
	if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
		(void)fd_close(fd);
		return err_set(e, ERR_CONFLICT, "'%s' changed while it was read", name);
	}
	return S_ISDIR(st.st_mode) ? pack_dir(p, fd, name, &st, depth, e)
				   : pack_file(p, fd, name, &st, e);
}

/* 0 before Linux 5.8, where the question is unknown: then all is one mount. */
static uint64_t mount_of(int dirfd, const char *base)
{
	struct statx s = {0};

	if (statx(dirfd, base, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_MNT_ID, &s) < 0 ||
	    !(s.stx_mask & STATX_MNT_ID))
		return 0;
	return s.stx_mnt_id;
}

/* An empty place where something else is mounted. */
static int pack_place(struct pack *p, const char *name, const struct stat *st, struct err *e)
{
	auto_free struct tar_item *item = mem_new(struct tar_item);
	auto_free char *folder = mem_printf("%s/", name);

	item_of(item, S_ISDIR(st->st_mode) ? folder : name, st);
	if (!S_ISDIR(st->st_mode))
		item->mode = S_IFREG | (st->st_mode & 0777);
	item->size_bytes = 0;
	return tar_put(p->out, item, e);
}

static int pack_any(struct pack *p, int dirfd, const char *base, const char *name, int depth,
		    struct err *e)
{
	struct stat st;

	if (fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : pack_failed(e, name, "look at");
	p->entries++;
	if (p->orders->one_mount && mount_of(dirfd, base) != p->mount)
		return pack_place(p, name, &st, e);
	if (p->orders->whiteouts && mark_is_whiteout(dirfd, base, &st))
		return pack_whiteout(p, base, name, &st, e);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return pack_special(p, dirfd, base, name, &st, e);
	return pack_content(p, dirfd, base, name, S_ISDIR(st.st_mode), depth, e);
}

/* ---- Finding the start ---- */

/* Takes "/" and "/." off the end; true when there was one: then a link there is followed. */
static bool cut_tail(char *path)
{
	size_t n = strlen(path), before = n;

	while (n > 0 &&
	       (path[n - 1] == '/' || (path[n - 1] == '.' && (n == 1 || path[n - 2] == '/'))))
		path[--n] = '\0';
	return n < before;
}

static int open_folder(int topfd, const char *folder, const char *path, int *ret, struct err *e)
{
	*ret = extract_open(topfd, folder[0] ? folder : "/", O_RDONLY | O_DIRECTORY, true);
	if (*ret >= 0)
		return 0;
	if (errno == ENOENT || errno == ENOTDIR)
		return err_set(e, ERR_NOT_FOUND, "could not find the file %s in the container",
			       path);
	return err_sys(e, "cannot open the folder of '%s' in the container", path);
}

/*
 * Opens the parent of `path` in-root and tells its last component; "" when the path is the top
 * itself. A path that ends in "/" or "/." means what a link there points to.
 */
static int find_start(int topfd, const char *path, int *ret_parent, char ret_base[256],
		      struct err *e)
{
	auto_free char *clean = mem_dup_text(path);
	bool follow = cut_tail(clean);
	char *slash = strrchr(clean, '/');
	const char *last = slash ? slash + 1 : clean;

	ret_base[0] = '\0';
	if (follow || !clean[0] || strcmp(last, "..") == 0)
		return open_folder(topfd, clean, path, ret_parent, e);
	if (strlen(last) > 255)
		return err_set(e, ERR_INVALID, "the last component of '%s' is too long", path);
	snprintf(ret_base, 256, "%s", last);
	if (!slash)
		return open_folder(topfd, "", path, ret_parent, e);
	*slash = '\0';
	return open_folder(topfd, clean, path, ret_parent, e);
}

static int pack_start(struct pack *p, int topfd, struct err *e)
{
	const char *path = p->orders->path, *rename = p->orders->rename;
	auto_close int parent = -1;
	char base[256];
	struct stat st;
	int r = find_start(topfd, path, &parent, base, e);

	if (r < 0)
		return r;
	if (base[0]) {
		if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_set(e, ERR_NOT_FOUND,
				       "could not find the file %s in the container", path);
		return pack_any(p, parent, base, rename ? rename : base, 0, e);
	}
	if (fstat(parent, &st) < 0)
		return pack_failed(e, path, "look at");
	return pack_dir(p, take_fd(&parent), rename ? rename : ".", &st, 0, e);
}

static struct pack *pack_new(const struct unpack_orders *o)
{
	struct pack *p = mem_new(struct pack);

	p->orders = o;
	p->step = mem_new_bytes(1, COPY_STEP);
	return p;
}

static void pack_free(struct pack *p)
{
	map_each (&p->links, it)
		free(it->value);
	map_done(&p->links);
	(void)tar_writer_free(p->out);
	free(p->step);
	free(p);
}

int pack_tree(int topfd, const struct unpack_orders *o, int fd, struct unpack_answer *ret,
	      struct err *e)
{
	struct pack *p = pack_new(o);
	int r = tar_writer_new(fd, &p->out, e);

	assert(o->path);
	p->mount = mount_of(topfd, "");
	if (r == 0)
		r = pack_start(p, topfd, e);
	if (r == 0)
		r = tar_end(p->out, e);
	ret->entries = p->entries;
	ret->bytes = p->out ? tar_written(p->out) : 0;
	pack_free(p);
	return r;
}

/* "bin" of "/bin/" and of "/bin/."; "/" of the top. */
static char *last_component(const char *path, struct arena *a)
{
	auto_free char *clean = mem_dup_text(path);
	const char *slash;

	(void)cut_tail(clean);
	slash = strrchr(clean, '/');
	return arena_dup_text(a, !clean[0] ? "/" : slash ? slash + 1 : clean);
}

int pack_stat(int topfd, const char *path, struct arena *a, struct unpack_answer *ret,
	      struct err *e)
{
	auto_close int parent = -1;
	char base[256], target[4096];
	struct stat st;
	ssize_t n;
	int r = find_start(topfd, path, &parent, base, e);

	if (r < 0)
		return r;
	if ((base[0] ? fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) : fstat(parent, &st)) < 0)
		return err_set(e, ERR_NOT_FOUND, "could not find the file %s in the container",
			       path);
	ret->name = base[0] ? arena_dup_text(a, base) : last_component(path, a);
	ret->size = st.st_size;
	ret->mode = st.st_mode;
	ret->mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
	ret->link = arena_dup_text(a, "");
	n = S_ISLNK(st.st_mode) ? readlinkat(parent, base, target, sizeof(target) - 1) : -1;
	if (n >= 0) {
		target[n] = '\0';
		ret->link = arena_dup_text(a, target);
	}
	return 0;
}

/* ---- A saved image ---- */

static int put_member(struct pack *p, int dirfd, const struct unpack_member *m, struct err *e)
{
	struct stat st = {.st_mode = S_IFREG | 0644};
	auto_free struct tar_item *item = mem_new(struct tar_item);
	auto_close int fd = -1;
	int r;

	if (m->file) {
		fd = openat(dirfd, m->file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			return pack_failed(e, m->file, "open blob");
	}
	item_of(item, m->name, &st);
	item->uid = item->gid = 0;
	item->mtime_s = 0;
	item->mtime_ns = 0;
	item->mode = text_ends(m->name, "/") ? S_IFDIR | 0755
		     : m->link		     ? S_IFLNK | 0777
					     : S_IFREG | 0644;
	item->sym_link = m->link;
	if (m->text)
		item->size_bytes = (int64_t)strlen(m->text);
	r = tar_put(p->out, item, e);
	if (r == 0 && m->text)
		r = tar_write(p->out, m->text, strlen(m->text), e);
	if (r == 0 && m->file)
		r = write_file(p, fd, st.st_size, m->file, e);
	return r;
}

int pack_members(int dirfd, const struct unpack_orders *o, int fd, struct unpack_answer *ret,
		 struct err *e)
{
	struct pack *p = pack_new(o);
	int r = tar_writer_new(fd, &p->out, e);

	for (size_t i = 0; i < o->members_n && r == 0; i++)
		r = put_member(p, dirfd, &o->members[i], e);
	if (r == 0)
		r = tar_end(p->out, e);
	ret->bytes = p->out ? tar_written(p->out) : 0;
	pack_free(p);
	return r;
}
