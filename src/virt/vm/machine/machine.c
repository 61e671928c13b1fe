/*
 * Assembles a machine: the table `parts` below is the machine, first to last; it is made in that
 * order, reset in that order, and taken apart backwards.
 */
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/acpi.h"
#include "virt/vm/device/nvme.h"
#include "virt/vm/device/virtio_block.h"
#include "virt/vm/device/virtio_console.h"
#include "virt/vm/device/virtio_net.h"
#include "virt/vm/device/virtio_rng.h"
#include "virt/vm/device/virtio_vsock.h"
#include "virt/vm/disk/disk.h"
#include "virt/vm/kvm/probe.h"
#include "virt/vm/machine/machine_priv.h"
#include "virt/vm/memory/map.h"

/* ---- memory, bus, accelerator ---- */

static int make_ram(struct machine *m, struct err *e)
{
	return ram_new(m->c.memory_bytes, &m->ram, e);
}

static void drop_ram(struct machine *m)
{
	m->ram = ram_free(m->ram);
}

static int make_bus(struct machine *m, struct err *e)
{
	m->bus = bus_new();
	return 0;
}

static void drop_bus(struct machine *m)
{
	m->bus = bus_free(m->bus);
}

static void told_eoi(void *ctx, uint8_t vector)
{
	struct machine *m = ctx;

	ioapic_eoi(m->ioapic, vector);
}

/* `auto` asks KVM to prove itself. */
static int choose_accel(struct machine *m, struct err *e)
{
	struct kvm_verdict v;

	if (text_eq(m->c.accel, "kvm") || text_eq(m->c.accel, "cpu")) {
		m->ops = text_eq(m->c.accel, "kvm") ? &accel_kvm : &accel_cpu;
		return 0;
	}
	if (!text_eq(m->c.accel, "auto"))
		return err_set(e, ERR_INVALID,
			       "unknown accelerator '%s': there are 'auto', 'kvm' and 'cpu'",
			       m->c.accel);
	kvm_probe(&v);
	m->ops = v.usable ? &accel_kvm : &accel_cpu;
	memcpy(m->accel_reason, v.reason, sizeof(v.reason));
	return 0;
}

static int make_accel(struct machine *m, struct err *e)
{
	struct accel_config c = {
		.ram = m->ram, .bus = m->bus, .cpus = m->c.cpus, .eoi = told_eoi, .eoi_ctx = m};
	int r = choose_accel(m, e);

	if (r == 0)
		r = m->ops->open(&c, &m->accel, e);
	for (unsigned i = 0; r == 0 && i < m->c.cpus; i++) {
		m->vcpu[i].m = m;
		m->vcpu[i].index = i;
		m->vcpu[i].reload = m->vcpu[i].fresh = true;
		r = m->ops->vcpu(m->accel, i, &m->vcpu[i].v, e);
	}
	return r < 0 ? err_wrap(e, "accelerator '%s'", m->ops ? m->ops->name : m->c.accel) : 0;
}

static void drop_accel(struct machine *m)
{
	if (m->accel)
		m->accel = m->ops->close(m->accel);
}

static void sink_msi(void *ctx, struct msi msi)
{
	struct machine *m = ctx;

	m->ops->msi(m->accel, msi);
}

static void told_route(void *ctx, unsigned pin, struct msi msi, bool masked)
{
	struct machine *m = ctx;

	if (m->ops->route)
		m->ops->route(m->accel, pin, msi, masked);
}

/* ---- the platform ---- */

static int make_ioapic(struct machine *m, struct err *e)
{
	return ioapic_new(
		&(struct ioapic_config){
			.bus = m->bus, .msi = {sink_msi, m}, .route = told_route, .route_ctx = m},
		&m->ioapic, e);
}

static void reset_ioapic(struct machine *m)
{
	ioapic_reset(m->ioapic);
}

static void drop_ioapic(struct machine *m)
{
	m->ioapic = ioapic_free(m->ioapic);
}

static int make_pm(struct machine *m, struct err *e)
{
	return pm_new(&(struct pm_config){.bus = m->bus,
					  .world = m->c.world,
					  .sci = ioapic_line(m->ioapic, MAP_IRQ_SCI),
					  .power = {machine_power, m}},
		      &m->pm, e);
}

static void reset_pm(struct machine *m)
{
	pm_reset(m->pm);
}

static void drop_pm(struct machine *m)
{
	m->pm = pm_free(m->pm);
}

static int make_cmos(struct machine *m, struct err *e)
{
	return cmos_new(&(struct cmos_config){.bus = m->bus,
					      .loop = m->c.loop,
					      .world = m->c.world,
					      .irq = ioapic_line(m->ioapic, MAP_IRQ_CMOS)},
			&m->cmos, e);
}

static void reset_cmos(struct machine *m)
{
	cmos_reset(m->cmos);
}

static void drop_cmos(struct machine *m)
{
	m->cmos = cmos_free(m->cmos);
}

static int make_i8042(struct machine *m, struct err *e)
{
	return i8042_new(&(struct i8042_config){.bus = m->bus,
						.irq = ioapic_line(m->ioapic, MAP_IRQ_I8042),
						.power = {machine_power, m}},
			 &m->i8042, e);
}

static void reset_i8042(struct machine *m)
{
	i8042_reset(m->i8042);
}

static void drop_i8042(struct machine *m)
{
	m->i8042 = i8042_free(m->i8042);
}

static int make_serial(struct machine *m, struct err *e)
{
	return serial_new(&(struct serial_config){.bus = m->bus,
						  .loop = m->c.loop,
						  .irq = ioapic_line(m->ioapic, MAP_IRQ_COM1),
						  .back = m->c.serial,
						  .port = MAP_PORT_COM1},
			  &m->serial, e);
}

static void reset_serial(struct machine *m)
{
	serial_reset(m->serial);
}

static void drop_serial(struct machine *m)
{
	if (m->serial)
		serial_flush(m->serial);
	m->serial = serial_free(m->serial);
}

/* ---- PCI and what sits on it ---- */

static int make_pci(struct machine *m, struct err *e)
{
	struct pci_config c = {.ram = m->ram,
			       .bus = m->bus,
			       .loop = m->c.loop,
			       .msi = {sink_msi, m},
			       .reset_ops = &pm_reset_ops,
			       .reset_device = m->pm};

	for (unsigned i = 0; i < PCI_INTX_LINES; i++)
		c.intx[i] = ioapic_line(m->ioapic, MAP_IRQ_PCI + i);
	return pci_new(&c, &m->pci, e);
}

static void reset_pci(struct machine *m)
{
	pci_reset(m->pci);
}

static void drop_pci(struct machine *m)
{
	m->pci = pci_free(m->pci);
}

static int make_disks(struct machine *m, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->c.disks; i++) {
		const struct machine_disk *d = &m->c.disk[i];
		struct disk_options o = {.path = d->path,
					 .format = d->format,
					 .serial = d->serial,
					 .read_only = d->read_only};

		r = disk_open(m->c.loop, &o, &m->disk[i], e);
		if (r == 0)
			r = d->bus == MACHINE_DISK_NVME ? nvme_new(m->pci, m->disk[i], e)
							: virtio_block_new(m->pci, m->disk[i], e);
	}
	return r;
}

/* After PCI, their front, has gone: parts are dropped backwards, so this is pci's neighbour
 * above. */
static void drop_disks(struct machine *m)
{
	for (size_t i = 0; i < MACHINE_DISKS_MAX; i++)
		if (m->disk[i])
			m->disk[i] = m->disk[i]->ops->free(m->disk[i]);
}

static int make_nics(struct machine *m, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->c.nics; i++)
		r = virtio_net_new(m->pci, m->c.nic[i].back, m->c.nic[i].mac, e);
	return r;
}

static int make_console(struct machine *m, struct err *e)
{
	return m->c.console ? virtio_console_new(m->pci, m->c.console, e) : 0;
}

static int make_rng(struct machine *m, struct err *e)
{
	return virtio_rng_new(m->pci, m->c.world, e);
}

static int make_vsock(struct machine *m, struct err *e)
{
	return m->c.vsock ? virtio_vsock_new(m->pci, VSOCK_CID_GUEST_MIN, m->c.vsock, e) : 0;
}

/* ---- the kernel ---- */

static int open_file(const char *path, const char *what, int *ret, struct err *e)
{
	*ret = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return *ret < 0 ? err_sys(e, "cannot open %s '%s'", what, path) : 0;
}

static int load_kernel(struct machine *m, struct err *e)
{
	struct boot_config c = {.ram = m->ram,
				.kernel = m->kernel,
				.initrd = m->initrd,
				.kernel_name = m->c.kernel,
				.initrd_name = m->c.initrd,
				.command_line = m->c.command_line,
				.protocol = m->c.protocol};
	int r = acpi_write(m->ram, m->c.cpus, e);

	m->c.world->random(m->c.world->ctx, c.seed, sizeof(c.seed));
	memcpy(m->boot_state, m->reset_state, sizeof(*m->boot_state));
	if (r == 0)
		r = boot_load(&c, m->boot_state, &m->boot, e);
	return r;
}

static int make_kernel(struct machine *m, struct err *e)
{
	int r;

	if (!m->c.kernel)
		return err_set(e, ERR_INVALID, "a machine needs a kernel");
	m->reset_state = mem_new(struct vcpu_state);
	m->boot_state = mem_new(struct vcpu_state);
	r = open_file(m->c.kernel, "kernel", &m->kernel, e);
	if (r == 0 && m->c.initrd)
		r = open_file(m->c.initrd, "initrd", &m->initrd, e);
	if (r == 0)
		r = m->ops->get(m->vcpu[0].v, m->reset_state, e);
	return r == 0 ? load_kernel(m, e) : r;
}

static void drop_kernel(struct machine *m)
{
	m->kernel = fd_close(m->kernel);
	m->initrd = fd_close(m->initrd);
	free(m->reset_state);
	free(m->boot_state);
}

/* ---- the machine ---- */

static const struct part {
	const char *name;
	int (*make)(struct machine *m, struct err *e);
	void (*reset)(struct machine *m); /* NULL: nothing to do */
	void (*drop)(struct machine *m);  /* NULL: goes with another */
} parts[] = {
	{"ram", make_ram, NULL, drop_ram},
	{"bus", make_bus, NULL, drop_bus},
	{"accelerator", make_accel, NULL, drop_accel},
	{"ioapic", make_ioapic, reset_ioapic, drop_ioapic},
	{"power", make_pm, reset_pm, drop_pm},
	{"clock", make_cmos, reset_cmos, drop_cmos},
	{"keyboard", make_i8042, reset_i8042, drop_i8042},
	{"serial", make_serial, reset_serial, drop_serial},
	{"disk backs", NULL, NULL, drop_disks},
	{"pci", make_pci, reset_pci, drop_pci},
	{"rng", make_rng, NULL, NULL},
	{"disks", make_disks, NULL, NULL},
	{"nics", make_nics, NULL, NULL},
	{"console", make_console, NULL, NULL},
	{"vsock", make_vsock, NULL, NULL},
	{"kernel", make_kernel, NULL, drop_kernel},
};

int machine_reload(struct machine *m, struct err *e)
{
	bus_lock(m->bus);
	for (size_t i = 0; i < array_len(parts); i++)
		if (parts[i].reset)
			parts[i].reset(m);
	bus_unlock(m->bus);
	return load_kernel(m, e);
}

struct machine *machine_free(struct machine *m)
{
	if (!m)
		return NULL;
	assert(m->magic == MACHINE_MAGIC);
	machine_halt(m);
	for (size_t i = array_len(parts); i-- > 0;)
		if (parts[i].drop)
			parts[i].drop(m);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	m->magic = 0;
	free(m);
	return NULL;
}

static int check(const struct machine_config *c, struct err *e)
{
	assert(c->loop && c->world);
	assert(c->ended && c->accel);
	assert(c->disks <= MACHINE_DISKS_MAX && c->nics <= MACHINE_NICS_MAX);
	if (c->cpus < 1 || c->cpus > VCPU_COUNT_MAX)
		return err_set(e, ERR_INVALID, "a machine has 1 to %u CPUs, not %u", VCPU_COUNT_MAX,
			       c->cpus);
	return 0;
}

int machine_new(const struct machine_config *c, struct machine **ret, struct err *e)
{
	struct machine *m;
	int r = check(c, e);

	if (r < 0)
		return r;
	m = mem_new(struct machine);
	m->magic = MACHINE_MAGIC;
	m->c = *c;
	m->kernel = m->initrd = -1;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	for (size_t i = 0; r == 0 && i < array_len(parts); i++)
		if (parts[i].make)
			r = parts[i].make(m, e);
	if (r < 0) {
		(void)machine_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

/* ---- questions ---- */

struct machine_info machine_info(const struct machine *m)
{
	assert(m->magic == MACHINE_MAGIC);
	return (struct machine_info){.state = m->state,
				     .accel = m->ops->name,
				     .accel_reason = m->accel_reason,
				     .boot = m->boot,
				     .resets = m->resets};
}

static uint64_t thread_ns(pthread_t thread)
{
	struct timespec t = {0};
	clockid_t clock;

	if (pthread_getcpuclockid(thread, &clock) == 0)
		(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct machine_stats machine_stats(struct machine *m)
{
	struct machine_stats s = {0};
	struct stat st;

	assert(m->magic == MACHINE_MAGIC);
	for (unsigned i = 0; i < m->c.cpus; i++) {
		s.instructions += m->ops->instructions(m->vcpu[i].v);
		s.vcpu_ns += m->vcpu[i].has_thread ? thread_ns(m->vcpu[i].thread) : 0;
	}
	if (fstat(m->ram->fd, &st) == 0)
		s.memory_bytes = (uint64_t)st.st_blocks * 512;
	for (size_t i = 0; i < m->c.disks; i++) {
		s.disk_read_bytes += m->disk[i]->read_bytes;
		s.disk_written_bytes += m->disk[i]->written_bytes;
	}
	for (size_t i = 0; i < m->c.nics; i++) {
		s.net_received_bytes += m->c.nic[i].back->received_bytes;
		s.net_sent_bytes += m->c.nic[i].back->sent_bytes;
	}
	return s;
}

const char *machine_state_name(enum machine_state s)
{
	static const char *const names[] = {"made", "paused", "running", "resetting", "ended"};

	assert(s < array_len(names));
	return names[s];
}
