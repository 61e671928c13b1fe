/*
 * Guest memory: the mapping, the flags behind it, and copies in and out. What a page is used for is
 * no business of this file.
 */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/memory/ram.h"

#define RAM_MAGIC 0x52414d31u

static uint64_t pages_of(const struct ram *r)
{
	return r->size_bytes >> RAM_PAGE_SHIFT;
}

/* Private to this process and untouched: costs address space, not memory. */
static void *reserve(size_t n, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

	return mmap(NULL, n, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);
}

int ram_new(uint64_t size_bytes, struct ram **ret, struct err *e)
{
	struct ram *r;

	if (size_bytes < RAM_SIZE_BYTES_MIN || size_bytes > RAM_SIZE_BYTES_MAX ||
	    size_bytes % RAM_PAGE_BYTES)
		return err_set(
			e, ERR_INVALID,
			"a machine cannot have %llu bytes of memory: from 1 MiB to 64 GiB in "
			"pages of 4 KiB",
			(unsigned long long)size_bytes);
	r = mem_new(struct ram);
	r->magic = RAM_MAGIC;
	r->size_bytes = size_bytes;
	r->low_bytes = size_bytes < RAM_LOW_BYTES_MAX ? size_bytes : RAM_LOW_BYTES_MAX;
	r->host = MAP_FAILED;
	r->flags = MAP_FAILED;
	r->fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (r->fd >= 0 && ftruncate(r->fd, (off_t)size_bytes) == 0)
		r->host = reserve(size_bytes, r->fd);
	if (r->host != MAP_FAILED)
		r->flags = reserve(pages_of(r), -1);
	if (r->flags == MAP_FAILED) {
		int failed = err_sys(e, "cannot reserve %llu MiB of guest memory",
				     (unsigned long long)(size_bytes >> 20));

		ram_free(r);
		return failed;
	}
	(void)madvise(r->host, size_bytes, MADV_DONTDUMP);
	*ret = r;
	return 0;
}

struct ram *ram_free(struct ram *r)
{
	if (!r)
		return NULL;
	assert(r->magic == RAM_MAGIC);
	if (r->flags != MAP_FAILED)
		(void)munmap(r->flags, pages_of(r));
	if (r->host != MAP_FAILED)
		(void)munmap(r->host, r->size_bytes);
	fd_close(r->fd);
	r->magic = 0;
	free(r);
	return NULL;
}

void ram_wrote(struct ram *r, struct gpa a, uint64_t n)
{
	uint64_t offset = ram_offset(r, a, n);
	bool code = false;

	assert(r->magic == RAM_MAGIC);
	if (n == 0)
		return;
	assert(offset != UINT64_MAX);
	for (uint64_t page = offset & ~(uint64_t)(RAM_PAGE_BYTES - 1); page < offset + n;
	     page += RAM_PAGE_BYTES)
		code |= ram_flags_set(r, page, RAM_DIRTY) & RAM_CODE;
	if (code && r->code_written)
		r->code_written(r->code_ctx, offset, n);
}

bool ram_read(const struct ram *r, struct gpa a, void *to, size_t n)
{
	const uint8_t *from = ram_at(r, a, n);

	if (!from)
		return false;
	memcpy(to, from, n);
	return true;
}

bool ram_write(struct ram *r, struct gpa a, const void *from, size_t n)
{
	uint8_t *to = ram_at(r, a, n);

	if (!to)
		return false;
	memcpy(to, from, n);
	ram_wrote(r, a, n);
	return true;
}

bool ram_zero(struct ram *r, struct gpa a, uint64_t n)
{
	uint8_t *to = ram_at(r, a, n);
	uint64_t head, whole;

	if (!to)
		return false;
	if (n == 0)
		return true;
	head = -(uint64_t)(uintptr_t)to % RAM_PAGE_BYTES;
	head = head < n ? head : n;
	whole = (n - head) & ~(uint64_t)(RAM_PAGE_BYTES - 1);
	memset(to, 0, head);
	if (whole && madvise(to + head, whole, MADV_REMOVE) < 0)
		memset(to + head, 0, whole);
	memset(to + head + whole, 0, n - head - whole);
	ram_wrote(r, a, n);
	return true;
}
