/*
 * The queue: who comes first, who comes back when, and what wakes whom.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/scheduler/queue.h"
#include "ground/base/mem.h"

static void check_pops(struct queue *q, const char *key)
{
	struct waiting *w = queue_pop(q);

	assert_non_null(w);
	assert_string_equal(w->key, key);
}

static void goes_by_priority_then_time(void **state)
{
	struct queue *q = queue_new();

	(void)state;
	(void)queue_add(q, "a", 0);
	(void)queue_add(q, "b", 5);
	(void)queue_add(q, "c", 0);
	(void)queue_add(q, "d", 5);
	assert_ptr_equal(queue_add(q, "b", 5), queue_get(q, "b"));
	queue_remove(q, queue_get(q, "d"));
	check_pops(q, "b");
	check_pops(q, "a");
	check_pops(q, "c");
	assert_null(queue_pop(q));
	assert_int_equal(queue_count(q), 3);
	(void)queue_free(q);
}

static void wakes_those_that_it_helps(void **state)
{
	struct queue *q = queue_new();

	(void)state;
	(void)queue_add(q, "a", 0);
	(void)queue_add(q, "b", 0);
	queue_set_aside(q, queue_pop(q), QUEUE_NODE, 0);
	queue_set_aside(q, queue_pop(q), QUEUE_VOLUME, 0);
	assert_null(queue_pop(q));
	queue_tell(q, QUEUE_NODE, 5000);
	check_pops(q, "a");
	assert_null(queue_pop(q));
	queue_wake(q, queue_get(q, "b"));
	check_pops(q, "b");
	(void)queue_free(q);
}

static void backs_off_from_1_s_to_10_s(void **state)
{
	static const int64_t delays[] = {1000, 2000, 4000, 8000, 10000, 10000};
	struct queue *q = queue_new();
	int64_t now = 0;

	(void)state;
	(void)queue_add(q, "a", 0);
	for (size_t i = 0; i < array_len(delays); i++) {
		queue_set_aside(q, queue_pop(q), QUEUE_ANY, now);
		queue_tell(q, QUEUE_POD_GONE, now);
		assert_null(queue_pop(q));
		assert_int_equal(queue_ripen(q, now + delays[i] - 1), now + delays[i]);
		now += delays[i];
		assert_int_equal(queue_ripen(q, now), -1);
	}
	check_pops(q, "a");
	(void)queue_free(q);
}

static void misses_nothing_while_taken(void **state)
{
	struct queue *q = queue_new();
	struct waiting *w;

	(void)state;
	(void)queue_add(q, "a", 0);
	w = queue_pop(q);
	queue_wake(q, w);
	queue_set_aside(q, w, QUEUE_NODE, 0);
	assert_int_equal(w->state, WAITING_BACKOFF);
	assert_int_equal(queue_ripen(q, 1000), -1);
	check_pops(q, "a");
	(void)queue_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_by_priority_then_time),
		cmocka_unit_test(wakes_those_that_it_helps),
		cmocka_unit_test(backs_off_from_1_s_to_10_s),
		cmocka_unit_test(misses_nothing_while_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
