/*
 * The loop, child processes, unix sockets and packet channels, on the real kernel.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/wire/loop.h"
#include "ground/wire/packet.h"

static struct loop *loop;
static struct strbuf trace;

static int setup(void **state)
{
	(void)state;
	return loop_new(&loop, NULL);
}

static int teardown(void **state)
{
	(void)state;
	loop = loop_free(loop);
	strbuf_done(&trace);
	return 0;
}

static void say(void *arg)
{
	strbuf_add_text(&trace, arg);
}

static void say_b_and_stop(void *arg)
{
	(void)arg;
	say("b");
	loop_stop(loop);
}

static void say_a_then_b(void *arg)
{
	(void)arg;
	say("a");
	loop_defer(loop, say_b_and_stop, NULL);
	loop_defer(loop, say, "x");
	loop_defer_cancel(loop, say, "x");
}

static void test_defer_comes_before_the_turns_end(void **state)
{
	(void)state;
	loop_turn_end(loop, say, "|");
	loop_defer(loop, say_a_then_b, NULL);
	loop_run(loop);
	assert_string_equal(strbuf_text(&trace), "ab||");
}

static struct loop_timer *timer;
static int ticks;

static void tick(void *arg)
{
	(void)arg;
	if (++ticks == 3) {
		timer = loop_timer_free(timer);
		loop_stop(loop);
	}
}

static void test_timer_repeats_and_is_freed_from_itself(void **state)
{
	int64_t start_ms = loop_now_ms(loop);

	(void)state;
	ticks = 0;
	timer = loop_timer_new(loop, tick, NULL);
	loop_timer_set(timer, 10, 5);
	loop_run(loop);
	assert_int_equal(ticks, 3);
	assert_null(timer);
	assert_true(loop_now_ms(loop) - start_ms >= 20);
}

static void at_rest(void *arg)
{
	uint64_t *turns = arg;

	*turns = loop_stats(loop).turns;
	loop_stop(loop);
}

static void test_rest_has_no_wake_ups(void **state)
{
	uint64_t turns = 0;
	struct loop_timer *t = loop_timer_new(loop, at_rest, &turns);

	(void)state;
	loop_timer_set(t, 300, 0);
	loop_run(loop);
	t = loop_timer_free(t);
	assert_in_range(turns, 0, 3);
}

static void work(void *arg)
{
	*(int *)arg = 42;
	loop_post(loop, say, "posted ");
}

static void work_done(void *arg)
{
	strbuf_printf(&trace, "done %d", *(int *)arg);
	loop_stop(loop);
}

static void test_job_works_elsewhere_and_is_told_here(void **state)
{
	int n = 0;

	(void)state;
	loop_job(loop, work, work_done, &n);
	loop_run(loop);
	assert_non_null(strstr(strbuf_text(&trace), "done 42"));
	assert_non_null(strstr(strbuf_text(&trace), "posted "));
}

static struct loop_exit how_it_ended;

static void ended(void *arg, struct loop_exit how)
{
	(void)arg;
	how_it_ended = how;
	loop_stop(loop);
}

static size_t read_all(int fd, char *buf, size_t room)
{
	size_t n = 0;
	ssize_t got;

	while (n < room - 1 && (got = read(fd, buf + n, room - 1 - n)) > 0)
		n += (size_t)got;
	buf[n] = '\0';
	return n;
}

/* Descriptors cross over: what is 0 here becomes 4 there, and the other way round. */
static void test_spawn_places_descriptors(void **state)
{
	char *argv[] = {"sh", "-c", "echo $X; cat <&4; pwd; ls /proc/self/fd | tr '\\n' ' '", NULL};
	char *envp[] = {"X=value", "PATH=/usr/bin:/bin", NULL};
	int out[2], in[2];
	struct loop_process *p = NULL;
	char buf[256];
	struct err e = {0};

	(void)state;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(write(in[1], "four\n", 5), 5);
	(void)fd_close(in[1]);
	/* "cat <&4" opens nothing; ls has its own descriptor for the directory (3, since 3 is
	 * closed) */
	int fds[] = {-1, out[1], 2, -1, in[0]};
	struct loop_spawn_options o = {.program = "/bin/sh",
				       .argv = argv,
				       .envp = envp,
				       .fds = fds,
				       .fds_n = 5,
				       .cwd = "/tmp",
				       .exited = ended};

	assert_int_equal(loop_spawn(loop, &o, &p, &e), 0);
	(void)fd_close(out[1]);
	loop_run(loop);
	p = loop_process_free(p);
	(void)read_all(out[0], buf, sizeof(buf));
	assert_string_equal(buf, "value\nfour\n/tmp\n0 1 2 3 4 5 ");
	assert_int_equal(how_it_ended.code, 0);
	(void)fd_close(out[0]);
	(void)fd_close(in[0]);
}

static void test_spawn_tells_signals_and_missing_programs(void **state)
{
	char *argv[] = {"sleep", "60", NULL};
	struct loop_spawn_options o = {.program = "/bin/sleep", .argv = argv, .exited = ended};
	struct loop_process *p = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(loop_spawn(loop, &o, &p, &e), 0);
	assert_int_equal(loop_process_kill(p, SIGKILL, &e), 0);
	loop_run(loop);
	assert_int_equal(how_it_ended.signal, SIGKILL);
	assert_int_equal(how_it_ended.code, -1);
	assert_int_equal(loop_process_kill(p, SIGKILL, &e), -ERR_GONE);
	p = loop_process_free(p);
	o.program = "/no/such/program";
	assert_int_equal(loop_spawn(loop, &o, &p, &e), -ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "/no/such/program"));
}

static void test_spawn_forgotten_is_reaped(void **state)
{
	char *argv[] = {"true", NULL};
	struct loop_spawn_options o = {.program = "/bin/true", .argv = argv, .exited = ended};
	struct err e = {0};

	(void)state;
	how_it_ended = (struct loop_exit){.code = 7};
	assert_int_equal(loop_spawn(loop, &o, NULL, &e), 0);
	loop_run(loop);
	assert_int_equal(how_it_ended.code, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void got_signal(void *arg)
{
	say(arg);
	loop_stop(loop);
}

static void test_signal_is_told(void **state)
{
	struct loop_signal *s = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(loop_signal_new(loop, SIGUSR1, got_signal, "usr1", &s, &e), 0);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	loop_run(loop);
	assert_string_equal(strbuf_text(&trace), "usr1");
	s = loop_signal_free(s);
}

/* Packets. */

struct end {
	struct packet *packet;
	size_t messages, bytes;
	char last[64];
	int fd;
	bool closed;
};

static void end_received(void *arg, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	struct end *d = arg;

	d->messages++;
	d->bytes += n;
	if (n < sizeof(d->last)) {
		memcpy(d->last, bytes, n);
		d->last[n] = '\0';
	}
	if (fds_n)
		d->fd = take_fd(&fds[0]);
	if (text_eq(d->last, "stop"))
		loop_stop(loop);
}

static void end_closed(void *arg)
{
	struct end *d = arg;

	d->closed = true;
	d->packet = packet_free(d->packet);
	loop_stop(loop);
}

static const struct packet_ops end_ops = {end_received, end_closed};
static struct end server_end;

static void accepted(void *arg, int fd)
{
	(void)arg;
	assert_int_equal(packet_open(loop, fd, &end_ops, &server_end, &server_end.packet, NULL), 0);
}

static void test_packets_keep_bounds_order_and_descriptors(void **state)
{
	/* Longer than sun_path, to go through the directory's descriptor. */
	char dir[] = "/tmp/wire_test_XXXXXX";
	auto_free char *deep = NULL, *path = NULL;
	struct packet_listener *pl = NULL;
	struct end client = {.fd = -1};
	auto_free char *big = mem_new_bytes(1, 100000);
	struct unix_peer peer;
	struct err e = {0};
	int null;

	(void)state;
	server_end = (struct end){.fd = -1};
	assert_non_null(mkdtemp(dir));
	deep = mem_printf("%s/%0100d", dir, 7);
	assert_int_equal(mkdir(deep, 0700), 0);
	path = mem_printf("%s/socket", deep);
	assert_int_equal(packet_listen(loop, path, 0600, accepted, NULL, &pl, &e), 0);
	assert_int_equal(packet_connect(loop, path, &end_ops, &client, &client.packet, &e), 0);
	assert_int_equal(packet_peer(client.packet, &peer, &e), 0);
	assert_int_equal(peer.pid, getpid());

	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 20; i++) /* more than the socket holds: some are kept */
		assert_int_equal(packet_send(client.packet, big, 100000, NULL, 0, &e), 0);
	assert_true(packet_queued(client.packet) > 0);
	assert_int_equal(packet_send(client.packet, "stop", 4, &null, 1, &e), 0);
	(void)fd_close(null);
	loop_run(loop);
	assert_int_equal(server_end.messages, 21);
	assert_int_equal(server_end.bytes, 2000004);
	assert_true(server_end.fd >= 0);
	(void)fd_close(server_end.fd);

	client.packet = packet_free(client.packet);
	loop_run(loop);
	assert_true(server_end.closed);
	pl = packet_listener_free(pl);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(rmdir(deep), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_packet_refuses_a_flood(void **state)
{
	struct end a = {.fd = -1};
	auto_free char *big = mem_new_bytes(1, PACKET_BYTES_MAX);
	struct err e = {0};
	int pair[2];
	int r = 0;

	(void)state;
	assert_int_equal(unix_pair(SOCK_SEQPACKET, pair, &e), 0);
	assert_int_equal(packet_open(loop, pair[0], &end_ops, &a, &a.packet, &e), 0);
	for (int i = 0; r == 0 && i < 1000; i++)
		r = packet_send(a.packet, big, PACKET_BYTES_MAX, NULL, 0, &e);
	assert_int_equal(r, -ERR_EXHAUSTED);
	assert_true(packet_queued(a.packet) <= PACKET_QUEUE_MAX);
	a.packet = packet_free(a.packet);
	(void)fd_close(pair[1]);
}

static void test_listen_takes_dead_names_only(void **state)
{
	char dir[] = "/tmp/wire_test_XXXXXX";
	auto_free char *path = NULL;
	struct err e = {0};
	int fd = -1, again = -1;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = mem_printf("%s/s", dir);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0660, &fd, &e), 0);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0660, &again, &e), -ERR_EXISTS);
	(void)fd_close(fd);
	assert_int_equal(unix_connect(path, SOCK_STREAM, &again, &e), -ERR_UNAVAILABLE);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0660, &fd, &e), 0);
	(void)fd_close(fd);
	(void)unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_defer_comes_before_the_turns_end),
		TEST(test_timer_repeats_and_is_freed_from_itself),
		TEST(test_rest_has_no_wake_ups),
		TEST(test_job_works_elsewhere_and_is_told_here),
		TEST(test_spawn_places_descriptors),
		TEST(test_spawn_tells_signals_and_missing_programs),
		TEST(test_spawn_forgotten_is_reaped),
		TEST(test_signal_is_told),
		TEST(test_packets_keep_bounds_order_and_descriptors),
		TEST(test_packet_refuses_a_flood),
		TEST(test_listen_takes_dead_names_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
