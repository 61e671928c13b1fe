/*
 * Linux's 64-bit boot protocol: long mode with the first 4 GiB mapped to themselves, RSI pointing
 * to the zero page, which is the bzImage's own setup header (or one of ours for a bare vmlinux)
 * plus the memory map. boot.rst "64-bit boot protocol", zero-page.rst.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/boot/boot_priv.h"
#include "virt/vm/memory/map.h"

enum { /* offsets in the zero page */
       ZERO_ACPI_RSDP = 0x70,
       ZERO_E820_ENTRIES = 0x1e8,
       ZERO_HEADER = 0x1f1,
       ZERO_BOOT_FLAG = 0x1fe,
       ZERO_MAGIC = 0x202,
       ZERO_VERSION = 0x206,
       ZERO_LOADER = 0x210,
       ZERO_LOAD_FLAGS = 0x211,
       ZERO_INITRD = 0x218,
       ZERO_INITRD_BYTES = 0x21c,
       ZERO_COMMAND_LINE = 0x228,
       ZERO_INITRD_LAST = 0x22c,
       ZERO_ALIGNMENT = 0x230,
       ZERO_COMMAND_MAX = 0x238,
       ZERO_SETUP_DATA = 0x250,
       ZERO_E820 = 0x2d0,
       ZERO_BYTES = 4096,
};

#define LOADER_UNKNOWN	   0xff
#define LOADED_HIGH	   1
#define SETUP_RNG_SEED	   9
#define SETUP_HEADER_BYTES 16
#define CODE_64_ACCESS	   0xa09b
#define CR0_ENTRY	   0x80000011u /* paging, protected mode */
#define CR4_ENTRY	   0x20u       /* PAE */
#define EFER_ENTRY	   0x500u      /* long mode, enabled and active */
#define PAGE_TABLES	   6	       /* one of level 4, one of level 3, four of level 2 */
#define PRESENT_WRITABLE   3u
#define LARGE		   0x80u
#define ENTRIES		   512u

static void put(uint8_t *page, unsigned at, uint64_t value, unsigned bytes)
{
	assert(at + bytes <= ZERO_BYTES);
	for (unsigned i = 0; i < bytes; i++)
		page[at + i] = (uint8_t)(value >> (8 * i));
}

/* Level 4 and 3 point to the next tables, level 2 maps 2 MiB pages. */
static bool map_identity(const struct boot_plan *p)
{
	uint64_t table[ENTRIES];
	uint64_t at = MAP_BOOT_TABLES;
	bool ok;

	memset(table, 0, sizeof(table));
	table[0] = (at + RAM_PAGE_BYTES) | PRESENT_WRITABLE;
	ok = ram_write(p->c->ram, (struct gpa){at}, table, sizeof(table));
	for (unsigned i = 0; i < 4; i++)
		table[i] = (at + (2 + i) * RAM_PAGE_BYTES) | PRESENT_WRITABLE;
	ok = ok && ram_write(p->c->ram, (struct gpa){at + RAM_PAGE_BYTES}, table, sizeof(table));
	for (unsigned i = 0; ok && i < 4; i++) {
		for (uint64_t k = 0; k < ENTRIES; k++)
			table[k] = (i * ENTRIES + k) << 21 | LARGE | PRESENT_WRITABLE;
		ok = ram_write(p->c->ram, (struct gpa){at + (2 + i) * RAM_PAGE_BYTES}, table,
			       sizeof(table));
	}
	return ok;
}

/* struct setup_data: next, type, length, then the seed. */
static bool put_seed(const struct boot_plan *p)
{
	uint8_t data[SETUP_HEADER_BYTES + BOOT_SEED_BYTES] = {0};

	data[8] = SETUP_RNG_SEED;
	data[12] = BOOT_SEED_BYTES;
	memcpy(data + SETUP_HEADER_BYTES, p->c->seed, BOOT_SEED_BYTES);
	return ram_write(p->c->ram, (struct gpa){MAP_SETUP_DATA}, data, sizeof(data));
}

static void own_header(uint8_t *page)
{
	put(page, ZERO_BOOT_FLAG, 0xaa55, 2);
	put(page, ZERO_MAGIC, 0x53726448, 4); /* "HdrS" */
	put(page, ZERO_VERSION, 0x020f, 2);
	put(page, ZERO_LOAD_FLAGS, LOADED_HIGH, 1);
	put(page, ZERO_INITRD_LAST, 0x7fffffff, 4);
	put(page, ZERO_ALIGNMENT, 0x1000000, 4);
	put(page, ZERO_COMMAND_MAX, MAP_COMMAND_BYTES - 1, 4);
}

static void zero_page(const struct boot_plan *p, uint8_t *page)
{
	struct boot_range range[BOOT_RANGES_MAX];
	size_t ranges = boot_memory_map(p->c->ram, range);

	if (p->setup_header)
		memcpy(page + ZERO_HEADER, p->setup_header, BZIMAGE_HEADER_MAX);
	else
		own_header(page);
	put(page, ZERO_LOADER, LOADER_UNKNOWN, 1);
	put(page, ZERO_ACPI_RSDP, MAP_ACPI_BASE, 8);
	put(page, ZERO_INITRD, p->initrd_at, 4);
	put(page, ZERO_INITRD_BYTES, p->initrd_bytes, 4);
	put(page, ZERO_COMMAND_LINE, MAP_COMMAND_LINE, 4);
	put(page, ZERO_SETUP_DATA, MAP_SETUP_DATA, 8);
	put(page, ZERO_E820_ENTRIES, ranges, 1);
	for (unsigned i = 0; i < ranges; i++) {
		unsigned at = ZERO_E820 + i * 20;

		put(page, at, range[i].base, 8);
		put(page, at + 8, range[i].bytes, 8);
		put(page, at + 16, range[i].type, 4);
	}
}

int boot_linux64(const struct boot_plan *p, struct vcpu_state *s, struct err *e)
{
	uint8_t page[ZERO_BYTES] = {0};

	zero_page(p, page);
	if (!map_identity(p) || !put_seed(p) ||
	    !ram_write(p->c->ram, (struct gpa){MAP_ZERO_PAGE}, page, sizeof(page)))
		return err_set(e, ERR_INTERNAL, "no memory where boot structures belong");
	s->rip = p->elf->entry;
	s->gpr[VCPU_RSI] = MAP_ZERO_PAGE;
	s->gpr[VCPU_RSP] = MAP_BOOT_STACK;
	s->cr0 = CR0_ENTRY;
	s->cr3 = MAP_BOOT_TABLES;
	s->cr4 = CR4_ENTRY;
	s->efer = EFER_ENTRY;
	return boot_segments(p, CODE_64_ACCESS, s, e);
}
