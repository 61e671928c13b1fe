/*
 * The network device, the console and the entropy device, driven as a guest drives them, over
 * backs that record. Checksums are compared with sums done by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_console.h>
#include <linux/virtio_net.h>

#include "virt/vm/device/checksum.h"
#include "virt/vm/device/device_fixture.h"
#include "virt/vm/device/virtio_console.h"
#include "virt/vm/device/virtio_net.h"
#include "virt/vm/device/virtio_rng.h"

#define OUT 1
#define IN  0

/* ---- backs ---- */

struct wire {
	struct net_back back;
	uint8_t frame[NET_FRAME_MAX];
	size_t bytes;
	unsigned sent, resumed;
};

static void wire_send(struct net_back *b, const struct iovec *v, size_t n)
{
	struct wire *w = (struct wire *)(void *)b;

	w->bytes = 0;
	w->sent++;
	for (size_t i = 0; i < n; i++) {
		memcpy(w->frame + w->bytes, v[i].iov_base, v[i].iov_len);
		w->bytes += v[i].iov_len;
	}
}

static void wire_resume(struct net_back *b)
{
	((struct wire *)(void *)b)->resumed++;
}

static const struct net_ops wire_ops = {"wire", wire_send, wire_resume, NULL};

struct screen {
	struct char_back back;
	char text[256];
	size_t n, room;
	unsigned resumed;
};

static size_t screen_write(struct char_back *b, const uint8_t *bytes, size_t n)
{
	struct screen *s = (struct screen *)(void *)b;

	n = n < s->room ? n : s->room;
	memcpy(s->text + s->n, bytes, n);
	s->n += n;
	s->room -= n;
	return n;
}

static void screen_resume(struct char_back *b)
{
	((struct screen *)(void *)b)->resumed++;
}

static const struct char_ops screen_ops = {"screen", screen_write, screen_resume, NULL};

/* ---- network ---- */

static struct wire wire;

static void net_open(struct fixture *f, struct driver *d, uint64_t features)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct err e = {0};

	fixture_open(f);
	wire = (struct wire){.back = {.ops = &wire_ops}};
	assert_int_equal(virtio_net_new(f->pci, &wire.back, mac, &e), 0);
	driver_open(d, f, 1, features);
	driver_queue(d, IN, 16);
	driver_queue(d, OUT, 16);
	driver_ready(d);
	fixture_turn(f);
}

static void sends_frames(void **state)
{
	const struct piece p[2] = {{0x8000, 12, false}, {0x9000, 60, false}};
	struct virtio_net_hdr_v1 h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
	struct fixture f;
	struct driver d;

	net_open(&f, &d, ~0ull);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, d.config, 8), 0x0001010000000002);
	memset(fixture_mem(&f, 0x8000), 0, 12);
	memset(fixture_mem(&f, 0x9000), 0x11, 60);
	assert_int_equal(driver_do(&d, OUT, p, 2), 0);
	assert_int_equal(wire.bytes, 60);
	assert_int_equal(wire.frame[59], 0x11);
	/* 26 bytes of 0x1111 with the sum field included: 13 × 0x1111 = 0xdddd. */
	memcpy(fixture_mem(&f, 0x8000), &h, 12);
	assert_int_equal(driver_do(&d, OUT, p, 2), 0);
	assert_int_equal(wire.frame[40] << 8 | wire.frame[41], 0xffff - 0xdddd);
	assert_int_equal(*fixture_mem(&f, 0x9000 + 40), 0x11); /* the guest's stays */
	/* Too short, with an offload that was not offered: dropped, not broken. */
	h = (struct virtio_net_hdr_v1){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4};
	memcpy(fixture_mem(&f, 0x8000), &h, 12);
	assert_int_equal(driver_do(&d, OUT, p, 2), 0);
	assert_int_equal(driver_do(&d, OUT, p, 1), 0);
	assert_int_equal(wire.sent, 2);
	assert_false(driver_broken(&d));
	h = (struct virtio_net_hdr_v1){.flags = 1, .csum_start = 59, .csum_offset = 0};
	memcpy(fixture_mem(&f, 0x8000), &h, 12);
	(void)driver_chain(&d, OUT, p, 2);
	driver_ring(&d, OUT);
	fixture_turn(&f);
	assert_true(driver_broken(&d));
	fixture_close(&f);
}

static void merges_receive_buffers(void **state)
{
	const struct piece p = {0x10000, 100, true}, q = {0x11000, 100, true};
	uint8_t frame[150];
	struct fixture f;
	struct driver d;
	uint32_t head, written;

	net_open(&f, &d, ~0ull);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	(void)driver_chain(&d, IN, &p, 1);
	driver_ring(&d, IN);
	fixture_turn(&f);
	/* One buffer is not enough: nothing is used, the back keeps the frame. */
	assert_false(wire.back.receive(wire.back.front, frame, sizeof(frame)));
	assert_false(driver_used(&d, IN, &head, &written));
	(void)driver_chain(&d, IN, &q, 1);
	driver_ring(&d, IN);
	fixture_turn(&f);
	assert_int_equal(wire.resumed, 1);
	assert_true(wire.back.receive(wire.back.front, frame, sizeof(frame)));
	assert_true(driver_used(&d, IN, &head, &written));
	assert_int_equal(written, 100);
	assert_true(driver_used(&d, IN, &head, &written));
	assert_int_equal(written, 62);
	assert_int_equal(*fixture_mem(&f, 0x10000 + 10), 2); /* num_buffers */
	assert_memory_equal(fixture_mem(&f, 0x10000 + 12), frame, 88);
	assert_memory_equal(fixture_mem(&f, 0x11000), frame + 88, 62);
	assert_int_equal(f.messages[1], 1);
	fixture_close(&f);
}

static void drops_what_does_not_fit(void **state)
{
	const struct piece p = {0x10000, 100, true}, tiny = {0x10000, 5, true};
	uint8_t frame[150] = {0};
	struct fixture f;
	struct driver d;
	uint32_t head, written;

	net_open(&f, &d, 0); /* no merging */
	(void)driver_chain(&d, IN, &p, 1);
	assert_true(wire.back.receive(wire.back.front, frame, sizeof(frame)));
	assert_false(driver_used(&d, IN, &head, &written));
	assert_true(wire.back.receive(wire.back.front, frame, 60));
	assert_true(driver_used(&d, IN, &head, &written));
	assert_int_equal(written, 72);
	(void)driver_chain(&d, IN, &tiny, 1);
	assert_true(wire.back.receive(wire.back.front, frame, 60));
	assert_true(driver_broken(&d));
	assert_true(wire.back.receive(wire.back.front, frame, 60));
	fixture_close(&f);
}

static void checks_checksums(void **state)
{
	/* An IPv4 UDP datagram of 3 bytes "abc": 10.0.0.1:1 to 10.0.0.2:2. */
	uint8_t u[45] = {
		[12] = 8, [14] = 0x45, [17] = 31, [23] = 17, [26] = 10,	 [29] = 1, [30] = 10,
		[33] = 2, [35] = 1,    [37] = 2,  [39] = 11, [42] = 'a', 'b',	   'c'};
	uint32_t sum = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 11 + 1 + 2 + 11 + 0x6162 + 0x6300;

	assert_false(checksum_right(u, sizeof(u))); /* none is there */
	sum = (sum & 0xffff) + (sum >> 16);
	u[40] = (uint8_t)(~sum >> 8);
	u[41] = (uint8_t)~sum;
	assert_true(checksum_right(u, sizeof(u)));
	u[43] ^= 1;
	assert_false(checksum_right(u, sizeof(u)));
	u[43] ^= 1;
	for (size_t n = 0; n < sizeof(u); n++)
		assert_false(checksum_right(u, n));
	u[20] = 0x20; /* a fragment */
	assert_false(checksum_right(u, sizeof(u)));
}

/* ---- console ---- */

static struct screen screen;

static void console_open(struct fixture *f, struct driver *d)
{
	struct err e = {0};

	fixture_open(f);
	screen = (struct screen){.back = {.ops = &screen_ops, .columns = 80, .rows = 25},
				 .room = 100};
	assert_int_equal(virtio_console_new(f->pci, &screen.back, &e), 0);
	driver_open(d, f, 1, ~0ull);
	driver_queue(d, IN, 4);
	driver_queue(d, OUT, 4);
	driver_ready(d);
	fixture_turn(f);
}

static void console_speaks(void **state)
{
	const struct piece p = {0x8000, 5, false};
	struct fixture f;
	struct driver d;
	uint32_t head, written;

	console_open(&f, &d);
	memcpy(fixture_mem(&f, 0x8000), "hello", 5);
	assert_int_equal(driver_do(&d, OUT, &p, 1), 0);
	assert_int_equal(screen.n, 5);
	/* The terminal takes two bytes, later the rest: the chain is used only then. */
	screen.room = 2;
	(void)driver_chain(&d, OUT, &p, 1);
	driver_ring(&d, OUT);
	fixture_turn(&f);
	assert_false(driver_used(&d, OUT, &head, &written));
	screen.room = 100;
	screen.back.writable(screen.back.front);
	assert_true(driver_used(&d, OUT, &head, &written));
	assert_memory_equal(screen.text, "hellohello", 10);
	bus_write(f.bus, BUS_MEMORY, d.config + 8, 4, '!');
	assert_int_equal(screen.text[10], '!');
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, d.config, 4), 80 | 25 << 16);
	bus_write(f.bus, BUS_MEMORY, d.config, 2, 7); /* not the guest's to change */
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, d.config, 4), 80 | 25 << 16);
	fixture_close(&f);
}

static void console_listens(void **state)
{
	const struct piece p = {0x9000, 3, true};
	struct fixture f;
	struct driver d;
	uint32_t head, written;
	unsigned generation;

	console_open(&f, &d);
	assert_int_equal(screen.back.receive(screen.back.front, (const uint8_t *)"abcde", 5), 0);
	(void)driver_chain(&d, IN, &p, 1);
	driver_ring(&d, IN);
	fixture_turn(&f);
	assert_int_equal(screen.resumed, 1);
	assert_int_equal(screen.back.receive(screen.back.front, (const uint8_t *)"abcde", 5), 3);
	assert_true(driver_used(&d, IN, &head, &written));
	assert_int_equal(written, 3);
	assert_memory_equal(fixture_mem(&f, 0x9000), "abc", 3);
	generation = (unsigned)common_get(&d, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	screen.back.resized(screen.back.front, 132, 43);
	assert_int_equal(f.messages[0], 1);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, d.config, 4), 132 | 43 << 16);
	assert_int_not_equal(common_get(&d, VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation);
	fixture_close(&f);
}

/* ---- entropy ---- */

static void sevens(void *ctx, void *p, size_t n)
{
	memset(p, 7, n);
}

static void rng_fills(void **state)
{
	const struct world w = {.random = sevens};
	const struct piece p[2] = {{0x8000, 600, true}, {0x20000, 1 << 20, true}};
	struct fixture f;
	struct driver d;
	struct err e = {0};

	fixture_open(&f);
	assert_int_equal(virtio_rng_new(f.pci, &w, &e), 0);
	driver_open(&d, &f, 1, ~0ull);
	driver_queue(&d, 0, 4);
	driver_ready(&d);
	assert_int_equal(driver_do(&d, 0, p, 1), 600);
	assert_int_equal(*fixture_mem(&f, 0x8000 + 599), 7);
	assert_int_equal(driver_do(&d, 0, p, 2), 64 << 10); /* no more at once */
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_frames),
		cmocka_unit_test(merges_receive_buffers),
		cmocka_unit_test(drops_what_does_not_fit),
		cmocka_unit_test(checks_checksums),
		cmocka_unit_test(console_speaks),
		cmocka_unit_test(console_listens),
		cmocka_unit_test(rng_fills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
