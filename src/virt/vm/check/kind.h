/*
 * The forms of instructions that are compared with the real processor: every opcode of every map
 * with every mandatory prefix, operand size and group digit, to registers and to memory. They are
 * enumerated blindly, so that what the software CPU forgot shows as well as what it does wrong;
 * only what cannot be compared is left out, by a table that says why.
 *
 * A form together with a random number is a case: operands, addressing, registers, flags, x87 and
 * SSE state and memory are drawn, with a liking for edges (page crossings, read-only and missing
 * pages, addresses that are not canonical, extreme numbers).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/vm/check/native.h"

enum form_map { FORM_ONE, FORM_0F, FORM_0F38, FORM_0F3A };

struct kind {
	enum native_mode mode;
	enum form_map map;
	uint8_t opcode;
	uint8_t prefix;	    /* 0, 0x66, 0xf2, 0xf3 */
	bool rex_w;	    /* 64-bit code only */
	bool width_selects; /* REX.W makes another form of it */
	bool has_modrm;
	bool memory;  /* ModRM names memory */
	int8_t digit; /* ModRM.reg that selects the instruction; -1: an operand */
	int8_t rm;    /* ModRM.rm that selects it; -1: an operand */
};

#define FORMS_MAX 32768

/* All forms of a mode but those left out; the count. `ret` has room for FORMS_MAX. */
size_t kind_list(enum native_mode mode, struct kind *ret);

/* "66 rex.w 0f 38 f1 /r mem": for messages. */
void kind_name(const struct kind *f, char ret[64]);

/* Numbers from a seed: xorshift, the same on every host. */
struct chance {
	uint64_t state;
};
uint64_t chance_next(struct chance *c);
static inline uint64_t chance_below(struct chance *c, uint64_t n)
{
	return chance_next(c) % n;
}

/* Draws a case of the form. The batch's background is drawn once by case_background(). */
void case_make(struct chance *r, const struct kind *f, struct native_case *ret);
void case_background(struct chance *r, struct native_batch *b);

/* RFLAGS bits that the manual leaves undefined for this case; its destination, too, where
 * *ret_result says so. */
uint64_t case_undefined(const struct kind *f, const struct native_case *c, bool *ret_result);
