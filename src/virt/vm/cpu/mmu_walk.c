/*
 * Page tables: 32-bit, PAE and four levels, with large pages, NX, WP and the accessed and dirty
 * bits. Entries are read and marked atomically, since other vCPUs do the same. SDM volume 3,
 * chapter 4.
 */
#include "virt/vm/cpu/mmu.h"

#include <assert.h>

#include "virt/vm/cpu/sys.h"
#include "virt/vm/memory/map.h"

#define PTE_P	  (1ull << 0)
#define PTE_W	  (1ull << 1)
#define PTE_U	  (1ull << 2)
#define PTE_A	  (1ull << 5)
#define PTE_D	  (1ull << 6)
#define PTE_LARGE (1ull << 7)
#define PTE_G	  (1ull << 8)
#define PTE_NX	  (1ull << 63)
#define PTE_FRAME 0x000ffffffffff000ull

#define PF_PRESENT  1u
#define PF_WRITE    2u
#define PF_USER	    4u
#define PF_RESERVED 8u
#define PF_FETCH    16u

struct walk {
	struct cpu *c;
	uint64_t at;
	enum mmu_access access;
	bool user;
	bool wide;	 /* 8-byte entries */
	uint64_t rights; /* AND of W and U along the way */
	bool nx;	 /* OR */
};

static bool page_fault(const struct walk *w, uint32_t error)
{
	struct cpu *c = w->c;
	bool fetch_shows = (c->efer & EFER_NXE) != 0 && (c->cr4 & CR4_PAE) != 0;

	if (w->access == MMU_WRITE)
		error |= PF_WRITE;
	if (w->user)
		error |= PF_USER;
	if (w->access == MMU_EXECUTE && fetch_shows)
		error |= PF_FETCH;
	sys_fault_note(c, &(struct fault){.vector = VECTOR_PF,
					  .has_error = true,
					  .error = error,
					  .address = w->at});
	return false;
}

/* An entry in guest memory; NULL where that is no RAM. */
static void *entry_at(const struct walk *w, uint64_t physical)
{
	return ram_at(w->c->ram, (struct gpa){physical}, w->wide ? 8 : 4);
}

static uint64_t entry_read(const struct walk *w, const void *p)
{
	return w->wide ? __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED)
		       : __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
}

/* Sets bits in an entry that still is what was read; false: it is another now. */
static bool entry_mark(const struct walk *w, void *p, uint64_t physical, uint64_t seen,
		       uint64_t bits)
{
	bool done;

	if ((seen & bits) == bits)
		return true;
	if (w->wide) {
		done = __atomic_compare_exchange_n((uint64_t *)p, &seen, seen | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	} else {
		uint32_t old = (uint32_t)seen;

		done = __atomic_compare_exchange_n((uint32_t *)p, &old, (uint32_t)(seen | bits),
						   false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	if (done)
		ram_wrote(w->c->ram, (struct gpa){physical}, w->wide ? 8 : 4);
	return done;
}

static uint64_t reserved_bits(const struct walk *w, unsigned level, uint64_t entry, bool large)
{
	uint64_t bits = 0;

	if (!w->wide)
		return 0;
	bits |= PTE_FRAME & ~((1ull << MAP_PHYSICAL_BITS) - 1);
	if ((w->c->efer & EFER_NXE) == 0)
		bits |= PTE_NX;
	if (large) /* the frame's low bits, but PAT's bit 12 */
		bits |= ((1ull << (12 + 9 * (level - 1))) - 1) & ~0x1fffull;
	if (level == 4 && (entry & PTE_LARGE) != 0)
		bits |= PTE_LARGE;
	return bits;
}

/* May the access be made, by the rights gathered? */
static bool allowed(const struct walk *w)
{
	if (w->access == MMU_EXECUTE && w->nx)
		return false;
	if (w->user && (w->rights & PTE_U) == 0)
		return false;
	return w->access != MMU_WRITE || (w->rights & PTE_W) != 0 ||
	       (!w->user && (w->c->cr0 & CR0_WP) == 0);
}

static void found(const struct walk *w, uint64_t entry, unsigned shift, struct mmu_walk *ret)
{
	uint64_t low = (1ull << shift) - 1;
	uint64_t frame = entry & PTE_FRAME;

	if (!w->wide && shift == 22) /* PSE-36: bits 13 to 16 are 32 to 35 of the address */
		frame = (entry & 0xffc00000u) | (entry >> 13 & 0xf) << 32;
	ret->physical = (frame & ~low) | (w->at & low);
	ret->user = (w->rights & PTE_U) != 0;
	ret->writable = (w->rights & PTE_W) != 0 || (!w->user && (w->c->cr0 & CR0_WP) == 0);
	ret->executable = !w->nx;
	ret->dirty = (entry & PTE_D) != 0 || w->access == MMU_WRITE;
	ret->global = (entry & PTE_G) != 0 && (w->c->cr4 & CR4_PGE) != 0;
}

enum step { STEP_DOWN, STEP_FOUND, STEP_AGAIN, STEP_FAULT };

/* The last level: may it be done, and what does it make of the entry? */
static enum step leaf(struct walk *w, void *p, uint64_t physical, uint64_t entry, unsigned shift,
		      struct mmu_walk *ret)
{
	if (!allowed(w)) {
		(void)page_fault(w, PF_PRESENT);
		return STEP_FAULT;
	}
	if (!entry_mark(w, p, physical, entry, w->access == MMU_WRITE ? PTE_A | PTE_D : PTE_A))
		return STEP_AGAIN;
	found(w, entry, shift, ret);
	return STEP_FOUND;
}

/* One level: reads, checks, marks. */
static enum step step(struct walk *w, unsigned level, uint64_t *table, struct mmu_walk *ret)
{
	unsigned bits = w->wide ? 9 : 10, shift = 12 + bits * (level - 1);
	uint64_t index = w->at >> shift & ((1u << bits) - 1);
	uint64_t physical = *table + index * (w->wide ? 8 : 4), entry;
	void *p = entry_at(w, physical);
	bool pdpte = level == 3 && (w->c->efer & EFER_LMA) == 0, large;

	if (!p || ((entry = entry_read(w, p)) & PTE_P) == 0) {
		(void)page_fault(w, 0);
		return STEP_FAULT;
	}
	if (pdpte) { /* PAE's top level has no rights and no accessed bit */
		*table = entry & PTE_FRAME;
		return STEP_DOWN;
	}
	large = level > 1 && level < 4 && (entry & PTE_LARGE) != 0 &&
		(w->wide || (w->c->cr4 & CR4_PSE) != 0);
	if ((entry & reserved_bits(w, level, entry, large)) != 0) {
		(void)page_fault(w, PF_PRESENT | PF_RESERVED);
		return STEP_FAULT;
	}
	w->rights &= entry;
	w->nx |= (entry & PTE_NX) != 0;
	if (level == 1 || large)
		return leaf(w, p, physical, entry, shift, ret);
	if (!entry_mark(w, p, physical, entry, PTE_A))
		return STEP_AGAIN;
	*table = entry & PTE_FRAME;
	return STEP_DOWN;
}

static unsigned top_level(const struct cpu *c)
{
	return (c->efer & EFER_LMA) != 0 ? 4 : (c->cr4 & CR4_PAE) != 0 ? 3 : 2;
}

bool mmu_walk(struct cpu *c, uint64_t at, enum mmu_access access, bool user, struct mmu_walk *ret)
{
	struct walk w = {.c = c, .at = at, .access = access, .user = user};
	uint64_t table;
	unsigned level;
	enum step s = STEP_AGAIN;

	if ((c->cr0 & CR0_PG) == 0) {
		*ret = (struct mmu_walk){at, true, true, true, true, false};
		return true;
	}
	w.wide = (c->cr4 & CR4_PAE) != 0;
	while (s == STEP_AGAIN) {
		level = top_level(c);
		table = level == 3 ? c->cr3 & 0xffffffe0u : c->cr3 & PTE_FRAME;
		w.rights = PTE_W | PTE_U;
		w.nx = false;
		do
			s = step(&w, level, &table, ret);
		while (s == STEP_DOWN && level-- > 1);
	}
	assert(s == STEP_FOUND || s == STEP_FAULT);
	return s == STEP_FOUND;
}
