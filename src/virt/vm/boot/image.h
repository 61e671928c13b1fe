/*
 * The bytes of a kernel or an initrd: a file, or memory that a compressed one was unpacked to. Read
 * by offset, never past the end; a file that shrinks while it is read is an error, not a fault.
 */
#pragma once

#include <stdint.h>

#include "ground/base/err.h"

#define IMAGE_KERNEL_BYTES_MAX (512ull << 20)
#define IMAGE_INITRD_BYTES_MAX (4ull << 30)

struct boot_image {
	const char *name;      /* for messages */
	int fd;		       /* borrowed; -1: memory */
	const uint8_t *memory; /* borrowed */
	uint64_t bytes;
};

/* ERR_INVALID: not a regular file, empty, or longer than max. */
int boot_image_of_file(int fd, const char *name, uint64_t max, struct boot_image *ret,
		       struct err *e) must_use;
struct boot_image boot_image_of_memory(const void *p, uint64_t n, const char *name);

/* All n bytes at `offset`; ERR_INVALID "ends early" where the image has fewer. */
int boot_image_read(const struct boot_image *i, uint64_t offset, void *to, uint64_t n,
		    struct err *e) must_use;
