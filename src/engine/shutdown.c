/*
 * The end of a whole Hull (`hull down`): every running container of every owner is stopped, side by
 * side, then bridges, rules and hull-net leave the host. A container whose restart policy says so
 * starts again with the next daemon, as after a reboot: being stopped here is not the user's wish
 * for that container.
 */
#include <assert.h>

#include "engine/engine_priv.h"

struct shutdown {
	struct engine *engine;
	engine_done *done;
	void *ctx;
	size_t waited; /* for that many containers */
};

/* Remembers that the user did not ask, once the stop is recorded. */
static void keep_wanted(struct workload *w)
{
	w->stopped_by_user = false;
	workload_save(w, NULL, NULL);
}

static void all_stopped(struct shutdown *s)
{
	struct engine *g = s->engine;
	struct err e = {0};

	map_each (&g->workloads, it) {
		struct workload *w = it->value;

		if (w->shut_down && !workload_runs(w))
			keep_wanted(w);
	}
	if (network_host_clear(g->net, &e) < 0)
		log_warn("something of the network stays on the host: %s", e.text);
	s->done(s->ctx, NULL);
	free(s);
}

static void one_stopped(void *ctx, bool changed, const struct err *e)
{
	struct shutdown *s = ctx;

	if (e)
		log_warn("a container was not stopped: %s", e->text);
	assert(s->waited > 0);
	if (--s->waited == 0)
		all_stopped(s);
}

void engine_shutdown(struct engine *g, engine_done *done, void *ctx)
{
	static const struct stop_options gently = {.timeout_s = -1};
	struct shutdown *s = mem_new(struct shutdown);

	*s = (struct shutdown){g, done, ctx, 1};
	map_each (&g->workloads, it) {
		struct workload *w = it->value;

		if (!workload_runs(w))
			continue;
		w->shut_down = !w->stopped_by_user;
		s->waited++;
		engine_stop(&g->users[w->owner], w->id, &gently, one_stopped, s);
	}
	one_stopped(s, false, NULL);
}
