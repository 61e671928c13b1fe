/*
 * What clients are made of: Docker's frame headers, detach keys across reads, and health as a table
 * of results.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "virt/keeper/client.h"
#include "virt/keeper/health.h"

static void test_frames(void **state)
{
	unsigned char header[CLIENT_FRAME_HEADER];

	(void)state;
	client_frame(LOG_STREAM_STDOUT, 0, header);
	assert_memory_equal(header, "\1\0\0\0\0\0\0\0", 8);
	client_frame(LOG_STREAM_STDERR, 0x01020304, header);
	assert_memory_equal(header, "\2\0\0\0\1\2\3\4", 8);
	client_frame(LOG_STREAM_STDOUT, UINT32_MAX, header);
	assert_memory_equal(header, "\1\0\0\0\xff\xff\xff\xff", 8);
}

static void test_detach_keys(void **state)
{
	static const struct {
		const char *keys, *input, *want;
		bool stay;
	} rows[] = {
		{"\x10\x11", "hello", "hello", true},
		{"\x10\x11", "he\x10llo", "he\x10llo", true},
		{"\x10\x11", "he\x10\x11llo", "he", false},
		{"\x10\x11", "\x10\x10\x11", "\x10", false},
		{"\x10\x11", "\x10", "", true}, /* held back: it may be the beginning */
		{"x", "axb", "a", false},
		/* Overlaps are not looked into, as Docker does not: a failed beginning goes as a
		   whole. */
		{"aab", "aaab", "aaab", true},
	};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++) {
		for (size_t cut = 0; cut <= strlen(rows[i].input); cut++) {
			auto_strbuf struct strbuf out = {0};
			struct client c = {.keys_n = strlen(rows[i].keys)};
			bool stay;

			memcpy(c.keys, rows[i].keys, c.keys_n);
			stay = client_scan_keys(&c, rows[i].input, cut, &out);
			if (stay)
				stay = client_scan_keys(&c, rows[i].input + cut,
							strlen(rows[i].input) - cut, &out);
			assert_int_equal(stay, rows[i].stay);
			assert_string_equal(strbuf_text(&out), rows[i].want);
		}
	}
}

/* Results by letter: g good, b bad; the status after each: s starting, h healthy, u unhealthy. */
static void test_health(void **state)
{
	static const struct {
		uint32_t retries;
		int64_t start_period_s, step_s;
		const char *results, *want;
	} rows[] = {
		{3, 0, 1, "g", "h"},
		{3, 0, 1, "bbb", "ssu"},
		{1, 0, 1, "bgb", "uhu"},
		{3, 0, 1, "gbbgbbb", "hhhhhhu"},
		{2, 5, 1, "bbbbbbb", "ssssssu"}, /* at 0..4 s nothing counts */
		{2, 5, 1, "gbb", "hhu"},	 /* once healthy, it counts */
		{0, 0, 1, "bbb", "ssu"},	 /* the default is three */
	};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++) {
		struct keeper_orders o = {.health_test = (char *[]){"x", NULL},
					  .health_retries = rows[i].retries,
					  .health_start_period_ns =
						  rows[i].start_period_s * 1000000000};
		static const char letters[] = "-shu";
		struct health h;

		health_init(&h, &o);
		for (size_t k = 0; rows[i].results[k]; k++) {
			enum keeper_health_status before = h.status;
			bool changed = health_result(&h, rows[i].results[k] == 'g',
						     (int64_t)k * rows[i].step_s * 1000000000);

			assert_int_equal(letters[h.status], rows[i].want[k]);
			assert_int_equal(changed, before != h.status);
		}
	}
}

static void test_health_times(void **state)
{
	struct keeper_orders o = {.health_test = (char *[]){"x", NULL},
				  .health_start_period_ns = 60000000000};
	struct health h;

	(void)state;
	health_init(&h, &(struct keeper_orders){0});
	assert_int_equal(h.status, KEEPER_HEALTH_NONE);
	health_begin(&h);
	assert_int_equal(h.status, KEEPER_HEALTH_NONE);
	health_init(&h, &o);
	assert_true(h.timeout_ns == 30000000000);
	assert_true(health_delay(&h, 0) == 5000000000);
	assert_true(health_delay(&h, 60000000000) == 30000000000);
	(void)health_result(&h, true, 0);
	assert_true(health_delay(&h, 0) == 30000000000);
	health_begin(&h);
	assert_int_equal(h.status, KEEPER_HEALTH_STARTING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_detach_keys),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_health_times),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
