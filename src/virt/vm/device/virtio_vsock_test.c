/*
 * The socket device between a fake guest and real unix sockets: connections both ways, data and
 * credit, shutting down, refusals, resets of the device.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "ground/wire/unix.h"
#include "virt/vm/device/device_fixture.h"
#include "virt/vm/device/vsock_priv.h"

#define IN	     0
#define OUT	     1
#define BUFFERS	     8
#define BUFFER_BYTES 4096u
#define CID	     7

struct guest {
	struct fixture f;
	struct driver d;
	uint64_t buffer, out;
	char dir[64], path[80];
};

static void buffer_offer(struct guest *g, uint16_t i)
{
	struct driver_queue *q = &g->d.q[IN];

	desc_put(&g->f, q->desc, i, g->buffer + i * BUFFER_BYTES, BUFFER_BYTES, VRING_DESC_F_WRITE,
		 0);
	driver_offer(&g->d, IN, i);
	driver_ring(&g->d, IN);
}

static void driver_start(struct guest *g)
{
	driver_open(&g->d, &g->f, 1, 0);
	g->f.next = 1 << 20;
	for (unsigned i = 0; i < 3; i++)
		driver_queue(&g->d, i, 16);
	driver_ready(&g->d);
	g->buffer = fixture_room(&g->f, BUFFERS * BUFFER_BYTES);
	g->out = fixture_room(&g->f, 128 << 10);
	for (uint16_t i = 0; i < BUFFERS; i++)
		buffer_offer(g, i);
	fixture_turn(&g->f);
}

static void guest_open(struct guest *g)
{
	struct err e = {0};

	*g = (struct guest){.dir = "/tmp/hull-vsock-test-XXXXXX"};
	assert_non_null(mkdtemp(g->dir));
	(void)snprintf(g->path, sizeof(g->path), "%s/v", g->dir);
	fixture_open(&g->f);
	assert_int_equal(virtio_vsock_new(g->f.pci, CID, g->path, &e), 0);
	driver_start(g);
}

static void guest_close(struct guest *g)
{
	fixture_close(&g->f);
	assert_int_equal(access(g->path, F_OK), -1);
	assert_int_equal(rmdir(g->dir), 0);
}

/* The next packet for the guest, its payload copied; op 0 where there is none. */
static struct vsock_header packet_get(struct guest *g, void *payload)
{
	struct vsock_header h = {0};
	uint32_t head, written;

	fixture_turn(&g->f);
	if (!driver_used(&g->d, IN, &head, &written))
		return h;
	memcpy(&h, fixture_mem(&g->f, g->buffer + head * BUFFER_BYTES), sizeof(h));
	assert_int_equal(written, sizeof(h) + h.bytes);
	assert_int_equal(h.from_cid, 2);
	assert_int_equal(h.to_cid, CID);
	assert_int_equal(h.type, 1);
	if (payload)
		memcpy(payload, fixture_mem(&g->f, g->buffer + head * BUFFER_BYTES + sizeof(h)),
		       h.bytes);
	buffer_offer(g, (uint16_t)head);
	return h;
}

static void packet_send(struct guest *g, struct vsock_header h, const void *payload)
{
	const struct piece p = {g->out, (uint32_t)sizeof(h) + h.bytes, false};

	h.from_cid = h.from_cid ? h.from_cid : CID;
	h.to_cid = VSOCK_CID_HOST;
	h.type = h.type ? h.type : 1;
	memcpy(fixture_mem(&g->f, g->out), &h, sizeof(h));
	if (payload)
		memcpy(fixture_mem(&g->f, g->out + sizeof(h)), payload, h.bytes);
	(void)driver_chain(&g->d, OUT, &p, 1);
	driver_ring(&g->d, OUT);
	fixture_turn(&g->f);
}

static struct vsock_header answer(struct vsock_header h, enum vsock_op op)
{
	return (struct vsock_header){.from_port = h.to_port,
				     .to_port = h.from_port,
				     .op = (uint16_t)op,
				     .room = 1 << 20};
}

static int client(struct guest *g, const char *greeting)
{
	struct err e = {0};
	int fd = -1;

	assert_int_equal(unix_connect(g->path, SOCK_STREAM | SOCK_NONBLOCK, &fd, &e), 0);
	assert_int_equal(write(fd, greeting, strlen(greeting)), strlen(greeting));
	fixture_turn(&g->f);
	return fd;
}

/* Up to the open stream: the descriptor, and the guest's next header to answer by. */
static int connected(struct guest *g, struct vsock_header *ret)
{
	int fd = client(g, "CONNECT 52\n");
	char line[64] = {0}, want[64];

	*ret = packet_get(g, NULL);
	assert_int_equal(ret->op, VSOCK_REQUEST);
	assert_int_equal(ret->to_port, 52);
	packet_send(g, answer(*ret, VSOCK_RESPONSE), NULL);
	(void)snprintf(want, sizeof(want), "OK %u\n", ret->from_port);
	assert_int_equal(read(fd, line, sizeof(line)), strlen(want));
	assert_string_equal(line, want);
	return fd;
}

static void host_connects(void **state)
{
	struct vsock_header h, back;
	struct guest g;
	char text[4096] = {0};
	int fd;

	guest_open(&g);
	fd = connected(&g, &h);
	assert_int_equal(write(fd, "ping", 4), 4);
	back = packet_get(&g, text);
	assert_int_equal(back.op, VSOCK_RW);
	assert_int_equal(back.bytes, 4);
	assert_memory_equal(text, "ping", 4);
	back = answer(h, VSOCK_RW);
	back.bytes = 4;
	back.taken = 4;
	packet_send(&g, back, "pong");
	assert_int_equal(read(fd, text, sizeof(text)), 4);
	assert_memory_equal(text, "pong", 4);
	/* The host ends: the guest is told, shuts down, is answered by a reset. */
	(void)close(fd);
	back = packet_get(&g, NULL);
	assert_int_equal(back.op, VSOCK_SHUTDOWN);
	assert_int_equal(back.flags, VSOCK_NO_SEND);
	back = answer(h, VSOCK_SHUTDOWN);
	back.flags = 3;
	packet_send(&g, back, NULL);
	assert_int_equal(packet_get(&g, NULL).op, VSOCK_RST);
	assert_int_equal(packet_get(&g, NULL).op, 0);
	guest_close(&g);
}

static void guest_refuses(void **state)
{
	struct vsock_header h;
	struct guest g;
	char c;
	int fd;

	guest_open(&g);
	fd = client(&g, "CONNECT 99\n");
	h = packet_get(&g, NULL);
	packet_send(&g, answer(h, VSOCK_RST), NULL);
	assert_int_equal(read(fd, &c, 1), 0);
	(void)close(fd);
	/* Lines that are none. */
	fd = client(&g, "HELLO\n");
	assert_true(read(fd, &c, 1) <= 0 && errno != EAGAIN);
	(void)close(fd);
	fd = client(&g, "CONNECT 1x\n");
	assert_int_not_equal(read(fd, &c, 1), 1);
	(void)close(fd);
	fd = client(&g, "CONNECT 11111111111111111111111111111111111");
	assert_int_not_equal(read(fd, &c, 1), 1);
	(void)close(fd);
	/* In pieces is fine, and what follows is data. */
	fd = client(&g, "CONN");
	assert_int_equal(packet_get(&g, NULL).op, 0);
	assert_int_equal(write(fd, "ECT 7\nxy", 8), 8);
	h = packet_get(&g, NULL);
	assert_int_equal(h.op, VSOCK_REQUEST);
	packet_send(&g, answer(h, VSOCK_RESPONSE), NULL);
	h = packet_get(&g, NULL);
	assert_int_equal(h.op, VSOCK_RW);
	assert_int_equal(h.bytes, 2);
	(void)close(fd);
	guest_close(&g);
}

static void guest_connects(void **state)
{
	struct vsock_header h = {
		.op = VSOCK_REQUEST, .from_port = 1000, .to_port = 80, .room = 1 << 16};
	struct err e = {0};
	struct guest g;
	char path[96], text[16];
	int listener = -1, fd;

	guest_open(&g);
	packet_send(&g, h, NULL);
	h = packet_get(&g, NULL);
	assert_int_equal(h.op, VSOCK_RST); /* nobody listens */
	assert_int_equal(h.from_port, 80);
	assert_int_equal(h.to_port, 1000);
	(void)snprintf(path, sizeof(path), "%s_80", g.path);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0600, &listener, &e), 0);
	packet_send(&g, answer(h, VSOCK_REQUEST), NULL);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	h = packet_get(&g, NULL);
	assert_int_equal(h.op, VSOCK_RESPONSE);
	assert_int_equal(h.room, VSOCK_BUFFER_BYTES);
	h = answer(h, VSOCK_RW);
	h.bytes = 5;
	packet_send(&g, h, "hello");
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	/* One way only: the host's program sees the end. */
	h.op = VSOCK_SHUTDOWN;
	h.bytes = 0;
	h.flags = VSOCK_NO_SEND;
	packet_send(&g, h, NULL);
	assert_int_equal(read(fd, text, sizeof(text)), 0);
	assert_int_equal(write(fd, "still", 5), 5);
	assert_int_equal(packet_get(&g, NULL).op, VSOCK_RW);
	h.op = VSOCK_CREDIT_REQUEST;
	packet_send(&g, h, NULL);
	h = packet_get(&g, NULL);
	assert_int_equal(h.op, VSOCK_CREDIT_UPDATE);
	assert_int_equal(h.taken, 5);
	(void)close(fd);
	(void)close(listener);
	(void)unlink(path);
	guest_close(&g);
}

static void minds_credit(void **state)
{
	struct vsock_header h, back;
	struct guest g;
	uint8_t *data = mem_new_array(uint8_t, 64 << 10);
	size_t got = 0, sent = 0;
	ssize_t r;
	int fd;

	guest_open(&g);
	fd = connected(&g, &h);
	/* The guest has room for ten bytes, then for five more. */
	back = answer(h, VSOCK_CREDIT_UPDATE);
	back.room = 10;
	packet_send(&g, back, NULL);
	assert_int_equal(write(fd, "0123456789abcdefghij", 20), 20);
	assert_int_equal(packet_get(&g, data).bytes, 10);
	assert_int_equal(packet_get(&g, data).op, 0);
	back.taken = 5;
	packet_send(&g, back, NULL);
	assert_int_equal(packet_get(&g, data).bytes, 5);
	assert_memory_equal(data, "abcde", 5);
	back.taken = 0; /* backwards: no credit, no harm */
	packet_send(&g, back, NULL);
	assert_int_equal(packet_get(&g, data).op, 0);
	/* The host does not read: 256 KiB are kept, one byte more ends it. */
	back = answer(h, VSOCK_RW);
	back.bytes = 64 << 10;
	for (unsigned i = 0; i < 64 && sent == got; i++) {
		memset(data, (int)i, back.bytes);
		packet_send(&g, back, data);
		sent += back.bytes;
		got = sent;
		if (packet_get(&g, NULL).op == VSOCK_RST)
			got = 0;
	}
	assert_true(got < sent && sent > VSOCK_BUFFER_BYTES);
	(void)close(fd);
	/* And one that reads late gets all of it, in order. */
	fd = connected(&g, &h);
	back = answer(h, VSOCK_RW);
	back.bytes = 64 << 10;
	sent = got = 0;
	for (unsigned i = 0; i < 4; i++, sent += back.bytes) {
		memset(data, (int)i, back.bytes);
		packet_send(&g, back, data);
	}
	back.op = VSOCK_SHUTDOWN;
	back.flags = 3;
	back.bytes = 0;
	packet_send(&g, back, NULL);
	while ((r = read(fd, data, 64 << 10)) != 0) {
		for (ssize_t i = 0; i < r; i++)
			assert_int_equal(data[i], (got + (size_t)i) >> 16);
		got += r > 0 ? (size_t)r : 0;
		fixture_turn(&g.f);
	}
	assert_int_equal(got, sent);
	(void)close(fd);
	free(data);
	guest_close(&g);
}

static void survives_nonsense(void **state)
{
	const struct vsock_header bad[] = {
		{.op = VSOCK_RW, .from_port = 5, .to_port = 6},
		{.op = VSOCK_RESPONSE, .from_port = 5, .to_port = 6},
		{.op = 0, .from_port = 5, .to_port = 6},
		{.op = 99, .from_port = 5, .to_port = 6},
		{.op = VSOCK_REQUEST, .from_port = 5, .to_port = 6, .type = 2},
	};
	struct vsock_header h;
	struct guest g;
	char c;
	int fd;

	guest_open(&g);
	for (size_t i = 0; i < array_len(bad); i++) {
		packet_send(&g, bad[i], NULL);
		h = packet_get(&g, NULL);
		assert_int_equal(h.op, VSOCK_RST);
		assert_int_equal(h.from_port, 6);
	}
	/* From another, to nobody: not even an answer. A reset of nothing neither. */
	packet_send(&g, (struct vsock_header){.op = VSOCK_RW, .from_cid = 9}, NULL);
	packet_send(&g, (struct vsock_header){.op = VSOCK_RST}, NULL);
	assert_int_equal(packet_get(&g, NULL).op, 0);
	/* A second response, a second request of the same ports. */
	fd = connected(&g, &h);
	packet_send(&g, answer(h, VSOCK_RESPONSE), NULL);
	assert_int_equal(packet_get(&g, NULL).op, VSOCK_RST);
	assert_int_equal(read(fd, &c, 1), 0);
	(void)close(fd);
	/* More bytes than there are breaks the device; a reset brings it back. */
	h = (struct vsock_header){
		.op = VSOCK_RW, .from_cid = CID, .to_cid = 2, .type = 1, .bytes = 9};
	memcpy(fixture_mem(&g.f, g.out), &h, sizeof(h));
	(void)driver_chain(&g.d, OUT, &(struct piece){g.out, sizeof(h), false}, 1);
	driver_ring(&g.d, OUT);
	fixture_turn(&g.f);
	assert_true(driver_broken(&g.d));
	driver_start(&g);
	fd = connected(&g, &h);
	/* A reset ends what is open. */
	driver_start(&g);
	assert_int_equal(read(fd, &c, 1), 0);
	(void)close(fd);
	common_put(&g.d, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	fd = client(&g, "CONNECT 5\n");
	assert_int_equal(read(fd, &c, 1), 0); /* no driver */
	(void)close(fd);
	guest_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_connects),     cmocka_unit_test(guest_refuses),
		cmocka_unit_test(guest_connects),    cmocka_unit_test(minds_credit),
		cmocka_unit_test(survives_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
