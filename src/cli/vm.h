/*
 * `hull vm`: verbs on virtual machines. A machine is a workload like a container, so most verbs are
 * the containers' own (container.h); what differs is how one is described, its console, its list,
 * and the kernels.
 */
#pragma once

#include "cli/cli.h"

extern const struct verb vm_verbs[]; /* ended by one without a name */

struct vm_options {
	bool detach, remove, interactive, tty, quiet, allow_loopback;
	const char *accel, *kernel, *initrd, *append, *net, *name, *workdir, *user, *entrypoint,
		*hostname, *restart, *pull;
	char **disk, **publish, **env, **label;
	int64_t cpus, memory, disk_size;
};

struct vm_list_options {
	bool all, quiet;
};

int vm_run_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int vm_console_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int vm_use_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int vm_list_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int vm_kernel_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
