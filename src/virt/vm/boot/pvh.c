/*
 * The PVH entry: 32-bit protected mode without paging, EBX pointing to a start_info with the
 * command line, one module (the initrd) and the memory map. Xen docs/misc/pvh and
 * public/arch-x86/hvm.
 */
#include <assert.h>

#include "ground/base/str.h"
#include "virt/vm/boot/boot_priv.h"
#include "virt/vm/memory/map.h"

#define START_MAGIC    0x336ec578u
#define START_VERSION  1
#define START_BYTES    56
#define MODULE_BYTES   32
#define CODE_32_ACCESS 0xc09b
#define CR0_ENTRY      0x11 /* protected mode, extension type */

static void add(struct strbuf *b, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		strbuf_add_char(b, i < 8 ? (char)(value >> (8 * i)) : 0);
}

static void start_info(const struct boot_plan *p, size_t ranges, struct strbuf *b)
{
	uint64_t module = MAP_PVH_INFO + START_BYTES;
	bool has_initrd = p->initrd_bytes > 0;

	add(b, START_MAGIC, 4);
	add(b, START_VERSION, 4);
	add(b, 0, 4); /* flags */
	add(b, has_initrd, 4);
	add(b, has_initrd ? module : 0, 8);
	add(b, MAP_COMMAND_LINE, 8);
	add(b, MAP_ACPI_BASE, 8);
	add(b, module + MODULE_BYTES, 8);
	add(b, ranges, 4);
	add(b, 0, 4);
	assert(b->n == START_BYTES);
	add(b, p->initrd_at, 8);
	add(b, p->initrd_bytes, 8);
	add(b, 0, 16); /* its command line, reserved */
	assert(b->n == START_BYTES + MODULE_BYTES);
}

int boot_pvh(const struct boot_plan *p, struct vcpu_state *s, struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	struct boot_range range[BOOT_RANGES_MAX];
	size_t ranges = boot_memory_map(p->c->ram, range);

	start_info(p, ranges, &b);
	for (size_t i = 0; i < ranges; i++) {
		add(&b, range[i].base, 8);
		add(&b, range[i].bytes, 8);
		add(&b, range[i].type, 4);
		add(&b, 0, 4);
	}
	if (!ram_write(p->c->ram, (struct gpa){MAP_PVH_INFO}, b.p, b.n))
		return err_set(e, ERR_INTERNAL, "no memory where the start information belongs");
	s->rip = p->elf->pvh_entry;
	s->gpr[VCPU_RBX] = MAP_PVH_INFO;
	s->gpr[VCPU_RSP] = MAP_BOOT_STACK;
	s->cr0 = CR0_ENTRY;
	s->cr3 = s->cr4 = s->efer = 0;
	return boot_segments(p, CODE_32_ACCESS, s, e);
}
