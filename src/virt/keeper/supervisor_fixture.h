/*
 * For tests only: a keeper in a child process and the other end of its socket, spoken to directly.
 * A test program includes it once and uses what it needs.
 */
#pragma once

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
#include "virt/keeper/log_reader.h"
#include "virt/keeper/message.h"
#include "virt/keeper/record.h"
#include "virt/keeper/supervisor.h"

#pragma GCC diagnostic ignored "-Wunused-function"

#define WAIT_MS 10000

static bool own_network; /* the next start makes a network namespace */

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
	o->net = own_network ? KEEPER_NET_NEW : KEEPER_NET_HOST;
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

static void reconnect(struct fixture *f)
{
	char path[128];
	struct err e = {0};

	(void)snprintf(path, sizeof(path), "%s/sock", f->run);
	if (fdpass_connect(AT_FDCWD, path, SOCK_SEQPACKET, &f->sock, &e) < 0)
		fail_msg("%s", e.text);
}
