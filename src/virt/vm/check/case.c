/*
 * Drawing a case: the state before, the instruction's bytes, and memory under its operand
 * (kind.h).
 *
 * Order of work: registers get numbers from a pool that likes extremes, the registers that
 * instructions use as pointers without saying so get addresses in the data pages, then ModRM and
 * SIB are drawn and the base register is set so that the sum is an address that was chosen.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/check/kind.h"

#define NOWHERE	  (NATIVE_DATA + 0x8000) /* nothing is mapped there */
#define PATCH	  64u
#define REX	  0x40
#define FLAG_DF	  0x400u
#define FLAG_AC	  0x40000u
#define FLAGS_SIX 0x8d5u /* CF PF AF ZF SF OF */

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

/* ---- numbers ---- */

static bool one_in(struct chance *r, unsigned n)
{
	return chance_below(r, n) == 0;
}

static uint64_t number(struct chance *r)
{
	uint64_t v = chance_next(r);
	unsigned bits = (unsigned)chance_below(r, 64);

	switch (chance_below(r, 8)) {
	case 0:
		return chance_below(r, 5) - 2;
	case 1:
		return 1ull << bits;
	case 2:
		return (1ull << bits) - 1;
	case 3:
		return ~(1ull << bits);
	case 4:
		return v & 0xff;
	case 5:
		return v & 0xffffffff;
	default:
		return v;
	}
}

static uint32_t single(struct chance *r)
{
	static const uint32_t pool[] = {
		0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
		0x7f800001, 0xffc12345, 0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff,
		0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000, 0x40490fdb, 0x3effffff, 0x4effffff};
	uint64_t v = chance_next(r);

	if (one_in(r, 3))
		return pool[chance_below(r, array_len(pool))];
	if (one_in(r, 2)) /* of common size: sums cancel, products stay finite */
		return (uint32_t)(v & 0x807fffff) | (uint32_t)(0x78 + chance_below(r, 16)) << 23;
	return (uint32_t)v;
}

static uint64_t twice(struct chance *r)
{
	static const uint64_t pool[] = {
		0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
		0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
		0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff,
		0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000, 0xc3e0000000000000,
		0x3fe0000000000000, 0x400921fb54442d18, 0x36a0000000000000, 0x47efffffe0000000};
	uint64_t v = chance_next(r);

	if (one_in(r, 3))
		return pool[chance_below(r, array_len(pool))];
	if (one_in(r, 2))
		return (v & 0x800fffffffffffff) | (0x3f8 + chance_below(r, 16)) << 52;
	return v;
}

static void extended(struct chance *r, uint8_t to[10])
{
	static const uint16_t exponents[] = {0,	     1,	     0x3fff, 0x3ffe, 0x4000,
					     0x403e, 0x7ffe, 0x7fff, 0x3c00, 0x4010};
	static const uint64_t mantissas[] = {0, 1ull << 63, 3ull << 62, ~0ull, 1, 1ull << 62};
	uint64_t mantissa = chance_next(r);
	uint16_t exponent = (uint16_t)chance_next(r);

	if (!one_in(r, 8))
		mantissa |= 1ull << 63;
	if (one_in(r, 3))
		mantissa = mantissas[chance_below(r, array_len(mantissas))];
	if (one_in(r, 2))
		exponent = exponents[chance_below(r, array_len(exponents))] | (exponent & 0x8000);
	else if (!one_in(r, 4))
		exponent = (uint16_t)((exponent & 0x8000) | (0x3ff0 + chance_below(r, 32)));
	memcpy(to, &mantissa, 8);
	memcpy(to + 8, &exponent, 2);
}

/* Up to 16 bytes of what instructions compute with. */
static void datum(struct chance *r, uint8_t to[16])
{
	uint64_t kind = chance_below(r, 6);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t v = kind == 0 ? twice(r) : kind == 1 ? number(r) : chance_next(r);

		if (kind == 2)
			v = single(r) | (uint64_t)single(r) << 32;
		memcpy(to + (size_t)8 * i, &v, 8);
	}
	if (kind == 3)
		extended(r, to);
	if (kind == 4)
		for (unsigned i = 0; i < 16; i++)
			to[i] &= 0x9f; /* like text, like decimals */
}

/* ---- addresses ---- */

/* Where an operand may lie, most often well inside. */
static uint64_t address(struct chance *r)
{
	uint64_t near = chance_below(r, 24), end = NATIVE_DATA + NATIVE_DATA_BYTES;
	uint64_t lot = chance_below(r, 64);

	if (lot < 26)
		return NATIVE_DATA + 0x100 + 16 * chance_below(r, 0x80);
	if (lot < 44)
		return NATIVE_DATA + 0x100 + chance_below(r, 0x800);
	if (lot < 51)
		return NATIVE_DATA + NATIVE_PAGE - near;
	if (lot < 54)
		return NATIVE_DATA + (uint64_t)NATIVE_DATA_WRITE * NATIVE_PAGE - near;
	if (lot < 57)
		return NATIVE_DATA + (uint64_t)NATIVE_DATA_WRITE * NATIVE_PAGE + 0x200 + 8 * near;
	if (lot < 60)
		return end - near;
	if (lot < 61)
		return NATIVE_DATA - near;
	if (lot < 62)
		return NOWHERE + near;
	return 0x8000000000000000ull + (near << 40) + near;
}

static uint64_t address_of(struct chance *r, enum native_mode mode)
{
	uint64_t at = address(r);

	return mode == NATIVE_COMPAT && at >> 32 ? NOWHERE : at;
}

/* ---- x87 and SSE ---- */

static void put16(uint8_t *p, unsigned v)
{
	uint16_t w = (uint16_t)v;

	memcpy(p, &w, sizeof(w));
}

static void draw_fx(struct chance *r, uint8_t fx[512])
{
	static const uint8_t precisions[] = {0, 2, 3, 3};
	unsigned control = 0x7f | (unsigned)chance_below(r, 4) << 10 |
			   (unsigned)precisions[chance_below(r, 4)] << 8;
	unsigned status = (unsigned)chance_next(r) & 0x7f7f;
	uint32_t mxcsr = 0x1f80 | (uint32_t)chance_below(r, 4) << 13;

	memset(fx, 0, 512);
	if (one_in(r, 6))
		control &= ~(unsigned)chance_below(r, 64);
	if (!one_in(r, 4))
		status &= ~0x7fu;
	if (one_in(r, 3))
		status &= ~0x3800u;
	if (status & ~control & 0x3f)
		status |= 0x8080;
	put16(fx, control);
	put16(fx + 2, status);
	fx[4] = one_in(r, 3) ? (uint8_t)chance_next(r) : 0xff;
	if (one_in(r, 4))
		mxcsr |= (uint32_t)chance_next(r) & 0x807f;
	if (one_in(r, 6))
		mxcsr &= ~((uint32_t)chance_next(r) & 0x1f80);
	memcpy(fx + 24, &mxcsr, sizeof(mxcsr));
	for (unsigned i = 0; i < 8; i++)
		extended(r, fx + 32 + (size_t)16 * i);
	for (unsigned i = 0; i < 16; i++)
		datum(r, fx + 160 + (size_t)16 * i);
}

/* ---- the instruction's bytes ---- */

struct draft {
	struct chance *r;
	const struct kind *f;
	struct native_case *c;
	uint8_t n; /* bytes so far */
	uint8_t rex;
	int segment; /* 4: FS, 5: GS, -1: none */
	bool short_address, short_operand, locked;
	uint64_t target; /* of the memory operand */
};

static void byte(struct draft *d, unsigned b)
{
	if (d->n < NATIVE_CODE_BYTES)
		d->c->code[d->n++] = (uint8_t)b;
}

static void disp32(struct draft *d, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		byte(d, v >> (8 * i) & 0xff);
}

static bool is_string(const struct kind *f)
{
	return f->map == FORM_ONE && ((f->opcode >= 0xa4 && f->opcode <= 0xa7) ||
				      (f->opcode >= 0xaa && f->opcode <= 0xaf));
}

static void draw_rex(struct draft *d)
{
	if (d->f->mode != NATIVE_LONG)
		return;
	if (d->f->rex_w || !one_in(d->r, 3))
		d->rex = (uint8_t)(REX | (d->f->rex_w ? 8 : 0) | chance_below(d->r, 8));
	if (d->rex && !d->f->width_selects && one_in(d->r, 4))
		d->rex |= 8;
	if (d->rex)
		byte(d, d->rex);
}

/* Instructions whose operand size is chosen by 66 beside F2 or F3. */
static bool wants_66(const struct kind *f)
{
	return is_string(f) || f->map >= FORM_0F38 || (f->map == FORM_0F && f->opcode == 0xb8);
}

/* LOCK is for these, first and last opcode; elsewhere it is #UD, which is soon known. */
static bool may_lock(const struct kind *f)
{
	static const uint8_t rows[][3] = {
		{FORM_ONE, 0x80, 0x83}, {FORM_ONE, 0x86, 0x87}, {FORM_ONE, 0xf6, 0xf7},
		{FORM_ONE, 0xfe, 0xff}, {FORM_0F, 0xab, 0xab},	{FORM_0F, 0xb0, 0xb1},
		{FORM_0F, 0xb3, 0xb3},	{FORM_0F, 0xba, 0xbb},	{FORM_0F, 0xc0, 0xc1},
		{FORM_0F, 0xc7, 0xc7},
	};

	if (!f->memory)
		return false;
	for (size_t i = 0; i < array_len(rows); i++)
		if (f->map == rows[i][0] && f->opcode >= rows[i][1] && f->opcode <= rows[i][2])
			return true;
	return f->map == FORM_ONE && f->opcode < 0x40 && (f->opcode & 7) < 2;
}

/* Beside the form's own: a segment, a short address, LOCK, and 66 with F2 and F3. */
static void draw_prefixes(struct draft *d)
{
	const struct kind *f = d->f;

	d->segment = -1;
	if (f->mode == NATIVE_LONG && one_in(d->r, 16)) {
		d->segment = 4 + (int)chance_below(d->r, 2);
		byte(d, d->segment == 4 ? 0x64 : 0x65);
	}
	if (f->mode == NATIVE_LONG && one_in(d->r, 20)) {
		d->short_address = true;
		byte(d, 0x67);
	}
	if (one_in(d->r, may_lock(f) ? 4 : 24)) {
		d->locked = true;
		byte(d, 0xf0);
	}
	if (f->prefix > 0x66 && wants_66(f) && one_in(d->r, 3)) {
		d->short_operand = true;
		byte(d, 0x66);
	}
	if (f->prefix)
		byte(d, f->prefix);
	d->short_operand |= f->prefix == 0x66;
	draw_rex(d);
}

static void draw_opcode(struct draft *d)
{
	if (d->f->map != FORM_ONE)
		byte(d, 0x0f);
	if (d->f->map == FORM_0F38)
		byte(d, 0x38);
	if (d->f->map == FORM_0F3A)
		byte(d, 0x3a);
	byte(d, d->f->opcode);
}

static uint64_t sign32(uint64_t v)
{
	return (uint64_t)(int64_t)(int32_t)(uint32_t)v;
}

/* A locked access across cache lines stops all processors; hosts punish it with milliseconds, or
 * never come back where it faults. XCHG locks by itself. */
static void unsplit(struct draft *d)
{
	bool xchg = d->f->map == FORM_ONE && d->f->opcode >> 1 == 0x43;
	uint64_t at = d->target - NATIVE_DATA;

	if ((d->locked || xchg) && at + 32 < NATIVE_DATA_BYTES + 32)
		d->target &= ~15ull;
}

/* Sets a register so that register + rest is the target. */
static void aim(struct draft *d, unsigned reg, uint64_t rest)
{
	uint64_t v = d->target - rest;

	if (d->f->mode == NATIVE_COMPAT || d->short_address)
		v = (v & 0xffffffff) | (d->short_address ? chance_next(d->r) << 32 : 0);
	d->c->before.gpr[reg] = v;
}

static void draw_sib(struct draft *d, unsigned mod, uint64_t disp)
{
	struct chance *r = d->r;
	unsigned base = (unsigned)chance_below(r, 8) | (d->rex & 1 ? 8 : 0);
	unsigned index = (unsigned)chance_below(r, 8) | (d->rex & 2 ? 8 : 0);
	unsigned scale = (unsigned)chance_below(r, 4);
	uint64_t part;

	if (index == base)
		index = index == 4 ? 4 : (index ^ 1);
	part = index == 4 ? 0 : d->c->before.gpr[index] << scale;
	if (mod == 0 && (base & 7) == 5) { /* no base: displacement and index only */
		if (index != 4 && !d->short_address)
			d->c->before.gpr[index] = (d->target - 0x100) >> scale;
		part = index == 4 ? 0 : d->c->before.gpr[index] << scale;
		byte(d, scale << 6 | (index & 7) << 3 | (base & 7));
		disp32(d, (uint32_t)(d->target - part));
		return;
	}
	byte(d, scale << 6 | (index & 7) << 3 | (base & 7));
	aim(d, base, part + disp);
	if (mod == 1)
		byte(d, (unsigned)disp & 0xff);
	if (mod == 2)
		disp32(d, (uint32_t)disp);
}

static void draw_memory(struct draft *d, unsigned reg)
{
	struct chance *r = d->r;
	unsigned mod = (unsigned)chance_below(r, 3);
	unsigned rm = one_in(r, 4) ? 4 : (unsigned)chance_below(r, 8);
	uint64_t disp = mod == 0   ? 0
			: mod == 1 ? (uint64_t)(int64_t)(int8_t)chance_next(r)
				   : sign32(number(r));

	byte(d, mod << 6 | (reg & 7) << 3 | rm);
	if (rm == 4) {
		draw_sib(d, mod, disp);
		return;
	}
	if (mod == 0 && rm == 5) {
		uint64_t next = d->c->before.rip + d->n + 4;

		disp32(d, (uint32_t)(d->target - (d->f->mode == NATIVE_LONG ? next : 0)));
		return;
	}
	aim(d, rm | (d->rex & 1 ? 8 : 0), disp);
	if (mod == 1)
		byte(d, (unsigned)disp & 0xff);
	if (mod == 2)
		disp32(d, (uint32_t)disp);
}

static void draw_modrm(struct draft *d)
{
	const struct kind *f = d->f;
	unsigned reg = f->digit >= 0 ? (unsigned)f->digit : (unsigned)chance_below(d->r, 8);
	unsigned rm = f->rm >= 0 ? (unsigned)f->rm : (unsigned)chance_below(d->r, 8);

	if (!f->has_modrm)
		return;
	if (f->memory)
		draw_memory(d, reg);
	else
		byte(d, 0xc0 | reg << 3 | rm);
}

/*
 * Behind half of the instructions that do not branch come others that overwrite all arithmetic
 * flags, TEST AL, A8: the software CPU leaves out flags that nobody reads, by other handlers, and
 * those are to be compared, too. The bytes are A8 throughout, so that it does not matter how many
 * of them are an immediate.
 */
static bool may_have_tail(const struct kind *f)
{
	uint8_t op = f->opcode;

	if (f->map == FORM_0F)
		return op >> 4 != 8;
	if (f->map != FORM_ONE)
		return true;
	return !(op >> 4 == 7 || (op >= 0xc2 && op <= 0xc3) || (op >= 0xc8 && op <= 0xcf) ||
		 (op >= 0xe0 && op <= 0xeb) || op == 0x9a || op == 0x9d ||
		 (op == 0xff && f->digit > 1 && f->digit < 6));
}

static void draw_tail(struct draft *d)
{
	d->c->end = NATIVE_BREAK;
	while (d->n < NATIVE_CODE_BYTES)
		byte(d, 0xa8);
}

/* The rest are immediates. Half of them are small. */
static void draw_immediate(struct draft *d)
{
	bool moffs = d->f->map == FORM_ONE && d->f->opcode >= 0xa0 && d->f->opcode <= 0xa3;
	uint64_t v = moffs ? d->target : number(d->r);

	for (unsigned i = 0; i < 8; i++)
		byte(d, (unsigned)(v >> (8 * i)) & 0xff);
	while (d->n < NATIVE_CODE_BYTES)
		byte(d, (unsigned)chance_next(d->r) & 0xff);
}

/* ---- the state ---- */

static void draw_registers(struct draft *d)
{
	struct native_state *s = &d->c->before;
	uint64_t data;

	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = number(d->r);
	for (unsigned i = RSP; i <= RDI; i++)
		s->gpr[i] = address_of(d->r, d->f->mode);
	if (!one_in(d->r, 4))
		s->gpr[RSP] &= ~7ull;
	data = address_of(d->r, d->f->mode);
	if (one_in(d->r, 2))
		s->gpr[RBX] = data - (s->gpr[RAX] & 0xff);
	s->rflags = 2 | (chance_next(d->r) & FLAGS_SIX) | (one_in(d->r, 4) ? FLAG_DF : 0) |
		    (one_in(d->r, 16) ? FLAG_AC : 0);
	draw_fx(d->r, s->fx);
}

/* REP of a small count; a bit offset near its base. */
static void tame(struct draft *d)
{
	const struct kind *f = d->f;
	uint64_t *gpr = d->c->before.gpr;

	if (f->map == FORM_ONE && f->prefix > 0x66 && f->opcode >= 0x6c && f->opcode < 0xb0) {
		uint64_t high = one_in(d->r, 4) && d->short_address ? chance_next(d->r) << 32 : 0;

		gpr[RCX] = chance_below(d->r, 12) | high;
	}
	if (f->map == FORM_ONE && f->opcode >= 0xe0 && f->opcode <= 0xe3 && one_in(d->r, 2))
		gpr[RCX] = chance_below(d->r, 3);
}

static bool is_bit_test(const struct kind *f)
{
	return f->map == FORM_0F &&
	       (f->opcode == 0xa3 || f->opcode == 0xab || f->opcode == 0xb3 || f->opcode == 0xbb);
}

/* The register operand of BT m, r moves the address by any distance: mostly a small one. It is a
 * register that the address does not use, or the operand is small by luck. */
static void tame_bit_test(struct draft *d, unsigned modrm_at)
{
	const uint8_t *code = d->c->code;
	unsigned reg = (code[modrm_at] >> 3 & 7) | (d->rex & 4 ? 8 : 0);
	uint64_t was = d->c->before.gpr[reg];

	if (!is_bit_test(d->f) || !d->f->memory || (!d->locked && one_in(d->r, 16)))
		return;
	d->c->before.gpr[reg] = (was & ~0xffffffffull) | (chance_below(d->r, 512) - 256 + 0x100);
	if (d->f->rex_w)
		d->c->before.gpr[reg] = chance_below(d->r, 512);
	if (d->f->mode == NATIVE_COMPAT)
		d->c->before.gpr[reg] &= 0xffffffff;
}

static bool is_wide_operand(const struct kind *f)
{
	return (f->map == FORM_0F && f->opcode == 0xae && f->digit == 1) ||
	       (f->map == FORM_ONE && (f->opcode == 0xdd || f->opcode == 0xd9) && f->digit == 4);
}

/* What lies under the operand. */
static void draw_patch(struct draft *d)
{
	struct native_case *c = d->c;
	bool wide = is_wide_operand(d->f);
	uint32_t room = wide ? 512 : PATCH, before = wide ? 0 : 16;
	uint64_t at = d->target - NATIVE_DATA - before;

	c->patch_at = 0;
	c->patch_bytes = 0;
	if (at > NATIVE_DATA_BYTES - room)
		return;
	c->patch_at = (uint32_t)at;
	c->patch_bytes = room;
	if (wide && d->f->opcode == 0xae) {
		draw_fx(d->r, c->patch);
		return;
	}
	for (uint32_t i = 0; i < room; i += 16)
		datum(d->r, c->patch + i);
	if (one_in(d->r, 2))
		datum(d->r, c->patch + before);
}

static void finish(struct draft *d)
{
	struct native_case *c = d->c;
	const struct kind *f = d->f;

	c->end = NATIVE_STEP;
	/* REP traps at every turn when it is stepped, PUSHF would store the flag. */
	if (f->map == FORM_ONE &&
	    ((f->prefix > 0x66 && f->opcode >= 0x6c && f->opcode < 0xb0) || f->opcode == 0x9c))
		c->end = NATIVE_BREAK;
	if (f->mode == NATIVE_COMPAT)
		for (unsigned i = 0; i < 16; i++)
			c->before.gpr[i] &= i < 8 ? 0xffffffff : 0;
}

void case_make(struct chance *r, const struct kind *f, struct native_case *ret)
{
	struct draft d = {.r = r, .f = f, .c = ret};
	uint8_t modrm_at;

	memset(ret, 0, offsetof(struct native_case, after));
	ret->mode = f->mode;
	ret->before.rip = NATIVE_CODE + 0x200 + chance_below(r, 0xc00);
	if (one_in(r, 16)) /* across the pages, or against the end */
		ret->before.rip = NATIVE_CODE + NATIVE_PAGE * (1 + chance_below(r, 2)) -
				  chance_below(r, 15) - 1;
	draw_registers(&d);
	draw_prefixes(&d);
	draw_opcode(&d);
	d.target = address_of(r, f->mode);
	if (d.short_address && d.target >> 32)
		d.target = NOWHERE;
	unsplit(&d);
	if (d.segment >= 0)
		d.target -= d.segment == 4 ? NATIVE_FS_BASE : NATIVE_GS_BASE;
	modrm_at = d.n;
	draw_modrm(&d);
	ret->code_bytes = d.n; /* of a form without immediate: what NATIVE_BREAK forms are */
	if (d.segment >= 0)
		d.target += d.segment == 4 ? NATIVE_FS_BASE : NATIVE_GS_BASE;
	tame(&d);
	tame_bit_test(&d, modrm_at);
	draw_patch(&d);
	finish(&d);
	if (ret->end == NATIVE_BREAK)
		return;
	if (may_have_tail(f) && one_in(r, 2))
		draw_tail(&d);
	else
		draw_immediate(&d);
	ret->code_bytes = d.n;
}

void case_background(struct chance *r, struct native_batch *b)
{
	for (size_t i = 0; i < NATIVE_DATA_BYTES; i += 16)
		datum(r, b->background + i);
}
