/*
 * Handlers of the x87 instructions. Each is executed by the host (fpu.h) on an operand that is
 * moved here; `imm` of the op is the opcode's low bits and the ModRM byte, which is also what FOP
 * becomes.
 *
 * As long as the unit is quiet (nothing unmasked), no status is read. Else a waiting instruction
 * looks for a pending exception first, and a store of which the host says that an unmasked
 * exception forbade it does not reach memory.
 */
#include "virt/vm/cpu/x87.h"

#include "virt/vm/cpu/sys.h"
#include "virt/vm/cpu/vec_op.h"

#define CODE	((unsigned)(o->imm & 0x7ff))
#define FORBIDS 0x1fu /* exceptions that keep a store from memory: all but precision */

static void trap(struct cpu *c, const struct op *o)
{
	FAULT(VECTOR_MF, -1);
}

/* With CR0.NE clear a PC would raise IRQ 13, for which there is no controller here: ignored. */
static bool waits(struct cpu *c)
{
	return fpu_waits(&c->fpu) && (c->cr0 & CR0_NE);
}

#define X87_WAIT                                         \
	do {                                             \
		fpu_to_host(&c->fpu);                    \
		if (unlikely(!c->fpu.quiet) && waits(c)) \
			return trap(c, o);               \
	} while (0)

/* The operand's address as the instruction names it, without a segment's base. */
static uint64_t operand_offset(const struct cpu *c, const struct op *o)
{
	uint64_t at = c->gpr[o->base] + (c->gpr[o->index] << o->scale) + (uint64_t)(int64_t)o->disp;

	return o->ea & EA_16 ? at & 0xffff : o->ea & EA_32 ? at & 0xffffffff : at;
}

static void note_exception(struct cpu *c, const struct op *o, bool memory)
{
	if (!fpu_waits(&c->fpu))
		return;
	c->fpu.fop = (uint16_t)CODE;
	c->fpu.fdp = memory ? operand_offset(c, o) : 0;
}

static inline void done(struct cpu *c, const struct op *o, bool memory)
{
	c->fpu.fip = op_rip(c, o);
	if (unlikely(!c->fpu.quiet))
		note_exception(c, o, memory);
}

/* Did the instruction have its result, or did an unmasked exception forbid it? */
static bool allowed(const struct cpu *c)
{
	return c->fpu.quiet || !(fpu_status(&c->fpu) & ~fpu_control(&c->fpu) & FORBIDS);
}

VEC_OP(x87_register)
{
	X87_WAIT;
	x87_host_register(CODE);
	done(c, o, false);
	NEXT;
}

/* FCMOVcc read the flags; FCOMI and its kin write them, and clear the others of the six. */
VEC_OP(x87_fcmov)
{
	X87_WAIT;
	(void)x87_host_flags(CODE, flags_get(c));
	done(c, o, false);
	NEXT;
}

VEC_OP(x87_fcomi)
{
	X87_WAIT;
	SET_ARITH(x87_host_flags(CODE, flags_get(c)) & 0x45);
	done(c, o, false);
	NEXT;
}

/* ---- memory operands ---- */

#define X87_LOAD(bits)                              \
	VEC_OP(x87_load##bits)                      \
	{                                           \
		{                                   \
			X87_WAIT;                   \
			LOAD(bits, v, ea_of(c, o)); \
			x87_host_memory(CODE, &v);  \
			done(c, o, true);           \
		}                                   \
		NEXT;                               \
	}

X87_LOAD(16)
X87_LOAD(32)
X87_LOAD(64)

VEC_OP(x87_load80)
{
	{
		struct {
			uint64_t low;
			uint16_t high;
		} v;

		X87_WAIT;
		LOAD(64, low, ea_of(c, o));
		LOAD(16, high, ea_of(c, o) + 8);
		v.low = low;
		v.high = high;
		x87_host_memory(CODE, &v);
		done(c, o, true);
	}
	NEXT;
}

/*
 * A store while something is unmasked: an exception may forbid it, and then memory is not even
 * looked at. So it is executed first, and undone if memory faults.
 */
static void store_carefully(struct cpu *c, const struct op *o, unsigned bytes)
{
	uint64_t at = ea_of(c, o);
	uint8_t v[16] = {0};
	struct fpu before;

	fpu_to_memory(&c->fpu);
	before = c->fpu;
	fpu_to_host(&c->fpu);
	x87_host_memory(CODE, v);
	if (allowed(c) && !vec_store_bytes(c, at, v, bytes)) {
		fpu_to_memory(&c->fpu);
		c->fpu = before;
		FAULTED;
	}
	done(c, o, true);
	NEXT;
}

#define X87_STORE(bits)                                                 \
	VEC_OP(x87_store##bits)                                         \
	{                                                               \
		{                                                       \
			uint64_t at = ea_of(c, o);                      \
			u##bits v = 0;                                  \
                                                                        \
			X87_WAIT;                                       \
			if (unlikely(!c->fpu.quiet))                    \
				return store_carefully(c, o, bits / 8); \
			if (unlikely(!tlb_write(c, at, bits / 8)) &&    \
			    !mmu_probe_write(c, at, bits / 8))          \
				FAULTED;                                \
			x87_host_memory(CODE, &v);                      \
			c->fpu.fip = op_rip(c, o);                      \
			STORE(bits, at, v);                             \
		}                                                       \
		NEXT;                                                   \
	}

X87_STORE(16)
X87_STORE(32)
X87_STORE(64)

/* Ten bytes are two stores: the first has happened when the second faults. */
VEC_OP(x87_store80)
{
	{
		uint64_t at = ea_of(c, o);
		uint8_t *p = tlb_write(c, at, 10);

		X87_WAIT;
		if (unlikely(!c->fpu.quiet || !p))
			return store_carefully(c, o, 10);
		x87_host_memory(CODE, p);
		c->fpu.fip = op_rip(c, o);
	}
	NEXT;
}

/* ---- control ---- */

/* FNINIT, FNCLEX and the no-operations that were FENI, FDISI, FSETPM. */
VEC_OP(x87_control)
{
	fpu_to_host(&c->fpu);
	x87_host_register(CODE);
	if (CODE == 0x3e3) {
		c->fpu.fip = c->fpu.fdp = 0;
		c->fpu.fop = 0;
	}
	fpu_look(&c->fpu);
	NEXT;
}

VEC_OP(x87_fldcw)
{
	{
		X87_WAIT;
		LOAD(16, v, ea_of(c, o));
		x87_host_memory(CODE, &v);
		fpu_look(&c->fpu);
	}
	NEXT;
}

VEC_OP(x87_fnstcw)
{
	STORE(16, ea_of(c, o), fpu_control(&c->fpu));
	NEXT;
}

VEC_OP(x87_fnstsw)
{
	STORE(16, ea_of(c, o), fpu_status(&c->fpu));
	NEXT;
}

VEC_OP(x87_fnstsw_ax)
{
	R16(VCPU_RAX) = fpu_status(&c->fpu);
	NEXT;
}

VEC_OP(x87_fwait)
{
	if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		FAULT(VECTOR_NM, -1);
	if (unlikely(!(c->fpu.home == FPU_HOST && c->fpu.quiet)) && waits(c))
		return trap(c, o);
	NEXT;
}

/* The environment's layout: by operand size, and by whether the mode has selectors. */
static enum fpu_layout layout(const struct cpu *c, const struct op *o)
{
	bool real = (c->mode & MODE_REAL) != 0;

	if (o->imm & X87_SHORT)
		return real ? FPU_REAL_16 : FPU_PROTECTED_16;
	return real ? FPU_REAL_32 : FPU_PROTECTED_32;
}

static void store_environment(struct cpu *c, const struct op *o, bool save)
{
	uint8_t bytes[FPU_SAVE_BYTES];
	uint64_t at = ea_of(c, o);
	unsigned n = fpu_env_bytes(layout(c, o)) + (save ? FPU_SAVE_BYTES - FPU_ENV_BYTES : 0);

	if (!vec_probe_ends(c, at, n, true))
		FAULTED;
	fpu_env_store(&c->fpu, layout(c, o), save, bytes);
	fpu_look(&c->fpu);
	if (!vec_store_bytes(c, at, bytes, n))
		FAULTED;
	NEXT;
}

static void load_environment(struct cpu *c, const struct op *o, bool save)
{
	uint8_t bytes[FPU_SAVE_BYTES];
	unsigned n = fpu_env_bytes(layout(c, o)) + (save ? FPU_SAVE_BYTES - FPU_ENV_BYTES : 0);

	X87_WAIT;
	if (!vec_probe_ends(c, ea_of(c, o), n, false) || !vec_load_bytes(c, ea_of(c, o), bytes, n))
		FAULTED;
	fpu_env_load(&c->fpu, layout(c, o), save, bytes);
	fpu_look(&c->fpu);
	NEXT;
}

VEC_OP(x87_fnstenv)
{
	store_environment(c, o, false);
}

VEC_OP(x87_fnsave)
{
	store_environment(c, o, true);
}

VEC_OP(x87_fldenv)
{
	load_environment(c, o, false);
}

VEC_OP(x87_frstor)
{
	load_environment(c, o, true);
}

/* ---- where the unit is switched off ---- */

VEC_OP(x87_off)
{
	FAULT(VECTOR_NM, -1);
}

/* ---- the decoder's side ---- */

static op_fn *load_handler(unsigned bytes)
{
	return bytes == 2   ? op_x87_load16
	       : bytes == 4 ? op_x87_load32
	       : bytes == 8 ? op_x87_load64
			    : op_x87_load80;
}

static op_fn *store_handler(unsigned bytes)
{
	return bytes == 2   ? op_x87_store16
	       : bytes == 4 ? op_x87_store32
	       : bytes == 8 ? op_x87_store64
			    : op_x87_store80;
}

op_fn *x87_handler(struct x87_form f)
{
	static op_fn *const control[] = {
		[X87_CONTROL] = op_x87_control,	      [X87_LOAD_CW] = op_x87_fldcw,
		[X87_STORE_CW] = op_x87_fnstcw,	      [X87_STORE_SW] = op_x87_fnstsw,
		[X87_STORE_SW_AX] = op_x87_fnstsw_ax, [X87_LOAD_ENV] = op_x87_fldenv,
		[X87_STORE_ENV] = op_x87_fnstenv,     [X87_LOAD_ALL] = op_x87_frstor,
		[X87_STORE_ALL] = op_x87_fnsave,
	};

	if (f.kind == X87_PLAIN)
		return op_x87_register;
	if (f.kind == X87_FCMOV)
		return op_x87_fcmov;
	if (f.kind == X87_FCOMI)
		return op_x87_fcomi;
	if (f.kind == X87_LOAD)
		return load_handler(f.bytes);
	if (f.kind == X87_STORE)
		return store_handler(f.bytes);
	return control[f.kind];
}
