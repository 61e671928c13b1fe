/*
 * The files of a container, as one directory descriptor under which its whole tree stands: for
 * copying in and out, export and stat. All work below it goes through openat2(RESOLVE_IN_ROOT |
 * RESOLVE_NO_MAGICLINKS) by descriptor: a name inside a container never resolves to the host's.
 *
 * A running container is entered through its first process's root, volumes included. A stopped one
 * gets a detached mount of its overlay, never attached anywhere on the host, which lives exactly as
 * long as the descriptor; volumes are mounted into it by a short-lived child (`hull-keeper files`)
 * in a mount namespace of its own, since hulld itself never changes namespaces.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/keeper/protocol.h"

/* A directory of the host that stands at `target` inside. */
struct files_bind {
	char *source;
	char *target; /* absolute inside the container; made when missing, as a start would */
	bool readonly;
};

struct files_query {
	int64_t pid, start_time;	    /* of a running container's first process; 0: stopped */
	const struct keeper_orders *orders; /* lower, upper, work or root_path are used */
	const struct files_bind *binds;	    /* of a stopped container */
	size_t binds_n;
	const char *keeper_path; /* the program, needed only with binds, on old kernels */
	bool readonly;
};

/* Blocks on the kernel (a millisecond; longer with binds): call it from a job. */
int files_open(const struct files_query *q, int *ret_root_fd, struct err *e) must_use;

/* The child's work: takes mounts from the socket, sends the assembled tree back. */
int files_child(int sock, struct err *e) must_use;
