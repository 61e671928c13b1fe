/*
 * The bus: lookups at every edge of a range, splits, overlaps, limits, doorbells with and without a
 * value, the watcher, and two threads under the device lock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/memory/bus.h"

struct device {
	uint64_t offset, value;
	unsigned size, reads, writes;
	unsigned inside; /* how many threads */
};

static uint64_t device_read(void *p, uint64_t offset, unsigned size)
{
	struct device *d = p;

	d->reads++;
	d->offset = offset;
	d->size = size;
	return 0x8877665544332210ull + offset;
}

static void device_write(void *p, uint64_t offset, unsigned size, uint64_t value)
{
	struct device *d = p;

	assert_int_equal(d->inside++, 0);
	d->writes++;
	d->offset = offset;
	d->size = size;
	d->value = value;
	d->inside--;
}

static const struct bus_ops ops = {"thing", device_read, device_write};

static struct bus_range range(struct device *d, enum bus_space space, uint64_t base, uint64_t bytes)
{
	return (struct bus_range){space, base, bytes, &ops, d};
}

static void edges(void **state)
{
	struct bus *b = bus_new();
	struct device d = {0};
	struct bus_range r = range(&d, BUS_MEMORY, 0x1000, 0x10);
	struct err e = {0};

	assert_int_equal(bus_add(b, &r, &e), 0);
	assert_int_equal(bus_read(b, BUS_MEMORY, 0xfff, 1), 0xff);
	assert_int_equal(bus_read(b, BUS_MEMORY, 0x1010, 4), 0xffffffff);
	assert_int_equal(bus_read(b, BUS_PORT, 0x1000, 2), 0xffff);
	assert_int_equal(d.reads, 0);
	assert_int_equal(bus_read(b, BUS_MEMORY, 0x100f, 1), 0x1f);
	assert_int_equal(d.offset, 15);
	assert_int_equal(bus_read(b, BUS_MEMORY, 0x1008, 8), 0x8877665544332218ull);
	bus_write(b, BUS_MEMORY, 0x1004, 2, 0x12345678);
	assert_int_equal(d.value, 0x5678);
	assert_int_equal(d.size, 2);
	assert_int_equal(bus_read(b, BUS_MEMORY, UINT64_MAX - 1, 4), 0xffffffff);
	bus_write(b, BUS_MEMORY, UINT64_MAX - 1, 8, 0);
	assert_int_equal(d.writes, 1);
	bus_free(b);
}

static void splits(void **state)
{
	struct bus *b = bus_new();
	struct device d = {0};
	struct bus_range r = range(&d, BUS_PORT, 0x100, 2), s = range(&d, BUS_PORT, 0x102, 1);
	struct err e = {0};

	assert_int_equal(bus_add(b, &r, &e), 0);
	assert_int_equal(bus_add(b, &s, &e), 0);
	assert_int_equal(bus_read(b, BUS_PORT, 0x101, 4), 0xffff1011);
	assert_int_equal(bus_read(b, BUS_PORT, 0xfe, 4), 0x1110ffff);
	bus_write(b, BUS_PORT, 0x101, 4, 0xaabbccdd);
	assert_int_equal(d.writes, 2);
	assert_int_equal(d.value, 0xcc);
	bus_remove(b, BUS_PORT, 0x102);
	bus_remove(b, BUS_PORT, 0x102); /* nobody there: nothing happens */
	assert_int_equal(bus_read(b, BUS_PORT, 0x102, 1), 0xff);
	bus_free(b);
}

static void conflicts(void **state)
{
	struct bus *b = bus_new();
	struct device d = {0};
	struct bus_range r = range(&d, BUS_MEMORY, 0x1000, 0x1000);
	struct err e = {0};

	assert_int_equal(bus_add(b, &r, &e), 0);
	for (uint64_t base = 0xff1; base <= 0x1fff; base += 0x10e) {
		r = range(&d, BUS_MEMORY, base, 0x10);
		assert_int_equal(bus_add(b, &r, &e), -ERR_CONFLICT);
	}
	assert_non_null(strstr(e.text, "'thing' is there already"));
	r = range(&d, BUS_MEMORY, 0, UINT64_MAX);
	assert_int_equal(bus_add(b, &r, &e), -ERR_CONFLICT);
	r = range(&d, BUS_MEMORY, UINT64_MAX, 2);
	assert_int_equal(bus_add(b, &r, &e), -ERR_INVALID);
	r = range(&d, BUS_PORT, 0xffff, 2);
	assert_int_equal(bus_add(b, &r, &e), -ERR_INVALID);
	/* Backwards, so that each goes in front; then one too many. */
	for (unsigned i = BUS_RANGES_MAX - 1; i > 0; i--) {
		r = range(&d, BUS_MEMORY, 0x10000 + i * 0x10, 0x10);
		assert_int_equal(bus_add(b, &r, &e), 0);
	}
	assert_int_equal(bus_read(b, BUS_MEMORY, 0x10000 + 7 * 0x10 + 4, 1), 0x14);
	r = range(&d, BUS_MEMORY, 0x80000, 1);
	assert_int_equal(bus_add(b, &r, &e), -ERR_EXHAUSTED);
	bus_free(b);
}

static uint64_t rung(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

struct watched {
	unsigned added, removed;
	bool refuse;
};

static int watch(void *ctx, const struct bus_doorbell *d, bool add, struct err *e)
{
	struct watched *w = ctx;

	if (w->refuse)
		return err_set(e, ERR_EXHAUSTED, "refused");
	if (add)
		w->added++;
	else
		w->removed++;
	return 0;
}

static void doorbells(void **state)
{
	auto_close int one = eventfd(0, EFD_NONBLOCK), two = eventfd(0, EFD_NONBLOCK);
	struct bus *b = bus_new();
	struct device d = {0};
	struct watched w = {0};
	struct bus_range r = range(&d, BUS_MEMORY, 0x1000, 0x100);
	struct bus_doorbell any = {BUS_MEMORY, 0x1010, 0, one, false, 0};
	struct bus_doorbell five = {BUS_MEMORY, 0x1020, 2, two, true, 5};
	struct err e = {0};

	bus_watch_set(b, &(struct bus_watch){watch, &w});
	assert_int_equal(bus_add(b, &r, &e), 0);
	assert_int_equal(bus_doorbell_add(b, &five, &e), 0);
	assert_int_equal(bus_doorbell_add(b, &any, &e), 0);
	bus_write(b, BUS_MEMORY, 0x1010, 4, 1);
	bus_write(b, BUS_MEMORY, 0x1010, 2, 77);
	bus_write(b, BUS_MEMORY, 0x1020, 2, 5);
	assert_int_equal(d.writes, 0);
	bus_write(b, BUS_MEMORY, 0x1020, 2, 6); /* not its value: the device's */
	bus_write(b, BUS_MEMORY, 0x1020, 4, 5); /* not its size */
	bus_write(b, BUS_PORT, 0x1010, 4, 1);	/* not its space */
	assert_int_equal(d.writes, 2);
	assert_int_equal(rung(one), 2);
	assert_int_equal(rung(two), 1);
	bus_doorbell_remove(b, &any);
	bus_doorbell_remove(b, &any);
	bus_write(b, BUS_MEMORY, 0x1010, 4, 1);
	assert_int_equal(d.writes, 3);
	assert_int_equal(w.added, 2);
	assert_int_equal(w.removed, 1);
	w.refuse = true;
	assert_int_equal(bus_doorbell_add(b, &any, &e), -ERR_EXHAUSTED);
	bus_write(b, BUS_MEMORY, 0x1010, 4, 1);
	assert_int_equal(d.writes, 4);
	bus_free(b);
}

static void *hammer(void *p)
{
	for (unsigned i = 0; i < 20000; i++)
		bus_write(p, BUS_MEMORY, 0x1000, 4, i);
	return NULL;
}

static void threads(void **state)
{
	struct bus *b = bus_new();
	struct device d = {0};
	struct bus_range r = range(&d, BUS_MEMORY, 0x1000, 0x100), moving;
	struct err e = {0};
	pthread_t t[2];

	assert_int_equal(bus_add(b, &r, &e), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, b), 0);
	for (unsigned i = 0; i < 2000; i++) {
		moving = range(&d, BUS_MEMORY, (i % 7) * 0x100, 0x10);
		assert_int_equal(bus_add(b, &moving, &e), 0);
		bus_remove(b, BUS_MEMORY, moving.base);
	}
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(d.writes, 40000);
	bus_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges),     cmocka_unit_test(splits),	cmocka_unit_test(conflicts),
		cmocka_unit_test(doorbells), cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
