/*
 * Handlers of instructions that load, store and look at segments, and of far transfers and
 * interrupts by instruction. See system_ops.h; what they do is in sys.h's files.
 */
#include "virt/vm/cpu/system_ops.h"

#include "virt/vm/cpu/sys_priv.h"

/* After a segment register was loaded: SS holds interrupts back for one instruction. */
static void loaded(struct cpu *c, unsigned name)
{
	c->rip = c->sys.next_rip;
	if (name == VCPU_SS)
		c->sys.shadow |= SHADOW_MOV_SS;
}

/* A load of SS goes back to the outer loop, which runs the next instruction by itself. */
#define LOADED(name)                            \
	do {                                    \
		loaded(c, (name));              \
		flags_unpack(c);                \
		if ((name) == VCPU_SS)          \
			LEAVE(CPU_STOP_SYSTEM); \
		op_exit_jump(c);                \
		return;                         \
	} while (0)

OP(sys_mov_to_sreg)
{
	unsigned name = o->src & 7;
	uint16_t selector;

	if (name == VCPU_CS || name > VCPU_GS)
		FAULT(VECTOR_UD, -1);
	if (!system_word(c, o, &selector))
		FAULTED;
	system_enter(c, o);
	SYSTEM(segment_load(c, name, selector));
	LOADED(name);
}

OP(sys_mov_from_sreg)
{
	unsigned name = o->src & 7;

	if (name > VCPU_GS)
		FAULT(VECTOR_UD, -1);
	if (o->dst == SYSTEM_NO_REGISTER)
		STORE(16, ea_of(c, o), c->segment[name].selector);
	else
		system_put(c, o->dst, op_bytes(o), c->segment[name].selector);
	NEXT;
}

OP(sys_push_sreg)
{
	{
		struct stack s = stack_of(c);
		unsigned bytes = op_bytes(o);

		if (bytes == 4) { /* makes room for four, but writes only two, as processors do */
			s.sp = (s.sp - 2) & s.mask;
			bytes = 2;
		}
		if (!stack_push(c, &s, bytes, c->segment[o->src].selector))
			FAULTED_STACK;
		c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	}
	NEXT;
}

OP(sys_pop_sreg)
{
	{
		struct stack s = stack_of(c);
		uint64_t selector;

		if (!stack_pop(c, &s, op_bytes(o), &selector))
			FAULTED;
		system_enter(c, o);
		SYSTEM(segment_load(c, o->src, (uint16_t)selector));
		c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	}
	LOADED(o->src);
}

/* Offset and selector of a far pointer in memory. */
static bool far_pointer(struct cpu *c, const struct op *o, uint64_t *ret_offset,
			uint16_t *ret_selector)
{
	uint64_t at = ea_of(c, o);
	unsigned bytes = op_bytes(o);

	if (!mmu_load(c, at, bytes))
		return false;
	*ret_offset = bytes == 8 ? c->loaded : c->loaded & ((1ull << (bytes * 8)) - 1);
	if (!mmu_load(c, at + bytes, 2))
		return false;
	*ret_selector = (uint16_t)c->loaded;
	return true;
}

OP(sys_load_far)
{
	uint64_t offset;
	uint16_t selector;

	if (!far_pointer(c, o, &offset, &selector))
		FAULTED;
	system_enter(c, o);
	SYSTEM(segment_load(c, o->src, selector));
	system_put(c, o->dst, op_bytes(o), offset);
	LOADED(o->src);
}

OP(sys_far_direct)
{
	{
		const struct far f = {.selector = (uint16_t)o->disp,
				      .offset = o->imm,
				      .bytes = op_bytes(o),
				      .call = o->src != 0};

		system_enter(c, o);
		SYSTEM(sys_far(c, &f));
	}
	GO_ON;
}

OP(sys_far_indirect)
{
	{
		struct far f = {.bytes = op_bytes(o), .call = o->src != 0};

		if (!far_pointer(c, o, &f.offset, &f.selector))
			FAULTED;
		system_enter(c, o);
		SYSTEM(sys_far(c, &f));
	}
	GO_ON;
}

OP(sys_far_return)
{
	system_enter(c, o);
	SYSTEM(sys_far_return(c, op_bytes(o), (unsigned)o->imm));
	GO_ON;
}

OP(sys_iret)
{
	system_enter(c, o);
	SYSTEM(sys_iret(c, op_bytes(o)));
	if ((c->dr[7] & 0xff) == 0) /* nobody else looks at it */
		c->flags &= ~FLAG_RF;
	/* NMIs and interrupts that waited, and single steps, are the outer loop's. */
	if ((c->flags & (FLAG_TF | FLAG_RF)) != 0 ||
	    (apic_events(c->sys.apic) & APIC_EVENT_NMI) != 0)
		cpu_attention(c);
	system_look(c);
	GO_ON;
}

static bool interrupt(struct cpu *c, enum event_kind kind, uint8_t vector)
{
	c->sys.no_step = true;
	return event_deliver(
		c, &(struct event){.kind = kind, .vector = vector, .rip = c->sys.next_rip});
}

#define INTERRUPT(kind, vector)                         \
	do {                                            \
		if (likely(interrupt(c, kind, vector))) \
			GO_ON;                          \
		flags_unpack(c);                        \
		LEAVE(CPU_STOP_SHUTDOWN);               \
	} while (0)

OP(sys_int)
{
	system_enter(c, o);
	if (sys_v86(c) && sys_iopl(c) < 3)
		FAULT(VECTOR_GP, 0);
	INTERRUPT(EVENT_SOFT, (uint8_t)o->imm);
}

OP(sys_int3)
{
	system_enter(c, o);
	INTERRUPT(EVENT_SOFT, VECTOR_BP);
}

OP(sys_into)
{
	system_enter(c, o);
	if ((c->flags & FLAG_OF) == 0)
		GO_BEHIND;
	INTERRUPT(EVENT_SOFT, VECTOR_OF);
}

/* As a debug exception, but for DR6: no gate's privilege is checked. */
OP(sys_int1)
{
	system_enter(c, o);
	INTERRUPT(EVENT_EXCEPTION, VECTOR_DB);
}

OP(sys_bound)
{
	unsigned bytes = op_bytes(o);
	uint64_t at = ea_of(c, o);
	int64_t low, high, index;

	if (!mmu_load(c, at, bytes))
		FAULTED;
	low = bytes == 2 ? (int16_t)c->loaded : (int32_t)c->loaded;
	if (!mmu_load(c, at + bytes, bytes))
		FAULTED;
	high = bytes == 2 ? (int16_t)c->loaded : (int32_t)c->loaded;
	index = bytes == 2 ? (int16_t)R16(o->dst) : (int32_t)R32(o->dst);
	if (index < low || index > high)
		FAULT(VECTOR_BR, -1);
	NEXT;
}

OP(sys_arpl)
{
	uint16_t selector, rpl = R16(o->src) & 3;
	bool low;

	if (!system_word(c, o, &selector))
		FAULTED;
	low = (selector & 3) < rpl;
	selector = (uint16_t)((selector & 0xfffc) | rpl);
	if (low && o->dst == SYSTEM_NO_REGISTER)
		STORE(16, ea_of(c, o), selector);
	else if (low)
		R16(o->dst) = selector;
	system_zf(c, low);
	NEXT;
}

/* SLDT and STR. */
OP(sys_store_desc)
{
	uint16_t selector = c->segment[o->src == 0 ? VCPU_LDTR : VCPU_TR].selector;

	if (o->dst == SYSTEM_NO_REGISTER)
		STORE(16, ea_of(c, o), selector);
	else
		system_put(c, o->dst, op_bytes(o), selector);
	NEXT;
}

/* LLDT, LTR, VERR, VERW. */
OP(sys_group6)
{
	system_enter(c, o);
	if (o->src <= 3 && sys_cpl(c) != 0)
		FAULT(VECTOR_GP, 0);
	{
		uint16_t selector;
		bool ok;

		if (!system_word(c, o, &selector))
			FAULTED;
		if (o->src > 3) {
			SYSTEM(segment_verify(c, selector, o->src == 5, &ok));
			system_zf(c, ok);
		} else {
			SYSTEM(o->src == 2 ? segment_load_ldt(c, selector)
					   : segment_load_tr(c, selector));
		}
	}
	if (o->src <= 3)
		GO_BEHIND;
	NEXT;
}

static bool look(struct cpu *c, const struct op *o, uint32_t *ret, bool *ret_ok, bool lar)
{
	uint16_t selector;

	if (!system_word(c, o, &selector))
		return false;
	return lar ? segment_lar(c, selector, ret, ret_ok) : segment_lsl(c, selector, ret, ret_ok);
}

OP(sys_lar)
{
	{
		uint32_t value;
		bool ok;

		system_enter(c, o);
		SYSTEM(look(c, o, &value, &ok, true));
		if (ok)
			system_put(c, o->src, op_bytes(o), value);
		system_zf(c, ok);
	}
	NEXT;
}

OP(sys_lsl)
{
	{
		uint32_t value;
		bool ok;

		system_enter(c, o);
		SYSTEM(look(c, o, &value, &ok, false));
		if (ok)
			system_put(c, o->src, op_bytes(o), value);
		system_zf(c, ok);
	}
	NEXT;
}
