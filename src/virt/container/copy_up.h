/*
 * Private: tmpcopyup, what stood at a mount point copied into the tmpfs that will cover it.
 */
#pragma once

#include "ground/base/err.h"

#define COPY_UP_DEPTH_MAX   64
#define COPY_UP_ENTRIES_MAX 1000000

/* Copies the content of directory `from` (may be O_PATH) into `to`, with modes and owners. */
int copy_up(int from, int to, struct err *e) must_use;
