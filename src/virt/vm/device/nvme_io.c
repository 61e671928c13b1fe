/*
 * I/O commands: physical region pages to segments, reads, writes, flushes, zeroes, deallocations.
 *
 * Theory of operation (NVM Express 1.4, 4.3): PRP 1 may begin anywhere in a page, every other
 * entry is a page's address; more than two pages come as lists, whose last entry in a page leads
 * to the next. The count of bytes bounds the walk: a list that loops is walked a bounded way. Each
 * entry is read once and must be RAM. What cannot be is that command's error, nothing else's.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/device/nvme_priv.h"
#include "virt/vm/device/virtqueue.h"

enum nvme_io_opcode {
	IO_FLUSH = 0x00,
	IO_WRITE = 0x01,
	IO_READ = 0x02,
	IO_WRITE_ZEROES = 0x08,
	IO_DATASET = 0x09,
};

#define FLAGS_FUSED_OR_SGL 0xc3u
#define ENTRY_BYTES	   8u
#define FORCE_UNIT_ACCESS  (1u << 30)
#define DEALLOCATE	   (1u << 2)
#define RANGE_BYTES	   16u
#define NAMESPACE_ALL	   0xffffffffu

/* ---- physical region pages ---- */

/* One piece, joined to the last where memory continues. */
static uint16_t segment_add(struct nvme_request *r, uint64_t at, size_t bytes)
{
	uint8_t *p = ram_at(nvme_ram(r->controller), (struct gpa){at}, bytes);
	struct iovec *last = r->segments_n ? &r->segment[r->segments_n - 1] : NULL;

	if (!p)
		return NVME_DATA_TRANSFER_ERROR;
	if (last && (uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += bytes;
		return NVME_OK;
	}
	if (r->segments_n == NVME_SEGMENTS_MAX)
		return NVME_INVALID_FIELD;
	r->segment[r->segments_n++] = (struct iovec){p, bytes};
	return NVME_OK;
}

static uint16_t map_list(struct nvme_request *r, uint64_t list, size_t bytes)
{
	while (bytes) {
		size_t pages = (bytes + NVME_PAGE_BYTES - 1) / NVME_PAGE_BYTES;
		size_t room = (NVME_PAGE_BYTES - list % NVME_PAGE_BYTES) / ENTRY_BYTES;
		size_t here = pages <= room ? pages : room - 1;
		const uint8_t *p = list % ENTRY_BYTES
					   ? NULL
					   : ram_at(nvme_ram(r->controller), (struct gpa){list},
						    (pages <= room ? pages : room) * ENTRY_BYTES);

		if (list % ENTRY_BYTES)
			return NVME_PRP_OFFSET_INVALID;
		if (!p)
			return NVME_DATA_TRANSFER_ERROR;
		for (size_t i = 0; i < here; i++) {
			uint64_t page = ram_load64(p + i * ENTRY_BYTES);
			size_t now = bytes < NVME_PAGE_BYTES ? bytes : NVME_PAGE_BYTES;
			uint16_t status = page % NVME_PAGE_BYTES ? NVME_PRP_OFFSET_INVALID
								 : segment_add(r, page, now);

			if (status)
				return status;
			bytes -= now;
		}
		if (!bytes)
			break;
		list = ram_load64(p + here * ENTRY_BYTES);
		if (list % NVME_PAGE_BYTES)
			return NVME_PRP_OFFSET_INVALID;
	}
	return NVME_OK;
}

uint16_t nvme_map(struct nvme_request *r, const struct nvme_command *c, size_t bytes)
{
	size_t first = NVME_PAGE_BYTES - (size_t)(c->prp1 % NVME_PAGE_BYTES);
	uint16_t status;

	assert(bytes > 0 && bytes <= NVME_DATA_BYTES_MAX);
	r->segments_n = 0;
	if (c->prp1 % 4)
		return NVME_PRP_OFFSET_INVALID;
	if (first > bytes)
		first = bytes;
	status = segment_add(r, c->prp1, first);
	bytes -= first;
	if (status || !bytes)
		return status;
	if (bytes > NVME_PAGE_BYTES)
		return map_list(r, c->prp2, bytes);
	return c->prp2 % NVME_PAGE_BYTES ? NVME_PRP_OFFSET_INVALID : segment_add(r, c->prp2, bytes);
}

uint16_t nvme_data_put(struct nvme_request *r, const struct nvme_command *c, const void *from,
		       size_t bytes)
{
	uint16_t status = nvme_map(r, c, bytes);
	const uint8_t *p = from;

	if (status)
		return status;
	for (size_t i = 0; i < r->segments_n; i++) {
		memcpy(r->segment[i].iov_base, p, r->segment[i].iov_len);
		p += r->segment[i].iov_len;
	}
	virtqueue_wrote(nvme_ram(r->controller), r->segment, r->segments_n, bytes);
	return NVME_OK;
}

uint16_t nvme_data_take(struct nvme_request *r, const struct nvme_command *c, void *to,
			size_t bytes)
{
	uint16_t status = nvme_map(r, c, bytes);
	uint8_t *p = to;

	if (status)
		return status;
	for (size_t i = 0; i < r->segments_n; i++) {
		memcpy(p, r->segment[i].iov_base, r->segment[i].iov_len);
		p += r->segment[i].iov_len;
	}
	return NVME_OK;
}

/* ---- commands ---- */

static bool on_disk(const struct nvme *n, uint64_t lba, uint64_t blocks)
{
	uint64_t size = n->back->size_bytes >> NVME_BLOCK_SHIFT;

	return lba <= size && blocks <= size - lba;
}

static void transfer(struct nvme_request *r, const struct nvme_command *c, enum block_op op)
{
	struct nvme *n = r->controller;
	uint64_t lba = c->dword[10] | (uint64_t)c->dword[11] << 32;
	uint64_t blocks = (c->dword[12] & 0xffff) + 1u;
	uint64_t bytes = blocks << NVME_BLOCK_SHIFT;
	uint16_t status = NVME_OK;

	if (!on_disk(n, lba, blocks))
		status = NVME_LBA_OUT_OF_RANGE;
	else if (op != BLOCK_READ && n->back->read_only)
		status = NVME_WRITE_TO_READ_ONLY;
	else if (op != BLOCK_ZERO && bytes > NVME_DATA_BYTES_MAX)
		status = NVME_INVALID_FIELD;
	else if (op != BLOCK_ZERO)
		status = nvme_map(r, c, (size_t)bytes);
	if (status) {
		nvme_finish(r, status);
		return;
	}
	r->then_flush = op != BLOCK_READ && (c->dword[12] & FORCE_UNIT_ACCESS);
	nvme_submit(r, op, lba << NVME_BLOCK_SHIFT, bytes);
}

/* The next range that is not empty, or the end. */
static void deallocate_next(struct nvme_request *r)
{
	while (r->range < r->ranges_n) {
		const struct nvme_range *d = &r->ranges[r->range++];

		if (d->bytes == 0)
			continue;
		nvme_submit(r, BLOCK_DISCARD, d->offset, d->bytes);
		return;
	}
	nvme_finish(r, NVME_OK);
}

/* Ranges are read whole before any is acted on (6.7). */
static uint16_t ranges_read(struct nvme_request *r, const struct nvme_command *c)
{
	uint8_t raw[NVME_RANGES_MAX * RANGE_BYTES];
	unsigned n = (c->dword[10] & 0xff) + 1;
	uint16_t status = nvme_data_take(r, c, raw, n * RANGE_BYTES);

	if (status)
		return status;
	r->ranges = mem_new_array(struct nvme_range, n);
	r->ranges_n = n;
	for (unsigned i = 0; i < n; i++) {
		uint32_t blocks = ram_load32(raw + i * RANGE_BYTES + 4);
		uint64_t lba = ram_load64(raw + i * RANGE_BYTES + 8);

		if (!on_disk(r->controller, lba, blocks))
			return NVME_LBA_OUT_OF_RANGE;
		r->ranges[i] = (struct nvme_range){lba << NVME_BLOCK_SHIFT,
						   (uint64_t)blocks << NVME_BLOCK_SHIFT};
	}
	return NVME_OK;
}

/* Only deallocation is acted on; the other hints are allowed to be. */
static void dataset(struct nvme_request *r, const struct nvme_command *c)
{
	struct nvme *n = r->controller;
	uint16_t status = n->back->read_only ? NVME_WRITE_TO_READ_ONLY : ranges_read(r, c);

	if (status || !(c->dword[11] & DEALLOCATE) || !n->back->discards)
		nvme_finish(r, status);
	else
		deallocate_next(r);
}

void nvme_io(struct nvme_request *r, const struct nvme_command *c)
{
	bool all = c->opcode == IO_FLUSH && c->namespace == NAMESPACE_ALL;

	if (c->flags & FLAGS_FUSED_OR_SGL) {
		nvme_finish(r, NVME_INVALID_FIELD);
		return;
	}
	if (c->namespace != 1 && !all) {
		nvme_finish(r, NVME_INVALID_NAMESPACE);
		return;
	}
	switch (c->opcode) {
	case IO_FLUSH:
		nvme_submit(r, BLOCK_FLUSH, 0, 0);
		break;
	case IO_WRITE:
		transfer(r, c, BLOCK_WRITE);
		break;
	case IO_READ:
		transfer(r, c, BLOCK_READ);
		break;
	case IO_WRITE_ZEROES:
		transfer(r, c, BLOCK_ZERO);
		break;
	case IO_DATASET:
		dataset(r, c);
		break;
	default:
		nvme_finish(r, NVME_INVALID_OPCODE);
		break;
	}
}

static uint16_t status_of(const struct nvme_request *r, int error)
{
	if (error == 0)
		return NVME_OK;
	if (r->back.op == BLOCK_READ)
		return NVME_READ_ERROR;
	return error == EROFS ? NVME_WRITE_TO_READ_ONLY : NVME_WRITE_FAULT;
}

void nvme_io_done(struct nvme_request *r, int error)
{
	struct nvme *n = r->controller;

	/* Support for giving space back is a hint: a host without it loses nothing. */
	if (r->back.op == BLOCK_DISCARD && (error == EOPNOTSUPP || !error) && !n->stopping) {
		deallocate_next(r);
		return;
	}
	if (!error && r->back.op == BLOCK_READ)
		virtqueue_wrote(nvme_ram(n), r->segment, r->segments_n, r->back.bytes);
	if (!error && r->then_flush && !n->stopping) {
		r->then_flush = false;
		nvme_submit(r, BLOCK_FLUSH, 0, 0);
		return;
	}
	nvme_finish(r, status_of(r, error));
}
