/*
 * Virtio 1.2 over PCI, split queues: every queue of every device is driven once, its interrupt by
 * MSI-X counted. What the other side must do (answer ARP for 10.0.2.2, listen on vsock port 1024,
 * type a line) is the test's.
 */
#include "virtio.h"

#define CAPABILITY_VENDOR 9
#define INTERRUPTS	  13 /* the last ones are NVMe's and the serial port's */
#define BLOCK_FLUSH	  (1u << 9)
#define BLOCK_DISCARD	  (1u << 13)
#define SECTOR		  512u

static unsigned next_interrupt;

void put16(struct device *d, unsigned at, uint16_t v)
{
	*(volatile uint16_t *)(d->common + at) = v;
}

void put32(struct device *d, unsigned at, uint32_t v)
{
	*(volatile uint32_t *)(d->common + at) = v;
}

void put64(struct device *d, unsigned at, const volatile void *p)
{
	put32(d, at, (uint32_t)(uint64_t)p);
	put32(d, at + 4, 0);
}

void virtio_find(struct device *d)
{
	for (unsigned at = pci_capability(d->pci, CAPABILITY_VENDOR, 0); at;
	     at = pci_capability(d->pci, CAPABILITY_VENDOR, at)) {
		volatile uint8_t *p =
			d->pci->bar[pci_read(d->pci, at + 4, 1)] + pci_read(d->pci, at + 8, 4);
		unsigned kind = pci_read(d->pci, at + 3, 1);

		if (kind == 1)
			d->common = p;
		else if (kind == 4)
			d->config = p;
		if (kind != 2)
			continue;
		d->notify = p;
		d->notify_step = pci_read(d->pci, at + 16, 4);
	}
}

static void queue_make(struct device *d, unsigned i)
{
	struct queue *q = &d->q[i];

	q->desc = fresh_pages(1);
	q->avail = fresh_pages(1);
	q->used = fresh_pages(1);
	q->size = QUEUE_MOST;
	q->number = next_interrupt++ % INTERRUPTS;
	pci_msix(d->pci, i, q->number);
	put16(d, QUEUE_SELECT, (uint16_t)i);
	put16(d, QUEUE_SIZE, q->size);
	put16(d, QUEUE_VECTOR, (uint16_t)i);
	put64(d, QUEUE_DESC, q->desc);
	put64(d, QUEUE_DRIVER, q->avail);
	put64(d, QUEUE_DEVICE, q->used);
	q->doorbell =
		(volatile uint16_t *)(d->notify +
				      (uint64_t) * (volatile uint16_t *)(d->common + QUEUE_NOTIFY) *
					      d->notify_step);
	put16(d, QUEUE_ENABLE, 1);
}

bool virtio_start(struct device *d, uint32_t features, unsigned queues)
{
	virtio_find(d);
	d->common[STATUS] = 0;
	d->common[STATUS] = 1;
	d->common[STATUS] = 3;
	put32(d, SELECT_DEVICE, 0);
	features &= *(volatile uint32_t *)(d->common + DEVICE_FEATURES);
	put32(d, SELECT_DRIVER, 0);
	put32(d, DRIVER_FEATURES, features);
	put32(d, SELECT_DRIVER, 1);
	put32(d, DRIVER_FEATURES, 1); /* VERSION_1 */
	d->common[STATUS] = 11;
	for (unsigned i = 0; i < queues; i++)
		queue_make(d, i);
	d->common[STATUS] = 15;
	return d->common[STATUS] == 15;
}

static bool begin(struct device *d, uint32_t features, unsigned queues)
{
	bool good = virtio_start(d, features, queues) &&
		    *(volatile uint16_t *)(d->common + QUEUES) >= queues;

	check(good, "%s: it takes its features and %u queues", d->name, (uint64_t)queues);
	return good;
}

/* Hands a chain over; its parts stay the caller's. */
void virtio_offer(struct queue *q, unsigned i, const struct part *parts, unsigned n)
{
	uint16_t head = (uint16_t)(q->index % (q->size / 4) * 4);

	for (unsigned k = 0; k < n; k++) {
		q->desc[head + k].at = (uint64_t)parts[k].p;
		q->desc[head + k].n = parts[k].n;
		q->desc[head + k].flags = (uint16_t)(parts[k].flags | (k + 1 < n ? NEXT : 0));
		q->desc[head + k].next = (uint16_t)(head + k + 1);
	}
	q->avail[2 + q->index % q->size] = head;
	q->index++;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->avail[1] = q->index;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*q->doorbell = (uint16_t)i;
}

/* Bytes the device wrote into the next chain that comes back; -1: none came. */
static int64_t taken(struct queue *q)
{
	uint64_t n;

	if (!wait_for(q->used[1] != q->seen))
		return -1;
	n = *(volatile uint32_t *)(q->used + 2 + 4 * (q->seen % q->size) + 2);
	q->seen++;
	return (int64_t)n;
}

static bool interrupted(const struct queue *q)
{
	return wait_for(interrupts[q->number] > 0);
}

static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

/* ---- block, §5.2 ---- */

static bool block_request(struct device *d, uint32_t kind, uint64_t sector, void *p, uint32_t n,
			  bool reads)
{
	static struct {
		uint32_t kind, reserved;
		uint64_t sector;
	} head;
	static volatile uint8_t status;
	struct part parts[3] = {
		{&head, sizeof(head), 0}, {p, n, reads ? WRITES : 0}, {(void *)&status, 1, WRITES}};

	head.kind = kind;
	head.sector = sector;
	status = 0xff;
	if (!p)
		parts[1] = parts[2];
	virtio_offer(&d->q[0], 0, parts, p ? 3 : 2);
	return taken(&d->q[0]) >= 0 && status == 0;
}

static void drive_block(struct device *d)
{
	uint8_t *a = fresh_pages(1), *b = fresh_pages(1);
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range = {16, 8, 0};

	if (!begin(d, BLOCK_FLUSH | BLOCK_DISCARD, 1))
		return;
	check(block_request(d, 0, 0, b, SECTOR, true) && same(b, (const uint8_t *)"host's ", 7),
	      "block: reads what the host put there");
	for (unsigned i = 0; i < PAGE; i++)
		a[i] = (uint8_t)(i * 7 + i / 256);
	check(block_request(d, 1, 8, a, PAGE, false), "block: writes");
	check(block_request(d, 4, 0, NULL, 0, false), "block: flushes");
	check(block_request(d, 0, 8, b, PAGE, true) && same(a, b, PAGE), "block: reads it back");
	check(block_request(d, 8, 0, b, 20, true), "block: has an id");
	check(block_request(d, 11, 0, &range, sizeof(range), false), "block: discards");
	check(!block_request(d, 0, 1ull << 40, b, SECTOR, true),
	      "block: refuses what lies behind its end");
	check(interrupted(&d->q[0]), "block: its interrupt comes");
}

/* ---- network, §5.1 ---- */

static void drive_net(struct device *d)
{
	static const uint8_t question[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 8,    6,
		0,    1,    8,	  0,	6,    4,    0,	  1,	0x52, 0x54, 0,	  0x12, 0x34, 0x56,
		10,   0,    2,	  15,	0,    0,    0,	  0,	0,    0,    10,	  0,	2,    2};
	uint8_t *in = fresh_pages(4), *out = fresh_pages(1);
	struct part receive = {in, PAGE, WRITES}, send = {out, 12 + 60, 0};
	int64_t n = -1;

	if (!begin(d, 0, 2))
		return;
	for (unsigned i = 0; i < 4; i++) {
		receive.p = in + (size_t)i * PAGE;
		virtio_offer(&d->q[0], 0, &receive, 1);
	}
	memcpy(out + 12, question, sizeof(question));
	virtio_offer(&d->q[1], 1, &send, 1);
	check(taken(&d->q[1]) >= 0, "net: sends");
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *frame = in + (size_t)i * PAGE + 12;

		n = taken(&d->q[0]);
		if (n >= 12 + 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2 &&
		    frame[31] == 2)
			break; /* an ARP reply of 10.0.2.2 */
		n = n < 0 ? n : 0;
		if (n < 0)
			break;
	}
	check(n > 0, "net: receives the answer");
	check(interrupted(&d->q[0]), "net: the receiver's interrupt comes");
	check(interrupted(&d->q[1]), "net: the sender's interrupt comes");
}

/* ---- console, §5.3 ---- */

static void drive_console(struct device *d)
{
	uint8_t *in = fresh_pages(1);
	struct part receive = {in, PAGE, WRITES}, send = {"console: type a line\n", 21, 0};
	int64_t n;

	if (!begin(d, 0, 2))
		return;
	virtio_offer(&d->q[0], 0, &receive, 1);
	virtio_offer(&d->q[1], 1, &send, 1);
	check(taken(&d->q[1]) >= 0, "console: sends");
	n = taken(&d->q[0]);
	if (n > 0) {
		struct part parts[2] = {{"console: got ", 13, 0}, {in, (uint32_t)n, 0}};

		virtio_offer(&d->q[1], 1, parts, 2);
		(void)taken(&d->q[1]);
	}
	if (n > 0 && interrupted(&d->q[0]) && interrupted(&d->q[1])) {
		struct part well = {"ok - console: both interrupts came\n", 35, 0};

		virtio_offer(&d->q[1], 1, &well, 1);
		(void)taken(&d->q[1]);
	}
}

/* ---- entropy, §5.4 ---- */

static void drive_rng(struct device *d)
{
	uint8_t *p = fresh_pages(1);
	struct part part = {p, 64, WRITES};
	unsigned zeros = 0;
	int64_t n;

	if (!begin(d, 0, 1))
		return;
	virtio_offer(&d->q[0], 0, &part, 1);
	n = taken(&d->q[0]);
	for (unsigned i = 0; i < 64; i++)
		zeros += p[i] == 0;
	check(n > 0 && zeros < 16, "rng: gives %u bytes", (uint64_t)n);
	check(interrupted(&d->q[0]), "rng: its interrupt comes");
}

/* ---- vsock, §5.10 ---- */

enum { REQUEST = 1, RESPONSE, RESET, SHUTDOWN, DATA, CREDIT };

struct packet {
	uint64_t from, to;
	uint32_t from_port, to_port, n;
	uint16_t kind, op;
	uint32_t flags, room, forwarded;
	char data[];
} __attribute__((packed));

static void vsock_send(struct device *d, struct packet *p, uint16_t op, const char *text)
{
	struct part part = {p, sizeof(*p), 0};

	p->op = op;
	p->n = 0;
	for (; text && text[p->n]; p->n++)
		p->data[p->n] = text[p->n];
	part.n += p->n;
	virtio_offer(&d->q[1], 1, &part, 1);
	(void)taken(&d->q[1]);
}

/* The next packet for our port that is no news of credit; NULL: none came. */
static struct packet *vsock_receive(struct device *d, uint8_t *in, uint32_t from_port)
{
	static uint8_t copy[PAGE];
	struct packet *p = (struct packet *)copy;

	for (unsigned i = 0; i < 16; i++) {
		struct part again = {in + (size_t)(d->q[0].seen % 4) * PAGE, PAGE, WRITES};

		if (taken(&d->q[0]) < (int64_t)sizeof(*p))
			return NULL;
		memcpy(copy, again.p, PAGE);
		virtio_offer(&d->q[0], 0, &again, 1);
		if (p->op != CREDIT && p->from_port == from_port)
			return p;
	}
	return NULL;
}

static void drive_vsock(struct device *d)
{
	uint8_t *in = fresh_pages(4), *events = fresh_pages(1);
	struct packet *p = fresh_pages(1), *got;
	struct part receive = {in, PAGE, WRITES}, event = {events, 8, WRITES};

	if (!begin(d, 0, 3))
		return;
	for (unsigned i = 0; i < 4; i++) {
		receive.p = in + (size_t)i * PAGE;
		virtio_offer(&d->q[0], 0, &receive, 1);
	}
	virtio_offer(&d->q[2], 2, &event, 1);
	memcpy(&p->from, (const void *)d->config, 8);
	p->to = 2;
	p->from_port = 77;
	p->to_port = 1024;
	p->kind = 1;
	p->room = 65536;
	vsock_send(d, p, REQUEST, NULL);
	got = vsock_receive(d, in, p->to_port);
	check(got && got->op == RESPONSE && got->from == 2 && got->to_port == 77,
	      "vsock: the host accepts a connection to port 1024");
	vsock_send(d, p, DATA, "over vsock\n");
	got = vsock_receive(d, in, p->to_port);
	check(got && got->op == DATA && got->n == 8 &&
		      same((uint8_t *)got->data, (uint8_t *)"welcome\n", 8),
	      "vsock: data goes both ways");
	vsock_send(d, p, RESET, NULL);
	p->to_port = 4321;
	vsock_send(d, p, REQUEST, NULL);
	got = vsock_receive(d, in, p->to_port);
	check(got && got->op == RESET, "vsock: nobody listens on another port");
	check(interrupted(&d->q[0]) && interrupted(&d->q[1]), "vsock: its interrupts come");
}

void drive_virtio(const struct pci_device *pci)
{
	static const struct {
		uint16_t id;
		const char *name;
		void (*drive)(struct device *d);
	} rows[] = {{ID_NET, "net", drive_net},
		    {ID_BLOCK, "block", drive_block},
		    {ID_CONSOLE, "console", drive_console},
		    {ID_RNG, "rng", drive_rng},
		    {ID_VSOCK, "vsock", drive_vsock}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].id == pci->id) {
			struct device d = {.pci = pci, .name = rows[i].name};

			rows[i].drive(&d);
			d.common[STATUS] = 0;
			return;
		}
	check(false, "an unknown virtio device: %x", (uint64_t)pci->id);
}
