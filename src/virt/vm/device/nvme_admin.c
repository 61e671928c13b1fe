/*
 * Admin commands: identify, queues, features, logs. What a controller says of itself is a table of
 * fields at the offsets of NVM Express 1.4, figures 247 and 245.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/device/nvme_priv.h"

enum nvme_admin_opcode {
	ADMIN_DELETE_SQ = 0x00,
	ADMIN_CREATE_SQ = 0x01,
	ADMIN_GET_LOG = 0x02,
	ADMIN_DELETE_CQ = 0x04,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_IDENTIFY = 0x06,
	ADMIN_ABORT = 0x08,
	ADMIN_SET_FEATURES = 0x09,
	ADMIN_GET_FEATURES = 0x0a,
	ADMIN_EVENT = 0x0c,
};

enum nvme_identify { CNS_NAMESPACE, CNS_CONTROLLER, CNS_NAMESPACES, CNS_DESCRIPTORS };

#define PAGE		   NVME_PAGE_BYTES
#define SQ_BYTES	   64u
#define CQ_BYTES	   16u
#define CONTIGUOUS	   1u
#define INTERRUPTS	   2u
#define SAVE		   (1u << 31)
#define LOG_BYTES_MAX	   PAGE
#define NAMESPACE_ALL	   0xffffffffu
#define FLAGS_FUSED_OR_SGL 0xc3u

/* ---- identify ---- */

static void put(uint8_t *page, unsigned at, unsigned bytes, uint64_t value)
{
	assert(at + bytes <= PAGE);
	for (unsigned i = 0; i < bytes; i++)
		page[at + i] = (uint8_t)(value >> 8 * i);
}

/* Padded with spaces, as the specification has it. */
static void put_text(uint8_t *page, unsigned at, unsigned bytes, const char *text)
{
	size_t n = strnlen(text, bytes);

	assert(at + bytes <= PAGE);
	memset(page + at, ' ', bytes);
	memcpy(page + at, text, n);
}

static const struct {
	uint16_t at, bytes;
	uint32_t value;
} controller_fields[] = {
	{0, 2, PCI_VENDOR_RED_HAT},    /* VID */
	{2, 2, PCI_VENDOR_RED_HAT},    /* SSVID */
	{72, 1, 6},		       /* RAB */
	{77, 1, NVME_MDTS},	       /* MDTS */
	{80, 4, 0x00010400},	       /* VER */
	{111, 1, 1},		       /* CNTRLTYPE: an I/O controller */
	{258, 1, 3},		       /* ACL */
	{259, 1, NVME_EVENTS_MAX - 1}, /* AERL */
	{260, 1, 3},		       /* FRMW: one slot, read-only */
	{266, 2, 343},		       /* WCTEMP, CCTEMP: kelvin */
	{268, 2, 373},
	{512, 1, 0x66},		     /* SQES: 64 bytes */
	{513, 1, 0x44},		     /* CQES: 16 bytes */
	{514, 2, NVME_ENTRIES_MAX},  /* MAXCMD */
	{516, 4, 1},		     /* NN */
	{520, 2, 1u << 2 | 1u << 3}, /* ONCS: dataset management, write zeroes */
	{525, 1, 1},		     /* VWC: there is a cache; flush means something */
	{2048, 2, 100},		     /* PSD0: MP, in centiwatts */
};

static void identify_controller(const struct nvme *n, uint8_t *page)
{
	const char *serial = n->back->serial[0] ? n->back->serial : "hull";

	for (size_t i = 0; i < array_len(controller_fields); i++)
		put(page, controller_fields[i].at, controller_fields[i].bytes,
		    controller_fields[i].value);
	put_text(page, 4, 20, serial);
	put_text(page, 24, 40, "Hull NVMe disk");
	put_text(page, 64, 8, "1");
	(void)snprintf((char *)page + 768, 256, "nqn.2026-11.hull:nvme-%u-%s", n->pci.slot, serial);
}

static void identify_namespace(const struct nvme *n, uint8_t *page)
{
	uint64_t blocks = n->back->size_bytes >> NVME_BLOCK_SHIFT;

	put(page, 0, 8, blocks); /* NSZE, NCAP, NUSE */
	put(page, 8, 8, blocks);
	put(page, 16, 8, blocks);
	put(page, 33, 1, 1);		      /* DLFEAT: deallocated blocks read as zeroes */
	put(page, 99, 1, n->back->read_only); /* NSATTR */
	put(page, 128 + 2, 1, NVME_BLOCK_SHIFT);
}

static void identify(struct nvme_request *r, const struct nvme_command *c)
{
	uint8_t page[PAGE] = {0};
	uint16_t status = NVME_OK;

	switch (c->dword[10] & 0xff) {
	case CNS_NAMESPACE:
		if (c->namespace == 1 || c->namespace == NAMESPACE_ALL)
			identify_namespace(r->controller, page);
		else if (c->namespace == 0)
			status = NVME_INVALID_NAMESPACE;
		break;
	case CNS_CONTROLLER:
		identify_controller(r->controller, page);
		break;
	case CNS_NAMESPACES:
		if (c->namespace >= 0xfffffffe)
			status = NVME_INVALID_NAMESPACE;
		put(page, 0, 4, c->namespace < 1);
		break;
	case CNS_DESCRIPTORS: /* none: the list ends at once */
		if (c->namespace != 1)
			status = NVME_INVALID_NAMESPACE;
		break;
	default:
		status = NVME_INVALID_FIELD;
		break;
	}
	nvme_finish(r, status ? status : nvme_data_put(r, c, page, sizeof(page)));
}

/* ---- queues ---- */

static bool queue_id_ok(uint16_t id)
{
	return id >= 1 && id < NVME_QUEUES;
}

static uint16_t create_cq(struct nvme *n, const struct nvme_command *c)
{
	uint16_t id = (uint16_t)c->dword[10], vector = (uint16_t)(c->dword[11] >> 16);
	uint32_t size = (c->dword[10] >> 16) + 1;
	uint8_t *at = ram_at(nvme_ram(n), (struct gpa){c->prp1}, (uint64_t)size * CQ_BYTES);

	if (!queue_id_ok(id) || n->cq[id].at)
		return NVME_QUEUE_ID_INVALID;
	if (size < 2 || size > NVME_ENTRIES_MAX)
		return NVME_QUEUE_SIZE_INVALID;
	if (!(c->dword[11] & CONTIGUOUS))
		return NVME_INVALID_FIELD;
	if (c->prp1 % PAGE || !at)
		return NVME_PRP_OFFSET_INVALID;
	if (vector >= n->pci.vectors)
		return NVME_VECTOR_INVALID;
	n->cq[id] = (struct nvme_cq){.at = at,
				     .address = c->prp1,
				     .size = (uint16_t)size,
				     .vector = vector,
				     .phase = true,
				     .interrupts = c->dword[11] & INTERRUPTS};
	n->cq[id].waiting_end = &n->cq[id].waiting;
	return NVME_OK;
}

static uint16_t create_sq(struct nvme *n, const struct nvme_command *c)
{
	uint16_t id = (uint16_t)c->dword[10], cq = (uint16_t)(c->dword[11] >> 16);
	uint32_t size = (c->dword[10] >> 16) + 1;
	uint8_t *at = ram_at(nvme_ram(n), (struct gpa){c->prp1}, (uint64_t)size * SQ_BYTES);

	if (!queue_id_ok(id) || n->sq[id].at)
		return NVME_QUEUE_ID_INVALID;
	if (!queue_id_ok(cq) || !n->cq[cq].at)
		return NVME_CQ_INVALID;
	if (size < 2 || size > NVME_ENTRIES_MAX)
		return NVME_QUEUE_SIZE_INVALID;
	if (!(c->dword[11] & CONTIGUOUS))
		return NVME_INVALID_FIELD;
	if (c->prp1 % PAGE || !at)
		return NVME_PRP_OFFSET_INVALID;
	n->sq[id] = (struct nvme_sq){.at = at, .size = (uint16_t)size, .cq = cq};
	n->cq[cq].submission_queues++;
	return NVME_OK;
}

static uint16_t delete_cq(struct nvme *n, const struct nvme_command *c)
{
	uint16_t id = (uint16_t)c->dword[10];

	if (!queue_id_ok(id) || !n->cq[id].at)
		return NVME_QUEUE_ID_INVALID;
	if (n->cq[id].submission_queues)
		return NVME_QUEUE_DELETION_INVALID;
	assert(!n->cq[id].waiting);
	n->cq[id] = (struct nvme_cq){0};
	return NVME_OK;
}

/* Answered when the queue's last command is: see sq_deleted() in nvme.c. */
static void delete_sq(struct nvme_request *r, const struct nvme_command *c)
{
	struct nvme *n = r->controller;
	uint16_t id = (uint16_t)c->dword[10];
	struct nvme_sq *s = &n->sq[id < NVME_QUEUES ? id : 0];

	if (!queue_id_ok(id) || !s->at || s->deleting) {
		nvme_finish(r, NVME_QUEUE_ID_INVALID);
		return;
	}
	if (s->under_way) {
		s->deleting = true;
		s->delete_id = r->id;
		nvme_drop(r);
		return;
	}
	assert(n->cq[s->cq].submission_queues > 0);
	n->cq[s->cq].submission_queues--;
	*s = (struct nvme_sq){0};
	nvme_finish(r, NVME_OK);
}

/* ---- features and logs ---- */

/* What may be set, by identifier: most are only kept, as a controller of memory may. */
enum feature {
	FEATURE_ARBITRATION = 1,
	FEATURE_POWER = 2,
	FEATURE_TEMPERATURE = 4,
	FEATURE_ERROR_RECOVERY = 5,
	FEATURE_CACHE = 6,
	FEATURE_QUEUES = 7,
	FEATURE_COALESCING = 8,
	FEATURE_VECTOR = 9,
	FEATURE_ATOMICITY = 10,
	FEATURE_EVENTS = 11,
};

static const struct {
	enum feature id;
	uint32_t initial;
	uint32_t settable;
} features[] = {
	{FEATURE_ARBITRATION, 0, 0xffffff07},
	{FEATURE_POWER, 0, 0},
	{FEATURE_TEMPERATURE, 343, 0xffff},
	{FEATURE_ERROR_RECOVERY, 0, 0xffff},
	{FEATURE_CACHE, 1, 0},
	{FEATURE_QUEUES, (NVME_IO_QUEUES_MAX - 1) * 0x10001u, 0},
	{FEATURE_COALESCING, 0, 0xffff},
	{FEATURE_VECTOR, 0, 0},
	{FEATURE_ATOMICITY, 0, 1},
	{FEATURE_EVENTS, 0, 0x7ff},
};

void nvme_features_reset(struct nvme *n)
{
	static_assert(FEATURE_EVENTS < NVME_FEATURES, "each has its place");
	for (size_t i = 0; i < array_len(features); i++)
		n->feature[features[i].id] = features[i].initial;
}

static void get_or_set(struct nvme_request *r, const struct nvme_command *c, bool set)
{
	struct nvme *n = r->controller;

	if (set && (c->dword[10] & SAVE)) {
		nvme_finish(r, NVME_FEATURE_NOT_SAVEABLE);
		return;
	}
	for (size_t i = 0; i < array_len(features); i++) {
		uint32_t *now = &n->feature[features[i].id];

		if (features[i].id != (c->dword[10] & 0xff))
			continue;
		if (set)
			*now = (*now & ~features[i].settable) |
			       (c->dword[11] & features[i].settable);
		r->result = *now;
		nvme_finish(r, NVME_OK);
		return;
	}
	nvme_finish(r, NVME_INVALID_FIELD);
}

enum log_page { LOG_ERRORS = 1, LOG_HEALTH = 2, LOG_FIRMWARE = 3 };

static void get_log(struct nvme_request *r, const struct nvme_command *c)
{
	const struct block_back *b = r->controller->back;
	uint64_t bytes = ((uint64_t)(c->dword[11] & 0xffff) << 16 | c->dword[10] >> 16) * 4 + 4;
	uint8_t page[PAGE] = {0};

	if (bytes > LOG_BYTES_MAX) {
		nvme_finish(r, NVME_INVALID_FIELD);
		return;
	}
	switch (c->dword[10] & 0xff) {
	case LOG_ERRORS:
		break;
	case LOG_HEALTH:
		put(page, 1, 2, 300); /* temperature, kelvin */
		put(page, 3, 1, 100); /* spare */
		put(page, 4, 1, 10);  /* its threshold */
		put(page, 32, 8, b->read_bytes / 512000);
		put(page, 48, 8, b->written_bytes / 512000);
		put(page, 64, 8, b->reads);
		put(page, 80, 8, b->writes);
		break;
	case LOG_FIRMWARE:
		put(page, 0, 1, 1);
		put_text(page, 8, 8, "1");
		break;
	default:
		nvme_finish(r, NVME_LOG_PAGE_INVALID);
		return;
	}
	nvme_finish(r, nvme_data_put(r, c, page, (size_t)bytes));
}

/* ---- dispatch ---- */

/* Kept until there is something to say, which is never. */
static void event_request(struct nvme_request *r)
{
	struct nvme *n = r->controller;

	if (n->events == NVME_EVENTS_MAX) {
		nvme_finish(r, NVME_EVENT_LIMIT);
		return;
	}
	n->events++;
	nvme_drop(r);
}

void nvme_admin(struct nvme_request *r, const struct nvme_command *c)
{
	struct nvme *n = r->controller;

	if (c->flags & FLAGS_FUSED_OR_SGL) {
		nvme_finish(r, NVME_INVALID_FIELD);
		return;
	}
	switch (c->opcode) {
	case ADMIN_DELETE_SQ:
		delete_sq(r, c);
		break;
	case ADMIN_CREATE_SQ:
		nvme_finish(r, create_sq(n, c));
		break;
	case ADMIN_GET_LOG:
		get_log(r, c);
		break;
	case ADMIN_DELETE_CQ:
		nvme_finish(r, delete_cq(n, c));
		break;
	case ADMIN_CREATE_CQ:
		nvme_finish(r, create_cq(n, c));
		break;
	case ADMIN_IDENTIFY:
		identify(r, c);
		break;
	case ADMIN_ABORT:
		r->result = 1; /* not aborted: it will complete by itself */
		nvme_finish(r, NVME_OK);
		break;
	case ADMIN_SET_FEATURES:
	case ADMIN_GET_FEATURES:
		get_or_set(r, c, c->opcode == ADMIN_SET_FEATURES);
		break;
	case ADMIN_EVENT:
		event_request(r);
		break;
	default:
		nvme_finish(r, NVME_INVALID_OPCODE);
		break;
	}
}
