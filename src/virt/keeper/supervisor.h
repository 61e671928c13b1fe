/*
 * The keeper's program: supervises one container from orders to its last end. See protocol.h for
 * what it is told and tells, and supervisor_priv.h for its states.
 */
#pragma once

#include "ground/base/err.h"
#include "ground/base/world.h"

/*
 * Takes orders from the connected packet socket `sock` (taken) and returns when the container has
 * ended for good, its exit is on disk and its clients have their output. Single-threaded process
 * only: it forks, becomes a subreaper, and reaps every child.
 */
int supervisor_run(int sock, const struct world *world, struct err *e) must_use;
