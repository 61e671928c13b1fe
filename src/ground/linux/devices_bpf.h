/*
 * Device rules of a cgroup v2 directory, as an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE.
 * cgroup v2 has no devices controller: the kernel asks the programs attached to a cgroup and above
 * it at every open and mknod of a device node, and all of them must say yes.
 */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>

#include "ground/linux/cgroup.h"

#define DEVICES_BPF_INSNS_MAX (CGROUP_DEVICES_MAX * 8 + 16)

/*
 * Assembles the program; the last rule that speaks about an access decides it, bit by bit, and what
 * no rule speaks about is denied. `out` holds DEVICES_BPF_INSNS_MAX; answers how many were written.
 */
size_t devices_bpf_assemble(const struct cgroup_device *rules, size_t n, struct bpf_insn *out);

/* Loads the program and attaches it to the directory in place of those that were attached there. */
int devices_bpf_replace(const char *dir, const struct cgroup_device *rules, size_t n,
			struct err *e) must_use;
