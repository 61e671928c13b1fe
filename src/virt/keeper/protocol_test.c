/*
 * The protocol's packing (every field of every struct comes back, foreign fields are skipped, cut
 * packets are refused), the restart policy on a clock of its own, and the records on disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/process.h"
#include "virt/keeper/message.h"
#include "virt/keeper/record.h"
#include "virt/keeper/restart.h"

static void pack_and_back(enum keeper_type type, const void *in, struct arena *a, void *out)
{
	auto_strbuf struct strbuf b = {0};
	struct err e = {0};
	struct message m;

	message_write(&b, type, 7, in);
	assert_int_equal(message_read(strbuf_str(&b), &m, &e), 0);
	assert_int_equal(m.type, type);
	assert_int_equal(m.serial, 7);
	assert_int_equal(m.version, KEEPER_PROTOCOL_VERSION);
	if (message_decode(m.body, message_shape_of(type), a, out, &e) < 0)
		fail_msg("%s", e.text);
}

static void test_orders(void **state)
{
	auto_arena struct arena a = {0};
	struct keeper_orders out,
		in = {
			.id = "abc",
			.lower = (char *[]){"/l2", "/l1", "", NULL},
			.tty = true,
			.rows = 24,
			.log_bytes_max = -1,
			.health_test = (char *[]){"/bin/sh", "-c", "exit 1", NULL},
			.health_interval_ns = INT64_MAX,
			.restart = KEEPER_RESTART_ON_FAILURE,
			.restart_max = UINT32_MAX,
		};

	(void)state;
	pack_and_back(KEEPER_ORDERS, &in, &a, &out);
	assert_string_equal(out.id, "abc");
	assert_null(out.upper);
	assert_string_equal(out.lower[0], "/l2");
	assert_string_equal(out.lower[2], "");
	assert_null(out.lower[3]);
	assert_true(out.tty);
	assert_false(out.open_stdin);
	assert_int_equal(out.log_bytes_max, -1);
	assert_true(out.health_interval_ns == INT64_MAX);
	assert_int_equal(out.restart_max, UINT32_MAX);
	assert_string_equal(out.health_test[2], "exit 1");
	assert_null(out.health_test[3]);
}

static void test_nested(void **state)
{
	auto_arena struct arena a = {0};
	struct keeper_exec out, in = {
					.id = "e",
					.args = (char *[]){"true", NULL},
					.client = {.session = "s",
						   .multiplexed = true,
						   .early = "a\0b",
						   .early_n = 3},
				};

	(void)state;
	pack_and_back(KEEPER_EXEC, &in, &a, &out);
	assert_string_equal(out.client.session, "s");
	assert_true(out.client.multiplexed);
	assert_int_equal(out.client.early_n, 3);
	assert_memory_equal(out.client.early, "a\0b", 4);
	assert_null(out.env);
}

static void test_foreign_and_cut(void **state)
{
	auto_strbuf struct strbuf b = {0};
	auto_arena struct arena a = {0};
	struct keeper_stop out, in = {.signal = 15, .timeout_s = -1};
	struct message m;

	(void)state;
	message_write(&b, KEEPER_STOP, 0, &in);
	strbuf_add(&b, "\xff\x7f\x03\0\0\0abc", 9); /* a field of a later release */
	assert_int_equal(message_read(strbuf_str(&b), &m, NULL), 0);
	assert_int_equal(message_decode(m.body, message_shape_of(KEEPER_STOP), &a, &out, NULL), 0);
	assert_int_equal(out.signal, 15);
	assert_int_equal(out.timeout_s, -1);
	for (size_t n = 0; n < b.n; n++) {
		struct str cut = {b.p, n};

		if (message_read(cut, &m, NULL) == 0)
			assert_true(message_decode(m.body, message_shape_of(KEEPER_STOP), &a, &out,
						   NULL) <= 0);
		else
			assert_true(n < 12);
	}
	assert_true(message_decode((struct str){b.p + 12, 7}, message_shape_of(KEEPER_STOP), &a,
				   &out, NULL) < 0);
}

static void test_restart_table(void **state)
{
	static const struct {
		uint32_t policy, max, count, code;
		bool stopped, want;
	} rows[] = {
		{KEEPER_RESTART_NO, 0, 0, 1, false, false},
		{KEEPER_RESTART_ALWAYS, 0, 0, 0, false, true},
		{KEEPER_RESTART_ALWAYS, 0, 99, 1, false, true},
		{KEEPER_RESTART_ALWAYS, 0, 0, 1, true, false},
		{KEEPER_RESTART_UNLESS_STOPPED, 0, 0, 0, false, true},
		{KEEPER_RESTART_UNLESS_STOPPED, 0, 0, 0, true, false},
		{KEEPER_RESTART_ON_FAILURE, 0, 1000, 1, false, true},
		{KEEPER_RESTART_ON_FAILURE, 0, 0, 0, false, false},
		{KEEPER_RESTART_ON_FAILURE, 3, 2, 1, false, true},
		{KEEPER_RESTART_ON_FAILURE, 3, 3, 1, false, false},
		{77, 0, 0, 1, false, false},
	};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++) {
		struct restart r = {rows[i].policy, rows[i].max, rows[i].count, 0};
		int64_t delay = -1;

		assert_int_equal(restart_next(&r, rows[i].code, rows[i].stopped, 0, &delay),
				 rows[i].want);
		assert_int_equal(r.count, rows[i].count + rows[i].want);
	}
}

static void test_restart_backoff(void **state)
{
	struct restart r = {.policy = KEEPER_RESTART_ALWAYS};
	int64_t delay, want = 100000000;

	(void)state;
	for (int i = 0; i < 15; i++) {
		assert_true(restart_next(&r, 1, false, 5000000000LL, &delay));
		assert_int_equal(delay, want);
		want = want * 2 > 60000000000LL ? 60000000000LL : want * 2;
	}
	assert_int_equal(delay, 60000000000LL);
	assert_true(restart_next(&r, 1, false, 10000000000LL, &delay));
	assert_int_equal(delay, 100000000);
	assert_true(restart_next(&r, 1, false, 9999999999LL, &delay));
	assert_int_equal(delay, 200000000);
}

static void test_records(void **state)
{
	char dir[] = "/tmp/hull-record-test.XXXXXX", boot[37], path[96];
	auto_arena struct arena a = {0};
	struct keeper_record k = {.version = 1, .id = "x", .pid = getpid(), .phase = "running"}, kb;
	struct exit_record x = {.version = 1,
				.id = "x",
				.exit_code = 137,
				.oom_killed = true,
				.sentence = "killed \"for\" memory"},
			   xb;
	struct err e = {0};
	uint64_t start = 0;
	FILE *out;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(exit_record_read(dir, &a, &xb, &e), -ERR_NOT_FOUND);
	assert_int_equal(process_boot_id(boot, &e), 0);
	k.boot_id = boot;
	assert_int_equal(process_start_time(getpid(), &start, NULL, &e), 0);
	k.start_time = (int64_t)start;
	assert_int_equal(keeper_record_write(dir, &k, &e), 0);
	assert_int_equal(exit_record_write(dir, &x, &e), 0);
	assert_int_equal(keeper_record_read(dir, &a, &kb, &e), 0);
	assert_int_equal(exit_record_read(dir, &a, &xb, &e), 0);
	assert_true(keeper_record_lives(&kb));
	kb.start_time++;
	assert_false(keeper_record_lives(&kb));
	assert_int_equal(xb.exit_code, 137);
	assert_true(xb.oom_killed);
	assert_string_equal(xb.sentence, "killed \"for\" memory");
	(void)snprintf(path, sizeof(path), "%s/exit.json", dir);
	out = fopen(path, "w");
	assert_true(fputs("{\"version\":1,", out) >= 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(exit_record_read(dir, &a, &xb, &e), -ERR_INVALID);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/record", dir);
	(void)unlink(path);
	assert_int_equal(rmdir(dir), 0); /* no temporary file was left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_foreign_and_cut), cmocka_unit_test(test_restart_table),
		cmocka_unit_test(test_restart_backoff), cmocka_unit_test(test_records),
	};

	return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
