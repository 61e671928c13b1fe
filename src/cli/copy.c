/*
 * Files in and out of containers: see copy.h.
 *
 * Out: the daemon's tar is read as it comes, and its members are created below the destination
 * directory by descriptor; the container is a stranger, so no link of the archive is ever followed
 * and no name may leave that directory. In: a child process walks the source and writes a tar into
 * a pipe, which is the body of the call. "-" stands for a tar on standard input or output.
 */
#include "cli/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/client.h"
#include "ground/base/mem.h"
#include "ground/linux/inroot.h"
#include "ground/store/inflate.h"
#include "ground/store/tar.h"

#define DEPTH_MAX 256

/* "CONTAINER:PATH", or a path of ours. A name with a slash before its colon is a path. */
struct place {
	char *container; /* NULL: here */
	const char *path;
};

static void place_done(struct place *p)
{
	free(p->container);
}

static struct place place_of(const char *text)
{
	const char *colon = strchr(text, ':'), *slash = strchr(text, '/');

	if (!colon || (slash && slash < colon) || colon == text || text[0] == '.')
		return (struct place){NULL, text};
	return (struct place){str_dup((struct str){text, (size_t)(colon - text)}), colon + 1};
}

static char *archive_target(const struct place *p, const char *path, const char *more)
{
	auto_free char *call = client_target("/containers/%s/archive?path=", p->container);
	struct strbuf target = {0};

	strbuf_add_text(&target, call);
	http_encode(&target, path);
	strbuf_add_text(&target, more);
	return strbuf_take(&target);
}

/* Cuts "a/b/c/" into "a/b" and "c"; "." stands for an empty directory part. */
static void split_path(const char *path, char **ret_dir, char **ret_name)
{
	struct str whole = str_of(path);
	size_t at;

	while (whole.n > 1 && whole.p[whole.n - 1] == '/')
		whole.n--;
	for (at = whole.n; at > 0 && whole.p[at - 1] != '/'; at--)
		;
	*ret_name = str_dup((struct str){whole.p + at, whole.n - at});
	while (at > 1 && whole.p[at - 1] == '/')
		at--;
	*ret_dir = at ? str_dup((struct str){whole.p, at}) : mem_dup_text(".");
}

/* Out of a container. */

struct out {
	int dir;	     /* everything is made below it */
	const char *renamed; /* what the first component of every member becomes; NULL: as it is */
	bool owners;
};

static int64_t read_reply(void *arg, void *p, size_t n, struct err *e)
{
	size_t got = 0;
	int r = http_local_read(arg, p, n, &got, e);

	return r < 0 ? r : (int64_t)got;
}

/* The member's name below out->dir, freed by the caller; NULL for the top itself. */
static char *name_of(const struct out *o, const char *name)
{
	struct str rest = str_of(name), first = {0};

	while (rest.n && (rest.p[0] == '/' || str_starts(rest, "./"))) {
		rest.p++;
		rest.n--;
	}
	if (!o->renamed)
		return rest.n ? str_dup(rest) : NULL;
	(void)str_cut(&rest, '/', &first);
	return rest.n ? mem_printf("%s/%.*s", o->renamed, (int)rest.n, rest.p)
		      : mem_dup_text(o->renamed);
}

static int write_data(struct tar_reader *tar, int fd, const char *name, struct err *e)
{
	const void *p;
	size_t n;
	int64_t offset;
	int r;

	while ((r = tar_data(tar, &p, &n, &offset, e)) > 0) {
		for (size_t at = 0; at < n;) {
			ssize_t put =
				pwrite(fd, (const char *)p + at, n - at, offset + (int64_t)at);

			if (put < 0 && errno != EINTR)
				return err_sys(e, "cannot write '%s'", name);
			at += put > 0 ? (size_t)put : 0;
		}
	}
	return r;
}

static int make_file(const struct out *o, struct tar_reader *tar, const struct tar_item *item,
		     int dir, const char *base, struct err *e)
{
	auto_close int fd = -1;

	(void)unlinkat(dir, base, 0);
	fd = openat(dir, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "cannot make '%s'", item->name);
	if (write_data(tar, fd, item->name, e) < 0 || ftruncate(fd, item->size_bytes) < 0)
		return e->kind ? -(int)e->kind : err_sys(e, "cannot write '%s'", item->name);
	if (o->owners && fchown(fd, item->uid, item->gid) < 0)
		return err_sys(e, "cannot give '%s' its owner", item->name);
	if (fchmod(fd, item->mode & 0777) < 0)
		return err_sys(e, "cannot set the mode of '%s'", item->name);
	(void)futimens(fd, (struct timespec[2]){{item->mtime_s, item->mtime_ns},
						{item->mtime_s, item->mtime_ns}});
	return 0;
}

static int make_hard_link(const struct out *o, const struct tar_item *item, int dir,
			  const char *base, struct err *e)
{
	auto_free char *target = name_of(o, item->hard_link);
	auto_close int at = -1;
	const char *target_base;

	if (!target || inroot_make_parent(o->dir, target, &at, &target_base, e) < 0)
		return err_wrap(e, "linking '%s'", item->name);
	(void)unlinkat(dir, base, 0);
	if (linkat(at, target_base, dir, base, 0) < 0)
		return err_sys(e, "cannot link '%s' to '%s'", item->name, target);
	return 0;
}

static int make_member(const struct out *o, struct tar_reader *tar, const struct tar_item *item,
		       struct err *e)
{
	auto_free char *name = name_of(o, item->name);
	auto_close int dir = -1;
	const char *base;
	int r;

	if (!name)
		return 0;
	r = inroot_make_parent(o->dir, name, &dir, &base, e);
	if (r < 0)
		return err_wrap(e, "making '%s'", name);
	if (item->hard_link)
		return make_hard_link(o, item, dir, base, e);
	if (S_ISDIR(item->mode)) {
		if (mkdirat(dir, base, item->mode & 0777) < 0 && errno != EEXIST)
			return err_sys(e, "cannot make the directory '%s'", name);
		return 0;
	}
	if (S_ISLNK(item->mode)) {
		(void)unlinkat(dir, base, 0);
		if (symlinkat(item->sym_link, dir, base) < 0)
			return err_sys(e, "cannot make the link '%s'", name);
		return 0;
	}
	if (!S_ISREG(item->mode)) {
		fprintf(stderr, "hull: left out '%s': it is a device, socket or pipe\n", name);
		return 0;
	}
	return make_file(o, tar, item, dir, base, e);
}

static int unpack(const struct out *o, struct http_local *h, struct err *e)
{
	const struct inflate_source source = {read_reply, h};
	auto_inflate struct inflate *plain = NULL;
	auto_tar_reader struct tar_reader *tar = NULL;
	auto_free struct tar_item *item = mem_new(struct tar_item);
	int r = inflate_new(&source, &plain, e);

	if (r == 0)
		r = tar_reader_new(plain, &tar, e);
	while (r == 0) {
		r = tar_next(tar, item, e);
		if (r <= 0)
			break;
		r = make_member(o, tar, item, e);
	}
	return r;
}

static int copy_out(const struct context *c, const struct place *from, const char *to,
		    const struct copy_options *options, struct err *e)
{
	auto_free char *target = archive_target(from, from->path, "");
	auto_free char *dir = NULL, *name = NULL;
	struct out o = {.dir = -1, .owners = options->archive};
	struct http_local h;
	struct stat st;
	int r = client_open(c, &(struct client_request){.method = "GET", .target = target}, &h, e);

	if (r < 0)
		return r;
	if (text_eq(to, "-")) {
		r = client_copy(&h, STDOUT_FILENO, e);
		http_local_close(&h);
		return r;
	}
	if (stat(to, &st) == 0 && S_ISDIR(st.st_mode)) {
		dir = mem_dup_text(to);
	} else {
		split_path(to, &dir, &name);
		o.renamed = name;
	}
	o.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o.dir < 0)
		r = err_sys(e, "cannot copy into the directory '%s'", dir);
	if (r == 0)
		r = unpack(&o, &h, e);
	http_local_close(&h);
	(void)fd_close(o.dir);
	return r;
}

/* Into a container. */

static int put_data(struct tar_writer *tar, int fd, const char *name, int64_t left, struct err *e)
{
	char buf[65536];

	while (left > 0) {
		size_t want = left < (int64_t)sizeof(buf) ? (size_t)left : sizeof(buf);
		ssize_t n = read(fd, buf, want);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e, ERR_CONFLICT, "'%s' became shorter while it was read",
				       name);
		r = tar_write(tar, buf, (size_t)n, e);
		if (r < 0)
			return r;
		left -= n;
	}
	return 0;
}

static int put_tree(struct tar_writer *tar, int dir, const char *base, const char *name, int depth,
		    struct err *e);

static int put_children(struct tar_writer *tar, int fd, const char *name, int depth, struct err *e)
{
	auto_closedir DIR *d = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 3));
	struct dirent *entry;
	int r = 0;

	if (!d)
		return err_sys(e, "cannot list '%s'", name);
	while (r == 0 && (entry = readdir(d)) != NULL) {
		auto_free char *child = mem_printf("%s/%s", name, entry->d_name);

		if (!text_eq(entry->d_name, ".") && !text_eq(entry->d_name, ".."))
			r = put_tree(tar, fd, entry->d_name, child, depth + 1, e);
	}
	return r;
}

/* Adds `base` below dir, named `name` in the archive, and all below it. */
static int put_tree(struct tar_writer *tar, int dir, const char *base, const char *name, int depth,
		    struct err *e)
{
	auto_close int fd = -1;
	char link[4097];
	struct tar_item item = {.name = name};
	struct stat st;
	ssize_t n;
	int r;

	if (depth > DEPTH_MAX)
		return err_set(e, ERR_INVALID, "'%s' is deeper than %d directories", name,
			       DEPTH_MAX);
	if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot look at '%s'", name);
	item.mode = st.st_mode;
	item.uid = st.st_uid;
	item.gid = st.st_gid;
	item.mtime_s = st.st_mtim.tv_sec;
	item.mtime_ns = (uint32_t)st.st_mtim.tv_nsec;
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(dir, base, link, sizeof(link) - 1);
		if (n < 0)
			return err_sys(e, "cannot read the link '%s'", name);
		link[n] = '\0';
		item.sym_link = link;
		return tar_put(tar, &item, e);
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;
	fd = openat(dir, base, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot read '%s'", name);
	if (S_ISREG(st.st_mode))
		item.size_bytes = st.st_size;
	r = tar_put(tar, &item, e);
	if (r < 0)
		return r;
	return S_ISREG(st.st_mode) ? put_data(tar, fd, name, st.st_size, e)
				   : put_children(tar, fd, name, depth, e);
}

/* In the child: the whole tar of `from`, its top named `name`, into fd. */
static int put_all(int fd, const char *from, const char *name, bool follow, struct err *e)
{
	auto_tar_writer struct tar_writer *tar = NULL;
	auto_free char *real = follow ? realpath(from, NULL) : NULL;
	auto_free char *dir_name = NULL, *base = NULL;
	auto_close int dir = -1;
	int r = tar_writer_new(fd, &tar, e);

	if (r < 0)
		return r;
	split_path(real ? real : from, &dir_name, &base);
	dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "cannot open '%s'", dir_name);
	r = put_tree(tar, dir, *base ? base : ".", name, 0, e);
	return r < 0 ? r : tar_end(tar, e);
}

/* Starts the child that packs; *ret_fd is the reading end of its pipe. */
static int start_packing(const char *from, const char *name, bool follow, int *ret_fd,
			 pid_t *ret_pid, struct err *e)
{
	struct err inner = {0};
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "cannot make a pipe");
	pid = fork();
	if (pid == 0) {
		(void)close(ends[0]);
		if (put_all(ends[1], from, name, follow, &inner) == 0)
			_exit(0);
		fprintf(stderr, "hull: %s\n", inner.text);
		_exit(1);
	}
	(void)close(ends[1]);
	if (pid < 0) {
		(void)close(ends[0]);
		return err_sys(e, "cannot start packing");
	}
	*ret_fd = ends[0];
	*ret_pid = pid;
	return 0;
}

/* Whether `path` is a directory in the container: it takes the copy inside itself then. */
static bool is_directory(const struct context *c, const struct place *to)
{
	auto_free char *slashed = mem_printf("%s/.", to->path);
	auto_free char *target = archive_target(to, slashed, "");
	struct http_local h;

	if (client_open(c, &(struct client_request){.method = "HEAD", .target = target}, &h, NULL) <
	    0)
		return false;
	http_local_close(&h);
	return true;
}

static int copy_in(const struct context *c, const char *from, const struct place *to,
		   const struct copy_options *options, struct err *e)
{
	auto_free char *dir = NULL, *name = NULL, *from_dir = NULL, *target = NULL;
	auto_close int fd = -1;
	pid_t pid = 0;
	int r = 0, status = 0;

	if (text_eq(from, "-") || is_directory(c, to)) {
		dir = mem_dup_text(to->path);
		split_path(from, &from_dir, &name);
	} else {
		split_path(to->path, &dir, &name);
	}
	target = archive_target(to, dir, "&noOverwriteDirNonDir=true");
	if (text_eq(from, "-"))
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	else if (access(from, F_OK) < 0)
		r = err_sys(e, "cannot copy '%s'", from);
	else
		r = start_packing(from, text_eq(name, ".") || !*name ? "." : name, options->follow,
				  &fd, &pid, e);
	if (r == 0)
		r = client_send(c,
				&(struct client_request){.method = "PUT",
							 .target = target,
							 .body_fd = fd,
							 .body_type = "application/x-tar"},
				e);
	fd = fd_close(fd);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status != 0 && r == 0)
		r = err_set(e, ERR_SYSTEM, "'%s' was not copied whole", from);
	return r;
}

int copy_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	__attribute__((cleanup(place_done))) struct place from = place_of(argv[0]);
	__attribute__((cleanup(place_done))) struct place to = place_of(argv[1]);

	if (from.container && to.container)
		return err_set(e, ERR_UNSUPPORTED,
			       "copying between two containers needs two steps");
	if (from.container)
		return copy_out(c, &from, to.path, options, e);
	if (to.container)
		return copy_in(c, from.path, &to, options, e);
	return err_set(e, ERR_INVALID, "one of '%s' and '%s' must be CONTAINER:PATH", argv[0],
		       argv[1]);
}
