/*
 * Runs a machine: a thread per vCPU, which either executes the guest or is parked, and the loop's
 * thread, which alone decides. What devices and vCPUs have to say arrives as event bits; the loop
 * stops all vCPUs first and acts then.
 */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/machine/machine_priv.h"

#define RESET_WAIT_MS  1   /* between looks at whether disks are at rest */
#define LAST_WORDS_MS  100 /* from the panic's notice to the end of its message */
#define VCPU_STACK_KIB 256

static void act(void *arg);

/* ---- vCPU threads ---- */

/* From the reset state, and vCPU 0 into the kernel. */
static int reload(struct machine_vcpu *t, struct err *e)
{
	const struct accel_ops *ops = t->m->ops;
	int r = t->fresh ? 0 : ops->reset(t->v, e);

	t->fresh = t->reload = false;
	if (r == 0 && t->index == 0)
		r = ops->set(t->v, t->m->boot_state, e);
	return r;
}

static void failed(struct machine *m, const struct err *e)
{
	pthread_mutex_lock(&m->lock);
	if (m->failure.kind == ERR_NONE)
		m->failure = *e;
	pthread_mutex_unlock(&m->lock);
	machine_tell(m, EVENT_FAILED);
}

static void execute(struct machine_vcpu *t)
{
	enum vcpu_exit exit = VCPU_EXIT_KICKED;
	struct err e = {0};
	int r = t->reload ? reload(t, &e) : 0;

	if (r == 0)
		r = t->m->ops->run(t->v, &exit, &e);
	if (r < 0 || exit == VCPU_EXIT_FAILED)
		failed(t->m, &e);
	else if (exit == VCPU_EXIT_SHUTDOWN)
		machine_tell(t->m, EVENT_RESET);
}

static void *vcpu_main(void *arg)
{
	struct machine_vcpu *t = arg;
	struct machine *m = t->m;
	char name[16];

	(void)snprintf(name, sizeof(name), "vcpu%u", t->index);
	(void)pthread_setname_np(pthread_self(), name);
	pthread_mutex_lock(&m->lock);
	while (!m->quit) {
		if (m->run) {
			pthread_mutex_unlock(&m->lock);
			execute(t);
			pthread_mutex_lock(&m->lock);
			continue;
		}
		m->parked++;
		pthread_cond_broadcast(&m->changed);
		while (!m->run && !m->quit)
			pthread_cond_wait(&m->changed, &m->lock);
		m->parked--;
	}
	m->parked++; /* for good */
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

/* Signals are the loop's; a vCPU thread is interrupted by the accelerator's own only. */
static int make_thread(struct machine_vcpu *t, struct err *e)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK_KIB << 10);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&t->thread, &attr, vcpu_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (r != 0)
		return err_set(e, ERR_EXHAUSTED, "cannot make a thread for vCPU %u: %s", t->index,
			       strerror(r));
	t->has_thread = true;
	return 0;
}

/* ---- stopping and going on: the loop's thread ---- */

static unsigned threads(const struct machine *m)
{
	unsigned n = 0;

	while (n < m->c.cpus && m->vcpu[n].has_thread)
		n++;
	return n;
}

static void kick_all(struct machine *m)
{
	for (unsigned i = 0; i < m->c.cpus; i++)
		if (m->vcpu[i].has_thread)
			m->ops->kick(m->vcpu[i].v);
}

/* Back when no vCPU executes anything. Never with the bus lock held: a vCPU may want it first. */
static void stop_all(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->run = false;
	pthread_mutex_unlock(&m->lock);
	kick_all(m);
	pthread_mutex_lock(&m->lock);
	while (m->parked < threads(m))
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

static void go(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->run = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	m->state = MACHINE_IS_RUNNING;
}

void machine_tell(struct machine *m, unsigned event)
{
	bool first, stop = event & ~(unsigned)EVENT_PANIC;

	pthread_mutex_lock(&m->lock);
	first = m->events == 0;
	m->events |= event;
	m->run = m->run && !stop;
	pthread_mutex_unlock(&m->lock);
	if (stop)
		kick_all(m);
	if (first)
		loop_post(m->c.loop, act, m);
}

void machine_power(void *ctx, enum power_event what)
{
	static const unsigned events[] = {
		[POWER_RESET] = EVENT_RESET,
		[POWER_OFF] = EVENT_OFF,
		[POWER_PANICKED] = EVENT_PANIC,
	};

	machine_tell(ctx, events[what]);
}

/* ---- what the loop does about events ---- */

static void finish(struct machine *m, enum machine_end how, const struct err *e)
{
	if (m->state == MACHINE_IS_ENDED)
		return;
	m->state = MACHINE_IS_ENDED;
	if (m->serial)
		serial_flush(m->serial);
	m->c.ended(m->c.arg, how, e);
}

/* Disks may still write into guest memory: the new kernel must not find that. */
static void try_reset(struct machine *m)
{
	struct err e = {0};
	bool busy;

	bus_lock(m->bus);
	busy = pci_busy(m->pci);
	bus_unlock(m->bus);
	if (busy) {
		loop_timer_set(m->again, RESET_WAIT_MS, 0);
		return;
	}
	m->resets++;
	m->panicked = false;
	if (machine_reload(m, &e) < 0) {
		finish(m, MACHINE_FAILED, &e);
		return;
	}
	for (unsigned i = 0; i < m->c.cpus; i++)
		m->vcpu[i].reload = true;
	go(m);
}

static void again(void *arg)
{
	struct machine *m = arg;

	assert(m->magic == MACHINE_MAGIC);
	if (m->state == MACHINE_IS_RESETTING) {
		try_reset(m);
	} else if (m->panicked) {
		stop_all(m);
		finish(m, MACHINE_PANICKED, NULL);
	}
}

static void start_reset(struct machine *m)
{
	if (m->panicked)
		finish(m, MACHINE_PANICKED, NULL);
	else if (m->c.no_reboot)
		finish(m, MACHINE_OFF, NULL);
	else {
		m->state = MACHINE_IS_RESETTING;
		try_reset(m);
	}
}

static void act(void *arg)
{
	struct machine *m = arg;
	unsigned events;

	assert(m->magic == MACHINE_MAGIC);
	pthread_mutex_lock(&m->lock);
	events = m->events;
	m->events = 0;
	pthread_mutex_unlock(&m->lock);
	if (m->state == MACHINE_IS_ENDED)
		return;
	if (events & EVENT_PANIC) {
		m->panicked = true;
		loop_timer_set(m->again, LAST_WORDS_MS, 0);
	}
	if (!(events & (EVENT_RESET | EVENT_OFF | EVENT_FAILED)))
		return;
	stop_all(m);
	if (events & EVENT_FAILED)
		finish(m, MACHINE_FAILED, &m->failure);
	else if (events & EVENT_OFF)
		finish(m, m->panicked ? MACHINE_PANICKED : MACHINE_OFF, NULL);
	else
		start_reset(m);
}

/* ---- verbs ---- */

static int wrong_state(const struct machine *m, const char *verb, struct err *e)
{
	return err_set(e, ERR_CONFLICT, "cannot %s a machine that is %s", verb,
		       machine_state_name(m->state));
}

int machine_start(struct machine *m, struct err *e)
{
	int r = 0;

	assert(m->magic == MACHINE_MAGIC);
	if (m->state != MACHINE_IS_MADE)
		return wrong_state(m, "start", e);
	m->again = loop_timer_new(m->c.loop, again, m);
	if (m->ops->prepare)
		r = m->ops->prepare(m->accel, e);
	for (unsigned i = 0; r == 0 && i < m->c.cpus; i++)
		r = make_thread(&m->vcpu[i], e);
	if (r == 0)
		m->state = MACHINE_IS_PAUSED;
	return r;
}

int machine_resume(struct machine *m, struct err *e)
{
	assert(m->magic == MACHINE_MAGIC);
	if (m->state != MACHINE_IS_PAUSED)
		return wrong_state(m, "resume", e);
	go(m);
	return 0;
}

int machine_pause(struct machine *m, struct err *e)
{
	assert(m->magic == MACHINE_MAGIC);
	if (m->state != MACHINE_IS_RUNNING)
		return wrong_state(m, "pause", e);
	stop_all(m);
	m->state = MACHINE_IS_PAUSED;
	return 0;
}

void machine_end(struct machine *m)
{
	assert(m->magic == MACHINE_MAGIC);
	if (m->state == MACHINE_IS_ENDED)
		return;
	stop_all(m);
	finish(m, MACHINE_OFF, NULL);
}

int machine_reset(struct machine *m, struct err *e)
{
	assert(m->magic == MACHINE_MAGIC);
	if (m->state != MACHINE_IS_RUNNING && m->state != MACHINE_IS_PAUSED)
		return wrong_state(m, "reset", e);
	stop_all(m);
	m->state = MACHINE_IS_RESETTING;
	try_reset(m);
	return 0;
}

int machine_power_button(struct machine *m, struct err *e)
{
	assert(m->magic == MACHINE_MAGIC);
	if (m->state != MACHINE_IS_RUNNING)
		return wrong_state(m, "press the power button of", e);
	pm_press_button(m->pm);
	return 0;
}

int machine_ctrl_alt_del(struct machine *m, struct err *e)
{
	assert(m->magic == MACHINE_MAGIC);
	if (m->state != MACHINE_IS_RUNNING)
		return wrong_state(m, "press keys of", e);
	return i8042_ctrl_alt_del(m->i8042, e);
}

void machine_halt(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->quit = true;
	m->run = false;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	kick_all(m);
	for (unsigned i = 0; i < m->c.cpus; i++) {
		if (!m->vcpu[i].has_thread)
			continue;
		pthread_join(m->vcpu[i].thread, NULL);
		m->vcpu[i].has_thread = false;
	}
	loop_post_cancel(m->c.loop, act, m);
	if (m->again)
		m->again = loop_timer_free(m->again);
}
