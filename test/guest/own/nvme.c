/*
 * NVMe 1.4: reset, the admin queue, a pair of I/O queues with an interrupt, and what a disk does.
 */
#include "guest.h"

enum {
	CAP = 0,
	VS = 8,
	CC = 0x14,
	CSTS = 0x1c,
	AQA = 0x24,
	ASQ = 0x28,
	ACQ = 0x30,
	BELLS = 0x1000
};
enum { CREATE_SQ = 1, CREATE_CQ = 5, IDENTIFY = 6 };
enum { FLUSH = 0, WRITE = 1, READ = 2, DATASET = 9 };

#define ENTRIES	     16u
#define BLOCK	     512u
#define ADMIN_VECTOR 13
#define IO_VECTOR    14

struct command {
	uint32_t op, nsid;
	uint64_t reserved, metadata, prp[2];
	uint32_t w[6];
};

struct completion {
	uint32_t result, reserved;
	uint16_t head, queue, id, status;
};

struct pair {
	volatile struct command *sq;
	volatile struct completion *cq;
	unsigned tail, head, phase, number;
};

static volatile uint8_t *registers;

static void put32(unsigned at, uint32_t v)
{
	*(volatile uint32_t *)(registers + at) = v;
}

static uint32_t get32(unsigned at)
{
	return *(volatile uint32_t *)(registers + at);
}

static void put64(unsigned at, const volatile void *p)
{
	put32(at, (uint32_t)(uint64_t)p);
	put32(at + 4, 0);
}

static bool wait_ready(uint32_t ready)
{
	return wait_for((get32(CSTS) & 1) == ready);
}

/* The status of its completion, 0 for success; ~0: none came. */
static unsigned run(struct pair *q, struct command c)
{
	unsigned status;

	c.op |= q->tail << 16;
	q->sq[q->tail] = c;
	q->tail = (q->tail + 1) % ENTRIES;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	put32(BELLS + 8 * q->number, q->tail);
	if (!wait_for((q->cq[q->head].status & 1) == q->phase))
		return ~0u;
	status = q->cq[q->head].status >> 1;
	q->head = (q->head + 1) % ENTRIES;
	q->phase ^= q->head == 0;
	put32(BELLS + 8 * q->number + 4, q->head);
	return status & 0x7ff;
}

static struct pair pair_make(unsigned number)
{
	return (struct pair){fresh_pages(1), fresh_pages(1), 0, 0, 1, number};
}

static void drive_io(struct pair *io)
{
	uint8_t *a = fresh_pages(1), *b = fresh_pages(1);
	uint64_t *range = fresh_pages(1);
	bool good = true;

	check(run(io, (struct command){READ, 1, .prp = {(uint64_t)b}}) == 0 && b[0] == 'h' &&
		      b[6] == ' ',
	      "nvme: reads what the host put there");
	for (unsigned i = 0; i < PAGE; i++)
		a[i] = (uint8_t)(i * 5 + i / 256);
	/* More commands than the queue has entries: it wraps, and the phase turns. */
	for (unsigned i = 0; i < 2 * ENTRIES; i++)
		good = good && run(io, (struct command){WRITE, 1, .prp = {(uint64_t)a},
							.w = {8 + 8 * i, 0, 7}}) == 0;
	check(good, "nvme: writes, around the end of its queues");
	check(run(io, (struct command){FLUSH, 1}) == 0, "nvme: flushes");
	good = run(io, (struct command){READ, 1, .prp = {(uint64_t)b}, .w = {16, 0, 7}}) == 0;
	for (unsigned i = 0; i < PAGE; i++)
		good = good && a[i] == b[i];
	check(good, "nvme: reads it back");
	range[0] = 8ull << 32;
	range[1] = 64;
	check(run(io, (struct command){DATASET, 1, .prp = {(uint64_t)range}, .w = {0, 4}}) == 0,
	      "nvme: gives space back");
	check(run(io, (struct command){READ, 1, .prp = {(uint64_t)b}, .w = {~0u, ~0u, 0}}) == 0x80,
	      "nvme: refuses what lies behind its end");
	check(interrupts[IO_VECTOR] > 0, "nvme: the interrupt of its I/O queue comes");
}

void drive_nvme(const struct pci_device *d)
{
	struct pair admin = pair_make(0), io = pair_make(1);
	uint8_t *about = fresh_pages(1);
	bool good;

	registers = d->bar[0];
	put32(CC, 0);
	good = wait_ready(0);
	put32(AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	put64(ASQ, admin.sq);
	put64(ACQ, admin.cq);
	pci_msix(d, 0, ADMIN_VECTOR);
	pci_msix(d, 1, IO_VECTOR);
	put32(CC, 4u << 20 | 6u << 16 | 1);
	check(good && wait_ready(1), "nvme: the controller comes up");
	check(run(&admin, (struct command){IDENTIFY, 0, .prp = {(uint64_t)about}, .w = {1}}) == 0 &&
		      *(uint32_t *)(about + 516) == 1,
	      "nvme: one namespace");
	check(run(&admin, (struct command){CREATE_CQ, 0, .prp = {(uint64_t)io.cq},
					   .w = {(ENTRIES - 1) << 16 | 1, 1u << 16 | 3}}) == 0 &&
		      run(&admin, (struct command){CREATE_SQ, 0, .prp = {(uint64_t)io.sq},
						   .w = {(ENTRIES - 1) << 16 | 1, 1u << 16 | 1}}) ==
			      0,
	      "nvme: makes a pair of queues");
	check(run(&admin, (struct command){0x7f, 0}) == 1, "nvme: refuses an unknown command");
	check(interrupts[ADMIN_VECTOR] > 0, "nvme: the interrupt of its admin queue comes");
	drive_io(&io);
	put32(CC, 0);
	check(wait_ready(0), "nvme: and goes down");
}

/* ---- as a hostile driver ---- */

static void enable(const struct pair *admin, uint32_t sizes, uint64_t sq, uint64_t cq)
{
	put32(CC, 0);
	put32(AQA, sizes);
	put32(ASQ, (uint32_t)(sq ? sq : (uint64_t)admin->sq));
	put32(ASQ + 4, (uint32_t)(sq >> 32));
	put32(ACQ, (uint32_t)(cq ? cq : (uint64_t)admin->cq));
	put32(ACQ + 4, (uint32_t)(cq >> 32));
	put32(CC, 4u << 20 | 6u << 16 | 1);
}

/* Rings and leaves no time for an answer to be asked for. */
static void ring(struct pair *q, struct command c)
{
	q->sq[q->tail % ENTRIES] = c;
	q->tail = (q->tail + 1) % ENTRIES;
	put32(BELLS + 8 * q->number, q->tail);
	for (unsigned i = 0; i < 2000; i++)
		pause_a_bit();
}

void hostile_nvme(const struct pci_device *d)
{
	static const uint64_t places[] = {1ull << 45, ~0xfffull, ~0ull, 1, ECAM, MSI_BASE};
	size_t mark = pages_mark();

	registers = d->bar[0];
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		for (unsigned k = 0; k < 4; k++) {
			struct pair q = pair_make(0), io = pair_make(1);
			uint64_t p = places[i];

			enable(&q, k == 3 ? ~0u : (ENTRIES - 1) * 0x10001, k == 0 ? p : 0,
			       k == 1 ? p : 0);
			ring(&q, (struct command){IDENTIFY, 0, .prp = {p}, .w = {1}});
			ring(&q, (struct command){CREATE_CQ, 0, .prp = {p},
						  .w = {(ENTRIES - 1) << 16 | 1, 1}});
			ring(&q, (struct command){CREATE_CQ, 0, .prp = {(uint64_t)io.cq},
						  .w = {~0u, ~0u}});
			ring(&q, (struct command){CREATE_CQ, 0, .prp = {(uint64_t)io.cq},
						  .w = {(ENTRIES - 1) << 16 | 1, 1}});
			ring(&q, (struct command){CREATE_SQ, 0, .prp = {p},
						  .w = {(ENTRIES - 1) << 16 | 2, 1u << 16 | 1}});
			ring(&q, (struct command){CREATE_SQ, 0, .prp = {(uint64_t)io.sq},
						  .w = {(ENTRIES - 1) << 16 | 1, 1u << 16 | 1}});
			ring(&io, (struct command){READ, 1, .prp = {p, p}, .w = {0, 0, 0xff}});
			ring(&io,
			     (struct command){WRITE, 1, .prp = {p + 1, p}, .w = {0, 0, 0xffff}});
			ring(&io, (struct command){READ, ~0u, .prp = {p}, .w = {~0u, ~0u, ~0u}});
			for (unsigned b = 0; b < 64; b++)
				put32(BELLS + 4 * b, (uint32_t)(p >> b));
			pages_release(mark);
		}
	for (unsigned i = 0, x = 1; i < 2000; i++) {
		x = x * 1664525 + 1013904223;
		put32((x >> 8) % 0x1100 & ~3u, x);
	}
	put32(CC, 0);
	(void)wait_ready(0);
	say("behind a hostile driver of nvme:\n");
	drive_nvme(d);
}
