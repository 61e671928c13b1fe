/*
 * Tap interfaces (Linux Documentation/networking/tuntap.rst): an Ethernet interface of the host
 * whose cable ends in a descriptor. Each read and write is one frame without any header before it.
 */
#pragma once

#include "ground/base/err.h"

/*
 * Opens the interface of that name, which exists: one made here would have no address, lead nowhere
 * and go when the descriptor is closed. ERR_BUSY where somebody else has it open. Non-blocking.
 */
int tap_open(const char *name, int *ret_fd, struct err *e) must_use;
