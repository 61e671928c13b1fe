/*
 * Decimal arithmetic of 32-bit and 16-bit code: DAA, DAS, AAA, AAS, AAM, AAD, and SALC. See SDM
 * volume 2 under each name; flags that it leaves undefined are made as processors do.
 */
#include "virt/vm/cpu/alu.h"
#include "virt/vm/cpu/sys.h"

#define AR_CF 0x100u
#define AR_AF 0x1000u

/* SF, ZF and PF of a result; the rest of the flags as given. */
static void flags_of(struct cpu *c, uint8_t result, uint32_t carries)
{
	uint32_t f = carries | 0x200u;

	f |= result == 0 ? 0x4000u : 0;
	f |= (result & 0x80) != 0 ? 0x8000u : 0;
	f |= __builtin_parity(result) ? 0 : 0x400u;
	c->arith = (uint16_t)f;
}

static void decimal(struct cpu *c, bool subtract)
{
	uint8_t al = R8(0), old = al;
	uint32_t carries = 0, f = c->arith;

	if ((old & 15) > 9 || (f & AR_AF) != 0) {
		unsigned sum = subtract ? al - 6u : al + 6u;

		if ((f & AR_CF) != 0 || sum > 0xff)
			carries |= AR_CF;
		al = (uint8_t)sum;
		carries |= AR_AF;
	}
	if (old > 0x99 || (f & AR_CF) != 0) {
		al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
		carries |= AR_CF;
	}
	R8(0) = al;
	flags_of(c, al, carries);
}

OP(daa)
{
	decimal(c, false);
	NEXT;
}

OP(das)
{
	decimal(c, true);
	NEXT;
}

static void ascii(struct cpu *c, int sign)
{
	bool adjust = (R8(0) & 15) > 9 || (c->arith & AR_AF) != 0;

	if (adjust)
		R16(0) = (uint16_t)(R16(0) + sign * 0x106);
	R8(0) &= 15;
	flags_of(c, R8(0), adjust ? AR_AF | AR_CF : 0);
}

OP(aaa)
{
	ascii(c, 1);
	NEXT;
}

OP(aas)
{
	ascii(c, -1);
	NEXT;
}

OP(aam)
{
	uint8_t by = (uint8_t)o->imm, al = R8(0);

	if (by == 0)
		FAULT(VECTOR_DE, -1);
	R16(0) = (uint16_t)((al / by) << 8 | al % by);
	flags_of(c, R8(0), 0);
	NEXT;
}

OP(aad)
{
	uint8_t al = (uint8_t)(R8(0) + R8(1) * (uint8_t)o->imm);

	R16(0) = al;
	flags_of(c, al, 0);
	NEXT;
}

OP(salc)
{
	R8(0) = (c->arith & AR_CF) != 0 ? 0xff : 0;
	NEXT;
}

#define SAME(name) \
	const struct form form_##name = {.run = {op_##name, op_##name, op_##name, op_##name}};

SAME(daa)
SAME(das)
SAME(aaa)
SAME(aas)
SAME(aam)
SAME(aad)
SAME(salc)
