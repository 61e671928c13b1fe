/*
 * The keyboard controller's two ports and its keyboard: see i8042.h. Commands are those of the IBM
 * PC/AT reference; the keyboard answers as an MF2 keyboard that sends scan code set 2, translated
 * by the controller when the guest asked for it.
 */
#include <assert.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/device/i8042.h"
#include "virt/vm/memory/map.h"

#define I8042_MAGIC 0x38303431u
#define QUEUE_BYTES 32

enum { STATUS_OUTPUT = 1, STATUS_SYSTEM = 4, STATUS_COMMAND = 8, STATUS_UNLOCKED = 16 };
enum { CONFIG_IRQ = 1, CONFIG_SYSTEM = 4, CONFIG_DISABLED = 16, CONFIG_TRANSLATE = 64 };
enum { KEY_ACK = 0xfa, KEY_SELF_TEST_OK = 0xaa };

enum {
	COMMAND_READ_CONFIG = 0x20,
	COMMAND_WRITE_CONFIG = 0x60,
	COMMAND_SELF_TEST = 0xaa,
	COMMAND_TEST_KEYBOARD = 0xab,
	COMMAND_DISABLE = 0xad,
	COMMAND_ENABLE = 0xae,
	COMMAND_READ_OUTPUT = 0xd0,
	COMMAND_RESET = 0xfe,
};

struct i8042 {
	unsigned magic;
	struct i8042_config c;
	uint8_t config;
	bool config_next; /* the next data byte is the configuration */
	bool argument;	  /* the next data byte belongs to a keyboard command */
	bool scanning;	  /* the guest enabled the keyboard */
	uint8_t queue[QUEUE_BYTES];
	size_t at, n;
};

static void update(struct i8042 *k)
{
	irq_set(&k->c.irq, k->n > 0 && (k->config & CONFIG_IRQ));
}

static void push(struct i8042 *k, uint8_t byte)
{
	if (k->n < QUEUE_BYTES)
		k->queue[(k->at + k->n++) % QUEUE_BYTES] = byte;
	update(k);
}

/* The next byte of several is an edge of its own. */
static uint8_t pop(struct i8042 *k)
{
	uint8_t byte = k->queue[k->at];

	if (k->n == 0)
		return byte; /* the last one, again */
	k->n--;
	if (k->n == 0) {
		update(k);
		return byte;
	}
	k->at = (k->at + 1) % QUEUE_BYTES;
	irq_set(&k->c.irq, false);
	update(k);
	return byte;
}

static void command(struct i8042 *k, uint8_t v)
{
	k->config_next = v == COMMAND_WRITE_CONFIG;
	switch (v) {
	case COMMAND_READ_CONFIG:
		push(k, k->config);
		break;
	case COMMAND_SELF_TEST:
		push(k, 0x55);
		break;
	case COMMAND_TEST_KEYBOARD:
		push(k, 0);
		break;
	case COMMAND_DISABLE:
		k->config |= CONFIG_DISABLED;
		break;
	case COMMAND_ENABLE:
		k->config &= (uint8_t)~CONFIG_DISABLED;
		break;
	case COMMAND_READ_OUTPUT:
		push(k, 0xcf);
		break;
	case COMMAND_RESET:
		power_tell(&k->c.power, POWER_RESET);
		break;
	}
}

/* A byte to the keyboard. Those with an argument: LEDs, scan code set, repeat rate. */
static void keyboard(struct i8042 *k, uint8_t v)
{
	push(k, KEY_ACK);
	if (k->argument) {
		k->argument = false;
		return;
	}
	k->argument = v == 0xed || v == 0xf0 || v == 0xf3;
	switch (v) {
	case 0xf2: /* identify */
		push(k, 0xab);
		push(k, k->config & CONFIG_TRANSLATE ? 0x41 : 0x83);
		break;
	case 0xf4:
		k->scanning = true;
		break;
	case 0xf5:
		k->scanning = false;
		break;
	case 0xff:
		push(k, KEY_SELF_TEST_OK);
		break;
	}
}

static uint64_t port_read(void *p, uint64_t offset, unsigned size)
{
	struct i8042 *k = p;

	assert(k->magic == I8042_MAGIC);
	if (size != 1)
		return UINT64_MAX;
	if (offset == 0)
		return pop(k);
	if (offset == 4)
		return STATUS_UNLOCKED | (k->config & CONFIG_SYSTEM) | (k->n ? STATUS_OUTPUT : 0u);
	return UINT64_MAX;
}

static void port_write(void *p, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *k = p;
	uint8_t v = (uint8_t)value;

	assert(k->magic == I8042_MAGIC);
	if (offset == 4) {
		command(k, v);
	} else if (offset == 0 && k->config_next) {
		k->config_next = false;
		k->config = v;
		update(k);
	} else if (offset == 0) {
		keyboard(k, v);
	}
}

static const struct bus_ops port_ops = {"i8042", port_read, port_write};

int i8042_ctrl_alt_del(struct i8042 *k, struct err *e)
{
	/* Press, then release, in order of pressing. Set 1, and set 2 for who does not
	 * translate. */
	static const uint8_t set1[] = {0x1d, 0x38, 0x53, 0x9d, 0xb8, 0xd3};
	static const uint8_t set2[] = {0x14, 0x11, 0x71, 0xf0, 0x14, 0xf0, 0x11, 0xf0, 0x71};
	bool translate, scanning;

	assert(k->magic == I8042_MAGIC);
	bus_lock(k->c.bus);
	translate = k->config & CONFIG_TRANSLATE;
	scanning = k->scanning && !(k->config & CONFIG_DISABLED);
	for (size_t i = 0; scanning && i < (translate ? sizeof(set1) : sizeof(set2)); i++)
		push(k, translate ? set1[i] : set2[i]);
	bus_unlock(k->c.bus);
	if (!scanning)
		return err_set(e, ERR_CONFLICT,
			       "cannot press Ctrl-Alt-Del: the guest has not enabled its keyboard; "
			       "a Linux guest does with 'i8042.nopnp' on its command line");
	return 0;
}

void i8042_reset(struct i8042 *k)
{
	assert(k->magic == I8042_MAGIC);
	bus_lock(k->c.bus);
	k->config = CONFIG_SYSTEM | CONFIG_TRANSLATE;
	k->config_next = k->argument = k->scanning = false;
	k->n = 0;
	update(k);
	bus_unlock(k->c.bus);
}

int i8042_new(const struct i8042_config *c, struct i8042 **ret, struct err *e)
{
	struct i8042 *k = mem_new(struct i8042);
	int r;

	assert(c->bus && c->irq.set && c->power.tell);
	k->magic = I8042_MAGIC;
	k->c = *c;
	r = bus_add(c->bus, &(struct bus_range){BUS_PORT, MAP_PORT_I8042, 5, &port_ops, k}, e);
	if (r < 0) {
		free(k);
		return r;
	}
	i8042_reset(k);
	*ret = k;
	return 0;
}

struct i8042 *i8042_free(struct i8042 *k)
{
	if (!k)
		return NULL;
	assert(k->magic == I8042_MAGIC);
	bus_remove(k->c.bus, BUS_PORT, MAP_PORT_I8042);
	k->magic = 0;
	free(k);
	return NULL;
}
