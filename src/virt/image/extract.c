/*
 * Theory of operation
 *
 * Turns an archive into files below one directory, inside the confined child. Every name is checked
 * text first (no
 * "..", not absolute, bounded), then its parent is opened by openat2 with RESOLVE_BENEATH and
 * RESOLVE_NO_SYMLINKS, and the last component is created by a single-component *at call that never
 * follows. The parent's descriptor is kept for the next member, since archives list folders
 * together; it is dropped whenever something is removed, so that a name swapped under it cannot be
 * used.
 *
 * Layers: ".wh.NAME" becomes a whiteout, ".wh..wh..opq" marks its folder opaque (mark.h).
 * Marks that an archive brings by itself (overlay xattrs, 0:0 devices) are not let through: they
 * would let one layer forge another's meaning. A folder's time is set at the end, since filling it
 * changes it.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/folder.h"
#include "ground/store/tar.h"
#include "virt/image/mark.h"
#include "virt/image/unpack.h"

#define NAME_BYTES_MAX	255
#define PATH_BYTES_MAX	4095
#define WHITEOUT	".wh."
#define WHITEOUT_META	".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define BEAT_ENTRIES	256

struct folder_time {
	char *path;
	struct timespec mtime;
};

struct extract {
	const struct extract_policy *policy;
	struct arena *arena;
	int top;
	int parent_fd; /* -1: none kept */
	char parent[PATH_BYTES_MAX + 1];
	uint64_t bytes, entries;
	struct folder_time *times;
	size_t times_n, times_room;
	char **implicit;
	size_t implicit_n;
};

/* One member under work: its clean name in two halves, and its parent's descriptor. */
struct place {
	char path[PATH_BYTES_MAX + 1];
	char *base; /* inside path; the parent is what stands before it */
	int fd;	    /* borrowed from the extract */
};

const char *extract_quote(const char *name, char ret[200])
{
	size_t n = 0;

	for (; name[n] && n < 196; n++)
		ret[n] = (unsigned char)name[n] < ' ' || name[n] == 127 ? '?' : name[n];
	if (name[n])
		memcpy(ret + n, "...", 3), n += 3;
	ret[n] = '\0';
	return ret;
}

#define refuse(e, name, ...) refuse_at((e), __FILE__, __LINE__, (name), __VA_ARGS__)

__attribute__((format(printf, 5, 6))) static int
refuse_at(struct err *e, const char *file, int line, const char *name, const char *fmt, ...)
{
	char quoted[200], why[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set_at(e, file, line, ERR_INVALID, 0, "entry '%s' refused: %s",
			  extract_quote(name, quoted), why);
}

static int failed(struct err *e, const char *name, const char *doing)
{
	char quoted[200];

	return err_sys(e, "entry '%s': cannot %s", extract_quote(name, quoted), doing);
}

int extract_open(int topfd, const char *path, int flags, bool links)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = links ? RESOLVE_NO_MAGICLINKS
				 : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, topfd, path, &how, sizeof(how));
}

static void forget_parent(struct extract *x)
{
	x->parent_fd = fd_close(x->parent_fd);
}

/* Cleans the name into `ret` ("a/b/c", "" for the top). */
static int clean_name(struct extract *x, const char *name, char ret[PATH_BYTES_MAX + 1],
		      struct err *e)
{
	uint32_t depth = 0;
	size_t n = 0;

	if (name[0] == '/' && x->policy->layer)
		return refuse(e, name, "the name is absolute");
	for (const char *at = name; *at;) {
		size_t len = strcspn(at, "/");

		if (len == 2 && memcmp(at, "..", 2) == 0)
			return refuse(e, name, "the name contains '..'");
		if (len > NAME_BYTES_MAX)
			return refuse(e, name, "a component is longer than %d bytes",
				      NAME_BYTES_MAX);
		if (len > 0 && !(len == 1 && *at == '.')) {
			if (n + len + 1 > PATH_BYTES_MAX)
				return refuse(e, name, "the name is longer than %d bytes",
					      PATH_BYTES_MAX);
			if (++depth > x->policy->limits.depth_max)
				return refuse(e, name, "it lies more than %u folders deep",
					      x->policy->limits.depth_max);
			if (n)
				ret[n++] = '/';
			memcpy(ret + n, at, len);
			n += len;
		}
		at += len + (at[len] == '/');
	}
	ret[n] = '\0';
	return 0;
}

static void note_implicit(struct extract *x, const char *path)
{
	if (x->implicit_n >= UNPACK_IMPLICIT_MAX)
		return;
	x->implicit[x->implicit_n++] = arena_dup_text(x->arena, path);
}

/* Makes the missing folders of `parent`, component by component. */
static int make_parents(struct extract *x, const char *name, const char *parent, struct err *e)
{
	char path[PATH_BYTES_MAX + 1];
	auto_close int at = extract_open(x->top, ".", O_RDONLY | O_DIRECTORY, false);

	for (const char *p = parent; *p && at >= 0;) {
		size_t len = strcspn(p, "/"), upto = (size_t)(p - parent) + len;
		int next;

		memcpy(path, p, len);
		path[len] = '\0';
		if (mkdirat(at, path, 0755) == 0) {
			char whole[PATH_BYTES_MAX + 1];

			memcpy(whole, parent, upto);
			whole[upto] = '\0';
			note_implicit(x, whole);
		} else if (errno != EEXIST) {
			return failed(e, name, "make its folder");
		}
		next = extract_open(at, path, O_RDONLY | O_DIRECTORY, !x->policy->layer);
		(void)fd_close(at);
		at = next;
		p += len + (p[len] == '/');
	}
	if (at >= 0)
		return 0;
	if (errno == ELOOP || errno == ENOTDIR)
		return refuse(e, name, "its folder is a link or a file in this archive");
	return failed(e, name, "open its folder");
}

static int open_parent(struct extract *x, const char *name, const char *parent, int *ret,
		       struct err *e)
{
	int fd, r;

	if (x->parent_fd >= 0 && strcmp(x->parent, parent) == 0) {
		*ret = x->parent_fd;
		return 0;
	}
	forget_parent(x);
	fd = extract_open(x->top, parent[0] ? parent : ".", O_RDONLY | O_DIRECTORY,
			  !x->policy->layer);
	if (fd < 0 && errno == ENOENT) {
		r = make_parents(x, name, parent, e);
		if (r < 0)
			return r;
		fd = extract_open(x->top, parent, O_RDONLY | O_DIRECTORY, !x->policy->layer);
	}
	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR || errno == EXDEV))
		return refuse(e, name, "its folder is a link or a file in this archive");
	if (fd < 0)
		return failed(e, name, "open its folder");
	snprintf(x->parent, sizeof(x->parent), "%s", parent);
	*ret = x->parent_fd = fd;
	return 0;
}

/* Splits a clean path and opens its parent. */
static int find_place(struct extract *x, const char *name, struct place *pl, struct err *e)
{
	char parent[PATH_BYTES_MAX + 1];
	char *slash = strrchr(pl->path, '/');
	size_t n = slash ? (size_t)(slash - pl->path) : 0;

	pl->base = slash ? slash + 1 : pl->path;
	memcpy(parent, pl->path, n);
	parent[n] = '\0';
	if (x->policy->layer && (text_starts(parent, WHITEOUT) || strstr(parent, "/" WHITEOUT)))
		return refuse(e, name,
			      "a folder's name begins with '" WHITEOUT "', which marks removals");
	return open_parent(x, name, parent, &pl->fd, e);
}

/* ---- What stands in the way ---- */

static int hide_below(struct extract *x, const char *name, int dirfd, struct err *e)
{
	if (mark_opaque(dirfd, x->policy->user_xattr) < 0)
		return failed(e, name, "mark its folder opaque");
	return 0;
}

/*
 * Makes way for a new member. ret_dir: a folder is there and the member is one too, so it stays.
 * ret_hides: what was removed was a whiteout.
 */
static int make_way(struct extract *x, const char *name, const struct place *pl, bool is_dir,
		    bool *ret_dir, bool *ret_hides, struct err *e)
{
	struct stat st;
	int r;

	*ret_dir = *ret_hides = false;
	if (fstatat(pl->fd, pl->base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : failed(e, name, "look at what is there");
	if (S_ISDIR(st.st_mode) && is_dir) {
		*ret_dir = true;
		return 0;
	}
	if (x->policy->no_overwrite && S_ISDIR(st.st_mode))
		return err_set(e, ERR_INVALID,
			       "cannot overwrite directory '/%s' with non-directory", pl->path);
	if (x->policy->no_overwrite && is_dir)
		return err_set(e, ERR_INVALID,
			       "cannot overwrite non-directory '/%s' with directory", pl->path);
	*ret_hides = mark_is_whiteout(pl->fd, pl->base, &st);
	/* Removing may change what a name means: the kept parent serves this member only. No clean
	 * name is "/". */
	memcpy(x->parent, "/", 2);
	if (!S_ISDIR(st.st_mode))
		return unlinkat(pl->fd, pl->base, 0) < 0 ? failed(e, name, "replace what is there")
							 : 0;
	r = folder_remove(pl->fd, pl->base, e);
	return r;
}

/* ---- Attributes ---- */

static bool xattr_passes(const char *xattr)
{
	return strcmp(xattr, "security.capability") == 0 ||
	       (text_starts(xattr, "user.") && !text_starts(xattr, "user.overlay."));
}

static int set_xattrs(struct extract *x, int fd, const struct tar_item *item, struct err *e)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < item->xattrs_n; i++) {
		const struct tar_xattr *a = &item->xattrs[i];

		sum += a->size + strlen(a->name);
		if (sum > x->policy->limits.xattr_bytes_max)
			return refuse(e, item->name, "its extended attributes exceed %u bytes",
				      x->policy->limits.xattr_bytes_max);
		if (!xattr_passes(a->name))
			continue;
		if (fsetxattr(fd, a->name, a->value, a->size, 0) < 0 && errno != ENOTSUP)
			return failed(e, item->name, "set an extended attribute");
	}
	return 0;
}

static void owner_of(const struct extract *x, const struct tar_item *item, uid_t *uid, gid_t *gid)
{
	*uid = x->policy->keep_owner ? item->uid : x->policy->uid;
	*gid = x->policy->keep_owner ? item->gid : x->policy->gid;
}

static struct timespec time_of(const struct tar_item *item)
{
	return (struct timespec){.tv_sec = item->mtime_s,
				 .tv_nsec = item->mtime_ns < 1000000000 ? item->mtime_ns : 0};
}

/* Owner before mode: a change of owner clears the set-id bits; xattrs last: it clears capabilities
 * too. */
static int set_by_fd(struct extract *x, int fd, const struct tar_item *item, struct err *e)
{
	uid_t uid;
	gid_t gid;

	owner_of(x, item, &uid, &gid);
	if (fchown(fd, uid, gid) < 0)
		return failed(e, item->name, "set its owner");
	if (fchmod(fd, item->mode & 07777) < 0)
		return failed(e, item->name, "set its mode");
	return set_xattrs(x, fd, item, e);
}

static int set_by_name(struct extract *x, const struct place *pl, const struct tar_item *item,
		       struct err *e)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time_of(item)};
	uid_t uid;
	gid_t gid;

	owner_of(x, item, &uid, &gid);
	if (fchownat(pl->fd, pl->base, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(e, item->name, "set its owner");
	if (!S_ISLNK(item->mode) && fchmodat(pl->fd, pl->base, item->mode & 07777, 0) < 0)
		return failed(e, item->name, "set its mode");
	if (utimensat(pl->fd, pl->base, times, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(e, item->name, "set its time");
	return 0;
}

/* ---- One maker for each type ---- */

static int write_piece(int fd, const char *p, size_t n, int64_t offset)
{
	while (n > 0) {
		ssize_t did = pwrite(fd, p, n, offset);

		if (did < 0 && errno == EINTR)
			continue;
		if (did < 0)
			return -1;
		p += did;
		n -= (size_t)did;
		offset += did;
	}
	return 0;
}

static int write_data(struct extract *x, struct tar_reader *reader, int fd,
		      const struct tar_item *item, struct err *e)
{
	int64_t offset = 0, end = 0;
	const void *p;
	size_t n;
	int r;

	while ((r = tar_data(reader, &p, &n, &offset, e)) > 0) {
		if (offset < 0 || (uint64_t)offset + n > (uint64_t)item->size_bytes)
			return refuse(e, item->name, "its data exceed its size");
		if (write_piece(fd, p, n, offset) < 0)
			return failed(e, item->name, "write it");
		end = offset + (int64_t)n;
		if (x->policy->beat && n >= 65536)
			x->policy->beat(x->policy->arg);
	}
	if (r < 0)
		return r;
	if (end < item->size_bytes && ftruncate(fd, item->size_bytes) < 0)
		return failed(e, item->name, "set its size");
	return 0;
}

static int make_file(struct extract *x, struct tar_reader *reader, const struct place *pl,
		     const struct tar_item *item, struct err *e)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time_of(item)};
	auto_close int fd = -1;
	int r;

	if (item->size_bytes < 0 ||
	    (uint64_t)item->size_bytes > x->policy->limits.bytes_max - x->bytes)
		return refuse(e, item->name, "the archive unpacks to more than %llu bytes",
			      (unsigned long long)x->policy->limits.bytes_max);
	x->bytes += (uint64_t)item->size_bytes;
	fd = openat(pl->fd, pl->base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return failed(e, item->name, "create it");
	r = write_data(x, reader, fd, item, e);
	if (r == 0)
		r = set_by_fd(x, fd, item, e);
	if (r == 0 && futimens(fd, times) < 0)
		r = failed(e, item->name, "set its time");
	return r;
}

static int make_dir(struct extract *x, const struct place *pl, const struct tar_item *item,
		    bool exists, bool hides, struct err *e)
{
	auto_close int fd = -1;
	int r;

	if (!exists && mkdirat(pl->fd, pl->base, 0700) < 0)
		return failed(e, item->name, "make the folder");
	fd = openat(pl->fd, pl->base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return failed(e, item->name, "open the folder");
	r = set_by_fd(x, fd, item, e);
	if (r == 0 && hides && x->policy->layer)
		r = hide_below(x, item->name, fd, e);
	if (r < 0)
		return r;
	mem_grow(x->times, x->times_n + 1, x->times_room);
	x->times[x->times_n++] = (struct folder_time){mem_dup_text(pl->path), time_of(item)};
	return 0;
}

static int make_node(struct extract *x, const struct place *pl, const struct tar_item *item,
		     struct err *e)
{
	bool fifo = S_ISFIFO(item->mode);

	if (!fifo && !x->policy->devices)
		return refuse(e, item->name, "device nodes are not permitted here");
	if (S_ISCHR(item->mode) && item->dev_major == 0 && item->dev_minor == 0)
		return refuse(e, item->name, "device 0:0 is the mark of a removal, not a device");
	if (mknodat(pl->fd, pl->base, (item->mode & S_IFMT) | 0600,
		    fifo ? 0 : makedev(item->dev_major, item->dev_minor)) < 0)
		return failed(e, item->name, "make the device node");
	return set_by_name(x, pl, item, e);
}

static int make_symlink(struct extract *x, const struct place *pl, const struct tar_item *item,
			struct err *e)
{
	if (!item->sym_link || !item->sym_link[0] || strlen(item->sym_link) > PATH_BYTES_MAX)
		return refuse(e, item->name, "a symbolic link without a usable target");
	if (symlinkat(item->sym_link, pl->fd, pl->base) < 0)
		return failed(e, item->name, "make the symbolic link");
	return set_by_name(x, pl, item, e);
}

/* The target is found like any name: in-root, without following links, and must not be a folder. */
static int make_hard_link(struct extract *x, const struct place *pl, const struct tar_item *item,
			  struct err *e)
{
	char path[PATH_BYTES_MAX + 1], quoted[200];
	auto_close int parent = -1;
	struct stat st;
	char *slash;
	int r = clean_name(x, item->hard_link, path, e);

	if (r < 0)
		return err_wrap(e, "hard link '%s'", extract_quote(item->name, quoted));
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	parent =
		extract_open(x->top, slash ? path : ".", O_RDONLY | O_DIRECTORY, !x->policy->layer);
	if (parent < 0 || fstatat(parent, slash ? slash + 1 : path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(e, item->name,
			      "it is a hard link to '%s', which this archive does not have",
			      extract_quote(item->hard_link, quoted));
	if (S_ISDIR(st.st_mode) || mark_is_whiteout(parent, slash ? slash + 1 : path, &st))
		return refuse(e, item->name, "it is a hard link to '%s', which is no file",
			      extract_quote(item->hard_link, quoted));
	if (linkat(parent, slash ? slash + 1 : path, pl->fd, pl->base, 0) < 0)
		return failed(e, item->name, "make the hard link");
	return 0;
}

/* ---- Whiteouts ---- */

static int make_opaque(struct extract *x, const char *name, const struct place *pl, struct err *e)
{
	return hide_below(x, name, pl->fd, e);
}

static int make_whiteout(struct extract *x, const char *name, const struct place *pl, struct err *e)
{
	const char *hidden = pl->base + strlen(WHITEOUT);
	auto_close int fd = -1;

	if (!hidden[0] || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
		return refuse(e, name, "it removes '%s', which is no name", hidden);
	if (mark_whiteout(pl->fd, hidden) == 0)
		return 0;
	if (errno != EEXIST)
		return failed(e, name, "make the whiteout");
	/* This layer has the name too: then only what lies below in a folder of that name is
	 * hidden. */
	fd = openat(pl->fd, hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 ? hide_below(x, name, fd, e) : 0;
}

/* ---- A member ---- */

static int make_top(struct extract *x, const struct tar_item *item, struct err *e)
{
	int r;

	if (!S_ISDIR(item->mode))
		return refuse(e, item->name, "the top of the archive is not a folder");
	if (!x->policy->layer)
		return 0;
	r = set_by_fd(x, x->top, item, e);
	if (r < 0)
		return r;
	mem_grow(x->times, x->times_n + 1, x->times_room);
	x->times[x->times_n++] = (struct folder_time){mem_dup_text("."), time_of(item)};
	return 0;
}

static int make_kind(struct extract *x, struct tar_reader *reader, const struct place *pl,
		     const struct tar_item *item, bool exists, bool hides, struct err *e)
{
	if (item->hard_link)
		return make_hard_link(x, pl, item, e);
	switch (item->mode & S_IFMT) {
	case S_IFREG:
		return make_file(x, reader, pl, item, e);
	case S_IFDIR:
		return make_dir(x, pl, item, exists, hides, e);
	case S_IFLNK:
		return make_symlink(x, pl, item, e);
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
		return make_node(x, pl, item, e);
	default:
		return refuse(e, item->name, "its type 0%o is unknown", item->mode & S_IFMT);
	}
}

static int check_item(struct extract *x, const struct tar_item *item, struct err *e)
{
	if (++x->entries > x->policy->limits.entries_max)
		return refuse(e, item->name, "the archive has more than %llu entries",
			      (unsigned long long)x->policy->limits.entries_max);
	if (x->policy->plain && !S_ISREG(item->mode) && !S_ISDIR(item->mode) && !item->sym_link)
		return refuse(e, item->name, "only files and folders are expected here");
	if (x->policy->beat && x->entries % BEAT_ENTRIES == 0)
		x->policy->beat(x->policy->arg);
	return 0;
}

static int make_item(struct extract *x, struct tar_reader *reader, const struct tar_item *item,
		     struct err *e)
{
	struct place pl;
	bool exists, hides;
	int r = check_item(x, item, e);

	if (r == 0)
		r = clean_name(x, item->name, pl.path, e);
	if (r < 0)
		return r;
	if (!pl.path[0])
		return make_top(x, item, e);
	r = find_place(x, item->name, &pl, e);
	if (r < 0)
		return r;
	if (x->policy->layer && strcmp(pl.base, WHITEOUT_OPAQUE) == 0)
		return make_opaque(x, item->name, &pl, e);
	if (x->policy->layer && text_starts(pl.base, WHITEOUT_META))
		return 0; /* bookkeeping of a file system that is no more */
	if (x->policy->layer && text_starts(pl.base, WHITEOUT))
		return make_whiteout(x, item->name, &pl, e);
	r = make_way(x, item->name, &pl, S_ISDIR(item->mode) && !item->hard_link, &exists, &hides,
		     e);
	if (r < 0)
		return r;
	return make_kind(x, reader, &pl, item, exists, hides, e);
}

static int set_times(struct extract *x, struct err *e)
{
	for (size_t i = 0; i < x->times_n; i++) {
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, x->times[i].mtime};
		auto_close int fd = extract_open(x->top, x->times[i].path, O_RDONLY | O_DIRECTORY,
						 !x->policy->layer);

		/* Gone or replaced by a later member: nothing to set. */
		if (fd >= 0 && futimens(fd, times) < 0)
			return failed(e, x->times[i].path, "set its time");
	}
	return 0;
}

static int extract_all(struct extract *x, struct tar_reader *reader, struct err *e)
{
	auto_free struct tar_item *item = mem_new(struct tar_item);
	int r;

	while ((r = tar_next(reader, item, e)) > 0) {
		r = make_item(x, reader, item, e);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : set_times(x, e);
}

int extract_archive(struct inflate *from, int topfd, const struct extract_policy *p,
		    struct arena *a, struct unpack_answer *ret, struct err *e)
{
	struct extract *x = mem_new(struct extract);
	auto_tar_reader struct tar_reader *reader = NULL;
	int r;

	assert(p->limits.bytes_max && p->limits.entries_max && p->limits.depth_max);
	x->policy = p;
	x->arena = a;
	x->top = topfd;
	x->parent_fd = -1;
	x->implicit = arena_new_array(a, char *, UNPACK_IMPLICIT_MAX + 1);
	(void)umask(0);
	r = tar_reader_new(from, &reader, e);
	if (r == 0)
		r = extract_all(x, reader, e);
	forget_parent(x);
	for (size_t i = 0; i < x->times_n; i++)
		free(x->times[i].path);
	free(x->times);
	ret->bytes = x->bytes;
	ret->entries = x->entries;
	ret->implicit = x->implicit;
	free(x);
	return r;
}
