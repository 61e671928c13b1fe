/*
 * The decoder: prefixes, opcode, ModRM, immediates of one instruction; then whole traces, with the
 * flags that nobody reads left out. See decode.h; the tables are opcodes.c.
 */
#include "virt/vm/cpu/decode.h"

#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/opcodes.h"
#include "virt/vm/cpu/sys.h"
#include "virt/vm/cpu/system.h"

/* ---- bytes ---- */

uint8_t decode_u8(struct decoder *d)
{
	if (d->at >= d->n) {
		d->shrt = true;
		return 0;
	}
	return d->bytes[d->at++];
}

uint64_t decode_imm(struct decoder *d, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)decode_u8(d) << (i * 8);
	switch (bytes) {
	case 1:
		return (uint64_t)(int64_t)(int8_t)v;
	case 2:
		return (uint64_t)(int64_t)(int16_t)v;
	case 4:
		return (uint64_t)(int64_t)(int32_t)v;
	}
	return v;
}

/* ---- prefixes and opcode ---- */

/* The legacy prefix that a byte is; false: none. */
static bool prefix(struct decoder *d, uint8_t byte)
{
	static const uint8_t segments[][2] = {
		{0x26, VCPU_ES}, {0x2e, VCPU_CS}, {0x36, VCPU_SS},
		{0x3e, VCPU_DS}, {0x64, VCPU_FS}, {0x65, VCPU_GS},
	};

	for (size_t i = 0; i < array_len(segments); i++)
		if (segments[i][0] == byte) {
			/* ES, CS, SS and DS mean nothing in 64-bit mode, and do not undo others. */
			if (!decode_is64(d) || segments[i][1] >= VCPU_FS)
				d->segment = (uint8_t)(segments[i][1] + 1);
			return true;
		}
	switch (byte) {
	case 0x66:
		d->opsize = true;
		return true;
	case 0x67:
		d->adsize = true;
		return true;
	case 0xf0:
		d->lock = true;
		return true;
	case 0xf2:
		d->repne = true;
		d->rep = false;
		return true;
	case 0xf3:
		d->rep = true;
		d->repne = false;
		return true;
	}
	return false;
}

/* Operand and address size as prefixes and mode have them. */
static void sizes(struct decoder *d)
{
	bool wide = (d->mode & MODE_CODE32) != 0 || decode_is64(d);

	d->log2 = wide != d->opsize ? 2 : 1;
	if ((d->rex & 8) != 0)
		d->log2 = 3;
	if (decode_is64(d))
		d->address = d->adsize ? 2 : 3;
	else
		d->address = wide != d->adsize ? 2 : 1;
}

static void opcode(struct decoder *d)
{
	uint8_t byte = decode_u8(d);

	while (prefix(d, byte)) {
		byte = decode_u8(d);
		if (d->shrt || d->at > DECODE_LENGTH_MAX)
			return;
	}
	if (decode_is64(d) && (byte & 0xf0) == 0x40) {
		d->rex = byte;
		byte = decode_u8(d);
		if (prefix(d, byte) || (byte & 0xf0) == 0x40) { /* REX must come last */
			d->rex = 0;
			d->at--;
			opcode(d);
			return;
		}
	}
	d->map = MAP_ONE;
	if (byte == 0x0f) {
		byte = decode_u8(d);
		d->map = byte == 0x38 ? MAP_0F38 : byte == 0x3a ? MAP_0F3A : MAP_0F;
		if (d->map != MAP_0F)
			byte = decode_u8(d);
	}
	d->opcode = byte;
	sizes(d);
}

/* ---- ModRM ---- */

/* What is to be done with an address whose segment is `name` unless a prefix says otherwise. */
static void segment_of_operand(const struct decoder *d, struct op *o, unsigned name)
{
	if (d->segment != 0)
		name = d->segment - 1u;
	if (decode_is64(d)) {
		o->ea = (uint8_t)(name >= VCPU_FS ? name + 1 : 0);
		if (d->address == 2)
			o->ea |= EA_32;
		return;
	}
	o->ea = d->address == 1 ? EA_16 : EA_32;
	if ((d->mode & MODE_FLAT) == 0 || name >= VCPU_FS)
		o->ea |= (uint8_t)((name + 1) | EA_CHECK);
}

static void modrm_16(struct decoder *d, struct op *o)
{
	static const uint8_t base[8] = {VCPU_RBX, VCPU_RBX, VCPU_RBP, VCPU_RBP,
					VCPU_RSI, VCPU_RDI, VCPU_RBP, VCPU_RBX};
	static const uint8_t index[8] = {VCPU_RSI, VCPU_RDI, VCPU_RSI, VCPU_RDI,
					 REG_ZERO, REG_ZERO, REG_ZERO, REG_ZERO};
	unsigned rm = d->rm & 7;

	o->base = base[rm];
	o->index = index[rm];
	if (d->mod == 0 && rm == 6) {
		o->base = REG_ZERO;
		o->disp = (int32_t)decode_imm(d, 2);
	} else if (d->mod != 0) {
		o->disp = (int32_t)decode_imm(d, d->mod);
	}
	segment_of_operand(d, o, o->base == VCPU_RBP ? VCPU_SS : VCPU_DS);
}

static void sib(struct decoder *d, struct op *o)
{
	uint8_t byte = decode_u8(d);
	unsigned index = (byte >> 3 & 7) | (d->rex & 2u) << 2, base = byte & 7;

	if (index != 4) {
		o->index = (uint8_t)index;
		o->scale = byte >> 6;
	}
	if (base == 5 && d->mod == 0)
		o->disp = (int32_t)decode_imm(d, 4);
	else
		o->base = (uint8_t)(base | (d->rex & 1u) << 3);
}

static void modrm_32(struct decoder *d, struct op *o)
{
	unsigned rm = d->rm & 7;

	if (rm == 4) {
		sib(d, o);
	} else if (rm == 5 && d->mod == 0) {
		o->disp = (int32_t)decode_imm(d, 4);
		if (decode_is64(d)) /* decode_finish() knows where the instruction ends */
			o->base = REG_PAGE;
	} else {
		o->base = d->rm;
	}
	if (d->mod == 1)
		o->disp = (int32_t)decode_imm(d, 1);
	else if (d->mod == 2)
		o->disp = (int32_t)decode_imm(d, 4);
	segment_of_operand(d, o, o->base == VCPU_RSP || o->base == VCPU_RBP ? VCPU_SS : VCPU_DS);
}

void decode_modrm(struct decoder *d, struct op *o)
{
	uint8_t byte = decode_u8(d);

	assert(!d->has_modrm);
	d->has_modrm = true;
	d->mod = byte >> 6;
	d->reg = (uint8_t)((byte >> 3 & 7) | (d->rex & 4) << 1);
	d->rm = (uint8_t)((byte & 7) | (d->rex & 1) << 3);
	d->memory = d->mod != 3;
	if (!d->memory)
		return;
	o->base = o->index = REG_ZERO;
	if (d->address == 1)
		modrm_16(d, o);
	else
		modrm_32(d, o);
}

void decode_finish(struct decoder *d, struct op *o)
{
	int64_t disp;

	if (!d->has_modrm || !d->memory || o->base != REG_PAGE)
		return;
	disp = (int64_t)o->disp + d->offset + d->at;
	if (disp > INT32_MAX) {
		o->index = REG_FAR;
		disp -= CPU_FAR;
	}
	o->disp = (int32_t)disp;
}

/* ---- operands of table rows ---- */

/* A general register as handlers want it: 8-bit ones by byte offset. */
static uint8_t reg_of(const struct decoder *d, unsigned n, unsigned log2)
{
	if (log2 != 0)
		return (uint8_t)n;
	return d->rex == 0 && n >= 4 && n < 8 ? (uint8_t)((n - 4) * 8 + 1) : (uint8_t)(n * 8);
}

static unsigned log2_of(const struct decoder *d, const struct row *r)
{
	switch ((enum size)r->size) {
	case SIZE_B:
		return 0;
	case SIZE_V:
		return d->log2;
	case SIZE_V64:
		return decode_is64(d) ? (d->opsize && (d->rex & 8) == 0 ? 1 : 3) : d->log2;
	case SIZE_NEAR:
		return decode_is64(d) ? 3 : d->log2;
	case SIZE_ADDR:
		return d->address;
	}
	return d->log2;
}

static unsigned imm_bytes(unsigned log2)
{
	return log2 == 3 ? 4 : 1u << log2;
}

/* The registers of a row with ModRM: which of E and G is dst. */
static void registers(struct decoder *d, struct op *o, const struct row *r, unsigned log2)
{
	unsigned narrow = (r->flags & ROW_SRC_B) != 0 ? 0 : log2;
	bool crc = d->map == MAP_0F38;
	uint8_t e = reg_of(d, d->rm, narrow), g = reg_of(d, d->reg, crc ? 2 : log2);

	switch ((unsigned)r->enc) {
	case ENC_E_G:
	case ENC_E_G_I8:
		o->dst = e;
		o->src = g;
		break;
	case ENC_G_E:
	case ENC_G_E_I:
	case ENC_G_M:
		o->dst = g;
		o->src = e;
		break;
	default:
		o->dst = e;
		break;
	}
}

/* Immediates behind ModRM. */
static void immediate(struct decoder *d, struct op *o, const struct row *r, unsigned log2)
{
	switch ((unsigned)r->enc) {
	case ENC_E_I:
		o->imm = decode_imm(d, imm_bytes(log2));
		break;
	case ENC_G_E_I:
		o->imm = decode_imm(d, d->opcode == 0x69 ? imm_bytes(log2) : 1);
		break;
	case ENC_E_I8:
	case ENC_E_G_I8:
		o->imm = decode_imm(d, 1);
		break;
	case ENC_E_1:
		o->imm = 1;
		break;
	default:
		break;
	}
}

/* A branch: its target relative to the page, into the link behind it. */
static void branch(struct decoder *d, struct op *o, unsigned bytes)
{
	int64_t displacement = (int64_t)decode_imm(d, bytes);

	o[1] = (struct op){.id = OPI_LINK, .run = op_link};
	displacement += d->offset + d->at;
	o[1].disp = (int32_t)displacement;
	if (displacement > INT32_MAX)
		o[1].dst = LINK_FAR;
	if (d->log2 == 1 && !decode_is64(d)) /* the instruction pointer is cut, not only added to */
		o[1].dst = LINK_16;
	d->linked = true;
}

static void string(struct decoder *d, struct op *o)
{
	o->src = d->rep ? 1 : d->repne ? 2 : 0;
	o->dst = (uint8_t)d->address;
	o->imm = d->segment != 0 ? d->segment - 1u : VCPU_DS;
}

static void moffs(struct decoder *d, struct op *o)
{
	o->imm = decode_imm(d, 1u << d->address);
	if (d->address == 2)
		o->imm = (uint32_t)o->imm;
	if (d->address == 1)
		o->imm = (uint16_t)o->imm;
	segment_of_operand(d, o, VCPU_DS);
}

static void xlat(struct decoder *d, struct op *o)
{
	o->base = VCPU_RBX;
	segment_of_operand(d, o, VCPU_DS);
}

/* Operands that need no ModRM. */
static void plain_operands(struct decoder *d, struct op *o, const struct row *r, unsigned log2)
{
	unsigned reg = (d->opcode & 7) | (d->rex & 1u) << 3;

	o->dst = 0;
	switch ((unsigned)r->enc) {
	case ENC_A_I:
	case ENC_I:
		o->imm = decode_imm(d, imm_bytes(log2));
		break;
	case ENC_I8:
		o->imm = decode_imm(d, 1);
		break;
	case ENC_I16:
		o->imm = decode_imm(d, 2) & 0xffff;
		break;
	case ENC_ENTER:
		o->imm = decode_imm(d, 2) & 0xffff;
		o->imm |= (uint64_t)decode_u8(d) << 16;
		break;
	case ENC_A_O:
		o->src = reg_of(d, reg, log2);
		break;
	case ENC_O:
		o->dst = reg_of(d, reg, log2);
		break;
	case ENC_O_I:
		o->dst = reg_of(d, reg, log2);
		o->imm = decode_imm(d, 1u << log2);
		break;
	case ENC_J:
		branch(d, o, log2 == 1 ? 2 : 4);
		break;
	case ENC_J8:
		branch(d, o, 1);
		break;
	case ENC_MOFFS:
		moffs(d, o);
		break;
	case ENC_STRING:
		string(d, o);
		break;
	case ENC_XLAT:
		xlat(d, o);
		break;
	default:
		break;
	}
}

static bool has_modrm(const struct row *r)
{
	switch ((unsigned)r->enc) {
	case ENC_GROUP:
	case ENC_E_G:
	case ENC_G_E:
	case ENC_G_E_I:
	case ENC_E_G_I8:
	case ENC_E:
	case ENC_E_I:
	case ENC_E_I8:
	case ENC_E_1:
	case ENC_G_M:
		return true;
	default:
		return false;
	}
}

/* ---- one instruction ---- */

/* What decode_trace() needs besides the op, to choose among its form's handlers. */
struct choice {
	const struct form *form;
	unsigned log2;
	uint8_t reads, writes;
	bool keeps, faults, plain;
};

static enum decode_result undefined(struct decoder *d, struct op *o, struct choice *ch)
{
	*o = (struct op){.run = op_ud};
	*ch = (struct choice){.reads = OPF_ALL, .faults = true};
	d->linked = false;
	return DECODE_ENDS;
}

static enum decode_result foreign(struct decoder *d, struct op *o, const struct row *r,
				  struct choice *ch)
{
	bool ends = false;
	bool ok = r->enc == ENC_SYSTEM ? system_decode(d, o, &ends) : vector_decode(d, o);

	if (d->shrt)
		return DECODE_SHORT;
	if (!ok)
		return undefined(d, o, ch);
	*ch = (struct choice){.reads = OPF_ALL, .faults = true}; /* safe for all of them */
	return ends ? DECODE_ENDS : DECODE_OK;
}

/* The form for where the operand is, and for LOCK; NULL: #UD. */
static const struct form *form_of(const struct decoder *d, const struct row *r)
{
	bool memory = d->has_modrm && d->memory;

	if (d->lock)
		return memory ? r->lock : NULL;
	return memory ? r->mem : r->reg;
}

static bool plain_address(const struct op *o)
{
	return o->ea == 0 && o->index == REG_ZERO;
}

/* LEA takes the offset: no segment, and a cut only where the operand is wider than the address. */
static void offset_only(struct op *o, unsigned log2)
{
	o->ea &= EA_32 | EA_16;
	if (log2 <= 2 && (o->ea & EA_16) == 0)
		o->ea = 0;
}

static struct choice choice_of(const struct decoder *d, const struct op *o, const struct row *r,
			       unsigned log2)
{
	bool memory = d->has_modrm && d->memory;

	return (struct choice){
		.form = form_of(d, r),
		.log2 = log2,
		.reads = r->reads,
		.writes = r->writes,
		.keeps = (r->flags & ROW_KEEPS) != 0,
		.faults = (r->flags & ROW_FAULTS) != 0 || (memory && r->enc != ENC_G_M),
		.plain = memory && plain_address(o),
	};
}

static enum decode_result integer(struct decoder *d, struct op *o, const struct row *r,
				  struct choice *ch)
{
	unsigned log2 = log2_of(d, r);

	if (has_modrm(r)) {
		registers(d, o, r, log2);
		immediate(d, o, r, log2);
	} else {
		plain_operands(d, o, r, log2);
	}
	if (d->shrt)
		return DECODE_SHORT;
	if (r->enc == ENC_G_M)
		offset_only(o, log2);
	decode_finish(d, o);
	*ch = choice_of(d, o, r, log2);
	if (!ch->form || !ch->form->run[log2] || ((r->flags & ROW_NOT64) != 0 && decode_is64(d)))
		return undefined(d, o, ch);
	o->shape = (uint8_t)(log2 << 4);
	if ((r->flags & ROW_SRC_B) != 0) /* of the memory operand */
		o->shape = 0;
	if ((r->flags & ROW_SRC_W) != 0)
		o->shape = 1 << 4;
	return (r->flags & ROW_ENDS) != 0 ? DECODE_ENDS : DECODE_OK;
}

/* Operands that are written: another check of the segment. */
static bool writes_memory(const struct decoder *d, const struct row *r)
{
	if (!d->has_modrm || !d->memory)
		return r->enc == ENC_MOFFS && (d->opcode & 2) != 0;
	switch ((unsigned)r->enc) {
	case ENC_G_E:
	case ENC_G_E_I:
	case ENC_G_M:
		return false;
	default:
		break;
	}
	return r->mem != &form_cmp_mr && r->mem != &form_cmp_mi && r->mem != &form_test_mr &&
	       r->mem != &form_test_mi && r->mem != &form_bt_mr && r->mem != &form_bt_mi &&
	       r->mem != &form_push_m && r->mem != &form_nop;
}

static enum decode_result one_op(struct decoder *d, struct op *o, struct choice *ch)
{
	const struct row *r;
	enum decode_result result;
	bool absent;

	*o = (struct op){.base = REG_ZERO, .index = REG_ZERO};
	opcode(d);
	if (d->shrt)
		return DECODE_SHORT;
	r = opcode_row(d);
	absent = r->enc == ENC_GROUP && (r->flags & ROW_NOT64) != 0 && decode_is64(d);
	if (has_modrm(r))
		decode_modrm(d, o);
	if (r->enc == ENC_GROUP)
		r = &r->group[d->reg & 7];
	if (d->shrt)
		return DECODE_SHORT;
	if (r->enc == ENC_NONE)
		return undefined(d, o, ch);
	result = r->enc == ENC_SYSTEM || r->enc == ENC_VECTOR ? foreign(d, o, r, ch)
							      : integer(d, o, r, ch);
	if (absent && result != DECODE_SHORT) /* fetched to its end, then #UD */
		return undefined(d, o, ch);
	if (result != DECODE_SHORT && writes_memory(d, r))
		decode_writes_memory(o);
	return result;
}

static enum decode_result decode_one(struct decoder *d, struct op *o, struct choice *ch)
{
	enum decode_result result = one_op(d, o, ch);

	if (d->at > DECODE_LENGTH_MAX || (d->shrt && d->n >= DECODE_LENGTH_MAX)) {
		(void)undefined(d, o, ch);
		o->run = op_too_long;
		d->at = 1;
		result = DECODE_LONG;
	}
	if (result == DECODE_SHORT)
		return result;
	o->at = d->offset;
	o->shape = (uint8_t)((o->shape & 0xf0) | d->at);
	if (d->linked)
		o[1].at = o->at;
	if (o->run == NULL)
		o->run = ch->form->run[ch->log2];
	return result;
}

enum decode_result decode_op(struct decoder *d, struct op *o)
{
	struct choice ch;
	enum decode_result result = decode_one(d, o, &ch);

	d->reads = ch.reads;
	d->writes = ch.writes;
	d->may_fault = ch.faults;
	return result;
}

/* ---- traces ---- */

/* From the end to the beginning: which flags does anybody need? */
static void choose(struct decoded *t, const struct choice *ch)
{
	unsigned live = OPF_ALL;

	for (unsigned i = t->ops; i-- > 1;) {
		struct op *o = &t->op[i];
		const struct choice *x = &ch[i];
		const struct form *f = x->form;
		bool quiet, plain;

		if (o->id == OPI_LINK) {
			live = OPF_ALL; /* somebody goes on there */
			continue;
		}
		o->live = (uint8_t)live;
		if (!f) {
			live = OPF_ALL;
			continue;
		}
		quiet = (x->writes & live) == 0 && x->writes != 0;
		plain = x->plain && f->plain[x->log2];
		if (quiet && plain && f->plain_quiet[x->log2])
			o->run = f->plain_quiet[x->log2];
		else if (quiet && f->quiet[x->log2])
			o->run = f->quiet[x->log2];
		else if (plain)
			o->run = f->plain[x->log2];
		if (!x->keeps)
			live &= ~(unsigned)x->writes;
		live |= x->reads;
		if (x->faults)
			live = OPF_ALL;
	}
}

/* Ends a trace that was cut, or whose last branch may fall through. */
static void close(struct decoded *t, unsigned offset)
{
	t->op[t->ops++] = (struct op){
		.id = OPI_LINK, .run = op_link, .disp = (int32_t)offset, .at = (uint16_t)offset};
}

/* Links say how many instructions of the trace come after them. */
static void count(struct decoded *t, const uint8_t *number)
{
	for (unsigned i = 1; i < t->ops; i++)
		if (t->op[i].id == OPI_LINK)
			t->op[i].src = (uint8_t)(t->instructions - number[i]);
	t->op[0].imm = t->instructions;
}

bool decode_trace(const uint8_t *bytes, unsigned n, unsigned offset, uint32_t mode, unsigned most,
		  struct decoded *ret)
{
	struct choice ch[DECODE_OPS_MAX] = {0};
	uint8_t number[DECODE_OPS_MAX] = {0};
	bool ends = false;

	assert(most > 0 && most <= DECODE_INSTRUCTIONS_MAX);
	*ret = (struct decoded){.ops = 1};
	ret->op[0] = (struct op){.run = op_enter, .at = (uint16_t)offset};
	while (!ends && ret->instructions < most && ret->bytes < n) {
		unsigned left = n - ret->bytes;
		struct decoder d = {
			.bytes = bytes + ret->bytes,
			.n = left < DECODE_LENGTH_MAX ? left : DECODE_LENGTH_MAX,
			.mode = mode,
			.offset = (uint16_t)(offset + ret->bytes),
		};
		enum decode_result r = decode_one(&d, &ret->op[ret->ops], &ch[ret->ops]);

		if (r == DECODE_SHORT)
			break;
		ends = r != DECODE_OK;
		ret->instructions++;
		ret->bytes += d.at;
		number[ret->ops++] = (uint8_t)ret->instructions;
		if (d.linked)
			number[ret->ops++] = (uint8_t)ret->instructions;
	}
	if (ret->instructions == 0)
		return false;
	number[ret->ops] = (uint8_t)ret->instructions;
	if (!ends)
		close(ret, offset + ret->bytes);
	choose(ret, ch);
	count(ret, number);
	return true;
}

void decode_place(const struct decoded *d, struct op *at)
{
	memcpy(at, d->op, d->ops * sizeof(*at));
	for (unsigned i = 0; i < d->ops; i++)
		if (at[i].id == OPI_LINK)
			at[i].imm = (uint64_t)(uintptr_t)&at[i];
}

/* ---- what cannot be executed ---- */

OP(ud)
{
	FAULT(VECTOR_UD, -1);
}

OP(too_long)
{
	FAULT(VECTOR_GP, 0);
}
