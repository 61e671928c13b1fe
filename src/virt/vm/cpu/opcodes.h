/*
 * The integer opcode maps as tables: one row an opcode, with what it needs of ModRM and
 * immediates, its operand size, its forms, and the flags that it reads and writes. Between
 * decode.c, which walks them, and opcodes.c, which holds them.
 */
#pragma once

#include "virt/vm/cpu/decode.h"
#include "virt/vm/cpu/form.h"

/* Where operands are. */
enum encoding {
	ENC_NONE,   /* no row: #UD */
	ENC_SYSTEM, /* system_decode() */
	ENC_VECTOR, /* vector_decode() */
	ENC_GROUP,  /* `group` has eight rows by ModRM's reg */
	ENC_PLAIN,  /* nothing */
	ENC_E_G,    /* dst = E, src = G */
	ENC_G_E,    /* dst = G, src = E */
	ENC_G_E_I,  /* the same and an immediate */
	ENC_E_G_I8, /* dst = E, src = G, imm */
	ENC_E,	    /* dst = E */
	ENC_E_I,    /* dst = E, imm of the operand's size (at most 4) */
	ENC_E_I8,   /* dst = E, imm of one byte, extended */
	ENC_E_1,    /* dst = E, imm = 1 */
	ENC_G_M,    /* dst = G, an address */
	ENC_A_I,    /* dst = accumulator, imm */
	ENC_A_O,    /* dst = accumulator, src = register in the opcode */
	ENC_O,	    /* dst = register in the opcode */
	ENC_O_I,    /* the same, imm of the operand's size (8, too) */
	ENC_I,	    /* imm */
	ENC_I8,	    /* imm of one byte, extended */
	ENC_I16,    /* imm of two bytes */
	ENC_ENTER,  /* imm of two bytes and one */
	ENC_J,	    /* a branch: displacement of the operand's size */
	ENC_J8,	    /* a branch: displacement of one byte */
	ENC_MOFFS,  /* imm = address; dst = accumulator */
	ENC_STRING, /* int_string.c's */
	ENC_XLAT,   /* rBX + AL */
};

enum size {
	SIZE_V,	   /* 16, 32 or 64 bits by prefix */
	SIZE_B,	   /* 8 */
	SIZE_V64,  /* as V, but 64-bit mode has no 32: its default is 64 */
	SIZE_NEAR, /* branches: 64 in 64-bit mode in any case */
	SIZE_ADDR, /* the address size */
};

enum row_flag {
	ROW_ENDS = 1,	 /* the trace */
	ROW_NOT64 = 2,	 /* #UD in 64-bit mode */
	ROW_FAULTS = 4,	 /* without a memory operand, too */
	ROW_KEEPS = 8,	 /* may leave flags alone that it writes: a count of zero */
	ROW_SRC_B = 16,	 /* E is a byte, whatever the size: MOVZX */
	ROW_SRC_W = 32,	 /* E is a word */
	ROW_MEMORY = 64, /* E is memory, else #UD */
	ROW_LINK = 128,	 /* a direct branch */
};

struct row {
	uint8_t enc, size, reads, writes, flags;
	const struct form *reg, *mem, *lock; /* by where E is; `reg` where there is no E */
	const struct row *group;
};

const struct row *opcode_row(const struct decoder *d);

void op_ud(struct cpu *c, const struct op *o);
void op_too_long(struct cpu *c, const struct op *o);
