/*
 * The NVMe controller, driven as a guest's driver drives it: enabling, queues, reads and writes by
 * every form of PRP, malformed ones, full queues, deletion and disabling with commands under way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "virt/vm/device/block_fixture.h"
#include "virt/vm/device/device_fixture.h"
#include "virt/vm/device/nvme.h"

#define ENTRIES 16

struct command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint64_t reserved, metadata, prp1, prp2;
	uint32_t dword10, dword11, dword12, dword13, dword14, dword15;
};
static_assert(sizeof(struct command) == 64, "as in the queue");

struct queue {
	uint64_t sq, cq;
	uint16_t tail, head;
	bool phase;
};

struct guest {
	struct fixture f;
	uint64_t bar;
	struct queue q[3];
	uint16_t next_id;
};

static struct disk disk;

static void reg_put(struct guest *g, uint64_t at, unsigned size, uint64_t value)
{
	bus_write(g->f.bus, BUS_MEMORY, g->bar + at, size, value);
}

static uint64_t reg_get(struct guest *g, uint64_t at, unsigned size)
{
	return bus_read(g->f.bus, BUS_MEMORY, g->bar + at, size);
}

static void queue_room(struct guest *g, unsigned i)
{
	struct queue *q = &g->q[i];

	*q = (struct queue){.sq = q->sq, .cq = q->cq, .phase = true};
	if (!q->sq) {
		q->sq = fixture_room(&g->f, ENTRIES * 64);
		q->cq = fixture_room(&g->f, ENTRIES * 16);
	}
	memset(fixture_mem(&g->f, q->cq), 0, ENTRIES * 16);
}

static void submit(struct guest *g, unsigned i, struct command c)
{
	struct queue *q = &g->q[i];

	memcpy(fixture_mem(&g->f, q->sq + q->tail * 64u), &c, 64);
	q->tail = (uint16_t)((q->tail + 1) % ENTRIES);
	reg_put(g, 0x1000 + 8 * i, 4, q->tail);
}

/* The next completion: its status, or -1 where there is none. The doorbell is the caller's. */
static int completion(struct guest *g, unsigned i, uint16_t *ret_id, uint32_t *ret_result)
{
	struct queue *q = &g->q[i];
	uint32_t c[4];

	memcpy(c, fixture_mem(&g->f, q->cq + q->head * 16u), 16);
	if ((c[3] >> 16 & 1) != q->phase)
		return -1;
	q->head = (uint16_t)((q->head + 1) % ENTRIES);
	if (q->head == 0)
		q->phase = !q->phase;
	*ret_id = (uint16_t)c[3];
	*ret_result = c[0];
	return (int)(c[3] >> 17);
}

static int command_result(struct guest *g, unsigned i, struct command c, uint32_t *ret_result)
{
	uint16_t id;
	int status;

	c.id = g->next_id++;
	submit(g, i, c);
	while ((status = completion(g, i, &id, ret_result)) < 0)
		fixture_wait(&g->f);
	reg_put(g, 0x1004 + 8 * i, 4, g->q[i].head);
	assert_int_equal(id, c.id);
	return status;
}

static int command(struct guest *g, unsigned i, struct command c)
{
	uint32_t result;

	return command_result(g, i, c, &result);
}

static void enable(struct guest *g)
{
	queue_room(g, 0);
	reg_put(g, 0x24, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	reg_put(g, 0x28, 8, g->q[0].sq);
	reg_put(g, 0x30, 8, g->q[0].cq);
	reg_put(g, 0x14, 4, 4 << 20 | 6 << 16 | 1);
	assert_int_equal(reg_get(g, 0x1c, 4), 1);
}

static void guest_open(struct guest *g)
{
	struct err e = {0};

	*g = (struct guest){0};
	fixture_open(&g->f);
	disk_open(&disk, g->f.loop);
	assert_int_equal(nvme_new(g->f.pci, &disk.back, &e), 0);
	config_enable(&g->f, 1);
	g->bar = config_bar(&g->f, 1, 0);
	enable(g);
}

static void io_queue(struct guest *g, unsigned i)
{
	queue_room(g, i);
	assert_int_equal(command(g, 0,
				 (struct command){.opcode = 5,
						  .prp1 = g->q[i].cq,
						  .dword10 = i | (ENTRIES - 1) << 16,
						  .dword11 = i << 16 | 3}),
			 0);
	assert_int_equal(command(g, 0,
				 (struct command){.opcode = 1,
						  .prp1 = g->q[i].sq,
						  .dword10 = i | (ENTRIES - 1) << 16,
						  .dword11 = i << 16 | 1}),
			 0);
}

static struct command transfer(uint8_t opcode, uint32_t lba, unsigned blocks, uint64_t prp1,
			       uint64_t prp2)
{
	return (struct command){.opcode = opcode,
				.namespace = 1,
				.prp1 = prp1,
				.prp2 = prp2,
				.dword10 = lba,
				.dword12 = blocks - 1};
}

static void says_what_it_is(void **state)
{
	struct guest g;
	uint64_t page;
	uint32_t result;
	uint64_t blocks;

	guest_open(&g);
	page = fixture_room(&g.f, 4096);
	assert_int_equal(reg_get(&g, 0, 8) & 0xffff, 1023);
	assert_int_equal(reg_get(&g, 8, 4), 0x10400);
	assert_int_equal(reg_get(&g, 4, 4), reg_get(&g, 0, 8) >> 32);
	assert_int_equal(command(&g, 0, (struct command){.opcode = 6, .prp1 = page, .dword10 = 1}),
			 0);
	assert_memory_equal(fixture_mem(&g.f, page + 4), "serial-1  ", 10);
	assert_int_equal(*fixture_mem(&g.f, page + 516), 1);
	assert_int_equal(
		command(&g, 0,
			(struct command){.opcode = 6, .namespace = 1, .prp1 = page, .dword10 = 0}),
		0);
	memcpy(&blocks, fixture_mem(&g.f, page), 8);
	assert_int_equal(blocks, DISK_BYTES / 512);
	assert_int_equal(*fixture_mem(&g.f, page + 130), 9);
	assert_int_equal(command(&g, 0, (struct command){.opcode = 6, .prp1 = page, .dword10 = 2}),
			 0);
	assert_int_equal(*fixture_mem(&g.f, page), 1);
	assert_int_equal(command(&g, 0, (struct command){.opcode = 6, .prp1 = page, .dword10 = 77}),
			 0x4002);
	assert_int_equal(
		command_result(&g, 0,
			       (struct command){.opcode = 9, .dword10 = 7, .dword11 = 0x30003},
			       &result),
		0);
	assert_int_equal(result, 31 << 16 | 31);
	assert_int_equal(command(&g, 0, (struct command){.opcode = 0x99}), 0x4001);
	fixture_close(&g.f);
}

static void moves_data(void **state)
{
	struct guest g;
	uint64_t list, data;
	uint8_t *p;

	guest_open(&g);
	io_queue(&g, 1);
	list = fixture_room(&g.f, 2 * 4096);
	data = fixture_room(&g.f, 140 * 4096);
	/* One page, from its middle, and over into a second. */
	assert_int_equal(command(&g, 1, transfer(2, 3, 1, data + 512, 0)), 0);
	assert_memory_equal(fixture_mem(&g.f, data + 512), disk.bytes + 3 * 512, 512);
	assert_int_equal(command(&g, 1, transfer(2, 8, 8, data + 2048, data + 8192)), 0);
	assert_memory_equal(fixture_mem(&g.f, data + 2048), disk.bytes + 8 * 512, 2048);
	assert_memory_equal(fixture_mem(&g.f, data + 8192), disk.bytes + 8 * 512 + 2048, 2048);
	/* A list that ends one entry before its page and goes on in the next; pages in reverse. */
	for (unsigned i = 0; i < 127; i++) {
		uint64_t page = data + (127 - i) * 4096ull, next = list + 4096;
		uint64_t at = i < 3 ? list + 4096 - 32 + 8 * i : next + 8 * (i - 3);

		memcpy(fixture_mem(&g.f, at), &page, 8);
		memcpy(fixture_mem(&g.f, list + 4096 - 8), &next, 8);
	}
	assert_int_equal(command(&g, 1, transfer(2, 0, 1024, data + 128 * 4096, list + 4096 - 32)),
			 0);
	for (unsigned i = 0; i < 128; i++)
		assert_memory_equal(fixture_mem(&g.f, data + (128 - i) * 4096ull),
				    disk.bytes + i * 4096, 4096);
	/* Writing, with force unit access; zeroes; flush. */
	p = fixture_mem(&g.f, data);
	memset(p, 0x77, 512);
	assert_int_equal(command(&g, 1,
				 (struct command){.opcode = 1,
						  .namespace = 1,
						  .prp1 = data,
						  .dword10 = 9,
						  .dword12 = 1u << 30}),
			 0);
	assert_int_equal(disk.bytes[9 * 512 + 1], 0x77);
	assert_int_equal(disk.flushes, 1);
	assert_int_equal(command(&g, 1, transfer(8, 9, 1, 0, 0)), 0);
	assert_int_equal(disk.bytes[9 * 512 + 1], 0);
	assert_int_equal(command(&g, 1, (struct command){.opcode = 0, .namespace = ~0u}), 0);
	assert_int_equal(disk.flushes, 2);
	fixture_close(&g.f);
}

static void deallocates(void **state)
{
	const struct {
		uint32_t hints, blocks;
		uint64_t lba;
	} ranges[3] = {{0, 2, 4}, {0, 0, 0}, {0, 1, 100}}, far[1] = {{0, 2, DISK_BYTES / 512 - 1}};
	const struct command c = {
		.opcode = 9, .namespace = 1, .prp1 = 0x100000 - 4096, .dword10 = 2, .dword11 = 4};
	struct command one = c;
	struct guest g;

	guest_open(&g);
	io_queue(&g, 1);
	memcpy(fixture_mem(&g.f, c.prp1), ranges, sizeof(ranges));
	assert_int_equal(command(&g, 1, c), 0);
	assert_int_equal(disk.discards, 2);
	assert_int_equal(disk.bytes[5 * 512 + 3], 0);
	assert_int_equal(disk.bytes[100 * 512 + 3], 0);
	assert_int_not_equal(disk.bytes[6 * 512 + 3], 0);
	memcpy(fixture_mem(&g.f, c.prp1), far, sizeof(far));
	one.dword10 = 0;
	assert_int_equal(command(&g, 1, one), 0x4080);
	disk.back.read_only = true;
	assert_int_equal(command(&g, 1, c), 0x4182);
	assert_int_equal(command(&g, 1, transfer(1, 0, 1, 0x1000, 0)), 0x4182);
	fixture_close(&g.f);
}

static void refuses_bad_commands(void **state)
{
	const struct {
		struct command c;
		int status;
	} bad[] = {
		{{.opcode = 2, .namespace = 2, .prp1 = 0x1000}, 0x400b},
		{{.opcode = 2, .namespace = 1, .flags = 0x40, .prp1 = 0x1000}, 0x4002},
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1001}, 0x4013},
		{{.opcode = 2, .namespace = 1, .prp1 = FIXTURE_RAM_BYTES}, 0x4004},
		{{.opcode = 2, .namespace = 1, .prp1 = ~0ull & ~3ull}, 0x4004},
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1000, .dword10 = DISK_BYTES / 512},
		 0x4080},
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1000, .dword11 = ~0u}, 0x4080},
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1000, .prp2 = 0x2001, .dword12 = 15},
		 0x4013},
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1000, .prp2 = 0x2001, .dword12 = 99},
		 0x4013},
		/* A list of pages that are none, and one that leads to itself. */
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1000, .prp2 = 0x3000, .dword12 = 99},
		 0x4013},
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1000, .prp2 = 0x4ff8, .dword12 = 99},
		 0x4004},
		{{.opcode = 2, .namespace = 1, .prp1 = 0x1000, .dword12 = 1024}, 0x4002},
		{{.opcode = 9, .namespace = 1, .prp1 = FIXTURE_RAM_BYTES, .dword11 = 4}, 0x4004},
	};
	const uint64_t self = 0x4000, nowhere = FIXTURE_RAM_BYTES;
	struct guest g;

	guest_open(&g);
	io_queue(&g, 1);
	memset(fixture_mem(&g.f, 0x3000), 0x11, 4096);
	memcpy(fixture_mem(&g.f, 0x4ff8), &self, 8);
	for (unsigned i = 0; i < 511; i++)
		memcpy(fixture_mem(&g.f, 0x4000 + i * 8), &nowhere, 8);
	for (size_t i = 0; i < array_len(bad); i++)
		assert_int_equal(command(&g, 1, bad[i].c), bad[i].status);
	disk.error = 5;
	assert_int_equal(command(&g, 1, transfer(2, 0, 1, 0x1000, 0)), 0x281);
	assert_int_equal(command(&g, 1, transfer(1, 0, 1, 0x1000, 0)), 0x280);
	fixture_close(&g.f);
}

static void refuses_bad_queues(void **state)
{
	const uint32_t size = (ENTRIES - 1) << 16;
	const struct {
		struct command c;
		int status;
	} bad[] = {
		{{.opcode = 5, .prp1 = 0x1000, .dword10 = size, .dword11 = 1}, 0x4101},
		{{.opcode = 5, .prp1 = 0x1000, .dword10 = size | 33, .dword11 = 1}, 0x4101},
		{{.opcode = 5, .prp1 = 0x1000, .dword10 = 2, .dword11 = 1}, 0x4102},
		{{.opcode = 5, .prp1 = 0x1000, .dword10 = 0xffff0002, .dword11 = 1}, 0x4102},
		{{.opcode = 5, .prp1 = 0x1000, .dword10 = size | 2}, 0x4002},
		{{.opcode = 5, .prp1 = 0x1001, .dword10 = size | 2, .dword11 = 1}, 0x4013},
		{{.opcode = 5, .prp1 = 1ull << 40, .dword10 = size | 2, .dword11 = 1}, 0x4013},
		{{.opcode = 5, .prp1 = 0x1000, .dword10 = size | 2, .dword11 = 99 << 16 | 1},
		 0x4108},
		{{.opcode = 1, .prp1 = 0x1000, .dword10 = size | 2, .dword11 = 2 << 16 | 1},
		 0x4100},
		{{.opcode = 1, .prp1 = 0x1000, .dword10 = size | 1, .dword11 = 1 << 16 | 1},
		 0x4101},
		{{.opcode = 4, .dword10 = 1}, 0x410c},
		{{.opcode = 4, .dword10 = 9}, 0x4101},
		{{.opcode = 0, .dword10 = 9}, 0x4101},
		{{.opcode = 0, .dword10 = 0}, 0x4101},
		{{.opcode = 2, .prp1 = 0x1000, .dword10 = 0x40002}, 0},
		{{.opcode = 2, .prp1 = 0x1000, .dword10 = 0xffff0002}, 0x4002},
		{{.opcode = 2, .prp1 = 0x1000, .dword10 = 9}, 0x4109},
		{{.opcode = 9, .dword10 = 1u << 31 | 1}, 0x410d},
		{{.opcode = 10, .dword10 = 0x55}, 0x4002},
	};
	struct guest g;

	guest_open(&g);
	io_queue(&g, 1);
	for (size_t i = 0; i < array_len(bad); i++)
		assert_int_equal(command(&g, 0, bad[i].c), bad[i].status);
	for (unsigned i = 0; i < 4; i++)
		submit(&g, 0, (struct command){.opcode = 12});
	assert_int_equal(command(&g, 0, (struct command){.opcode = 12}), 0x4105);
	/* Doorbells of queues that are not there, and values that cannot be. */
	reg_put(&g, 0x1000 + 8 * 5, 4, 1);
	reg_put(&g, 0x1000 + 8, 4, ENTRIES);
	reg_put(&g, 0x1000 + 8 * 400, 4, 1);
	fixture_turn(&g.f);
	assert_int_equal(command(&g, 1, transfer(2, 0, 1, 0x1000, 0)), 0);
	fixture_close(&g.f);
}

static void waits_for_room(void **state)
{
	struct guest g;
	uint32_t result;
	uint16_t id;
	unsigned done = 0;

	guest_open(&g);
	io_queue(&g, 1);
	/* The guest does not take completions: fifteen fit, the rest waits. */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 14; i++)
			submit(&g, 1, transfer(2, 0, 1, 0x1000, 0));
		fixture_turn(&g.f);
	}
	while (completion(&g, 1, &id, &result) == 0)
		done++;
	assert_int_equal(done, 15);
	reg_put(&g, 0x1004 + 8, 4, g.q[1].head);
	fixture_turn(&g.f);
	while (completion(&g, 1, &id, &result) == 0)
		done++;
	assert_int_equal(done, 28);
	assert_true(g.f.messages[1] >= 2);
	fixture_close(&g.f);
}

static void deletes_and_disables(void **state)
{
	struct guest g;
	uint32_t result;
	uint16_t id;

	guest_open(&g);
	io_queue(&g, 1);
	disk.keep = true;
	submit(&g, 1, transfer(2, 0, 1, 0x1000, 0));
	fixture_turn(&g.f);
	submit(&g, 0, (struct command){.opcode = 0, .id = 0x7777, .dword10 = 1});
	fixture_turn(&g.f);
	assert_int_equal(completion(&g, 0, &id, &result), -1);
	disk_complete(&disk);
	fixture_turn(&g.f);
	assert_int_equal(completion(&g, 1, &id, &result), 0);
	assert_int_equal(completion(&g, 0, &id, &result), 0);
	assert_int_equal(id, 0x7777);
	assert_int_equal(command(&g, 0, (struct command){.opcode = 4, .dword10 = 1}), 0);
	/* Disabled with a read under way: ready until it is back, and nothing is posted. */
	io_queue(&g, 2);
	submit(&g, 2, transfer(2, 0, 1, 0x1000, 0));
	fixture_turn(&g.f);
	assert_true(pci_busy(g.f.pci));
	reg_put(&g, 0x14, 4, 4 << 20 | 6 << 16);
	assert_int_equal(reg_get(&g, 0x1c, 4) & 1, 1);
	disk_complete(&disk);
	assert_int_equal(reg_get(&g, 0x1c, 4), 0);
	assert_int_equal(completion(&g, 2, &id, &result), -1);
	enable(&g);
	disk.keep = false;
	/* Shutting down flushes. */
	result = disk.flushes;
	reg_put(&g, 0x14, 4, 1 << 14 | 4 << 20 | 6 << 16 | 1);
	assert_int_equal(reg_get(&g, 0x1c, 4) >> 2, 1);
	fixture_turn(&g.f);
	assert_int_equal(reg_get(&g, 0x1c, 4) >> 2, 2);
	assert_int_equal(disk.flushes, result + 1);
	fixture_close(&g.f);
}

/* The machine ends while a read is under way: it comes back first. */
static void ends_with_requests(void **state)
{
	struct guest g;

	guest_open(&g);
	io_queue(&g, 1);
	disk.keep = true;
	submit(&g, 1, transfer(2, 0, 1, 0x1000, 0));
	fixture_turn(&g.f);
	assert_int_equal(disk.kept_n, 1);
	loop_post(g.f.loop, disk_complete, &disk);
	fixture_close(&g.f);
	assert_int_equal(disk.kept_n, 0);
}

static void cannot_be_enabled_wrongly(void **state)
{
	struct guest g;

	guest_open(&g);
	reg_put(&g, 0x14, 4, 0);
	reg_put(&g, 0x28, 8, FIXTURE_RAM_BYTES);
	reg_put(&g, 0x14, 4, 4 << 20 | 6 << 16 | 1);
	assert_int_equal(reg_get(&g, 0x1c, 4), 2);
	reg_put(&g, 0x14, 4, 0);
	assert_int_equal(reg_get(&g, 0x1c, 4), 0);
	enable(&g);
	pci_reset(g.f.pci);
	config_enable(&g.f, 1);
	assert_int_equal(reg_get(&g, 0x1c, 4), 0);
	assert_int_equal(reg_get(&g, 0x14, 4), 0);
	enable(&g);
	assert_int_equal(command(&g, 0, (struct command){.opcode = 8}), 0);
	fixture_close(&g.f);
}

static void raises_a_line(void **state)
{
	struct guest g;
	uint32_t result;
	uint16_t id;

	guest_open(&g);
	config_put(&g.f, 1, config_capability(&g.f, 1, PCI_CAP_ID_MSIX, -1) + 2, 2, 0);
	submit(&g, 0, (struct command){.opcode = 8});
	fixture_wait(&g.f);
	assert_true(g.f.line[1]);
	reg_put(&g, 0x0c, 4, 1);
	assert_false(g.f.line[1]);
	reg_put(&g, 0x10, 4, 1);
	assert_true(g.f.line[1]);
	assert_int_equal(completion(&g, 0, &id, &result), 0);
	reg_put(&g, 0x1004, 4, g.q[0].head);
	assert_false(g.f.line[1]);
	fixture_close(&g.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_it_is),	cmocka_unit_test(moves_data),
		cmocka_unit_test(deallocates),		cmocka_unit_test(refuses_bad_commands),
		cmocka_unit_test(refuses_bad_queues),	cmocka_unit_test(waits_for_room),
		cmocka_unit_test(deletes_and_disables), cmocka_unit_test(cannot_be_enabled_wrongly),
		cmocka_unit_test(raises_a_line),	cmocka_unit_test(ends_with_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
