/*
 * hulld's end of a keeper on a real loop, against this program itself as the keeper (it runs
 * supervisor_run() when it is started as hull-keeper) over a fake container: birth, plug, events,
 * requests, adoption, a killed keeper and its burial.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/keeper/fake_container.h"
#include "virt/keeper/keeper.h"
#include "virt/keeper/record.h"
#include "virt/keeper/supervisor.h"

#define WAIT_MS 10000

struct fixture {
	char dir[64], run[96], config[96];
	struct loop *loop;
	struct loop_timer *guard;
	struct keeper *keeper;
	struct keeper_orders orders;
	/* What came, in order, one letter each; the loop stops when `until` came. */
	char seen[64];
	size_t seen_n;
	char until;
	struct keeper_died died;
	struct keeper_started started;
	char fault[2048];
	int code;
	uint32_t phase;
};

static void saw(struct fixture *f, char what)
{
	assert_true(f->seen_n < sizeof(f->seen) - 1);
	f->seen[f->seen_n++] = what;
	if (what == f->until)
		loop_stop(f->loop);
}

static void on_ready(void *ctx, struct keeper_ready *ready)
{
	struct fixture *f = ctx;

	assert_int_equal(ready->fds[KEEPER_FD_NETNS], -1);
	saw(f, 'r');
}

static void on_started(void *ctx, const struct keeper_started *started)
{
	struct fixture *f = ctx;

	f->started = *started;
	f->started.cgroup_dirs = NULL;
	saw(f, 's');
}

static void on_failed(void *ctx, const struct keeper_fault *fault)
{
	struct fixture *f = ctx;

	(void)snprintf(f->fault, sizeof(f->fault), "%s", fault->text);
	f->code = (int)fault->exit_code;
	saw(f, 'f');
}

static void on_state(void *ctx, const struct keeper_state *state)
{
	struct fixture *f = ctx;

	f->phase = state->phase;
	f->started = state->started;
	f->started.cgroup_dirs = NULL;
	saw(f, 'S');
}

static void on_died(void *ctx, const struct keeper_died *died)
{
	struct fixture *f = ctx;

	f->died = *died;
	f->died.sentence = NULL;
	saw(f, 'd');
}

static void on_exec_died(void *ctx, const struct keeper_exec_died *died)
{
	struct fixture *f = ctx;

	f->code = (int)died->exit_code;
	saw(f, 'x');
}

static void on_lost(void *ctx, const struct err *why)
{
	struct fixture *f = ctx;

	assert_int_equal(why->kind, ERR_UNAVAILABLE);
	saw(f, 'l');
}

static const struct keeper_events events = {
	.ready = on_ready,
	.started = on_started,
	.failed = on_failed,
	.state = on_state,
	.died = on_died,
	.exec_died = on_exec_died,
	.lost = on_lost,
};

static void on_done(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct fixture *f = ctx;

	(void)answer;
	if (why)
		(void)snprintf(f->fault, sizeof(f->fault), "%s", why->text);
	f->code = exit_code;
	saw(f, why ? '!' : '.');
}

static void too_long(void *arg)
{
	struct fixture *f = arg;

	fail_msg("waited for '%c' after '%.*s'", f->until, (int)f->seen_n, f->seen);
}

/* Runs the loop until `what` comes. */
static void until(struct fixture *f, char what)
{
	f->until = what;
	loop_timer_set(f->guard, WAIT_MS, 0);
	loop_run(f->loop);
	loop_timer_unset(f->guard);
}

static void expect_seen(struct fixture *f, const char *want)
{
	f->seen[f->seen_n] = '\0';
	assert_string_equal(f->seen, want);
	f->seen_n = 0;
}

static int setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);
	struct err e = {0};

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/hull-keeper-end.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->run, sizeof(f->run), "%s/run/id", f->dir);
	(void)snprintf(f->config, sizeof(f->config), "%s/config", f->dir);
	assert_int_equal(loop_new(&f->loop, &e), 0);
	f->guard = loop_timer_new(f->loop, too_long, f);
	f->orders = (struct keeper_orders){.id = "id",
					   .container_dir = f->dir,
					   .run_dir = f->run,
					   .config_path = f->config,
					   .net = KEEPER_NET_HOST,
					   .wait_go = true};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {
		"config", "exit.json", "run/id/sock", "run/id/record", "run/id", "run", ""};

	f->keeper = keeper_free(f->keeper);
	f->guard = loop_timer_free(f->guard);
	f->loop = loop_free(f->loop);
	for (size_t i = 0; i < array_len(names); i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	assert_int_equal(access(f->dir, F_OK), -1);
	free(f);
	return 0;
}

static void spawn(struct fixture *f, const char *script)
{
	struct err e = {0};
	FILE *out;

	if (script) {
		out = fopen(f->config, "w");
		assert_non_null(out);
		assert_true(fputs(script, out) >= 0);
		assert_int_equal(fclose(out), 0);
	}
	if (keeper_spawn(f->loop, "/proc/self/exe", &f->orders, -1, &events, f, &f->keeper, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(keeper_pid(f->keeper) > 0);
	until(f, 'r');
}

static struct keeper_done done(struct fixture *f)
{
	return (struct keeper_done){on_done, f};
}

static void test_life(void **state)
{
	struct fixture *f = *state;

	spawn(f, "exit 6");
	keeper_go(f->keeper);
	until(f, 'l');
	expect_seen(f, "rsdl");
	assert_int_equal(f->died.exit_code, 6);
}

static void test_failure(void **state)
{
	struct fixture *f = *state;

	spawn(f, NULL);
	keeper_go(f->keeper);
	until(f, 'l');
	expect_seen(f, "rfl");
	assert_int_equal(f->code, 127);
	assert_non_null(strstr(f->fault, "config"));
}

static void test_missing_program(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	assert_true(keeper_spawn(f->loop, "/no/such/hull-keeper", &f->orders, -1, &events, f,
				 &f->keeper, &e) < 0);
	assert_null(f->keeper);
	assert_non_null(strstr(e.text, "/no/such/hull-keeper"));
}

static void test_requests(void **state)
{
	struct fixture *f = *state;
	struct keeper_exec x = {.id = "x", .args = (char *[]){"/bin/sh", "-c", "exit 3", NULL}};
	struct keeper_exec bad = {.id = "y", .args = (char *[]){"/none", NULL}};
	char *big = mem_new_bytes(1, KEEPER_PACKET_MAX);
	struct keeper_exec huge = {.id = "z", .args = (char *[]){"/bin/true", big, NULL}};

	spawn(f, "exec sleep 100");
	keeper_go(f->keeper);
	until(f, 's');
	keeper_exec(f->keeper, &x, -1, done(f));
	until(f, 'x');
	expect_seen(f, "rs.x");
	assert_int_equal(f->code, 3);
	keeper_exec(f->keeper, &bad, -1, done(f));
	until(f, '!');
	assert_int_equal(f->code, 127);
	memset(big, 'x', KEEPER_PACKET_MAX - 1);
	keeper_exec(f->keeper, &huge, -1, done(f));
	until(f, '!');
	assert_non_null(strstr(f->fault, "more than"));
	free(big);
	f->seen_n = 0;
	keeper_stop(f->keeper, &(struct keeper_stop){.timeout_s = 5}, done(f));
	until(f, 'l');
	expect_seen(f, ".dl");
	assert_int_equal(f->died.exit_code, 143);
	/* Requests behind the end are answered, not lost. */
	keeper_pause(f->keeper, done(f));
	until(f, '!');
}

static void test_adopt(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	assert_int_equal(keeper_adopt(f->loop, f->run, &events, f, &f->keeper, &e), -ERR_GONE);
	spawn(f, "exec sleep 100");
	keeper_go(f->keeper);
	until(f, 's');
	f->keeper = keeper_free(f->keeper);
	f->seen_n = 0;
	if (keeper_adopt(f->loop, f->run, &events, f, &f->keeper, &e) < 0)
		fail_msg("%s", e.text);
	until(f, 'S');
	assert_int_equal(f->phase, KEEPER_RUNNING);
	assert_true(f->started.pid > 0);
	keeper_stop(f->keeper, &(struct keeper_stop){.timeout_s = 0}, done(f));
	until(f, 'l');
	expect_seen(f, "S.dl");
}

static void test_forget(void **state)
{
	struct fixture *f = *state;

	spawn(f, "exit 0");
	keeper_forget(f->keeper);
	until(f, 'l');
	expect_seen(f, "rl");
	assert_int_equal(access(f->run, F_OK), -1);
}

static void test_burial(void **state)
{
	struct fixture *f = *state;
	auto_arena struct arena a = {0};
	struct exit_record x;
	struct err e = {0};

	spawn(f, "exec sleep 100");
	keeper_go(f->keeper);
	until(f, 's');
	assert_int_equal(keeper_bury(f->run, f->dir, &e), -ERR_BUSY);
	assert_int_equal(kill(keeper_pid(f->keeper), SIGKILL), 0);
	until(f, 'l');
	/* The loop reaps it in its own time: a zombie is dead enough. */
	if (keeper_bury(f->run, f->dir, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(exit_record_read(f->dir, &a, &x, &e), 0);
	assert_int_equal(x.exit_code, 137);
	assert_true(x.supervisor_killed);
	assert_string_equal(x.sentence, "supervisor killed");
	assert_int_equal(access(f->run, F_OK), -1);
	for (int i = 0; i < 200 && process_alive((pid_t)f->started.pid, f->started.start_time); i++)
		(void)usleep(10000);
	assert_false(process_alive((pid_t)f->started.pid, f->started.start_time));
	assert_int_equal(keeper_bury(f->run, f->dir, &e), 0);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_life),     TEST(test_failure), TEST(test_missing_program),
		TEST(test_requests), TEST(test_adopt),	 TEST(test_forget),
		TEST(test_burial),
	};
	struct err e = {0};

	(void)argc;
	if (strcmp(argv[0], "hull-keeper") == 0)
		return supervisor_run(3, &world_real, &e) < 0;
	return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
