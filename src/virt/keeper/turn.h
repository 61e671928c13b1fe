/*
 * The keeper's own loop: descriptors, deadlines and ended children on one epoll, in one thread,
 * without a library. It sleeps without limit when no timer is set.
 *
 * Watches and timers are embedded in their owner; they may be removed from any callback, also their
 * own: one event is fetched at a time, so no stale one is ever delivered.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"
#include "ground/base/list.h"
#include "ground/base/world.h"

struct turn {
	int epoll_fd;
	int signal_fd; /* SIGCHLD, SIGTERM */
	struct list timers;
	const struct world *world;
	/* Told for each child that ended, after it was reaped. */
	void (*child)(void *ctx, pid_t pid, int status);
	void *child_ctx;
	bool stop;
};

struct turn_watch {
	int fd; /* -1: not watching */
	uint32_t events;
	void (*fn)(void *ctx, uint32_t events);
	void *ctx;
};

struct turn_timer {
	struct list link;
	int64_t at_ns; /* monotonic; 0: not set */
	void (*fn)(void *ctx);
	void *ctx;
};

/* Blocks SIGCHLD and SIGPIPE in this process: children get the mask back by turn_child_signals().
 */
int turn_init(struct turn *t, const struct world *world, struct err *e) must_use;
void turn_done(struct turn *t);
int turn_run(struct turn *t, struct err *e) must_use; /* until t->stop */

/* After fork, in the child: the signal mask of a fresh process. */
void turn_child_signals(void);

/* A watch with events 0 is told errors and hang-ups only. Changing to the same events is free. */
int turn_watch(struct turn *t, struct turn_watch *w, int fd, uint32_t events,
	       struct err *e) must_use;
void turn_watch_want(struct turn *t, struct turn_watch *w, uint32_t events);
void turn_unwatch(struct turn *t, struct turn_watch *w); /* the descriptor stays open */

void turn_timer_init(struct turn_timer *timer, void (*fn)(void *ctx), void *ctx);
void turn_timer_set(struct turn *t, struct turn_timer *timer, int64_t delay_ns);
void turn_timer_unset(struct turn_timer *timer);
