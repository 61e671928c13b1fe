/*
 * Inside of boot: what the two protocols share.
 */
#pragma once

#include "virt/vm/boot/boot.h"
#include "virt/vm/boot/bzimage.h"
#include "virt/vm/boot/elf.h"

#define BOOT_RANGES_MAX 8

enum boot_range_type { BOOT_RANGE_RAM = 1, BOOT_RANGE_RESERVED = 2 }; /* as e820 has them */

struct boot_range {
	uint64_t base, bytes;
	enum boot_range_type type;
};

/* The memory map told to the guest; returns how many. */
size_t boot_memory_map(const struct ram *ram, struct boot_range ret[BOOT_RANGES_MAX]);

struct boot_plan {
	const struct boot_config *c;
	const struct elf *elf;
	const uint8_t *setup_header; /* of a bzImage, BZIMAGE_HEADER_MAX bytes; NULL: none */
	size_t command_bytes;	     /* without its NUL */
	uint64_t initrd_at, initrd_bytes;
};

/* Each writes its structures and the state to start with. */
int boot_pvh(const struct boot_plan *p, struct vcpu_state *s, struct err *e) must_use;
int boot_linux64(const struct boot_plan *p, struct vcpu_state *s, struct err *e) must_use;

/* Flat segments: `code` as given, data in all others, from a GDT at MAP_BOOT_GDT. */
int boot_segments(const struct boot_plan *p, uint16_t code_access, struct vcpu_state *s,
		  struct err *e) must_use;
#define BOOT_CODE_SELECTOR 0x10
#define BOOT_DATA_SELECTOR 0x18
