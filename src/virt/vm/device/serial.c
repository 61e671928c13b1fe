/*
 * The 16550A's registers, its two rings and its interrupt. Datasheet: PC16550D, section 8.
 * Interrupts are derived from state by one function, serial_update(), after every change.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/serial.h"

#define SERIAL_MAGIC 0x53455231u
#define SERIAL_PORTS 8
#define RX_BYTES     16 /* the FIFO of a 16550A */
#define TX_BYTES     4096
#define DRAIN_MS     1

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH };

enum { IER_RX = 1, IER_TX = 2, IER_LINE = 4, IER_MODEM = 8, IER_ALL = 15 };
enum { IIR_MODEM = 0, IIR_NONE = 1, IIR_TX = 2, IIR_RX = 4, IIR_LINE = 6, IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16, MCR_ALL = 31 };
enum { LSR_READY = 1, LSR_OVERRUN = 2, LSR_THR_EMPTY = 32, LSR_IDLE = 64 };
enum { MSR_CTS = 16, MSR_DSR = 32, MSR_RING = 64, MSR_CARRIER = 128 };

struct serial {
	unsigned magic;
	struct serial_config c;
	uint8_t ier, lcr, mcr, scratch, divisor[2];
	bool fifo, overrun;
	bool tx_told; /* THRE interrupt pending: cleared by reading IIR */
	uint8_t rx[RX_BYTES];
	size_t rx_at, rx_n;
	bool rx_refused; /* the back holds bytes that did not fit */
	uint8_t tx[TX_BYTES];
	size_t tx_at, tx_n;
	bool tx_posted; /* the loop knows that there is something to hand on */
	struct loop_timer *drain;
};

static uint8_t pending(const struct serial *s)
{
	if ((s->ier & IER_LINE) && s->overrun)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->rx_n)
		return IIR_RX;
	if ((s->ier & IER_TX) && s->tx_told)
		return IIR_TX;
	return IIR_NONE;
}

/* OUT2 gates the interrupt on a PC. */
static void serial_update(struct serial *s)
{
	irq_set(&s->c.irq, pending(s) != IIR_NONE && (s->mcr & MCR_OUT2));
}

/* ---- towards the back: on the loop's thread ---- */

static void tx_drain(void *arg)
{
	struct serial *s = arg;
	struct char_back *back = s->c.back;
	bool more = true;

	assert(s->magic == SERIAL_MAGIC);
	while (more) {
		uint8_t piece[512];
		size_t n, taken;

		bus_lock(s->c.bus);
		n = s->tx_n < sizeof(piece) ? s->tx_n : sizeof(piece);
		for (size_t i = 0; i < n; i++)
			piece[i] = s->tx[(s->tx_at + i) % TX_BYTES];
		s->tx_posted = n > 0;
		bus_unlock(s->c.bus);
		taken = n && back ? back->ops->write(back, piece, n) : n;
		assert(taken <= n);
		more = n > 0 && taken == n;
		bus_lock(s->c.bus);
		if (s->tx_n == TX_BYTES && taken > 0)
			s->tx_told = true; /* it was busy and is not any longer */
		s->tx_at = (s->tx_at + taken) % TX_BYTES;
		s->tx_n -= taken;
		serial_update(s);
		bus_unlock(s->c.bus);
	}
}

static void tx_soon(void *arg)
{
	struct serial *s = arg;

	loop_timer_set(s->drain, DRAIN_MS, 0);
}

void serial_flush(struct serial *s)
{
	loop_timer_unset(s->drain);
	tx_drain(s);
}

static size_t back_receive(void *front, const uint8_t *bytes, size_t n)
{
	struct serial *s = front;
	size_t taken = 0;

	assert(s->magic == SERIAL_MAGIC);
	bus_lock(s->c.bus);
	for (; taken < n && s->rx_n < RX_BYTES; taken++, s->rx_n++)
		s->rx[(s->rx_at + s->rx_n) % RX_BYTES] = bytes[taken];
	s->rx_refused = taken < n;
	serial_update(s);
	bus_unlock(s->c.bus);
	return taken;
}

static void rx_resume(void *arg)
{
	struct serial *s = arg;

	s->c.back->ops->resume(s->c.back);
}

/* ---- from the guest: under the bus lock ---- */

static void tx_byte(struct serial *s, uint8_t byte)
{
	if (s->mcr & MCR_LOOP) {
		if (s->rx_n < RX_BYTES)
			s->rx[(s->rx_at + s->rx_n++) % RX_BYTES] = byte;
		else
			s->overrun = true;
		return;
	}
	if (s->tx_n < TX_BYTES)
		s->tx[(s->tx_at + s->tx_n++) % TX_BYTES] = byte;
	s->tx_told = s->tx_n < TX_BYTES;
	if (!s->tx_posted) {
		s->tx_posted = true;
		loop_post(s->c.loop, tx_soon, s);
	}
}

static uint8_t rx_byte(struct serial *s)
{
	uint8_t byte;

	if (s->rx_n == 0)
		return 0;
	byte = s->rx[s->rx_at];
	s->rx_at = (s->rx_at + 1) % RX_BYTES;
	s->rx_n--;
	if (s->rx_n == 0 && s->rx_refused) {
		s->rx_refused = false;
		loop_post(s->c.loop, rx_resume, s);
	}
	return byte;
}

static uint8_t line_status(struct serial *s)
{
	unsigned v = (s->rx_n ? LSR_READY : 0u) | (s->overrun ? LSR_OVERRUN : 0u);

	s->overrun = false;
	return (uint8_t)(v | (s->tx_n < TX_BYTES ? LSR_THR_EMPTY | LSR_IDLE : 0u));
}

/* In loopback the four outputs are the four inputs. */
static uint8_t modem_status(const struct serial *s)
{
	unsigned v = 0;

	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_CARRIER;
	v |= s->mcr & MCR_RTS ? MSR_CTS : 0u;
	v |= s->mcr & MCR_DTR ? MSR_DSR : 0u;
	v |= s->mcr & MCR_OUT1 ? MSR_RING : 0u;
	v |= s->mcr & MCR_OUT2 ? MSR_CARRIER : 0u;
	return (uint8_t)v;
}

static uint8_t interrupt_id(struct serial *s)
{
	uint8_t id = pending(s);

	if (id == IIR_TX)
		s->tx_told = false;
	return (uint8_t)(id | (s->fifo ? IIR_FIFO : 0));
}

static uint64_t port_read(void *p, uint64_t offset, unsigned size)
{
	struct serial *s = p;
	bool divisor = s->lcr & LCR_DLAB;
	uint8_t v = 0;

	assert(s->magic == SERIAL_MAGIC);
	if (size != 1)
		return UINT64_MAX;
	switch (offset) {
	case REG_DATA:
		v = divisor ? s->divisor[0] : rx_byte(s);
		break;
	case REG_IER:
		v = divisor ? s->divisor[1] : s->ier;
		break;
	case REG_IIR:
		v = interrupt_id(s);
		break;
	case REG_LCR:
		v = s->lcr;
		break;
	case REG_MCR:
		v = s->mcr;
		break;
	case REG_LSR:
		v = line_status(s);
		break;
	case REG_MSR:
		v = modem_status(s);
		break;
	case REG_SCRATCH:
		v = s->scratch;
		break;
	}
	serial_update(s);
	return v;
}

static void ier_write(struct serial *s, uint8_t v)
{
	if ((v & IER_TX) && !(s->ier & IER_TX) && s->tx_n < TX_BYTES)
		s->tx_told = true;
	s->ier = v & IER_ALL;
}

/* What the guest wrote is not taken back: it is on its way. */
static void fcr_write(struct serial *s, uint8_t v)
{
	s->fifo = v & FCR_ENABLE;
	if (v & FCR_CLEAR_RX)
		s->rx_n = 0;
	if (v & FCR_CLEAR_RX && s->rx_refused) {
		s->rx_refused = false;
		loop_post(s->c.loop, rx_resume, s);
	}
}

static void port_write(void *p, uint64_t offset, unsigned size, uint64_t value)
{
	struct serial *s = p;
	bool divisor = s->lcr & LCR_DLAB;
	uint8_t v = (uint8_t)value;

	assert(s->magic == SERIAL_MAGIC);
	if (size != 1)
		return;
	switch (offset) {
	case REG_DATA:
		if (divisor)
			s->divisor[0] = v;
		else
			tx_byte(s, v);
		break;
	case REG_IER:
		if (divisor)
			s->divisor[1] = v;
		else
			ier_write(s, v);
		break;
	case REG_IIR:
		fcr_write(s, v);
		break;
	case REG_LCR:
		s->lcr = v;
		break;
	case REG_MCR:
		s->mcr = v & MCR_ALL;
		break;
	case REG_SCRATCH:
		s->scratch = v;
		break;
	}
	serial_update(s);
}

static const struct bus_ops port_ops = {"serial", port_read, port_write};

/* ---- birth and death ---- */

static void back_writable(void *front)
{
	tx_drain(front);
}

void serial_reset(struct serial *s)
{
	assert(s->magic == SERIAL_MAGIC);
	bus_lock(s->c.bus);
	s->ier = s->lcr = s->mcr = s->scratch = 0;
	s->divisor[0] = 12; /* 9600 baud */
	s->divisor[1] = 0;
	s->fifo = s->overrun = s->tx_told = false;
	serial_update(s);
	bus_unlock(s->c.bus);
}

int serial_new(const struct serial_config *c, struct serial **ret, struct err *e)
{
	struct serial *s = mem_new(struct serial);
	int r;

	assert(c->bus && c->loop && c->irq.set);
	s->magic = SERIAL_MAGIC;
	s->c = *c;
	r = bus_add(c->bus, &(struct bus_range){BUS_PORT, c->port, SERIAL_PORTS, &port_ops, s}, e);
	if (r < 0) {
		free(s);
		return r;
	}
	s->drain = loop_timer_new(c->loop, tx_drain, s);
	serial_reset(s);
	if (c->back) {
		c->back->front = s;
		c->back->receive = back_receive;
		c->back->writable = back_writable;
	}
	*ret = s;
	return 0;
}

struct serial *serial_free(struct serial *s)
{
	if (!s)
		return NULL;
	assert(s->magic == SERIAL_MAGIC);
	bus_remove(s->c.bus, BUS_PORT, s->c.port);
	loop_post_cancel(s->c.loop, tx_soon, s);
	loop_post_cancel(s->c.loop, rx_resume, s);
	s->drain = loop_timer_free(s->drain);
	if (s->c.back) {
		s->c.back->receive = NULL;
		s->c.back->writable = NULL;
		s->c.back->front = NULL;
	}
	s->magic = 0;
	free(s);
	return NULL;
}
