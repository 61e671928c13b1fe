/*
 * A keeper from orders to its end, over the real protocol, with a fake container below it:
 * processes of the host that run a shell script given as the configuration. What is checked here is
 * the supervisor: streams, framing, input, restarts, stops, execs, health, re-adoption, records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/process.h"
#include "virt/keeper/fake_container.h"
#include "virt/keeper/log_reader.h"
#include "virt/keeper/message.h"
#include "virt/keeper/record.h"
#include "virt/keeper/supervisor.h"

#define WAIT_MS 10000

/* -- the fixture: a keeper in a child process, and its socket -- */

struct fixture {
	char dir[64], run[96], config[96], log[96];
	pid_t keeper;
	int sock;
	uint32_t serial;
	struct arena arena;
};

static int setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/hull-keeper-test.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->run, sizeof(f->run), "%s/run/id", f->dir);
	(void)snprintf(f->config, sizeof(f->config), "%s/config", f->dir);
	(void)snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	f->sock = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"config", "log",	     "exit.json",
					    "flag",   "run/id/sock", "run/id/record",
					    "run/id", "run",	     ""};
	int status;

	(void)fd_close(f->sock);
	if (f->keeper > 0) {
		(void)kill(f->keeper, SIGKILL);
		(void)waitpid(f->keeper, &status, 0);
	}
	for (size_t i = 0; i < array_len(names); i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	assert_int_equal(access(f->dir, F_OK), -1);
	arena_done(&f->arena);
	free(f);
	return 0;
}

static void script(struct fixture *f, const char *text)
{
	FILE *out = fopen(f->config, "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static uint32_t say(struct fixture *f, enum keeper_type type, const void *in, int fd)
{
	auto_strbuf struct strbuf b = {0};
	struct err e = {0};

	message_write(&b, type, ++f->serial, in);
	if (fdpass_send(f->sock, b.p, b.n, &fd, fd >= 0, &e) < 0)
		fail_msg("%s", e.text);
	return f->serial;
}

/* The next message, of whatever type; its struct in the fixture's arena. */
static enum keeper_type hear(struct fixture *f, void **ret)
{
	static char packet[KEEPER_PACKET_MAX];
	struct pollfd p = {.fd = f->sock, .events = POLLIN};
	const struct message_shape *shape;
	struct err e = {0};
	struct message m;
	size_t n, fds_n;

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("the keeper says nothing");
	if (fdpass_recv(f->sock, packet, sizeof(packet), NULL, 0, &n, &fds_n, &e) < 0)
		fail_msg("%s", e.text);
	if (n == 0)
		return 0;
	assert_int_equal(message_read((struct str){packet, n}, &m, &e), 0);
	shape = message_shape_of(m.type);
	*ret = shape ? arena_new_bytes(&f->arena, shape->size) : NULL;
	if (shape)
		assert_int_equal(message_decode(m.body, shape, &f->arena, *ret, &e), 0);
	return m.type;
}

static void *expect(struct fixture *f, enum keeper_type type)
{
	void *body = NULL;
	enum keeper_type got = hear(f, &body);

	if (got == KEEPER_FAULT || got == KEEPER_FAILED)
		if (got != type)
			fail_msg("%s", ((struct keeper_fault *)body)->text);
	assert_int_equal(got, type);
	return body;
}

static void start(struct fixture *f, struct keeper_orders *o)
{
	struct err e = {0};
	int pair[2];

	o->id = "id";
	o->container_dir = f->dir;
	o->run_dir = f->run;
	o->config_path = f->config;
	o->log_path = f->log;
	o->net = KEEPER_NET_HOST;
	assert_int_equal(fdpass_pair(SOCK_SEQPACKET, pair, &e), 0);
	f->keeper = fork();
	if (f->keeper == 0) {
		(void)close(pair[0]);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(supervisor_run(pair[1], &world_real, &e) < 0);
	}
	(void)close(pair[1]);
	f->sock = pair[0];
	(void)say(f, KEEPER_ORDERS, o, -1);
	(void)expect(f, KEEPER_READY);
}

static void ends(struct fixture *f)
{
	void *body = NULL;
	int status = -1;

	assert_int_equal(hear(f, &body), 0);
	assert_int_equal(waitpid(f->keeper, &status, 0), f->keeper);
	assert_int_equal(status, 0);
	f->keeper = 0;
	assert_int_equal(access(f->run, F_OK), -1);
}

/* Ends a container that would go on. */
static void stop_now(struct fixture *f)
{
	void *body = NULL;

	(void)say(f, KEEPER_STOP, &(struct keeper_stop){.timeout_s = 0}, -1);
	while (hear(f, &body) != KEEPER_DIED)
		continue;
	ends(f);
}

static struct exit_record *exit_record(struct fixture *f)
{
	struct exit_record *x = arena_new(&f->arena, struct exit_record);
	struct err e = {0};

	if (exit_record_read(f->dir, &f->arena, x, &e) < 0)
		fail_msg("%s", e.text);
	return x;
}

/* Attaches and answers our end of the client's connection. */
static int attach(struct fixture *f, const struct keeper_attach *how)
{
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	(void)say(f, KEEPER_ATTACH, how, pair[1]);
	(void)close(pair[1]);
	(void)expect(f, KEEPER_OK);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return pair[0];
}

/* Everything until the other side closes. */
static size_t read_to_end(int fd, struct strbuf *out)
{
	char block[4096];
	ssize_t n;

	while ((n = read(fd, block, sizeof(block))) > 0)
		strbuf_add(out, block, (size_t)n);
	assert_int_equal(n, 0);
	(void)strbuf_text(out);
	(void)close(fd);
	return out->n;
}

static char *log_text(struct fixture *f)
{
	struct log_reader *r = NULL;
	struct strbuf all = {0};
	struct log_line line;

	assert_int_equal(log_reader_open(&(struct log_query){.path = f->log, .tail = -1}, &r, NULL),
			 0);
	while (log_reader_next(r, &line, NULL) == LOG_LINE) {
		strbuf_add_text(&all, line.stream == LOG_STREAM_STDOUT ? "o:" : "e:");
		strbuf_add(&all, line.text, line.text_n);
	}
	(void)log_reader_free(r);
	(void)strbuf_text(&all);
	return strbuf_take(&all);
}

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

static void reconnect(struct fixture *f)
{
	char path[128];
	struct err e = {0};

	(void)snprintf(path, sizeof(path), "%s/sock", f->run);
	if (fdpass_connect(AT_FDCWD, path, SOCK_SEQPACKET, &f->sock, &e) < 0)
		fail_msg("%s", e.text);
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
