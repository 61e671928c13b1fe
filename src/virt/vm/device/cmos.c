/*
 * The clock's registers over the host's wall clock: see cmos.h. Datasheet MC146818, and the
 * century byte of ACPI at 0x32. The periodic interrupt is the update interrupt's companion here (1
 * Hz): no guest of this century takes its time from it.
 */
#include <assert.h>
#include <string.h>
#include <time.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/cmos.h"
#include "virt/vm/memory/map.h"

#define CMOS_MAGIC 0x434d4f31u
#define CMOS_BYTES 128
#define NS	   1000000000ll

enum {
	CMOS_SECONDS,
	CMOS_SECONDS_ALARM,
	CMOS_MINUTES,
	CMOS_MINUTES_ALARM,
	CMOS_HOURS,
	CMOS_HOURS_ALARM,
	CMOS_WEEKDAY,
	CMOS_DAY,
	CMOS_MONTH,
	CMOS_YEAR,
	CMOS_A,
	CMOS_B,
	CMOS_C,
	CMOS_D,
	CMOS_CENTURY = 0x32,
};

enum { A_DIVIDER = 0x26 }; /* 32 kHz, running */
enum { B_24H = 2, B_BINARY = 4, B_UPDATE = 16, B_ALARM = 32, B_PERIODIC = 64, B_SET = 128 };
enum { C_UPDATE = 16, C_ALARM = 32, C_PERIODIC = 64, C_INTERRUPT = 128 };
enum { D_POWER_GOOD = 128 };

struct cmos {
	unsigned magic;
	struct cmos_config c;
	uint8_t index;
	uint8_t at[CMOS_BYTES];
	int64_t moved_s; /* guest's clock minus the host's */
	struct loop_timer *tick;
};

static uint8_t encode(const struct cmos *m, int v)
{
	return (uint8_t)(m->at[CMOS_B] & B_BINARY ? v : v / 10 * 16 + v % 10);
}

static int decode(const struct cmos *m, uint8_t reg)
{
	int v = m->at[reg];

	return m->at[CMOS_B] & B_BINARY ? v : v / 16 * 10 + v % 16;
}

static int64_t host_s(const struct cmos *m)
{
	return world_now_ns(m->c.world) / NS;
}

static uint8_t hour(const struct cmos *m, int hours)
{
	if (m->at[CMOS_B] & B_24H)
		return encode(m, hours);
	return (uint8_t)(encode(m, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? 0x80 : 0));
}

/* The time registers as of now. While SET is on they are the guest's to write. */
static void load_time(struct cmos *m)
{
	time_t now = (time_t)(host_s(m) + m->moved_s);
	struct tm t;

	if ((m->at[CMOS_B] & B_SET) || !gmtime_r(&now, &t))
		return;
	m->at[CMOS_SECONDS] = encode(m, t.tm_sec);
	m->at[CMOS_MINUTES] = encode(m, t.tm_min);
	m->at[CMOS_HOURS] = hour(m, t.tm_hour);
	m->at[CMOS_WEEKDAY] = encode(m, t.tm_wday + 1);
	m->at[CMOS_DAY] = encode(m, t.tm_mday);
	m->at[CMOS_MONTH] = encode(m, t.tm_mon + 1);
	m->at[CMOS_YEAR] = encode(m, t.tm_year % 100);
	m->at[CMOS_CENTURY] = encode(m, 19 + t.tm_year / 100);
}

/* The guest let go of the time registers: the clock goes on from what they say. Nonsense is
 * normalised as mktime does. */
static void store_time(struct cmos *m)
{
	int hours = decode(m, CMOS_HOURS);
	struct tm t = {0};

	if (!(m->at[CMOS_B] & B_24H)) {
		bool pm = m->at[CMOS_HOURS] & 0x80;

		hours = (m->at[CMOS_B] & B_BINARY ? hours & 0x7f : hours - (pm ? 80 : 0)) % 12;
		hours += pm ? 12 : 0;
	}
	t.tm_sec = decode(m, CMOS_SECONDS);
	t.tm_min = decode(m, CMOS_MINUTES);
	t.tm_hour = hours;
	t.tm_mday = decode(m, CMOS_DAY);
	t.tm_mon = decode(m, CMOS_MONTH) - 1;
	t.tm_year = (decode(m, CMOS_CENTURY) - 19) * 100 + decode(m, CMOS_YEAR);
	m->moved_s = (int64_t)timegm(&t) - host_s(m);
}

/* ---- interrupts ---- */

static void raise_flags(struct cmos *m, unsigned flags)
{
	m->at[CMOS_C] |= (uint8_t)flags;
	if (m->at[CMOS_C] & m->at[CMOS_B] & (B_UPDATE | B_ALARM | B_PERIODIC)) {
		m->at[CMOS_C] |= C_INTERRUPT;
		irq_set(&m->c.irq, true);
	}
}

/* 0xc0 and more: any value will do. */
static bool alarm_matches(const struct cmos *m)
{
	for (unsigned i = CMOS_SECONDS; i <= CMOS_HOURS; i += 2)
		if (m->at[i + 1] < 0xc0 && m->at[i + 1] != m->at[i])
			return false;
	return true;
}

static bool ticking(const struct cmos *m)
{
	return m->at[CMOS_B] & (B_UPDATE | B_ALARM | B_PERIODIC);
}

static void set_tick(struct cmos *m)
{
	int64_t into_ms = world_now_ns(m->c.world) % NS / 1000000;

	if (ticking(m))
		loop_timer_set(m->tick, 1000 - into_ms, 0);
	else
		loop_timer_unset(m->tick);
}

static void tick(void *arg)
{
	struct cmos *m = arg;

	assert(m->magic == CMOS_MAGIC);
	bus_lock(m->c.bus);
	if (!(m->at[CMOS_B] & B_SET)) {
		load_time(m);
		raise_flags(m, C_UPDATE | C_PERIODIC | (alarm_matches(m) ? C_ALARM : 0u));
	}
	set_tick(m);
	bus_unlock(m->c.bus);
}

static void retick(void *arg)
{
	struct cmos *m = arg;

	bus_lock(m->c.bus);
	set_tick(m);
	bus_unlock(m->c.bus);
}

/* ---- registers ---- */

static uint8_t byte_read(struct cmos *m)
{
	uint8_t v;

	if (m->index <= CMOS_YEAR || m->index == CMOS_CENTURY)
		load_time(m);
	v = m->at[m->index];
	if (m->index == CMOS_C) {
		m->at[CMOS_C] = 0;
		irq_set(&m->c.irq, false);
	}
	return v;
}

static void control_write(struct cmos *m, uint8_t v)
{
	bool was_set = m->at[CMOS_B] & B_SET, ticked = ticking(m);

	if (!was_set)
		load_time(m);
	m->at[CMOS_B] = v;
	if (was_set && !(v & B_SET))
		store_time(m);
	if (ticking(m) != ticked)
		loop_post(m->c.loop, retick, m);
}

static void byte_write(struct cmos *m, uint8_t v)
{
	bool time = m->index == CMOS_CENTURY ||
		    (m->index <= CMOS_YEAR && (m->index > CMOS_HOURS || m->index % 2 == 0));

	if (m->index == CMOS_B) {
		control_write(m, v);
		return;
	}
	if (m->index == CMOS_C || m->index == CMOS_D)
		return;
	if (time)
		load_time(m);
	m->at[m->index] = v;
	if (time && !(m->at[CMOS_B] & B_SET))
		store_time(m);
}

static uint64_t port_read(void *p, uint64_t offset, unsigned size)
{
	struct cmos *m = p;

	assert(m->magic == CMOS_MAGIC);
	return size == 1 && offset == 1 ? byte_read(m) : UINT64_MAX;
}

static void port_write(void *p, uint64_t offset, unsigned size, uint64_t value)
{
	struct cmos *m = p;

	assert(m->magic == CMOS_MAGIC);
	if (offset == 0)
		m->index = value & (CMOS_BYTES - 1);
	else if (size == 1)
		byte_write(m, (uint8_t)value);
}

static const struct bus_ops port_ops = {"cmos", port_read, port_write};

void cmos_reset(struct cmos *m)
{
	assert(m->magic == CMOS_MAGIC);
	bus_lock(m->c.bus);
	m->index = 0;
	m->at[CMOS_A] = A_DIVIDER;
	m->at[CMOS_B] = B_24H;
	m->at[CMOS_C] = 0;
	m->at[CMOS_D] = D_POWER_GOOD;
	irq_set(&m->c.irq, false);
	bus_unlock(m->c.bus);
}

int cmos_new(const struct cmos_config *c, struct cmos **ret, struct err *e)
{
	struct cmos *m = mem_new(struct cmos);
	int r;

	assert(c->bus && c->loop && c->world);
	m->magic = CMOS_MAGIC;
	m->c = *c;
	tzset(); /* or gmtime_r would open the zone's file when no file may be opened any longer */
	r = bus_add(c->bus, &(struct bus_range){BUS_PORT, MAP_PORT_CMOS, 2, &port_ops, m}, e);
	if (r < 0) {
		free(m);
		return r;
	}
	m->tick = loop_timer_new(c->loop, tick, m);
	cmos_reset(m);
	*ret = m;
	return 0;
}

struct cmos *cmos_free(struct cmos *m)
{
	if (!m)
		return NULL;
	assert(m->magic == CMOS_MAGIC);
	bus_remove(m->c.bus, BUS_PORT, MAP_PORT_CMOS);
	loop_post_cancel(m->c.loop, retick, m);
	m->tick = loop_timer_free(m->tick);
	m->magic = 0;
	free(m);
	return NULL;
}
