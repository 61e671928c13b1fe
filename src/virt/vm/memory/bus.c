/*
 * The bus: two sorted tables of ranges, one of doorbells, and the device lock. Accesses are looked
 * up by bisection. What a device does with an access is its own affair.
 */
#include <assert.h>
#include <pthread.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/memory/bus.h"

#define BUS_MAGIC 0x42555331u

struct ranges {
	struct bus_range at[BUS_RANGES_MAX];
	size_t n;
};

struct bus {
	unsigned magic;
	pthread_mutex_t lock; /* the device lock, recursive */
	struct ranges ranges[BUS_SPACES];
	pthread_rwlock_t doorbells_lock;
	struct bus_doorbell doorbells[BUS_DOORBELLS_MAX];
	size_t doorbells_n;
	struct bus_watch watch;
};

struct bus *bus_new(void)
{
	struct bus *b = mem_new(struct bus);
	pthread_mutexattr_t recursive;

	b->magic = BUS_MAGIC;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&b->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	pthread_rwlock_init(&b->doorbells_lock, NULL);
	return b;
}

struct bus *bus_free(struct bus *b)
{
	if (!b)
		return NULL;
	assert(b->magic == BUS_MAGIC);
	pthread_rwlock_destroy(&b->doorbells_lock);
	pthread_mutex_destroy(&b->lock);
	b->magic = 0;
	free(b);
	return NULL;
}

void bus_watch_set(struct bus *b, const struct bus_watch *w)
{
	assert(b->magic == BUS_MAGIC);
	b->watch = w ? *w : (struct bus_watch){0};
}

void bus_lock(struct bus *b)
{
	assert(b->magic == BUS_MAGIC);
	pthread_mutex_lock(&b->lock);
}

void bus_unlock(struct bus *b)
{
	pthread_mutex_unlock(&b->lock);
}

/* ---- ranges ---- */

/* Index of the first range that ends behind `address`; n when there is none. */
static size_t range_at(const struct ranges *t, uint64_t address)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->at[mid].base + (t->at[mid].bytes - 1) < address)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool overlaps(const struct ranges *t, size_t i, const struct bus_range *r)
{
	return i < t->n && t->at[i].base <= r->base + (r->bytes - 1);
}

int bus_add(struct bus *b, const struct bus_range *r, struct err *e)
{
	struct ranges *t = &b->ranges[r->space];
	uint64_t last;
	size_t i;
	int failed = 0;

	assert(r->space < BUS_SPACES);
	assert(r->bytes > 0 && r->ops && r->ops->read && r->ops->write);
	if (__builtin_add_overflow(r->base, r->bytes - 1, &last) ||
	    (r->space == BUS_PORT && last > 0xffff))
		return err_set(e, ERR_INVALID,
			       "'%s' cannot lie at 0x%llx: it would end behind the address space",
			       r->ops->name, (unsigned long long)r->base);
	bus_lock(b);
	i = range_at(t, r->base);
	if (overlaps(t, i, r)) {
		failed =
			err_set(e, ERR_CONFLICT, "'%s' cannot lie at 0x%llx: '%s' is there already",
				r->ops->name, (unsigned long long)r->base, t->at[i].ops->name);
	} else if (t->n == BUS_RANGES_MAX) {
		failed = err_set(e, ERR_EXHAUSTED, "no room for '%s': a bus has at most %u ranges",
				 r->ops->name, BUS_RANGES_MAX);
	} else {
		for (size_t k = t->n; k > i; k--)
			t->at[k] = t->at[k - 1];
		t->at[i] = *r;
		t->n++;
	}
	bus_unlock(b);
	return failed;
}

void bus_remove(struct bus *b, enum bus_space space, uint64_t base)
{
	struct ranges *t = &b->ranges[space];
	size_t i;

	assert(space < BUS_SPACES);
	bus_lock(b);
	i = range_at(t, base);
	if (i < t->n && t->at[i].base == base) {
		t->n--;
		for (; i < t->n; i++)
			t->at[i] = t->at[i + 1];
	}
	bus_unlock(b);
}

/* ---- doorbells ---- */

static int order(enum bus_space space, uint64_t address, const struct bus_doorbell *d)
{
	if (space != d->space)
		return space < d->space ? -1 : 1;
	return address < d->address ? -1 : address > d->address;
}

/* Index of the first doorbell at or behind the address. Several may share one, by value. */
static size_t doorbell_at(const struct bus *b, enum bus_space space, uint64_t address)
{
	size_t low = 0, high = b->doorbells_n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (order(space, address, &b->doorbells[mid]) > 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool same_doorbell(const struct bus_doorbell *x, const struct bus_doorbell *y)
{
	return x->space == y->space && x->address == y->address && x->size == y->size &&
	       x->fd == y->fd && x->match == y->match && (!x->match || x->value == y->value);
}

static int tell(struct bus *b, const struct bus_doorbell *d, bool add, struct err *e)
{
	return b->watch.doorbell ? b->watch.doorbell(b->watch.ctx, d, add, e) : 0;
}

int bus_doorbell_add(struct bus *b, const struct bus_doorbell *d, struct err *e)
{
	int failed;

	assert(b->magic == BUS_MAGIC);
	assert(d->space < BUS_SPACES);
	assert(d->fd >= 0);
	bus_lock(b);
	if (b->doorbells_n == BUS_DOORBELLS_MAX)
		failed = err_set(e, ERR_EXHAUSTED, "a machine has at most %u doorbells",
				 BUS_DOORBELLS_MAX);
	else
		failed = tell(b, d, true, e);
	if (!failed) {
		size_t i;

		pthread_rwlock_wrlock(&b->doorbells_lock);
		i = doorbell_at(b, d->space, d->address);
		for (size_t k = b->doorbells_n; k > i; k--)
			b->doorbells[k] = b->doorbells[k - 1];
		b->doorbells[i] = *d;
		b->doorbells_n++;
		pthread_rwlock_unlock(&b->doorbells_lock);
	}
	bus_unlock(b);
	return failed;
}

void bus_doorbell_remove(struct bus *b, const struct bus_doorbell *d)
{
	bool found = false;
	size_t i;

	bus_lock(b);
	pthread_rwlock_wrlock(&b->doorbells_lock);
	i = doorbell_at(b, d->space, d->address);
	while (i < b->doorbells_n && !same_doorbell(&b->doorbells[i], d))
		i++;
	if (i < b->doorbells_n) {
		found = true;
		b->doorbells_n--;
		for (; i < b->doorbells_n; i++)
			b->doorbells[i] = b->doorbells[i + 1];
	}
	pthread_rwlock_unlock(&b->doorbells_lock);
	if (found)
		(void)tell(b, d, false, NULL);
	bus_unlock(b);
}

/* Rings whatever hangs at the address; false when nothing does. */
static bool ring(struct bus *b, enum bus_space space, uint64_t address, unsigned size,
		 uint64_t value)
{
	const uint64_t one = 1;
	bool rung = false;

	pthread_rwlock_rdlock(&b->doorbells_lock);
	for (size_t i = doorbell_at(b, space, address);
	     i < b->doorbells_n && order(space, address, &b->doorbells[i]) == 0; i++) {
		const struct bus_doorbell *d = &b->doorbells[i];

		if ((d->size && d->size != size) || (d->match && d->value != value))
			continue;
		/* A full counter means that it is rung already. */
		if (write(d->fd, &one, sizeof(one)) >= 0 || errno == EAGAIN)
			rung = true;
	}
	pthread_rwlock_unlock(&b->doorbells_lock);
	return rung;
}

/* ---- accesses ---- */

static uint64_t ones(unsigned size)
{
	return size == 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

/* The range that holds the whole access, or NULL; *ret_split when only a part of it. */
static const struct bus_range *range_of(const struct ranges *t, uint64_t address, unsigned size,
					bool *ret_split)
{
	size_t i = range_at(t, address);
	uint64_t last;

	*ret_split = false;
	if (i == t->n || __builtin_add_overflow(address, size - 1, &last))
		return NULL;
	if (last < t->at[i].base)
		return NULL;
	if (address >= t->at[i].base && last - t->at[i].base < t->at[i].bytes)
		return &t->at[i];
	*ret_split = size > 1;
	return NULL;
}

uint64_t bus_read(struct bus *b, enum bus_space space, uint64_t address, unsigned size)
{
	const struct bus_range *r;
	uint64_t value = ones(size);
	bool split;

	assert(b->magic == BUS_MAGIC);
	assert(size == 1 || size == 2 || size == 4 || size == 8);
	bus_lock(b);
	r = range_of(&b->ranges[space], address, size, &split);
	if (r)
		value = r->ops->read(r->device, address - r->base, size) & ones(size);
	for (unsigned i = 0; split && i < size; i++) {
		value &= ~(0xffull << (8 * i));
		value |= bus_read(b, space, address + i, 1) << (8 * i);
	}
	bus_unlock(b);
	return value;
}

void bus_write(struct bus *b, enum bus_space space, uint64_t address, unsigned size, uint64_t value)
{
	const struct bus_range *r;
	bool split;

	assert(b->magic == BUS_MAGIC);
	assert(size == 1 || size == 2 || size == 4 || size == 8);
	value &= ones(size);
	if (ring(b, space, address, size, value))
		return;
	bus_lock(b);
	r = range_of(&b->ranges[space], address, size, &split);
	if (r)
		r->ops->write(r->device, address - r->base, size, value);
	for (unsigned i = 0; split && i < size; i++)
		bus_write(b, space, address + i, 1, value >> (8 * i) & 0xff);
	bus_unlock(b);
}
