/*
 * How long an x86 instruction is, by somebody else's decoder (Zydis): the oracle of the software
 * CPU's. For tests; programs do not link it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Was this built with Zydis? */
int x86_oracle(void);

/* Bytes of the instruction that begins at `code`: 0 when no processor has it or it does not end
 * within n. `bits` is 16, 32 or 64. */
unsigned x86_length(const uint8_t *code, size_t n, unsigned bits);
