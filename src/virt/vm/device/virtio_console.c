/*
 * The console: bytes both ways. What the terminal does not take stays in the chain that carried
 * it, and the queue waits; what the guest has no buffer for stays with the back.
 */
#include <assert.h>
#include <stdlib.h>

#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>

#include "ground/base/mem.h"
#include "virt/vm/device/virtio.h"
#include "virt/vm/device/virtio_console.h"

#define CONSOLE_MAGIC 0x56434f4eu
#define QUEUE_SIZE    128
#define STEP_BYTES    4096u

enum { QUEUE_IN, QUEUE_OUT, QUEUES };

struct virtio_console {
	struct virtio virtio;
	unsigned magic;
	struct char_back *back;
	struct virtio_console_config config;
	bool starved; /* the back was told to keep input */
	bool writing; /* `out` holds a chain that is not written yet */
	struct virtqueue_chain in, out;
};

static struct virtio_console *as_console(void *front)
{
	struct virtio_console *c = front;

	assert(c->magic == CONSOLE_MAGIC);
	return c;
}

static struct virtio_console *console_of(struct virtio *v)
{
	return as_console(container_of(v, struct virtio_console, virtio));
}

/* ---- guest to terminal ---- */

/* False when the terminal is full. The bytes are copied first: the guest may change them. */
static bool write_chain(struct virtio_console *c)
{
	struct virtqueue_list *l = &c->out.out;
	uint8_t bytes[STEP_BYTES];

	while (l->n) {
		struct iovec v = *l->at;
		struct virtqueue_list peek = {&v, 1, v.iov_len};
		size_t n = virtqueue_take(&peek, bytes, sizeof(bytes));
		size_t took = c->back->ops->write(c->back, bytes, n);

		assert(took <= n);
		(void)virtqueue_skip(l, took);
		if (took < n)
			return false;
	}
	return true;
}

static void write_out(struct virtio_console *c)
{
	struct virtio *v = &c->virtio;

	while (c->writing || virtio_next(v, QUEUE_OUT, &c->out)) {
		c->writing = !write_chain(c);
		if (c->writing)
			break;
		virtio_used(v, QUEUE_OUT, c->out.head, 0);
	}
	virtio_interrupt(v, QUEUE_OUT);
}

static void console_writable(void *front)
{
	struct virtio_console *c = as_console(front);

	virtio_lock(&c->virtio);
	if (virtio_live(&c->virtio))
		write_out(c);
	virtio_unlock(&c->virtio);
}

/* 5.3.4: the emergency register writes a character without queues. */
static void console_configure(struct virtio *v, unsigned at, unsigned size)
{
	struct virtio_console *c = console_of(v);
	uint8_t byte = (uint8_t)c->config.emerg_wr;

	if (at == offsetof(struct virtio_console_config, emerg_wr))
		(void)c->back->ops->write(c->back, &byte, 1);
	c->config.emerg_wr = 0;
	c->config.cols = (uint16_t)c->back->columns;
	c->config.rows = (uint16_t)c->back->rows;
	c->config.max_nr_ports = 1;
}

/* ---- terminal to guest ---- */

static size_t console_receive(void *front, const uint8_t *bytes, size_t n)
{
	struct virtio_console *c = as_console(front);
	struct virtio *v = &c->virtio;
	size_t done = 0;

	virtio_lock(v);
	while (done < n && virtio_next(v, QUEUE_IN, &c->in)) {
		size_t now =
			virtqueue_put(&v->queue[QUEUE_IN].ring, &c->in.in, bytes + done, n - done);

		virtio_used(v, QUEUE_IN, c->in.head, (uint32_t)now);
		done += now;
	}
	virtio_interrupt(v, QUEUE_IN);
	c->starved = done < n;
	virtio_unlock(v);
	return done;
}

static void console_resized(void *front, unsigned columns, unsigned rows)
{
	struct virtio_console *c = as_console(front);

	virtio_lock(&c->virtio);
	c->config.cols = (uint16_t)columns;
	c->config.rows = (uint16_t)rows;
	if (virtio_has(&c->virtio, VIRTIO_CONSOLE_F_SIZE))
		virtio_config_changed(&c->virtio);
	virtio_unlock(&c->virtio);
}

/* ---- the device ---- */

static void console_kick(struct virtio *v, unsigned q)
{
	struct virtio_console *c = console_of(v);

	if (q == QUEUE_OUT) {
		write_out(c);
	} else if (c->starved) {
		c->starved = false;
		c->back->ops->resume(c->back);
	}
}

static void console_reset(struct virtio *v)
{
	console_of(v)->writing = false;
}

static void console_free(struct virtio *v)
{
	struct virtio_console *c = console_of(v);

	c->back->front = NULL;
	c->back->receive = NULL;
	c->back->writable = NULL;
	c->back->resized = NULL;
	virtio_done(v);
	c->magic = 0;
	free(c);
}

static const struct virtio_ops console_ops = {
	.name = "virtio-console",
	.type = VIRTIO_ID_CONSOLE,
	.class = 0x078000,
	.queues = QUEUES,
	.queue_size = QUEUE_SIZE,
	.kick = console_kick,
	.reset = console_reset,
	.configure = console_configure,
	.free = console_free,
};

int virtio_console_new(struct pci *p, struct char_back *back, struct err *e)
{
	struct virtio_console *c = mem_new(struct virtio_console);
	uint64_t features = 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE;
	int failed;

	assert(back && back->ops && !back->front);
	c->magic = CONSOLE_MAGIC;
	c->back = back;
	c->config.cols = (uint16_t)back->columns;
	c->config.rows = (uint16_t)back->rows;
	c->config.max_nr_ports = 1;
	if (back->columns)
		features |= 1ull << VIRTIO_CONSOLE_F_SIZE;
	failed = virtio_init(&c->virtio, &console_ops, p, features, &c->config, sizeof(c->config),
			     0, e);
	if (failed) {
		free(c);
		return failed;
	}
	back->front = c;
	back->receive = console_receive;
	back->writable = console_writable;
	back->resized = console_resized;
	return 0;
}
