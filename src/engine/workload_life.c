/*
 * The life of a running container: its end as the keeper tells it, and stop, restart, kill, pause,
 * rename, update from clients. An end is final unless the keeper says it will start it again.
 */
#include <signal.h>

#include "engine/engine_priv.h"

#define STOP_TIMEOUT_S 10

void workload_release(struct workload *w)
{
	unplug_all(w);
	workload_close_fds(w);
	w->pid = 0;
	w->pid_start = 0;
	free(w->cgroup_dirs);
	w->cgroup_dirs = NULL;
}

static void end_recorded(void *ctx, const struct err *e)
{
	struct workload *w = as_workload(ctx);

	if (e)
		log_error("container %.12s: its end is not recorded: %s", w->id, e->text);
	if (w->keeper)
		keeper_forget(w->keeper);
	w->stopping = false;
	wait_ended(w);
	logs_container_ended(w);
	workload_run_hooks(&w->end_hooks, w, NULL);
	if (w->request.host.auto_remove && !w->removing && !w->starting)
		workload_remove(w, true, NULL, NULL);
}

static void say_end(struct workload *w, int64_t ran_ns)
{
	auto_free char *code = mem_printf("%d", w->exit_code);
	auto_free char *duration = mem_printf("%lld", (long long)(ran_ns / 1000000000));

	event_container(w, "die", "exitCode", code, "execDuration", duration, NULL);
	if (w->stopped_by_user)
		event_container(w, "stop", NULL);
}

void workload_ended(struct workload *w, const struct keeper_died *d)
{
	assert(d->exit_code < 256 || d->exit_code == UINT32_MAX);
	w->exit_code = (int)d->exit_code;
	w->oom_killed = d->oom_killed;
	w->finished_ns = d->finished_at_ns;
	if (d->restart_count)
		w->restart_count = (int)d->restart_count;
	workload_set_error(w, d->sentence);
	exec_drop_all(w);
	if (d->restarting && !w->removing) {
		w->state = WORKLOAD_RESTARTING;
		w->pid = 0;
		say_end(w, d->finished_at_ns - d->started_at_ns);
		workload_save(w, NULL, NULL);
		return;
	}
	w->stopped_by_user = w->stopped_by_user || (d->stopped && !w->engine->shutting_down);
	w->state = WORKLOAD_EXITED;
	workload_release(w);
	health_forget(w);
	say_end(w, d->finished_at_ns - d->started_at_ns);
	workload_save(w, end_recorded, w);
}

/* -- verbs ----------------------------------------------------------------------------------------
 */

struct verb {
	struct engine *engine;
	struct workload *workload;
	engine_done *done;
	engine_changed *changed;
	void *ctx;
	const char *event;
	enum workload_state then; /* pause, unpause */
	bool wait_end;
	struct err error;
	bool unchanged;
};

static void verb_end(struct verb *v, const struct err *e)
{
	if (v->changed)
		v->changed(v->ctx, v->unchanged, e);
	else if (v->done)
		v->done(v->ctx, e);
	free(v);
}

static void verb_deferred(void *arg)
{
	struct verb *v = arg;

	verb_end(v, v->error.kind ? &v->error : NULL);
}

static void verb_refuse(struct verb *v)
{
	loop_defer(v->engine->loop, verb_deferred, v);
}

static struct verb *verb_new(struct user *u, engine_done *done, void *ctx)
{
	struct verb *v = mem_new(struct verb);

	v->engine = u->engine;
	v->done = done;
	v->ctx = ctx;
	return v;
}

/* Finds the container and insists that it runs. */
static bool verb_target(struct verb *v, struct user *u, const char *ref, const char *doing)
{
	if (workload_find(u, ref, &v->workload, &v->error) < 0)
		return false;
	if (workload_runs(v->workload) && v->workload->keeper)
		return true;
	(void)err_set(&v->error, ERR_CONFLICT,
		      "cannot %s container: %s: container %s is not running", doing, ref,
		      v->workload->id);
	return false;
}

static void stop_ended(void *ctx, struct workload *w, const struct err *e)
{
	verb_end(ctx, e);
}

static void stop_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	/* The end comes as an event and runs the hook; a keeper that is lost ends it, too. */
	if (why)
		log_debug("stop: %s", why->text);
}

static int stop_signal_of(const struct workload *w, const char *asked, int *ret, struct err *e)
{
	const char *own = w->request.config.stop_signal;

	*ret = SIGTERM;
	if (asked && *asked)
		return signal_of(asked, ret, e);
	if (own && *own)
		return signal_of(own, ret, e);
	return 0;
}

static void stop_begin(struct workload *w, int signal, const struct stop_options *o,
		       workload_hook *hook, void *ctx)
{
	const int64_t *own = w->request.config.stop_timeout_s;
	int64_t timeout = o->timeout_s;

	if (timeout == -1)
		timeout = own ? *own : STOP_TIMEOUT_S;
	w->stopping = true;
	w->stopped_by_user = true;
	workload_on_end(w, hook, ctx);
	keeper_stop(w->keeper,
		    &(struct keeper_stop){.signal = (uint32_t)signal,
					  .timeout_s = timeout < 0 ? -1 : (int32_t)timeout},
		    (struct keeper_done){stop_answered, NULL});
}

void engine_stop(struct user *u, const char *ref, const struct stop_options *o,
		 engine_changed *done, void *ctx)
{
	struct verb *v = verb_new(u, NULL, ctx);
	int signal;

	v->changed = done;
	if (workload_find(u, ref, &v->workload, &v->error) < 0 ||
	    stop_signal_of(v->workload, o->signal, &signal, &v->error) < 0) {
		verb_refuse(v);
		return;
	}
	if (!workload_runs(v->workload) || !v->workload->keeper) {
		v->unchanged = true;
		verb_refuse(v);
		return;
	}
	stop_begin(v->workload, signal, o, stop_ended, v);
}

static void restarted(void *ctx, struct workload *w, const struct err *e)
{
	if (!e)
		event_container(w, "restart", NULL);
	verb_end(ctx, e);
}

static void restart_stopped(void *ctx, struct workload *w, const struct err *e)
{
	if (w->removing || e) {
		struct verb *v = ctx;

		(void)err_set(&v->error, ERR_CONFLICT, "container '%s' is being removed", w->name);
		verb_refuse(v);
		return;
	}
	workload_start(w, restarted, ctx);
}

void engine_restart(struct user *u, const char *ref, const struct stop_options *o,
		    engine_done *done, void *ctx)
{
	struct verb *v = verb_new(u, done, ctx);
	int signal;

	if (workload_find(u, ref, &v->workload, &v->error) < 0 ||
	    stop_signal_of(v->workload, o->signal, &signal, &v->error) < 0)
		verb_refuse(v);
	else if (workload_runs(v->workload) && v->workload->keeper)
		stop_begin(v->workload, signal, o, restart_stopped, v);
	else
		workload_start(v->workload, restarted, v);
}

static void kill_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct verb *v = ctx;

	if (!why && v->wait_end && workload_runs(v->workload)) {
		workload_on_end(v->workload, stop_ended, v);
		return;
	}
	verb_end(v, why);
}

void engine_kill(struct user *u, const char *ref, const char *signal, engine_done *done, void *ctx)
{
	struct verb *v = verb_new(u, done, ctx);
	int number = SIGKILL, own = SIGTERM;
	auto_free char *text = NULL;

	if ((signal && *signal && signal_of(signal, &number, &v->error) < 0) ||
	    !verb_target(v, u, ref, "kill")) {
		verb_refuse(v);
		return;
	}
	(void)stop_signal_of(v->workload, NULL, &own, &v->error);
	text = mem_printf("%d", number);
	event_container(v->workload, "kill", "signal", text, NULL);
	v->wait_end = number == SIGKILL;
	if (number == SIGKILL || number == own)
		v->workload->stopped_by_user = true;
	if (v->workload->state == WORKLOAD_RESTARTING && v->wait_end) {
		keeper_stop(v->workload->keeper, &(struct keeper_stop){.signal = SIGKILL},
			    (struct keeper_done){kill_answered, v});
		return;
	}
	keeper_signal(v->workload->keeper,
		      &(struct keeper_signal){.signal = (uint32_t)number,
					      .last = number == SIGKILL || number == own},
		      (struct keeper_done){kill_answered, v});
}

static void pause_recorded(void *ctx, const struct err *e)
{
	verb_end(ctx, e);
}

static void pause_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct verb *v = ctx;

	if (why) {
		verb_end(v, why);
		return;
	}
	if (workload_runs(v->workload))
		v->workload->state = v->then;
	event_container(v->workload, v->event, NULL);
	workload_save(v->workload, pause_recorded, v);
}

void engine_pause(struct user *u, const char *ref, engine_done *done, void *ctx)
{
	struct verb *v = verb_new(u, done, ctx);

	v->event = "pause";
	v->then = WORKLOAD_PAUSED;
	if (!verb_target(v, u, ref, "pause")) {
		verb_refuse(v);
		return;
	}
	if (v->workload->state != WORKLOAD_RUNNING) {
		(void)err_set(&v->error, ERR_CONFLICT, "container %s is %s", v->workload->id,
			      v->workload->state == WORKLOAD_PAUSED
				      ? "already paused"
				      : "restarting, wait until it runs");
		verb_refuse(v);
		return;
	}
	keeper_pause(v->workload->keeper, (struct keeper_done){pause_answered, v});
}

void engine_unpause(struct user *u, const char *ref, engine_done *done, void *ctx)
{
	struct verb *v = verb_new(u, done, ctx);

	v->event = "unpause";
	v->then = WORKLOAD_RUNNING;
	if (!verb_target(v, u, ref, "unpause")) {
		verb_refuse(v);
		return;
	}
	if (v->workload->state != WORKLOAD_PAUSED) {
		(void)err_set(&v->error, ERR_CONFLICT, "container %s is not paused",
			      v->workload->id);
		verb_refuse(v);
		return;
	}
	keeper_resume(v->workload->keeper, (struct keeper_done){pause_answered, v});
}

void engine_rename(struct user *u, const char *ref, const char *name, engine_done *done, void *ctx)
{
	struct verb *v = verb_new(u, done, ctx);
	const char *wanted = name && *name == '/' ? name + 1 : name;
	auto_free char *old = NULL;
	struct workload *w;

	if (workload_find(u, ref, &w, &v->error) < 0 ||
	    name_check(wanted ? wanted : "", &v->error) < 0) {
		verb_refuse(v);
		return;
	}
	if (map_get(&u->names, wanted)) {
		(void)err_set(&v->error, ERR_EXISTS,
			      "Conflict. The container name \"/%s\" is already in use by container "
			      "\"%s\". "
			      "You have to remove (or rename) that container to be able to reuse "
			      "that name.",
			      wanted, ((struct workload *)map_get(&u->names, wanted))->id);
		verb_refuse(v);
		return;
	}
	map_remove(&u->names, w->name);
	old = w->name;
	w->name = w->request.name = mem_dup_text(wanted);
	map_put(&u->names, w->name, w);
	if (w->plugs_n)
		network_rename(u->engine->net, w->id, w->name);
	event_container(w, "rename", "oldName", old, NULL);
	workload_save(w, pause_recorded, v);
}

/* -- update ---------------------------------------------------------------------------------------
 */

static void update_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct verb *v = ctx;

	if (why) {
		verb_end(v, why);
		return;
	}
	event_container(v->workload, "update", NULL);
	workload_save(v->workload, pause_recorded, v);
}

static int update_apply(struct verb *v, const struct json *body)
{
	struct workload *w = v->workload;
	struct host_config changed = w->request.host;
	auto_json struct json *resources = json_new_object();
	auto_strbuf struct strbuf text = {0};
	struct keeper_update order = {.has_restart = true};

	if (request_update(body, &w->arena, &changed, &v->error) < 0 ||
	    oci_resources_check(&changed, &v->error) < 0)
		return -ERR_INVALID;
	if (w->request.host.auto_remove && restart_policy_of(&changed) != KEEPER_RESTART_NO)
		return err_set(
			&v->error, ERR_CONFLICT,
			"Restart policy cannot be updated because AutoRemove is enabled for the "
			"container");
	if (oci_resources(&changed, resources, &v->error) < 0)
		return -ERR_INVALID;
	w->request.host = changed;
	if (!w->keeper || !workload_runs(w)) {
		update_answered(v, NULL, NULL, 0);
		return 0;
	}
	json_write(resources, &text);
	order.resources_json = strbuf_text(&text);
	order.restart = restart_policy_of(&changed);
	order.restart_max = (uint32_t)changed.restart.maximum_retry_count;
	keeper_update(w->keeper, &order, (struct keeper_done){update_answered, v});
	return 0;
}

void engine_update(struct user *u, const char *ref, const struct json *body, engine_done *done,
		   void *ctx)
{
	struct verb *v = verb_new(u, done, ctx);

	if (workload_find(u, ref, &v->workload, &v->error) < 0 || update_apply(v, body) < 0)
		verb_refuse(v);
}

struct resized {
	engine_done *done;
	void *ctx;
};

static void resize_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	verb_end(ctx, why);
}

void engine_resize(struct user *u, const char *ref, unsigned int rows, unsigned int columns,
		   engine_done *done, void *ctx)
{
	struct verb *v = verb_new(u, done, ctx);

	if (workload_find(u, ref, &v->workload, &v->error) < 0) {
		verb_refuse(v);
		return;
	}
	/* It may come before the terminal exists: that is not the client's fault. */
	if (!v->workload->keeper || !v->workload->request.config.tty) {
		if (!workload_runs(v->workload) && !v->workload->starting)
			(void)err_set(&v->error, ERR_CONFLICT, "container %s is not running",
				      v->workload->id);
		verb_refuse(v);
		return;
	}
	keeper_resize(v->workload->keeper,
		      &(struct keeper_resize){.rows = rows, .columns = columns},
		      (struct keeper_done){resize_answered, v});
}
