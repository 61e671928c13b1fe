/*
 * What an x87 instruction is, by its opcode D8 to DF and ModRM byte: a table instead of a decoder.
 * Executing it is the host's work (fpu.h); the handlers only move memory operands and look after
 * exceptions and pointers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum x87_kind {
	X87_INVALID, /* #UD */
	X87_PLAIN,   /* registers only */
	X87_LOAD,    /* reads `bytes` of memory */
	X87_STORE,   /* writes them, unless an unmasked exception forbids */
	X87_FCMOV,   /* reads CF, ZF, PF */
	X87_FCOMI,   /* writes the flags; FUCOMI … */
	/* From here on control instructions: FIP stays. */
	X87_CONTROL,	 /* FNINIT, FNCLEX and no-operations */
	X87_LOAD_CW,	 /* FLDCW */
	X87_STORE_CW,	 /* FNSTCW */
	X87_STORE_SW,	 /* FNSTSW m16 */
	X87_STORE_SW_AX, /* FNSTSW AX */
	X87_LOAD_ENV,
	X87_STORE_ENV,
	X87_LOAD_ALL,  /* FRSTOR */
	X87_STORE_ALL, /* FNSAVE */
};

struct x87_form {
	uint8_t kind;  /* enum x87_kind */
	uint8_t bytes; /* of the memory operand, where it is one of LOAD and STORE */
	bool waits;    /* traps when an unmasked exception is pending */
};

/* In an op's immediate, beside the code: the operand size is 16 bits. */
#define X87_SHORT 0x10000u

/* `code`: (opcode & 7) << 8 | ModRM. */
struct x87_form x87_form(unsigned code);

struct op;
struct cpu;
void (*x87_handler(struct x87_form f))(struct cpu *c, const struct op *o);
