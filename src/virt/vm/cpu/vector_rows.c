/*
 * The decoder's table of vector and x87 instructions: which handler an opcode with its mandatory
 * prefix, digit and REX.W has, and what of ModRM are its operands. Rows come from sse.def, mmx.def
 * and vector_rows.def; x87 has a table of its own (x87.h).
 *
 * A row that exists but is switched off (CR0.EM, CR0.TS, CR4.OSFXSR; the mode word knows) decodes
 * as an op that raises #UD or #NM; so the order of exceptions is the processor's.
 */
#include <assert.h>
#include <pthread.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/decode.h"
#include "virt/vm/cpu/vec.h"
#include "virt/vm/cpu/vector.h"
#include "virt/vm/cpu/x87.h"

enum trait {
	T_SSE = 1 << 0, /* needs SSE switched on; else T_MMX, T_X87, or nothing */
	T_MMX = 1 << 1,
	T_X87 = 1 << 2,
	T_STORE = 1 << 3, /* ModRM.rm is the destination */
	T_IMM = 1 << 4,	  /* an 8-bit immediate */
	T_FLAGS = 1 << 5, /* writes all arithmetic flags */
	T_FP = 1 << 6,	  /* may raise #XM */
	T_W0 = 1 << 7,	  /* REX.W must be clear, set */
	T_W1 = 1 << 8,
	T_MM_REG = 1 << 9, /* ModRM.reg, .rm name MMX registers */
	T_MM_RM = 1 << 10,
	T_RDI = 1 << 11, /* the memory operand is [rDI] */
	T_MM = T_MM_REG | T_MM_RM,
	T_INT = 0, /* the classes of sse.def */
	T_NUM = T_FP,
	T_PS = T_FP,
	T_PD = T_FP,
	T_SS = T_FP,
	T_SD = T_FP,
};

struct row {
	uint8_t map, prefix, opcode;
	int8_t digit;
	uint8_t log2; /* of the bytes of the memory operand */
	uint16_t traits;
	op_fn *reg, *mem;
};

#define LOG2_A16 4
#define LOG2_M8	 3
#define LOG2_M4	 2
#define LOG2_M2	 1
#define LOG2_64	 3
#define LOG2_32	 2
#define op_NONE	 NULL

/* The handlers, declared. */
#define SSE_OP(name, ...)  op_fn op_sse_##name##_reg, op_sse_##name##_mem;
#define SSE_IMM(name, ...) op_fn op_sse_##name##_reg, op_sse_##name##_mem;
#define MMX_OP(name, ...)  op_fn op_mmx_##name##_reg, op_mmx_##name##_mem;
#include "virt/vm/cpu/mmx.def"
#include "virt/vm/cpu/sse.def"
#undef SSE_OP
#undef SSE_IMM
#undef MMX_OP
#include "virt/vm/cpu/vector_ops.h"

#define SSE_OP(name, prefix_, map_, opcode_, mem_, fp) \
	{.map = map_,                                  \
	 .prefix = prefix_,                            \
	 .opcode = opcode_,                            \
	 .digit = -1,                                  \
	 .log2 = LOG2_##mem_,                          \
	 .traits = T_SSE | T_##fp,                     \
	 .reg = op_sse_##name##_reg,                   \
	 .mem = op_sse_##name##_mem},
#define SSE_IMM(name, prefix_, map_, opcode_, mem_, fp, count) \
	{.map = map_,                                          \
	 .prefix = prefix_,                                    \
	 .opcode = opcode_,                                    \
	 .digit = -1,                                          \
	 .log2 = LOG2_##mem_,                                  \
	 .traits = T_SSE | T_IMM | T_##fp,                     \
	 .reg = op_sse_##name##_reg,                           \
	 .mem = op_sse_##name##_mem},
#define MMX_OP(name, map_, opcode_, bits) \
	{.map = map_,                     \
	 .prefix = 0,                     \
	 .opcode = opcode_,               \
	 .digit = -1,                     \
	 .log2 = LOG2_##bits,             \
	 .traits = T_MMX | T_MM,          \
	 .reg = op_mmx_##name##_reg,      \
	 .mem = op_mmx_##name##_mem},
#define ROW(map_, prefix_, opcode_, digit_, reg_, mem_, log2_, traits_) \
	{.map = map_,                                                   \
	 .prefix = prefix_,                                             \
	 .opcode = opcode_,                                             \
	 .digit = digit_,                                               \
	 .log2 = log2_,                                                 \
	 .traits = traits_,                                             \
	 .reg = op_##reg_,                                              \
	 .mem = op_##mem_},

static const struct row rows[] = {
#include "virt/vm/cpu/mmx.def"
#include "virt/vm/cpu/sse.def"
#include "virt/vm/cpu/vector_rows.def"
};

#define ROWS ((unsigned)(sizeof(rows) / sizeof(rows[0])))

static_assert(VECTOR_ID_ROWS + 2 * ROWS <= VECTOR_ID_X87, "ids of rows and of x87 differ");
static_assert(VECTOR_ID_X87 + 0x800 <= VECTOR_ID_EMMS, "ids of x87 and EMMS differ");

/* Rows by map and opcode: chains, because several prefixes and digits share one. */
static struct {
	uint16_t first[MAP_COUNT][256]; /* row + 1 */
	uint16_t next[ROWS];
} chain;
static pthread_once_t chained = PTHREAD_ONCE_INIT;

static void make_chains(void)
{
	for (unsigned i = ROWS; i-- > 0;) {
		uint16_t *first = &chain.first[rows[i].map][rows[i].opcode];

		chain.next[i] = *first;
		*first = (uint16_t)(i + 1);
	}
}

static bool matches(const struct row *r, const struct decoder *d, uint8_t prefix)
{
	bool w = d->rex & 8;

	return r->prefix == prefix && !((r->traits & T_W0) && w) && !((r->traits & T_W1) && !w);
}

static const struct row *row_of(const struct decoder *d)
{
	uint8_t prefix = decode_mandatory(d);
	uint8_t digit = d->at < d->n ? d->bytes[d->at] >> 3 & 7 : 0;

	assert(d->map < MAP_COUNT);
	(void)pthread_once(&chained, make_chains);
	for (unsigned i = chain.first[d->map][d->opcode]; i; i = chain.next[i - 1])
		if (matches(&rows[i - 1], d, prefix) &&
		    (rows[i - 1].digit < 0 || rows[i - 1].digit == (int8_t)digit))
			return &rows[i - 1];
	return NULL;
}

/* ---- operands ---- */

static void registers(const struct decoder *d, const struct row *r, struct op *o)
{
	uint8_t reg = r->traits & T_MM_REG ? d->reg & 7 : d->reg;
	uint8_t rm = r->traits & T_MM_RM ? d->rm & 7 : d->rm;

	o->dst = r->traits & T_STORE && !d->memory ? rm : reg;
	o->src = r->traits & T_STORE || d->memory ? reg : rm;
}

/* MASKMOVQ and MASKMOVDQU store to [rDI], or what a prefix says instead of DS. */
static void to_rdi(const struct decoder *d, struct op *o)
{
	uint8_t segment = d->segment ? d->segment : 1 + VCPU_DS;

	o->base = VCPU_RDI;
	o->index = REG_ZERO;
	o->scale = 0;
	o->disp = 0;
	o->ea = d->address == 2 ? EA_32 : d->address == 1 ? EA_16 : 0;
	if (decode_is64(d))
		o->ea |= segment > 1 + VCPU_DS ? segment : 0;
	else if (!(d->mode & MODE_FLAT) || segment > 1 + VCPU_DS)
		o->ea |= segment | EA_CHECK | EA_WRITE;
}

/* ---- availability ---- */

static op_fn *switched_off(uint32_t mode, uint16_t traits)
{
	if (traits & T_SSE)
		return mode & MODE_SSE ? NULL : op_sse_off;
	if (traits & T_MMX)
		return mode & MODE_MMX ? NULL : op_mmx_off;
	if (traits & T_X87)
		return mode & MODE_FPU ? NULL : op_x87_off;
	return NULL;
}

static void finish(struct decoder *d, struct op *o, op_fn *run, uint16_t traits)
{
	op_fn *off = switched_off(d->mode, traits);

	o->run = off ? off : run;
	d->reads = 0;
	d->writes = traits & T_FLAGS && !off ? OPF_ALL : 0;
	d->may_fault = off || d->memory || (traits & (T_MMX | T_X87 | T_RDI)) ||
		       (traits & T_FP && d->mode & MODE_XM);
	decode_finish(d, o);
}

/* What no row knows is fetched to its end all the same: a page fault comes before #UD. */
static bool skip_unknown(struct decoder *d, struct op *o)
{
	bool imm = d->map == MAP_0F3A ||
		   (d->map == MAP_0F &&
		    ((d->opcode >= 0x70 && d->opcode <= 0x73) || d->opcode == 0xc2 ||
		     (d->opcode >= 0xc4 && d->opcode <= 0xc6)));

	if (!d->has_modrm)
		decode_modrm(d, o);
	if (imm)
		(void)decode_u8(d);
	return false;
}

/* ---- x87 ---- */

static uint8_t log2_of(unsigned bytes)
{
	return bytes == 2 ? 1 : bytes == 4 ? 2 : bytes == 8 ? 3 : 4;
}

static bool decode_x87(struct decoder *d, struct op *o)
{
	unsigned modrm = d->at < d->n ? d->bytes[d->at] : 0;
	unsigned code = (d->opcode & 7u) << 8 | modrm;
	struct x87_form f = x87_form(code);

	if (f.kind == X87_INVALID || d->lock)
		return skip_unknown(d, o);
	o->shape = (uint8_t)(log2_of(f.bytes) << 4);
	decode_modrm(d, o);
	if (f.kind == X87_STORE || f.kind >= X87_STORE_CW)
		decode_writes_memory(o);
	o->imm = code | (d->log2 == 1 ? X87_SHORT : 0);
	o->id = (uint16_t)(VECTOR_ID_X87 + (code & 0x7ff));
	finish(d, o, x87_handler(f), T_X87);
	d->reads = f.kind == X87_FCMOV ? OPF_C | OPF_Z | OPF_P : 0;
	d->writes = f.kind == X87_FCOMI ? OPF_ALL : 0;
	return true;
}

static bool decode_fwait(struct decoder *d, struct op *o)
{
	d->may_fault = true;
	d->reads = d->writes = 0;
	o->run = op_x87_fwait;
	o->id = VECTOR_ID_X87 + 0x7ff;
	decode_finish(d, o);
	return true;
}

static bool decode_emms(struct decoder *d, struct op *o)
{
	if (decode_mandatory(d) != 0)
		return false;
	o->id = VECTOR_ID_EMMS;
	finish(d, o, op_mmx_emms, T_MMX);
	return true;
}

static bool decode_row(struct decoder *d, struct op *o)
{
	const struct row *r = row_of(d);
	op_fn *run;

	if (!r)
		return skip_unknown(d, o);
	o->shape = (uint8_t)(r->log2 << 4);
	decode_modrm(d, o);
	run = d->memory ? r->mem : r->reg;
	if (!run || d->lock)
		return skip_unknown(d, o);
	registers(d, r, o);
	if (r->traits & T_STORE && d->memory)
		decode_writes_memory(o);
	if (r->traits & T_RDI)
		to_rdi(d, o);
	o->imm = (r->traits & T_IMM ? decode_u8(d) : 0) | (d->rex & 8 ? VECTOR_IMM_WIDE : 0);
	o->id = (uint16_t)(VECTOR_ID_ROWS + 2 * (unsigned)(r - rows) + d->memory);
	finish(d, o, run, r->traits);
	return true;
}

bool vector_decode(struct decoder *d, struct op *o)
{
	if (d->map == MAP_ONE && d->opcode == 0x9b)
		return !d->lock && decode_fwait(d, o);
	if (d->map == MAP_0F && d->opcode == 0x77)
		return !d->lock && decode_emms(d, o);
	if (d->at >= d->n) {
		(void)decode_u8(d); /* says that the window is short */
		return false;
	}
	if (d->map == MAP_ONE)
		return d->opcode >= 0xd8 && d->opcode <= 0xdf && decode_x87(d, o);
	return decode_row(d, o);
}

/* ---- for tests ---- */

unsigned vector_ids(bool (*seen)(void *ctx, unsigned id), void *ctx, unsigned *ret_missing)
{
	unsigned all = 0, missing = 0;

	for (unsigned i = 0; i < 2 * ROWS; i++) {
		if (!(i & 1 ? rows[i / 2].mem : rows[i / 2].reg))
			continue;
		all++;
		missing += !seen(ctx, VECTOR_ID_ROWS + i);
	}
	*ret_missing = missing;
	return all;
}
