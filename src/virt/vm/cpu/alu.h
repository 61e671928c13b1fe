/*
 * The host's instruction with its flags, for the handlers that compute (int_*.c).
 */
#pragma once

#include "virt/vm/cpu/form.h"

/* `cin` loads the carry first, where the instruction reads or keeps it. `f` gets the flags. */
#define ALU(cin, insn, d, s)                         \
	__asm__(cin insn " %[src], %[dst]" FLAGS_OUT \
		: [dst] d, "=&a"(f)                  \
		: [src] s, [arith] "m"(c->arith)     \
		: "cc")
#define ALU_QUIET(cin, insn, d, s) \
	__asm__(cin insn " %[src], %[dst]" : [dst] d : [src] s, [arith] "m"(c->arith) : "cc")
#define ALU_ONE(cin, insn, d) \
	__asm__(cin insn " %[dst]" FLAGS_OUT : [dst] d, "=&a"(f) : [arith] "m"(c->arith) : "cc")

#define FORM_REG(name)                                               \
	{                                                            \
		.run = FORM_ROW(name, ), .quiet = FORM_ROW(name, _q) \
	}
#define FORM_REG_LOUD(name)             \
	{                               \
		.run = FORM_ROW(name, ) \
	}
#define FORM_MEM(name)                                                                             \
	{                                                                                          \
		.run = FORM_ROW(name, ), .quiet = FORM_ROW(name, _q), .plain = FORM_ROW(name, _b), \
		.plain_quiet = FORM_ROW(name, _b_q)                                                \
	}
#define FORM_MEM_LOUD(name)                                          \
	{                                                            \
		.run = FORM_ROW(name, ), .plain = FORM_ROW(name, _b) \
	}
