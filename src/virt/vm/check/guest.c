/*
 * A guest like the oracle's child (guest.h). Physical memory:
 *
 *	0x01000  GDT		0x02000  IDT		0x03000  stubs, one for each vector
 *	0x04000  TSS		0x06000  stack of the kernel, downwards from 0x07000
 *	0x10000  page tables	0x20000  code pages	0x30000  data pages
 *
 * The first 64 KiB are mapped for the kernel only, in its half, where no case's address leads:
 * below, nothing is mapped that the oracle's child has not. Everything is written once; between
 * cases only the code's bytes and the data change.
 */
#include "virt/vm/check/guest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/memory/vcpu.h"

#define MAGIC	  0x67756573u
#define RAM_BYTES (1u << 20)
#define GDT	  0x01000u
#define IDT	  0x02000u
#define STUBS	  0x03000u
#define TSS	  0x04000u
#define STACK_TOP 0x07000u
#define PML4	  0x10000u
#define PDPT	  0x11000u
#define PDPT_HIGH 0x15000u
#define DIR_HIGH  0x16000u
#define DIRECTORY 0x12000u /* of the first GiB */
#define TABLE_LOW 0x13000u /* of the kernel's 2 MiB */
#define TABLE	  0x14000u /* of the 2 MiB with the case's pages */
#define CODE	  0x20000u
#define DATA	  0x30000u
#define STUB	  4u
#define KERNEL	  0xffffffff80000000ull /* where the first 64 KiB appear */
#define VECTORS	  32u
#define FILLER	  0xcc

#define SELECTOR_KERNEL 0x10
#define SELECTOR_STACK	0x18
#define SELECTOR_COMPAT 0x23
#define SELECTOR_DATA	0x2b
#define SELECTOR_LONG	0x33
#define SELECTOR_TSS	0x40

#define PAGE_P	1ull
#define PAGE_W	2ull
#define PAGE_U	4ull
#define PAGE_NX (1ull << 63)

#define FLAG_TF	   0x100u
#define FLAG_IF	   0x200u
#define FLAGS_CASE 0x40cd5u
#define VECTOR_DB  1
#define VECTOR_BP  3
#define VECTOR_PF  14

struct guest {
	unsigned magic;
	struct ram *ram;
	struct bus *bus;
	struct accel *accel;
	struct vcpu *vcpu;
	struct vcpu_state start, now;
	int vector; /* of the last run, -1: none yet */
};

/* ---- memory that is written once ---- */

static void put(struct guest *g, uint64_t at, const void *p, size_t n)
{
	bool ok = ram_write(g->ram, (struct gpa){at}, p, n);

	assert(ok);
}

static void put64(struct guest *g, uint64_t at, uint64_t v)
{
	put(g, at, &v, sizeof(v));
}

static void write_tables(struct guest *g)
{
	uint64_t page;

	put64(g, PML4, PDPT | PAGE_P | PAGE_W | PAGE_U);
	put64(g, PDPT, DIRECTORY | PAGE_P | PAGE_W | PAGE_U);
	put64(g, PML4 + 8 * 511, PDPT_HIGH | PAGE_P | PAGE_W);
	put64(g, PDPT_HIGH + 8 * 510, DIR_HIGH | PAGE_P | PAGE_W);
	put64(g, DIR_HIGH, TABLE_LOW | PAGE_P | PAGE_W);
	put64(g, DIRECTORY + 8 * (NATIVE_CODE >> 21), TABLE | PAGE_P | PAGE_W | PAGE_U);
	for (page = 0; page < 16; page++)
		put64(g, TABLE_LOW + 8 * page, page * NATIVE_PAGE | PAGE_P | PAGE_W);
	for (page = 0; page < NATIVE_CODE_PAGES; page++)
		put64(g, TABLE + 8 * ((NATIVE_CODE >> 12 & 511) + page),
		      (CODE + page * NATIVE_PAGE) | PAGE_P | PAGE_U);
	for (page = 0; page < NATIVE_DATA_PAGES; page++)
		put64(g, TABLE + 8 * ((NATIVE_DATA >> 12 & 511) + page),
		      (DATA + page * NATIVE_PAGE) | PAGE_P | PAGE_U | PAGE_NX |
			      (page < NATIVE_DATA_WRITE ? PAGE_W : 0));
	static_assert(NATIVE_CODE >> 21 == NATIVE_DATA >> 21, "one table holds both");
}

static void write_descriptors(struct guest *g)
{
	static const uint64_t gdt[] = {0,
				       0,
				       0x00af9b000000ffff, /* 10: kernel, 64 bits */
				       0x00cf93000000ffff, /* 18: its stack */
				       0x00cffb000000ffff, /* 20: user, 32 bits */
				       0x00cff3000000ffff, /* 28: user data */
				       0x00affb000000ffff, /* 30: user, 64 bits */
				       0,
				       0x80008b0040000067, /* 40: TSS at KERNEL + 0x4000 */
				       0xffffffff};
	uint8_t stub[STUB] = {0xe6, 0, 0xf4, 0xf4}; /* out n, al; hlt */
	uint8_t filler[NATIVE_PAGE];

	put(g, GDT, gdt, sizeof(gdt));
	for (uint64_t v = 0; v < VECTORS; v++) {
		uint64_t at = KERNEL + STUBS + v * STUB, dpl = v == VECTOR_BP ? 3 : 0;

		put64(g, IDT + 16 * v,
		      (at & 0xffff) | (uint64_t)SELECTOR_KERNEL << 16 |
			      (0x8e00ull | dpl << 13) << 32 | (at & 0xffff0000) << 32);
		put64(g, IDT + 16 * v + 8, at >> 32);
		stub[1] = (uint8_t)v;
		put(g, STUBS + v * STUB, stub, sizeof(stub));
	}
	put64(g, TSS + 4, KERNEL + STACK_TOP);
	put64(g, TSS + 0x60, 0xffffull << 48); /* no port is allowed */
	memset(filler, FILLER, sizeof(filler));
	for (uint64_t page = 0; page < NATIVE_CODE_PAGES; page++)
		put(g, CODE + page * NATIVE_PAGE, filler, sizeof(filler));
}

/* ---- birth and death ---- */

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	(void)device, (void)offset, (void)size;
	return ~0ull;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct guest *g = device;

	(void)size, (void)value;
	g->vector = (int)offset;
	accel_cpu.kick(g->vcpu);
}

static const struct bus_ops port_ops = {
	.name = "test vector", .read = port_read, .write = port_write};

static void segment(struct guest *g, enum vcpu_segment_name n, uint16_t selector, uint16_t access)
{
	g->start.segment[n] =
		(struct vcpu_segment){.selector = selector, .access = access, .limit = 0xffffffff};
}

/* Privilege 3 as Linux leaves it. CR0: PG AM WP NE ET MP PE; CR4: OSXMMEXCPT OSFXSR PGE PAE;
 * EFER: NXE LMA LME SCE. */
static void set_start(struct guest *g)
{
	struct vcpu_state *s = &g->start;

	segment(g, VCPU_CS, SELECTOR_LONG, 0xa0fb);
	segment(g, VCPU_SS, SELECTOR_DATA, 0xc0f3);
	segment(g, VCPU_DS, SELECTOR_DATA, 0xc0f3);
	segment(g, VCPU_ES, SELECTOR_DATA, 0xc0f3);
	s->segment[VCPU_FS] = (struct vcpu_segment){.base = NATIVE_FS_BASE, .unusable = true};
	s->segment[VCPU_GS] = (struct vcpu_segment){.base = NATIVE_GS_BASE, .unusable = true};
	s->segment[VCPU_LDTR] = (struct vcpu_segment){.unusable = true};
	s->segment[VCPU_TR] = (struct vcpu_segment){
		.base = KERNEL + TSS, .limit = 0x67, .selector = SELECTOR_TSS, .access = 0x8b};
	s->gdt_base = KERNEL + GDT;
	s->gdt_limit = 10 * 8 - 1;
	s->idt_base = KERNEL + IDT;
	s->idt_limit = VECTORS * 16 - 1;
	s->cr0 = 0x80050033;
	s->cr3 = PML4;
	s->cr4 = 0x6a0;
	s->efer = 0xd01;
	s->activity = VCPU_RUNS;
	s->msrs = 0; /* as they are: cases do not touch them */
}

struct guest *guest_free(struct guest *g)
{
	if (!g)
		return NULL;
	assert(g->magic == MAGIC);
	if (g->accel)
		(void)accel_cpu.close(g->accel);
	(void)bus_free(g->bus);
	(void)ram_free(g->ram);
	free(g);
	return NULL;
}

static int assemble(struct guest *g, struct err *e)
{
	struct bus_range port = {
		.space = BUS_PORT, .base = 0, .bytes = VECTORS, .ops = &port_ops, .device = g};
	struct accel_config config = {.cpus = 1};

	if (ram_new(RAM_BYTES, &g->ram, e) < 0)
		return -ERR_SYSTEM;
	g->bus = bus_new();
	if (bus_add(g->bus, &port, e) < 0)
		return -ERR_SYSTEM;
	config.ram = g->ram;
	config.bus = g->bus;
	if (accel_cpu.open(&config, &g->accel, e) < 0 ||
	    accel_cpu.vcpu(g->accel, 0, &g->vcpu, e) < 0 ||
	    accel_cpu.get(g->vcpu, &g->start, e) < 0)
		return -ERR_SYSTEM;
	write_tables(g);
	write_descriptors(g);
	set_start(g);
	return 0;
}

struct guest *guest_new(struct err *e)
{
	struct guest *g = mem_new(struct guest);

	g->magic = MAGIC;
	return assemble(g, e) < 0 ? guest_free(g) : g;
}

/* ---- running ---- */

void guest_background(struct guest *g, const struct native_batch *b)
{
	put(g, DATA, b->background, sizeof(b->background));
}

static void put_code(struct guest *g, const struct native_case *c, bool filler)
{
	uint64_t at = c->before.rip - NATIVE_CODE,
		 room = (uint64_t)NATIVE_CODE_PAGES * NATIVE_PAGE - at;
	uint8_t bytes[NATIVE_CODE_BYTES];
	size_t n = c->code_bytes < room ? c->code_bytes : room;

	memset(bytes, FILLER, sizeof(bytes));
	if (!filler)
		memcpy(bytes, c->code, n);
	put(g, CODE + at, bytes, n);
}

static void load(struct guest *g, const struct native_case *c)
{
	struct vcpu_state *s = &g->now;
	bool compat = c->mode == NATIVE_COMPAT;

	*s = g->start;
	if (compat) {
		s->segment[VCPU_CS].selector = SELECTOR_COMPAT;
		s->segment[VCPU_CS].access = 0xc0fb;
	}
	memcpy(s->gpr, c->before.gpr, sizeof(s->gpr));
	s->rip = c->before.rip;
	s->rflags = (c->before.rflags & FLAGS_CASE) | 2 | FLAG_IF |
		    (c->end == NATIVE_STEP ? FLAG_TF : 0);
	memcpy(s->fxsave, c->before.fx, 464);
}

static bool has_error(int vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* The kernel's stack holds, from its top: SS, RSP, RFLAGS, CS, RIP and the error code. */
static void keep(struct guest *g, const struct native_case *c, struct native_result *r)
{
	const struct vcpu_state *s = &g->now;
	uint64_t frame[6];
	bool ok = ram_read(g->ram, (struct gpa){STACK_TOP - sizeof(frame)}, frame, sizeof(frame));

	assert(ok);
	memcpy(r->state.gpr, s->gpr, sizeof(s->gpr));
	r->state.gpr[VCPU_RSP] = frame[4];
	r->state.rip = frame[1];
	r->state.rflags = frame[3] & ~(uint64_t)FLAG_TF;
	memcpy(r->state.fx, s->fxsave, sizeof(r->state.fx));
	r->vector = (uint8_t)g->vector;
	r->error = has_error(g->vector) ? (uint32_t)frame[0] : 0;
	r->address = g->vector == VECTOR_PF ? s->cr2 : 0;
	r->verdict = NATIVE_FAULTED;
	if (g->vector == VECTOR_DB && c->end == NATIVE_STEP)
		r->verdict = NATIVE_RAN;
	if (g->vector == VECTOR_BP && c->end == NATIVE_BREAK &&
	    r->state.rip - (c->before.rip + c->code_bytes + 1) <= 1)
		r->verdict = NATIVE_RAN;
}

static void restore(struct guest *g, const struct native_batch *b, const struct native_case *c,
		    const struct native_result *r)
{
	put_code(g, c, true);
	put(g, DATA + c->patch_at, b->background + c->patch_at, c->patch_bytes);
	for (uint32_t i = 0; i < r->words; i++)
		put(g, DATA + (uint64_t)r->word[i].index * 8,
		    b->background + (size_t)r->word[i].index * 8, 8);
	if (r->words_cut)
		guest_background(g, b);
}

int guest_run(struct guest *g, const struct native_batch *b, const struct native_case *c,
	      struct native_result *ret, struct err *e)
{
	enum vcpu_exit exit;

	assert(g->magic == MAGIC);
	load(g, c);
	put_code(g, c, false);
	put(g, DATA + c->patch_at, c->patch, c->patch_bytes);
	g->vector = -1;
	if (accel_cpu.set(g->vcpu, &g->now, e) < 0 || accel_cpu.run(g->vcpu, &exit, e) < 0 ||
	    accel_cpu.get(g->vcpu, &g->now, e) < 0)
		return err_wrap(e, "running a case");
	if (exit != VCPU_EXIT_KICKED || g->vector < 0)
		return err_set(e, ERR_INTERNAL, "the case ended with exit %d and vector %d",
			       (int)exit, g->vector);
	keep(g, c, ret);
	native_words(b, c, ram_at(g->ram, (struct gpa){DATA}, NATIVE_DATA_BYTES), ret);
	restore(g, b, c, ret);
	return 0;
}
