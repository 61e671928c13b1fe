/*
 * Puts a kernel into a machine's memory and a vCPU into the state that the kernel expects: an ELF
 * vmlinux, or a bzImage that is unpacked first; entered by PVH or by Linux's 64-bit protocol, with
 * a command line, an initrd, the memory map and the address of the ACPI tables. There is no
 * firmware.
 *
 * Called before vCPU 0 runs and again at each reset: files are read anew. Memory below
 * MAP_LOW_USED_BYTES is used as map.h says; the initrd lies as high as it may below 2 GiB.
 */
#pragma once

#include <stdint.h>

#include "virt/vm/memory/ram.h"
#include "virt/vm/memory/vcpu.h"

#define BOOT_SEED_BYTES 32

enum boot_protocol {
	BOOT_AUTO, /* PVH where the kernel has its note */
	BOOT_PVH,
	BOOT_LINUX64,
};

struct boot_config {
	struct ram *ram;
	int kernel;			       /* descriptors; borrowed */
	int initrd;			       /* -1: none */
	const char *kernel_name, *initrd_name; /* for messages */
	const char *command_line;
	enum boot_protocol protocol;
	uint8_t seed
		[BOOT_SEED_BYTES]; /* randomness for the guest; the 64-bit protocol carries it */
};

/* What was done, for the description of a machine. */
struct boot_report {
	enum boot_protocol protocol;
	uint64_t entry, kernel_first, kernel_last, initrd_at, initrd_bytes;
};

/* `s` is the reset state of vCPU 0 and becomes the state in which it starts. */
int boot_load(const struct boot_config *c, struct vcpu_state *s, struct boot_report *ret,
	      struct err *e) must_use;
