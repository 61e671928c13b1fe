/*
 * Decoding of the system instructions: see system.h. One row an opcode: its handler, how its
 * operands are read, and whether it ends its trace.
 *
 * What a handler finds: `dst` a register (general, segment, control or debug, as it needs), `src`
 * the other one, NO_REGISTER where the operand is in memory; the operand size in `shape`.
 */
#include "virt/vm/cpu/system.h"

#include "ground/base/mem.h"
#include "virt/vm/cpu/system_ops.h"

enum form {
	PLAIN,	   /* nothing follows */
	RM,	   /* ModRM: dst = rm or none, src = reg */
	MEMORY,	   /* as RM, memory only */
	REGISTERS, /* as RM, always registers: MOV CR, DR */
	IMM8,	   /* imm */
	IMM16,	   /* imm */
	POINTER,   /* disp = selector, imm = offset */
	PORT,	   /* src = 1: the port is imm, 0: DX */
	STRING_PORT,
};

enum flag {
	ENDS = 1,
	NOT64 = 2,    /* #UD in 64-bit mode */
	BYTE = 4,     /* operand of one byte */
	WIDE64 = 8,   /* operand of 64 bits in 64-bit mode, or 16 */
	LONG = 16,    /* of the mode's natural size: 64 or 32 */
	NOTREAL = 32, /* #UD in real and virtual-8086 mode */
	ZF = 64,      /* writes it */
};

struct row {
	uint8_t map, opcode;
	uint8_t form, flags;
	uint8_t src; /* of PLAIN: fixed operand */
	op_fn *run;
};

#define ROW(map, opcode, form, flags, src, name)             \
	{                                                    \
		map, opcode, form, flags, src, op_sys_##name \
	}

static const struct row rows[] = {
	ROW(MAP_ONE, 0x06, PLAIN, NOT64, VCPU_ES, push_sreg),
	ROW(MAP_ONE, 0x07, PLAIN, NOT64 | ENDS, VCPU_ES, pop_sreg),
	ROW(MAP_ONE, 0x0e, PLAIN, NOT64, VCPU_CS, push_sreg),
	ROW(MAP_ONE, 0x16, PLAIN, NOT64, VCPU_SS, push_sreg),
	ROW(MAP_ONE, 0x17, PLAIN, NOT64 | ENDS, VCPU_SS, pop_sreg),
	ROW(MAP_ONE, 0x1e, PLAIN, NOT64, VCPU_DS, push_sreg),
	ROW(MAP_ONE, 0x1f, PLAIN, NOT64 | ENDS, VCPU_DS, pop_sreg),
	ROW(MAP_ONE, 0x62, MEMORY, NOT64, 0, bound),
	ROW(MAP_ONE, 0x63, RM, NOT64 | NOTREAL | ZF, 0, arpl),
	ROW(MAP_ONE, 0x6c, STRING_PORT, BYTE, 0, ins),
	ROW(MAP_ONE, 0x6d, STRING_PORT, 0, 0, ins),
	ROW(MAP_ONE, 0x6e, STRING_PORT, BYTE, 0, outs),
	ROW(MAP_ONE, 0x6f, STRING_PORT, 0, 0, outs),
	ROW(MAP_ONE, 0x8c, RM, 0, 0, mov_from_sreg),
	ROW(MAP_ONE, 0x8e, RM, ENDS, 0, mov_to_sreg),
	ROW(MAP_ONE, 0x9a, POINTER, NOT64 | ENDS, 1, far_direct),
	ROW(MAP_ONE, 0x9c, PLAIN, WIDE64, 0, pushf),
	ROW(MAP_ONE, 0x9d, PLAIN, WIDE64 | ENDS, 0, popf),
	ROW(MAP_ONE, 0xc4, MEMORY, NOT64 | ENDS, VCPU_ES, load_far),
	ROW(MAP_ONE, 0xc5, MEMORY, NOT64 | ENDS, VCPU_DS, load_far),
	ROW(MAP_ONE, 0xca, IMM16, ENDS, 0, far_return),
	ROW(MAP_ONE, 0xcb, PLAIN, ENDS, 0, far_return),
	ROW(MAP_ONE, 0xcc, PLAIN, ENDS, 0, int3),
	ROW(MAP_ONE, 0xcd, IMM8, ENDS, 0, int),
	ROW(MAP_ONE, 0xce, PLAIN, NOT64 | ENDS, 0, into),
	ROW(MAP_ONE, 0xcf, PLAIN, ENDS, 0, iret),
	ROW(MAP_ONE, 0xe4, PORT, BYTE, 1, in),
	ROW(MAP_ONE, 0xe5, PORT, 0, 1, in),
	ROW(MAP_ONE, 0xe6, PORT, BYTE, 1, out),
	ROW(MAP_ONE, 0xe7, PORT, 0, 1, out),
	ROW(MAP_ONE, 0xea, POINTER, NOT64 | ENDS, 0, far_direct),
	ROW(MAP_ONE, 0xec, PORT, BYTE, 0, in),
	ROW(MAP_ONE, 0xed, PORT, 0, 0, in),
	ROW(MAP_ONE, 0xee, PORT, BYTE, 0, out),
	ROW(MAP_ONE, 0xef, PORT, 0, 0, out),
	ROW(MAP_ONE, 0xf1, PLAIN, ENDS, 0, int1),
	ROW(MAP_ONE, 0xf4, PLAIN, ENDS, 0, hlt),
	ROW(MAP_ONE, 0xfa, PLAIN, 0, 0, cli),
	ROW(MAP_ONE, 0xfb, PLAIN, 0, 0, sti),
	ROW(MAP_0F, 0x02, RM, NOTREAL | ZF, 0, lar),
	ROW(MAP_0F, 0x03, RM, NOTREAL | ZF, 0, lsl),
	ROW(MAP_0F, 0x05, PLAIN, ENDS, 0, syscall),
	ROW(MAP_0F, 0x06, PLAIN, ENDS, 0, clts),
	ROW(MAP_0F, 0x07, PLAIN, ENDS, 0, sysret),
	ROW(MAP_0F, 0x08, PLAIN, 0, 0, wbinvd),
	ROW(MAP_0F, 0x09, PLAIN, 0, 0, wbinvd),
	ROW(MAP_0F, 0x20, REGISTERS, LONG, 0, mov_from_cr),
	ROW(MAP_0F, 0x21, REGISTERS, LONG, 0, mov_from_dr),
	ROW(MAP_0F, 0x22, REGISTERS, LONG | ENDS, 0, mov_to_cr),
	ROW(MAP_0F, 0x23, REGISTERS, LONG | ENDS, 0, mov_to_dr),
	ROW(MAP_0F, 0x30, PLAIN, ENDS, 0, wrmsr),
	ROW(MAP_0F, 0x31, PLAIN, 0, 0, rdtsc),
	ROW(MAP_0F, 0x32, PLAIN, 0, 0, rdmsr),
	ROW(MAP_0F, 0x33, PLAIN, 0, 0, rdpmc),
	ROW(MAP_0F, 0x34, PLAIN, ENDS, 0, sysenter),
	ROW(MAP_0F, 0x35, PLAIN, ENDS, 0, sysexit),
	ROW(MAP_0F, 0xa0, PLAIN, WIDE64, VCPU_FS, push_sreg),
	ROW(MAP_0F, 0xa1, PLAIN, WIDE64 | ENDS, VCPU_FS, pop_sreg),
	ROW(MAP_0F, 0xa2, PLAIN, 0, 0, cpuid),
	ROW(MAP_0F, 0xa8, PLAIN, WIDE64, VCPU_GS, push_sreg),
	ROW(MAP_0F, 0xa9, PLAIN, WIDE64 | ENDS, VCPU_GS, pop_sreg),
	ROW(MAP_0F, 0xb2, MEMORY, ENDS, VCPU_SS, load_far),
	ROW(MAP_0F, 0xb4, MEMORY, ENDS, VCPU_FS, load_far),
	ROW(MAP_0F, 0xb5, MEMORY, ENDS, VCPU_GS, load_far),
};

/* Groups whose rows depend on ModRM: opcode, reg, and whether the operand is memory. */
struct group_row {
	uint8_t opcode, reg;
	bool memory;
	int8_t rm; /* of a register form: -1 any */
	uint8_t flags;
	op_fn *run;
};

#define G(opcode, reg, memory, rm, flags, name)               \
	{                                                     \
		opcode, reg, memory, rm, flags, op_sys_##name \
	}

static const struct group_row groups[] = {
	G(0x00, 0, true, -1, NOTREAL, store_desc),     /* SLDT */
	G(0x00, 0, false, -1, NOTREAL, store_desc),    /* */
	G(0x00, 1, true, -1, NOTREAL, store_desc),     /* STR */
	G(0x00, 1, false, -1, NOTREAL, store_desc),    /* */
	G(0x00, 2, true, -1, NOTREAL | ENDS, group6),  /* LLDT */
	G(0x00, 2, false, -1, NOTREAL | ENDS, group6), /* */
	G(0x00, 3, true, -1, NOTREAL | ENDS, group6),  /* LTR */
	G(0x00, 3, false, -1, NOTREAL | ENDS, group6), /* */
	G(0x00, 4, true, -1, NOTREAL | ZF, group6),    /* VERR */
	G(0x00, 4, false, -1, NOTREAL | ZF, group6),   /* */
	G(0x00, 5, true, -1, NOTREAL | ZF, group6),    /* VERW */
	G(0x00, 5, false, -1, NOTREAL | ZF, group6),   /* */
	G(0x01, 0, true, -1, LONG, store_table),       /* SGDT */
	G(0x01, 1, true, -1, LONG, store_table),       /* SIDT */
	G(0x01, 2, true, -1, LONG, load_table),	       /* LGDT */
	G(0x01, 3, true, -1, LONG, load_table),	       /* LIDT */
	G(0x01, 4, true, -1, 0, smsw),		       /* */
	G(0x01, 4, false, -1, 0, smsw),		       /* */
	G(0x01, 6, true, -1, ENDS, lmsw),	       /* */
	G(0x01, 6, false, -1, ENDS, lmsw),	       /* */
	G(0x01, 7, true, -1, ENDS, invlpg),	       /* */
	G(0x01, 0, false, 1, 0, vmcall),	       /* VMCALL */
	G(0x01, 3, false, 1, 0, vmcall),	       /* VMMCALL */
	G(0x01, 7, false, 0, 0, swapgs),	       /* */
	G(0x01, 7, false, 1, 0, rdtscp),	       /* */
};

static unsigned size_of(const struct decoder *d, unsigned flags)
{
	if ((flags & BYTE) != 0)
		return 0;
	if ((flags & LONG) != 0)
		return decode_is64(d) ? 3 : 2;
	if ((flags & WIDE64) != 0 && decode_is64(d))
		return d->log2 == 1 ? 1 : 3;
	return d->log2;
}

static void operands(struct decoder *d, struct op *o)
{
	if (!d->has_modrm)
		decode_modrm(d, o);
	o->dst = d->memory ? SYSTEM_NO_REGISTER : d->rm;
	o->src = d->reg;
}

static void pointer(struct decoder *d, struct op *o)
{
	o->imm = decode_imm(d, d->log2 == 1 ? 2 : 4);
	if (d->log2 == 2)
		o->imm = (uint32_t)o->imm;
	if (d->log2 == 1)
		o->imm &= 0xffff;
	o->disp = (int32_t)(decode_imm(d, 2) & 0xffff);
}

/* What the string forms need besides: the repeat, the address size, the segment of the source. */
static void string_port(struct decoder *d, struct op *o)
{
	o->src = d->rep || d->repne;
	o->dst = (uint8_t)d->address;
	o->imm = d->segment != 0 ? d->segment - 1u : VCPU_DS;
}

static bool form_read(struct decoder *d, struct op *o, const struct row *r)
{
	o->src = r->src;
	switch ((enum form)r->form) {
	case PLAIN:
		return true;
	case RM:
		operands(d, o);
		return true;
	case MEMORY:
		operands(d, o);
		o->dst = d->reg;
		o->src = r->src;
		return d->memory;
	case REGISTERS: /* mod does not matter */
		d->mod = 3;
		o->src = decode_u8(d);
		o->dst = (uint8_t)((o->src & 7) | (d->rex & 1) << 3);
		o->src = (uint8_t)((o->src >> 3 & 7) | (d->rex & 4) << 1);
		return true;
	case IMM8:
		o->imm = decode_u8(d);
		return true;
	case IMM16:
		o->imm = decode_imm(d, 2) & 0xffff;
		return true;
	case POINTER:
		pointer(d, o);
		return true;
	case PORT:
		if (r->src != 0)
			o->imm = decode_u8(d);
		return true;
	case STRING_PORT:
		string_port(d, o);
		return true;
	}
	return false;
}

static bool fits(const struct decoder *d, unsigned flags)
{
	return !d->lock && ((flags & NOT64) == 0 || !decode_is64(d)) &&
	       ((flags & NOTREAL) == 0 || (d->mode & (MODE_REAL | MODE_V86)) == 0);
}

static void finish(struct decoder *d, struct op *o, unsigned flags, op_fn *run, bool *ret_ends)
{
	unsigned log2 = size_of(d, flags);

	if (log2 == 3 && d->map == MAP_ONE && (flags & BYTE) == 0 &&
	    ((d->opcode & 0xf0) == 0xe0 || (d->opcode & 0xfc) == 0x6c)) /* ports have no 64 bits */
		log2 = 2;
	o->shape = (uint8_t)(log2 << 4);
	o->run = run;
	d->may_fault = true;
	d->reads |= OPF_ALL; /* they see EFLAGS whole */
	if ((flags & ZF) != 0)
		d->writes |= OPF_Z;
	decode_finish(d, o);
	*ret_ends = (flags & ENDS) != 0;
}

static bool group_decode(struct decoder *d, struct op *o, bool *ret_ends)
{
	operands(d, o);
	o->src &= 7;
	for (size_t i = 0; i < array_len(groups); i++) {
		const struct group_row *g = &groups[i];

		if (g->opcode != d->opcode || g->reg != (d->reg & 7) || g->memory != d->memory ||
		    (g->rm >= 0 && g->rm != (d->rm & 7)))
			continue;
		if (!fits(d, g->flags))
			return false;
		o->imm = d->opsize != ((d->mode & (MODE_CODE32 | MODE_CODE64)) == 0);
		finish(d, o, g->flags, g->run, ret_ends);
		return true;
	}
	return false;
}

static bool base_decode(struct decoder *d, struct op *o, bool *ret_ends)
{
	operands(d, o);
	if (!d->rep || d->memory || !decode_is64(d) || (d->reg & 7) > 3 || d->lock)
		return false;
	o->src = (d->reg & 1) != 0 ? VCPU_GS : VCPU_FS;
	finish(d, o, 0, (d->reg & 2) != 0 ? op_sys_write_base : op_sys_read_base, ret_ends);
	o->shape = (uint8_t)((d->rex & 8) != 0 ? 3 << 4 : 2 << 4);
	return true;
}

/* FF /3 and /5: a far pointer in memory. */
static bool far_decode(struct decoder *d, struct op *o, bool *ret_ends)
{
	operands(d, o);
	if (!d->memory || ((d->reg & 7) != 3 && (d->reg & 7) != 5) || d->lock)
		return false;
	o->src = (d->reg & 7) == 3;
	finish(d, o, ENDS, op_sys_far_indirect, ret_ends);
	return true;
}

bool system_decode(struct decoder *d, struct op *o, bool *ret_ends)
{
	*ret_ends = false;
	if (d->map == MAP_0F && d->opcode <= 0x01)
		return group_decode(d, o, ret_ends);
	if (d->map == MAP_0F && d->opcode == 0xae)
		return base_decode(d, o, ret_ends);
	if (d->map == MAP_ONE && d->opcode == 0xff)
		return far_decode(d, o, ret_ends);
	for (size_t i = 0; i < array_len(rows); i++) {
		const struct row *r = &rows[i];

		if (r->map != d->map || r->opcode != d->opcode)
			continue;
		if (!form_read(d, o, r) || !fits(d, r->flags)) /* fetched, then #UD */
			return false;
		finish(d, o, r->flags, r->run, ret_ends);
		return true;
	}
	return false;
}
