/*
 * Blobs as files. The one idea: a name appears only by rename of a file that was verified, so every
 * reader may trust what it finds (and blob_get still checks small ones, which cost nothing).
 * No reference counts here: who owns blobs decides what to delete.
 */
#include "ground/store/blob.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ground/base/mem.h"

#define BLOB_STEP (1u << 20) /* bytes hashed between two reads */

struct blob_store {
	char *path;   /* <top>/blob */
	int names_fd; /* <top>/blob/sha256 */
	int tmp_fd;
	atomic_uint serial;
};

struct blob_writer {
	struct blob_store *store;
	int fd;
	char tmp_name[32];
	char digest[DIGEST_ROOM]; /* set by finish */
	struct digest hash;
	uint64_t written, hashed;
};

static int open_folder(const char *top, const char *name, int *ret_fd, struct err *e)
{
	auto_free char *path = mem_printf("%s/%s", top, name);

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", path);
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret_fd < 0 ? err_sys(e, "cannot open '%s'", path) : 0;
}

static void sweep(int tmp_fd)
{
	int fd = openat(tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *d; dir && (d = readdir(dir));)
		if (d->d_name[0] != '.')
			(void)unlinkat(tmp_fd, d->d_name, 0);
}

int blob_store_open(const char *top, struct blob_store **ret, struct err *e)
{
	struct blob_store *s = mem_new(struct blob_store);
	int r, fd = -1;

	assert(top && ret);
	s->path = mem_printf("%s/blob", top);
	s->names_fd = s->tmp_fd = -1;
	r = open_folder(top, "blob", &fd, e);
	if (r == 0)
		r = open_folder(s->path, "sha256", &s->names_fd, e);
	if (r == 0)
		r = open_folder(s->path, "tmp", &s->tmp_fd, e);
	(void)fd_close(fd);
	if (r < 0) {
		(void)blob_store_free(s);
		return r;
	}
	sweep(s->tmp_fd);
	*ret = s;
	return 0;
}

struct blob_store *blob_store_free(struct blob_store *s)
{
	if (!s)
		return NULL;
	(void)fd_close(s->names_fd);
	(void)fd_close(s->tmp_fd);
	free(s->path);
	free(s);
	return NULL;
}

int blob_write_err(struct err *e, int fd, const char *path)
{
	int sys = errno;
	struct statvfs v;

	if ((sys == ENOSPC || sys == EDQUOT) && fstatvfs(fd, &v) == 0)
		return err_set(e, ERR_EXHAUSTED,
			       "no space left on the disk of '%s': %llu MiB are free; free some "
			       "(hull rmi, hull gc) "
			       "and try again",
			       path, (unsigned long long)v.f_bavail * v.f_frsize >> 20);
	errno = sys;
	return err_sys(e, "cannot write '%s'", path);
}

int blob_begin(struct blob_store *s, struct blob_writer **ret, struct err *e)
{
	struct blob_writer *w = mem_new(struct blob_writer);

	w->store = s;
	snprintf(w->tmp_name, sizeof(w->tmp_name), "%ld-%u", (long)getpid(),
		 atomic_fetch_add(&s->serial, 1));
	w->fd = openat(s->tmp_fd, w->tmp_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		       0600);
	if (w->fd < 0) {
		free(w);
		return blob_write_err(e, s->tmp_fd, s->path);
	}
	digest_begin(&w->hash);
	*ret = w;
	return 0;
}

int blob_append(struct blob_writer *w, const void *p, size_t n, struct err *e)
{
	const char *at = p;

	assert(w->digest[0] == '\0');
	while (n > 0) {
		ssize_t did = pwrite(w->fd, at, n, (off_t)w->written);

		if (did < 0 && errno == EINTR)
			continue;
		if (did < 0)
			return blob_write_err(e, w->fd, w->store->path);
		at += did;
		n -= (size_t)did;
		w->written += (uint64_t)did;
	}
	return 0;
}

int blob_write(struct blob_writer *w, const void *p, size_t n, struct err *e)
{
	int r;

	assert(w->hashed == w->written);
	r = blob_append(w, p, n, e);
	if (r < 0)
		return r;
	digest_add(&w->hash, p, n);
	w->hashed += n;
	return 0;
}

int blob_hash(struct blob_writer *w, uint64_t upto, struct err *e)
{
	auto_free unsigned char *step = NULL;

	if (w->hashed >= upto)
		return 0;
	step = mem_new_bytes(1, BLOB_STEP);
	while (w->hashed < upto) {
		uint64_t left = upto - w->hashed;
		ssize_t n = pread(w->fd, step, left < BLOB_STEP ? (size_t)left : BLOB_STEP,
				  (off_t)w->hashed);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "cannot read back '%s/tmp/%s'", w->store->path,
				       w->tmp_name);
		if (n == 0)
			return err_set(e, ERR_INTERNAL, "'%s/tmp/%s' ends before its size",
				       w->store->path, w->tmp_name);
		digest_add(&w->hash, step, (size_t)n);
		w->hashed += (uint64_t)n;
	}
	return 0;
}

int blob_filled(struct blob_writer *w, struct err *e)
{
	struct stat st;

	if (fstat(w->fd, &st) < 0)
		return err_sys(e, "cannot look at '%s/tmp/%s'", w->store->path, w->tmp_name);
	assert((uint64_t)st.st_size >= w->hashed);
	w->written = (uint64_t)st.st_size;
	return 0;
}

int blob_adopt(struct blob_store *s, int fd, struct blob_writer **ret, struct err *e)
{
	struct blob_writer *w = mem_new(struct blob_writer);
	char path[32];
	int r;

	w->store = s;
	snprintf(w->tmp_name, sizeof(w->tmp_name), "%ld-%u", (long)getpid(),
		 atomic_fetch_add(&s->serial, 1));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (w->fd < 0 || linkat(AT_FDCWD, path, s->tmp_fd, w->tmp_name, AT_SYMLINK_FOLLOW) < 0) {
		r = err_sys(e, "cannot take a file over into '%s'", s->path);
		(void)fd_close(w->fd);
		free(w);
		return r;
	}
	digest_begin(&w->hash);
	r = blob_filled(w, e);
	if (r < 0)
		w = blob_abort(w);
	*ret = w;
	return r;
}

int blob_writer_fd(const struct blob_writer *w)
{
	return w->fd;
}

uint64_t blob_written(const struct blob_writer *w)
{
	return w->written;
}

int blob_finish(struct blob_writer *w, const char *expect, char ret[DIGEST_ROOM], struct err *e)
{
	int r = blob_hash(w, w->written, e);

	if (r < 0)
		return r;
	digest_end(&w->hash, w->digest);
	if (expect && strcmp(expect, w->digest) != 0)
		return err_set(e, ERR_INVALID,
			       "digest mismatch: expected %s, the %llu bytes received have %s",
			       expect, (unsigned long long)w->written, w->digest);
	if (ret)
		memcpy(ret, w->digest, DIGEST_ROOM);
	return 0;
}

static void writer_free(struct blob_writer *w)
{
	digest_drop(&w->hash);
	(void)fd_close(w->fd);
	free(w);
}

int blob_publish(struct blob_writer *w, bool sync, struct err *e)
{
	struct blob_store *s = w->store;
	int r = 0;

	assert(digest_valid(str_of(w->digest)));
	if (sync && fsync(w->fd) < 0)
		r = blob_write_err(e, w->fd, s->path);
	else if (fchmod(w->fd, 0400) < 0 ||
		 renameat(s->tmp_fd, w->tmp_name, s->names_fd, digest_hex(w->digest)) < 0)
		r = err_sys(e, "cannot name blob '%s/sha256/%s'", s->path, digest_hex(w->digest));
	if (r < 0)
		(void)unlinkat(s->tmp_fd, w->tmp_name, 0);
	else if (sync)
		r = blob_sync_names(s, e);
	writer_free(w);
	return r;
}

struct blob_writer *blob_abort(struct blob_writer *w)
{
	if (!w)
		return NULL;
	(void)unlinkat(w->store->tmp_fd, w->tmp_name, 0);
	writer_free(w);
	return NULL;
}

int blob_sync_names(struct blob_store *s, struct err *e)
{
	return fsync(s->names_fd) < 0 ? err_sys(e, "cannot sync '%s/sha256'", s->path) : 0;
}

int blob_put(struct blob_store *s, struct str bytes, char ret[DIGEST_ROOM], struct err *e)
{
	auto_blob_writer struct blob_writer *w = NULL;
	uint64_t size = 0;
	int r;

	digest_of(bytes.p, bytes.n, ret);
	if (blob_has(s, ret, &size) && size == bytes.n)
		return 0;
	r = blob_begin(s, &w, e);
	if (r == 0)
		r = blob_write(w, bytes.p, bytes.n, e);
	if (r == 0)
		r = blob_finish(w, ret, NULL, e);
	return r < 0 ? r : blob_publish(take(w), true, e);
}

int blob_open(struct blob_store *s, const char *digest, int *ret_fd, uint64_t *ret_size,
	      struct err *e)
{
	struct stat st;
	int r, fd;

	r = digest_check(str_of(digest), e);
	if (r < 0)
		return r;
	fd = openat(s->names_fd, digest_hex(digest), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "blob %s is not in '%s'", digest, s->path);
	if (fd < 0 || fstat(fd, &st) < 0) {
		(void)fd_close(fd);
		return err_sys(e, "cannot open blob '%s/sha256/%s'", s->path, digest_hex(digest));
	}
	if (ret_size)
		*ret_size = (uint64_t)st.st_size;
	*ret_fd = fd;
	return 0;
}

bool blob_has(struct blob_store *s, const char *digest, uint64_t *ret_size)
{
	struct stat st;

	if (!digest_valid(str_of(digest)) ||
	    fstatat(s->names_fd, digest_hex(digest), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (ret_size)
		*ret_size = (uint64_t)st.st_size;
	return S_ISREG(st.st_mode);
}

int blob_get(struct blob_store *s, const char *digest, size_t max, struct strbuf *ret,
	     struct err *e)
{
	auto_close int fd = -1;
	auto_free char *bytes = NULL;
	char found[DIGEST_ROOM];
	uint64_t size = 0;
	size_t have = 0;
	int r = blob_open(s, digest, &fd, &size, e);

	if (r < 0)
		return r;
	if (size > max)
		return err_set(e, ERR_INVALID, "blob %s has %llu bytes, more than the %zu allowed",
			       digest, (unsigned long long)size, max);
	bytes = mem_try((size_t)size + 1, e);
	if (!bytes)
		return -ERR_EXHAUSTED;
	for (ssize_t n; have < size; have += (size_t)n) {
		n = read(fd, bytes + have, (size_t)size - have);
		if (n <= 0)
			return err_sys(e, "cannot read blob %s", digest);
	}
	digest_of(bytes, have, found);
	if (strcmp(found, digest) != 0)
		return err_set(e, ERR_INVALID, "blob %s is damaged on disk: its bytes have %s",
			       digest, found);
	strbuf_add(ret, bytes, have);
	return 0;
}

int blob_verify(struct blob_store *s, const char *digest, struct err *e)
{
	auto_free unsigned char *step = mem_new_bytes(1, BLOB_STEP);
	auto_close int fd = -1;
	char found[DIGEST_ROOM];
	struct digest d;
	ssize_t n;
	int r = blob_open(s, digest, &fd, NULL, e);

	if (r < 0)
		return r;
	digest_begin(&d);
	while ((n = read(fd, step, BLOB_STEP)) > 0)
		digest_add(&d, step, (size_t)n);
	digest_end(&d, found);
	if (n < 0)
		return err_sys(e, "cannot read blob %s", digest);
	if (strcmp(found, digest) != 0)
		return err_set(e, ERR_INVALID, "blob %s is damaged on disk: its bytes have %s",
			       digest, found);
	return 0;
}

int blob_delete(struct blob_store *s, const char *digest, struct err *e)
{
	int r = digest_check(str_of(digest), e);

	if (r < 0)
		return r;
	if (unlinkat(s->names_fd, digest_hex(digest), 0) < 0 && errno != ENOENT)
		return err_sys(e, "cannot delete blob '%s/sha256/%s'", s->path, digest_hex(digest));
	return 0;
}

int blob_each(struct blob_store *s, void (*fn)(void *arg, const char *digest, uint64_t size_bytes),
	      void *arg, struct err *e)
{
	int fd = openat(s->names_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		(void)fd_close(fd);
		return err_sys(e, "cannot read '%s/sha256'", s->path);
	}
	for (struct dirent *d; (d = readdir(dir));) {
		char digest[7 + sizeof(d->d_name)];
		uint64_t size;

		snprintf(digest, sizeof(digest), "sha256:%s", d->d_name);
		if (blob_has(s, digest, &size))
			fn(arg, digest, size);
	}
	return 0;
}
