/*
 * Moves between the accumulator and an absolute address of up to 64 bits, and PAUSE.
 */
#include <sched.h>

#include "virt/vm/cpu/alu.h"

#define PAUSES_A_YIELD 16 /* a spinner's: the vCPU that it waits for may have no processor */

/* `imm` is the offset; ea says which segment. */
static inline uint64_t absolute(struct cpu *c, const struct op *o)
{
	return likely(o->ea == 0) ? o->imm : ea_slow(c, o, o->imm);
}

#define ABSOLUTE(bits)                                   \
	OP(mov_abs_load_##bits)                          \
	{                                                \
		LOAD(bits, v, absolute(c, o));           \
		SET##bits(0, v);                         \
		NEXT;                                    \
	}                                                \
	OP(mov_abs_store_##bits)                         \
	{                                                \
		STORE(bits, absolute(c, o), R##bits(0)); \
		NEXT;                                    \
	}

ABSOLUTE(8)
ABSOLUTE(16)
ABSOLUTE(32)
ABSOLUTE(64)

const struct form form_mov_abs_load = {.run = FORM_ROW(mov_abs_load, )};
const struct form form_mov_abs_store = {.run = FORM_ROW(mov_abs_store, )};

OP(pause)
{
	if (++c->sys.pauses % PAUSES_A_YIELD == 0 && c->sys.cpus > 1)
		(void)sched_yield();
	NEXT;
}
const struct form form_pause = {.run = {op_pause, op_pause, op_pause, op_pause}};
