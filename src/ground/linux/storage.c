/*
 * Disk files as typed calls. Knows nothing of formats: raw and qcow2 stand above.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/fs.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/storage.h"

#define SEGMENTS_MAX 1024 /* the kernel's UIO_MAXIOV */
#define ZERO_STEP    (64u << 10)
#define OFFSET_MAX   INT64_MAX

/* ---- opening ---- */

static int lock(const char *path, int fd, bool read_only, struct err *e)
{
	struct flock l = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(
			e, ERR_BUSY,
			"disk '%s' is in use by another machine or process: stop it first, or "
			"open the disk read-only in both",
			path);
	return err_sys(e, "cannot lock disk '%s'", path);
}

static int measure(const char *path, struct storage *s, struct err *e)
{
	struct stat st;

	if (fstat(s->fd, &st) < 0)
		return err_sys(e, "cannot look at disk '%s'", path);
	s->block_device = S_ISBLK(st.st_mode);
	if (s->block_device) {
		if (ioctl(s->fd, BLKGETSIZE64, &s->bytes) < 0)
			return err_sys(e, "cannot tell the size of block device '%s'", path);
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "disk '%s' is neither a file nor a block device",
			       path);
	s->bytes = (uint64_t)st.st_size;
	return 0;
}

int storage_open(const char *path, bool read_only, struct storage *ret, struct err *e)
{
	struct storage s = {.read_only = read_only};
	int failed;

	/* O_NONBLOCK: a pipe of that name shall not hold us. */
	s.fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (s.fd < 0)
		return err_sys(e, "cannot open disk '%s'", path);
	failed = measure(path, &s, e);
	if (!failed)
		failed = lock(path, s.fd, read_only, e);
	if (failed) {
		storage_close(&s);
		return failed;
	}
	*ret = s;
	return 0;
}

int storage_create(const char *path, struct storage *ret, struct err *e)
{
	struct storage s = {0};
	int failed;

	s.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s.fd < 0)
		return err_sys(e, "cannot create disk '%s'", path);
	failed = lock(path, s.fd, false, e);
	if (failed) {
		storage_close(&s);
		return failed;
	}
	*ret = s;
	return 0;
}

void storage_close(struct storage *s)
{
	s->fd = fd_close(s->fd);
}

int storage_resize(struct storage *s, uint64_t bytes, struct err *e)
{
	assert(!s->block_device && !s->read_only);
	if (bytes > OFFSET_MAX || ftruncate(s->fd, (off_t)bytes) < 0)
		return err_sys(e, "cannot make a disk of %llu bytes", (unsigned long long)bytes);
	s->bytes = bytes;
	return 0;
}

/* ---- bytes ---- */

typedef ssize_t vector_call(int fd, const struct iovec *v, int n, off_t at);

/* Repeats after short results: the segments are copied once, to be shortened. */
static int move_rest(const struct storage *s, vector_call *call, const struct iovec *v, size_t n,
		     uint64_t at, size_t done)
{
	struct iovec rest[SEGMENTS_MAX], *p = rest;
	ssize_t r = (ssize_t)done;

	memcpy(rest, v, n * sizeof(*v));
	for (;;) {
		size_t took = r > 0 ? (size_t)r : 0;

		at += took;
		for (; n && took >= p->iov_len; n--)
			took -= (p++)->iov_len;
		if (n == 0)
			return 0;
		p->iov_base = (uint8_t *)p->iov_base + took;
		p->iov_len -= took;
		r = call(s->fd, p, (int)n, (off_t)at);
		if (r < 0 && errno != EINTR)
			return errno;
		if (r == 0)
			return EIO;
	}
}

static int move(const struct storage *s, vector_call *call, const struct iovec *v, size_t n,
		uint64_t at)
{
	uint64_t bytes = 0;
	ssize_t r;

	assert(n <= SEGMENTS_MAX);
	if (at > OFFSET_MAX)
		return EINVAL;
	for (size_t i = 0; i < n; i++)
		bytes += v[i].iov_len;
	if (bytes == 0)
		return 0;
	r = call(s->fd, v, (int)n, (off_t)at);
	if (r < 0 && errno != EINTR)
		return errno;
	if (r == 0)
		return EIO;
	if (r > 0 && (uint64_t)r == bytes)
		return 0;
	return move_rest(s, call, v, n, at, r > 0 ? (size_t)r : 0);
}

int storage_read(const struct storage *s, const struct iovec *v, size_t n, uint64_t at)
{
	return move(s, preadv, v, n, at);
}

int storage_write(const struct storage *s, const struct iovec *v, size_t n, uint64_t at)
{
	assert(!s->read_only);
	return move(s, pwritev, v, n, at);
}

int storage_read_bytes(const struct storage *s, void *p, size_t n, uint64_t at)
{
	const struct iovec v = {p, n};

	return move(s, preadv, &v, 1, at);
}

int storage_write_bytes(const struct storage *s, const void *p, size_t n, uint64_t at)
{
	const struct iovec v = {(void *)(uintptr_t)p, n};

	assert(!s->read_only);
	return move(s, pwritev, &v, 1, at);
}

bool storage_read_now(const struct storage *s, const struct iovec *v, size_t n, uint64_t at,
		      uint64_t bytes)
{
	ssize_t r = preadv2(s->fd, v, (int)n, (off_t)at, RWF_NOWAIT);

	return r >= 0 && (uint64_t)r == bytes;
}

bool storage_write_now(const struct storage *s, const struct iovec *v, size_t n, uint64_t at,
		       uint64_t bytes)
{
	ssize_t r = pwritev2(s->fd, v, (int)n, (off_t)at, RWF_NOWAIT);

	return r >= 0 && (uint64_t)r == bytes;
}

int storage_sync(const struct storage *s)
{
	return fdatasync(s->fd) < 0 ? errno : 0;
}

/* ---- holes and zeroes ---- */

static int device_range(const struct storage *s, unsigned long request, uint64_t at, uint64_t n)
{
	uint64_t range[2] = {at, n};

	return ioctl(s->fd, request, range) < 0 ? errno : 0;
}

static int punch(const struct storage *s, uint64_t at, uint64_t n)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return fallocate(s->fd, mode, (off_t)at, (off_t)n) < 0 ? errno : 0;
}

static int write_zeroes(const struct storage *s, uint64_t at, uint64_t n)
{
	static const uint8_t zeroes[ZERO_STEP];
	int failed = 0;

	while (n && !failed) {
		size_t now = n < sizeof(zeroes) ? (size_t)n : sizeof(zeroes);

		failed = storage_write_bytes(s, zeroes, now, at);
		at += now;
		n -= now;
	}
	return failed;
}

int storage_discard(const struct storage *s, uint64_t at, uint64_t n)
{
	assert(!s->read_only);
	if (n == 0)
		return 0;
	return s->block_device ? device_range(s, BLKDISCARD, at, n) : punch(s, at, n);
}

int storage_zero(const struct storage *s, uint64_t at, uint64_t n, bool unmap)
{
	int failed;

	assert(!s->read_only);
	if (n == 0)
		return 0;
	if (s->block_device)
		failed = device_range(s, BLKZEROOUT, at, n);
	else if (unmap)
		failed = punch(s, at, n);
	else
		failed = fallocate(s->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)at,
				   (off_t)n) < 0
				 ? errno
				 : 0;
	return failed == EOPNOTSUPP || failed == ENOTTY ? write_zeroes(s, at, n) : failed;
}
