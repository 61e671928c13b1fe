/*
 * What hull-vm's files share: its options, which fill a struct machine_config, and its confinement.
 */
#pragma once

#include "virt/vm/machine/machine.h"

struct loop;

struct vm_options {
	struct machine_config config;
	bool help, stats, quiet, unconfined, no_reboot;
	bool serial; /* the console is the serial port, otherwise virtio's */
	/* As given; the configuration points into them. */
	const char *accel, *kernel, *initrd, *append, *protocol, *console;
	int64_t cpus, memory;
	char **disks;
	const char *id;
	struct vm_doors *doors;
	struct loop *loop;
	const char *dir; /* of its sockets; the working directory from then on */
	bool vsock, control;
	char **nets;
	char *disk_text[MACHINE_DISKS_MAX]; /* copies, cut into pieces */
};

int vm_options_parse(int argc, char **argv, struct vm_options *ret, struct err *e) must_use;
void vm_options_done(struct vm_options *o);
void vm_options_help(void);

/* Before there are threads; `dirfd` stays the root directory, -1: an empty one. */
int confinement_early(const struct vm_options *o, int dirfd, struct err *e) must_use;
/* After the last thread was made, before the guest's first instruction. */
int confinement_late(const struct vm_options *o, struct loop *loop, struct err *e) must_use;

/* Refuses a kernel whose configuration says that it cannot reach the first disk. */
int drivers_check(const struct vm_options *o, struct err *e) must_use;

/* doors.c: what reaches the machine from outside: networks, vsock, the control socket. */
struct vm_doors;
/* Before machine_new(): fills the configuration's nic and vsock. */
int vm_doors_open(struct vm_options *o, struct loop *loop, struct vm_doors **ret,
		  struct err *e) must_use;
/* Opens what o->nets says beyond what is open: for a machine that calls described. */
int vm_doors_nets(struct vm_options *o, struct err *e) must_use;
/* Whether InstanceStart has made a machine, which is the caller's then. */
bool vm_doors_begun(const struct vm_doors *d, struct machine **ret);
/* The machine is there, made from options: its control socket shows it. */
int vm_doors_serve(struct vm_doors *d, struct machine *m, struct err *e) must_use;
struct vm_doors *vm_doors_close(struct vm_doors *d); /* after the machine was freed */
