/*
 * What virtio.c and hostile.c share: a device, its registers, its split queues (virtio 1.2 §2.7, §4.1).
 */
#pragma once

#include "guest.h"

enum { /* common configuration, §4.1.4.3 */
       SELECT_DEVICE = 0,
       DEVICE_FEATURES = 4,
       SELECT_DRIVER = 8,
       DRIVER_FEATURES = 12,
       QUEUES = 18,
       STATUS = 20,
       QUEUE_SELECT = 22,
       QUEUE_SIZE = 24,
       QUEUE_VECTOR = 26,
       QUEUE_ENABLE = 28,
       QUEUE_NOTIFY = 30,
       QUEUE_DESC = 32,
       QUEUE_DRIVER = 40,
       QUEUE_DEVICE = 48,
};

enum { ID_NET = 0x1041, ID_BLOCK, ID_CONSOLE, ID_RNG, ID_VSOCK = 0x1053 };

#define WRITES	   2 /* the device does: descriptor flags, §2.7.5 */
#define NEXT	   1
#define QUEUE_MOST 16

struct part {
	void *p;
	uint32_t n;
	uint16_t flags;
};

struct queue {
	volatile struct {
		uint64_t at;
		uint32_t n;
		uint16_t flags, next;
	} * desc;
	volatile uint16_t *avail; /* flags, index, ring */
	volatile uint16_t *used;  /* flags, index, then 8 bytes each */
	volatile uint16_t *doorbell;
	uint16_t size, seen, index;
	unsigned number; /* of its interrupt */
};

struct device {
	const struct pci_device *pci;
	volatile uint8_t *common, *notify, *config;
	uint32_t notify_step;
	const char *name;
	struct queue q[3];
};

void put16(struct device *d, unsigned at, uint16_t v);
void put32(struct device *d, unsigned at, uint32_t v);
void put64(struct device *d, unsigned at, const volatile void *p);
void virtio_find(struct device *d); /* its parts behind the BARs */
/* Reset, features, `queues` of them: false when it does not take them. */
bool virtio_start(struct device *d, uint32_t features, unsigned queues);
/* Hands a chain to queue i; its parts stay the caller's. */
void virtio_offer(struct queue *q, unsigned i, const struct part *parts, unsigned n);
