/*
 * A process of the guest, started for a session: three pipes, or a terminal, and a process group of
 * its own. The agent owns the descriptors.
 */
#pragma once

#include <sys/types.h>

#include "virt/guest/protocol.h"

struct guest_process {
	pid_t pid;
	int input;     /* written to; -1: none. With a terminal: its master */
	int output[2]; /* read from: 1 and 2; with a terminal output[0] is the master too */
};

/* Starts it. *ret_code is 127 (not found) or 126 where the program is to blame. */
int guest_process_start(const struct guest_start *s, struct guest_process *ret, uint32_t *ret_code,
			struct err *e) must_use;
int guest_process_resize(const struct guest_process *p, uint32_t rows, uint32_t columns,
			 struct err *e) must_use;
void guest_process_close(struct guest_process *p);
