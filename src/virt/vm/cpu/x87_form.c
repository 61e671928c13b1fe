/*
 * The table of x87 forms (x87.h): SDM volume 2, appendix A, escape opcodes; with the undocumented
 * aliases that processors execute (FSTP1, FCOM2, FCOMP3, FXCH4, FCOMP5, FXCH7, FSTP8, FSTP9,
 * FFREEP).
 */
#include "virt/vm/cpu/x87.h"

#include <assert.h>

#define ROW(kind_, bytes_, waits_)                                        \
	{                                                                 \
		.kind = X87_##kind_, .bytes = (bytes_), .waits = (waits_) \
	}
#define LD(n) ROW(LOAD, n, true)
#define ST(n) ROW(STORE, n, true)
#define ALL_LOAD(n)                                                    \
	{                                                              \
		LD(n), LD(n), LD(n), LD(n), LD(n), LD(n), LD(n), LD(n) \
	}
#define BAD ROW(INVALID, 0, false)

static const struct x87_form memory_forms[8][8] = {
	/* D8 */ ALL_LOAD(4),
	/* D9 */
	{LD(4), BAD, ST(4), ST(4), ROW(LOAD_ENV, 0, true), ROW(LOAD_CW, 2, true),
	 ROW(STORE_ENV, 0, false), ROW(STORE_CW, 2, false)},
	/* DA */ ALL_LOAD(4),
	/* DB */ {LD(4), ST(4), ST(4), ST(4), BAD, LD(10), BAD, ST(10)},
	/* DC */ ALL_LOAD(8),
	/* DD */
	{LD(8), ST(8), ST(8), ST(8), ROW(LOAD_ALL, 0, true), BAD, ROW(STORE_ALL, 0, false),
	 ROW(STORE_SW, 2, false)},
	/* DE */ ALL_LOAD(2),
	/* DF */ {LD(2), ST(2), ST(2), ST(2), LD(10), LD(8), ST(10), ST(8)},
};

/* Register forms by opcode and reg: whether all eight rm are alike, or each has a bit. */
struct register_row {
	uint8_t kind;
	uint8_t valid; /* bit rm */
};

#define R(kind_)                  \
	{                         \
		X87_##kind_, 0xff \
	}
#define SOME(kind_, m)           \
	{                        \
		X87_##kind_, (m) \
	}
#define NONE                   \
	{                      \
		X87_INVALID, 0 \
	}

static const struct register_row register_rows[8][8] = {
	/* D8 */ {R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN)},
	/* D9 */
	{R(PLAIN), R(PLAIN), SOME(PLAIN, 0x01), R(PLAIN), SOME(PLAIN, 0x33), SOME(PLAIN, 0x7f),
	 R(PLAIN), R(PLAIN)},
	/* DA */
	{R(FCMOV), R(FCMOV), R(FCMOV), R(FCMOV), NONE, SOME(PLAIN, 0x02), NONE, NONE},
	/* DB */
	{R(FCMOV), R(FCMOV), R(FCMOV), R(FCMOV), SOME(CONTROL, 0x1f), R(FCOMI), R(FCOMI), NONE},
	/* DC */ {R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN)},
	/* DD */ {R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), NONE, NONE},
	/* DE */
	{R(PLAIN), R(PLAIN), R(PLAIN), SOME(PLAIN, 0x02), R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN)},
	/* DF */
	{R(PLAIN), R(PLAIN), R(PLAIN), R(PLAIN), SOME(STORE_SW_AX, 0x01), R(FCOMI), R(FCOMI), NONE},
};

static struct x87_form register_form(unsigned opcode, unsigned reg, unsigned rm)
{
	struct register_row row = register_rows[opcode][reg];
	struct x87_form f = {.kind = row.kind, .waits = true};

	if (!(row.valid >> rm & 1))
		return (struct x87_form){.kind = X87_INVALID};
	if (f.kind == X87_CONTROL || f.kind == X87_STORE_SW_AX)
		f.waits = false;
	return f;
}

struct x87_form x87_form(unsigned code)
{
	unsigned opcode = code >> 8, modrm = code & 0xff;

	assert(opcode < 8);
	if (modrm < 0xc0)
		return memory_forms[opcode][modrm >> 3 & 7];
	return register_form(opcode, modrm >> 3 & 7, modrm & 7);
}
