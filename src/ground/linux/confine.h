/*
 * Confinement of a helper process before it touches hostile bytes: own namespaces, a root that is
 * one directory, few capabilities, limits, no new privileges, and an allow-list of system calls.
 *
 * For single-threaded, freshly executed programs (but for all_threads); there is no way back.
 * Order: confine_namespaces (returns in a child that is pid 1 of its pid namespace; the caller's
 * process waits for it and exits like it), confine_root, confine_rights.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"

/*
 * Own mount, network, ipc, uts, cgroup and pid namespaces; mounts made later stay inside. When the
 * kernel refuses for lack of right and `required` is false, goes on without them. The process dies
 * with its parent.
 */
int confine_namespaces(bool required, struct err *e) must_use;

/*
 * Makes the directory of `dirfd` the root and the current directory, and detaches all else. Inside,
 * nothing is executed, set-id bits and devices mean nothing. When the directory is of another mount
 * namespace (or ours is not our own), changes root only.
 */
int confine_root(int dirfd, struct err *e) must_use;

/* A call that is allowed only with this argument; several rows of one call: with any of them. The
 * kernel's argument is an int: the lower half is what counts. */
struct confine_only {
	int call;	/* __NR_*, not in the list of allowed ones */
	unsigned index; /* of the argument */
	uint32_t value;
};

struct confine_rights {
	const int *capabilities; /* CAP_* kept when present; all others are dropped for good */
	size_t capabilities_n;
	const int *syscalls; /* __NR_*; everything else kills the process */
	size_t syscalls_n;
	bool all_threads; /* the filter is put on every thread there is; capabilities are not */
	bool no_exec;	  /* memory can no longer be made executable */
	const struct confine_only *only;
	size_t only_n;
	uint64_t memory_max;	  /* address space, bytes; 0: as it is */
	uint64_t file_max;	  /* size of a file, bytes; 0: as it is */
	uint32_t descriptors_max; /* 0: as it is */
};
/*
 * For a program that must stay the process it is: gives up root for `own_id`, then makes own user,
 * mount, network, ipc, uts and cgroup namespaces in place, and an empty directory the root (or
 * `dirfd`, where it is not -1). Capabilities are left to confine_rights. When the kernel has no
 * user namespaces for us, only the ids are changed and *ret_namespaces is false.
 */
int confine_in_place(unsigned own_id, int dirfd, bool *ret_namespaces, struct err *e) must_use;

int confine_rights(const struct confine_rights *r, struct err *e) must_use;
