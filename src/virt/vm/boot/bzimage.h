/*
 * A compressed Linux kernel (bzImage) and the ELF file inside it, which is unpacked here on the
 * host: the guest's own decompressor would be the slowest part of a boot on a software CPU. Linux
 * Documentation/arch/x86/boot.rst.
 */
#pragma once

#include <stdbool.h>

#include "virt/vm/boot/image.h"

#define BZIMAGE_HEADER_AT  0x1f1u
#define BZIMAGE_HEADER_MAX 0x8fu /* bytes of the setup header, up to the end of its space */

struct bzimage {
	uint8_t header[BZIMAGE_HEADER_MAX]; /* as in the file, from BZIMAGE_HEADER_AT */
	uint16_t version;		    /* of the protocol: 0x20f is 2.15 */
	uint32_t command_line_max;
	uint32_t initrd_last; /* the highest address an initrd may have */
	uint64_t payload_at, payload_bytes;
	uint8_t *kernel; /* unpacked; owned */
	uint64_t kernel_bytes;
};

bool bzimage_is(const struct boot_image *i);
/* Reads the header and unpacks the payload. */
int bzimage_unpack(const struct boot_image *i, struct bzimage *ret, struct err *e) must_use;
void bzimage_done(struct bzimage *z);
