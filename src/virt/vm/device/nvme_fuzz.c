/*
 * Fuzzes the NVMe controller: the input is a program of a hostile guest, which writes registers,
 * doorbells and commands of any kind; guest memory is filled with page lists that partly make
 * sense.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/cursor.h"
#include "virt/vm/device/block_fixture.h"
#include "virt/vm/device/device_fixture.h"
#include "virt/vm/device/nvme.h"

#define ENTRIES	  8u
#define QUEUES	  3u
#define STEPS_MAX 500
#define ENABLE	  (4u << 20 | 6u << 16 | 1u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct disk disk;

struct hostile {
	struct fixture f;
	uint64_t bar;
	uint16_t tail[QUEUES];
};

static void put(struct hostile *h, uint64_t at, unsigned size, uint64_t value)
{
	bus_write(h->f.bus, BUS_MEMORY, h->bar + at, size, value);
}

/* Queue i: submissions at 0x100000 + i * 0x2000, completions a page behind. */
static uint64_t queue_at(unsigned i)
{
	return 0x100000 + i * 0x2000ull;
}

static void submit(struct hostile *h, unsigned i, const uint32_t command[16])
{
	memcpy(fixture_mem(&h->f, queue_at(i) + h->tail[i] * 64u), command, 64);
	h->tail[i] = (uint16_t)((h->tail[i] + 1) % ENTRIES);
	put(h, 0x1000 + 8 * i, 4, h->tail[i]);
}

static void create(struct hostile *h, unsigned i)
{
	const uint32_t cq[16] = {5, [6] = (uint32_t)queue_at(i) + 4096,
				 [10] = (ENTRIES - 1) << 16 | i, [11] = i << 16 | 3};
	const uint32_t sq[16] = {
		1, [6] = (uint32_t)queue_at(i), [10] = (ENTRIES - 1) << 16 | i, [11] = i << 16 | 1};

	h->tail[i] = 0;
	submit(h, 0, cq);
	submit(h, 0, sq);
	fixture_turn(&h->f);
}

static void enable(struct hostile *h)
{
	put(h, 0x14, 4, 0);
	fixture_turn(&h->f);
	h->tail[0] = 0;
	put(h, 0x24, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	put(h, 0x28, 8, queue_at(0));
	put(h, 0x30, 8, queue_at(0) + 4096);
	put(h, 0x14, 4, ENABLE);
}

static void command(struct hostile *h, struct cursor *c)
{
	uint8_t how = cursor_u8(c);
	uint32_t w[16] = {0};

	w[0] = cursor_u8(c) % 16u | (uint32_t)cursor_u8(c) << 16;
	w[1] = how & 0x40 ? cursor_le32(c) : 1;
	w[6] = (uint32_t)cursor_be16(c) << 4;
	w[8] = (uint32_t)cursor_be16(c) << 4;
	w[10] = cursor_be16(c) % (DISK_BYTES / 512);
	w[12] = cursor_u8(c);
	if (how & 0x80)
		for (unsigned i = 0; i < 16; i++)
			w[i] ^= cursor_le32(c);
	submit(h, how % QUEUES, w);
}

static void poke(struct hostile *h, struct cursor *c)
{
	uint64_t at = (uint64_t)cursor_be16(c) << 4, value = cursor_le64(c);

	if (at < 0xffff8)
		memcpy(fixture_mem(&h->f, at), &value, 8);
}

static void step(struct hostile *h, struct cursor *c)
{
	uint8_t op = cursor_u8(c);
	unsigned i = op / 8 % QUEUES;

	switch (op % 8) {
	case 0:
		enable(h);
		break;
	case 1:
		create(h, i);
		break;
	case 2:
	case 3:
		command(h, c);
		break;
	case 4:
		put(h, 0x1004 + 8 * i, 4, cursor_u8(c) % (ENTRIES + 2));
		break;
	case 5:
		poke(h, c);
		break;
	case 6:
		disk.keep = op & 0x80;
		if (!disk.keep)
			disk_complete(&disk);
		fixture_turn(&h->f);
		break;
	default:
		put(h, cursor_be16(c) % 0x1200 & ~3u, op & 0x40 ? 8 : 4, cursor_le64(c));
		(void)bus_read(h->f.bus, BUS_MEMORY, h->bar + cursor_u8(c) % 64, 1u << i);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_of(data, size);
	struct hostile h = {0};
	struct err e = {0};

	fixture_open(&h.f);
	disk_open(&disk, h.f.loop);
	if (nvme_new(h.f.pci, &disk.back, &e) < 0)
		abort();
	config_enable(&h.f, 1);
	h.bar = config_bar(&h.f, 1, 0);
	for (uint64_t i = 0; i < 512; i++) { /* a page list of pages, the last leads to itself */
		uint64_t page = i == 511 ? 0x2000 : 0x10000 + (i % 64) * 4096;

		memcpy(fixture_mem(&h.f, 0x2000 + i * 8), &page, 8);
	}
	enable(&h);
	create(&h, 1);
	for (unsigned i = 0; i < STEPS_MAX && c.n && !c.bad; i++)
		step(&h, &c);
	disk.keep = false;
	pci_reset(h.f.pci);
	do {
		disk_complete(&disk);
		fixture_turn(&h.f);
	} while (disk.kept_n);
	assert(!pci_busy(h.f.pci));
	fixture_close(&h.f);
	return 0;
}
