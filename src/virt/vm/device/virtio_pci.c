/*
 * Virtio's registers on PCI (virtio 1.2, 4.1): one 64-bit BAR with the common configuration, the
 * interrupt status, the device's configuration and the doorbells, a capability for each, and the
 * access capability that reaches the same registers through configuration space.
 *
 * The common configuration is a table: offset, width, how to read, how to write. An access of
 * another width reads zero and writes nothing, as the specification lets it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "ground/base/mem.h"
#include "virt/vm/device/virtio_priv.h"

#define BAR_REGISTERS 0
#define BAR_MSIX      2

#define COMMON_AT     0x0000
#define COMMON_BYTES  64
#define ISR_AT	      0x1000
#define DEVICE_AT     0x2000
#define NOTIFY_AT     0x3000
#define REGION_BYTES  0x1000
#define BAR_BYTES     0x4000
#define NOTIFY_STRIDE 4

#define VENDOR_VIRTIO	 0x1af4
#define DEVICE_ID_FIRST	 0x1040
#define SUBSYSTEM_MODERN 0x1100

static struct virtqueue *selected(struct virtio *v)
{
	return v->queue_select < v->queues ? &v->queue[v->queue_select].ring : NULL;
}

/* Queue registers may change only while the queue is off. */
static struct virtqueue *settable(struct virtio *v)
{
	struct virtqueue *q = selected(v);

	return q && !q->enabled && !v->draining ? q : NULL;
}

/* ---- the common configuration ---- */

static uint64_t read_features(struct virtio *v)
{
	return v->feature_select_device < 2 ? v->offered >> 32 * v->feature_select_device : 0;
}

static uint64_t read_accepted(struct virtio *v)
{
	return v->feature_select_driver < 2 ? v->accepted >> 32 * v->feature_select_driver : 0;
}

static void write_accepted(struct virtio *v, uint64_t value)
{
	unsigned shift = 32 * (v->feature_select_driver & 1);

	if (v->feature_select_driver > 1 || (v->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	v->accepted = (v->accepted & ~(0xffffffffull << shift)) | (value & 0xffffffff) << shift;
}

/* A vector that does not exist reads back as none: the driver sees that it failed. */
static uint16_t vector_of(const struct virtio *v, uint64_t value)
{
	return value < v->pci.vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static uint64_t read_status(struct virtio *v)
{
	return v->status;
}

static void write_status(struct virtio *v, uint64_t value)
{
	virtio_status_write(v, (uint8_t)value);
}

static uint64_t read_queue_size(struct virtio *v)
{
	return selected(v) ? selected(v)->size : 0;
}

static void write_queue_size(struct virtio *v, uint64_t value)
{
	if (settable(v) && value <= v->ops->queue_size)
		settable(v)->size = (uint16_t)value;
}

static uint64_t read_queue_vector(struct virtio *v)
{
	return selected(v) ? selected(v)->vector : VIRTIO_NO_VECTOR;
}

static void write_queue_vector(struct virtio *v, uint64_t value)
{
	if (selected(v))
		selected(v)->vector = vector_of(v, value);
}

static uint64_t read_queue_enable(struct virtio *v)
{
	return selected(v) && selected(v)->enabled;
}

static void write_queue_enable(struct virtio *v, uint64_t value)
{
	if (settable(v) && value == 1)
		virtio_queue_enable(v, v->queue_select);
}

static uint64_t read_notify_offset(struct virtio *v)
{
	return v->queue_select;
}

#define queue_address(name, half, shift)                                              \
	static uint64_t read_##name##_##half(struct virtio *v)                        \
	{                                                                             \
		return selected(v) ? selected(v)->name##_at >> (shift) : 0;           \
	}                                                                             \
	static void write_##name##_##half(struct virtio *v, uint64_t value)           \
	{                                                                             \
		struct virtqueue *q = settable(v);                                    \
                                                                                      \
		if (q)                                                                \
			q->name##_at = (q->name##_at & ~(0xffffffffull << (shift))) | \
				       (value & 0xffffffff) << (shift);               \
	}
queue_address(desc, low, 0) queue_address(desc, high, 32) queue_address(avail, low, 0)
	queue_address(avail, high, 32) queue_address(used, low, 0) queue_address(used, high, 32)

		static uint64_t read_feature_select_device(struct virtio *v)
{
	return v->feature_select_device;
}

static void write_feature_select_device(struct virtio *v, uint64_t value)
{
	v->feature_select_device = (uint32_t)value;
}

static uint64_t read_feature_select_driver(struct virtio *v)
{
	return v->feature_select_driver;
}

static void write_feature_select_driver(struct virtio *v, uint64_t value)
{
	v->feature_select_driver = (uint32_t)value;
}

static uint64_t read_config_vector(struct virtio *v)
{
	return v->config_vector;
}

static void write_config_vector(struct virtio *v, uint64_t value)
{
	v->config_vector = vector_of(v, value);
}

static uint64_t read_queues(struct virtio *v)
{
	return v->queues;
}

static uint64_t read_generation(struct virtio *v)
{
	return v->generation;
}

static uint64_t read_queue_select(struct virtio *v)
{
	return v->queue_select;
}

static void write_queue_select(struct virtio *v, uint64_t value)
{
	v->queue_select = (uint16_t)value;
}

static const struct common_register {
	uint8_t at, size;
	uint64_t (*read)(struct virtio *v);
	void (*write)(struct virtio *v, uint64_t value); /* NULL: read-only */
} common_registers[] = {
	{VIRTIO_PCI_COMMON_DFSELECT, 4, read_feature_select_device, write_feature_select_device},
	{VIRTIO_PCI_COMMON_DF, 4, read_features, NULL},
	{VIRTIO_PCI_COMMON_GFSELECT, 4, read_feature_select_driver, write_feature_select_driver},
	{VIRTIO_PCI_COMMON_GF, 4, read_accepted, write_accepted},
	{VIRTIO_PCI_COMMON_MSIX, 2, read_config_vector, write_config_vector},
	{VIRTIO_PCI_COMMON_NUMQ, 2, read_queues, NULL},
	{VIRTIO_PCI_COMMON_STATUS, 1, read_status, write_status},
	{VIRTIO_PCI_COMMON_CFGGENERATION, 1, read_generation, NULL},
	{VIRTIO_PCI_COMMON_Q_SELECT, 2, read_queue_select, write_queue_select},
	{VIRTIO_PCI_COMMON_Q_SIZE, 2, read_queue_size, write_queue_size},
	{VIRTIO_PCI_COMMON_Q_MSIX, 2, read_queue_vector, write_queue_vector},
	{VIRTIO_PCI_COMMON_Q_ENABLE, 2, read_queue_enable, write_queue_enable},
	{VIRTIO_PCI_COMMON_Q_NOFF, 2, read_notify_offset, NULL},
	{VIRTIO_PCI_COMMON_Q_DESCLO, 4, read_desc_low, write_desc_low},
	{VIRTIO_PCI_COMMON_Q_DESCHI, 4, read_desc_high, write_desc_high},
	{VIRTIO_PCI_COMMON_Q_AVAILLO, 4, read_avail_low, write_avail_low},
	{VIRTIO_PCI_COMMON_Q_AVAILHI, 4, read_avail_high, write_avail_high},
	{VIRTIO_PCI_COMMON_Q_USEDLO, 4, read_used_low, write_used_low},
	{VIRTIO_PCI_COMMON_Q_USEDHI, 4, read_used_high, write_used_high},
};

static uint64_t common_read(struct virtio *v, uint64_t at, unsigned size)
{
	for (size_t i = 0; i < array_len(common_registers); i++) {
		const struct common_register *r = &common_registers[i];

		if (r->at == at && r->size == size)
			return r->read(v) & (UINT64_MAX >> (64 - 8 * size));
	}
	return 0;
}

/* A queue's addresses may come as one access of 64 bits (4.1.3.1): two halves. */
static void common_write(struct virtio *v, uint64_t at, unsigned size, uint64_t value)
{
	if (size == 8) {
		common_write(v, at, 4, value & 0xffffffff);
		common_write(v, at + 4, 4, value >> 32);
		return;
	}
	for (size_t i = 0; i < array_len(common_registers); i++) {
		const struct common_register *r = &common_registers[i];

		if (r->at == at && r->size == size && r->write)
			r->write(v, value);
	}
}

/* ---- the BAR ---- */

/* Reading the interrupt status takes it and lowers INTA (4.1.4.5). */
static uint64_t isr_read(struct virtio *v)
{
	uint64_t isr = v->isr;

	v->isr = 0;
	pci_intx(&v->pci, false);
	return isr;
}

static uint64_t device_read(const struct virtio *v, uint64_t at, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		if (at + i < v->config_bytes)
			value |= (uint64_t)v->config[at + i] << 8 * i;
	return value;
}

/* What may be written is the device's to say: it gets the bytes, and puts them right. */
static void device_write(struct virtio *v, uint64_t at, unsigned size, uint64_t value)
{
	if (!v->ops->configure || at + size > v->config_bytes)
		return;
	for (unsigned i = 0; i < size; i++)
		v->config[at + i] = (uint8_t)(value >> 8 * i);
	v->ops->configure(v, (unsigned)at, size);
}

static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio *v = device;

	assert(v->ops && offset + size <= BAR_BYTES);
	switch (offset & ~(uint64_t)(REGION_BYTES - 1)) {
	case COMMON_AT:
		return common_read(v, offset, size);
	case ISR_AT:
		return offset == ISR_AT ? isr_read(v) : 0;
	case DEVICE_AT:
		return device_read(v, offset - DEVICE_AT, size);
	default:
		return 0;
	}
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio *v = device;

	assert(v->ops && offset + size <= BAR_BYTES);
	switch (offset & ~(uint64_t)(REGION_BYTES - 1)) {
	case COMMON_AT:
		common_write(v, offset, size, value);
		break;
	case DEVICE_AT:
		device_write(v, offset - DEVICE_AT, size, value);
		break;
	case NOTIFY_AT:
		if ((offset - NOTIFY_AT) / NOTIFY_STRIDE < v->queues)
			virtio_ring(v, (unsigned)(offset - NOTIFY_AT) / NOTIFY_STRIDE);
		break;
	default:
		break;
	}
}

static const struct bus_ops registers_ops = {"virtio registers", registers_read, registers_write};

/* ---- configuration space ---- */

/* The access capability: BAR, offset and length are the driver's; data is a window to there. */
static bool window(const struct virtio *v, uint64_t *ret_at, unsigned *ret_size)
{
	const struct pci_function *f = &v->pci;
	unsigned c = v->access;
	uint32_t at = pci_config_get(f, c + VIRTIO_PCI_CAP_OFFSET, 4);
	uint32_t size = pci_config_get(f, c + VIRTIO_PCI_CAP_LENGTH, 4);

	if (f->config[c + VIRTIO_PCI_CAP_BAR] != BAR_REGISTERS || at > BAR_BYTES - 4 ||
	    (size != 1 && size != 2 && size != 4) || at % size)
		return false;
	*ret_at = at;
	*ret_size = size;
	return true;
}

static bool virtio_config_read(struct pci_function *f, unsigned at, unsigned size, uint32_t *ret)
{
	struct virtio *v = container_of(f, struct virtio, pci);
	uint64_t offset;
	unsigned n;

	if (at != v->access + VIRTIO_PCI_CAP_LENGTH + 4 || !window(v, &offset, &n) || n != size)
		return false;
	*ret = (uint32_t)registers_read(v, offset, n);
	return true;
}

static void virtio_config_written(struct pci_function *f, unsigned at, unsigned size)
{
	struct virtio *v = container_of(f, struct virtio, pci);
	uint64_t offset;
	unsigned n;

	if (at == v->access + VIRTIO_PCI_CAP_LENGTH + 4 && window(v, &offset, &n) && n == size)
		registers_write(v, offset, n, pci_config_get(f, at, size));
}

static void function_reset(struct pci_function *f)
{
	virtio_reset(container_of(f, struct virtio, pci));
}

static bool function_busy(const struct pci_function *f)
{
	return container_of(f, const struct virtio, pci)->held > 0;
}

static void function_free(struct pci_function *f)
{
	struct virtio *v = container_of(f, struct virtio, pci);

	v->ops->free(v);
}

static const struct pci_function_ops function_ops = {
	.name = "virtio",
	.reset = function_reset,
	.busy = function_busy,
	.free = function_free,
	.config_read = virtio_config_read,
	.config_written = virtio_config_written,
};

static unsigned capability(struct virtio *v, uint8_t type, unsigned bytes, uint32_t at, uint32_t n)
{
	unsigned c = pci_capability(&v->pci, PCI_CAP_ID_VNDR, bytes);

	pci_config_put(&v->pci, c + VIRTIO_PCI_CAP_LEN, 1, bytes);
	pci_config_put(&v->pci, c + VIRTIO_PCI_CAP_CFG_TYPE, 1, type);
	pci_config_put(&v->pci, c + VIRTIO_PCI_CAP_BAR, 1, BAR_REGISTERS);
	pci_config_put(&v->pci, c + VIRTIO_PCI_CAP_OFFSET, 4, at);
	pci_config_put(&v->pci, c + VIRTIO_PCI_CAP_LENGTH, 4, n);
	return c;
}

void virtio_pci_init(struct virtio *v)
{
	const struct pci_identity id = {.vendor = VENDOR_VIRTIO,
					.device = (uint16_t)(DEVICE_ID_FIRST + v->ops->type),
					.subsystem_vendor = VENDOR_VIRTIO,
					.subsystem = SUBSYSTEM_MODERN,
					.class = v->ops->class,
					.revision = 1};
	struct pci_function *f = &v->pci;
	unsigned notify, access;

	pci_init(f, &function_ops, &id);
	pci_bar(f, BAR_REGISTERS, BAR_BYTES, true, &registers_ops, v);
	pci_msix(f, BAR_MSIX, v->queues + 1);
	(void)capability(v, VIRTIO_PCI_CAP_COMMON_CFG, 16, COMMON_AT, COMMON_BYTES);
	(void)capability(v, VIRTIO_PCI_CAP_ISR_CFG, 16, ISR_AT, 1);
	if (v->config_bytes)
		(void)capability(v, VIRTIO_PCI_CAP_DEVICE_CFG, 16, DEVICE_AT, v->config_bytes);
	notify = capability(v, VIRTIO_PCI_CAP_NOTIFY_CFG, 20, NOTIFY_AT, v->queues * NOTIFY_STRIDE);
	pci_config_put(f, notify + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, NOTIFY_STRIDE);
	access = capability(v, VIRTIO_PCI_CAP_PCI_CFG, 20, 0, 0);
	memset(&f->writable[access + VIRTIO_PCI_CAP_BAR], 0xff, 1);
	memset(&f->writable[access + VIRTIO_PCI_CAP_OFFSET], 0xff, 12);
	v->access = access;
	for (unsigned i = 0; i < v->queues; i++)
		pci_doorbell(f, BAR_REGISTERS, NOTIFY_AT + i * NOTIFY_STRIDE, 0,
			     v->queue[i].doorbell);
}
