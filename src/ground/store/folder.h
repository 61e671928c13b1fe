/*
 * Whole folders below a descriptor, never by path: removal that a hostile tree cannot lead astray,
 * and durable small files. Symbolic links are never followed.
 */
#pragma once

#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

/* Removes `name` below dirfd with all it holds; absent is good. Stays on one file system. */
int folder_remove(int dirfd, const char *name, struct err *e) must_use;

/* Disk space below `name`, hard links counted once where links are few; 0 when absent. */
uint64_t folder_bytes(int dirfd, const char *name);

/* Writes `name` below dirfd whole and durably: temporary file, sync, rename, sync of the folder. */
int folder_put(int dirfd, const char *name, struct str bytes, unsigned int mode,
	       struct err *e) must_use;
