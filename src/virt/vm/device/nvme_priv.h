/*
 * Between nvme.c (registers and queues), nvme_admin.c (admin commands) and nvme_io.c (data): the
 * controller, its queues and requests.
 *
 * Threads: registers on vCPU threads, commands and completions on the loop's, all with the bus
 * lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/device/back.h"
#include "virt/vm/device/pci.h"

#define NVME_IO_QUEUES_MAX  32
#define NVME_QUEUES	    (NVME_IO_QUEUES_MAX + 1) /* the admin queue is 0 */
#define NVME_ENTRIES_MAX    1024u
#define NVME_PAGE_BYTES	    4096u
#define NVME_BLOCK_SHIFT    9
#define NVME_BLOCK_BYTES    512u
#define NVME_MDTS	    7 /* 2^7 pages */
#define NVME_DATA_BYTES_MAX (NVME_PAGE_BYTES << NVME_MDTS)
#define NVME_SEGMENTS_MAX   ((1u << NVME_MDTS) + 1) /* the first may begin inside a page */
#define NVME_RANGES_MAX	    256
#define NVME_EVENTS_MAX	    4
#define NVME_FEATURES	    16

/* A status as it stands in a completion: type in bits 8–10, "do not retry" in bit 14. */
enum nvme_status {
	NVME_OK = 0,
	NVME_INVALID_OPCODE = 0x4001,
	NVME_INVALID_FIELD = 0x4002,
	NVME_DATA_TRANSFER_ERROR = 0x4004,
	NVME_INTERNAL_ERROR = 0x0006,
	NVME_INVALID_NAMESPACE = 0x400b,
	NVME_PRP_OFFSET_INVALID = 0x4013,
	NVME_LBA_OUT_OF_RANGE = 0x4080,
	NVME_CQ_INVALID = 0x4100,
	NVME_QUEUE_ID_INVALID = 0x4101,
	NVME_QUEUE_SIZE_INVALID = 0x4102,
	NVME_EVENT_LIMIT = 0x4105,
	NVME_VECTOR_INVALID = 0x4108,
	NVME_LOG_PAGE_INVALID = 0x4109,
	NVME_QUEUE_DELETION_INVALID = 0x410c,
	NVME_FEATURE_NOT_SAVEABLE = 0x410d,
	NVME_WRITE_TO_READ_ONLY = 0x4182,
	NVME_WRITE_FAULT = 0x0280,
	NVME_READ_ERROR = 0x0281,
};

/* A command, read once from the submission queue. */
struct nvme_command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint64_t prp1, prp2;
	uint32_t dword[16]; /* 10 to 15 by their names in the specification */
};

struct nvme_cq {
	uint8_t *at; /* NULL: there is none */
	uint64_t address;
	uint16_t size, head, tail, vector;
	bool phase, interrupts, fresh; /* fresh: posted since the last interrupt */
	unsigned submission_queues;
	struct nvme_request *waiting, **waiting_end; /* done while the queue was full */
};

struct nvme_sq {
	const uint8_t *at; /* NULL: there is none */
	uint16_t size, head, tail, cq;
	unsigned under_way; /* fetched, not completed */
	bool deleting;
	uint16_t delete_id; /* of the admin command that waits for it */
};

struct nvme;

/* A command from its fetching until it is posted. */
struct nvme_request {
	struct nvme *controller;
	struct nvme_request *next;
	uint16_t sq, id;
	uint16_t status;
	uint32_t result;
	bool then_flush; /* force unit access */
	struct block_request back;
	struct nvme_range *ranges; /* of a deallocation: what is left to do */
	unsigned ranges_n, range;
	size_t segments_n;
	struct iovec segment[NVME_SEGMENTS_MAX];
};

struct nvme_range {
	uint64_t offset, bytes;
};

struct nvme {
	struct pci_function pci;
	unsigned magic;
	struct block_back *back;
	int bell; /* an eventfd: doorbells and register writes wake the loop */
	struct loop_watch *watch;
	uint32_t configuration, status, admin_sizes, interrupt_mask;
	uint64_t admin_sq, admin_cq;
	bool stopping;	    /* disabled with requests at the back */
	bool shutting_down; /* CC.SHN was written, the flush is not done */
	bool interrupting;  /* nvme_interrupts() is deferred */
	unsigned held;	    /* requests at the back */
	unsigned events;    /* asynchronous event requests kept */
	uint32_t feature[NVME_FEATURES];
	struct nvme_sq sq[NVME_QUEUES];
	struct nvme_cq cq[NVME_QUEUES];
	struct nvme_request *idle;
	unsigned idle_n;
	struct block_request shutdown_flush;
};

/* ---- nvme.c ---- */

struct nvme *as_nvme(void *p);
/* The command is done: `status` and `result` stand in the request, which is posted and freed. */
void nvme_complete(struct nvme_request *r);
void nvme_finish(struct nvme_request *r, uint16_t status);
/* Forgets a command that is not answered (now). */
void nvme_drop(struct nvme_request *r);
/* To the back, with `done` called with the lock held and the device still held. */
void nvme_submit(struct nvme_request *r, enum block_op op, uint64_t offset, uint64_t bytes);
void nvme_lock(struct nvme *n);
void nvme_unlock(struct nvme *n);
static inline struct ram *nvme_ram(const struct nvme *n)
{
	return n->pci.pci->host.ram;
}

/* ---- nvme_admin.c ---- */

void nvme_admin(struct nvme_request *r, const struct nvme_command *c);
void nvme_features_reset(struct nvme *n);

/* ---- nvme_io.c ---- */

void nvme_io(struct nvme_request *r, const struct nvme_command *c);
/* The back is done with the request: what comes next, or its completion. */
void nvme_io_done(struct nvme_request *r, int error);
/* The memory of a command's data, `bytes` of it, as the request's segments. */
uint16_t nvme_map(struct nvme_request *r, const struct nvme_command *c, size_t bytes) must_use;
/* Between a buffer of ours and the command's data. */
uint16_t nvme_data_put(struct nvme_request *r, const struct nvme_command *c, const void *from,
		       size_t bytes) must_use;
uint16_t nvme_data_take(struct nvme_request *r, const struct nvme_command *c, void *to,
			size_t bytes) must_use;
