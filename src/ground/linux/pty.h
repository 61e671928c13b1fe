/*
 * Pseudo terminals of a given devpts: never found by path, always by the descriptor of its ptmx.
 */
#pragma once

#include <stdint.h>

#include "ground/base/err.h"

/*
 * Opens a pair from `devpts` (a descriptor of the devpts's root). Both are close-on-exec; the slave
 * is proven to live in that very devpts.
 */
int pty_open(int devpts, int *ret_master, int *ret_slave, struct err *e) must_use;
int pty_resize(int master, uint32_t rows, uint32_t columns, struct err *e) must_use;

/* Makes the slave the controlling terminal (the caller has called setsid) and 0, 1, 2. */
int pty_adopt(int slave, struct err *e) must_use;
