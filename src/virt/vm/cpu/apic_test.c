/*
 * The local APIC alone, with a clock that the test holds: priorities and EOI, the timer's three
 * modes, every destination form, both register views, errors, and state that survives a round trip.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/apic.h"
#include "virt/vm/memory/map.h"

struct fixture {
	uint64_t now;
	unsigned wakes[VCPU_COUNT_MAX];
	int eoi;
	struct apic_set *s;
};

static uint64_t fake_now(void *ctx)
{
	return ((struct fixture *)ctx)->now;
}

static void fake_wake(void *ctx, unsigned index)
{
	((struct fixture *)ctx)->wakes[index]++;
}

static void fake_eoi(void *ctx, uint8_t vector)
{
	((struct fixture *)ctx)->eoi = vector;
}

static int setup_n(void **state, unsigned n)
{
	struct fixture *f = mem_new(struct fixture);

	f->now = 1000000;
	f->eoi = -1;
	f->s = apic_set_new(n, &(struct apic_host){fake_now, fake_wake, fake_eoi, f});
	for (unsigned i = 0; i < n; i++)
		apic_write(&f->s->apic[i], APIC_SVR, 0x1ff);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_n(state, 4);
}

static int setup_many(void **state)
{
	return setup_n(state, 32);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->s = apic_set_free(f->s);
	free(f);
	return 0;
}

static void send_fixed(struct fixture *f, uint32_t destination, uint8_t vector)
{
	struct apic_message m = {.destination = destination, .vector = vector, .assert = true};

	assert_true(apic_send(f->s, &m) > 0);
}

static void test_priorities(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0];

	assert_int_equal(apic_pending(a), -1);
	send_fixed(f, 0, 0x41);
	send_fixed(f, 0, 0x93);
	send_fixed(f, 0, 0x95);
	assert_int_equal(f->wakes[0], 3);
	send_fixed(f, 0, 0x95); /* is requested already */
	assert_int_equal(f->wakes[0], 3);
	assert_int_equal(apic_take(a), 0x95);
	assert_int_equal(apic_read(a, APIC_PPR), 0x90);
	assert_int_equal(apic_pending(a), -1); /* 0x93 has the same class */
	assert_int_equal(apic_read(a, APIC_ISR + 0x40), 1u << 0x15);
	assert_int_equal(apic_read(a, APIC_IRR + 0x40), 1u << 0x13);
	apic_write(a, APIC_EOI, 0);
	assert_int_equal(apic_take(a), 0x93);
	apic_write(a, APIC_EOI, 0);
	apic_write(a, APIC_TPR, 0x40);
	assert_int_equal(apic_cr8(a), 4);
	assert_int_equal(apic_pending(a), -1);
	apic_cr8_write(a, 3);
	assert_int_equal(apic_take(a), 0x41);
	assert_int_equal(f->eoi, -1);
	apic_write(a, APIC_EOI, 0);
	apic_write(a, APIC_EOI, 0); /* one too many is no harm */
	assert_int_equal(apic_pending(a), -1);
}

static void test_level_is_told(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[1];
	struct msi m = {.address = 0xfee01000, .data = 0x8000 | 0x4000 | 0x55};

	assert_int_equal(apic_msi(f->s, m), 1);
	assert_int_equal(apic_take(a), 0x55);
	apic_write(a, APIC_EOI, 0);
	assert_int_equal(f->eoi, 0x55);
	m.data = 0x55;
	f->eoi = -1;
	assert_int_equal(apic_msi(f->s, m), 1);
	assert_int_equal(apic_take(a), 0x55);
	apic_write(a, APIC_EOI, 0);
	assert_int_equal(f->eoi, -1);
	m.address = 0xfed01000; /* not an APIC's */
	assert_int_equal(apic_msi(f->s, m), 0);
}

static void test_one_shot_and_periodic(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0];

	apic_write(a, APIC_LVT_TIMER, 0x30);
	apic_write(a, APIC_TIMER_DIVIDE, 3); /* by 16 */
	apic_write(a, APIC_TIMER_INITIAL, 100);
	assert_int_equal(apic_deadline(a), f->now + 1600);
	f->now += 800;
	assert_int_equal(apic_read(a, APIC_TIMER_CURRENT), 50);
	assert_false(apic_tick(a, f->now));
	f->now += 800;
	assert_true(apic_tick(a, f->now));
	assert_int_equal(apic_take(a), 0x30);
	assert_int_equal(apic_deadline(a), APIC_NEVER);
	assert_int_equal(apic_read(a, APIC_TIMER_CURRENT), 0);
	apic_write(a, APIC_EOI, 0);

	apic_write(a, APIC_TIMER_DIVIDE, 0xb); /* by 1 */
	apic_write(a, APIC_LVT_TIMER, 0x20031);
	apic_write(a, APIC_TIMER_INITIAL, 1000);
	f->now += 3500;
	assert_true(apic_tick(a, f->now));
	assert_int_equal(apic_take(a), 0x31);
	assert_int_equal(apic_deadline(a), f->now + 500); /* keeps its phase */
	assert_int_equal(apic_read(a, APIC_TIMER_CURRENT), 500);
	apic_write(a, APIC_EOI, 0);
	apic_write(a, APIC_LVT_TIMER, 0x30031); /* masked: runs on in silence */
	f->now += 500;
	assert_true(apic_tick(a, f->now));
	assert_int_equal(apic_pending(a), -1);
	apic_write(a, APIC_TIMER_INITIAL, 0);
	assert_int_equal(apic_deadline(a), APIC_NEVER);
}

static void test_tsc_deadline(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0];

	apic_deadline_write(a, 5); /* not in that mode: ignored */
	assert_int_equal(apic_deadline_read(a), 0);
	apic_write(a, APIC_LVT_TIMER, 0x400ef);
	apic_deadline_write(a, f->now + a->tsc_offset + 700);
	assert_int_equal(apic_deadline(a), f->now + 700);
	assert_int_equal(apic_read(a, APIC_TIMER_CURRENT), 0);
	apic_write(a, APIC_TIMER_INITIAL, 5); /* ignored in this mode */
	assert_int_equal(apic_deadline(a), f->now + 700);
	f->now += 700;
	assert_true(apic_tick(a, f->now));
	assert_int_equal(apic_deadline_read(a), 0);
	assert_int_equal(apic_take(a), 0xef);
	apic_deadline_write(a, 1); /* in the past: at once */
	assert_true(apic_tick(a, f->now));
	apic_deadline_write(a, UINT64_MAX);
	assert_true(apic_deadline(a) > f->now);
	apic_write(a, APIC_LVT_TIMER, 0xef); /* leaving the mode disarms */
	assert_int_equal(apic_deadline(a), APIC_NEVER);
}

static void ipi(struct apic *a, uint32_t high, uint32_t low)
{
	apic_write(a, APIC_ICR_HIGH, high);
	apic_write(a, APIC_ICR, low);
}

static int taken(struct fixture *f, unsigned i)
{
	int vector = apic_take(&f->s->apic[i]);

	if (vector >= 0)
		apic_write(&f->s->apic[i], APIC_EOI, 0);
	return vector;
}

static void test_destinations(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0];

	ipi(a, 2u << 24, 0x4051);
	assert_int_equal(taken(f, 2), 0x51);
	ipi(a, 0xffu << 24, 0x4052); /* physical broadcast */
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(taken(f, i), 0x52);
	for (unsigned i = 0; i < 4; i++)
		apic_write(&f->s->apic[i], APIC_LDR, 1u << (24 + i));
	ipi(a, 0x6u << 24, 0x4853); /* flat logical */
	assert_int_equal(taken(f, 0), -1);
	assert_int_equal(taken(f, 1), 0x53);
	assert_int_equal(taken(f, 2), 0x53);
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t cluster[] = {0x11, 0x12, 0x21, 0x22};

		apic_write(&f->s->apic[i], APIC_DFR, 0);
		apic_write(&f->s->apic[i], APIC_LDR, cluster[i] << 24);
	}
	ipi(a, 0x23u << 24, 0x4854); /* cluster 2, both */
	assert_int_equal(taken(f, 0), -1);
	assert_int_equal(taken(f, 1), -1);
	assert_int_equal(taken(f, 2), 0x54);
	assert_int_equal(taken(f, 3), 0x54);
	ipi(a, 0, 0x44055); /* self */
	assert_int_equal(taken(f, 0), 0x55);
	ipi(a, 0, 0x84056); /* all */
	ipi(a, 0, 0xc4057); /* all but self */
	assert_int_equal(taken(f, 0), 0x56);
	assert_int_equal(taken(f, 3), 0x57);
	assert_int_equal(taken(f, 3), 0x56);
	assert_int_equal(apic_read(a, APIC_ICR), 0xc4057);
}

static void test_events(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0];

	ipi(a, 1u << 24, 0x4400);
	assert_int_equal(apic_events(&f->s->apic[1]), APIC_EVENT_NMI);
	ipi(a, 1u << 24, 0x4500);
	ipi(a, 1u << 24, 0x8500); /* INIT's de-assertion does nothing */
	ipi(a, 1u << 24, 0x4699);
	assert_int_equal(apic_events(&f->s->apic[1]),
			 APIC_EVENT_NMI | APIC_EVENT_INIT | APIC_EVENT_STARTUP);
	assert_int_equal(f->s->apic[1].startup_vector, 0x99);
	apic_events_clear(&f->s->apic[1], APIC_EVENT_NMI | APIC_EVENT_INIT);
	assert_int_equal(apic_events(&f->s->apic[1]), APIC_EVENT_STARTUP);
	assert_int_equal(f->wakes[1], 3);
	apic_event_raise(f->s, 3, APIC_EVENT_KICK);
	assert_int_equal(f->wakes[3], 1);
}

static void test_lowest_takes_turns(void **state)
{
	struct fixture *f = *state;
	struct apic_message m = {.destination = 0xff, .vector = 0x61, .delivery = APIC_LOWEST};
	unsigned got[4] = {0};

	apic_write(&f->s->apic[2], APIC_TPR, 0x20);
	for (unsigned n = 0; n < 40; n++) {
		assert_int_equal(apic_send(f->s, &m), 1);
		for (unsigned i = 0; i < 4; i++)
			got[i] += taken(f, i) == 0x61;
	}
	assert_int_equal(got[2], 0);
	assert_true(got[0] > 5 && got[1] > 5 && got[3] > 5);
}

static void test_software_disabled(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0];

	apic_write(a, APIC_LVT_ERROR, 0xfe);
	apic_write(a, APIC_SVR, 0xff);
	assert_int_equal(apic_read(a, APIC_LVT_ERROR), 0x100fe);
	send_fixed(f, 0, 0x41);
	assert_int_equal(apic_pending(a), -1);
	apic_write(a, APIC_LVT_ERROR, 0xfe); /* stays masked */
	assert_int_equal(apic_read(a, APIC_LVT_ERROR), 0x100fe);
}

static void test_errors(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0];

	apic_write(a, APIC_LVT_ERROR, 0xfe);
	ipi(a, 1u << 24, 0x4005);
	assert_int_equal(taken(f, 0), 0xfe);
	assert_int_equal(apic_read(a, APIC_ESR), 0);
	apic_write(a, APIC_ESR, 0);
	assert_int_equal(apic_read(a, APIC_ESR), 0x20);
	send_fixed(f, 0, 7);
	assert_int_equal(apic_read(a, 0x40), 0);
	apic_write(a, APIC_ESR, 0);
	assert_int_equal(apic_read(a, APIC_ESR), 0xc0);
	apic_write(a, APIC_ESR, 0);
	assert_int_equal(apic_read(a, APIC_ESR), 0);
}

static void test_x2apic(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[17];
	uint64_t base = apic_base(a), value = 0;

	assert_false(apic_msr_read(a, 0x802, &value)); /* not on yet */
	assert_false(apic_base_write(a, base | 1));
	assert_false(apic_base_write(a, base + 0x1000));
	for (unsigned i = 0; i < 32; i++)
		assert_true(apic_base_write(&f->s->apic[i],
					    apic_base(&f->s->apic[i]) | APIC_BASE_X2APIC));
	assert_false(apic_base_write(a, base)); /* only by way of disabled */
	assert_true(apic_msr_read(a, 0x802, &value));
	assert_int_equal(value, 17);
	assert_true(apic_msr_read(a, 0x80d, &value));
	assert_int_equal(value, 1 << 16 | 1 << 1);
	assert_false(apic_msr_write(a, 0x80d, 1)); /* LDR is read-only */
	assert_false(apic_msr_read(a, 0x80e, &value));
	assert_false(apic_msr_read(a, 0x831, &value));
	assert_false(apic_msr_write(a, 0x80b, 1)); /* EOI takes 0 only */
	assert_true(apic_msr_write(a, 0x80b, 0));
	assert_false(apic_msr_write(a, 0x808, 0x100));
	assert_true(apic_msr_write(a, 0x830, 3ull << 32 | 0x4071));
	assert_true(apic_msr_read(a, 0x830, &value));
	assert_int_equal(value, 3ull << 32 | 0x4071);
	assert_int_equal(apic_take(&f->s->apic[3]), 0x71);
	assert_true(apic_msr_write(a, 0x830, (1ull << 16 | 0x3) << 32 | 0x4872)); /* 16 and 17 */
	assert_int_equal(apic_take(&f->s->apic[16]), 0x72);
	assert_int_equal(apic_take(&f->s->apic[17]), 0x72);
	assert_int_equal(apic_pending(&f->s->apic[0]), -1);
	assert_true(apic_msr_write(a, 0x830, 0xffffffffull << 32 | 0x4084));
	assert_int_equal(apic_take(&f->s->apic[31]), 0x84);
	assert_int_equal(apic_take(&f->s->apic[0]), 0x84);
	assert_true(apic_msr_write(a, 0x83f, 0x91));
	assert_int_equal(apic_take(a), 0x91);
	assert_false(apic_msr_write(a, 0x83f, 0x191));
	assert_int_equal(apic_msi(f->s, (struct msi){0xfee11000, 0x85}), 1); /* to 17 */
	assert_true(apic_base_write(a, MAP_APIC_BASE));
	assert_false(apic_msr_read(a, 0x802, &value));
	assert_int_equal(apic_msi(f->s, (struct msi){0xfee11000, 0x86}), 0);
}

static void test_state_round_trip(void **state)
{
	struct fixture *f = *state;
	struct apic *a = &f->s->apic[0], *b = &f->s->apic[1];
	uint8_t first[APIC_STATE_BYTES], second[APIC_STATE_BYTES];

	apic_write(a, APIC_LDR, 0x11000000);
	apic_write(a, APIC_LVT_TIMER, 0x20044);
	apic_write(a, APIC_LVT_LINT0, 0x700);
	apic_write(a, APIC_LVT_LINT1, 0x400);
	apic_write(a, APIC_TIMER_DIVIDE, 0xb);
	apic_write(a, APIC_TIMER_INITIAL, 1000);
	apic_write(a, APIC_TPR, 0x10);
	send_fixed(f, 0, 0x51);
	assert_int_equal(apic_take(a), 0x51);
	send_fixed(f, 0, 0x62);
	f->now += 300;
	apic_get(a, first);
	apic_set_state(b, first);
	apic_get(b, second);
	assert_memory_equal(first, second, sizeof(first));
	assert_int_equal(apic_deadline(b), f->now + 700);
	assert_int_equal(apic_take(b), 0x62);
	apic_reset(a, false);
	assert_int_equal(apic_read(a, APIC_SVR), 0xff);
	assert_int_equal(apic_read(a, APIC_LVT_TIMER), 0x10000);
	assert_int_equal(apic_deadline(a), APIC_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_shot_and_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tsc_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destinations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lowest_takes_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_software_disabled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x2apic, setup_many, teardown),
		cmocka_unit_test_setup_teardown(test_state_round_trip, setup, teardown),
	};

	return cmocka_run_group_tests_name("apic", tests, NULL, NULL);
}
