/*
 * A vCPU's life between two runs of the core: what came in is settled by priority, then it runs,
 * sleeps, or leaves to the machine. See accel.h; SDM volume 3, 6.9 (priorities) and 9.4 (INIT and
 * SIPI).
 *
 * Here flags are unpacked, as the core leaves them; whoever delivers an event packs them before.
 */
#include <assert.h>

#include "ground/linux/futex.h"
#include "virt/vm/cpu/accel.h"
#include "virt/vm/cpu/kvmclock.h"
#include "virt/vm/cpu/sys_priv.h"
#include "virt/vm/cpu/vector.h"
#include "virt/vm/cpu/world.h"

#define DR7_ENABLED 0xffu

static bool deliver(struct cpu *c, const struct event *e)
{
	bool ok;

	flags_pack(c);
	ok = event_deliver(c, e);
	flags_unpack(c);
	return ok;
}

/* The fault in sys.fault. */
static bool deliver_fault(struct cpu *c)
{
	bool ok;

	flags_pack(c);
	ok = event_fault(c);
	flags_unpack(c);
	return ok;
}

static void start(struct cpu *c, uint8_t vector)
{
	struct vcpu_segment cs = c->segment[VCPU_CS];

	cs.selector = (uint16_t)(vector << 8);
	cs.base = (uint64_t)vector << 12;
	segment_put(c, VCPU_CS, &cs);
	c->rip = 0;
	c->sys.activity = VCPU_RUNS;
}

static void init(struct cpu *c)
{
	sys_reset(c, false);
	apic_reset(c->sys.apic, false);
	c->sys.activity = c->sys.index == 0 ? VCPU_RUNS : VCPU_WAITS_FOR_SIPI;
}

/* INIT and SIPI, and what only wakes. */
static void settle_life(struct cpu *c, uint32_t events)
{
	if ((events & APIC_EVENT_INIT) != 0) {
		apic_events_clear(c->sys.apic, APIC_EVENT_INIT);
		init(c);
	}
	if ((events & APIC_EVENT_STARTUP) != 0) {
		apic_events_clear(c->sys.apic, APIC_EVENT_STARTUP);
		if (c->sys.activity == VCPU_WAITS_FOR_SIPI)
			start(c, (uint8_t)atomic_load(&c->sys.apic->startup_vector));
	}
	/* A kick that comes between the guest's last look and its HLT waits for the HLT. */
	if ((events & APIC_EVENT_KICK) != 0 && c->sys.activity == VCPU_HALTED) {
		apic_events_clear(c->sys.apic, APIC_EVENT_KICK);
		c->sys.activity = VCPU_RUNS;
	}
}

/* HLT was executed. What is raised from now on sets the attention word by itself. */
static void halt(struct cpu *c)
{
	c->sys.activity = VCPU_HALTED;
	if (apic_events(c->sys.apic) != 0)
		cpu_attention(c);
}

/* Does an instruction come first? run_one() looks again behind it. */
static bool shadowed(struct cpu *c)
{
	if (c->sys.shadow == 0 &&
	    (c->sys.sti_rip == 0 || c->rip != c->sys.sti_rip || c->sys.activity != VCPU_RUNS))
		return false;
	c->sys.shadow |= SHADOW_STI;
	return true;
}

/* An NMI or an interrupt, if one may come now; false: shutdown. */
static bool settle_interrupt(struct cpu *c)
{
	struct event e = {.rip = c->rip};
	bool nmi = (apic_events(c->sys.apic) & APIC_EVENT_NMI) != 0 && !c->sys.nmi_masked;
	int vector;

	if (!nmi && ((c->flags & FLAG_IF) == 0 || apic_pending(c->sys.apic) < 0))
		return true;
	if (shadowed(c))
		return true;
	if (nmi) {
		apic_events_clear(c->sys.apic, APIC_EVENT_NMI);
		e.kind = EVENT_NMI;
		e.vector = VECTOR_NMI;
	} else {
		vector = apic_take(c->sys.apic);
		if (vector < 0)
			return true;
		e.kind = EVENT_INTERRUPT;
		e.vector = (uint8_t)vector;
	}
	c->sys.activity = VCPU_RUNS;
	return deliver(c, &e);
}

/* Everything that may have come; false: shutdown. */
static bool settle(struct vcpu *v)
{
	struct cpu *c = v->cpu;
	uint32_t events = apic_events(c->sys.apic);

	if ((events & ~(uint32_t)APIC_EVENT_NMI) != 0)
		settle_life(c, events);
	if (c->sys.activity == VCPU_WAITS_FOR_SIPI || c->sys.activity == VCPU_WAITS_FOR_INIT)
		return true;
	if (apic_deadline(c->sys.apic) != APIC_NEVER && apic_tick(c->sys.apic, kvmclock_host_ns()))
		timer_watch(v, apic_deadline(c->sys.apic));
	return settle_interrupt(c);
}

void vcpu_wake(struct vcpu *v)
{
	cpu_attention_set(v->cpu, ATTEND_EVENT);
	if (atomic_load(&v->asleep))
		futex_wake((const _Atomic uint32_t *)&v->cpu->attention, 1);
}

/* Until somebody sets the attention word or the own timer is due. Nothing may be pending. */
static void rest(struct vcpu *v)
{
	struct cpu *c = v->cpu;

	world_leave(c);
	atomic_store(&v->deadline_ns, APIC_NEVER);
	atomic_store(&v->asleep, true);
	futex_wait((const _Atomic uint32_t *)&c->attention, 0, apic_deadline(c->sys.apic));
	atomic_store(&v->asleep, false);
	world_enter(c);
	/* Looked at by settle() in any case, whoever woke it. */
	cpu_attention(c);
	if (apic_deadline(c->sys.apic) != APIC_NEVER)
		timer_watch(v, apic_deadline(c->sys.apic));
}

/* After one instruction by itself: shadows end, RF is used up, debug traps come. */
static bool stepped(struct cpu *c, bool step, uint8_t shadow)
{
	bool held = (c->sys.shadow & ~shadow & SHADOW_MOV_SS) != 0;

	if (shadow != 0) {
		c->sys.shadow &= (uint8_t)~shadow;
		c->sys.sti_rip = 0;
		cpu_attention(c);
	}
	if (c->sys.no_step)
		step = false;
	if (held) /* MOV SS: its own step is lost, what else was seen waits */
		return true;
	return sys_debug_trap(c, step) || deliver_fault(c);
}

/* One instruction, where something watches each; false: shutdown. */
static bool run_one(struct cpu *c)
{
	bool step = (c->flags & FLAG_TF) != 0;
	uint8_t shadow = c->sys.shadow;
	uint64_t rf = c->flags & FLAG_RF;

	if (!sys_debug_code(c, c->segment[VCPU_CS].base + c->rip))
		return deliver_fault(c);
	c->sys.no_step = false;
	c->one = true;
	cpu_mode_changed(c);
	cpu_execute(c);
	c->one = false;
	cpu_mode_changed(c);
	if (c->stop == CPU_STOP_FAULT)
		return deliver_fault(c);
	if (c->stop == CPU_STOP_SHUTDOWN)
		return false;
	if (c->stop == CPU_STOP_ATTENTION) /* before the instruction */
		return true;
	if (c->stop == CPU_STOP_HALT)
		halt(c);
	if (rf != 0 && (c->flags & FLAG_RF) != 0)
		c->flags &= ~FLAG_RF;
	return stepped(c, step, shadow);
}

static bool watched(const struct cpu *c)
{
	return c->sys.shadow != 0 || (c->flags & FLAG_TF) != 0 || c->sys.debug != 0 ||
	       (c->dr[7] & DR7_ENABLED) != 0;
}

/* Runs until there is something to settle; false: shutdown. */
static bool run(struct cpu *c)
{
	if (watched(c))
		return run_one(c);
	cpu_execute(c);
	switch ((enum cpu_stop)c->stop) {
	case CPU_STOP_FAULT:
		return deliver_fault(c);
	case CPU_STOP_HALT:
		halt(c);
		return true;
	case CPU_STOP_SHUTDOWN:
		return false;
	case CPU_STOP_NONE:
	case CPU_STOP_RETRY:
	case CPU_STOP_ATTENTION:
	case CPU_STOP_ONE:
	case CPU_STOP_SYSTEM:
		return true;
	}
	return true;
}

/* What attention was wanted for. False: run() of the machine's is over, *ret says why. */
static bool attend(struct vcpu *v, enum vcpu_exit *ret)
{
	struct cpu *c = v->cpu;
	uint32_t why = __atomic_load_n(&c->attention, __ATOMIC_SEQ_CST);

	if ((why & ATTEND_WORLD) != 0)
		world_park(c);
	cpu_attention_clear(c, why & ~(uint32_t)ATTEND_WORLD);
	if (atomic_exchange(&v->kicked, false)) {
		*ret = VCPU_EXIT_KICKED;
		return false;
	}
	if (c->sys.shutdown || !settle(v)) {
		c->sys.shutdown = false;
		*ret = VCPU_EXIT_SHUTDOWN;
		return false;
	}
	return true;
}

int vcpu_run(struct vcpu *v, enum vcpu_exit *ret, struct err *e)
{
	struct cpu *c = v->cpu;

	world_enter(c);
	vector_enter(c);
	cpu_attention(c);
	for (;;) {
		if (cpu_attention_wanted(c) && !attend(v, ret))
			break;
		if (c->sys.activity != VCPU_RUNS) {
			rest(v);
		} else if (!run(c)) {
			*ret = VCPU_EXIT_SHUTDOWN;
			break;
		}
	}
	vector_leave(c);
	world_leave(c);
	return 0;
}
