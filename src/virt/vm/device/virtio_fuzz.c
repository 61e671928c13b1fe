/*
 * Fuzzes the virtio devices: the input is a program of a hostile guest, which writes registers and
 * memory, fills queues with any descriptors, rings and lets the loop turn, while backs complete
 * and bytes arrive. Whatever it does, the devices may only break themselves.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/cursor.h"
#include "ground/base/own.h"
#include "ground/wire/unix.h"
#include "virt/vm/device/block_fixture.h"
#include "virt/vm/device/device_fixture.h"
#include "virt/vm/device/virtio_block.h"
#include "virt/vm/device/virtio_console.h"
#include "virt/vm/device/virtio_net.h"
#include "virt/vm/device/virtio_rng.h"
#include "virt/vm/device/virtio_vsock.h"

#define DEVICES	  5
#define STEPS_MAX 400
#define CID	  3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void send_none(struct net_back *b, const struct iovec *v, size_t n)
{
	static volatile uint8_t sum;

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < v[i].iov_len; j++)
			sum = (uint8_t)(sum + ((const uint8_t *)v[i].iov_base)[j]);
}

static void resume_none(struct net_back *b)
{
}

static size_t write_some(struct char_back *b, const uint8_t *bytes, size_t n)
{
	return n > 3 ? n / 2 : n;
}

static void resume_char(struct char_back *b)
{
}

static void sevens(void *ctx, void *p, size_t n)
{
	memset(p, 7, n);
}

static const struct net_ops net_ops = {"fuzz", send_none, resume_none, NULL};
static const struct char_ops char_ops = {"fuzz", write_some, resume_char, NULL};
static const struct world world = {.random = sevens};

static struct disk disk;

struct hostile {
	struct fixture f;
	struct net_back net;
	struct char_back console;
	struct driver d[DEVICES];
	int client;
	char path[64];
};

static void open_devices(struct hostile *h)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct err e = {0};

	fixture_open(&h->f);
	disk_open(&disk, h->f.loop);
	h->net = (struct net_back){.ops = &net_ops};
	h->console = (struct char_back){.ops = &char_ops, .columns = 80, .rows = 25};
	(void)snprintf(h->path, sizeof(h->path), "/tmp/hull-fuzz-vsock-%d", (int)getpid());
	if (virtio_block_new(h->f.pci, &disk.back, &e) < 0 ||
	    virtio_net_new(h->f.pci, &h->net, mac, &e) < 0 ||
	    virtio_console_new(h->f.pci, &h->console, &e) < 0 ||
	    virtio_rng_new(h->f.pci, &world, &e) < 0 ||
	    virtio_vsock_new(h->f.pci, CID, h->path, &e) < 0)
		abort();
}

static void start(struct hostile *h, unsigned i)
{
	struct driver *d = &h->d[i];
	unsigned queues;

	h->f.next = (1 << 20) + i * (1 << 16);
	if (d->f)
		common_put(d, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	fixture_turn(&h->f);
	if (d->f && common_get(d, VIRTIO_PCI_COMMON_STATUS, 1) != 0)
		return; /* requests are under way */
	driver_open(d, &h->f, i + 1, i & 1 ? ~0ull : ~0x20000000ull);
	queues = (unsigned)common_get(d, VIRTIO_PCI_COMMON_NUMQ, 2);
	for (unsigned q = 0; q < queues; q++)
		driver_queue(d, q, 8);
	driver_ready(d);
}

/* A descriptor, mostly of a kind that gets somewhere. */
static void descriptor(struct hostile *h, struct driver_queue *q, struct cursor *c)
{
	uint8_t at = cursor_u8(c), how = cursor_u8(c);
	uint64_t address = 0x1000u + cursor_be16(c);
	uint32_t bytes = cursor_be16(c);

	if (how & 0x10)
		address = cursor_le64(c);
	if (how & 0x20)
		bytes = cursor_le32(c);
	desc_put(&h->f, how & 0x40 ? 0x8000u : q->desc, at % 8, address, bytes, how & 7,
		 (uint16_t)(how & 0x80 ? at : (at + 1) % 8));
}

static void poke(struct hostile *h, struct cursor *c)
{
	uint64_t at = 0x1000u + cursor_be16(c);
	uint8_t n = cursor_u8(c) % 64;
	const unsigned char *p = cursor_bytes(c, n);

	if (p)
		memcpy(fixture_mem(&h->f, at), p, n);
}

static void arrive(struct hostile *h, struct cursor *c)
{
	uint8_t what = cursor_u8(c), n = cursor_u8(c);
	const unsigned char *p = cursor_bytes(c, n);
	char line[] = "CONNECT 7\n";

	if (!p)
		return;
	if (what % 3 == 0)
		(void)h->net.receive(h->net.front, p, n);
	else if (what % 3 == 1)
		(void)h->console.receive(h->console.front, p, n);
	else if (h->client < 0) {
		if (unix_connect(h->path, SOCK_STREAM | SOCK_NONBLOCK, &h->client, NULL) == 0)
			(void)!write(h->client, line, sizeof(line) - 1);
	} else {
		(void)send(h->client, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (what > 200)
			h->client = fd_close(h->client);
	}
}

static void reg(struct hostile *h, const struct driver *d, struct cursor *c)
{
	static const uint8_t sizes[] = {1, 2, 4, 8};
	uint8_t how = cursor_u8(c);
	unsigned size = sizes[how & 3];
	uint64_t at = cursor_be16(c) % 0x3100, value = cursor_le64(c);

	at = (how & 8 ? at % 64 : at) & ~(uint64_t)(size - 1);
	if (how & 4)
		(void)bus_read(h->f.bus, BUS_MEMORY, d->common + at, size);
	else
		bus_write(h->f.bus, BUS_MEMORY, d->common + at, size, value);
}

static void step(struct hostile *h, struct cursor *c)
{
	uint8_t op = cursor_u8(c), which = cursor_u8(c);
	unsigned i = which % DEVICES, qi = which / DEVICES % 3;
	struct driver *d = &h->d[i];
	struct driver_queue *q = &d->q[qi];

	switch (op % 8) {
	case 0:
		start(h, i);
		break;
	case 1:
	case 2:
		if (q->desc)
			descriptor(h, q, c);
		break;
	case 3:
		if (q->desc)
			driver_offer(d, qi, op & 0x80 ? cursor_be16(c) : cursor_u8(c) % 8);
		break;
	case 4:
		if (q->doorbell)
			driver_ring(d, qi);
		fixture_turn(&h->f);
		break;
	case 5:
		poke(h, c);
		break;
	case 6:
		arrive(h, c);
		break;
	default:
		if (op & 0x40)
			config_put(&h->f, 1 + i, cursor_u8(c) & ~3u, 4, cursor_le32(c));
		else if (d->f)
			reg(h, d, c);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_of(data, size);
	struct hostile h = {.client = -1};

	open_devices(&h);
	for (unsigned i = 0; i < DEVICES; i++)
		start(&h, i);
	for (unsigned i = 0; i < STEPS_MAX && c.n && !c.bad; i++)
		step(&h, &c);
	fixture_turn(&h.f);
	pci_reset(h.f.pci);
	while (disk.kept_n)
		fixture_turn(&h.f);
	assert(!pci_busy(h.f.pci));
	(void)fd_close(h.client);
	fixture_close(&h.f);
	return 0;
}
