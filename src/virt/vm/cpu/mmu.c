/*
 * The software TLB and the slow paths of memory accesses: filling, flushing, page crossings,
 * devices, code pages, watched pages, segments that are not flat. The fast path is in op.h.
 */
#include "virt/vm/cpu/mmu.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/sys_priv.h"
#include "virt/vm/cpu/trace.h"
#include "virt/vm/cpu/world.h"

/* An address that no tag has, in any mode. */
#define EA_POISON (1ull << 62)

/* ---- sets and flushes ---- */

struct mmu *mmu_new(void)
{
	struct mmu *m = mem_new(struct mmu);

	for (unsigned s = 0; s < 2; s++)
		memset(m->set[s].entry, 0xff, sizeof(m->set[s].entry));
	memset(&m->never, 0xff, sizeof(m->never));
	return m;
}

static void drop(struct tlb_set *s, size_t i)
{
	memset(&s->entry[i], 0xff, sizeof(s->entry[i]));
}

static void flush_set(struct tlb_set *s, bool global)
{
	if (global) {
		memset(s->entry, 0xff, sizeof(s->entry));
	} else if (s->recents <= TLB_RECENT) {
		for (unsigned i = 0; i < s->recents; i++)
			if (!s->shadow[s->recent[i]].global)
				drop(s, s->recent[i]);
	} else {
		for (unsigned i = 0; i < TLB_ENTRIES; i++)
			if (!s->shadow[i].global)
				drop(s, i);
	}
	s->recents = 0;
}

static void next_generation(struct cpu *c)
{
	c->mmu->generation++;
	if (c->mmu->generation == 0) /* wrapped: no old tag may come true again */
		memset(c->jumps, 0xff, CPU_JUMPS * sizeof(*c->jumps));
	c->jump_tag = (uint64_t)c->mmu->generation << 32 | c->mode;
}

void cpu_tlb_flush(struct cpu *c, bool global)
{
	flush_set(&c->mmu->set[0], global);
	flush_set(&c->mmu->set[1], global);
	next_generation(c);
}

void cpu_tlb_flush_page(struct cpu *c, uint64_t at)
{
	size_t i = at >> 12 & (TLB_ENTRIES - 1);

	drop(&c->mmu->set[0], i);
	drop(&c->mmu->set[1], i);
	next_generation(c);
}

void cpu_cr3_set(struct cpu *c, uint64_t v)
{
	c->cr3 = v;
	cpu_tlb_flush(c, false);
}

void cpu_debug_changed(struct cpu *c)
{
	cpu_tlb_flush(c, true);
}

void mmu_revoke_writes(struct cpu *c, uint64_t physical_page)
{
	for (unsigned s = 0; s < 2; s++) {
		struct tlb_set *set = &c->mmu->set[s];

		for (unsigned i = 0; i < TLB_ENTRIES; i++)
			if (set->shadow[i].physical == physical_page &&
			    set->entry[i].write != TLB_INVALID)
				set->entry[i].write |= TLB_SLOW_CODE;
	}
}

/* ---- filling ---- */

static bool same_page(uint64_t tag, uint64_t at)
{
	return tag != TLB_INVALID && ((tag ^ at) & PAGE_TAG) == 0;
}

static uint64_t tag_for(const struct tlb_entry *t, enum mmu_access access)
{
	return access == MMU_READ ? t->read : access == MMU_WRITE ? t->write : t->execute;
}

static void remember(struct tlb_set *set, size_t i, const struct mmu_walk *w)
{
	set->shadow[i] = (struct tlb_shadow){w->physical & PAGE_TAG, w->global};
	if (w->global)
		return;
	if (set->recents < TLB_RECENT)
		set->recent[set->recents] = (uint16_t)i;
	set->recents += set->recents <= TLB_RECENT;
}

static uint64_t slow_bits(const struct cpu *c, uint64_t at, uint64_t offset)
{
	uint64_t slow = offset == UINT64_MAX ? TLB_SLOW_DEVICE : 0;

	return (c->dr[7] & 0xff) != 0 && sys_debug_watches(c, at & PAGE_TAG) ? slow | TLB_SLOW_WATCH
									     : slow;
}

/* Translates and puts the result into the set; the tag for `access` matches then, but slow
 * bits. */
static bool fill(struct cpu *c, uint64_t at, enum mmu_access access, unsigned user,
		 struct tlb_entry **ret)
{
	struct tlb_set *set = &c->mmu->set[user];
	size_t i = at >> 12 & (TLB_ENTRIES - 1);
	struct tlb_entry *t = &set->entry[i];
	uint64_t page = at & PAGE_TAG, offset, slow;
	struct mmu_walk w;

	if (!mmu_walk(c, at, access, user != 0, &w))
		return false;
	offset = ram_offset(c->ram, (struct gpa){w.physical & PAGE_TAG}, RAM_PAGE_BYTES);
	slow = slow_bits(c, at, offset);
	drop(set, i);
	remember(set, i, &w);
	t->addend = offset == UINT64_MAX ? 0 : (uint64_t)(uintptr_t)c->ram->host + offset - page;
	t->read = page | slow;
	if (w.executable)
		t->execute = page | slow;
	if (w.writable && w.dirty) {
		if (offset != UINT64_MAX &&
		    (ram_flags_set(c->ram, offset, RAM_DIRTY) & RAM_CODE) != 0)
			slow |= TLB_SLOW_CODE;
		t->write = page | slow;
	}
	*ret = t;
	return true;
}

static bool translate(struct cpu *c, uint64_t at, enum mmu_access access, unsigned user,
		      struct tlb_entry **ret)
{
	struct tlb_entry *t = &c->mmu->set[user].entry[at >> 12 & (TLB_ENTRIES - 1)];

	*ret = t;
	return same_page(tag_for(t, access), at) || fill(c, at, access, user, ret);
}

static uint64_t physical_of(const struct cpu *c, const struct tlb_entry *t, uint64_t at,
			    unsigned user)
{
	return c->mmu->set[user].shadow[t - c->mmu->set[user].entry].physical | (at & 0xfff);
}

/* ---- one access within a page ---- */

/* The local APIC's page is a device that each vCPU has to itself. */
static bool apic_has(const struct cpu *c, uint64_t physical)
{
	uint64_t base = apic_base(c->sys.apic);

	return (base & (APIC_BASE_ENABLED | APIC_BASE_X2APIC)) == APIC_BASE_ENABLED &&
	       (physical & PAGE_TAG) == (base & PAGE_TAG & ((1ull << 46) - 1));
}

static void device_read(struct cpu *c, uint64_t physical, uint8_t *bytes, unsigned n)
{
	for (unsigned at = 0, size; at < n; at += size) {
		uint64_t value;

		for (size = 8; size > n - at || ((physical + at) & (size - 1)) != 0;)
			size >>= 1;
		if (apic_has(c, physical))
			value = apic_read(c->sys.apic, (unsigned)(physical + at) & 0xffc);
		else
			value = bus_read(c->bus, BUS_MEMORY, physical + at, size);
		memcpy(bytes + at, &value, size);
	}
}

static void device_write(struct cpu *c, uint64_t physical, const uint8_t *bytes, unsigned n)
{
	for (unsigned at = 0, size; at < n; at += size) {
		uint64_t value = 0;

		for (size = 8; size > n - at || ((physical + at) & (size - 1)) != 0;)
			size >>= 1;
		memcpy(&value, bytes + at, size);
		if (apic_has(c, physical))
			sys_apic_write(c, (unsigned)(physical + at) & 0xffc, (uint32_t)value);
		else
			bus_write(c->bus, BUS_MEMORY, physical + at, size, value);
	}
}

/* True where the page that is written holds the code that runs: the op must begin anew, alone. */
static bool writes_itself(struct cpu *c, uint64_t physical_page)
{
	unsigned user = (c->mode & MODE_USER) != 0;
	uint64_t at = c->gpr[REG_PAGE];
	struct tlb_entry *t;

	if (c->lone_runs > 0)
		return false;
	if ((c->mode & MODE_CODE64) == 0)
		at = (at + c->segment[VCPU_CS].base) & 0xffffffff;
	t = &c->mmu->set[user].entry[at >> 12 & (TLB_ENTRIES - 1)];
	return !same_page(t->execute, at) || physical_of(c, t, at, user) == physical_page;
}

/* What is slow about an entry, before the bytes are touched. False: fault or retry. */
static bool prepare(struct cpu *c, struct tlb_entry *t, uint64_t at, unsigned n, bool write,
		    unsigned user)
{
	uint64_t tag = write ? t->write : t->read, physical, offset;

	if ((tag & TLB_SLOW_WATCH) != 0)
		sys_debug_data(c, at, n, write);
	if (!write || (tag & TLB_SLOW_CODE) == 0)
		return true;
	physical = physical_of(c, t, at, user);
	offset = ram_offset(c->ram, (struct gpa){physical}, n);
	assert(offset != UINT64_MAX);
	if ((ram_flags(c->ram, offset) & RAM_CODE) == 0 || !writes_itself(c, physical & PAGE_TAG))
		return true;
	c->retry = true; /* the op is to be executed by itself */
	return false;
}

/*
 * After the bytes were written: what was decoded of them is no more. Not before, or another vCPU
 * might decode the old ones meanwhile, and keep them.
 */
static void written(struct cpu *c, struct tlb_entry *t, uint64_t at, unsigned n, unsigned user)
{
	uint64_t offset;

	if ((t->write & TLB_SLOW_CODE) == 0)
		return;
	offset = ram_offset(c->ram, (struct gpa){physical_of(c, t, at, user)}, n);
	assert(offset != UINT64_MAX);
	if ((ram_flags(c->ram, offset) & RAM_CODE) != 0)
		code_written(c->world, offset, n);
	if ((ram_flags(c->ram, offset) & RAM_CODE) == 0)
		t->write &= ~(uint64_t)TLB_SLOW_CODE;
}

static bool piece(struct cpu *c, uint64_t at, uint8_t *bytes, unsigned n, bool write, unsigned user)
{
	struct tlb_entry *t;
	uint8_t *host;

	if (!translate(c, at, write ? MMU_WRITE : MMU_READ, user, &t) ||
	    !prepare(c, t, at, n, write, user))
		return false;
	if (((write ? t->write : t->read) & TLB_SLOW_DEVICE) != 0) {
		if (write)
			device_write(c, physical_of(c, t, at, user), bytes, n);
		else
			device_read(c, physical_of(c, t, at, user), bytes, n);
		return true;
	}
	host = (uint8_t *)(uintptr_t)(at + t->addend);
	if (write) {
		memcpy(host, bytes, n);
		written(c, t, at, n, user);
	} else {
		memcpy(bytes, host, n);
	}
	return true;
}

/* Naturally aligned, as the guest's other vCPUs expect; memcpy() may do it in two. */
#define ONE_GO(bits)                                                                       \
	case bits / 8:                                                                     \
		if (write)                                                                 \
			__atomic_store_n((uint##bits##_t *)host, *(u##bits *)bytes,        \
					 __ATOMIC_RELAXED);                                \
		else                                                                       \
			*(u##bits *)bytes =                                                \
				__atomic_load_n((uint##bits##_t *)host, __ATOMIC_RELAXED); \
		break;

static void in_one_go(void *host, uint8_t *bytes, unsigned n, bool write)
{
	assert(((uintptr_t)host & (n - 1)) == 0);
	switch (n) {
		ONE_GO(8)
		ONE_GO(16)
		ONE_GO(32)
		ONE_GO(64)
	}
}

static bool aligned_piece(struct cpu *c, uint64_t at, uint8_t *bytes, unsigned n, bool write,
			  unsigned user)
{
	struct tlb_entry *t;

	if (n > 8 || (n & (n - 1)) != 0 || (at & (n - 1)) != 0)
		return piece(c, at, bytes, n, write, user);
	if (!translate(c, at, write ? MMU_WRITE : MMU_READ, user, &t) ||
	    !prepare(c, t, at, n, write, user))
		return false;
	if (((write ? t->write : t->read) & TLB_SLOW_DEVICE) != 0)
		return piece(c, at, bytes, n, write, user);
	in_one_go((void *)(uintptr_t)(at + t->addend), bytes, n, write);
	if (write)
		written(c, t, at, n, user);
	return true;
}

/* ---- any access ---- */

static bool canonical_or_fault(struct cpu *c, uint64_t at, unsigned n)
{
	uint64_t last = at + n - 1;

	if (c->ea_bad) {
		c->ea_bad = false;
		return sys_fault(c, c->ea_vector, 0);
	}
	if (!sys_in64(c) && !sys_long(c))
		return true;
	if (sys_canonical(at) && sys_canonical(last))
		return true;
	c->not_canonical = true; /* op_fault() knows whether the stack was meant: #SS */
	return sys_fault(c, VECTOR_GP, 0);
}

bool mmu_aligned(struct cpu *c, uint64_t at, unsigned n)
{
	if (!c->ac || (at & (n - 1)) == 0 || n > 8 || (n & (n - 1)) != 0)
		return true;
	return sys_fault(c, VECTOR_AC, 0);
}

bool mmu_copy(struct cpu *c, uint64_t at, void *bytes, unsigned n, bool write, bool user)
{
	unsigned first = 0x1000 - (unsigned)(at & 0xfff);
	uint64_t next = (at | 0xfff) + 1;
	struct tlb_entry *t;

	if (!sys_long(c)) {
		at &= 0xffffffff;
		next &= 0xffffffff;
	}
	if (n <= first)
		return aligned_piece(c, at, bytes, n, write, user);
	/* Both halves must be there before either is touched. */
	if (!translate(c, at, write ? MMU_WRITE : MMU_READ, user, &t) ||
	    !translate(c, next, write ? MMU_WRITE : MMU_READ, user, &t))
		return false;
	if (write && !prepare(c, t, next, n - first, true, user))
		return false;
	return piece(c, at, bytes, first, write, user) &&
	       piece(c, next, (uint8_t *)bytes + first, n - first, write, user);
}

static bool access_checked(struct cpu *c, uint64_t at, void *bytes, unsigned n, bool write)
{
	return canonical_or_fault(c, at, n) && mmu_aligned(c, at, n) &&
	       mmu_copy(c, at, bytes, n, write, (c->mode & MODE_USER) != 0);
}

bool mmu_load(struct cpu *c, uint64_t at, unsigned n)
{
	assert(n <= 8);
	c->loaded = 0;
	return access_checked(c, at, &c->loaded, n, false);
}

bool mmu_load_wide(struct cpu *c, uint64_t at, unsigned n)
{
	assert(n <= sizeof(c->wide));
	return access_checked(c, at, c->wide.u8, n, false);
}

bool mmu_store(struct cpu *c, uint64_t at, uint64_t value, unsigned n)
{
	assert(n <= 8);
	return access_checked(c, at, &value, n, true);
}

bool mmu_store_wide(struct cpu *c, uint64_t at, unsigned n)
{
	assert(n <= sizeof(c->wide));
	return access_checked(c, at, c->wide.u8, n, true);
}

bool mmu_probe_write(struct cpu *c, uint64_t at, unsigned n)
{
	unsigned user = (c->mode & MODE_USER) != 0;
	struct tlb_entry *t;

	if (!canonical_or_fault(c, at, n) || !mmu_aligned(c, at, n))
		return false;
	if (!sys_long(c))
		at &= 0xffffffff;
	if (!translate(c, at, MMU_WRITE, user, &t))
		return false;
	if ((at & 0xfff) + n <= 0x1000)
		return true;
	at = (at + n - 1) & PAGE_TAG;
	return translate(c, sys_long(c) ? at : at & 0xffffffff, MMU_WRITE, user, &t);
}

/* ---- read-modify-write ---- */

/* A host pointer where the operand lies in one page of RAM. */
static void *rmw_direct(struct cpu *c, uint64_t at, unsigned n, unsigned user, bool *ret_fault)
{
	struct tlb_entry *t;

	*ret_fault = true;
	if (!translate(c, at, MMU_WRITE, user, &t))
		return NULL;
	if ((t->read & TLB_SLOW_WATCH) != 0)
		sys_debug_data(c, at, n, false);
	if (!prepare(c, t, at, n, true, user))
		return NULL;
	*ret_fault = false;
	if ((t->write & TLB_SLOW_DEVICE) != 0)
		return NULL;
	if ((t->write & TLB_SLOW_CODE) != 0) {
		c->rmw.at = at;
		c->rmw.bytes = n;
		c->rmw.active = true;
		c->rmw.code = t;
	}
	return (void *)(uintptr_t)(at + t->addend);
}

/* Bounced: what is written back later must not fault then. */
static void *rmw_bounced(struct cpu *c, uint64_t at, unsigned n, bool locked)
{
	bool user = (c->mode & MODE_USER) != 0;

	if (!mmu_probe_write(c, at, n))
		return NULL;
	if (locked && c->lone_runs == 0) { /* while the world stands, traces may be thrown away */
		c->retry = true;
		return NULL;
	}
	if (locked) {
		world_stop(c);
		c->rmw.stopped = true;
	}
	/* The world was another's meanwhile: what was there may be gone. */
	if ((locked && !mmu_probe_write(c, at, n)) ||
	    !mmu_copy(c, at, c->bounce.u8, n, false, user)) {
		if (locked)
			world_go(c);
		c->rmw.stopped = false;
		return NULL;
	}
	c->rmw.at = at;
	c->rmw.bytes = n;
	c->rmw.active = true;
	return c->bounce.u8;
}

void *mmu_rmw(struct cpu *c, uint64_t at, unsigned n, bool locked)
{
	unsigned user = (c->mode & MODE_USER) != 0;
	bool fault = false;
	void *p;

	assert(!c->rmw.active);
	if (!canonical_or_fault(c, at, n) || !mmu_aligned(c, at, n))
		return NULL;
	if (!sys_long(c))
		at &= 0xffffffff;
	if ((at & 0xfff) + n <= 0x1000) {
		p = rmw_direct(c, at, n, user, &fault);
		if (p || fault)
			return p;
	}
	return rmw_bounced(c, at, n, locked);
}

void mmu_rmw_done(struct cpu *c)
{
	struct tlb_entry *code = c->rmw.code;
	bool done;

	assert(c->rmw.active);
	c->rmw.active = false;
	c->rmw.code = NULL;
	if (code) {
		written(c, code, c->rmw.at, c->rmw.bytes, (c->mode & MODE_USER) != 0);
		return;
	}
	/* An op that writes its own code was made to run by itself by the probe: no retry here. */
	c->lone_runs++;
	done = mmu_copy(c, c->rmw.at, c->bounce.u8, c->rmw.bytes, true, (c->mode & MODE_USER) != 0);
	c->lone_runs--;
	assert(done);
	if (c->rmw.stopped) {
		c->rmw.stopped = false;
		world_go(c);
	}
}

/* ---- code ---- */

bool mmu_code(struct cpu *c, uint64_t at, uint64_t *ret_physical)
{
	unsigned user = (c->mode & MODE_USER) != 0;
	struct tlb_entry *t;

	if (sys_long(c) && !sys_canonical(at))
		return sys_fault(c, VECTOR_GP, 0);
	if (!translate(c, at, MMU_EXECUTE, user, &t))
		return false;
	*ret_physical = physical_of(c, t, at, user);
	return true;
}

/* ---- addresses that are not plain ---- */

static bool segment_allows(const struct vcpu_segment *s, uint64_t at, unsigned n, bool write)
{
	uint64_t last = at + n - 1;

	if (s->unusable || (s->access & SEG_P) == 0)
		return false;
	if ((s->access & 8) != 0) { /* code: readable or not, never written */
		if (write || (s->access & 2) == 0)
			return false;
	} else if (write && (s->access & 2) == 0) {
		return false;
	}
	if ((s->access & (SEG_S | 0xc)) == (SEG_S | 4)) /* expands down */
		return at > s->limit && last <= ((s->access & SEG_DB) != 0 ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

uint64_t ea_slow(struct cpu *c, const struct op *o, uint64_t at)
{
	unsigned name = (o->ea & EA_SEGMENT);
	const struct vcpu_segment *s;

	if ((o->ea & EA_16) != 0)
		at &= 0xffff;
	else if ((o->ea & EA_32) != 0)
		at &= 0xffffffff;
	if (name == 0)
		return at;
	s = &c->segment[name - 1];
	if ((o->ea & EA_CHECK) != 0 &&
	    !segment_allows(s, at, (o->ea & EA_BYTES) != 0 ? 16 : op_bytes(o),
			    (o->ea & EA_WRITE) != 0)) {
		c->ea_bad = true;
		c->ea_vector = name - 1 == VCPU_SS ? VECTOR_SS : VECTOR_GP;
		return EA_POISON;
	}
	at += s->base;
	return (c->mode & MODE_CODE64) != 0 ? at : at & 0xffffffff;
}
