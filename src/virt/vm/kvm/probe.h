/*
 * Does this host's KVM deserve its name? An open /dev/kvm proves nothing: a KVM that emulates
 * kernel code or breaks SYSCALL runs no Linux. The probe makes a machine of 64 KiB, goes to user
 * mode and back by SYSCALL, and times a loop in kernel mode; it takes well under a millisecond.
 *
 *	struct kvm_verdict v;
 *	kvm_probe(&v);
 *	if (!v.usable)
 *		log_info("kvm is not used: %s", v.reason);
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kvm_verdict {
	bool present;	    /* the device opens and makes a machine */
	bool usable;	    /* present, and an unmodified kernel runs well on it */
	char reason[240];   /* one line: why not; empty when usable */
	uint32_t took_us;   /* by the probe */
	uint32_t kernel_ps; /* picoseconds per instruction in kernel mode; 0: not measured */
};

void kvm_probe(struct kvm_verdict *ret);
