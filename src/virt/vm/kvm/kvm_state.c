/*
 * vCPU state between KVM's structures and ours, both ways. Which MSRs there are is KVM's word
 * (KVM_GET_MSR_INDEX_LIST), never a list of ours: a guest's paravirtual MSRs would be lost. An MSR
 * that KVM lists and then refuses is left out.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/kvm/kvm_priv.h"

#define MSR_LIST_MAX 512

/* Our register numbers are those of instructions, KVM's struct has an order of its own. */
#define GPR(number, field)                               \
	{                                                \
		number, offsetof(struct kvm_regs, field) \
	}
static const struct {
	enum vcpu_register number;
	size_t offset;
} gprs[] = {
	GPR(VCPU_RAX, rax), GPR(VCPU_RCX, rcx), GPR(VCPU_RDX, rdx), GPR(VCPU_RBX, rbx),
	GPR(VCPU_RSP, rsp), GPR(VCPU_RBP, rbp), GPR(VCPU_RSI, rsi), GPR(VCPU_RDI, rdi),
	GPR(VCPU_R8, r8),   GPR(VCPU_R9, r9),	GPR(VCPU_R10, r10), GPR(VCPU_R11, r11),
	GPR(VCPU_R12, r12), GPR(VCPU_R13, r13), GPR(VCPU_R14, r14), GPR(VCPU_R15, r15),
};
static_assert(array_len(gprs) == VCPU_REGISTERS, "every register has its row");

#define SEGMENT(number, field) [number] = offsetof(struct kvm_sregs, field)
static const size_t segments[VCPU_SEGMENTS] = {
	SEGMENT(VCPU_ES, es), SEGMENT(VCPU_CS, cs), SEGMENT(VCPU_SS, ss),    SEGMENT(VCPU_DS, ds),
	SEGMENT(VCPU_FS, fs), SEGMENT(VCPU_GS, gs), SEGMENT(VCPU_LDTR, ldt), SEGMENT(VCPU_TR, tr),
};

/* Offsets in FXSAVE's picture: SDM volume 1, table 10-2. */
enum { FX_CW = 0, FX_SW = 2, FX_TW = 4, FX_OP = 6, FX_IP = 8, FX_DP = 16, FX_MXCSR = 24 };
enum { FX_MXCSR_MASK = 28, FX_ST = 32, FX_XMM = 160 };

int kvm_msrs_open(struct accel *a, struct err *e)
{
	auto_free struct kvm_msr_list *list =
		mem_new_bytes(1, sizeof(*list) + MSR_LIST_MAX * sizeof(uint32_t));

	list->nmsrs = MSR_LIST_MAX;
	if (kvm_ioctl(a->kvm, KVM_GET_MSR_INDEX_LIST, list) < 0)
		return err_sys(e, "cannot ask KVM for its MSRs");
	assert(list->nmsrs <= MSR_LIST_MAX);
	a->msrs = list->nmsrs;
	a->msr_index = mem_new_array(uint32_t, a->msrs + 1);
	memcpy(a->msr_index, list->indices, a->msrs * sizeof(uint32_t));
	return 0;
}

static int failed(const struct vcpu *v, const char *what, bool get, struct err *e)
{
	return err_sys(e, "cannot %s %s of vCPU %u", get ? "read" : "write", what, v->index);
}

/* ---- reading ---- */

static struct vcpu_segment segment_from(const struct kvm_segment *k)
{
	return (struct vcpu_segment){
		.base = k->base,
		.limit = k->limit,
		.selector = k->selector,
		.access = (uint16_t)(k->type | k->s << 4 | k->dpl << 5 | k->present << 7 |
				     k->avl << 12 | k->l << 13 | k->db << 14 | k->g << 15),
		.unusable = k->unusable,
	};
}

static int get_registers(struct vcpu *v, struct vcpu_state *s, struct err *e)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	if (kvm_ioctl(v->fd, KVM_GET_REGS, &regs) < 0)
		return failed(v, "the registers", true, e);
	if (kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0)
		return failed(v, "the system registers", true, e);
	for (size_t i = 0; i < array_len(gprs); i++)
		memcpy(&s->gpr[gprs[i].number], (char *)&regs + gprs[i].offset, sizeof(uint64_t));
	s->rip = regs.rip;
	s->rflags = regs.rflags;
	for (size_t i = 0; i < VCPU_SEGMENTS; i++) {
		struct kvm_segment k;

		memcpy(&k, (char *)&sregs + segments[i], sizeof(k));
		s->segment[i] = segment_from(&k);
	}
	s->gdt_base = sregs.gdt.base;
	s->gdt_limit = sregs.gdt.limit;
	s->idt_base = sregs.idt.base;
	s->idt_limit = sregs.idt.limit;
	s->cr0 = sregs.cr0;
	s->cr2 = sregs.cr2;
	s->cr3 = sregs.cr3;
	s->cr4 = sregs.cr4;
	s->cr8 = sregs.cr8;
	s->efer = sregs.efer;
	s->apic_base = sregs.apic_base;
	return 0;
}

static int get_fpu(struct vcpu *v, struct vcpu_state *s, struct err *e)
{
	struct kvm_fpu fpu;
	uint8_t *fx = s->fxsave;
	uint32_t mask = 0xffff;

	if (kvm_ioctl(v->fd, KVM_GET_FPU, &fpu) < 0)
		return failed(v, "the floating-point state", true, e);
	memcpy(fx + FX_CW, &fpu.fcw, 2);
	memcpy(fx + FX_SW, &fpu.fsw, 2);
	fx[FX_TW] = fpu.ftwx;
	memcpy(fx + FX_OP, &fpu.last_opcode, 2);
	memcpy(fx + FX_IP, &fpu.last_ip, 8);
	memcpy(fx + FX_DP, &fpu.last_dp, 8);
	memcpy(fx + FX_MXCSR, &fpu.mxcsr, 4);
	memcpy(fx + FX_MXCSR_MASK, &mask, 4);
	memcpy(fx + FX_ST, fpu.fpr, sizeof(fpu.fpr));
	memcpy(fx + FX_XMM, fpu.xmm, sizeof(fpu.xmm));
	return 0;
}

/* One at a time: the first that KVM refuses would end a longer list. */
static void get_msrs(struct vcpu *v, struct vcpu_state *s)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one;

	s->msrs = 0;
	for (size_t i = 0; i < v->a->msrs && s->msrs < VCPU_MSRS_MAX; i++) {
		memset(&one, 0, sizeof(one));
		one.head.nmsrs = 1;
		one.entry.index = v->a->msr_index[i];
		if (kvm_ioctl(v->fd, KVM_GET_MSRS, &one) != 1)
			continue;
		s->msr[s->msrs].index = one.entry.index;
		s->msr[s->msrs].value = one.entry.data;
		s->msrs++;
	}
}

static int get_events(struct vcpu *v, struct vcpu_state *s, struct err *e)
{
	struct kvm_vcpu_events ev;
	struct kvm_mp_state mp;
	struct kvm_debugregs debug;
	struct kvm_lapic_state apic;
	static const enum vcpu_activity activity[] = {
		[KVM_MP_STATE_RUNNABLE] = VCPU_RUNS,
		[KVM_MP_STATE_UNINITIALIZED] = VCPU_WAITS_FOR_INIT,
		[KVM_MP_STATE_INIT_RECEIVED] = VCPU_WAITS_FOR_SIPI,
		[KVM_MP_STATE_HALTED] = VCPU_HALTED,
	};

	if (kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return failed(v, "the events", true, e);
	if (kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return failed(v, "the activity", true, e);
	if (kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &debug) < 0)
		return failed(v, "the debug registers", true, e);
	if (kvm_ioctl(v->fd, KVM_GET_LAPIC, &apic) < 0)
		return failed(v, "the local APIC", true, e);
	s->event_pending = ev.exception.injected || ev.interrupt.injected;
	s->event_has_error = ev.exception.injected && ev.exception.has_error_code;
	s->event_vector = ev.exception.injected ? ev.exception.nr : ev.interrupt.nr;
	s->event_error = ev.exception.error_code;
	s->nmi_pending = ev.nmi.pending;
	s->nmi_masked = ev.nmi.masked;
	s->shadow_sti = ev.interrupt.shadow & KVM_X86_SHADOW_INT_STI;
	s->shadow_mov_ss = ev.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS;
	s->activity = mp.mp_state < array_len(activity) ? activity[mp.mp_state] : VCPU_RUNS;
	memcpy(s->dr, debug.db, sizeof(debug.db));
	s->dr[6] = debug.dr6;
	s->dr[7] = debug.dr7;
	static_assert(sizeof(apic.regs) == sizeof(s->apic), "the APIC's page");
	memcpy(s->apic, apic.regs, sizeof(s->apic));
	return 0;
}

/* Where there is no XSAVE there is no XCR0. */
static void get_xcr0(struct vcpu *v, struct vcpu_state *s)
{
	struct kvm_xcrs xcrs = {0};

	s->xcr0 = 1;
	if (kvm_ioctl(v->fd, KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs > 0)
		s->xcr0 = xcrs.xcrs[0].value;
}

int kvm_state_get(struct vcpu *v, struct vcpu_state *ret, struct err *e)
{
	int r;

	assert(v->magic == KVM_VCPU_MAGIC);
	memset(ret, 0, sizeof(*ret));
	r = get_registers(v, ret, e);
	if (r == 0)
		r = get_fpu(v, ret, e);
	if (r == 0)
		r = get_events(v, ret, e);
	if (r < 0)
		return r;
	get_msrs(v, ret);
	get_xcr0(v, ret);
	return 0;
}

/* ---- writing ---- */

static struct kvm_segment segment_to(const struct vcpu_segment *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = s->access & 15,
		.s = s->access >> 4 & 1,
		.dpl = s->access >> 5 & 3,
		.present = s->access >> 7 & 1,
		.avl = s->access >> 12 & 1,
		.l = s->access >> 13 & 1,
		.db = s->access >> 14 & 1,
		.g = s->access >> 15 & 1,
		.unusable = s->unusable,
	};
}

static int set_registers(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	struct kvm_regs regs = {.rip = s->rip, .rflags = s->rflags};
	struct kvm_sregs sregs = {0};

	for (size_t i = 0; i < array_len(gprs); i++)
		memcpy((char *)&regs + gprs[i].offset, &s->gpr[gprs[i].number], sizeof(uint64_t));
	for (size_t i = 0; i < VCPU_SEGMENTS; i++) {
		struct kvm_segment k = segment_to(&s->segment[i]);

		memcpy((char *)&sregs + segments[i], &k, sizeof(k));
	}
	sregs.gdt.base = s->gdt_base;
	sregs.gdt.limit = s->gdt_limit;
	sregs.idt.base = s->idt_base;
	sregs.idt.limit = s->idt_limit;
	sregs.cr0 = s->cr0;
	sregs.cr2 = s->cr2;
	sregs.cr3 = s->cr3;
	sregs.cr4 = s->cr4;
	sregs.cr8 = s->cr8;
	sregs.efer = s->efer;
	sregs.apic_base = s->apic_base;
	if (kvm_ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0)
		return failed(v, "the system registers", false, e);
	if (kvm_ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
		return failed(v, "the registers", false, e);
	return 0;
}

static int set_fpu(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	struct kvm_fpu fpu = {0};
	const uint8_t *fx = s->fxsave;

	memcpy(&fpu.fcw, fx + FX_CW, 2);
	memcpy(&fpu.fsw, fx + FX_SW, 2);
	fpu.ftwx = fx[FX_TW];
	memcpy(&fpu.last_opcode, fx + FX_OP, 2);
	memcpy(&fpu.last_ip, fx + FX_IP, 8);
	memcpy(&fpu.last_dp, fx + FX_DP, 8);
	memcpy(&fpu.mxcsr, fx + FX_MXCSR, 4);
	memcpy(fpu.fpr, fx + FX_ST, sizeof(fpu.fpr));
	memcpy(fpu.xmm, fx + FX_XMM, sizeof(fpu.xmm));
	return kvm_ioctl(v->fd, KVM_SET_FPU, &fpu) < 0
		       ? failed(v, "the floating-point state", false, e)
		       : 0;
}

static void set_msrs(struct vcpu *v, const struct vcpu_state *s)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one;

	for (size_t i = 0; i < s->msrs; i++) {
		memset(&one, 0, sizeof(one));
		one.head.nmsrs = 1;
		one.entry.index = s->msr[i].index;
		one.entry.data = s->msr[i].value;
		(void)kvm_ioctl(v->fd, KVM_SET_MSRS, &one);
	}
}

static int set_events(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	struct kvm_vcpu_events ev = {0};
	struct kvm_debugregs debug = {.dr6 = s->dr[6], .dr7 = s->dr[7]};
	struct kvm_lapic_state apic;
	struct kvm_mp_state mp = {0};
	static const uint32_t activity[] = {
		[VCPU_RUNS] = KVM_MP_STATE_RUNNABLE,
		[VCPU_HALTED] = KVM_MP_STATE_HALTED,
		[VCPU_WAITS_FOR_INIT] = KVM_MP_STATE_UNINITIALIZED,
		[VCPU_WAITS_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
	};
	bool exception = s->event_pending && s->event_vector < 32;

	assert((size_t)s->activity < array_len(activity));
	mp.mp_state = activity[s->activity];
	memcpy(apic.regs, s->apic, sizeof(apic.regs));
	memcpy(debug.db, s->dr, sizeof(debug.db));
	ev.exception.injected = exception;
	ev.exception.nr = exception ? s->event_vector : 0;
	ev.exception.has_error_code = exception && s->event_has_error;
	ev.exception.error_code = exception ? s->event_error : 0;
	ev.interrupt.injected = s->event_pending && !exception;
	ev.interrupt.nr = s->event_vector;
	ev.interrupt.shadow = (s->shadow_sti ? KVM_X86_SHADOW_INT_STI : 0) |
			      (s->shadow_mov_ss ? KVM_X86_SHADOW_INT_MOV_SS : 0);
	ev.nmi.pending = s->nmi_pending;
	ev.nmi.masked = s->nmi_masked;
	ev.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &debug) < 0)
		return failed(v, "the debug registers", false, e);
	if (kvm_ioctl(v->fd, KVM_SET_LAPIC, &apic) < 0)
		return failed(v, "the local APIC", false, e);
	if (kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		return failed(v, "the events", false, e);
	if (kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
		return failed(v, "the activity", false, e);
	return 0;
}

/* APIC_BASE is among the system registers and must come before the APIC's page; MSRs after it,
 * since a deadline is armed only in a timer that is in that mode. */
int kvm_state_set(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = s->xcr0}}};
	int r;

	assert(v->magic == KVM_VCPU_MAGIC);
	assert(s->msrs <= VCPU_MSRS_MAX);
	r = set_registers(v, s, e);
	if (r == 0)
		r = set_fpu(v, s, e);
	if (r < 0)
		return r;
	if (s->xcr0 > 1)
		(void)kvm_ioctl(v->fd, KVM_SET_XCRS, &xcrs);
	r = set_events(v, s, e);
	if (r == 0)
		set_msrs(v, s);
	return r;
}
