/*
 * The serial port as Linux's driver uses it: found by its loopback, written by polling and by
 * interrupt, read by interrupt; with a back that takes everything, a little, or nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/char_fd.h"
#include "virt/vm/device/serial.h"

#define PORT 0x3f8

struct port {
	struct char_back back; /* first */
	struct bus *bus;
	struct loop *loop;
	struct serial *serial;
	struct strbuf written;
	size_t takes; /* what the back still accepts */
	unsigned resumes, edges;
	bool level;
};

static size_t back_write(struct char_back *b, const uint8_t *bytes, size_t n)
{
	struct port *p = (struct port *)b;

	n = n < p->takes ? n : p->takes;
	p->takes -= n;
	strbuf_add(&p->written, bytes, n);
	return n;
}

static void back_resume(struct char_back *b)
{
	((struct port *)b)->resumes++;
}

static const struct char_ops ops = {"test", back_write, back_resume, NULL};

static void line_set(void *ctx, unsigned pin, bool level)
{
	struct port *p = ctx;

	p->edges += level && !p->level;
	p->level = level;
}

static int set_up(void **state)
{
	struct port *p = mem_new(struct port);
	struct err e = {0};

	p->back.ops = &ops;
	p->takes = SIZE_MAX;
	p->bus = bus_new();
	assert_int_equal(loop_new(&p->loop, &e), 0);
	assert_int_equal(serial_new(&(struct serial_config){.bus = p->bus,
							    .loop = p->loop,
							    .irq = {line_set, p, 4},
							    .back = &p->back,
							    .port = PORT},
				    &p->serial, &e),
			 0);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct port *p = *state;

	(void)serial_free(p->serial);
	(void)bus_free(p->bus);
	(void)loop_free(p->loop);
	strbuf_done(&p->written);
	free(p);
	return 0;
}

static uint8_t in(struct port *p, unsigned reg)
{
	return (uint8_t)bus_read(p->bus, BUS_PORT, PORT + reg, 1);
}

static void out(struct port *p, unsigned reg, uint8_t v)
{
	bus_write(p->bus, BUS_PORT, PORT + reg, 1, v);
}

static void is_found(void **state)
{
	struct port *p = *state;

	out(p, 7, 0x5a);
	assert_int_equal(in(p, 7), 0x5a);
	out(p, 4, 0x1a); /* loopback, OUT2, RTS */
	assert_int_equal(in(p, 6) & 0xf0, 0x90);
	out(p, 0, 'x');
	assert_int_equal(in(p, 5) & 1, 1);
	assert_int_equal(in(p, 0), 'x');
	out(p, 4, 0);
	out(p, 3, 0x83);
	out(p, 0, 1);
	out(p, 1, 0);
	assert_int_equal(in(p, 0), 1);
	out(p, 3, 3);
	out(p, 2, 1);
	assert_int_equal(in(p, 2), 0xc1);
	assert_int_equal(bus_read(p->bus, BUS_PORT, PORT, 2), 0xffff);
	serial_flush(p->serial);
	assert_int_equal(p->written.n, 0);
}

static void writes(void **state)
{
	struct port *p = *state;

	out(p, 4, 8);
	for (const char *t = "hello"; *t; t++) {
		assert_int_equal(in(p, 5) & 0x60, 0x60);
		out(p, 0, (uint8_t)*t);
	}
	assert_int_equal(p->written.n, 0); /* not from the guest's thread */
	serial_flush(p->serial);
	assert_string_equal(strbuf_text(&p->written), "hello");
	assert_int_equal(p->edges, 0);
	out(p, 1, 2); /* tell me when there is room */
	assert_int_equal(p->edges, 1);
	assert_int_equal(in(p, 2) & 15, 2);
	assert_false(p->level);
	out(p, 0, '!');
	assert_int_equal(p->edges, 2);
	assert_int_equal(in(p, 2) & 15, 2);
	assert_int_equal(in(p, 2) & 15, 1);
}

/* A back that is stuck makes the port busy; nothing is lost that the port said it had room for. */
static void is_stuck(void **state)
{
	struct port *p = *state;
	size_t n = 0;

	p->takes = 100;
	while (in(p, 5) & 0x20) {
		out(p, 0, (uint8_t)n);
		n++;
		assert_true(n < 100000);
		if (n == 150)
			serial_flush(p->serial);
	}
	assert_int_equal(p->written.n, 100);
	out(p, 0, 0); /* written nevertheless: dropped */
	p->takes = SIZE_MAX;
	p->back.writable(p->serial);
	assert_int_equal(p->written.n, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal((uint8_t)p->written.p[i], (uint8_t)i);
	assert_int_equal(in(p, 5) & 0x60, 0x60);
}

static void stop(void *loop)
{
	loop_stop(loop);
}

static void reads(void **state)
{
	struct port *p = *state;
	const uint8_t text[] = "0123456789abcdefghij";

	out(p, 4, 8);
	out(p, 1, 1);
	assert_int_equal(p->back.receive(p->serial, text, 20), 16);
	assert_int_equal(p->edges, 1);
	assert_int_equal(in(p, 2) & 15, 4);
	assert_int_equal(p->back.receive(p->serial, text + 16, 4), 0);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(in(p, 5) & 1, 1);
		assert_int_equal(in(p, 0), text[i]);
	}
	assert_int_equal(in(p, 5) & 1, 0);
	assert_false(p->level);
	assert_int_equal(p->resumes, 0); /* later, on the loop */
	loop_post(p->loop, stop, p->loop);
	loop_run(p->loop);
	assert_int_equal(p->resumes, 1);
	assert_int_equal(p->back.receive(p->serial, text, 4), 4);
	out(p, 2, 3); /* FIFO cleared */
	assert_int_equal(in(p, 5) & 1, 0);
}

/* The back over descriptors: what comes in is offered until taken; the escape byte is kept. */
static size_t took(void *front, const uint8_t *bytes, size_t n)
{
	struct port *p = front;

	n = n < 3 ? n : 3;
	n = n < p->takes ? n : p->takes;
	p->takes -= n;
	strbuf_add(&p->written, bytes, n);
	return n;
}

static void escaped(void *arg)
{
	struct port *p = arg;

	p->resumes++;
	loop_stop(p->loop);
}

static void over_descriptors(void **state)
{
	struct port *p = *state;
	int ends[2];
	struct char_back *b;
	struct err e = {0};
	char got[8] = {0};

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(char_fd_new(&(struct char_fd_config){.loop = p->loop,
							      .in = ends[0],
							      .out = ends[1],
							      .escape = 0x1d,
							      .escaped = escaped,
							      .arg = p},
				     &b, &e),
			 0);
	b->front = p;
	b->receive = took;
	p->takes = 4;
	assert_int_equal(b->ops->write(b, (const uint8_t *)"abcdef\x1dz", 8), 8);
	loop_run(p->loop);
	assert_int_equal(p->resumes, 1);
	assert_string_equal(strbuf_text(&p->written), "abcd");
	p->takes = SIZE_MAX;
	b->ops->resume(b);
	assert_string_equal(strbuf_text(&p->written), "abcdef");
	(void)b->ops->free(b);
	(void)close(ends[1]);
	assert_int_equal(read(ends[0], got, sizeof(got)), 0);
	(void)close(ends[0]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(is_found), TEST(writes), TEST(is_stuck), TEST(reads), TEST(over_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
