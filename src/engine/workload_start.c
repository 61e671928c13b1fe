/*
 * Starting a container, and the news of its keeper.
 *
 *	engine_start -> prepare (spec, orders) -> keeper_spawn
 *	  -> ready: plug networks, write /etc files, hand waiting clients over, go
 *	  -> started: record durable -> acknowledged
 *	     failed: unplugged, exit code 125/126/127 recorded, told with its reason
 */
#include <fcntl.h>

#include "engine/engine_priv.h"

/* Hooks: who waits for this start's outcome, or for the end. */
static void add_hook(struct list *hooks, workload_hook *fn, void *ctx)
{
	struct end_hook *h = mem_new(struct end_hook);

	h->fn = fn;
	h->ctx = ctx;
	list_append(hooks, &h->link);
}

void workload_on_end(struct workload *w, workload_hook *fn, void *ctx)
{
	add_hook(&w->end_hooks, fn, ctx);
}

void workload_on_start(struct workload *w, workload_hook *fn, void *ctx)
{
	assert(w->starting);
	add_hook(&w->start_hooks, fn, ctx);
}

void workload_run_hooks(struct list *hooks, struct workload *w, const struct err *e)
{
	struct list now;

	list_init(&now);
	while (!list_empty(hooks)) {
		struct end_hook *h = list_first(hooks, struct end_hook, link);

		list_remove(&h->link);
		list_append(&now, &h->link);
	}
	while (!list_empty(&now)) {
		struct end_hook *h = list_first(&now, struct end_hook, link);

		list_remove(&h->link);
		h->fn(h->ctx, w, e);
		free(h);
	}
}

/* The docker CLI reads its exit code out of the sentence: these are the words it looks for. */
static void say_exit_code(struct err *e, int exit_code)
{
	const char *words = exit_code == 127   ? "no such file or directory"
			    : exit_code == 126 ? "permission denied"
					       : NULL;
	size_t n = strlen(e->text);

	if (!words || strstr(e->text, words) || strstr(e->text, "executable file not found"))
		return;
	(void)snprintf(e->text + n, sizeof(e->text) - n, ": %s", words);
}

struct outcome {
	struct workload *workload;
	struct err error;
};

static void spawn_or_fail(struct workload *w);

static void start_recorded(void *ctx, const struct err *e)
{
	struct outcome *o = ctx;
	struct workload *w = o->workload;

	w->starting = w->failing = false;
	workload_run_hooks(&w->start_hooks, w, o->error.kind ? &o->error : e);
	free(o);
}

/* Nothing runs: undo the run's part and tell. The container keeps its former state and the reason.
 */
static void start_failed(struct workload *w, const struct err *why, int exit_code)
{
	struct outcome *o = mem_new(struct outcome);

	assert(w->starting && !w->failing);
	w->failing = true;
	o->workload = w;
	o->error = *why;
	say_exit_code(&o->error, exit_code);
	workload_release(w);
	w->exit_code = exit_code;
	w->state = w->started_once ? WORKLOAD_EXITED : WORKLOAD_CREATED;
	workload_set_error(w, o->error.text);
	attach_drop_all(w);
	wait_start_failed(w);
	workload_save(w, start_recorded, o);
	if (w->request.host.auto_remove && !w->removing)
		workload_remove(w, true, NULL, NULL);
}

static void on_ready(void *ctx, struct keeper_ready *ready)
{
	struct workload *w = as_workload(ctx);
	struct err e = {0};

	if (!w->starting || w->failing)
		return;

	for (size_t i = 0; i < KEEPER_FD_READY_N; i++) {
		w->fds.fds[i] = fd_close(w->fds.fds[i]);
		w->fds.fds[i] = take_fd(&ready->fds[i]);
	}
	if (plug_all(w, &e) < 0 || plug_write_files(w, &e) < 0) {
		keeper_forget(w->keeper);
		start_failed(w, &e, 125);
		return;
	}
	plug_save(w);
	workload_close_fds(w);
	attach_hand_over(w);
	keeper_go(w->keeper);
}

static void take_started(struct workload *w, const struct keeper_started *s)
{
	w->pid = (int)s->pid;
	w->pid_start = s->start_time;
	w->started_ns = s->started_at_ns;
	w->restart_count = (int)s->restart_count;
	if (s->cgroup_dirs) {
		free(w->cgroup_dirs);
		w->cgroup_dirs = mem_dup_text(s->cgroup_dirs);
	}
}

void workload_started(struct workload *w, const struct keeper_started *s)
{
	take_started(w, s);
	w->state = WORKLOAD_RUNNING;
	w->started_once = true;
	w->oom_killed = false;
	w->exit_code = 0;
	workload_set_error(w, "");
}

static void on_started(void *ctx, const struct keeper_started *s)
{
	struct workload *w = as_workload(ctx);
	struct outcome *o;

	workload_started(w, s);
	event_container(w, "start", NULL);
	if (!w->starting) { /* a restart by the keeper */
		workload_save(w, NULL, NULL);
		return;
	}
	w->ran = true;
	o = mem_new(struct outcome);
	o->workload = w;
	workload_save(w, start_recorded, o);
}

static void on_failed(void *ctx, const struct keeper_fault *fault)
{
	struct workload *w = as_workload(ctx);
	struct err e = {0};
	int exit_code = fault->exit_code ? (int)fault->exit_code : 125;

	(void)err_set(&e, ERR_INVALID, "cannot start container '%s': %s", w->name,
		      fault->text ? fault->text : "the keeper does not say why");
	if (fault->kind > ERR_NONE && fault->kind < ERR_KINDS && exit_code != 126 &&
	    exit_code != 127)
		e.kind = (enum err_kind)fault->kind;
	if (exit_code != 126 && exit_code != 127)
		exit_code = exit_code == 128 ? 125 : exit_code;
	if (w->starting && !w->failing && !w->ran) {
		start_failed(w, &e, exit_code);
		return;
	}
	if (!workload_runs(w))
		return;
	/* A restart by the keeper failed: that is its end. */
	workload_set_error(w, e.text);
	workload_ended(w, &(struct keeper_died){.exit_code = (uint32_t)exit_code,
						.started_at_ns = w->started_ns,
						.finished_at_ns = world_now_ns(w->engine->world),
						.sentence = e.text});
}

static void on_died(void *ctx, const struct keeper_died *d)
{
	workload_ended(as_workload(ctx), d);
}

static void on_oom(void *ctx)
{
	event_container(as_workload(ctx), "oom", NULL);
}

static void on_exec_died(void *ctx, const struct keeper_exec_died *d)
{
	exec_ended(as_workload(ctx)->engine, d);
}

static void on_lost(void *ctx, const struct err *why)
{
	struct workload *w = as_workload(ctx);

	w->keeper = keeper_free(w->keeper);
	if (w->recovering) { /* it ended while we were asking it */
		adopt_bury(w);
		return;
	}
	if (w->start_when_lost) {
		spawn_or_fail(w);
		return;
	}
	if (w->remove_when_lost) {
		w->remove_when_lost(w);
		return;
	}
	/* A short run has ended before its start was recorded: that is no failure. */
	if (w->starting && !w->failing && !w->ran) {
		struct err e = {0};

		(void)err_set(&e, ERR_UNAVAILABLE,
			      "cannot start container '%s': its supervisor ended: %s", w->name,
			      why ? why->text : "");
		start_failed(w, &e, 125);
		return;
	}
	if (!workload_runs(w))
		return;
	/* Execs ended with the container: their clients ask for the code before the burial is over.
	 */
	exec_drop_all(w);
	adopt_bury(w);
}

const struct keeper_events workload_keeper_events = {
	.ready = on_ready,
	.started = on_started,
	.failed = on_failed,
	.state = adopt_state,
	.died = on_died,
	.health = health_news,
	.exec_died = on_exec_died,
	.oom = on_oom,
	.detached = attach_ended,
	.lost = on_lost,
};

/* The namespace of the container whose network this one shares. */
static int open_joined(struct workload *w, int *ret_fd, struct err *e)
{
	const char *mode = w->request.host.network_mode;
	struct workload *other;
	auto_free char *path = NULL;

	if (sandbox_mode(mode)) {
		if (sandbox_path(w->engine, mode, "net", &path, e) < 0)
			return -ERR_NOT_FOUND;
	} else {
		if (workload_find(&w->engine->users[w->owner], mode + 10, &other, e) < 0)
			return -ERR_NOT_FOUND;
		if (other->state != WORKLOAD_RUNNING || !other->pid)
			return err_set(e, ERR_CONFLICT,
				       "cannot join network of a non running container: %s",
				       other->name);
		path = mem_printf("/proc/%d/ns/net", other->pid);
	}
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(e, "cannot join the network at '%s'", path);
	return 0;
}

static int spawn(struct workload *w, struct err *e)
{
	auto_arena struct arena a = {0};
	struct keeper_orders orders;
	auto_close int joined = -1;

	if (w->runtime->prepare(w, &a, &orders, e) < 0)
		return -ERR_INVALID;
	if (orders.net == KEEPER_NET_JOIN && open_joined(w, &joined, e) < 0)
		return -ERR_CONFLICT;
	return keeper_spawn(w->engine->loop, engine_program(w->engine, &a, w->runtime->program),
			    &orders, joined, &workload_keeper_events, w, &w->keeper, e);
}

static void fail_deferred(void *arg)
{
	struct outcome *o = arg;

	start_failed(o->workload, &o->error, 125);
	free(o);
}

static void spawn_or_fail(struct workload *w)
{
	struct outcome *o = mem_new(struct outcome);

	o->workload = w;
	w->start_when_lost = false;
	if (spawn(w, &o->error) < 0)
		loop_defer(w->engine->loop, fail_deferred, o);
	else
		free(o);
}

void workload_start(struct workload *w, workload_hook *fn, void *ctx)
{
	assert(!workload_runs(w));
	if (fn)
		add_hook(&w->start_hooks, fn, ctx);
	if (w->starting)
		return;
	w->starting = true;
	w->ran = false;
	w->stopping = false;
	w->stopped_by_user = false;
	if (w->restart_timer)
		loop_timer_unset(w->restart_timer);
	if (w->keeper) /* the last run's is still leaving, and takes its directory along */
		w->start_when_lost = true;
	else
		spawn_or_fail(w);
}

struct start_op {
	engine_changed *done;
	void *ctx;
	bool unchanged;
	struct err error;
};

static void start_told(void *ctx, struct workload *w, const struct err *e)
{
	struct start_op *op = ctx;

	op->done(op->ctx, false, e);
	free(op);
}

static void start_refused(void *arg)
{
	struct start_op *op = arg;

	op->done(op->ctx, op->unchanged, op->error.kind ? &op->error : NULL);
	free(op);
}

void engine_start(struct user *u, const char *ref, engine_changed *done, void *ctx)
{
	struct start_op *op = mem_new(struct start_op);
	struct workload *w = NULL;

	op->done = done;
	op->ctx = ctx;
	if (workload_find(u, ref, &w, &op->error) < 0)
		goto refuse;
	if (w->state == WORKLOAD_PAUSED)
		(void)err_set(&op->error, ERR_CONFLICT,
			      "cannot start a paused container, try unpause instead");
	else if (w->removing)
		(void)err_set(&op->error, ERR_CONFLICT,
			      "container '%s' is being removed, cannot be started", w->name);
	else if (workload_runs(w))
		op->unchanged = true;
	if (op->unchanged || op->error.kind)
		goto refuse;
	w->restart_count = 0;
	workload_start(w, start_told, op);
	return;
refuse:
	loop_defer(u->engine->loop, start_refused, op);
}
