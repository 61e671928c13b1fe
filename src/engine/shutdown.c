/*
 * The end of a Hull that is asked to stop everything (`hull down`, SIGQUIT): every container is
 * stopped, in its own time, then what is on the host for us (bridges, rules, hull-net, cgroup
 * parents) is taken away. What the containers are is kept: a restart policy brings them back with
 * the next daemon.
 */
#include "engine/engine_priv.h"
#include "ground/linux/cgroup.h"

#define STOP_TIMEOUT_S	10
#define CGROUP_LEAVE_MS 1000

struct shutdown {
	struct engine *engine;
	engine_done *done;
	void *ctx;
	size_t awaited;
};

static void all_stopped(struct shutdown *s)
{
	auto_free char *parent = mem_printf("/hull-%s", network_host_tag(s->engine->net));
	struct err e = {0};
	struct engine_done_args {
		engine_done *done;
		void *ctx;
	} then = {s->done, s->ctx};

	sandbox_unpin_all(s->engine);
	if (network_host_clear(s->engine->net, &e) < 0)
		log_warn("%s", e.text);
	if (cgroup_sweep(parent, CGROUP_LEAVE_MS, &e) < 0)
		log_warn("%s", e.text);
	free(s);
	then.done(then.ctx, NULL);
}

static void one_awaited(struct shutdown *s)
{
	assert(s->awaited > 0);
	if (--s->awaited == 0)
		all_stopped(s);
}

static void one_stopped(void *ctx, struct workload *w, const struct err *e)
{
	one_awaited(ctx);
}

static void stop_one(struct shutdown *s, struct workload *w)
{
	const int64_t *own = w->request.config.stop_timeout_s;
	int signal = 0;
	struct err ignored = {0};

	if (w->restart_timer)
		loop_timer_unset(w->restart_timer);
	if (!workload_runs(w) || !w->keeper)
		return;
	if (w->request.config.stop_signal && *w->request.config.stop_signal)
		(void)!signal_of(w->request.config.stop_signal, &signal, &ignored);
	s->awaited++;
	workload_on_end(w, one_stopped, s);
	keeper_stop(w->keeper,
		    &(struct keeper_stop){.signal = (uint32_t)signal,
					  .timeout_s = own ? (int32_t)*own : STOP_TIMEOUT_S},
		    (struct keeper_done){0});
}

static void begun(void *arg)
{
	one_awaited(arg);
}

void engine_shutdown(struct engine *g, engine_done *done, void *ctx)
{
	struct shutdown *s = mem_new(struct shutdown);

	assert(g->magic == ENGINE_MAGIC && done);
	g->shutting_down = true;
	s->engine = g;
	s->done = done;
	s->ctx = ctx;
	s->awaited = 1; /* this function itself */
	map_each (&g->workloads, it)
		stop_one(s, it->value);
	loop_defer(g->loop, begun, s);
}
