/*
 * A keeper from orders to its end, over the real protocol, with a fake container below it:
 * processes of the host that run a shell script given as the configuration. What is checked here is
 * the supervisor: streams, framing, input, restarts, stops, execs, health, re-adoption, records.
 */
#include "virt/keeper/supervisor_fixture.h"

#include "ground/linux/process.h"
#include "virt/keeper/fake_container.h"

static void test_run_to_end(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {0};
	struct keeper_died *d;
	char *text;

	script(f, "echo out; echo err >&2; printf tail; exit 7");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	d = expect(f, KEEPER_DIED);
	assert_int_equal(d->exit_code, 7);
	assert_false(d->restarting);
	assert_null(d->sentence);
	ends(f);
	assert_int_equal(exit_record(f)->exit_code, 7);
	text = log_text(f);
	assert_non_null(strstr(text, "o:out\n"));
	assert_non_null(strstr(text, "e:err\n"));
	assert_non_null(strstr(text, "o:tail"));
	free(text);
}

static void test_signal_and_last(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.restart = KEEPER_RESTART_ALWAYS};
	struct keeper_signal sig = {.signal = SIGKILL, .last = true};
	struct keeper_died *d;

	script(f, "exec sleep 100");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	(void)say(f, KEEPER_SIGNAL, &sig, -1);
	(void)expect(f, KEEPER_OK);
	d = expect(f, KEEPER_DIED);
	assert_int_equal(d->exit_code, 137);
	assert_int_equal(d->signal, 9);
	assert_string_equal(d->sentence, "killed by signal 9 (Killed)");
	ends(f);
	assert_true(exit_record(f)->stopped);
}

static void test_cannot_start(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.restart = KEEPER_RESTART_ALWAYS};
	struct keeper_fault *fault;

	start(f, &o);
	fault = expect(f, KEEPER_FAILED);
	assert_int_equal(fault->exit_code, 127);
	assert_int_equal(fault->kind, ERR_NOT_FOUND);
	ends(f);
	assert_int_equal(exit_record(f)->exit_code, 127);
}

static void test_framing_from_the_first_byte(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.wait_go = true, .open_stdin = true, .stdin_once = true};
	struct keeper_attach how = {.session = "s",
				    .want_stdin = true,
				    .want_stdout = true,
				    .want_stderr = true,
				    .multiplexed = true,
				    .early = "ear",
				    .early_n = 3};
	struct strbuf got = {0};
	int client;

	script(f, "cat; echo oops >&2; exit 3");
	start(f, &o);
	client = attach(f, &how);
	assert_int_equal(write(client, "ly\n", 3), 3);
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	(void)say(f, KEEPER_GO, NULL, -1);
	(void)expect(f, KEEPER_STARTED);
	assert_int_equal(((struct keeper_died *)expect(f, KEEPER_DIED))->exit_code, 3);
	(void)read_to_end(client, &got);
	/* "early\n" may come in one frame or more; the error is the last. */
	assert_true(got.n >= 8 + 6 + 8 + 5);
	assert_memory_equal(got.p, "\1\0\0\0\0\0\0", 7);
	assert_memory_equal(got.p + got.n - 13, "\2\0\0\0\0\0\0\5oops\n", 13);
	strbuf_done(&got);
	(void)expect(f, KEEPER_DETACHED);
	ends(f);
}

/* A client that reads late gets every byte, and the log has them too. */
static void test_slow_client(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.wait_go = true, .log_bytes_max = -1};
	struct keeper_attach how = {.session = "s", .want_stdout = true};
	struct strbuf got = {0};
	struct pollfd p;
	int client;

	script(f, "i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done");
	start(f, &o);
	client = attach(f, &how);
	(void)say(f, KEEPER_GO, NULL, -1);
	(void)expect(f, KEEPER_STARTED);
	/* 700 kB do not fit in the socket and the backlog: it cannot end while nobody reads. */
	p = (struct pollfd){.fd = f->sock, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 700), 0);
	(void)read_to_end(client, &got);
	assert_true(got.n == 60000 * 5 + 60000 + 10 + 90 * 2 + 900 * 3 + 9000 * 4 + 50000 * 5);
	assert_memory_equal(got.p + got.n - 11, "line 59999\n", 11);
	strbuf_done(&got);
	(void)expect(f, KEEPER_DIED);
	(void)expect(f, KEEPER_DETACHED);
	ends(f);
}

/* A client that goes away without a word holds nobody. */
static void test_abandoned_client(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.wait_go = true};
	struct keeper_attach how = {.session = "gone", .want_stdout = true, .want_stdin = true};
	int client;

	script(f, "sleep 0.3; head -c 1000000 /dev/zero; exit 4");
	start(f, &o);
	client = attach(f, &how);
	(void)say(f, KEEPER_GO, NULL, -1);
	(void)expect(f, KEEPER_STARTED);
	(void)close(client);
	assert_string_equal(((struct keeper_detached *)expect(f, KEEPER_DETACHED))->session,
			    "gone");
	assert_int_equal(((struct keeper_died *)expect(f, KEEPER_DIED))->exit_code, 4);
	ends(f);
}

static void test_log_replay(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.open_stdin = true, .stdin_once = true};
	struct keeper_attach how = {
		.session = "s", .want_stdout = true, .want_stdin = true, .logs = true};
	struct strbuf got = {0};
	int client;

	script(f, "echo one; printf two; read x; echo; echo three $x");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	(void)usleep(300000);
	client = attach(f, &how);
	assert_int_equal(write(client, "in\n", 3), 3);
	(void)expect(f, KEEPER_DIED);
	(void)read_to_end(client, &got);
	assert_string_equal(got.p, "one\ntwo\nthree in\n");
	strbuf_done(&got);
	(void)expect(f, KEEPER_DETACHED);
	ends(f);
}

static void test_restart_on_failure(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.restart = KEEPER_RESTART_ON_FAILURE, .restart_max = 2};
	static const int64_t delays[] = {100000000, 200000000};
	struct keeper_died *d;

	script(f, "echo again; exit 1");
	start(f, &o);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(
			((struct keeper_started *)expect(f, KEEPER_STARTED))->restart_count, i);
		d = expect(f, KEEPER_DIED);
		assert_true(d->restarting);
		assert_int_equal(d->delay_ns, delays[i]);
		assert_true(exit_record(f)->restarting);
	}
	(void)expect(f, KEEPER_STARTED);
	d = expect(f, KEEPER_DIED);
	assert_false(d->restarting);
	assert_int_equal(d->restart_count, 2);
	ends(f);
}

static void test_stop_while_restarting(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.restart = KEEPER_RESTART_ALWAYS};
	struct keeper_died *d;
	int64_t pid;

	script(f, "exit 5");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	d = expect(f, KEEPER_DIED);
	pid = d->pid;
	assert_true(d->restarting);
	(void)say(f, KEEPER_STOP, &(struct keeper_stop){.timeout_s = 10}, -1);
	(void)expect(f, KEEPER_OK);
	d = expect(f, KEEPER_DIED);
	assert_false(d->restarting);
	assert_true(d->stopped);
	assert_int_equal(d->pid, pid);
	assert_int_equal(d->exit_code, 5);
	ends(f);
}

static void test_stop_escalates(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {0};
	struct keeper_died *d;

	script(f, "trap '' TERM; touch ${0%config}flag; while :; do sleep 1; done");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	for (int i = 0; i < 100; i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/flag", f->dir);
		if (access(path, F_OK) == 0)
			break;
		(void)usleep(20000);
	}
	(void)say(f, KEEPER_STOP, &(struct keeper_stop){.timeout_s = 1}, -1);
	(void)expect(f, KEEPER_OK);
	d = expect(f, KEEPER_DIED);
	assert_int_equal(d->exit_code, 137);
	assert_true(d->finished_at_ns - d->started_at_ns >= 1000000000);
	ends(f);
}

static void test_exec(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {0};
	struct keeper_exec x = {.id = "x1",
				.args = (char *[]){"/bin/sh", "-c", "cat; exit 9", NULL},
				.client = {.session = "s",
					   .want_stdin = true,
					   .want_stdout = true,
					   .early = "hello",
					   .early_n = 5}};
	struct keeper_exec bad = {
		.id = "x2",
		.args = (char *[]){"/no/such", NULL},
		.client = {.session = "b", .want_stdout = true, .multiplexed = true}};
	struct keeper_exec_died *d;
	struct keeper_fault *fault;
	struct strbuf got = {0};
	int pair[2];

	script(f, "exec sleep 100");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	(void)say(f, KEEPER_EXEC, &x, pair[1]);
	(void)close(pair[1]);
	assert_true(((struct keeper_started *)expect(f, KEEPER_EXEC_STARTED))->pid > 0);
	assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
	d = expect(f, KEEPER_EXEC_DIED);
	assert_string_equal(d->id, "x1");
	assert_int_equal(d->exit_code, 9);
	(void)read_to_end(pair[0], &got);
	assert_string_equal(got.p, "hello");
	(void)expect(f, KEEPER_DETACHED);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	(void)say(f, KEEPER_EXEC, &bad, pair[1]);
	(void)close(pair[1]);
	fault = expect(f, KEEPER_FAULT);
	assert_int_equal(fault->exit_code, 127);
	strbuf_clear(&got);
	(void)read_to_end(pair[0], &got);
	assert_int_equal(got.p[0], 1);
	assert_non_null(strstr(got.p + 8, "/no/such"));
	strbuf_done(&got);
	(void)expect(f, KEEPER_DETACHED);

	stop_now(f);
}

/* An exec's end that hulld was told while it died is in the next state. */
static void test_exec_ends(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {0};
	struct keeper_state *s;

	script(f, "exec sleep 100");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	for (uint32_t i = 0; i < KEEPER_EXEC_ENDS + 3; i++) {
		char id[16], command[32];
		struct keeper_exec x = {.id = id,
					.args = (char *[]){"/bin/sh", "-c", command, NULL}};

		(void)snprintf(id, sizeof(id), "x%u", i);
		(void)snprintf(command, sizeof(command), "exit %u", i);
		(void)say(f, KEEPER_EXEC, &x, -1);
		(void)expect(f, KEEPER_EXEC_STARTED);
		(void)expect(f, KEEPER_EXEC_DIED);
	}
	(void)fd_close(f->sock);
	reconnect(f);
	s = expect(f, KEEPER_STATE);
	assert_int_equal(mem_count_texts(s->exec_ends), KEEPER_EXEC_ENDS);
	assert_string_equal(s->exec_ends[0], "x3 3");
	assert_string_equal(s->exec_ends[KEEPER_EXEC_ENDS - 1], "x34 34");
	stop_now(f);
}

static void test_health(void **state)
{
	struct fixture *f = *state;
	char flag[128], test[256];
	struct keeper_orders o = {.health_interval_ns = 50000000,
				  .health_timeout_ns = 300000000,
				  .health_retries = 2};
	struct keeper_health *h;

	(void)snprintf(flag, sizeof(flag), "%s/flag", f->dir);
	(void)snprintf(test, sizeof(test), "echo probing; test -e %s || exit 1", flag);
	o.health_test = (char *[]){"/bin/sh", "-c", test, NULL};
	script(f, "touch ${0%config}flag; exec sleep 100");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	h = expect(f, KEEPER_HEALTH);
	assert_int_equal(h->status, KEEPER_HEALTH_HEALTHY);
	assert_true(h->changed);
	assert_string_equal(h->output, "probing\n");
	assert_int_equal(unlink(flag), 0);
	do
		h = expect(f, KEEPER_HEALTH);
	while (h->exit_code == 0);
	assert_int_equal(h->status, KEEPER_HEALTH_HEALTHY);
	assert_int_equal(h->failing_streak, 1);
	h = expect(f, KEEPER_HEALTH);
	assert_int_equal(h->status, KEEPER_HEALTH_UNHEALTHY);
	assert_true(h->changed);
	assert_int_equal(h->failing_streak, 2);
	stop_now(f);
}

static void test_health_timeout(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.health_interval_ns = 50000000,
				  .health_timeout_ns = 200000000,
				  .health_retries = 1,
				  .health_test = (char *[]){"/bin/sleep", "50", NULL}};
	struct keeper_health *h;

	script(f, "exec sleep 100");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	h = expect(f, KEEPER_HEALTH);
	assert_int_equal(h->status, KEEPER_HEALTH_UNHEALTHY);
	assert_int_equal(h->exit_code, UINT32_MAX);
	assert_string_equal(h->output, "health check took longer than 0.2 s");
	stop_now(f);
}

/* hulld dies: the container restarts, is told later, and a new hulld hears the state first. */
static void test_adoption(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {.restart = KEEPER_RESTART_ON_FAILURE, .restart_max = 1};
	struct keeper_record record;
	struct keeper_state *s;
	struct err e = {0};
	char flag[128];

	(void)snprintf(flag, sizeof(flag), "%s/flag", f->dir);
	script(f, "echo run; test -e ${0%config}flag && exec sleep 100; touch ${0%config}flag; "
		  "sleep 0.2; exit 1");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	f->sock = fd_close(f->sock);
	(void)usleep(900000);
	assert_int_equal(keeper_record_read(f->run, &f->arena, &record, &e), 0);
	assert_string_equal(record.phase, "running");
	assert_int_equal(record.pid, f->keeper);
	assert_true(keeper_record_lives(&record));
	assert_int_equal(record.restart_count, 1);
	reconnect(f);
	s = expect(f, KEEPER_STATE);
	assert_string_equal(s->id, "id");
	assert_int_equal(s->phase, KEEPER_RUNNING);
	assert_int_equal(s->started.restart_count, 1);
	assert_int_equal(s->started.pid, record.init_pid);
	assert_true(s->has_died);
	assert_int_equal(s->died.exit_code, 1);
	/* What happened meanwhile follows. */
	(void)expect(f, KEEPER_DIED);
	assert_int_equal(((struct keeper_started *)expect(f, KEEPER_STARTED))->pid,
			 record.init_pid);
	(void)say(f, KEEPER_STOP, &(struct keeper_stop){.timeout_s = 5}, -1);
	(void)expect(f, KEEPER_OK);
	assert_int_equal(((struct keeper_died *)expect(f, KEEPER_DIED))->exit_code, 143);
	ends(f);
	assert_int_equal(exit_record(f)->exit_code, 143);
}

/* Nobody listens when the end comes: it is on disk, and the keeper is gone. */
static void test_end_without_hulld(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {0};
	int status;

	script(f, "sleep 0.2; exit 42");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	f->sock = fd_close(f->sock);
	assert_int_equal(waitpid(f->keeper, &status, 0), f->keeper);
	f->keeper = 0;
	assert_int_equal(exit_record(f)->exit_code, 42);
	assert_int_equal(access(f->run, F_OK), -1);
}

static void test_refuses(void **state)
{
	struct fixture *f = *state;
	struct keeper_orders o = {0};
	struct keeper_fault *fault;

	script(f, "exec sleep 100");
	start(f, &o);
	(void)expect(f, KEEPER_STARTED);
	(void)say(f, 55, NULL, -1);
	fault = expect(f, KEEPER_FAULT);
	assert_int_equal(fault->kind, ERR_UNSUPPORTED);
	(void)say(f, KEEPER_ATTACH, &(struct keeper_attach){0}, -1);
	fault = expect(f, KEEPER_FAULT);
	assert_int_equal(fault->kind, ERR_INVALID);
	(void)say(f, KEEPER_SIGNAL, &(struct keeper_signal){.signal = 1000}, -1);
	fault = expect(f, KEEPER_FAULT);
	assert_int_equal(fault->kind, ERR_INVALID);
	(void)say(f, KEEPER_DESCRIPTORS, NULL, -1);
	fault = expect(f, KEEPER_FAULT);
	assert_int_equal(fault->kind, ERR_CONFLICT);
	stop_now(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_run_to_end),
		TEST(test_signal_and_last),
		TEST(test_cannot_start),
		TEST(test_framing_from_the_first_byte),
		TEST(test_slow_client),
		TEST(test_abandoned_client),
		TEST(test_log_replay),
		TEST(test_restart_on_failure),
		TEST(test_stop_while_restarting),
		TEST(test_stop_escalates),
		TEST(test_exec),
		TEST(test_exec_ends),
		TEST(test_health),
		TEST(test_health_timeout),
		TEST(test_adoption),
		TEST(test_end_without_hulld),
		TEST(test_refuses),
	};

	return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
