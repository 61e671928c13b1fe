/*
 * What a maker does for a machine: instead of a container it starts a program of the host (hull-mate)
 * in a session and a cgroup of its own. Same outcome as container_create and container_exec, so that
 * the supervisor sees no difference: streams, log, restart policy, execs and the exit record are one
 * code for both.
 */
#pragma once

#include "virt/container/container.h"
#include "virt/keeper/protocol.h"

int machine_create(const struct keeper_orders *o, const int stdio[3], struct container *ret,
		   struct err *e) must_use;
int machine_exec(const struct keeper_orders *o, const struct keeper_exec *x, struct cgroup *cg,
		 const int stdio[3], struct container *ret, struct err *e) must_use;
