/*
 * A kernel as a 64-bit ELF file: what it loads where, and where it is entered: by its PVH note, or
 * at its entry point by Linux's 64-bit protocol. Only program headers are read; sections mean
 * nothing to a loader.
 */
#pragma once

#include <stdbool.h>

#include "virt/vm/boot/image.h"
#include "virt/vm/memory/ram.h"

#define ELF_SEGMENTS_MAX 32
#define ELF_NOTES_MAX	 (64u << 10) /* bytes of notes that are looked at */

struct elf_segment {
	uint64_t offset, address; /* physical */
	uint64_t file_bytes, memory_bytes;
};

struct elf {
	uint64_t entry;
	bool has_pvh;
	uint32_t pvh_entry;
	struct elf_segment segment[ELF_SEGMENTS_MAX];
	size_t segments;
	uint64_t first, last; /* of physical memory used; last is one behind */
};

bool elf_is(const struct boot_image *i);
int elf_parse(const struct boot_image *i, struct elf *ret, struct err *e) must_use;
/* Does a segment hold that physical address? */
bool elf_loads(const struct elf *f, uint64_t address);
/* Copies the segments into guest memory and makes the rest of each zero. */
int elf_load(const struct boot_image *i, const struct elf *f, struct ram *ram,
	     struct err *e) must_use;
