/*
 * Marks of a layer's directory.
 *
 * Overlay's own: a 0:0 character device is a whiteout, the attribute overlay.opaque an opaque
 * folder. A disk that is an overlay itself refuses that device, and before Linux 6.7 the attribute
 * as well; overlay cannot be stacked there either, so that only we read what is written
 * instead: an empty file without any permission that carries trusted.hull.whiteout, and the
 * attribute trusted.hull.opaque.
 */
#include "virt/image/mark.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "ground/base/str.h"

#define OUR_WHITEOUT "trusted.hull.whiteout"
#define OUR_OPAQUE   "trusted.hull.opaque"

static int our_whiteout(int dirfd, const char *name)
{
	auto_close int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	int failed;

	if (fd < 0)
		return -1;
	if (fchmod(fd, 0) == 0 && fsetxattr(fd, OUR_WHITEOUT, "y", 1, 0) == 0)
		return 0;
	failed = errno;
	(void)unlinkat(dirfd, name, 0);
	errno = failed;
	return -1;
}

int mark_whiteout(int dirfd, const char *name)
{
	assert(name[0]);
	if (mknodat(dirfd, name, S_IFCHR, 0) == 0)
		return 0;
	return errno == EPERM ? our_whiteout(dirfd, name) : -1;
}

static bool has(int fd, const char *xattr)
{
	char mark = 0;

	return fgetxattr(fd, xattr, &mark, 1) == 1 && mark == 'y';
}

bool mark_is_whiteout(int dirfd, const char *name, const struct stat *st)
{
	auto_close int fd = -1;

	if (S_ISCHR(st->st_mode))
		return st->st_rdev == 0;
	if (!S_ISREG(st->st_mode) || st->st_size || (st->st_mode & 07777))
		return false;
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 && has(fd, OUR_WHITEOUT);
}

int mark_opaque(int fd, bool by_user)
{
	assert(fd >= 0);
	if (fsetxattr(fd, by_user ? "user.overlay.opaque" : "trusted.overlay.opaque", "y", 1, 0) ==
	    0)
		return 0;
	return by_user ? -1 : fsetxattr(fd, OUR_OPAQUE, "y", 1, 0);
}

bool mark_is_opaque(int fd)
{
	return has(fd, "trusted.overlay.opaque") || has(fd, "user.overlay.opaque") ||
	       has(fd, OUR_OPAQUE);
}

bool mark_is_xattr(const char *name)
{
	return text_starts(name, "trusted.overlay.") || text_starts(name, "user.overlay.") ||
	       text_starts(name, "trusted.hull.");
}
