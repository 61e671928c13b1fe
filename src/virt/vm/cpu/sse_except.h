/*
 * SSE exceptions for guests that unmask some: bracket an instruction's kernel with these two
 * (sse_except.c says how it works).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/cpu/vec.h"

/* What a kernel's results are, for the sake of underflow. */
enum sse_result {
	SSE_NUM, /* none that can underflow */
	SSE_PS,
	SSE_PD,
	SSE_SS,
	SSE_SD,
};

/* `mxcsr`: the guest's, with its flags and masks. */
void sse_unmasked_begin(uint32_t mxcsr);
/* False: #XM, the result is to be dropped. The host's MXCSR is the guest's again, masked. */
bool sse_unmasked_end(uint32_t mxcsr, enum sse_result kind, vec r);
