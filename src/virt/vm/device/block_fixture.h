/*
 * For tests and fuzzers of block devices: a disk in memory that completes at the end of the turn,
 * or when told.
 */
#pragma once

#include <assert.h>
#include <string.h>

#include "ground/wire/loop.h"
#include "virt/vm/device/back.h"

#define DISK_BYTES    (1u << 20)
#define DISK_KEPT_MAX 4096

struct disk {
	struct block_back back;
	struct loop *loop;
	uint8_t bytes[DISK_BYTES];
	struct block_request *kept[DISK_KEPT_MAX];
	unsigned kept_n;
	bool keep, deferred;
	int error;
	unsigned flushes, discards;
};

static void disk_complete(void *arg)
{
	struct disk *d = arg;

	d->deferred = false;
	while (d->kept_n) {
		struct block_request *r = d->kept[--d->kept_n];

		r->done(r->arg, d->error);
	}
}

static void disk_move(struct disk *d, const struct block_request *r)
{
	uint64_t at = r->offset, bytes = 0;

	for (size_t i = 0; i < r->segments_n; i++) {
		const struct iovec *v = &r->segments[i];

		assert(v->iov_len <= DISK_BYTES - at);
		if (r->op == BLOCK_READ)
			memcpy(v->iov_base, d->bytes + at, v->iov_len);
		else
			memcpy(d->bytes + at, v->iov_base, v->iov_len);
		at += v->iov_len;
		bytes += v->iov_len;
	}
	assert(bytes == r->bytes);
}

static void disk_submit(struct block_back *b, struct block_request *r)
{
	struct disk *d = (struct disk *)(void *)b;

	assert(r->offset % 512 == 0 && r->bytes % 512 == 0);
	assert(r->offset <= DISK_BYTES && r->bytes <= DISK_BYTES - r->offset);
	if (r->op == BLOCK_READ || r->op == BLOCK_WRITE)
		disk_move(d, r);
	else
		memset(d->bytes + r->offset, 0, r->bytes);
	d->flushes += r->op == BLOCK_FLUSH;
	d->discards += r->op == BLOCK_DISCARD;
	assert(d->kept_n < DISK_KEPT_MAX);
	d->kept[d->kept_n++] = r;
	if (!d->keep && !d->deferred) {
		d->deferred = true;
		loop_defer(d->loop, disk_complete, d);
	}
}

static const struct block_ops disk_ops = {"memory", disk_submit, NULL};

static inline void disk_open(struct disk *d, struct loop *l)
{
	*d = (struct disk){.loop = l};
	d->back.ops = &disk_ops;
	d->back.size_bytes = DISK_BYTES;
	d->back.discards = true;
	memcpy(d->back.serial, "serial-1", 8);
	for (unsigned i = 0; i < DISK_BYTES; i++)
		d->bytes[i] = (uint8_t)(i / 512 + i);
}
