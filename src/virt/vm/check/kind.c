/*
 * Which forms there are, and which are left out (kind.h). The enumeration knows only what has a
 * ModRM byte and where its reg or rm field selects the instruction (SDM volume 2, appendix A).
 */
#include "virt/vm/check/kind.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"

#define ANY 0xff

enum {
	LONG = 1 << NATIVE_LONG,
	COMPAT = 1 << NATIVE_COMPAT,
	BOTH = LONG | COMPAT,
	REG = 1,
	MEM = 2,
	NP = 1,
	P66 = 2,
	PF2 = 4,
	PF3 = 8,
};

struct left_out {
	uint8_t map, first, last;
	uint8_t digits; /* bit n: /n */
	uint8_t where;	/* REG, MEM or both */
	uint8_t prefixes;
	uint8_t modes;
	const char *why;
};

static const struct left_out left_out[] = {
	/* What a user program on Linux cannot do, or what leaves the program. */
	{FORM_ONE, 0xcc, 0xce, ANY, 3, ANY, BOTH, "enters the kernel"},
	{FORM_ONE, 0xf1, 0xf1, ANY, 3, ANY, BOTH, "enters the kernel"},
	{FORM_ONE, 0xcf, 0xcf, ANY, 3, ANY, BOTH, "IRET: the host's selectors"},
	{FORM_ONE, 0x9a, 0x9a, ANY, 3, ANY, COMPAT, "far: the host's descriptors"},
	{FORM_ONE, 0xea, 0xea, ANY, 3, ANY, COMPAT, "far: the host's descriptors"},
	{FORM_ONE, 0xca, 0xcb, ANY, 3, ANY, BOTH, "far: the host's descriptors"},
	{FORM_ONE, 0xff, 0xff, 1 << 3 | 1 << 5, MEM, ANY, BOTH, "far: the host's descriptors"},
	{FORM_ONE, 0x8e, 0x8e, ANY, 3, ANY, BOTH, "loads a segment: the host's descriptors"},
	{FORM_ONE, 0x07, 0x07, ANY, 3, ANY, COMPAT, "loads a segment: the host's descriptors"},
	{FORM_ONE, 0x17, 0x17, ANY, 3, ANY, COMPAT, "loads a segment: the host's descriptors"},
	{FORM_ONE, 0x1f, 0x1f, ANY, 3, ANY, COMPAT, "loads a segment: the host's descriptors"},
	{FORM_ONE, 0xc4, 0xc5, ANY, MEM, ANY, COMPAT, "loads a segment: the host's descriptors"},
	{FORM_0F, 0xa1, 0xa1, ANY, 3, ANY, BOTH, "loads a segment: the host's descriptors"},
	{FORM_0F, 0xa9, 0xa9, ANY, 3, ANY, BOTH, "loads a segment: the host's descriptors"},
	{FORM_0F, 0xb2, 0xb2, ANY, 3, ANY, BOTH, "loads a segment: the host's descriptors"},
	{FORM_0F, 0xb4, 0xb5, ANY, 3, ANY, BOTH, "loads a segment: the host's descriptors"},
	{FORM_0F, 0x00, 0x00, ANY, 3, ANY, BOTH, "the host's descriptors, UMIP"},
	{FORM_0F, 0x01, 0x01, ANY, 3, ANY, BOTH, "the host's tables, UMIP, its own extensions"},
	{FORM_0F, 0x02, 0x03, ANY, 3, ANY, BOTH, "LAR, LSL: the host's descriptors"},
	{FORM_ONE, 0x63, 0x63, ANY, 3, ANY, COMPAT, "ARPL: tested with the segments"},
	{FORM_0F, 0x05, 0x05, ANY, 3, ANY, BOTH, "enters the kernel"},
	{FORM_0F, 0x07, 0x07, ANY, 3, ANY, BOTH,
	 "SYSRET: a privileged form that the host may know"},
	{FORM_0F, 0x34, 0x35, ANY, 3, ANY, BOTH, "enters the kernel"},
	/* What two processors need not agree on. */
	{FORM_0F, 0x31, 0x31, ANY, 3, ANY, BOTH, "RDTSC: two times"},
	{FORM_0F, 0x33, 0x33, ANY, 3, ANY, BOTH, "RDPMC: the host's CR4"},
	{FORM_0F, 0xa2, 0xa2, ANY, 3, ANY, BOTH, "CPUID: two processors"},
	{FORM_0F, 0xc7, 0xc7, 1 << 6 | 1 << 7, REG, ANY, BOTH, "RDRAND, RDSEED, RDPID"},
	{FORM_0F, 0xc7, 0xc7, 0xfd, MEM, ANY, BOTH, "XSAVEC, XSAVES, VMX: not in the model"},
	{FORM_0F, 0xae, 0xae, 0x70, MEM, ANY, BOTH, "XSAVE, CLWB: not in the model"},
	{FORM_0F, 0xae, 0xae, 0x80, MEM, P66, BOTH, "CLFLUSHOPT: not in the model"},
	{FORM_0F, 0xae, 0xae, 0x0f, REG, PF3, BOTH, "FS and GS base: the host's CR4"},
	{FORM_0F, 0xae, 0xae, 0xff, 3, P66 | PF2 | PF3, BOTH, "not in the model"},
	{FORM_0F, 0x1e, 0x1e, ANY, 3, PF3, BOTH, "shadow stacks: the host's CR4"},
	{FORM_0F, 0x09, 0x09, ANY, 3, PF3, BOTH, "WBNOINVD: privileged, two models"},
	{FORM_0F, 0x1c, 0x1c, ANY, 3, ANY, BOTH, "CLDEMOTE: a no-operation in the model"},
	/* Extensions that the host has and the model has not. */
	{FORM_ONE, 0xc4, 0xc5, ANY, 3, ANY, BOTH, "VEX"},
	{FORM_ONE, 0x62, 0x62, ANY, 3, ANY, BOTH, "EVEX, BOUND"},
	{FORM_0F, 0xbc, 0xbd, ANY, 3, PF3, BOTH, "TZCNT, LZCNT: BSF, BSR in the model"},
	{FORM_ONE, 0xc6, 0xc7, 1 << 7, REG, ANY, BOTH, "XABORT, XBEGIN"},
	{FORM_0F38, 0xf0, 0xf1, ANY, MEM, NP | P66, BOTH, "MOVBE"},
	{FORM_0F38, 0xf5, 0xfa, ANY, 3, ANY, BOTH, "MOVDIRI, ADX, ENQCMD, WRUSS"},
	{FORM_0F38, 0xc8, 0xcf, ANY, 3, P66, BOTH, "GFNI"},
	{FORM_0F38, 0xfc, 0xfc, ANY, 3, ANY, BOTH, "RAO-INT"},
	{FORM_0F38, 0x80, 0x83, ANY, 3, ANY, BOTH, "INVEPT, INVPCID: privileged, two models"},
	{FORM_0F38, 0xd8, 0xda, ANY, 3, ANY, BOTH, "key locker"},
	{FORM_0F38, 0xdc, 0xdf, ANY, MEM, PF3, BOTH, "key locker"},
	{FORM_0F38, 0xdc, 0xdf, ANY, REG, PF3, BOTH, "key locker"},
	{FORM_0F3A, 0xce, 0xcf, ANY, 3, ANY, BOTH, "GFNI"},
	{FORM_0F3A, 0xf0, 0xf0, ANY, 3, ANY, BOTH, "HRESET"},
	/* What the manual leaves open altogether. */
	{FORM_0F, 0xff, 0xff, ANY, 3, ANY, BOTH, "UD0: length differs between makers"},
	{FORM_0F, 0xb9, 0xb9, ANY, 3, ANY, BOTH, "UD1: the same"},
	{FORM_0F, 0x78, 0x79, ANY, 3, ANY, BOTH, "VMREAD, VMWRITE"},
	{FORM_0F, 0x37, 0x37, ANY, 3, ANY, BOTH, "GETSEC"},
	{FORM_0F, 0x0a, 0x0a, ANY, 3, ANY, BOTH, "undefined"},
	{FORM_0F, 0x39, 0x39, ANY, 3, ANY, BOTH, "undefined"},
	{FORM_0F, 0x3b, 0x3f, ANY, 3, ANY, BOTH, "undefined"},
};

/* ---- what the enumeration knows ---- */

static bool one_has_modrm(uint8_t op)
{
	if (op < 0x40)
		return (op & 7) < 4;
	switch (op >> 4) {
	case 0x6:
		return op == 0x62 || op == 0x63 || op == 0x69 || op == 0x6b;
	case 0x8:
		return true;
	case 0xc:
		return op < 0xc2 || (op >= 0xc4 && op <= 0xc7);
	case 0xd:
		return op < 0xd4 || op >= 0xd8;
	case 0xf:
		return (op & 6) == 6;
	default:
		return false;
	}
}

static bool two_has_modrm(uint8_t op)
{
	if (op >= 0x80 && op < 0x90)
		return false;
	if (op >= 0x30 && op < 0x40)
		return false;
	if (op >= 0xc8 && op <= 0xcf)
		return false;
	if (op >= 0xa0 && op <= 0xa2)
		return false;
	return !((op >= 0x04 && op <= 0x0c) || op == 0x0e || op == 0x77 || op == 0xa8 ||
		 op == 0xa9 || op == 0xaa);
}

static bool one_is_group(uint8_t op)
{
	return (op >= 0x80 && op <= 0x83) || op == 0x8f || op == 0xc0 || op == 0xc1 || op == 0xc6 ||
	       op == 0xc7 || (op >= 0xd0 && op <= 0xd3) || op >= 0xd8;
}

static bool two_is_group(uint8_t op)
{
	return op <= 1 || op == 0x18 || (op >= 0x71 && op <= 0x73) || op == 0xae || op == 0xba ||
	       op == 0xc7;
}

static bool has_modrm(enum form_map map, uint8_t op)
{
	return map == FORM_ONE ? one_has_modrm(op) : map == FORM_0F ? two_has_modrm(op) : true;
}

static bool is_group(enum form_map map, uint8_t op)
{
	return map == FORM_ONE ? one_is_group(op) : map == FORM_0F && two_is_group(op);
}

/* x87's register forms and a few others select by rm as well. */
static bool is_rm_group(const struct kind *f)
{
	if (f->memory)
		return false;
	return (f->map == FORM_ONE && f->opcode >= 0xd8 && f->opcode <= 0xdf) ||
	       (f->map == FORM_0F && f->opcode == 0xae);
}

/* Prefixes, REX and the escape are no opcodes. */
static bool is_prefix(const struct kind *f)
{
	static const uint8_t prefixes[] = {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64,
					   0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};

	if (f->map == FORM_ONE)
		return memchr(prefixes, f->opcode, sizeof(prefixes)) ||
		       (f->mode == NATIVE_LONG && f->opcode >> 4 == 4);
	return f->map == FORM_0F && (f->opcode == 0x38 || f->opcode == 0x3a);
}

static uint8_t prefix_bit(uint8_t prefix)
{
	return prefix == 0 ? NP : prefix == 0x66 ? P66 : prefix == 0xf2 ? PF2 : PF3;
}

static bool is_left_out(const struct kind *f)
{
	for (size_t i = 0; i < array_len(left_out); i++) {
		const struct left_out *l = &left_out[i];

		if (l->map != f->map || f->opcode < l->first || f->opcode > l->last)
			continue;
		if (f->digit >= 0 && !(l->digits >> f->digit & 1))
			continue;
		if ((l->where & (f->memory ? MEM : REG)) && (l->prefixes & prefix_bit(f->prefix)) &&
		    (l->modes & 1u << f->mode))
			return true;
	}
	return false;
}

/* ---- the enumeration ---- */

struct list {
	struct kind *forms;
	size_t n;
};

static void add(struct list *l, const struct kind *f)
{
	if (is_left_out(f))
		return;
	assert(l->n < FORMS_MAX);
	l->forms[l->n++] = *f;
}

static void add_rms(struct list *l, struct kind f)
{
	if (!is_rm_group(&f)) {
		add(l, &f);
		return;
	}
	for (f.rm = 0; f.rm < 8; f.rm++)
		add(l, &f);
}

static void add_digits(struct list *l, struct kind f)
{
	f.digit = f.rm = -1;
	if (!is_group(f.map, f.opcode)) {
		add(l, &f);
		return;
	}
	for (f.digit = 0; f.digit < 8; f.digit++)
		add_rms(l, f);
}

static bool within(uint8_t op, uint8_t first, uint8_t last)
{
	return op >= first && op <= last;
}

/* Does 66, F2 or F3 make another instruction of it? Elsewhere they are drawn now and then. */
static bool prefix_selects(enum form_map map, uint8_t op, uint8_t prefix)
{
	if (map == FORM_ONE && prefix == 0x66)
		return !within(op, 0xd8, 0xdf);
	if (map == FORM_ONE)
		return within(op, 0x6c, 0x6f) || within(op, 0xa4, 0xa7) || within(op, 0xaa, 0xaf) ||
		       op == 0x90;
	if (map == FORM_0F && prefix != 0x66)
		return !(within(op, 0x40, 0x4f) || within(op, 0x80, 0xa7) ||
			 within(op, 0xa8, 0xad) || within(op, 0xaf, 0xb7) ||
			 within(op, 0xba, 0xbb) || within(op, 0xc8, 0xcf) ||
			 within(op, 0x18, 0x1f));
	return true;
}

/* Does REX.W? */
static bool width_selects(enum form_map map, uint8_t op)
{
	switch (map) {
	case FORM_ONE:
		return !within(op, 0xd8, 0xdf) && !within(op, 0x70, 0x7f);
	case FORM_0F:
		return within(op, 0x40, 0x50) || within(op, 0xa0, 0xcf) || within(op, 0x2a, 0x2d) ||
		       op == 0x6e || op == 0x7e || op == 0xd7 || op == 0x1f || op < 0x10;
	case FORM_0F38:
		return within(op, 0xf0, 0xff);
	case FORM_0F3A:
		return within(op, 0x14, 0x22) || within(op, 0x60, 0x63);
	}
	__builtin_unreachable();
}

static void add_opcode(struct list *l, struct kind f)
{
	f.has_modrm = has_modrm(f.map, f.opcode);
	f.width_selects = width_selects(f.map, f.opcode);
	f.memory = false;
	if (is_prefix(&f) || (f.prefix && !prefix_selects(f.map, f.opcode, f.prefix)) ||
	    (f.rex_w && !f.width_selects))
		return;
	add_digits(l, f);
	if (f.has_modrm) {
		f.memory = true;
		add_digits(l, f);
	}
}

size_t kind_list(enum native_mode mode, struct kind *ret)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3};
	struct list l = {.forms = ret};

	for (unsigned map = FORM_ONE; map <= FORM_0F3A; map++)
		for (unsigned p = 0; p < array_len(prefixes); p++)
			for (unsigned i = 0; i < (mode == NATIVE_LONG ? 512 : 256); i++)
				add_opcode(&l, (struct kind){.mode = mode,
							     .map = map,
							     .prefix = prefixes[p],
							     .opcode = (uint8_t)i,
							     .rex_w = i >= 256});
	return l.n;
}

void kind_name(const struct kind *f, char ret[64])
{
	static const char *const maps[] = {"", "0f ", "0f 38 ", "0f 3a "};
	char prefix[8] = "", digit[16] = "";

	if (f->prefix)
		(void)snprintf(prefix, sizeof(prefix), "%02x ", f->prefix);
	if (f->has_modrm && f->digit >= 0 && f->rm >= 0)
		(void)snprintf(digit, sizeof(digit), " /%d:%d", f->digit, f->rm);
	else if (f->has_modrm && f->digit >= 0)
		(void)snprintf(digit, sizeof(digit), " /%d", f->digit);
	(void)snprintf(ret, 64, "%s%s%s%s%02x%s%s", f->mode == NATIVE_COMPAT ? "32-bit " : "",
		       prefix, f->rex_w ? "rex.w " : "", maps[f->map], f->opcode, digit,
		       !f->has_modrm ? ""
		       : f->memory   ? " mem"
				     : " reg");
}

uint64_t chance_next(struct chance *c)
{
	uint64_t z = c->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}
