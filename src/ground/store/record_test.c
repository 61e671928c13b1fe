/*
 * Records: what was acknowledged is there after any crash, in order, and nothing torn. A child
 * writes and tells each acknowledgement through a pipe; it is killed at a random moment; the parent
 * opens the file and compares.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/record.h"
#include "ground/wire/loop.h"

struct place {
	char dir[64];
	char path[80];
	struct loop *loop;
};

static int set_up(void **state)
{
	struct place *p = mem_new(struct place);
	struct err e = {0};

	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/hull-record-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/hull.db", p->dir);
	assert_int_equal(loop_new(&p->loop, &e), 0);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	static const char *const names[] = {"hull.db", "hull.db-wal", "hull.db-shm"};

	for (size_t i = 0; i < array_len(names); i++) {
		auto_free char *path = mem_printf("%s/%s", p->dir, names[i]);

		(void)unlink(path);
	}
	(void)rmdir(p->dir);
	(void)loop_free(p->loop);
	free(p);
	return 0;
}

struct waiting {
	struct loop *loop;
	int answers, failures;
	int stop_after;
};

static void answered(void *ctx, const struct err *e)
{
	struct waiting *w = ctx;

	w->failures += e != NULL;
	if (++w->answers == w->stop_after)
		loop_stop(w->loop);
}

static struct records *open_records(struct place *p)
{
	struct records *r = NULL;
	struct err e = {0};

	if (records_open(p->loop, p->path, &r, &e) < 0)
		fail_msg("%s", e.text);
	return r;
}

static void written_is_read_back(void **state)
{
	struct place *p = *state;
	struct records *r = open_records(p);
	struct waiting w = {p->loop, 0, 0, 3};

	record_put(r, "container", "a", STR("one"), answered, &w);
	record_put(r, "container", "b", STR("two"), answered, &w);
	assert_null(record_get(r, "container", "a").p); /* not durable, not seen */
	record_put(r, "container", "a", STR("three"), answered, &w);
	loop_run(p->loop);
	assert_int_equal(w.failures, 0);
	assert_true(str_is(record_get(r, "container", "a"), "three"));
	w = (struct waiting){p->loop, 0, 0, 2};
	record_delete(r, "container", "b", answered, &w);
	record_delete(r, "container", "never", answered, &w);
	loop_run(p->loop);
	assert_null(record_get(r, "container", "b").p);
	record_put(r, "network", "n", STR(""), NULL, NULL); /* closing makes it durable */
	r = records_close(r);
	r = open_records(p);
	assert_true(str_is(record_get(r, "container", "a"), "three"));
	assert_int_equal(record_count(r, "container"), 1);
	assert_int_equal(record_count(r, "network"), 1);
	(void)records_close(r);
}

static void a_barrier_comes_after_what_was_before(void **state)
{
	struct place *p = *state;
	struct records *r = open_records(p);
	struct waiting w = {p->loop, 0, 0, 101};

	for (int i = 0; i < 100; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "k%d", i);
		record_put(r, "x", key, STR("v"), answered, &w);
	}
	record_barrier(r, answered, &w);
	loop_run(p->loop);
	assert_int_equal(w.answers, 101);
	assert_int_equal(record_count(r, "x"), 100);
	(void)records_close(r);
}

static void write_bytes(const char *path, long at, const char *bytes, size_t n)
{
	auto_fclose FILE *f = fopen(path, "r+");

	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
}

static void damage_is_told(void **state)
{
	struct place *p = *state;
	struct records *r = open_records(p);
	struct waiting w = {p->loop, 0, 0, 1};
	struct err e = {0};
	char junk[4096];

	record_put(r, "x", "k", STR("v"), answered, &w);
	loop_run(p->loop);
	(void)records_close(r);
	memset(junk, 0x5a, sizeof(junk));
	write_bytes(p->path, 4096, junk, sizeof(junk));
	assert_int_equal(records_open(p->loop, p->path, &r, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "damaged"));
	write_bytes(p->path, 0, "not a database at all, but text", 31);
	assert_int_equal(records_open(p->loop, p->path, &r, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "move it away"));
}

/* -- crash
 * ----------------------------------------------------------------------------------------- */

struct writer {
	struct records *records;
	struct loop *loop;
	int pipe;
	uint32_t next;
};

struct ack {
	struct writer *writer;
	uint32_t number;
};

static void write_next(struct writer *w);

static void acknowledged(void *ctx, const struct err *e)
{
	struct ack *a = ctx;

	if (e || write(a->writer->pipe, &a->number, sizeof(a->number)) != sizeof(a->number))
		_exit(1);
	write_next(a->writer);
	free(a);
}

/* Value n holds n in every byte group, so that a torn one shows. */
static void write_next(struct writer *w)
{
	struct ack *a = mem_new(struct ack);
	uint32_t value[512];
	char key[16];

	a->writer = w;
	a->number = w->next++;
	for (size_t i = 0; i < array_len(value); i++)
		value[i] = a->number;
	(void)snprintf(key, sizeof(key), "k%u", a->number % 17);
	record_put(w->records, "x", key, (struct str){(const char *)value, sizeof(value)},
		   acknowledged, a);
}

static void write_for_ever(const char *path, int pipe)
{
	struct writer w = {.pipe = pipe};
	struct err e = {0};

	if (loop_new(&w.loop, &e) < 0 || records_open(w.loop, path, &w.records, &e) < 0)
		_exit(2);
	for (int i = 0; i < 8; i++)
		write_next(&w);
	loop_run(w.loop);
	_exit(3);
}

struct check {
	uint32_t newest[17];
	int torn;
};

static void check_value(void *ctx, const char *key, struct str value)
{
	struct check *c = ctx;
	uint32_t numbers[512];

	if (value.n != sizeof(numbers)) {
		c->torn++;
		return;
	}
	memcpy(numbers, value.p, sizeof(numbers));
	for (size_t i = 1; i < array_len(numbers); i++)
		c->torn += numbers[i] != numbers[0];
	c->newest[numbers[0] % 17] = numbers[0];
}

static void killed_at_any_moment_loses_nothing(void **state)
{
	struct place *p = *state;

	for (int round = 0; round < 12; round++) {
		uint32_t acked[17] = {0}, number;
		struct check c = {0};
		struct records *r;
		int fds[2], status;
		pid_t child;

		assert_int_equal(pipe(fds), 0);
		child = fork();
		if (child == 0) {
			(void)close(fds[0]);
			write_for_ever(p->path, fds[1]);
		}
		(void)close(fds[1]);
		usleep((useconds_t)(5000 + round * 7001));
		(void)kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		while (read(fds[0], &number, sizeof(number)) == sizeof(number))
			if (number > acked[number % 17])
				acked[number % 17] = number;
		(void)close(fds[0]);
		r = open_records(p);
		record_each(r, "x", check_value, &c);
		assert_int_equal(c.torn, 0);
		for (int i = 0; i < 17; i++)
			assert_true(c.newest[i] >= acked[i]);
		/* The next round begins anew: clear. */
		struct waiting w = {p->loop, 0, 0, 17};
		for (int i = 0; i < 17; i++) {
			char key[16];

			(void)snprintf(key, sizeof(key), "k%d", i);
			record_delete(r, "x", key, answered, &w);
		}
		loop_run(p->loop);
		(void)records_close(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(written_is_read_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_barrier_comes_after_what_was_before, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(damage_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(killed_at_any_moment_loses_nothing, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
