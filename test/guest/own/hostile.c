/*
 * What a hostile driver does to its devices: every queue of every virtio device and NVMe's with
 * malformed descriptors, registers with any value, and descriptors that another processor changes
 * while they are read. A device may break itself, until it is reset; then it must work as new, and
 * all the while the machine goes on. After each step the devices are driven as they ought to be.
 */
#include "virtio.h"

#define NOWHERE	      (1ull << 45) /* no RAM there */
#define INDIRECT      4
#define SHORT_WHILE   50000u /* ticks of the TSC */
#define CHANGES	      400u
#define RANDOM_WRITES 3000u
#define DEVICES_MAX   32

static struct pci_device list[DEVICES_MAX];
static unsigned devices_n;
static uint64_t chance = 0x9e3779b97f4a7c15;

static uint64_t draw(void)
{
	chance ^= chance << 13;
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return chance;
}

static void a_while(void)
{
	uint64_t end = rdtsc() + SHORT_WHILE;

	while (rdtsc() < end)
		pause_a_bit();
}

/* ---- malformed chains ---- */

struct bad {
	const char *name;
	uint64_t at; /* of the first descriptor; 0: a good page */
	uint32_t n;
	uint16_t flags, next, head, jump; /* head: in the ring; jump: how far the index goes */
};

static const struct bad bad[] = {
	{"a loop", 0, 64, NEXT, 0, 0, 1},
	{"a loop that is written", 0, 64, NEXT | WRITES, 0, 0, 1},
	{"a head out of range", 0, 64, 0, 0, 0xffff, 1},
	{"a next out of range", 0, 64, NEXT, 999, 0, 1},
	{"an address without memory", NOWHERE, 64, 0, 0, 0, 1},
	{"... that is written", NOWHERE, 64, WRITES, 0, 0, 1},
	{"an address that wraps", ~7ull, 64, 0, 0, 0, 1},
	{"... that is written", ~7ull, 64, WRITES, 0, 0, 1},
	{"an address among the devices", ECAM, 64, WRITES, 0, 0, 1},
	{"a huge length", 0, ~0u, 0, 0, 0, 1},
	{"... that is written", 0, ~0u, WRITES, 0, 0, 1},
	{"no length", 0, 0, 0, 0, 0, 1},
	{"no length that is written", 0, 0, WRITES, 0, 0, 1},
	{"an indirect table that was not agreed on", 0, 32, INDIRECT, 0, 0, 1},
	{"an indirect table with a next", 0, 32, INDIRECT | NEXT, 1, 0, 1},
	{"an index that jumps", 0, 64, WRITES, 0, 0, 1000},
	{"one byte to read", 0, 1, 0, 0, 0, 1},
	{"one byte to write", 0, 1, WRITES, 0, 0, 1},
};

static void offer_bad(struct queue *q, unsigned i, const struct bad *b)
{
	q->desc[0].at = b->at ? b->at : (uint64_t)fresh_pages(1);
	q->desc[0].n = b->n;
	q->desc[0].flags = b->flags;
	q->desc[0].next = b->next;
	q->avail[2 + q->index % q->size] = b->head;
	q->index = (uint16_t)(q->index + b->jump);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->avail[1] = q->index;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*q->doorbell = (uint16_t)i;
	a_while();
}

static unsigned queues_of(uint16_t id)
{
	return id == ID_VSOCK ? 3 : id == ID_NET || id == ID_CONSOLE ? 2 : 1;
}

static void malform(const struct pci_device *pci)
{
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		for (unsigned i = 0; i < queues_of(pci->id); i++) {
			size_t mark = pages_mark();
			struct device d = {.pci = pci, .name = bad[k].name};

			if (virtio_start(&d, 0, queues_of(pci->id)))
				offer_bad(&d.q[i], i, &bad[k]);
			d.common[STATUS] = 0;
			pages_release(mark);
		}
}

/* ---- queues that lie where they must not ---- */

static void misplace(const struct pci_device *pci)
{
	static const uint64_t places[] = {NOWHERE, ~0ull, 1, ECAM, MSI_BASE, ~0xfffull};
	static const uint16_t sizes[] = {0, 3, 16, 0x8000, 0xffff};

	for (unsigned part = QUEUE_DESC; part <= QUEUE_DEVICE; part += 8)
		for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++)
			for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
				size_t mark = pages_mark();
				struct device d = {.pci = pci};

				(void)virtio_start(&d, 0, 1);
				put16(&d, QUEUE_ENABLE, 0);
				put16(&d, QUEUE_SIZE, sizes[s]);
				put32(&d, part, (uint32_t)places[k]);
				put32(&d, part + 4, (uint32_t)(places[k] >> 32));
				put16(&d, QUEUE_ENABLE, 1);
				offer_bad(&d.q[0], 0, &bad[17]);
				d.common[STATUS] = 0;
				pages_release(mark);
			}
}

/* ---- registers ---- */

static void scribble(const struct pci_device *pci)
{
	struct device d = {.pci = pci};

	virtio_find(&d);
	for (unsigned i = 0; i < RANDOM_WRITES; i++) {
		volatile uint8_t *p = d.common + draw() % 64;
		uint64_t v = draw() % 4 ? draw() : draw() % 4;

		switch (draw() % 4) {
		case 0:
			*p = (uint8_t)v;
			break;
		case 1:
			*(volatile uint16_t *)p = (uint16_t)v;
			break;
		case 2:
			*(volatile uint32_t *)p = (uint32_t)v;
			break;
		default:
			(void)*(volatile uint32_t *)p;
		}
		if (draw() % 8 == 0)
			*(volatile uint16_t *)(d.notify + draw() % 64) = (uint16_t)draw();
		if (d.config && draw() % 8 == 0)
			*(volatile uint32_t *)(d.config + draw() % 256) = (uint32_t)draw();
	}
	d.common[STATUS] = 0;
}

/* ---- what changes while it is read ---- */

static volatile uint64_t *volatile victim; /* a descriptor table: two words each */
static volatile bool enough;

static void change(unsigned number)
{
	uint64_t x = number * 0x2545f4914f6cdd1dull;

	while (!enough) {
		volatile uint64_t *table = victim;

		x = x * 6364136223846793005ull + 1442695040888963407ull;
		if (!table)
			continue;
		/* Length, flags and next; now and then the address. What is valid stays within
		 * `target`: the rest of memory is ours. */
		table[2 * (x >> 40 & 3) + 1] = (x >> 36 & 1 ? 0xf0000000 : 0) | (x >> 20 & 0xfff) |
					       (x >> 44 & 3) << 32 | (x >> 50 & 7) << 48;
		if (x >> 60 == 0)
			table[2 * (x >> 40 & 3)] = NOWHERE | x;
	}
}

static void change_meanwhile(const struct pci_device *pci)
{
	static uint8_t target[4 * PAGE] __attribute__((aligned(PAGE)));

	for (unsigned k = 0; k < CHANGES; k++) {
		unsigned i = k % queues_of(pci->id);
		size_t mark = pages_mark();
		struct device d = {.pci = pci};
		struct part parts[3] = {{target, PAGE, 0},
					{target + PAGE, PAGE, WRITES},
					{target + 2 * PAGE, 1, WRITES}};

		if (virtio_start(&d, 0, queues_of(pci->id))) {
			victim = (volatile uint64_t *)d.q[i].desc;
			for (unsigned n = 0; n < 8; n++)
				virtio_offer(&d.q[i], i, parts, 3);
			a_while();
			victim = NULL;
		}
		d.common[STATUS] = 0;
		pages_release(mark);
	}
}

static void each(void (*act)(const struct pci_device *), const char *what)
{
	for (unsigned i = 0; i < devices_n; i++)
		if (list[i].vendor == 0x1af4)
			act(&list[i]);
	say("behind %s:\n", what);
	for (unsigned i = 0; i < devices_n; i++)
		if (list[i].vendor == 0x1af4)
			drive_virtio(&list[i]);
}

void hostile(void)
{
	devices_n = pci_scan(list, DEVICES_MAX);
	each(malform, "malformed descriptors");
	each(misplace, "misplaced queues");
	each(scribble, "any values in registers");
	if (processors() > 1) {
		start_others(1, change);
		each(change_meanwhile, "descriptors that changed meanwhile");
		enough = true;
	}
	for (unsigned i = 0; i < devices_n; i++)
		if (list[i].class_code == 0x010802)
			hostile_nvme(&list[i]);
}
