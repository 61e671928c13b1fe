/*
 * The keeper's loop: see turn.h. Timers are a short unsorted list (a keeper has a handful); the
 * nearest one is epoll's time-out, so that a keeper without any never wakes by itself.
 */
#include "virt/keeper/turn.h"

#include <assert.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/own.h"

#define NS_PER_MS 1000000

static void our_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGCHLD);
	(void)sigaddset(set, SIGPIPE);
}

int turn_init(struct turn *t, const struct world *world, struct err *e)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	sigset_t set;

	assert(world);
	*t = (struct turn){.epoll_fd = -1, .signal_fd = -1, .world = world};
	list_init(&t->timers);
	our_signals(&set);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, "cannot block signals");
	(void)sigdelset(&set, SIGPIPE);
	t->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (t->signal_fd < 0)
		return err_sys(e, "cannot make a signal descriptor");
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll_fd < 0)
		return err_sys(e, "cannot make an epoll");
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->signal_fd, &event) < 0)
		return err_sys(e, "cannot watch for signals");
	return 0;
}

void turn_done(struct turn *t)
{
	t->epoll_fd = fd_close(t->epoll_fd);
	t->signal_fd = fd_close(t->signal_fd);
}

void turn_child_signals(void)
{
	sigset_t set;

	our_signals(&set);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int turn_watch(struct turn *t, struct turn_watch *w, int fd, uint32_t events, struct err *e)
{
	struct epoll_event event = {.events = events, .data.ptr = w};

	assert(fd >= 0);
	assert(w->fn);
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return err_sys(e, "cannot watch a descriptor");
	w->fd = fd;
	w->events = events;
	return 0;
}

void turn_watch_want(struct turn *t, struct turn_watch *w, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = w};

	if (w->fd < 0 || w->events == events)
		return;
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, w->fd, &event) == 0)
		w->events = events;
}

void turn_unwatch(struct turn *t, struct turn_watch *w)
{
	if (w->fd >= 0)
		(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
}

void turn_timer_init(struct turn_timer *timer, void (*fn)(void *ctx), void *ctx)
{
	*timer = (struct turn_timer){.fn = fn, .ctx = ctx};
	list_init(&timer->link);
}

void turn_timer_set(struct turn *t, struct turn_timer *timer, int64_t delay_ns)
{
	assert(timer->fn);
	turn_timer_unset(timer);
	timer->at_ns = world_monotonic_ns(t->world) + (delay_ns > 0 ? delay_ns : 0);
	list_append(&t->timers, &timer->link);
}

void turn_timer_unset(struct turn_timer *timer)
{
	if (timer->at_ns)
		list_remove(&timer->link);
	timer->at_ns = 0;
}

static struct turn_timer *nearest(struct turn *t)
{
	struct turn_timer *best = NULL;

	list_each (&t->timers, struct turn_timer, link, timer)
		if (!best || timer->at_ns < best->at_ns)
			best = timer;
	return best;
}

/* Runs what is due; answers epoll's time-out until the next. */
static int run_timers(struct turn *t)
{
	struct turn_timer *timer;

	while (!t->stop && (timer = nearest(t))) {
		int64_t left = timer->at_ns - world_monotonic_ns(t->world);

		if (left > 0) {
			int64_t ms = (left + NS_PER_MS - 1) / NS_PER_MS;

			return ms < INT32_MAX ? (int)ms : INT32_MAX;
		}
		turn_timer_unset(timer);
		timer->fn(timer->ctx);
	}
	return t->stop ? 0 : -1;
}

static void reap(struct turn *t)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(t->signal_fd, &info, sizeof(info)) > 0)
		continue;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (t->child)
			t->child(t->child_ctx, pid, status);
}

int turn_run(struct turn *t, struct err *e)
{
	while (!t->stop) {
		struct epoll_event event;
		int n = epoll_wait(t->epoll_fd, &event, 1, run_timers(t));

		if (n < 0 && errno != EINTR)
			return err_sys(e, "cannot wait for events");
		if (n <= 0 || t->stop)
			continue;
		if (!event.data.ptr) {
			reap(t);
		} else {
			struct turn_watch *w = event.data.ptr;

			assert(w->fd >= 0);
			w->fn(w->ctx, event.events);
		}
	}
	return 0;
}
