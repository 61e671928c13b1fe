/*
 * Inside of the KVM accelerator: what its files share. kvm.c makes the machine and runs vCPUs,
 * kvm_irq.c carries interrupts, kvm_state.c translates state, kvm_cpuid.c says what CPUID says,
 * probe.c asks whether this KVM is any good.
 */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "virt/vm/memory/map.h"
#include "virt/vm/memory/vcpu.h"

#define KVM_MAGIC      0x4b564d31u
#define KVM_VCPU_MAGIC 0x4b564350u
#define KVM_MSI_FDS    256 /* messages by irqfd, behind the I/O APIC's inputs */
#define KVM_GSIS       (MAP_IRQ_PINS + KVM_MSI_FDS)
#define KVM_CPUID_MAX  160

struct kvm_msi_fd {
	int fd; /* -1: free */
	struct msi m;
};

struct accel {
	unsigned magic;
	struct accel_config c;
	int kvm, vm;
	size_t run_bytes; /* of the mapping of each vCPU */
	struct vcpu *vcpu[VCPU_COUNT_MAX];
	uint32_t *msr_index; /* what KVM can save */
	size_t msrs;
	/* Routes, under their own lock: the I/O APIC and PCI change them from any thread. */
	pthread_mutex_t routes_lock;
	struct msi pin[MAP_IRQ_PINS];
	bool pin_routed[MAP_IRQ_PINS];
	struct kvm_msi_fd msi_fd[KVM_MSI_FDS];
};

struct vcpu {
	unsigned magic;
	struct accel *a;
	unsigned index;
	int fd;
	struct kvm_run *run;
	atomic_bool kicked;
	atomic_bool has_thread;
	pthread_t thread;	  /* the one that runs it, once it has run */
	struct vcpu_state *fresh; /* the reset state */
};

/* ioctl that is not interrupted; -1 and errno. */
int kvm_ioctl(int fd, unsigned long request, void *arg);

int kvm_irq_open(struct accel *a, struct err *e) must_use;
void kvm_msi(struct accel *a, struct msi m);
int kvm_msi_fd(struct accel *a, int fd, struct msi m, bool add, struct err *e);
void kvm_route(struct accel *a, unsigned pin, struct msi m, bool masked);
int kvm_doorbell(void *ctx, const struct bus_doorbell *d, bool add, struct err *e);

int kvm_cpuid_set(struct vcpu *v, struct err *e) must_use;

int kvm_msrs_open(struct accel *a, struct err *e) must_use;
int kvm_state_get(struct vcpu *v, struct vcpu_state *ret, struct err *e);
int kvm_state_set(struct vcpu *v, const struct vcpu_state *s, struct err *e);
