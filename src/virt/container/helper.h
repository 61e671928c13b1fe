/*
 * Private: the helper process of a creation that must join namespaces before the first process is
 * born.
 */
#pragma once

#include "virt/container/job.h"

/* Does this configuration need one? */
bool helper_needed(const struct job *j);

/* Makes the first process through a helper, which has ended when this returns. */
int helper_spawn(struct job *j, uint64_t flags, pid_t *ret_pid, int *ret_pidfd,
		 struct err *e) must_use;
