/*
 * Namespaces: the eight kinds, making them with clone3 and joining them by descriptor.
 * namespaces(7), clone(2), setns(2). Callers are single-threaded.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"

enum namespace_kind {
	NAMESPACE_USER, /* in the order in which they are joined: user first, mount last */
	NAMESPACE_CGROUP,
	NAMESPACE_IPC,
	NAMESPACE_UTS,
	NAMESPACE_NETWORK,
	NAMESPACE_PID,
	NAMESPACE_TIME,
	NAMESPACE_MOUNT,
	NAMESPACE_KINDS
};

struct namespace_info {
	const char *name; /* as OCI calls it: "network" */
	const char *file; /* below /proc/PID/ns: "net" */
	uint64_t flag;	  /* CLONE_NEWNET */
};

const struct namespace_info *namespace_info(enum namespace_kind k);
#define NAMESPACE_BIT(k) (1u << (k))

/* The kind of that OCI name, or -1. */
int namespace_find(const char *name);

/*
 * clone3 as fork: 0 in the child, the pid in the caller. `flags` are CLONE_NEW* and CLONE_PARENT
 * (the child becomes the caller's sibling). cgroup_fd -1: the caller's cgroup. ret_pidfd may be
 * NULL.
 */
int namespace_clone(uint64_t flags, int cgroup_fd, pid_t *ret_pid, int *ret_pidfd,
		    struct err *e) must_use;

/* Joins; `kind` is checked against what the descriptor is. */
int namespace_join(int fd, enum namespace_kind kind, struct err *e) must_use;
int namespace_join_path(const char *path, enum namespace_kind kind, struct err *e) must_use;
int namespace_unshare(enum namespace_kind kind, struct err *e) must_use;

/* NAMESPACE_BITs of those in which `pid` differs from the caller. procfd is a descriptor of /proc.
 */
int namespace_diff(int procfd, pid_t pid, unsigned int *ret_bits, struct err *e) must_use;

/* Joins all of `bits` of a process at once. */
int namespace_join_process(int pidfd, unsigned int bits, struct err *e) must_use;
