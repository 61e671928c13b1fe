/*
 * A stream of compressed bytes, read as plain ones: gzip (isa-l's igzip, several members too),
 * zstd, or nothing at all, told apart by the first bytes. Pull style: the caller gives a source,
 * asks for blocks. And the way back, for pushing what has only been kept plain: deflate_file.
 *
 * An inflate belongs to one thread. Memory is bounded (zstd windows over 128 MiB are refused).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/own.h"

struct blob_writer;
struct digest;
struct inflate;

enum inflate_kind { INFLATE_PLAIN, INFLATE_GZIP, INFLATE_ZSTD, INFLATE_KINDS };

struct inflate_source {
	/* Up to n bytes into p: how many, 0 at the end, negative with e set. May block. */
	int64_t (*read)(void *arg, void *p, size_t n, struct err *e);
	void *arg;
};

int inflate_new(const struct inflate_source *source, struct inflate **ret, struct err *e) must_use;
struct inflate *inflate_free(struct inflate *i); /* NULL allowed; returns NULL */
own_define(inflate, struct inflate *, (void)inflate_free);
#define auto_inflate own_auto(inflate)

enum inflate_kind inflate_kind(const struct inflate *i);
/* Feeds every block handed out to `d` as well (a DiffID); NULL: none. */
void inflate_tee(struct inflate *i, struct digest *d);
/* The next block, borrowed until the next call: its size, 0 at the end. ERR_INVALID: damaged. */
int64_t inflate_next(struct inflate *i, const void **ret, struct err *e) must_use;
uint64_t inflate_total(const struct inflate *i); /* plain bytes handed out */

/* What the first bytes of a stream say. */
enum inflate_kind inflate_guess(const void *p, size_t n);

/* Compresses all of fd (from 0) as gzip into a blob. */
int deflate_file(int fd, struct blob_writer *w, struct err *e) must_use;
