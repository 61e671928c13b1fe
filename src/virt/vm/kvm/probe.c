/*
 * The probe: see probe.h. Guest memory is one piece of 64 KiB: page tables at 0x1000, code at
 * 0x8000. The guest starts in kernel mode, leaves by SYSRET, comes back by SYSCALL and tells its
 * code selector through a port. On a KVM that breaks this it faults instead, and without an IDT a
 * fault ends the machine.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/kvm/probe.h"

#define MEMORY_BYTES 0x10000u
#define PML4	     0x1000u
#define PDPT	     0x2000u
#define DIRECTORY    0x3000u
#define CODE	     0x8000u
#define USER_AT	     0x40 /* in the code page */
#define HANDLER_AT   0x80
#define STACK	     0xf000u

#define PAGE_USER  7u /* present, writable, user */
#define PAGE_LARGE 0x80u

#define PORT_SELECTOR 0x10
#define PORT_DONE     0x11

#define LOOPS	      1000u
#define INSTRUCTIONS  (2 * LOOPS)
#define KERNEL_PS_MAX 20000u /* 20 ns: an honest processor needs less than one */
#define EXITS_MAX     16
#define PVM_SIGNATURE 0x4b564d11u /* MSR of the paravirtual KVM that breaks SYSCALL */

static const uint8_t kernel_code[] = {
	0xb9, CODE & 0xff, CODE >> 8, 0x00, 0x00,	/* mov ecx, CODE */
	0x83, 0xc1,	   USER_AT,			/* add ecx, USER_AT */
	0x41, 0xbb,	   0x02,      0x00, 0x00, 0x00, /* mov r11d, 2 */
	0x48, 0x0f,	   0x07,			/* sysretq */
};

static const uint8_t user_code[] = {
	0x0f, 0x05, /* syscall */
	0xf4,	    /* hlt: a fault */
};

static const uint8_t handler_code[] = {
	0x8c, 0xc8,			       /* mov eax, cs */
	0xe6, PORT_SELECTOR,		       /* out PORT_SELECTOR, al */
	0xb9, LOOPS & 0xff,  LOOPS >> 8, 0, 0, /* mov ecx, LOOPS */
	0xff, 0xc9,			       /* dec ecx */
	0x75, 0xfc,			       /* jnz, back to the dec */
	0xe6, PORT_DONE,		       /* out PORT_DONE, al */
};

struct probe {
	int kvm, vm, cpu;
	uint8_t *memory;
	struct kvm_run *run;
	size_t run_bytes;
	struct kvm_verdict *verdict;
};

static void say(struct probe *p, const char *reason)
{
	if (!p->verdict->reason[0])
		(void)snprintf(p->verdict->reason, sizeof(p->verdict->reason), "%s", reason);
}

static bool say_errno(struct probe *p, const char *what)
{
	int sys = errno;

	if (!p->verdict->reason[0])
		(void)snprintf(p->verdict->reason, sizeof(p->verdict->reason), "%s: %s", what,
			       strerror(sys));
	return false;
}

static void put64(struct probe *p, size_t at, uint64_t v)
{
	assert(at + sizeof(v) <= MEMORY_BYTES);
	memcpy(p->memory + at, &v, sizeof(v));
}

static void fill_memory(struct probe *p)
{
	put64(p, PML4, PDPT | PAGE_USER);
	put64(p, PDPT, DIRECTORY | PAGE_USER);
	put64(p, DIRECTORY, PAGE_USER | PAGE_LARGE);
	memcpy(p->memory + CODE, kernel_code, sizeof(kernel_code));
	memcpy(p->memory + CODE + USER_AT, user_code, sizeof(user_code));
	memcpy(p->memory + CODE + HANDLER_AT, handler_code, sizeof(handler_code));
}

static bool make(struct probe *p)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY_BYTES};
	int bytes;

	p->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (p->kvm < 0)
		return say_errno(p, "cannot open '/dev/kvm'");
	p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0);
	if (p->vm < 0)
		return say_errno(p, "KVM makes no machine");
	p->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (p->memory == MAP_FAILED)
		return say_errno(p, "no memory for a test machine");
	fill_memory(p);
	region.userspace_addr = (uintptr_t)p->memory;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return say_errno(p, "KVM takes no memory");
	p->cpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	bytes = ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (p->cpu < 0 || bytes <= 0)
		return say_errno(p, "KVM makes no vCPU");
	p->run_bytes = (size_t)bytes;
	p->run = mmap(NULL, p->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->cpu, 0);
	if (p->run == MAP_FAILED)
		return say_errno(p, "KVM's vCPU cannot be mapped");
	p->verdict->present = true;
	return true;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){.limit = 0xffffffff,
				    .selector = selector,
				    .type = type,
				    .present = 1,
				    .s = 1,
				    .l = code,
				    .db = !code,
				    .g = 1};
}

/* SYSCALL loads CS 8, SYSRET 0x1b and up: STAR, SDM volume 3, 5.8.8. */
static bool set_msrs(struct probe *p)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[3];
	} msrs = {
		.head.nmsrs = 3,
		.entry = {{.index = 0xc0000081, .data = 0x0010000800000000ull},
			  {.index = 0xc0000082, .data = CODE + HANDLER_AT},
			  {.index = 0xc0000084, .data = 0}},
	};

	return ioctl(p->cpu, KVM_SET_MSRS, &msrs) == 3 ||
	       say_errno(p, "KVM takes no system call registers");
}

static bool set_state(struct probe *p)
{
	struct kvm_sregs s;
	struct kvm_regs r = {.rip = CODE, .rsp = STACK, .rflags = 2};

	if (ioctl(p->cpu, KVM_GET_SREGS, &s) < 0)
		return say_errno(p, "KVM shows no vCPU state");
	s.cs = segment(8, 11, true);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(16, 3, false);
	s.idt.limit = 0;
	s.gdt.limit = 0;
	s.cr0 = 0x80000033; /* paging, protection, extension type, numeric errors */
	s.cr3 = PML4;
	s.cr4 = 0x620;	/* PAE, SSE */
	s.efer = 0x501; /* long mode, enabled and active; SYSCALL */
	if (ioctl(p->cpu, KVM_SET_SREGS, &s) < 0 || ioctl(p->cpu, KVM_SET_REGS, &r) < 0)
		return say_errno(p, "KVM takes no long mode state");
	return set_msrs(p);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool is_pvm(const struct probe *p)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = {.head.nmsrs = 1, .entry.index = PVM_SIGNATURE};

	return ioctl(p->cpu, KVM_GET_MSRS, &msr) == 1 && (msr.entry.data & 0xffffff) == 0x4d5650;
}

/* Runs to the next port write; its port, or -1. */
static int run_to_port(struct probe *p, uint8_t *ret)
{
	for (unsigned i = 0; i < EXITS_MAX; i++) {
		if (ioctl(p->cpu, KVM_RUN, 0) < 0 && errno != EINTR)
			return -1;
		if (p->run->exit_reason == KVM_EXIT_IO) {
			*ret = *((uint8_t *)p->run + p->run->io.data_offset);
			return p->run->io.port;
		}
		if (p->run->exit_reason != KVM_EXIT_INTR)
			return -1;
	}
	return -1;
}

static void judge(struct probe *p)
{
	uint64_t begin;
	uint8_t selector = 0xff, ignored;

	if (run_to_port(p, &selector) != PORT_SELECTOR || (selector & 3) != 0) {
		say(p, is_pvm(p) ? "its SYSCALL does not enter the kernel, as PVM's does not "
				   "without a guest that knows it"
				 : "its SYSCALL does not enter the kernel");
		return;
	}
	begin = now_ns();
	if (run_to_port(p, &ignored) != PORT_DONE) {
		say(p, "it does not run a loop in kernel mode");
		return;
	}
	p->verdict->kernel_ps = (uint32_t)((now_ns() - begin) * 1000 / INSTRUCTIONS);
	if (p->verdict->kernel_ps > KERNEL_PS_MAX)
		say(p, "it emulates kernel code, instruction by instruction");
	else
		p->verdict->usable = true;
}

void kvm_probe(struct kvm_verdict *ret)
{
	struct probe p = {.kvm = -1, .vm = -1, .cpu = -1, .verdict = ret};
	uint64_t begin = now_ns();

	memset(ret, 0, sizeof(*ret));
	p.memory = MAP_FAILED;
	p.run = MAP_FAILED;
	if (make(&p) && set_state(&p))
		judge(&p);
	if (p.run != MAP_FAILED)
		(void)munmap(p.run, p.run_bytes);
	fd_close(p.cpu);
	fd_close(p.vm);
	fd_close(p.kvm);
	if (p.memory != MAP_FAILED)
		(void)munmap(p.memory, MEMORY_BYTES);
	ret->took_us = (uint32_t)((now_ns() - begin) / 1000);
}
