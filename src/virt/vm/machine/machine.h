/*
 * A machine: memory, a bus, an accelerator with its vCPUs, devices, and a kernel to start. It is
 * made from one configuration, filled by command-line options or by an API, and assembled in the
 * order of one table (machine.c).
 *
 *	          machine_new        machine_start          machine_resume
 *	(nothing) -----------> MADE --------------> PAUSED <---------------> RUNNING
 *	                                                    machine_pause       |
 *	         power-off, panic, failure, machine_end                         v
 *	                                                                      ENDED
 *
 * A reset that the guest asks for happens in place: RUNNING again, from the same files. machine_new
 * opens all that has a path; machine_start makes every thread there will be. Between the two
 * nothing runs yet, and the process can confine itself; after it, it needs no right but to run.
 *
 * Threads: everything here belongs to the loop's thread, callbacks too. vCPUs run on threads of the
 * machine. Owner: the caller; freed before its backs and its loop, after it ended or while it runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/world.h"
#include "virt/vm/boot/boot.h"
#include "virt/vm/device/back.h"
#include "virt/vm/memory/vcpu.h"

#define MACHINE_DISKS_MAX 16
#define MACHINE_NICS_MAX  8

struct loop;
struct machine;

enum machine_disk_bus { MACHINE_DISK_VIRTIO, MACHINE_DISK_NVME };

struct machine_disk {
	const char *path, *format, *serial; /* as disk_open() wants them */
	enum machine_disk_bus bus;
	bool read_only;
};

struct machine_nic {
	struct net_back *back; /* borrowed */
	uint8_t mac[6];
};

enum machine_end {
	MACHINE_OFF,	  /* the guest switched itself off, or machine_end() */
	MACHINE_PANICKED, /* its kernel did */
	MACHINE_FAILED,	  /* the accelerator cannot go on; the error says why */
};

struct machine_config {
	struct loop *loop;
	const struct world *world;
	const char *accel; /* "auto", "kvm", "cpu" */
	unsigned cpus;
	uint64_t memory_bytes;
	const char *kernel, *initrd, *command_line; /* paths; initrd NULL: none */
	enum boot_protocol protocol;
	struct char_back *serial, *console; /* borrowed; console NULL: no such device */
	struct machine_disk disk[MACHINE_DISKS_MAX];
	size_t disks;
	struct machine_nic nic[MACHINE_NICS_MAX];
	size_t nics;
	const char *vsock; /* path of its unix socket (virtio_vsock.h); NULL: no such device */
	bool no_reboot;	   /* a reset ends the machine, as MACHINE_OFF */
	/* Called once, when the machine has ended. */
	void (*ended)(void *arg, enum machine_end how, const struct err *e);
	void *arg;
};

/* Opens and assembles; ERR_INVALID and its kin say in one sentence what is wrong with which
 * file. */
int machine_new(const struct machine_config *c, struct machine **ret, struct err *e) must_use;
struct machine *machine_free(struct machine *m);

int machine_start(struct machine *m, struct err *e) must_use;
/* ERR_CONFLICT in a state where it means nothing. */
int machine_resume(struct machine *m, struct err *e) must_use;
int machine_pause(struct machine *m, struct err *e) must_use;
void machine_end(struct machine *m); /* pulls the plug; `ended` is called */
int machine_reset(struct machine *m, struct err *e) must_use;

int machine_power_button(struct machine *m, struct err *e) must_use;
int machine_ctrl_alt_del(struct machine *m, struct err *e) must_use;

enum machine_state {
	MACHINE_IS_MADE,
	MACHINE_IS_PAUSED,
	MACHINE_IS_RUNNING,
	MACHINE_IS_RESETTING,
	MACHINE_IS_ENDED
};

struct machine_info {
	enum machine_state state;
	const char *accel;	  /* "kvm" or "cpu" */
	const char *accel_reason; /* why `auto` did not take kvm; "" otherwise */
	struct boot_report boot;
	unsigned resets;
};
struct machine_info machine_info(const struct machine *m);
const char *machine_state_name(enum machine_state s);

struct machine_stats {
	uint64_t instructions; /* of all vCPUs, 0 where it is not known */
	uint64_t vcpu_ns;      /* processor time of all vCPU threads */
	uint64_t memory_bytes; /* of guest memory that the host has given */
	uint64_t disk_read_bytes, disk_written_bytes;
	uint64_t net_received_bytes, net_sent_bytes; /* by the guest */
};
struct machine_stats machine_stats(struct machine *m);
