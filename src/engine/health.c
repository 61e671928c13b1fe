/*
 * Health: the keeper probes, we remember the last results and say changes as events.
 */
#include "engine/engine_priv.h"

static const char *const names[] = {
	[KEEPER_HEALTH_NONE] = "none",
	[KEEPER_HEALTH_STARTING] = "starting",
	[KEEPER_HEALTH_HEALTHY] = "healthy",
	[KEEPER_HEALTH_UNHEALTHY] = "unhealthy",
};

void health_set(struct workload *w, uint32_t status, uint32_t streak)
{
	w->health_known = status != KEEPER_HEALTH_NONE && status < array_len(names);
	w->health.status = status < array_len(names) ? names[status] : names[0];
	w->health.failing_streak = (int)streak;
	w->health.log = w->health_log;
}

static void keep_result(struct workload *w, const struct keeper_health *h)
{
	struct health_result *r;

	if (w->health.log_n == KEEPER_HEALTH_LOG) {
		free((char *)w->health_log[0].output);
		memmove(w->health_log, w->health_log + 1,
			(KEEPER_HEALTH_LOG - 1) * sizeof(*w->health_log));
		w->health.log_n--;
	}
	r = &w->health_log[w->health.log_n++];
	*r = (struct health_result){
		.start_ns = h->started_at_ns,
		.end_ns = h->finished_at_ns,
		.exit_code = (int)h->exit_code,
		.output = mem_dup_text(h->output ? h->output : ""),
	};
}

void health_news(void *ctx, const struct keeper_health *h)
{
	struct workload *w = as_workload(ctx);

	health_set(w, h->status, h->failing_streak);
	keep_result(w, h);
	if (h->changed) {
		auto_free char *action = mem_printf("health_status: %s", w->health.status);

		event_container(w, action, NULL);
	}
}

void health_forget(struct workload *w)
{
	w->health_known = w->health_known && w->health.log_n;
}
