/*
 * The agent: the guest's end of protocol.h. It serves sessions on a listening socket until the
 * machine shall end, and reaps every child of the calling process, which is pid 1 in a guest.
 *
 * Single-threaded; one poll loop. SIGCHLD is blocked by it.
 */
#pragma once

#include "virt/guest/protocol.h"

struct agent_options {
	int listener; /* a listening stream socket; stays the caller's; -1: only `ready` */
	int power;    /* an input device of the power button, or -1 */
	int ready;    /* connected to the host when it serves, or -1: the first session */
};

/* Serves until a shutdown is asked for, the main process has ended, or the button is pressed. */
int agent_run(const struct agent_options *o, enum guest_shutdown *ret, struct err *e) must_use;
