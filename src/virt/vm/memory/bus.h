/*
 * The bus: which device answers at which address. Two spaces, ports and memory, each a short sorted
 * list of ranges that do not overlap. vCPUs read and write; devices add themselves when the machine
 * is assembled and move when the guest programs a PCI BAR.
 *
 * One lock, the machine's device lock, is held around every callback: a device is never entered
 * twice, whether by a vCPU or by the loop thread, which takes bus_lock() around its own work on
 * devices. Callbacks are short and never wait: slow work is started, not done. The exception is a
 * doorbell (a queue's notify register): a write to it only signals an eventfd, without the lock;
 * the loop thread then drives the queue. KVM does the same by ioeventfd.
 *
 * What nobody answers reads as all ones; writes to it are dropped, as on a PC.
 *
 * Theory of operation: both tables are sorted arrays of fixed size, so that a guest that moves its
 * BARs for ever costs no memory. Ranges change and are looked up under the device lock. Doorbells
 * have a read-write lock of their own, taken inside the device lock and never around a callback.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"

#define BUS_RANGES_MAX	  256 /* of one space */
#define BUS_DOORBELLS_MAX 512

enum bus_space { BUS_PORT, BUS_MEMORY, BUS_SPACES };

/* `size` is 1, 2, 4 or 8; `offset` is relative to the range and offset + size stays inside it. */
struct bus_ops {
	const char *name; /* of the device, for messages */
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

struct bus_range {
	enum bus_space space;
	uint64_t base, bytes;
	const struct bus_ops *ops;
	void *device;
};

/* A write of any value (or of `value` only when `match`) to this address signals `fd`. */
struct bus_doorbell {
	enum bus_space space;
	uint64_t address;
	unsigned size; /* 0: any */
	int fd;	       /* an eventfd; the device's */
	bool match;
	uint64_t value;
};

struct bus;

/* Told of every doorbell that comes or goes, from now on: KVM registers ioeventfds. NULL:
 * nobody. */
struct bus_watch {
	int (*doorbell)(void *ctx, const struct bus_doorbell *d, bool add, struct err *e);
	void *ctx;
};

struct bus *bus_new(void);
struct bus *bus_free(struct bus *b);
void bus_watch_set(struct bus *b, const struct bus_watch *w);

/* ERR_CONFLICT where the range overlaps another (names it), ERR_EXHAUSTED when full. */
int bus_add(struct bus *b, const struct bus_range *r, struct err *e) must_use;
void bus_remove(struct bus *b, enum bus_space space, uint64_t base);
int bus_doorbell_add(struct bus *b, const struct bus_doorbell *d, struct err *e) must_use;
void bus_doorbell_remove(struct bus *b, const struct bus_doorbell *d);

/* From a vCPU thread. An access that straddles ranges is split into bytes. */
uint64_t bus_read(struct bus *b, enum bus_space space, uint64_t address, unsigned size);
void bus_write(struct bus *b, enum bus_space space, uint64_t address, unsigned size,
	       uint64_t value);

/* The machine's device lock; recursive, so that a callback may call what takes it. */
void bus_lock(struct bus *b);
void bus_unlock(struct bus *b);
