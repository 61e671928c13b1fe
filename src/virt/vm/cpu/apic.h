/*
 * The local APIC of one vCPU, as a pure thing: registers, priorities and a timer in terms of a
 * clock that its owner hands in, no threads and no CPU. Facts: Intel SDM volume 3, chapter 11.
 *
 * Both views exist: the page of 32-bit registers (xAPIC) and the MSRs 0x800–0x83f (x2APIC).
 * Interrupts come as messages (struct apic_message), whether an IPI, an MSI or an entry of the
 * local vector table.
 *
 * Threads: everything belongs to the owner, the vCPU's thread, but what a sender on any thread
 * does: it sets a bit of IRR (and of TMR), of `events` or of the error register, and then calls
 * the host's wake(). Those words are atomics; so are the few registers that senders read to find
 * a destination.
 *
 * The timer counts nanoseconds: bus and TSC both run at 1 GHz (clock.h). It never fires by itself:
 * the owner asks for apic_deadline() and calls apic_tick().
 *
 * Not here: PIC and ExtINT, SMI, performance and thermal sources (their LVT entries only keep what
 * is written).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/memory/irq.h"
#include "virt/vm/memory/vcpu.h"

#define APIC_NEVER	 UINT64_MAX
#define APIC_PAGE_BYTES	 0x1000u
#define APIC_STATE_BYTES 1024u

/* IA32_APIC_BASE. */
#define APIC_BASE_BSP	  (1ull << 8)
#define APIC_BASE_X2APIC  (1ull << 10)
#define APIC_BASE_ENABLED (1ull << 11)

/* Offsets of registers in the page; a register's x2APIC MSR is 0x800 + offset / 16. */
enum apic_register {
	APIC_ID = 0x020,
	APIC_VERSION = 0x030,
	APIC_TPR = 0x080,
	APIC_APR = 0x090,
	APIC_PPR = 0x0a0,
	APIC_EOI = 0x0b0,
	APIC_RRD = 0x0c0,
	APIC_LDR = 0x0d0,
	APIC_DFR = 0x0e0,
	APIC_SVR = 0x0f0,
	APIC_ISR = 0x100,
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_ICR = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_THERMAL = 0x330,
	APIC_LVT_COUNTER = 0x340,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
	APIC_SELF_IPI = 0x3f0,
};

enum apic_delivery {
	APIC_FIXED,
	APIC_LOWEST,
	APIC_SMI,
	APIC_REMOTE_READ,
	APIC_NMI,
	APIC_INIT,
	APIC_STARTUP,
	APIC_EXTINT,
};

/* What a message may leave behind besides an interrupt: bits of `events`. */
enum apic_event {
	APIC_EVENT_NMI = 1,
	APIC_EVENT_INIT = 2,
	APIC_EVENT_STARTUP = 4, /* its vector in `startup_vector` */
	APIC_EVENT_KICK = 8,	/* KVM's paravirtual kick: ends a HLT, this one or the next */
};

/* Destination shorthand of the ICR. */
enum apic_shorthand { APIC_TO_DESTINATION, APIC_TO_SELF, APIC_TO_ALL, APIC_TO_OTHERS };

struct apic_message {
	uint32_t destination;
	uint8_t vector;
	enum apic_delivery delivery;
	bool logical;
	bool wide;  /* the destination has 32 bits (x2APIC) and not 8 */
	bool level; /* level-triggered */
	bool assert;
};

/* What an APIC needs from outside. */
struct apic_host {
	uint64_t (*now_ns)(void *ctx); /* the host's monotonic clock */
	/* Something new for vCPU `index`: called on the sender's thread, after it can be seen. */
	void (*wake)(void *ctx, unsigned index);
	void (*eoi)(void *ctx, uint8_t vector); /* of a level interrupt, on the owner's thread */
	void *ctx;
};

struct apic_set;

struct apic {
	unsigned magic;
	unsigned index; /* of the vCPU; also its APIC id */
	struct apic_set *set;

	/* Written by any sender. */
	_Atomic uint32_t irr[8], tmr[8];
	_Atomic uint32_t events;
	_Atomic uint32_t startup_vector;
	_Atomic uint32_t errors; /* become readable by a write to ESR */

	/* Written by the owner, read by senders. */
	_Atomic uint64_t base; /* IA32_APIC_BASE */
	_Atomic uint32_t id, ldr, dfr, svr;
	_Atomic uint32_t ppr_seen; /* for lowest priority, a hint */

	/* The owner's. */
	uint32_t isr[8];
	uint32_t tpr, esr;
	uint32_t icr_high;
	uint32_t icr_low;
	uint32_t lvt[6]; /* from APIC_LVT_TIMER on */
	uint32_t divide, initial;
	uint64_t timer_ns;     /* when the timer fires next, APIC_NEVER when it does not run */
	uint64_t deadline_tsc; /* IA32_TSC_DEADLINE; 0: not armed */
	uint64_t tsc_offset;   /* guest's TSC minus the host's clock in ns */
};

/* All APICs of a machine. Owner: the accelerator. */
struct apic_set {
	struct apic_host host;
	unsigned n;
	_Atomic uint32_t turn; /* of lowest-priority delivery */
	struct apic apic[VCPU_COUNT_MAX];
};

struct apic_set *apic_set_new(unsigned n, const struct apic_host *host);
struct apic_set *apic_set_free(struct apic_set *s);

/* Power-on (base too) and INIT (base and id stay). */
void apic_reset(struct apic *a, bool power_on);

/* The page. Reads and writes of anything but aligned 32-bit registers are the caller's to split or
 * refuse; an unknown register reads 0 and notes an error. */
uint32_t apic_read(struct apic *a, unsigned offset);
void apic_write(struct apic *a, unsigned offset, uint32_t value);

/* MSRs 0x800–0x83f, IA32_APIC_BASE and IA32_TSC_DEADLINE; false: #GP. */
bool apic_msr_read(struct apic *a, uint32_t msr, uint64_t *ret) must_use;
bool apic_msr_write(struct apic *a, uint32_t msr, uint64_t value) must_use;
uint64_t apic_base(const struct apic *a);
bool apic_base_write(struct apic *a, uint64_t value) must_use;
uint64_t apic_deadline_read(struct apic *a);
void apic_deadline_write(struct apic *a, uint64_t tsc);

/* CR8 is TPR bits 7–4. */
uint64_t apic_cr8(const struct apic *a);
void apic_cr8_write(struct apic *a, uint64_t value);

/* The vector that may interrupt now, or -1. apic_take() moves it into service. */
int apic_pending(const struct apic *a);
int apic_take(struct apic *a);

/* NMI, INIT, STARTUP, KICK. */
uint32_t apic_events(const struct apic *a);
void apic_events_clear(struct apic *a, uint32_t events);
void apic_event_raise(struct apic_set *s, unsigned index, uint32_t events);

/* When apic_tick() has something to do, by the host's clock; APIC_NEVER: nothing. */
uint64_t apic_deadline(const struct apic *a);
/* Fires the timer if its time has come; true when it did. */
bool apic_tick(struct apic *a, uint64_t now_ns);

/* Sends; any thread. Returns how many APICs took it. */
unsigned apic_send(struct apic_set *s, const struct apic_message *m);
unsigned apic_msi(struct apic_set *s, struct msi m);
struct apic_message apic_message_of_msi(struct msi m);

/* The registers as in the page, for struct vcpu_state. Setting needs apic_base_write() before. */
void apic_get(struct apic *a, uint8_t ret[APIC_STATE_BYTES]);
void apic_set_state(struct apic *a, const uint8_t state[APIC_STATE_BYTES]);
