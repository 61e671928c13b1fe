/*
 * The loop over libuv: handles wrapped so that no type of the library shows, a queue of deferred
 * calls and turn-end hooks run from one prepare handle (the last thing before libuv sleeps), and
 * posts from other threads behind one async handle. Child processes are in loop_process.c.
 *
 * libuv closes handles lazily: every object here is freed from its close callback, and its function
 * is forgotten at once, so that nothing is called after loop_x_free().
 */
#include "ground/wire/loop.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <uv.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop_priv.h"

#define CALL_SLOW_US 1000
/* A deferred call that defers itself for ever must not starve the descriptors. */
#define TURN_ROUNDS_MAX 64

struct call {
	loop_fn *fn; /* NULL: cancelled */
	void *arg;
};

struct calls {
	struct call *items;
	size_t n, room;
};

#define LOOP_MAGIC  0x4c6f6f70u
#define TIMER_MAGIC 0x54696d65u
#define WATCH_MAGIC 0x57617463u

struct loop {
	unsigned magic;
	uv_loop_t uv;
	uv_prepare_t turn_end;
	uv_idle_t again; /* active while calls are left over for the next turn */
	uv_async_t posted;
	struct calls deferred; /* in order; `at` is the next to call */
	size_t at;
	struct calls hooks;
	pthread_mutex_t lock; /* guards `posts` only */
	struct calls posts;
	struct list processes; /* every child not reaped yet, and those their owner still holds */
	struct loop_stats stats;
	bool running;
};

struct loop_timer {
	unsigned magic;
	uv_timer_t uv;
	struct loop *loop;
	loop_fn *fn;
	void *arg;
};

struct loop_watch {
	unsigned magic;
	uv_poll_t uv;
	struct loop *loop;
	loop_watch_fn *fn;
	void *arg;
};

struct loop_signal {
	uv_signal_t uv;
	struct loop *loop;
	loop_fn *fn;
	void *arg;
};

struct job {
	uv_work_t uv;
	struct loop *loop;
	loop_fn *work, *done;
	void *arg;
};

static int64_t clock_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Counts a callback that held the loop for long. */
static void held(struct loop *l, int64_t since_us)
{
	int64_t us = clock_us() - since_us;

	if (us > CALL_SLOW_US)
		l->stats.slow++;
	if (us > l->stats.longest_us)
		l->stats.longest_us = us;
}

static void call(struct loop *l, loop_fn *fn, void *arg)
{
	int64_t since_us = clock_us();

	fn(arg);
	held(l, since_us);
}

static void calls_add(struct calls *c, loop_fn *fn, void *arg)
{
	assert(fn);
	mem_grow(c->items, c->n + 1, c->room);
	c->items[c->n++] = (struct call){fn, arg};
}

/* Calls what is deferred, also what that defers in turn, for a bounded number of rounds. */
static bool run_deferred(struct loop *l)
{
	for (int round = 0; round < TURN_ROUNDS_MAX && l->at < l->deferred.n; round++) {
		size_t until = l->deferred.n;

		while (l->at < until) {
			struct call c = l->deferred.items[l->at++];

			if (c.fn)
				call(l, c.fn, c.arg);
		}
	}
	if (l->at < l->deferred.n)
		return false;
	l->at = l->deferred.n = 0;
	return true;
}

static void end_turn(uv_prepare_t *h)
{
	struct loop *l = h->data;
	bool all = run_deferred(l);

	l->stats.turns++;
	for (size_t i = 0; i < l->hooks.n; i++)
		call(l, l->hooks.items[i].fn, l->hooks.items[i].arg);
	all = run_deferred(l) && all;
	if (l->at < l->deferred.n)
		all = false;
	if (all)
		(void)uv_idle_stop(&l->again);
}

static void nothing(uv_idle_t *h)
{
	(void)h;
}

static void take_posts(uv_async_t *h)
{
	struct loop *l = h->data;
	struct calls c;

	(void)pthread_mutex_lock(&l->lock);
	c = l->posts;
	l->posts = (struct calls){0};
	(void)pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < c.n; i++)
		loop_defer(l, c.items[i].fn, c.items[i].arg);
	free(c.items);
}

int loop_new(struct loop **ret, struct err *e)
{
	struct loop *l = mem_new(struct loop);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	int r = uv_loop_init(&l->uv);

	if (r < 0) {
		free(l);
		return err_set(e, ERR_SYSTEM, "cannot make an event loop: %s", uv_strerror(r));
	}
	l->magic = LOOP_MAGIC;
	r = uv_async_init(&l->uv, &l->posted, take_posts);
	if (r < 0) {
		(void)uv_loop_close(&l->uv);
		free(l);
		return err_set(e, ERR_SYSTEM, "cannot make an event loop: %s", uv_strerror(r));
	}
	list_init(&l->processes);
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)uv_prepare_init(&l->uv, &l->turn_end);
	(void)uv_idle_init(&l->uv, &l->again);
	l->turn_end.data = l->again.data = l->posted.data = l;
	(void)uv_prepare_start(&l->turn_end, end_turn);
	*ret = l;
	return 0;
}

static void leaked(uv_handle_t *h, void *arg)
{
	(void)arg;
	assert(uv_is_closing(h)); /* owners free their timers and watches before the loop */
}

struct loop *loop_free(struct loop *l)
{
	int r;

	if (!l)
		return NULL;
	assert(l->magic == LOOP_MAGIC);
	assert(!l->running);
	uv_close((uv_handle_t *)&l->turn_end, NULL);
	uv_close((uv_handle_t *)&l->again, NULL);
	uv_close((uv_handle_t *)&l->posted, NULL);
	loop_processes_forget(l);
	uv_walk(&l->uv, leaked, NULL);
	(void)uv_run(&l->uv, UV_RUN_DEFAULT); /* close callbacks, and jobs that still run */
	r = uv_loop_close(&l->uv);
	assert(r == 0);
	(void)pthread_mutex_destroy(&l->lock);
	free(l->deferred.items);
	free(l->hooks.items);
	free(l->posts.items);
	l->magic = 0;
	free(l);
	return NULL;
}

void loop_run(struct loop *l)
{
	assert(l->magic == LOOP_MAGIC);
	assert(!l->running);
	l->running = true;
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
	end_turn(&l->turn_end); /* what the last turn's callbacks deferred */
	l->running = false;
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

int64_t loop_now_ms(const struct loop *l)
{
	return (int64_t)uv_now(&l->uv);
}

struct list *loop_process_list(struct loop *l)
{
	return &l->processes;
}

struct loop_stats loop_stats(const struct loop *l)
{
	return l->stats;
}

void loop_defer(struct loop *l, loop_fn *fn, void *arg)
{
	assert(l->magic == LOOP_MAGIC);
	calls_add(&l->deferred, fn, arg);
	if (!uv_is_active((uv_handle_t *)&l->again) && !uv_is_closing((uv_handle_t *)&l->again))
		(void)uv_idle_start(&l->again, nothing);
}

void loop_defer_cancel(struct loop *l, loop_fn *fn, void *arg)
{
	for (size_t i = l->at; i < l->deferred.n; i++) {
		struct call *c = &l->deferred.items[i];

		if (c->fn == fn && c->arg == arg)
			c->fn = NULL;
	}
}

void loop_post(struct loop *l, loop_fn *fn, void *arg)
{
	(void)pthread_mutex_lock(&l->lock);
	calls_add(&l->posts, fn, arg);
	(void)pthread_mutex_unlock(&l->lock);
	(void)uv_async_send(&l->posted);
}

void loop_post_cancel(struct loop *l, loop_fn *fn, void *arg)
{
	(void)pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < l->posts.n; i++) {
		struct call *c = &l->posts.items[i];

		if (c->fn == fn && c->arg == arg)
			c->fn = NULL;
	}
	(void)pthread_mutex_unlock(&l->lock);
	loop_defer_cancel(l, fn, arg); /* what was taken over already */
}

void loop_turn_end(struct loop *l, loop_fn *fn, void *arg)
{
	calls_add(&l->hooks, fn, arg);
}

void loop_turn_end_cancel(struct loop *l, loop_fn *fn, void *arg)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->hooks.n; i++)
		if (l->hooks.items[i].fn != fn || l->hooks.items[i].arg != arg)
			l->hooks.items[kept++] = l->hooks.items[i];
	l->hooks.n = kept;
}

static void job_work(uv_work_t *w)
{
	struct job *j = w->data;

	j->work(j->arg);
}

static void job_done(uv_work_t *w, int status)
{
	struct job *j = w->data;

	(void)status; /* never cancelled */
	if (j->done)
		call(j->loop, j->done, j->arg);
	free(j);
}

void loop_job(struct loop *l, loop_fn *work, loop_fn *done, void *arg)
{
	struct job *j = mem_new(struct job);
	int r;

	assert(work);
	*j = (struct job){.loop = l, .work = work, .done = done, .arg = arg};
	j->uv.data = j;
	r = uv_queue_work(&l->uv, &j->uv, job_work, job_done);
	assert(r == 0);
}

static void timer_due(uv_timer_t *h)
{
	struct loop_timer *t = h->data;

	if (t->fn)
		call(t->loop, t->fn, t->arg);
}

static void free_data(uv_handle_t *h)
{
	free(h->data);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg)
{
	struct loop_timer *t = mem_new(struct loop_timer);

	assert(fn);
	*t = (struct loop_timer){.magic = TIMER_MAGIC, .loop = l, .fn = fn, .arg = arg};
	(void)uv_timer_init(&l->uv, &t->uv);
	t->uv.data = t;
	return t;
}

void loop_timer_set(struct loop_timer *t, int64_t delay_ms, int64_t repeat_ms)
{
	assert(t->magic == TIMER_MAGIC);
	assert(delay_ms >= 0);
	assert(repeat_ms >= 0);
	/* The turn's clock may be old when jobs held the loop: a delay counts from now. */
	uv_update_time(&t->loop->uv);
	(void)uv_timer_start(&t->uv, timer_due, (uint64_t)delay_ms, (uint64_t)repeat_ms);
}

void loop_timer_unset(struct loop_timer *t)
{
	assert(t->magic == TIMER_MAGIC);
	(void)uv_timer_stop(&t->uv);
}

struct loop_timer *loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return NULL;
	assert(t->magic == TIMER_MAGIC);
	t->magic = 0;
	t->fn = NULL;
	uv_close((uv_handle_t *)&t->uv, free_data);
	return NULL;
}

static void watch_ready(uv_poll_t *h, int status, int events)
{
	struct loop_watch *w = h->data;
	unsigned ready = 0;
	int64_t since_us = clock_us();
	struct loop *l = w->loop;

	if (!w->fn)
		return;
	if (status < 0)
		ready = LOOP_ERROR; /* libuv has stopped the handle */
	if (events & UV_READABLE)
		ready |= LOOP_READ;
	if (events & UV_WRITABLE)
		ready |= LOOP_WRITE;
	if (events & UV_DISCONNECT)
		ready |= LOOP_HUP;
	w->fn(w->arg, ready);
	held(l, since_us);
}

int loop_watch_new(struct loop *l, int fd, unsigned want, loop_watch_fn *fn, void *arg,
		   struct loop_watch **ret, struct err *e)
{
	struct loop_watch *w = mem_new(struct loop_watch);
	int r;

	assert(fn);
	assert(fd >= 0);
	*w = (struct loop_watch){.magic = WATCH_MAGIC, .loop = l, .fn = fn, .arg = arg};
	r = uv_poll_init(&l->uv, &w->uv, fd);
	if (r < 0) {
		free(w);
		return err_set(e, r == UV_EEXIST ? ERR_EXISTS : ERR_SYSTEM,
			       "cannot watch descriptor %d: %s", fd, uv_strerror(r));
	}
	w->uv.data = w;
	loop_watch_want(w, want);
	*ret = w;
	return 0;
}

void loop_watch_want(struct loop_watch *w, unsigned want)
{
	int events = 0;
	int r;

	assert(w->magic == WATCH_MAGIC);
	if (want & LOOP_READ)
		events |= UV_READABLE;
	if (want & LOOP_WRITE)
		events |= UV_WRITABLE;
	if (want & LOOP_HUP)
		events |= UV_DISCONNECT;
	r = events ? uv_poll_start(&w->uv, events, watch_ready) : uv_poll_stop(&w->uv);
	assert(r == 0);
}

struct loop_watch *loop_watch_free(struct loop_watch *w)
{
	if (!w)
		return NULL;
	assert(w->magic == WATCH_MAGIC);
	w->magic = 0;
	w->fn = NULL;
	uv_close((uv_handle_t *)&w->uv, free_data);
	return NULL;
}

static void signal_came(uv_signal_t *h, int sig)
{
	struct loop_signal *s = h->data;

	(void)sig;
	if (s->fn)
		call(s->loop, s->fn, s->arg);
}

int loop_signal_new(struct loop *l, int sig, loop_fn *fn, void *arg, struct loop_signal **ret,
		    struct err *e)
{
	struct loop_signal *s = mem_new(struct loop_signal);
	int r;

	assert(fn);
	assert(sig != SIGCHLD);
	*s = (struct loop_signal){.loop = l, .fn = fn, .arg = arg};
	(void)uv_signal_init(&l->uv, &s->uv);
	s->uv.data = s;
	r = uv_signal_start(&s->uv, signal_came, sig);
	if (r < 0) {
		uv_close((uv_handle_t *)&s->uv, free_data);
		return err_set(e, ERR_INVALID, "cannot watch signal %d: %s", sig, uv_strerror(r));
	}
	*ret = s;
	return 0;
}

struct loop_signal *loop_signal_free(struct loop_signal *s)
{
	if (!s)
		return NULL;
	s->fn = NULL;
	uv_close((uv_handle_t *)&s->uv, free_data);
	return NULL;
}
