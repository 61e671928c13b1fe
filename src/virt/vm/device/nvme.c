/*
 * An NVMe controller's registers and queues.
 *
 * Theory of operation: a register or doorbell write stores its value and wakes the loop through an
 * eventfd; the loop's thread fetches commands, each read once, and hands them on. A submission
 * queue has at most as many commands under way as it has entries, and a completion that finds its
 * queue full waits in a list for the guest's next doorbell: nothing grows without bound.
 * Interrupts are deferred to the end of the turn, one per completion queue for all that was
 * completed in it.
 *
 * Disabling (CC.EN = 0) with requests at the back: CSTS.RDY stays up until the last came back.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/nvme.h"
#include "virt/vm/device/nvme_priv.h"
#include "virt/vm/device/virtqueue.h"

#define NVME_MAGIC    0x4e564d45u
#define BAR_REGISTERS 0
#define BAR_MSIX      2
#define BAR_BYTES     0x4000u
#define DOORBELLS_AT  0x1000u
#define SQ_BYTES      64u
#define CQ_BYTES      16u
#define FREE_KEPT_MAX 16

enum nvme_register {
	REG_CAP = 0x00,
	REG_VS = 0x08,
	REG_INTMS = 0x0c,
	REG_INTMC = 0x10,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
};

#define CC_ENABLE	     1u
#define CC_FORMAT(cc)	     ((cc)&0x3ff0) /* command set, page size, arbitration: all 0 */
#define CC_SHUTDOWN(cc)	     ((cc) >> 14 & 3)
#define CSTS_READY	     1u
#define CSTS_FATAL	     2u
#define CSTS_SHUTTING_DOWN   (1u << 2)
#define CSTS_SHUT_DOWN	     (2u << 2)
#define CSTS_SHUTDOWN_BITS   (3u << 2)
#define CAP_CONTIGUOUS	     (1ull << 16)
#define CAP_TIMEOUT_500MS(n) ((uint64_t)(n) << 24)
#define CAP_NVM_COMMANDS     (1ull << 37)
#define VERSION_1_4	     0x00010400u

struct nvme *as_nvme(void *p)
{
	struct nvme *n = p;

	assert(n->magic == NVME_MAGIC);
	return n;
}

void nvme_lock(struct nvme *n)
{
	bus_lock(n->pci.pci->host.bus);
}

void nvme_unlock(struct nvme *n)
{
	bus_unlock(n->pci.pci->host.bus);
}

static void wake(const struct nvme *n)
{
	(void)eventfd_write(n->bell, 1);
}

static bool enabled(const struct nvme *n)
{
	return (n->status & CSTS_READY) && !(n->status & CSTS_FATAL) && !n->stopping;
}

/* ---- requests ---- */

static struct nvme_request *request_new(struct nvme *n, uint16_t sq, uint16_t id)
{
	struct nvme_request *r = n->idle;

	if (r) {
		n->idle = r->next;
		n->idle_n--;
	} else {
		r = mem_new(struct nvme_request);
	}
	r->controller = n;
	r->next = NULL;
	r->sq = sq;
	r->id = id;
	r->status = NVME_OK;
	r->result = 0;
	r->then_flush = false;
	r->ranges_n = r->range = 0;
	r->segments_n = 0;
	assert(!r->ranges);
	return r;
}

static void request_free(struct nvme_request *r)
{
	struct nvme *n = r->controller;

	free(take(r->ranges));
	if (n->idle_n == FREE_KEPT_MAX) {
		free(r);
		return;
	}
	r->next = n->idle;
	n->idle = r;
	n->idle_n++;
}

/* ---- completion queues ---- */

static bool cq_full(const struct nvme_cq *q)
{
	return (q->tail + 1) % q->size == q->head;
}

static void line_look(struct nvme *n)
{
	bool up = false;

	for (unsigned i = 0; i < NVME_QUEUES; i++)
		up |= n->cq[i].at && n->cq[i].interrupts && n->cq[i].head != n->cq[i].tail;
	pci_intx(&n->pci, up && !(n->interrupt_mask & 1));
}

static void interrupts(void *arg)
{
	struct nvme *n = as_nvme(arg);

	nvme_lock(n);
	n->interrupting = false;
	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		struct nvme_cq *q = &n->cq[i];

		if (q->fresh && q->at && q->interrupts)
			pci_interrupt(&n->pci, q->vector);
		q->fresh = false;
	}
	if (!pci_msix_on(&n->pci))
		line_look(n);
	nvme_unlock(n);
}

/* The phase bit goes last: it is what the guest polls. */
static void cq_write(struct nvme *n, struct nvme_cq *q, const struct nvme_request *r)
{
	uint8_t *p = q->at + (size_t)q->tail * CQ_BYTES;
	const struct nvme_sq *s = &n->sq[r->sq];

	ram_store32(p, r->result);
	ram_store32(p + 4, 0);
	ram_store32(p + 8, s->head | (uint32_t)r->sq << 16);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	ram_store32(p + 12, r->id | (uint32_t)q->phase << 16 | (uint32_t)r->status << 17);
	ram_wrote(nvme_ram(n), (struct gpa){q->address + (uint64_t)q->tail * CQ_BYTES}, CQ_BYTES);
	q->tail = (uint16_t)((q->tail + 1) % q->size);
	if (q->tail == 0)
		q->phase = !q->phase;
	q->fresh = true;
	if (!n->interrupting)
		loop_defer(n->pci.pci->host.loop, interrupts, n);
	n->interrupting = true;
}

static void sq_deleted(struct nvme *n, struct nvme_sq *s)
{
	struct nvme_request *r = request_new(n, 0, s->delete_id);

	assert(s->under_way == 0 && n->cq[s->cq].submission_queues > 0);
	n->cq[s->cq].submission_queues--;
	*s = (struct nvme_sq){0};
	n->sq[0].under_way++;
	nvme_complete(r);
}

static void post(struct nvme *n, struct nvme_request *r)
{
	struct nvme_sq *s = &n->sq[r->sq];

	cq_write(n, &n->cq[s->cq], r);
	assert(s->under_way > 0);
	s->under_way--;
	request_free(r);
	if (s->deleting && s->under_way == 0)
		sq_deleted(n, s);
	else if (s->head != s->tail)
		wake(n);
}

static void cq_drain(struct nvme *n, struct nvme_cq *q)
{
	while (q->waiting && !cq_full(q)) {
		struct nvme_request *r = q->waiting;

		q->waiting = r->next;
		if (!q->waiting)
			q->waiting_end = &q->waiting;
		post(n, r);
	}
}

void nvme_complete(struct nvme_request *r)
{
	struct nvme *n = r->controller;
	struct nvme_cq *q = &n->cq[n->sq[r->sq].cq];

	if (!enabled(n)) {
		request_free(r);
		return;
	}
	assert(q->at && n->sq[r->sq].at);
	if (!cq_full(q) && !q->waiting) {
		post(n, r);
		return;
	}
	r->next = NULL;
	*q->waiting_end = r;
	q->waiting_end = &r->next;
}

void nvme_finish(struct nvme_request *r, uint16_t status)
{
	r->status = status;
	nvme_complete(r);
}

void nvme_drop(struct nvme_request *r)
{
	struct nvme_sq *s = &r->controller->sq[r->sq];

	assert(s->under_way > 0);
	s->under_way--;
	request_free(r);
}

/* ---- submission queues ---- */

static struct nvme_command command_load(const uint8_t *p)
{
	struct nvme_command c = {0};

	for (unsigned i = 0; i < 16; i++)
		c.dword[i] = ram_load32(p + 4 * i);
	c.opcode = (uint8_t)c.dword[0];
	c.flags = (uint8_t)(c.dword[0] >> 8);
	c.id = (uint16_t)(c.dword[0] >> 16);
	c.namespace = c.dword[1];
	c.prp1 = c.dword[6] | (uint64_t)c.dword[7] << 32;
	c.prp2 = c.dword[8] | (uint64_t)c.dword[9] << 32;
	return c;
}

static void sq_fetch(struct nvme *n, uint16_t i)
{
	struct nvme_sq *s = &n->sq[i];

	while (enabled(n) && s->at && !s->deleting && s->head != s->tail &&
	       s->under_way < s->size) {
		struct nvme_command c = command_load(s->at + (size_t)s->head * SQ_BYTES);
		struct nvme_request *r = request_new(n, i, c.id);

		s->head = (uint16_t)((s->head + 1) % s->size);
		s->under_way++;
		if (i == 0)
			nvme_admin(r, &c);
		else
			nvme_io(r, &c);
	}
}

/* ---- enabling, disabling, shutting down ---- */

static void queues_forget(struct nvme *n)
{
	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		while (n->cq[i].waiting) {
			struct nvme_request *r = n->cq[i].waiting;

			n->cq[i].waiting = r->next;
			request_free(r);
		}
		n->cq[i] = (struct nvme_cq){0};
		n->sq[i] = (struct nvme_sq){0};
	}
	n->events = 0;
}

static void stopped(struct nvme *n)
{
	assert(n->held == 0);
	queues_forget(n);
	n->stopping = n->shutting_down = false;
	n->status = 0;
	pci_intx(&n->pci, false);
}

static void stop(struct nvme *n)
{
	n->stopping = true;
	if (n->held == 0)
		stopped(n);
}

static bool admin_queues_open(struct nvme *n)
{
	uint16_t sq = (uint16_t)((n->admin_sizes & 0xfff) + 1);
	uint16_t cq = (uint16_t)((n->admin_sizes >> 16 & 0xfff) + 1);
	const struct ram *ram = nvme_ram(n);

	if (sq < 2 || cq < 2 || (n->admin_sq | n->admin_cq) % NVME_PAGE_BYTES)
		return false;
	n->sq[0] = (struct nvme_sq){.at = ram_at(ram, (struct gpa){n->admin_sq}, sq * SQ_BYTES),
				    .size = sq};
	n->cq[0] = (struct nvme_cq){.at = ram_at(ram, (struct gpa){n->admin_cq}, cq * CQ_BYTES),
				    .address = n->admin_cq,
				    .size = cq,
				    .phase = true,
				    .interrupts = true,
				    .submission_queues = 1};
	n->cq[0].waiting_end = &n->cq[0].waiting;
	return n->sq[0].at && n->cq[0].at;
}

static void start(struct nvme *n)
{
	nvme_features_reset(n);
	if (CC_FORMAT(n->configuration) || !admin_queues_open(n)) {
		log_debug("nvme: cannot be enabled: configuration 0x%x", n->configuration);
		queues_forget(n);
		n->status |= CSTS_FATAL;
		return;
	}
	n->status |= CSTS_READY;
}

static void write_configuration(struct nvme *n, uint32_t value)
{
	uint32_t was = n->configuration;

	n->configuration = value;
	if (!(value & CC_ENABLE) && ((was & CC_ENABLE) || n->status))
		stop(n);
	else if ((value & ~was & CC_ENABLE) && !n->stopping)
		start(n);
	if (CC_SHUTDOWN(value) && !(n->status & CSTS_SHUTDOWN_BITS)) {
		n->status |= CSTS_SHUTTING_DOWN;
		n->shutting_down = true;
		wake(n);
	}
}

static void release(struct nvme *n)
{
	assert(n->held > 0);
	if (--n->held == 0 && n->stopping)
		stopped(n);
}

static void shutdown_done(void *arg, int error)
{
	struct nvme *n = as_nvme(arg);

	(void)error;
	nvme_lock(n);
	if (n->status & CSTS_SHUTTING_DOWN)
		n->status = (n->status & ~CSTS_SHUTDOWN_BITS) | CSTS_SHUT_DOWN;
	release(n);
	nvme_unlock(n);
}

static void back_done(void *arg, int error)
{
	struct nvme_request *r = arg;
	struct nvme *n = r->controller;

	nvme_lock(n);
	nvme_io_done(r, error);
	release(n);
	nvme_unlock(n);
}

void nvme_submit(struct nvme_request *r, enum block_op op, uint64_t offset, uint64_t bytes)
{
	struct nvme *n = r->controller;
	bool data = op == BLOCK_READ || op == BLOCK_WRITE;

	r->back = (struct block_request){.op = op,
					 .offset = offset,
					 .bytes = bytes,
					 .segments = data ? r->segment : NULL,
					 .segments_n = data ? r->segments_n : 0,
					 .done = back_done,
					 .arg = r};
	n->held++;
	n->back->ops->submit(n->back, &r->back);
}

/* What the guest wrote is on stable storage before the shutdown is said to be complete. */
static void shutdown_look(struct nvme *n)
{
	if (!n->shutting_down || n->held)
		return;
	n->shutting_down = false;
	n->held++;
	n->shutdown_flush =
		(struct block_request){.op = BLOCK_FLUSH, .done = shutdown_done, .arg = n};
	n->back->ops->submit(n->back, &n->shutdown_flush);
}

static void woken(void *arg, unsigned ready)
{
	struct nvme *n = as_nvme(arg);
	eventfd_t rings;

	(void)ready;
	(void)eventfd_read(n->bell, &rings);
	nvme_lock(n);
	for (uint16_t i = 0; i < NVME_QUEUES; i++)
		if (n->cq[i].at)
			cq_drain(n, &n->cq[i]);
	for (uint16_t i = 0; i < NVME_QUEUES; i++)
		sq_fetch(n, i);
	shutdown_look(n);
	nvme_unlock(n);
}

/* ---- registers ---- */

static uint64_t capabilities(void)
{
	return (NVME_ENTRIES_MAX - 1) | CAP_CONTIGUOUS | CAP_TIMEOUT_500MS(60) | CAP_NVM_COMMANDS;
}

static uint64_t register_read(const struct nvme *n, uint64_t at)
{
	switch (at) {
	case REG_CAP:
		return capabilities();
	case REG_VS:
		return VERSION_1_4;
	case REG_INTMS:
	case REG_INTMC:
		return n->interrupt_mask;
	case REG_CC:
		return n->configuration;
	case REG_CSTS:
		return n->status;
	case REG_AQA:
		return n->admin_sizes;
	case REG_ASQ:
		return n->admin_sq;
	case REG_ACQ:
		return n->admin_cq;
	default:
		return 0;
	}
}

/* Reads of any width inside a register of 32 or 64 bits. */
static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
	const struct nvme *n = as_nvme(device);
	uint64_t base = offset & ~7ull, value = register_read(n, base);
	unsigned shift = (unsigned)(offset - base) * 8;

	if (base != REG_CAP && base != REG_ASQ && base != REG_ACQ)
		value = (value & 0xffffffff) | register_read(n, base + 4) << 32;
	return size == 8 ? value : value >> shift & ((1ull << 8 * size) - 1);
}

static void put_half(uint64_t *to, unsigned half, uint32_t value)
{
	*to = half ? (*to & 0xffffffff) | (uint64_t)value << 32
		   : (*to & ~0xffffffffull) | (value & ~(NVME_PAGE_BYTES - 1));
}

static void register_write(struct nvme *n, uint64_t at, uint32_t value)
{
	switch (at) {
	case REG_INTMS:
		n->interrupt_mask |= value;
		line_look(n);
		break;
	case REG_INTMC:
		n->interrupt_mask &= ~value;
		line_look(n);
		break;
	case REG_CC:
		write_configuration(n, value);
		break;
	case REG_AQA:
		n->admin_sizes = value;
		break;
	case REG_ASQ:
	case REG_ASQ + 4:
		put_half(&n->admin_sq, at == REG_ASQ + 4, value);
		break;
	case REG_ACQ:
	case REG_ACQ + 4:
		put_half(&n->admin_cq, at == REG_ACQ + 4, value);
		break;
	default:
		break;
	}
}

/* Even doorbells are tails of submission queues, odd ones heads of completion queues; values that
 * cannot be are ignored. */
static void doorbell_write(struct nvme *n, uint64_t at, uint32_t value)
{
	uint64_t i = at / 8;

	if (i >= NVME_QUEUES || !enabled(n))
		return;
	if (at % 8 == 0 && n->sq[i].at && value < n->sq[i].size) {
		n->sq[i].tail = (uint16_t)value;
		wake(n);
	} else if (at % 8 && n->cq[i].at && value < n->cq[i].size) {
		n->cq[i].head = (uint16_t)value;
		if (n->cq[i].waiting)
			wake(n);
		if (!pci_msix_on(&n->pci))
			line_look(n);
	}
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct nvme *n = as_nvme(device);

	if (size < 4 || offset % 4)
		return;
	if (offset >= DOORBELLS_AT) {
		doorbell_write(n, offset - DOORBELLS_AT, (uint32_t)value);
		return;
	}
	register_write(n, offset, (uint32_t)value);
	if (size == 8)
		register_write(n, offset + 4, (uint32_t)(value >> 32));
}

static const struct bus_ops registers_ops = {"nvme", registers_read, registers_write};

/* ---- birth and death ---- */

static void nvme_reset(struct pci_function *f)
{
	struct nvme *n = as_nvme(container_of(f, struct nvme, pci));

	stop(n);
	n->configuration = n->admin_sizes = n->interrupt_mask = 0;
	n->admin_sq = n->admin_cq = 0;
}

static bool nvme_busy(const struct pci_function *f)
{
	return container_of(f, const struct nvme, pci)->held > 0;
}

static void nvme_free(struct pci_function *f)
{
	struct nvme *n = as_nvme(container_of(f, struct nvme, pci));

	assert(n->held == 0);
	loop_defer_cancel(f->pci->host.loop, interrupts, n);
	queues_forget(n);
	while (n->idle) {
		struct nvme_request *r = n->idle;

		n->idle = r->next;
		free(r);
	}
	n->watch = loop_watch_free(n->watch);
	n->bell = fd_close(n->bell);
	n->magic = 0;
	free(n);
}

static const struct pci_function_ops nvme_ops = {
	.name = "nvme", .reset = nvme_reset, .busy = nvme_busy, .free = nvme_free};

static int nvme_wire(struct nvme *n, struct pci *p, struct err *e)
{
	const struct pci_identity id = {.vendor = PCI_VENDOR_RED_HAT,
					.device = 0x0010, /* an NVMe controller, as QEMU's */
					.subsystem_vendor = PCI_VENDOR_RED_HAT,
					.subsystem = 0x1100,
					.class = 0x010802,
					.revision = 2};

	n->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->bell < 0)
		return err_sys(e, "cannot make an eventfd for nvme");
	if (loop_watch_new(p->host.loop, n->bell, LOOP_READ, woken, n, &n->watch, e) < 0)
		return err_wrap(e, "cannot watch the doorbells of nvme");
	pci_init(&n->pci, &nvme_ops, &id);
	pci_bar(&n->pci, BAR_REGISTERS, BAR_BYTES, true, &registers_ops, n);
	pci_msix(&n->pci, BAR_MSIX, NVME_QUEUES);
	return pci_add(p, &n->pci, e);
}

int nvme_new(struct pci *p, struct block_back *back, struct err *e)
{
	struct nvme *n = mem_new(struct nvme);
	int failed;

	assert(back && back->ops);
	n->magic = NVME_MAGIC;
	n->back = back;
	failed = nvme_wire(n, p, e);
	if (failed) {
		n->watch = loop_watch_free(n->watch);
		n->bell = fd_close(n->bell);
		free(n);
	}
	return failed;
}
