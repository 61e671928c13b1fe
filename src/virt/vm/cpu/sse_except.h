/*
 * SSE exceptions for guests that unmask some (sse_except.c says how it works): an instruction's
 * kernel between sse_unmasked_begin() and _end(), or arithmetic as a whole by sse_unmasked().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/cpu/vec.h"

/* What a kernel's results are, for the sake of overflow and underflow. */
enum sse_result {
	SSE_NUM, /* neither can happen */
	SSE_PS,
	SSE_PD,
	SSE_SS,
	SSE_SD,
};

enum sse_arith {
	SSE_ADD,
	SSE_SUB,
	SSE_MUL,
	SSE_DIV,
	SSE_NARROW, /* double to single */
	SSE_HADD,
	SSE_HSUB,
	SSE_ADDSUB,
	SSE_DOT,
};

struct sse_work {
	vec_kernel kernel;
	enum sse_result kind;
	int arith; /* enum sse_arith */
	vec d, s;
	unsigned imm; /* of SSE_DOT */
};

/* `mxcsr`: the guest's, with its flags and masks. */
void sse_unmasked_begin(uint32_t mxcsr);
/* False: #XM, the result is to be dropped. The host's MXCSR is the guest's again, masked. */
bool sse_unmasked_end(uint32_t mxcsr);

/* Executes; false: #XM. The host's x87 unit is free, and is left initialised. */
bool sse_unmasked(uint32_t mxcsr, const struct sse_work *w, vec *ret);
