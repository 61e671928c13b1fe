/*
 * What the manual leaves undefined (SDM volume 2, "Flags Affected"), per case: a row for each
 * group of opcodes, and the shifts, where it depends on the count.
 */
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/check/kind.h"

enum {
	CF = 0x001,
	PF = 0x004,
	AF = 0x010,
	ZF = 0x040,
	SF = 0x080,
	OF = 0x800,
	ALL = CF | PF | AF | ZF | SF | OF,
};

struct row {
	uint8_t map, first, last, digits;
	uint16_t flags;
};

static const struct row rows[] = {
	{FORM_ONE, 0x08, 0x0d, 0xff, AF}, /* OR */
	{FORM_ONE, 0x20, 0x25, 0xff, AF}, /* AND */
	{FORM_ONE, 0x30, 0x35, 0xff, AF}, /* XOR */
	{FORM_ONE, 0x80, 0x83, 0x52, AF},
	{FORM_ONE, 0x84, 0x85, 0xff, AF}, /* TEST */
	{FORM_ONE, 0xa8, 0xa9, 0xff, AF},
	{FORM_ONE, 0xf6, 0xf7, 0x03, AF},
	{FORM_ONE, 0xf6, 0xf7, 0x30, SF | ZF | AF | PF}, /* MUL, IMUL */
	{FORM_ONE, 0x69, 0x69, 0xff, SF | ZF | AF | PF},
	{FORM_ONE, 0x6b, 0x6b, 0xff, SF | ZF | AF | PF},
	{FORM_0F, 0xaf, 0xaf, 0xff, SF | ZF | AF | PF},
	{FORM_ONE, 0xf6, 0xf7, 0xc0, ALL}, /* DIV, IDIV */
	{FORM_ONE, 0x27, 0x27, 0xff, OF},  /* DAA */
	{FORM_ONE, 0x2f, 0x2f, 0xff, OF},  /* DAS */
	{FORM_ONE, 0x37, 0x37, 0xff, OF | SF | ZF | PF},
	{FORM_ONE, 0x3f, 0x3f, 0xff, OF | SF | ZF | PF},
	{FORM_ONE, 0xd4, 0xd5, 0xff, OF | AF | CF}, /* AAM, AAD */
	{FORM_0F, 0xa3, 0xa3, 0xff, OF | SF | AF | PF},
	{FORM_0F, 0xab, 0xab, 0xff, OF | SF | AF | PF},
	{FORM_0F, 0xb3, 0xb3, 0xff, OF | SF | AF | PF},
	{FORM_0F, 0xbb, 0xbb, 0xff, OF | SF | AF | PF},
	{FORM_0F, 0xba, 0xba, 0xf0, OF | SF | AF | PF},
	{FORM_0F, 0xbc, 0xbd, 0xff, CF | OF | SF | AF | PF}, /* BSF, BSR */
};

/* Where the opcode lies, behind prefixes and escapes. */
static unsigned opcode_at(const struct kind *f, const struct native_case *c)
{
	static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
					   0x66, 0x67, 0xf0, 0xf2, 0xf3};
	static const uint8_t escape[] = {0, 1, 2, 2};
	unsigned i = 0;

	while (i < 10 && memchr(prefixes, c->code[i], sizeof(prefixes)))
		i++;
	if (f->mode == NATIVE_LONG && c->code[i] >> 4 == 4)
		i++;
	return i + escape[f->map];
}

/* Bytes of ModRM, SIB and displacement. */
static unsigned modrm_bytes(const uint8_t *p)
{
	unsigned mod = p[0] >> 6, rm = p[0] & 7, n = 1, base = rm;

	if (mod == 3)
		return 1;
	if (rm == 4) {
		base = p[1] & 7;
		n = 2;
	}
	if (mod == 1)
		return n + 1;
	return mod == 2 || base == 5 ? n + 4 : n;
}

static unsigned operand_bits(const struct kind *f, const struct native_case *c, bool byte)
{
	if (byte)
		return 8;
	if (f->rex_w)
		return 64;
	return memchr(c->code, 0x66, opcode_at(f, c)) ? 16 : 32;
}

/* The count of a shift or rotation, masked as the instruction masks it. */
static unsigned count_of(const struct kind *f, const struct native_case *c, unsigned imm_or_cl)
{
	unsigned at = opcode_at(f, c) + 1, mask = f->rex_w ? 63 : 31;

	if (imm_or_cl == 0)
		return 1;
	if (imm_or_cl == 1)
		return c->code[at + modrm_bytes(c->code + at)] & mask;
	return (unsigned)c->before.gpr[1] & mask;
}

/* C0, C1: imm8; D0, D1: 1; D2, D3: CL. Digits 0–3 rotate. */
static uint64_t shift_undefined(const struct kind *f, const struct native_case *c)
{
	unsigned kind = f->opcode < 0xd0 ? 1 : f->opcode < 0xd2 ? 0 : 2;
	unsigned count = count_of(f, c, kind), bits = operand_bits(f, c, !(f->opcode & 1));
	uint64_t flags = 0;

	if (count == 0)
		return 0;
	if (count > 1)
		flags |= OF;
	if (f->digit >= 4)
		flags |= AF;
	if (f->digit >= 4 && f->digit != 7 && count >= bits)
		flags |= CF;
	return flags;
}

static uint64_t double_shift_undefined(const struct kind *f, const struct native_case *c,
				       bool *ret_result)
{
	unsigned count = count_of(f, c, f->opcode & 1 ? 2 : 1), bits = operand_bits(f, c, false);

	if (count == 0)
		return 0;
	*ret_result = count > bits;
	return *ret_result ? ALL : count > 1 ? AF | OF : AF;
}

static bool covers(const struct row *r, const struct kind *f)
{
	return r->map == f->map && f->opcode >= r->first && f->opcode <= r->last &&
	       (f->digit < 0 || r->digits >> f->digit & 1);
}

uint64_t case_undefined(const struct kind *f, const struct native_case *c, bool *ret_result)
{
	uint64_t flags = 0;

	*ret_result = false;
	if (f->map == FORM_ONE &&
	    (f->opcode == 0xc0 || f->opcode == 0xc1 || f->opcode >> 2 == 0x34))
		return shift_undefined(f, c);
	if (f->map == FORM_0F && (f->opcode & 0xf6) == 0xa4 && (f->opcode & 7) >= 4)
		return double_shift_undefined(f, c, ret_result);
	if (f->map == FORM_0F && f->opcode >> 3 == 0x19) /* BSWAP of 16 bits */
		*ret_result = operand_bits(f, c, false) == 16;
	for (size_t i = 0; i < array_len(rows); i++)
		if (covers(&rows[i], f))
			flags |= rows[i].flags;
	return flags;
}
