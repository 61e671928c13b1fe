/*
 * Translation of linear addresses: the software TLB behind the fast paths of op.h.
 *
 * Two direct-mapped sets of entries, for privilege 3 and for the rest, so that the compare of the
 * fast path checks the right, too. An entry is writable once its page is dirty, and never while the
 * page holds decoded code. What must be looked at (devices, watched pages, code) is found with bits
 * below the page size in its tag, which no access matches. Behind each entry lies a shadow with the
 * physical page, for the slow paths and for taking write translations away.
 */
#pragma once

#include "virt/vm/cpu/op.h"

#define TLB_ENTRIES 1024u
#define TLB_RECENT  128u

/* Bits of tags that keep the fast path away. */
enum tlb_slow {
	TLB_SLOW_DEVICE = 1,
	TLB_SLOW_CODE = 2,  /* writes */
	TLB_SLOW_WATCH = 4, /* a data breakpoint */
};

struct tlb_shadow {
	uint64_t physical; /* page */
	bool global;
};

struct tlb_set {
	struct tlb_entry entry[TLB_ENTRIES];
	struct tlb_shadow shadow[TLB_ENTRIES];
	uint16_t recent[TLB_RECENT]; /* entries filled since the last flush that are not global */
	unsigned recents;	     /* more than TLB_RECENT: look at all */
};

struct mmu {
	struct tlb_set set[2];	/* 0: supervisor, 1: user */
	struct tlb_entry never; /* matches nothing: while alignment is checked */
	uint32_t generation;
};

enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXECUTE };

struct mmu_walk {
	uint64_t physical; /* of the address, not of its page */
	bool writable, user, executable, dirty, global;
};

/* Walks the page tables; sets accessed and, for a write, dirty bits. False: #PF described. */
bool mmu_walk(struct cpu *c, uint64_t at, enum mmu_access access, bool user,
	      struct mmu_walk *ret) must_use;

/* Where code at a linear address lies; UINT64_MAX offset: not RAM. False: fault. */
bool mmu_code(struct cpu *c, uint64_t at, uint64_t *ret_physical) must_use;

/* Bytes by linear address with the rights of `user` or of a supervisor; the system side's way. */
bool mmu_copy(struct cpu *c, uint64_t at, void *bytes, unsigned n, bool write, bool user) must_use;

/* False: #AC, where the mode asks for it. */
bool mmu_aligned(struct cpu *c, uint64_t at, unsigned n) must_use;

/* Takes every fast translation for writing the page away; the world is stopped. */
void mmu_revoke_writes(struct cpu *c, uint64_t physical_page);

struct mmu *mmu_new(void);
