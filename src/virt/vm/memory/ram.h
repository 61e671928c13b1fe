/*
 * Guest memory: one memfd, mapped once, shared by every vCPU and device of a machine.
 *
 * Layout (a PC's): low RAM [0, min(size, 3 GiB)), a hole for devices up to 4 GiB, the rest of RAM
 * from 4 GiB up. Pages come from the host when first touched. Behind the mapping lies one byte of
 * flags per 4 KiB page: CODE (a software CPU has decoded instructions of it) and DIRTY (written
 * since somebody asked). Every writer honours them: it says ram_wrote() after it wrote, whether it
 * is a device, a loader or the completion of a disk read. A CPU that writes by itself keeps the
 * same promise through its write translations.
 *
 * The guest runs while devices read: every value is read once, with the relaxed loads of this
 * header, then checked, then used. Nobody casts guest memory to a struct.
 *
 * Threads: everything here may be called from any thread. Owner: the machine; freed last.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"

#define RAM_PAGE_BYTES	   4096u
#define RAM_PAGE_SHIFT	   12
#define RAM_LOW_BYTES_MAX  (3ull << 30) /* RAM ends here, the hole for devices begins */
#define RAM_HIGH_BASE	   (4ull << 30)
#define RAM_SIZE_BYTES_MAX (64ull << 30)
#define RAM_SIZE_BYTES_MIN (1ull << 20)

/* A guest-physical address; never a host pointer, never a disk offset. */
struct gpa {
	uint64_t at;
};

enum ram_flag {
	RAM_CODE = 1,  /* holds decoded instructions */
	RAM_DIRTY = 2, /* written since the flag was last cleared */
};

struct ram {
	unsigned magic;
	int fd;	       /* the memfd: vhost-like helpers and KVM map it too */
	uint8_t *host; /* size_bytes long; RAM offset 0 is gpa 0 */
	uint64_t size_bytes;
	uint64_t low_bytes; /* RAM below the hole */
	uint8_t *flags;	    /* one byte per page, by RAM offset; atomics only */
	void (*code_written)(void *ctx, uint64_t ram_offset, uint64_t n);
	void *code_ctx; /* of the software CPU; NULL where nothing is decoded */
};

/* Size: a multiple of 4 KiB within the limits above. Nothing is touched yet. */
int ram_new(uint64_t size_bytes, struct ram **ret, struct err *e) must_use;
struct ram *ram_free(struct ram *r);

/* RAM offset of an address, or UINT64_MAX where [at, at + n) is not wholly RAM in one piece. */
static inline uint64_t ram_offset(const struct ram *r, struct gpa a, uint64_t n)
{
	uint64_t at = a.at, end;

	if (__builtin_add_overflow(at, n, &end))
		return UINT64_MAX;
	if (end <= r->low_bytes)
		return at;
	if (at >= RAM_HIGH_BASE && end - RAM_HIGH_BASE <= r->size_bytes - r->low_bytes)
		return at - RAM_HIGH_BASE + r->low_bytes;
	return UINT64_MAX;
}

/* The address of a RAM offset. */
static inline struct gpa ram_address(const struct ram *r, uint64_t offset)
{
	return (struct gpa){offset < r->low_bytes ? offset : offset - r->low_bytes + RAM_HIGH_BASE};
}

/* Host memory behind [a, a + n), or NULL where that is not RAM. To write through it, say
 * ram_wrote() after. */
static inline uint8_t *ram_at(const struct ram *r, struct gpa a, uint64_t n)
{
	uint64_t offset = ram_offset(r, a, n);

	return offset == UINT64_MAX ? NULL : r->host + offset;
}

/* What was written through ram_at(): marks the pages dirty and revokes what was decoded of them. */
void ram_wrote(struct ram *r, struct gpa a, uint64_t n);

/* Copies in and out; false (and nothing written) where the range is not RAM. */
bool ram_read(const struct ram *r, struct gpa a, void *to, size_t n) must_use;
bool ram_write(struct ram *r, struct gpa a, const void *from, size_t n) must_use;

/* Makes [a, a + n) zero and gives its whole pages back to the host; false where it is not RAM. */
bool ram_zero(struct ram *r, struct gpa a, uint64_t n) must_use;

/* Relaxed accesses, little-endian as the guest: the only way to look at what a guest may change. */
static inline uint8_t ram_load8(const void *p)
{
	return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
}

static inline uint16_t ram_load16(const void *p)
{
	uint16_t v;

	if (((uintptr_t)p & 1) == 0)
		return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t ram_load32(const void *p)
{
	uint32_t v;

	if (((uintptr_t)p & 3) == 0)
		return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t ram_load64(const void *p)
{
	uint64_t v;

	if (((uintptr_t)p & 7) == 0)
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline void ram_store16(void *p, uint16_t v)
{
	if (((uintptr_t)p & 1) == 0)
		__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED);
	else
		__builtin_memcpy(p, &v, sizeof(v));
}

static inline void ram_store32(void *p, uint32_t v)
{
	if (((uintptr_t)p & 3) == 0)
		__atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED);
	else
		__builtin_memcpy(p, &v, sizeof(v));
}

/* ---- page flags ---- */

static inline uint8_t ram_flags(const struct ram *r, uint64_t offset)
{
	return __atomic_load_n(&r->flags[offset >> RAM_PAGE_SHIFT], __ATOMIC_ACQUIRE);
}

/* Sets or clears; returns what was there. */
static inline uint8_t ram_flags_set(struct ram *r, uint64_t offset, uint8_t flags)
{
	return __atomic_fetch_or(&r->flags[offset >> RAM_PAGE_SHIFT], flags, __ATOMIC_ACQ_REL);
}

static inline uint8_t ram_flags_clear(struct ram *r, uint64_t offset, uint8_t flags)
{
	return __atomic_fetch_and(&r->flags[offset >> RAM_PAGE_SHIFT], (uint8_t)~flags,
				  __ATOMIC_ACQ_REL);
}
