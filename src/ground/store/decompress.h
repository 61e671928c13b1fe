/*
 * Decompression of one piece of memory into another, whose size is known beforehand: what a kernel
 * image or an initramfs needs. LZ4 (the legacy format of the kernel's build), gzip, zstd and xz,
 * told apart by their first bytes. Streams from the network are inflate.h's.
 *
 * Memory: the output, plus what the format asks for as a window (xz: at most 128 MiB, then
 * refused).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ground/base/str.h"

enum decompress_kind {
	DECOMPRESS_LZ4,
	DECOMPRESS_GZIP,
	DECOMPRESS_ZSTD,
	DECOMPRESS_XZ,
	DECOMPRESS_KINDS, /* none of them */
};

enum decompress_kind decompress_guess(struct str in);
const char *decompress_name(enum decompress_kind kind);

/*
 * Unpacks `in` into `to`, which has room for n bytes; *ret_n says how many there were. Bytes behind
 * the end of the stream are ignored. ERR_INVALID: damaged, cut off, or more than n bytes;
 * ERR_UNSUPPORTED: another format.
 */
int decompress(struct str in, void *to, size_t n, size_t *ret_n, struct err *e) must_use;
