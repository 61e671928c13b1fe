/*
 * Handlers of instructions on control, debug and model-specific registers, of fast system calls,
 * and of what stops, waits or identifies. See system_ops.h; what they do is in sys.h's files.
 */
#include "virt/vm/cpu/system_ops.h"

#include "virt/vm/cpu/sys_priv.h"

OP(sys_pushf)
{
	flags_pack(c);
	if (!sys_pushf(c, op_bytes(o)))
		FAULTED;
	NEXT;
}

OP(sys_popf)
{
	uint64_t old = c->flags;

	system_enter(c, o);
	SYSTEM(sys_popf(c, op_bytes(o)));
	c->rip = c->sys.next_rip;
	flags_unpack(c);
	if (((old ^ c->flags) & (FLAG_TF | FLAG_AC)) != 0)
		cpu_mode_changed(c);
	if ((c->flags & FLAG_TF) != 0)
		LEAVE(CPU_STOP_SYSTEM);
	if ((c->flags & ~old & FLAG_IF) != 0)
		system_look(c);
	op_exit_jump(c);
}

OP(sys_cli)
{
	if (unlikely(!sys_cli(c)))
		FAULTED;
	NEXT;
}

/*
 * Interrupts are looked for at trace entries only, so the instruction behind STI is safe unless a
 * trace begins there; `sti_rip` tells the outer loop, which then runs it alone.
 */
OP(sys_sti)
{
	bool off = (c->flags & FLAG_IF) == 0;

	if (unlikely(!sys_sti(c)))
		FAULTED;
	if (off)
		c->sys.sti_rip = op_next_rip(c, o);
	if (apic_pending(c->sys.apic) >= 0)
		cpu_attention(c);
	NEXT;
}

OP(sys_hlt)
{
	system_enter(c, o);
	if (sys_cpl(c) != 0)
		FAULT(VECTOR_GP, 0);
	c->rip = c->sys.next_rip;
	LEAVE(CPU_STOP_HALT);
}

OP(sys_smsw)
{
	if (o->dst == SYSTEM_NO_REGISTER)
		STORE(16, ea_of(c, o), (uint16_t)c->cr0);
	else
		system_put(c, o->dst, op_bytes(o), c->cr0);
	NEXT;
}

OP(sys_lmsw)
{
	uint16_t value;

	system_enter(c, o);
	if (!system_word(c, o, &value))
		FAULTED;
	SYSTEM(sys_lmsw(c, value));
	GO_BEHIND;
}

OP(sys_clts)
{
	system_enter(c, o);
	SYSTEM(sys_clts(c));
	GO_BEHIND;
}

OP(sys_mov_from_cr)
{
	{
		uint64_t value;

		if (!sys_cr_read(c, o->src, &value))
			FAULTED;
		system_put(c, o->dst, op_bytes(o), value);
	}
	NEXT;
}

OP(sys_mov_to_cr)
{
	system_enter(c, o);
	SYSTEM(sys_cr_write(c, o->src, R64(o->dst)));
	system_look(c); /* CR8 */
	GO_BEHIND;
}

OP(sys_mov_from_dr)
{
	{
		uint64_t value;

		if ((o->src & 8) != 0)
			FAULT(VECTOR_UD, -1);
		if (!sys_dr_read(c, o->src, &value))
			FAULTED;
		system_put(c, o->dst, op_bytes(o), value);
	}
	NEXT;
}

OP(sys_mov_to_dr)
{
	if ((o->src & 8) != 0)
		FAULT(VECTOR_UD, -1);
	system_enter(c, o);
	SYSTEM(sys_dr_write(c, o->src, R64(o->dst)));
	c->rip = c->sys.next_rip;
	SYSTEM_END; /* the outer loop watches each instruction from now on, or no more */
}

/* SGDT, SIDT: a limit of two bytes, a base of four or eight. */
OP(sys_store_table)
{
	bool idt = o->src == 1;
	uint64_t at = ea_of(c, o), base = idt ? c->idt_base : c->gdt_base;
	unsigned bytes = op_bytes(o) == 8 ? 8 : 4;

	if (!mmu_probe_write(c, at, 2 + bytes) ||
	    !mmu_store(c, at, idt ? c->idt_limit : c->gdt_limit, 2) ||
	    !mmu_store(c, at + 2, base, bytes))
		FAULTED;
	NEXT;
}

OP(sys_load_table)
{
	uint64_t at = ea_of(c, o), base;
	uint16_t limit;

	if (sys_cpl(c) != 0)
		FAULT(VECTOR_GP, 0);
	if (!mmu_load(c, at, 2))
		FAULTED;
	limit = (uint16_t)c->loaded;
	if (!mmu_load(c, at + 2, op_bytes(o) == 8 ? 8 : 4))
		FAULTED;
	base = op_bytes(o) == 8 ? c->loaded : (uint32_t)c->loaded;
	if (o->imm != 0) /* an operand size of 16 takes 24 bits */
		base &= 0xffffff;
	if (!sys_table_load(c, o->src == 3, limit, base))
		FAULTED;
	NEXT;
}

/* The address is an effective one with its segment, never checked. */
OP(sys_invlpg)
{
	uint64_t at = ea_of(c, o);

	c->ea_bad = false;
	system_enter(c, o);
	SYSTEM(sys_invlpg(c, at));
	GO_BEHIND;
}

OP(sys_wbinvd)
{
	if (sys_cpl(c) != 0)
		FAULT(VECTOR_GP, 0);
	NEXT;
}

OP(sys_vmcall)
{
	sys_hypercall(c);
	NEXT;
}

OP(sys_swapgs)
{
	if (!sys_swapgs(c))
		FAULTED;
	NEXT;
}

OP(sys_syscall)
{
	system_enter(c, o);
	SYSTEM(sys_syscall(c));
	c->sys.no_step = (c->flags & FLAG_TF) == 0;
	GO_ON;
}

OP(sys_sysret)
{
	system_enter(c, o);
	SYSTEM(sys_sysret(c, op_bytes(o) == 8));
	if ((c->flags & FLAG_TF) != 0)
		cpu_attention(c);
	system_look(c);
	GO_ON;
}

OP(sys_sysenter)
{
	system_enter(c, o);
	SYSTEM(sys_sysenter(c));
	GO_ON;
}

OP(sys_sysexit)
{
	system_enter(c, o);
	SYSTEM(sys_sysexit(c, op_bytes(o) == 8));
	GO_ON;
}

OP(sys_rdtsc)
{
	if (!sys_rdtsc(c, false))
		FAULTED;
	NEXT;
}

OP(sys_rdtscp)
{
	if (!sys_rdtsc(c, true))
		FAULTED;
	NEXT;
}

/* There are no counters. */
OP(sys_rdpmc)
{
	FAULT(VECTOR_GP, 0);
}

OP(sys_cpuid)
{
	sys_cpuid(c);
	NEXT;
}

OP(sys_rdmsr)
{
	if (!sys_rdmsr(c))
		FAULTED;
	NEXT;
}

OP(sys_wrmsr)
{
	system_enter(c, o);
	SYSTEM(sys_wrmsr(c));
	system_look(c); /* EOI, self-IPI */
	GO_BEHIND;
}

OP(sys_read_base)
{
	{
		uint64_t value;

		if (!sys_base_read(c, o->src, op_bytes(o), &value))
			FAULTED;
		system_put(c, o->dst, op_bytes(o), value);
	}
	NEXT;
}

OP(sys_write_base)
{
	if (!sys_base_write(c, o->src, op_bytes(o), R64(o->dst)))
		FAULTED;
	NEXT;
}
