/*
 * Inside of a machine: machine.c assembles it, machine_run.c runs it.
 *
 * Two locks: the bus's (devices) and `lock` here (who runs). A device tells a power event with the
 * bus lock held; that takes `lock` inside. Nobody takes the bus lock while holding `lock`.
 */
#pragma once

#include <pthread.h>

#include "virt/vm/device/cmos.h"
#include "virt/vm/device/i8042.h"
#include "virt/vm/device/ioapic.h"
#include "virt/vm/device/pci.h"
#include "virt/vm/device/pm.h"
#include "virt/vm/device/serial.h"
#include "virt/vm/machine/machine.h"

#define MACHINE_MAGIC 0x4d414348u

enum { EVENT_RESET = 1, EVENT_OFF = 2, EVENT_PANIC = 4, EVENT_FAILED = 8 };

struct machine_vcpu {
	struct machine *m;
	unsigned index;
	struct vcpu *v;
	pthread_t thread;
	bool has_thread;
	bool reload, fresh; /* next time it runs: from the reset state; it never ran before */
};

struct machine {
	unsigned magic;
	struct machine_config c;
	enum machine_state state;
	struct ram *ram;
	struct bus *bus;
	const struct accel_ops *ops;
	struct accel *accel;
	char accel_reason[256];
	struct ioapic *ioapic;
	struct pm *pm;
	struct cmos *cmos;
	struct i8042 *i8042;
	struct serial *serial;
	struct pci *pci;
	struct block_back *disk[MACHINE_DISKS_MAX];
	int kernel, initrd;
	struct vcpu_state *reset_state, *boot_state; /* of vCPU 0 */
	struct boot_report boot;
	unsigned resets;
	struct loop_timer *again; /* a reset that waits for disks, a panic's last words */
	bool panicked;

	/* Under `lock`. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool run, quit; /* what the vCPU threads shall do */
	unsigned parked;
	unsigned events;
	struct err failure;

	struct machine_vcpu vcpu[VCPU_COUNT_MAX];
};

/* The parts of machine.c's table, all reset; then the kernel loaded anew. */
int machine_reload(struct machine *m, struct err *e) must_use;

/* From devices and vCPU threads: note it, stop all vCPUs, let the loop act. */
void machine_tell(struct machine *m, unsigned event);
void machine_power(void *ctx, enum power_event what);

/* Threads of the machine gone, callbacks cancelled; before its parts are freed. */
void machine_halt(struct machine *m);
