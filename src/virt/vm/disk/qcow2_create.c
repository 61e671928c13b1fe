/*
 * Making a new image: raw, a file with a hole; qcow2, version 3 with clusters of 64 KiB: header,
 * table of counts, one block of counts, L1 table.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "virt/vm/disk/qcow2_priv.h"

#define CLUSTER_BITS	  16
#define CLUSTER		  (1u << CLUSTER_BITS)
#define SECTOR_BYTES	  512u
#define HEADER_BYTES	  104u
#define BACKING_BYTES_MAX 1023u
#define EXTENSION_BACKING 0xe2792acau
#define COUNT_BYTES	  2u

enum { HEADER_AT, REFTABLE_AT = CLUSTER, BLOCK_AT = 2 * CLUSTER, L1_AT = 3 * CLUSTER };

static void put32(uint8_t **p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(*p, &v, 4);
	*p += 4;
}

static void put64(uint8_t **p, uint64_t v)
{
	be64_put(*p, v);
	*p += 8;
}

static void header_fill(uint8_t *header, const struct disk_new *o, uint32_t l1_entries)
{
	size_t name = o->backing ? strlen(o->backing) : 0;
	size_t format = o->backing ? strlen(o->backing_format) : 0;
	uint8_t *p = header;

	put32(&p, 0x514649fb);
	put32(&p, 3);
	put64(&p, name ? HEADER_BYTES + 32 : 0);
	put32(&p, (uint32_t)name);
	put32(&p, CLUSTER_BITS);
	put64(&p, o->size_bytes);
	put32(&p, 0); /* encryption */
	put32(&p, l1_entries);
	put64(&p, L1_AT);
	put64(&p, REFTABLE_AT);
	put32(&p, 1);
	put32(&p, 0); /* snapshots */
	put64(&p, 0);
	put64(&p, 0); /* features */
	put64(&p, 0);
	put64(&p, 0);
	put32(&p, 4); /* counts of 2^4 bits */
	put32(&p, HEADER_BYTES);
	assert(p == header + HEADER_BYTES);
	if (!name)
		return;
	put32(&p, EXTENSION_BACKING);
	put32(&p, (uint32_t)format);
	memcpy(p, o->backing_format, format);
	memcpy(header + HEADER_BYTES + 32, o->backing, name);
}

static int qcow2_fill(const struct storage *s, const struct disk_new *o)
{
	uint32_t l1_entries = (uint32_t)((o->size_bytes - 1) >> (2 * CLUSTER_BITS - 3)) + 1;
	uint32_t l1_clusters = (l1_entries * 8 + CLUSTER - 1) / CLUSTER;
	uint8_t *image = mem_new_bytes(3 + l1_clusters, CLUSTER);
	int failed;

	header_fill(image, o, l1_entries);
	be64_put(image + REFTABLE_AT, BLOCK_AT);
	for (uint32_t i = 0; i < 3 + l1_clusters; i++)
		image[BLOCK_AT + i * COUNT_BYTES + 1] = 1;
	failed = storage_write_bytes(s, image, (size_t)(3 + l1_clusters) * CLUSTER, 0);
	free(image);
	return failed ? failed : storage_sync(s);
}

static int check(const struct disk_new *o, struct err *e)
{
	bool qcow2 = o->format && strcmp(o->format, "qcow2") == 0;

	if (!qcow2 && (!o->format || strcmp(o->format, "raw") != 0))
		return err_set(e, ERR_UNSUPPORTED,
			       "there is no disk format '%s', only raw and qcow2",
			       o->format ? o->format : "");
	if (o->size_bytes == 0 || o->size_bytes % SECTOR_BYTES || o->size_bytes > DISK_BYTES_MAX)
		return err_set(e, ERR_INVALID,
			       "a disk cannot have %llu bytes: a multiple of 512, up to 1 PiB",
			       (unsigned long long)o->size_bytes);
	if (o->backing && !qcow2)
		return err_set(e, ERR_INVALID, "a raw disk has no backing file");
	if (o->backing && (!o->backing_format || strlen(o->backing_format) > 16 ||
			   strlen(o->backing) > BACKING_BYTES_MAX))
		return err_set(e, ERR_INVALID,
			       "the backing file '%s' needs its format named, and a shorter path",
			       o->backing);
	return 0;
}

int disk_create(const struct disk_new *o, struct err *e)
{
	struct storage s;
	int failed = check(o, e);

	if (!failed)
		failed = storage_create(o->path, &s, e);
	if (failed)
		return failed;
	if (strcmp(o->format, "raw") == 0)
		failed = storage_resize(&s, o->size_bytes, e);
	else if (qcow2_fill(&s, o))
		failed = err_set(e, ERR_SYSTEM, "cannot write disk '%s'", o->path);
	storage_close(&s);
	if (failed)
		(void)unlink(o->path);
	return failed;
}
