/*
 * Disks: files and block devices that hold a guest's bytes, as block backs (device/back.h). The
 * format is always named, never guessed from what a guest may have written there.
 *
 *	struct disk_options o = {.path = "root.img", .format = "qcow2"};
 *	struct block_back *b;
 *	if (disk_open(loop, &o, &b, e) < 0) ...
 *	...
 *	b = b->ops->free(b);		(after its front: waits for nothing, syncs)
 *
 * A writer locks the file for itself, readers share it (open file description locks: they end with
 * the process, however it ends, and QEMU honours them). Everything is opened in disk_open(),
 * backing files too: nothing is opened once the machine runs.
 *
 * Threads: the loop's; what may wait runs on its job pool.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "virt/vm/device/back.h"

#define DISK_BYTES_MAX (1ull << 50) /* 1 PiB: what a guest may believe it has */

struct loop;

struct disk_options {
	const char *path;
	const char *format; /* "raw", "qcow2" */
	const char *serial; /* NULL: none; at most 20 characters */
	bool read_only;
};

/* ERR_BUSY: in use by another process; ERR_UNSUPPORTED: a format or feature, named. */
int disk_open(struct loop *l, const struct disk_options *o, struct block_back **ret,
	      struct err *e) must_use;

struct disk_new {
	const char *path; /* must not exist */
	const char *format;
	uint64_t size_bytes;
	const char *backing, *backing_format; /* qcow2 only; NULL: none */
};

/* Makes an empty disk. Nothing is left behind when it fails. */
int disk_create(const struct disk_new *o, struct err *e) must_use;
