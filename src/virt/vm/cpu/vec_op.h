/*
 * What the handlers of vector and x87 instructions share: operands as vectors, loads and stores of
 * them with the TLB hit inline, and arithmetic that may raise #XM. Built on op.h; only handlers
 * include it.
 *
 * Availability (#UD, #NM) is not asked here: the decoder knows it from the mode and gives other
 * ops.
 */
#pragma once

#include "virt/vm/cpu/op.h"
#include "virt/vm/cpu/sse_except.h"
#include "virt/vm/cpu/vec.h"
#include "virt/vm/cpu/vector.h"

/* A handler that the rows of vector_rows.c name. */
#define VEC_OP(name)     \
	op_fn op_##name; \
	OP(name)

#define XMM(n)	      (c->xmm[n].x)
#define IMM8	      ((unsigned)(o->imm & 0xff))
#define SET_ARITH(f_) (c->arith = arith_of(f_))

#define VEC_GP 13

typedef vec vec_anywhere __attribute__((aligned(1)));

/* 16 bytes from anywhere. */
#define VEC_LOAD_AT(s_, at_)                                                               \
	do {                                                                               \
		uint64_t vec_at = (at_);                                                   \
		const struct tlb_entry *vec_t = tlb_at(c, vec_at);                         \
		if (likely(((vec_at + 15) & PAGE_TAG) == vec_t->read))                     \
			(s_) = *(const vec_anywhere *)(uintptr_t)(vec_at + vec_t->addend); \
		else if (mmu_load_wide(c, vec_at, 16))                                     \
			(s_) = c->wide.x;                                                  \
		else                                                                       \
			FAULTED;                                                           \
	} while (0)

#define VEC_STORE_AT(v_, at_)                                                        \
	do {                                                                         \
		uint64_t vec_at = (at_);                                             \
		const struct tlb_entry *vec_t = tlb_at(c, vec_at);                   \
		if (likely(((vec_at + 15) & PAGE_TAG) == vec_t->write)) {            \
			*(vec_anywhere *)(uintptr_t)(vec_at + vec_t->addend) = (v_); \
		} else {                                                             \
			c->wide.x = (v_);                                            \
			if (!mmu_store_wide(c, vec_at, 16))                          \
				FAULTED;                                             \
		}                                                                    \
	} while (0)

#define VEC_LOAD(s_)  VEC_LOAD_AT(s_, ea_of(c, o))
#define VEC_STORE(v_) VEC_STORE_AT(v_, ea_of(c, o))

/* The same for operands that must be aligned to their size; that is asked before their page. */
#define VEC_LOAD_ALIGNED(s_)                         \
	do {                                         \
		uint64_t vec_ea = ea_of(c, o);       \
		if (unlikely(vec_ea & 15))           \
			return vec_misaligned(c, o); \
		VEC_LOAD_AT(s_, vec_ea);             \
	} while (0)

#define VEC_STORE_ALIGNED(v_)                        \
	do {                                         \
		uint64_t vec_ea = ea_of(c, o);       \
		if (unlikely(vec_ea & 15))           \
			return vec_misaligned(c, o); \
		VEC_STORE_AT(v_, vec_ea);            \
	} while (0)

void vec_misaligned(struct cpu *c, const struct op *o);

/* The low bits of a vector, zero above. */
#define VEC_LOAD_LOW(s_, bits)                       \
	do {                                         \
		LOAD(bits, vec_low, ea_of(c, o));    \
		(s_) = (vec){(long long)vec_low, 0}; \
	} while (0)

/* r = expr, an instruction that may raise #XM; FP_INT: results are not vectors. */
#define VEC_FP(kind, r, expr)                       \
	do {                                        \
		if (likely(!(c->mode & MODE_XM))) { \
			(r) = (expr);               \
			break;                      \
		}                                   \
		vec_unmasked_begin(c);              \
		(r) = (expr);                       \
		if (!vec_unmasked_end(c))           \
			return vec_exception(c, o); \
	} while (0)

#define VEC_FP_INT(r, expr)                         \
	do {                                        \
		if (likely(!(c->mode & MODE_XM))) { \
			(r) = (expr);               \
			break;                      \
		}                                   \
		vec_unmasked_begin(c);              \
		(r) = (expr);                       \
		if (!vec_unmasked_end(c))           \
			return vec_exception(c, o); \
	} while (0)

void vec_unmasked_begin(struct cpu *c);
bool vec_unmasked_end(struct cpu *c);
bool vec_unmasked(struct cpu *c, const struct sse_work *w, vec *ret) must_use;
/* #XM, or #UD where CR4.OSXMMEXCPT is clear. */
void vec_exception(struct cpu *c, const struct op *o);

/*
 * Any number of bytes. Of the operands of FLDENV and its kin processors look at the first word and
 * then at the last byte, which shows in the address of a fault; after that a store is not left
 * half done.
 */
bool vec_probe_ends(struct cpu *c, uint64_t at, unsigned n, bool write) must_use;
bool vec_load_bytes(struct cpu *c, uint64_t at, void *to, unsigned n) must_use;
bool vec_store_bytes(struct cpu *c, uint64_t at, const void *from, unsigned n) must_use;

/* The bytes whose bit of the mask is set. All are looked at, the upper eight first. */
bool vec_store_masked(struct cpu *c, uint64_t at, const uint8_t *from, unsigned mask,
		      unsigned n) must_use;

/* False where an x87 exception waits: MMX instructions raise #MF then. */
bool vec_mmx_may(const struct cpu *c) must_use;

/* As vector_set(), from an instruction; true: the mode is another now. */
bool vec_state_set(struct cpu *c, const uint8_t from[512]) must_use;
