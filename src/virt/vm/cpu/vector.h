/*
 * Vector and floating-point state of a vCPU as a whole: what the run loop and whoever reads or
 * writes states call. Handlers and kernels are behind vec_op.h, the decoder's rows behind
 * decode.h.
 */
#pragma once

#include "virt/vm/cpu/state.h"

/* Around everything that executes ops: the guest's MXCSR and x87 unit go into the host and back.
 * In between nothing else may compute in floating point on this thread. */
void vector_enter(struct cpu *c);
void vector_leave(struct cpu *c);

/* MXCSR with its flags, inside or outside of the above. */
uint32_t vector_mxcsr(const struct cpu *c);
/* Sets it; the caller has checked the reserved bits. The mode may be another after. */
void vector_mxcsr_set(struct cpu *c, uint32_t v);

/* Power-on state; INIT leaves x87 and SSE alone. */
void vector_reset(struct cpu *c);

/* The 512 bytes of FXSAVE64, for states; outside of the run loop. */
void vector_get(struct cpu *c, uint8_t ret[512]);
void vector_set(struct cpu *c, const uint8_t from[512]);

/* For tests: asks of every row's id whether it was seen; how many there are, how many are
 * missing. */
unsigned vector_ids(bool (*seen)(void *ctx, unsigned id), void *ctx, unsigned *ret_missing);
