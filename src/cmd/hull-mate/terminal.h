/* The terminal that the keeper gave us, and the signals that we pass on. */
#pragma once

#include "ground/base/err.h"
#include "virt/guest/protocol.h"

/* With start->tty: our own terminal goes raw, the guest's keeps the discipline, and its size is
 * ours. */
void terminal_prepare(struct guest_start *start);
/* A signalfd of all that a supervisor or a shell sends; they are blocked from then on. */
int terminal_signals(struct err *e) must_use;
