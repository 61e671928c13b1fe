/*
 * The virtio transport and the block device, driven as a guest drives them: negotiation, requests,
 * every way that a queue can be malformed, resets with requests under way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_blk.h>

#include "virt/vm/device/block_fixture.h"
#include "virt/vm/device/device_fixture.h"
#include "virt/vm/device/virtio_block.h"

static struct disk disk;

static void open_all(struct fixture *f, struct driver *d, uint64_t features)
{
	struct err e = {0};

	fixture_open(f);
	disk_open(&disk, f->loop);
	assert_int_equal(virtio_block_new(f->pci, &disk.back, &e), 0);
	driver_open(d, f, 1, features);
	driver_queue(d, 0, 16);
	driver_ready(d);
}

static uint8_t request(struct driver *d, uint32_t type, uint64_t sector, uint64_t at, uint32_t n)
{
	uint64_t page = 0x8000;
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	struct piece p[3] = {{page, sizeof(h), false},
			     {at, n, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID},
			     {page + 512, 1, true}};

	memcpy(fixture_mem(d->f, page), &h, sizeof(h));
	*fixture_mem(d->f, page + 512) = 0xff;
	if (n == 0)
		p[1] = p[2];
	(void)driver_do(d, 0, p, n ? 3 : 2);
	return *fixture_mem(d->f, page + 512);
}

static void reads_and_writes(void **state)
{
	struct fixture f;
	struct driver d;

	open_all(&f, &d, ~0ull);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, d.config, 8), DISK_BYTES / 512);
	assert_int_equal(request(&d, VIRTIO_BLK_T_IN, 3, 0x10000, 1024), VIRTIO_BLK_S_OK);
	assert_memory_equal(fixture_mem(&f, 0x10000), disk.bytes + 3 * 512, 1024);
	/* What a device wrote is told: page flags. */
	assert_true(ram_flags(f.ram, 0x10000) & RAM_DIRTY);
	memset(fixture_mem(&f, 0x11000), 0x5a, 512);
	assert_int_equal(request(&d, VIRTIO_BLK_T_OUT, 5, 0x11000, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.bytes[5 * 512], 0x5a);
	assert_int_equal(request(&d, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.flushes, 1);
	assert_int_equal(request(&d, VIRTIO_BLK_T_GET_ID, 0, 0x12000, 20), VIRTIO_BLK_S_OK);
	assert_string_equal((char *)fixture_mem(&f, 0x12000), "serial-1");
	assert_true(f.messages[1] >= 4);
	assert_false(driver_broken(&d));
	fixture_close(&f);
}

static void refuses_bad_requests(void **state)
{
	const struct virtio_blk_discard_write_zeroes good = {2, 1, 0},
						     far = {DISK_BYTES / 512 - 1, 2, 0},
						     flags = {0, 1, 4};
	struct fixture f;
	struct driver d;

	open_all(&f, &d, ~0ull);
	assert_int_equal(request(&d, VIRTIO_BLK_T_IN, DISK_BYTES / 512 - 1, 0x10000, 1024),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&d, VIRTIO_BLK_T_IN, UINT64_MAX, 0x10000, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&d, VIRTIO_BLK_T_IN, UINT64_MAX / 512, 0x10000, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&d, VIRTIO_BLK_T_IN, 0, 0x10000, 100), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&d, 77, 0, 0x10000, 512), VIRTIO_BLK_S_UNSUPP);
	memcpy(fixture_mem(&f, 0x10000), &good, 16);
	assert_int_equal(request(&d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x10000, 16), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.bytes[2 * 512 + 7], 0);
	assert_int_equal(request(&d, VIRTIO_BLK_T_DISCARD, 0, 0x10000, 15), VIRTIO_BLK_S_IOERR);
	memcpy(fixture_mem(&f, 0x10000), &far, 16);
	assert_int_equal(request(&d, VIRTIO_BLK_T_DISCARD, 0, 0x10000, 16), VIRTIO_BLK_S_IOERR);
	memcpy(fixture_mem(&f, 0x10000), &flags, 16);
	assert_int_equal(request(&d, VIRTIO_BLK_T_DISCARD, 0, 0x10000, 16), VIRTIO_BLK_S_UNSUPP);
	disk.error = 5;
	assert_int_equal(request(&d, VIRTIO_BLK_T_IN, 0, 0x10000, 512), VIRTIO_BLK_S_IOERR);
	assert_false(driver_broken(&d));
	fixture_close(&f);
}

static void writes_through(void **state)
{
	struct fixture f;
	struct driver d;

	open_all(&f, &d, 0);
	assert_int_equal(request(&d, VIRTIO_BLK_T_OUT, 0, 0x10000, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.flushes, 1);
	fixture_close(&f);
}

/* Each of these breaks the device, and only it: descriptors 1 and 2 of the queue or of an indirect
 * table behind a good header in descriptor 0. */
#define TABLE 0x20000
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define IND   VRING_DESC_F_INDIRECT

struct row {
	uint64_t table; /* 0: the queue's */
	unsigned i;
	uint64_t at;
	uint32_t bytes;
	unsigned flags, next;
};

static const struct malformed {
	const char *name;
	struct row row[2];
	uint16_t head, index; /* 0: 1 */
} malformed[] = {
	{"loop", {{0, 1, 0x9000, 512, NEXT, 0}}, 0, 0},
	{"out of range", {{0, 1, FIXTURE_RAM_BYTES - 511, 512, WRITE, 0}}, 0, 0},
	{"wraps", {{0, 1, UINT64_MAX - 10, 512, WRITE, 0}}, 0, 0},
	{"huge", {{0, 1, 0x9000, UINT32_MAX, WRITE, 0}}, 0, 0},
	{"head too big", {{0, 1, 0x9000, 512, WRITE, 0}}, 16, 0},
	{"next too big", {{0, 0, 0x8000, 16, NEXT, 16}}, 0, 0},
	{"index runs away", {{0, 1, 0x9000, 512, WRITE, 0}}, 0, 40},
	{"read after write",
	 {{0, 1, 0x9000, 512, WRITE | NEXT, 2}, {0, 2, 0x9000, 512, 0, 0}},
	 0,
	 0},
	{"odd table", {{0, 1, TABLE, 17, IND, 0}}, 0, 0},
	{"empty table", {{0, 1, TABLE, 0, IND, 0}}, 0, 0},
	{"nested tables", {{0, 1, TABLE, 16, IND, 0}, {TABLE, 0, TABLE, 16, IND, 0}}, 0, 0},
	{"table loops", {{0, 1, TABLE, 32, IND, 0}, {TABLE, 0, 0x9000, 512, NEXT, 0}}, 0, 0},
	{"table and next", {{0, 1, TABLE, 16, IND | NEXT, 2}, {TABLE, 0, 0x9000, 9, 0, 0}}, 0, 0},
	{"huge table", {{0, 1, 0, 257 * 16, IND, 0}}, 0, 0},
	{"table outside", {{0, 1, FIXTURE_RAM_BYTES - 8, 16, IND, 0}}, 0, 0},
	{"no status", {{0, 0, 0x8000, 16, 0, 1}}, 0, 0},
	{"short header", {{0, 0, 0x8000, 15, NEXT, 1}}, 0, 0},
};

static void malform(struct fixture *f, struct driver *d, const struct malformed *m)
{
	struct driver_queue *q = &d->q[0];
	uint16_t index = m->index ? m->index : 1;

	desc_put(f, q->desc, 0, 0x8000, 16, NEXT, 1);
	desc_put(f, q->desc, 1, 0x9000, 512, WRITE, 0);
	for (size_t i = 0; i < array_len(m->row); i++) {
		const struct row *r = &m->row[i];

		if (r->at || r->flags)
			desc_put(f, r->table ? r->table : q->desc, r->i, r->at, r->bytes,
				 (uint16_t)r->flags, (uint16_t)r->next);
	}
	memcpy(fixture_mem(f, q->avail + 4), &m->head, 2);
	memcpy(fixture_mem(f, q->avail + 2), &index, 2);
	driver_ring(d, 0);
}

static void survives_malformed_queues(void **state)
{
	for (size_t i = 0; i < array_len(malformed); i++) {
		struct fixture f;
		struct driver d;

		open_all(&f, &d, ~0ull);
		malform(&f, &d, &malformed[i]);
		fixture_wait(&f); /* the configuration's interrupt */
		assert_true(driver_broken(&d));
		assert_int_equal(f.messages[0], 1);
		assert_int_equal(f.messages[1], 0);
		/* Back after a reset. */
		driver_open(&d, &f, 1, ~0ull);
		driver_queue(&d, 0, 16);
		driver_ready(&d);
		assert_int_equal(request(&d, VIRTIO_BLK_T_IN, 0, 0x10000, 512), VIRTIO_BLK_S_OK);
		fixture_close(&f);
	}
}

static void takes_indirect_tables(void **state)
{
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = 1};
	struct fixture f;
	struct driver d;
	uint32_t head, written;

	open_all(&f, &d, ~0ull);
	memcpy(fixture_mem(&f, 0x8000), &h, sizeof(h));
	desc_put(&f, d.q[0].desc, 0, 0x20000, 4 * 16, VRING_DESC_F_INDIRECT, 0);
	/* The header in two pieces, the data and the status in one: any layout is a layout. */
	desc_put(&f, 0x20000, 0, 0x8000, 5, VRING_DESC_F_NEXT, 2);
	desc_put(&f, 0x20000, 2, 0x8005, 11, VRING_DESC_F_NEXT, 3);
	desc_put(&f, 0x20000, 3, 0x10000, 513, VRING_DESC_F_WRITE, 0);
	driver_offer(&d, 0, 0);
	driver_ring(&d, 0);
	fixture_wait(&f);
	assert_true(driver_used(&d, 0, &head, &written));
	assert_int_equal(written, 513);
	assert_memory_equal(fixture_mem(&f, 0x10000), disk.bytes + 512, 512);
	assert_int_equal(*fixture_mem(&f, 0x10000 + 512), VIRTIO_BLK_S_OK);
	fixture_close(&f);
}

static void resets_when_requests_are_back(void **state)
{
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN};
	const struct piece p[3] = {{0x8000, 16, false}, {0x10000, 512, true}, {0x9000, 1, true}};
	struct fixture f;
	struct driver d;
	uint32_t head, written;

	open_all(&f, &d, ~0ull);
	disk.keep = true;
	memcpy(fixture_mem(&f, 0x8000), &h, sizeof(h));
	(void)driver_chain(&d, 0, p, 3);
	driver_ring(&d, 0);
	fixture_turn(&f);
	assert_int_equal(disk.kept_n, 1);
	assert_true(pci_busy(f.pci));
	common_put(&d, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	assert_int_not_equal(common_get(&d, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	common_put(&d, VIRTIO_PCI_COMMON_STATUS, 1, 1); /* too early: ignored */
	disk_complete(&disk);
	assert_int_equal(common_get(&d, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_false(driver_used(&d, 0, &head, &written));
	assert_int_equal(f.messages[1], 0);
	assert_false(pci_busy(f.pci));
	fixture_close(&f);
}

static void minds_the_event_index(void **state)
{
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_FLUSH};
	const struct piece p[2] = {{0x8000, 16, false}, {0x9000, 1, true}};
	struct fixture f;
	struct driver d;
	uint16_t event = 1, asked;
	uint32_t head, written;

	open_all(&f, &d, ~0ull);
	memcpy(fixture_mem(&f, 0x8000), &h, sizeof(h));
	/* An interrupt only once the second is used. */
	memcpy(fixture_mem(&f, d.q[0].avail + 4 + 2 * 16), &event, 2);
	(void)driver_chain(&d, 0, p, 2);
	driver_ring(&d, 0);
	fixture_turn(&f);
	assert_true(driver_used(&d, 0, &head, &written));
	assert_int_equal(f.messages[1], 0);
	memcpy(&asked, fixture_mem(&f, d.q[0].used + 4 + 8 * 16), 2);
	assert_int_equal(asked, 1); /* ring when the second is there */
	(void)driver_chain(&d, 0, p, 2);
	driver_ring(&d, 0);
	fixture_wait(&f);
	assert_int_equal(f.messages[1], 1);
	fixture_close(&f);
}

static void falls_back_to_a_line(void **state)
{
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_FLUSH};
	const struct piece p[2] = {{0x8000, 16, false}, {0x9000, 1, true}};
	struct fixture f;
	struct driver d;
	unsigned msix;

	open_all(&f, &d, ~0ull);
	msix = config_capability(&f, 1, PCI_CAP_ID_MSIX, -1);
	config_put(&f, 1, msix + PCI_MSIX_FLAGS, 2, 0);
	memcpy(fixture_mem(&f, 0x8000), &h, sizeof(h));
	(void)driver_do(&d, 0, p, 2);
	assert_true(f.line[1]);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, d.isr, 1), 1);
	assert_false(f.line[1]);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, d.isr, 1), 0);
	fixture_close(&f);
}

static void negotiates(void **state)
{
	struct fixture f;
	struct driver d;
	unsigned access;

	open_all(&f, &d, ~0ull);
	/* Features that were not offered: no FEATURES_OK, no DRIVER_OK. */
	common_put(&d, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	common_put(&d, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	common_put(&d, VIRTIO_PCI_COMMON_GF, 4, 0xffffffff);
	common_put(&d, VIRTIO_PCI_COMMON_STATUS, 1, 15);
	assert_int_equal(common_get(&d, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	/* Vectors and queues that are not there. */
	common_put(&d, VIRTIO_PCI_COMMON_MSIX, 2, 9);
	assert_int_equal(common_get(&d, VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
	common_put(&d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 9);
	assert_int_equal(common_get(&d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	/* A queue outside of memory. */
	common_put(&d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	common_put(&d, VIRTIO_PCI_COMMON_Q_DESCLO, 8, FIXTURE_RAM_BYTES - 16);
	common_put(&d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(common_get(&d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_true(driver_broken(&d));
	/* Registers through configuration space. */
	access = config_capability(&f, 1, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
	config_put(&f, 1, access + VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_NUMQ);
	config_put(&f, 1, access + VIRTIO_PCI_CAP_LENGTH, 4, 2);
	assert_int_equal(config_get(&f, 1, access + 16, 2), 1);
	config_put(&f, 1, access + VIRTIO_PCI_CAP_OFFSET, 4, 0xfffffff0);
	(void)config_get(&f, 1, access + 16, 2);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(refuses_bad_requests),
		cmocka_unit_test(writes_through),
		cmocka_unit_test(survives_malformed_queues),
		cmocka_unit_test(takes_indirect_tables),
		cmocka_unit_test(resets_when_requests_are_back),
		cmocka_unit_test(minds_the_event_index),
		cmocka_unit_test(falls_back_to_a_line),
		cmocka_unit_test(negotiates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
