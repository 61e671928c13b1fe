/*
 * The accelerator `kvm`: the host's kernel executes the guest, local APICs included; the I/O APIC
 * and all devices are ours (a split irqchip). One descriptor for the machine, one per vCPU.
 *
 * A kick sets immediate_exit and sends a signal: the flag ends the next KVM_RUN, the signal the one
 * under way, so that no moment is missed.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/kvm/kvm_priv.h"

#define KICK_SIGNAL SIGUSR1

/* Where Intel processors need three pages and one page of their own, out of the guest's way. */
#define TSS_BASE	   0xfffbd000ul
#define IDENTITY_MAP_BASE  0xfffbc000ull
#define DEVICE		   "/dev/kvm"
#define API_VERSION_WANTED 12

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int r;

	do {
		r = ioctl(fd, request, arg);
	} while (r < 0 && errno == EINTR);
	return r;
}

/* What is asked of a KVM before anything is made of it. */
static const struct {
	int capability;
	const char *name;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "user memory"},	    {KVM_CAP_SPLIT_IRQCHIP, "a split irqchip"},
	{KVM_CAP_SIGNAL_MSI, "message interrupts"}, {KVM_CAP_IRQFD, "irqfd"},
	{KVM_CAP_IOEVENTFD, "ioeventfd"},	    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
	{KVM_CAP_MP_STATE, "processor states"},	    {KVM_CAP_VCPU_EVENTS, "processor events"},
	{KVM_CAP_DEBUGREGS, "debug registers"},
};

static int open_device(struct accel *a, struct err *e)
{
	int r;

	a->kvm = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (a->kvm < 0)
		return err_sys(e, "cannot open '%s'", DEVICE);
	if (kvm_ioctl(a->kvm, KVM_GET_API_VERSION, NULL) != API_VERSION_WANTED)
		return err_set(e, ERR_UNSUPPORTED, "'%s' speaks another version than %d", DEVICE,
			       API_VERSION_WANTED);
	for (size_t i = 0; i < array_len(needed); i++)
		if (ioctl(a->kvm, KVM_CHECK_EXTENSION, needed[i].capability) <= 0)
			return err_set(e, ERR_UNSUPPORTED, "this host's KVM lacks %s",
				       needed[i].name);
	r = kvm_ioctl(a->kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (r < (int)sizeof(struct kvm_run))
		return err_sys(e, "cannot ask '%s' for the size of a vCPU", DEVICE);
	a->run_bytes = (size_t)r;
	return 0;
}

static int map_ram(struct accel *a, struct err *e)
{
	const struct ram *ram = a->c.ram;
	struct kvm_userspace_memory_region piece[] = {
		{.slot = 0,
		 .guest_phys_addr = 0,
		 .memory_size = ram->low_bytes,
		 .userspace_addr = (uintptr_t)ram->host},
		{.slot = 1,
		 .guest_phys_addr = RAM_HIGH_BASE,
		 .memory_size = ram->size_bytes - ram->low_bytes,
		 .userspace_addr = (uintptr_t)ram->host + ram->low_bytes},
	};

	for (size_t i = 0; i < array_len(piece) && piece[i].memory_size; i++)
		if (kvm_ioctl(a->vm, KVM_SET_USER_MEMORY_REGION, &piece[i]) < 0)
			return err_sys(e, "cannot give KVM %llu MiB of guest memory",
				       (unsigned long long)(piece[i].memory_size >> 20));
	return 0;
}

static int make_vm(struct accel *a, struct err *e)
{
	uint64_t identity = IDENTITY_MAP_BASE;

	a->vm = kvm_ioctl(a->kvm, KVM_CREATE_VM, NULL);
	if (a->vm < 0)
		return err_sys(e, "cannot make a machine with KVM");
	(void)kvm_ioctl(a->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	(void)ioctl(a->vm, KVM_SET_TSS_ADDR, TSS_BASE);
	return map_ram(a, e);
}

static void kick_arrived(int signal_number)
{
}

/* The handler does nothing: that the system call ends is the point. */
static int take_signal(struct err *e)
{
	struct sigaction action = {.sa_handler = kick_arrived};

	return sigaction(KICK_SIGNAL, &action, NULL) < 0
		       ? err_sys(e, "cannot install the handler that interrupts vCPUs")
		       : 0;
}

static struct vcpu *vcpu_done(struct vcpu *v, size_t run_bytes)
{
	if (!v)
		return NULL;
	assert(v->magic == KVM_VCPU_MAGIC);
	if (v->run != MAP_FAILED)
		(void)munmap(v->run, run_bytes);
	fd_close(v->fd);
	free(v->fresh);
	v->magic = 0;
	free(v);
	return NULL;
}

static struct accel *kvm_close(struct accel *a)
{
	if (!a)
		return NULL;
	assert(a->magic == KVM_MAGIC);
	bus_watch_set(a->c.bus, NULL);
	for (unsigned i = 0; i < VCPU_COUNT_MAX; i++)
		a->vcpu[i] = vcpu_done(a->vcpu[i], a->run_bytes);
	fd_close(a->vm);
	fd_close(a->kvm);
	free(a->msr_index);
	pthread_mutex_destroy(&a->routes_lock);
	a->magic = 0;
	free(a);
	return NULL;
}

static int kvm_open(const struct accel_config *c, struct accel **ret, struct err *e)
{
	struct accel *a = mem_new(struct accel);
	int r;

	assert(c->cpus > 0 && c->cpus <= VCPU_COUNT_MAX);
	assert(c->ram && c->bus && c->eoi);
	a->magic = KVM_MAGIC;
	a->c = *c;
	a->kvm = a->vm = -1;
	pthread_mutex_init(&a->routes_lock, NULL);
	r = open_device(a, e);
	if (r == 0)
		r = make_vm(a, e);
	if (r == 0)
		r = kvm_irq_open(a, e);
	if (r == 0)
		r = kvm_msrs_open(a, e);
	if (r == 0)
		r = take_signal(e);
	if (r < 0) {
		(void)kvm_close(a);
		return r;
	}
	bus_watch_set(c->bus, &(struct bus_watch){kvm_doorbell, a});
	*ret = a;
	return 0;
}

static int kvm_vcpu(struct accel *a, unsigned index, struct vcpu **ret, struct err *e)
{
	struct vcpu *v = mem_new(struct vcpu);
	int r = 0;

	assert(a->magic == KVM_MAGIC);
	assert(index < a->c.cpus && !a->vcpu[index]);
	v->magic = KVM_VCPU_MAGIC;
	v->a = a;
	v->index = index;
	v->run = MAP_FAILED;
	v->fresh = mem_new(struct vcpu_state);
	v->fd = ioctl(a->vm, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0)
		r = err_sys(e, "cannot make vCPU %u with KVM", index);
	if (r == 0) {
		v->run = mmap(NULL, a->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
		if (v->run == MAP_FAILED)
			r = err_sys(e, "cannot map vCPU %u of KVM", index);
	}
	if (r == 0)
		r = kvm_cpuid_set(v, e);
	if (r == 0)
		r = kvm_state_get(v, v->fresh, e);
	if (r < 0) {
		(void)vcpu_done(v, a->run_bytes);
		return r;
	}
	a->vcpu[index] = v;
	*ret = v;
	return 0;
}

/* ---- exits ---- */

static uint64_t load(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static void store(uint8_t *p, unsigned n, uint64_t v)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void exit_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *p = (uint8_t *)run + run->io.data_offset;
	struct bus *bus = v->a->c.bus;

	assert(run->io.data_offset < v->a->run_bytes);
	for (uint32_t i = 0; i < run->io.count; i++, p += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(bus, BUS_PORT, run->io.port, run->io.size, load(p, run->io.size));
		else
			store(p, run->io.size, bus_read(bus, BUS_PORT, run->io.port, run->io.size));
	}
}

/* An access that KVM split at a page may have an odd length: bytes then. */
static void exit_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	struct bus *bus = v->a->c.bus;
	uint64_t at = run->mmio.phys_addr;
	uint8_t *p = run->mmio.data;
	unsigned n = run->mmio.len <= 8 ? run->mmio.len : 8;
	unsigned step = n & (n - 1) ? 1 : n;

	for (unsigned i = 0; i < n; i += step) {
		if (run->mmio.is_write)
			bus_write(bus, BUS_MEMORY, at + i, step, load(p + i, step));
		else
			store(p + i, step, bus_read(bus, BUS_MEMORY, at + i, step));
	}
}

static int exit_failed(const struct vcpu *v, struct err *e)
{
	const struct kvm_run *run = v->run;

	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		return err_set(e, ERR_UNSUPPORTED,
			       "KVM cannot execute what the guest does on vCPU %u (internal error "
			       "%u); --accel cpu can",
			       v->index, run->internal.suberror);
	if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
		return err_set(e, ERR_UNSUPPORTED,
			       "the host's processor refuses the state of vCPU %u (reason 0x%llx)",
			       v->index,
			       (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	return err_set(e, ERR_UNSUPPORTED, "KVM left vCPU %u for an unknown reason, %u", v->index,
		       run->exit_reason);
}

/* 0: go on, 1: *ret says why not. */
static int handle_exit(struct vcpu *v, enum vcpu_exit *ret, struct err *e)
{
	const struct accel_config *c = &v->a->c;

	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(v);
		return 0;
	case KVM_EXIT_MMIO:
		exit_mmio(v);
		return 0;
	case KVM_EXIT_IOAPIC_EOI:
		c->eoi(c->eoi_ctx, v->run->eoi.vector);
		return 0;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_HLT:
		return 0;
	case KVM_EXIT_SHUTDOWN:
		*ret = VCPU_EXIT_SHUTDOWN;
		return 1;
	}
	*ret = VCPU_EXIT_FAILED;
	return exit_failed(v, e);
}

static int kvm_vcpu_run(struct vcpu *v, enum vcpu_exit *ret, struct err *e)
{
	int r = 0;

	assert(v->magic == KVM_VCPU_MAGIC);
	if (!atomic_load(&v->has_thread)) {
		v->thread = pthread_self();
		atomic_store(&v->has_thread, true);
	}
	assert(pthread_equal(v->thread, pthread_self()));
	while (r == 0) {
		if (atomic_exchange(&v->kicked, false)) {
			/* Completes what a device answered before state is looked at. */
			v->run->immediate_exit = 1;
			(void)ioctl(v->fd, KVM_RUN, NULL);
			v->run->immediate_exit = 0;
			*ret = VCPU_EXIT_KICKED;
			return 0;
		}
		if (ioctl(v->fd, KVM_RUN, NULL) == 0) {
			r = handle_exit(v, ret, e);
		} else if (errno == EINTR || errno == EAGAIN) {
			v->run->immediate_exit = 0;
		} else {
			*ret = VCPU_EXIT_FAILED;
			return err_sys(e, "KVM cannot run vCPU %u", v->index);
		}
	}
	return r < 0 ? r : 0;
}

static void kvm_kick(struct vcpu *v)
{
	assert(v->magic == KVM_VCPU_MAGIC);
	atomic_store(&v->kicked, true);
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (atomic_load(&v->has_thread))
		(void)pthread_kill(v->thread, KICK_SIGNAL);
}

static int kvm_reset(struct vcpu *v, struct err *e)
{
	assert(v->magic == KVM_VCPU_MAGIC);
	return kvm_state_set(v, v->fresh, e);
}

static uint64_t kvm_instructions(struct vcpu *v)
{
	return 0;
}

const struct accel_ops accel_kvm = {
	.name = "kvm",
	.open = kvm_open,
	.close = kvm_close,
	.vcpu = kvm_vcpu,
	.run = kvm_vcpu_run,
	.kick = kvm_kick,
	.get = kvm_state_get,
	.set = kvm_state_set,
	.reset = kvm_reset,
	.msi = kvm_msi,
	.route = kvm_route,
	.instructions = kvm_instructions,
	.msi_fd = kvm_msi_fd,
};
