/*
 * Files and block devices that hold a disk's bytes: opening with a lock, vectored reads and writes
 * that repeat until all is done, holes and zeroes, whichever of the two it is.
 *
 * Locks are open file description locks over the whole file: a writer shares with nobody, readers
 * with readers; they end when the descriptor does, in whatever way its process ends. QEMU's image
 * locks meet them.
 *
 * Threads: any. Results of I/O are 0 or an errno, as a device hands it to its guest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ground/base/err.h"

struct storage {
	int fd; /* -1: not open */
	uint64_t bytes;
	bool block_device, read_only;
};

/* ERR_BUSY: another process uses it. Refuses what is neither a file nor a block device. */
int storage_open(const char *path, bool read_only, struct storage *ret, struct err *e) must_use;
/* Makes a file, exclusively (ERR_EXISTS), with its lock. */
int storage_create(const char *path, struct storage *ret, struct err *e) must_use;
void storage_close(struct storage *s);
int storage_resize(struct storage *s, uint64_t bytes, struct err *e) must_use; /* files only */

/* All of the segments (at most 1024), or an errno; EIO behind the end. */
int storage_read(const struct storage *s, const struct iovec *v, size_t n, uint64_t at) must_use;
int storage_write(const struct storage *s, const struct iovec *v, size_t n, uint64_t at) must_use;
int storage_read_bytes(const struct storage *s, void *p, size_t n, uint64_t at) must_use;
int storage_write_bytes(const struct storage *s, const void *p, size_t n, uint64_t at) must_use;

/* As far as the page cache allows without waiting: true when all `bytes` were moved. */
bool storage_read_now(const struct storage *s, const struct iovec *v, size_t n, uint64_t at,
		      uint64_t bytes);
bool storage_write_now(const struct storage *s, const struct iovec *v, size_t n, uint64_t at,
		       uint64_t bytes);

/* On stable storage: everything that was written before. */
int storage_sync(const struct storage *s);
/* Gives space back: what is read there afterwards is zero on files, anything on devices. */
int storage_discard(const struct storage *s, uint64_t at, uint64_t n);
/* Reads as zero afterwards; may give space back where `unmap`. */
int storage_zero(const struct storage *s, uint64_t at, uint64_t n, bool unmap) must_use;
