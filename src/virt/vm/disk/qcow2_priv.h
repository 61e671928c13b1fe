/*
 * A qcow2 image, between its files: qcow2.c (requests), qcow2_open.c (header, backing file),
 * qcow2_map.c (guest offset to cluster), qcow2_alloc.c (reference counts, what is written when),
 * qcow2_data.c (reading and writing), qcow2_create.c.
 *
 * An image belongs to one thread at a time: to a job on the pool while one runs, else to the loop.
 * Nothing here locks. Errors of I/O are errnos, as block requests have them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/own.h"
#include "ground/linux/storage.h"
#include "virt/vm/disk/disk.h"

#define QCOW2_DEPTH_MAX		 16 /* files in a chain */
#define QCOW2_CLUSTER_BITS_MIN	 9
#define QCOW2_CLUSTER_BITS_MAX	 21
#define QCOW2_L1_BYTES_MAX	 (32u << 20)
#define QCOW2_REFTABLE_BYTES_MAX (8u << 20)
#define QCOW2_CACHE_TABLES	 16
#define QCOW2_FREED_MAX		 4096
#define QCOW2_SEGMENTS		 BLOCK_SEGMENTS_MAX

#define QCOW2_OFFSET	 0x00fffffffffffe00ull
#define QCOW2_COPIED	 (1ull << 63)
#define QCOW2_COMPRESSED (1ull << 62)
#define QCOW2_ZERO	 1ull

#define QCOW2_DIRTY	    1ull /* incompatible features */
#define QCOW2_CORRUPT	    2ull
#define QCOW2_EXTERNAL_DATA 4ull
#define QCOW2_COMPRESSION   8ull
#define QCOW2_EXTENDED_L2   16ull

/* A table of one cluster that is kept in memory. */
struct qcow2_table {
	uint64_t at; /* in the file; 0: free */
	uint64_t used;
	uint8_t *bytes;
	bool dirty;
};

struct qcow2_cache {
	struct qcow2_table table[QCOW2_CACHE_TABLES];
	uint64_t clock;
};

struct qcow2_header {
	uint32_t version, cluster_bits, l1_entries, refcount_order;
	uint64_t size, l1_at, reftable_at, incompatible, autoclear;
	uint32_t reftable_clusters, header_bytes, backing_bytes, encryption, compression;
	uint64_t backing_at;
};

struct image;

struct qcow2 {
	struct storage file;
	struct qcow2_header h;
	uint64_t cluster; /* bytes */
	bool writable;
	struct image *backing; /* NULL: none */
	uint64_t *l1;	       /* host byte order */
	uint64_t l1_dirty_from, l1_dirty_to;
	uint64_t *reftable;
	uint64_t reftable_n, reftable_dirty_from, reftable_dirty_to;
	uint64_t reftable_old_at, reftable_old_clusters; /* moved since the last sync */
	bool reftable_moved;
	struct qcow2_cache l2, refcounts;
	uint64_t next_free;		 /* cluster index where to look */
	uint64_t freed[QCOW2_FREED_MAX]; /* clusters that lose a reference at the next sync */
	size_t freed_n;
	uint8_t *bounce;     /* a cluster */
	uint8_t *compressed; /* two clusters */
};

/* A file of the chain: qcow2 or raw. */
struct image {
	struct qcow2 *qcow2; /* NULL: raw */
	struct storage raw;
	uint64_t bytes;
};

enum qcow2_kind { QCOW2_UNALLOCATED, QCOW2_ZEROES, QCOW2_DATA, QCOW2_PACKED };

struct qcow2_place {
	enum qcow2_kind kind;
	bool copied;  /* ours alone: may be written in place */
	uint64_t at;  /* in the file, with the offset inside the cluster; the entry where packed */
	uint64_t run; /* bytes from the offset to the cluster's end */
};

static inline uint64_t be64_get(const void *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, 8);
	return __builtin_bswap64(v);
}

static inline void be64_put(void *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	__builtin_memcpy(p, &v, 8);
}

static inline uint64_t qcow2_index(const struct qcow2 *q, uint64_t at)
{
	return at >> q->h.cluster_bits;
}

static inline bool qcow2_aligned(const struct qcow2 *q, uint64_t at)
{
	return (at & (q->cluster - 1)) == 0;
}

/* ---- qcow2_open.c ---- */

int qcow2_image_open(const struct disk_options *o, struct qcow2 **ret, struct err *e) must_use;
struct qcow2 *qcow2_image_close(struct qcow2 *q);

/* ---- qcow2_map.c ---- */

/* Where the byte at `offset` is. EIO: the tables cannot be. */
int qcow2_lookup(struct qcow2 *q, uint64_t offset, struct qcow2_place *ret) must_use;
/* The same without I/O; false where that needs some. */
bool qcow2_lookup_cached(struct qcow2 *q, uint64_t offset, struct qcow2_place *ret);
/* Changes an entry; makes the L2 table where there is none or a shared one. */
int qcow2_entry_set(struct qcow2 *q, uint64_t offset, uint64_t entry) must_use;
/* A table in memory; `fresh`: all zero, nothing is read. */
int qcow2_table(struct qcow2 *q, struct qcow2_cache *c, uint64_t at, bool fresh,
		struct qcow2_table **ret) must_use;
void qcow2_cache_forget(struct qcow2_cache *c, uint64_t at);
void qcow2_cache_free(struct qcow2_cache *c);
int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c) must_use;
/* How many bytes of the file a packed entry takes, and where from. */
uint64_t qcow2_packed(const struct qcow2 *q, uint64_t entry, uint64_t *ret_bytes);

/* ---- qcow2_alloc.c ---- */

/* A cluster of ours, its count in memory; the file offset. */
int qcow2_alloc(struct qcow2 *q, uint64_t *ret_at) must_use;
/* The references of an entry's cluster go at the next sync. */
int qcow2_release(struct qcow2 *q, uint64_t entry) must_use;
int qcow2_release_at(struct qcow2 *q, uint64_t at) must_use;
/* Tables into the file, in an order that is consistent after any cut. */
int qcow2_sync(struct qcow2 *q) must_use;

/* ---- qcow2_data.c ---- */

int chain_read(struct image *i, uint64_t offset, const struct iovec *v, size_t n) must_use;
int qcow2_read(struct qcow2 *q, uint64_t offset, const struct iovec *v, size_t n,
	       uint64_t bytes) must_use;
int qcow2_write(struct qcow2 *q, uint64_t offset, const struct iovec *v, size_t n,
		uint64_t bytes) must_use;
int qcow2_zero(struct qcow2 *q, uint64_t offset, uint64_t bytes, bool discard) must_use;
/* [skip, skip + bytes) of the segments. */
size_t segments_slice(const struct iovec *v, size_t n, uint64_t skip, uint64_t bytes,
		      struct iovec *ret);
