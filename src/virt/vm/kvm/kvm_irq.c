/*
 * Interrupts and doorbells with KVM: messages are signalled, or sent by the kernel itself when an
 * eventfd is written (irqfd); queue doorbells become ioeventfds. The routing table has the I/O
 * APIC's inputs first, as messages: KVM reads there which vectors are level-triggered and need
 * their EOI told.
 */
#include <assert.h>
#include <errno.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/kvm/kvm_priv.h"

int kvm_irq_open(struct accel *a, struct err *e)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {MAP_IRQ_PINS}};

	assert(a->vm >= 0);
	for (unsigned i = 0; i < KVM_MSI_FDS; i++)
		a->msi_fd[i].fd = -1;
	if (kvm_ioctl(a->vm, KVM_ENABLE_CAP, &split) < 0)
		return err_sys(e, "cannot split KVM's irqchip");
	return 0;
}

void kvm_msi(struct accel *a, struct msi m)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)m.address,
		.address_hi = (uint32_t)(m.address >> 32),
		.data = m.data,
	};

	assert(a->magic == KVM_MAGIC);
	/* Nobody may be at that address: the message is lost, as on a bus. */
	(void)kvm_ioctl(a->vm, KVM_SIGNAL_MSI, &msi);
}

static void add_route(struct kvm_irq_routing *table, uint32_t gsi, struct msi m)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {.address_lo = (uint32_t)m.address,
			  .address_hi = (uint32_t)(m.address >> 32),
			  .data = m.data},
	};
}

/* The whole table, as KVM wants it. Under the routes' lock. */
static int set_routes(struct accel *a)
{
	auto_free struct kvm_irq_routing *table =
		mem_new_bytes(1, sizeof(*table) + KVM_GSIS * sizeof(struct kvm_irq_routing_entry));

	for (unsigned i = 0; i < MAP_IRQ_PINS; i++)
		if (a->pin_routed[i])
			add_route(table, i, a->pin[i]);
	for (unsigned i = 0; i < KVM_MSI_FDS; i++)
		if (a->msi_fd[i].fd >= 0)
			add_route(table, MAP_IRQ_PINS + i, a->msi_fd[i].m);
	assert(table->nr <= KVM_GSIS);
	return kvm_ioctl(a->vm, KVM_SET_GSI_ROUTING, table);
}

void kvm_route(struct accel *a, unsigned pin, struct msi m, bool masked)
{
	assert(a->magic == KVM_MAGIC);
	assert(pin < MAP_IRQ_PINS);
	pthread_mutex_lock(&a->routes_lock);
	/* A masked entry stays routed if it was: its last interrupt may still want its EOI. */
	if (!masked && (!a->pin_routed[pin] || a->pin[pin].address != m.address ||
			a->pin[pin].data != m.data)) {
		a->pin[pin] = m;
		a->pin_routed[pin] = true;
		(void)set_routes(a);
	}
	pthread_mutex_unlock(&a->routes_lock);
}

static int irqfd(struct accel *a, int fd, uint32_t gsi, bool add)
{
	struct kvm_irqfd request = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = add ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return kvm_ioctl(a->vm, KVM_IRQFD, &request);
}

static unsigned find(const struct accel *a, int fd)
{
	unsigned i = 0;

	while (i < KVM_MSI_FDS && a->msi_fd[i].fd != fd)
		i++;
	return i;
}

static int add_fd(struct accel *a, int fd, struct msi m, struct err *e)
{
	unsigned i = find(a, fd);
	bool known = i < KVM_MSI_FDS;

	if (!known)
		i = find(a, -1);
	if (i == KVM_MSI_FDS)
		return err_set(e, ERR_EXHAUSTED, "a machine has at most %u direct interrupts",
			       KVM_MSI_FDS);
	a->msi_fd[i] = (struct kvm_msi_fd){fd, m};
	if (set_routes(a) < 0 || (!known && irqfd(a, fd, MAP_IRQ_PINS + i, true) < 0)) {
		int r = err_sys(e, "cannot bind an interrupt to KVM");

		a->msi_fd[i].fd = -1;
		return r;
	}
	return 0;
}

int kvm_msi_fd(struct accel *a, int fd, struct msi m, bool add, struct err *e)
{
	int r = 0;

	assert(a->magic == KVM_MAGIC);
	assert(fd >= 0);
	pthread_mutex_lock(&a->routes_lock);
	if (add) {
		r = add_fd(a, fd, m, e);
	} else {
		unsigned i = find(a, fd);

		if (i < KVM_MSI_FDS) {
			(void)irqfd(a, fd, MAP_IRQ_PINS + i, false);
			a->msi_fd[i].fd = -1;
			(void)set_routes(a);
		}
	}
	pthread_mutex_unlock(&a->routes_lock);
	return r;
}

int kvm_doorbell(void *ctx, const struct bus_doorbell *d, bool add, struct err *e)
{
	struct accel *a = ctx;
	unsigned flags = (d->space == BUS_PORT ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
			 (d->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u) |
			 (add ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN);
	struct kvm_ioeventfd request = {
		.datamatch = d->value,
		.addr = d->address,
		.len = d->size,
		.fd = d->fd,
		.flags = flags,
	};

	assert(a->magic == KVM_MAGIC);
	if (kvm_ioctl(a->vm, KVM_IOEVENTFD, &request) < 0 && add)
		return err_sys(e, "cannot give KVM the doorbell at 0x%llx",
			       (unsigned long long)d->address);
	return 0;
}
