/*
 * Reads images: see image.h.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virt/vm/boot/image.h"

int boot_image_of_file(int fd, const char *name, uint64_t max, struct boot_image *ret,
		       struct err *e)
{
	struct stat st;

	assert(fd >= 0);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "cannot examine '%s'", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "'%s' is not a file", name);
	if (st.st_size == 0)
		return err_set(e, ERR_INVALID, "'%s' is empty", name);
	if ((uint64_t)st.st_size > max)
		return err_set(e, ERR_INVALID, "'%s' is larger than %llu MiB", name,
			       (unsigned long long)(max >> 20));
	*ret = (struct boot_image){.name = name, .fd = fd, .bytes = (uint64_t)st.st_size};
	return 0;
}

struct boot_image boot_image_of_memory(const void *p, uint64_t n, const char *name)
{
	return (struct boot_image){.name = name, .fd = -1, .memory = p, .bytes = n};
}

int boot_image_read(const struct boot_image *i, uint64_t offset, void *to, uint64_t n,
		    struct err *e)
{
	uint8_t *p = to;

	if (offset > i->bytes || n > i->bytes - offset)
		return err_set(e, ERR_INVALID,
			       "'%s' is cut off: it has %llu bytes, %llu more are needed at %llu",
			       i->name, (unsigned long long)i->bytes, (unsigned long long)n,
			       (unsigned long long)offset);
	if (i->fd < 0) {
		memcpy(to, i->memory + offset, n);
		return 0;
	}
	while (n > 0) {
		ssize_t got = pread(i->fd, p, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, "cannot read '%s'", i->name);
		if (got == 0)
			return err_set(e, ERR_INVALID, "'%s' became shorter while it was read",
				       i->name);
		p += got;
		offset += (uint64_t)got;
		n -= (uint64_t)got;
	}
	return 0;
}
