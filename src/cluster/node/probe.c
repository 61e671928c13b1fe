/*
 * Probes: whether a container has started, serves, and lives, asked again and again on a timer of
 * each probe's own. One success or failure counts only after as many in a row as its threshold
 * says. Until the startup probe has succeeded the others are silent.
 *
 *	startup   -> started: the others begin;	 failed: the container is ended
 *	readiness -> ready, not ready
 *	liveness  -> failed: the container is ended, and its pod's policy makes a new one
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS };

static const struct probe_row {
	const char *member, *title;
} rows[] = {
	[PROBE_STARTUP] = {"startupProbe", "Startup"},
	[PROBE_LIVENESS] = {"livenessProbe", "Liveness"},
	[PROBE_READINESS] = {"readinessProbe", "Readiness"},
};

struct probe {
	struct list link;
	struct pod_container *container;
	enum probe_kind kind;
	struct json *spec; /* its own words */
	struct loop_timer *timer;
	struct action *action;
	int64_t good, bad; /* in a row */
};

static struct probe *probe_free(struct probe *p)
{
	p->action = action_cancel(p->action);
	p->timer = loop_timer_free(p->timer);
	list_remove(&p->link);
	(void)json_free(p->spec);
	free(p);
	return NULL;
}

void probes_stop(struct pod_container *c)
{
	list_each (&c->probes, struct probe, link, p)
		(void)probe_free(p);
	c->probed = false;
}

static bool has(const struct pod_container *c, enum probe_kind kind)
{
	list_each ((struct list *)&c->probes, struct probe, link, p)
		if (p->kind == kind)
			return true;
	return false;
}

/* -- what an answer means ---------------------------------------------------------------------- */

static void set_ready(struct pod_container *c, bool ready)
{
	if (c->ready == ready)
		return;
	c->ready = ready;
	pod_again(c->pod);
}

static void begin_others(struct pod_container *c)
{
	c->started = true;
	list_each (&c->probes, struct probe, link, p)
		if (p->kind != PROBE_STARTUP)
			loop_timer_set(p->timer,
				       json_get_i64(p->spec, "initialDelaySeconds", 0) * 1000, 0);
	if (!has(c, PROBE_READINESS))
		c->ready = true;
	pod_again(c->pod);
}

static void succeeded(struct probe *p)
{
	struct pod_container *c = p->container;

	if (p->good < json_get_i64(p->spec, "successThreshold", 1))
		return;
	if (p->kind == PROBE_READINESS)
		set_ready(c, true);
	else if (p->kind == PROBE_STARTUP && !c->started) {
		loop_timer_unset(p->timer);
		begin_others(c);
	}
}

/* The container is ended because of this; its next incarnation begins with new probes. */
static void give_up(struct probe *p)
{
	struct pod_container *c = p->container;
	int64_t own = json_get_i64(p->spec, "terminationGracePeriodSeconds", -1);

	node_event(c->pod, "Normal", "Killing", c->name,
		   "Container %s failed %s probe, will be restarted", c->name,
		   p->kind == PROBE_STARTUP ? "startup" : "liveness");
	list_each (&c->probes, struct probe, link, other)
		loop_timer_unset(other->timer);
	container_stop(c, own >= 0 ? own : c->pod->grace_s);
	pod_again(c->pod);
}

static void failed(struct probe *p, const char *text)
{
	struct pod_container *c = p->container;

	node_event(c->pod, "Warning", "Unhealthy", c->name, "%s probe failed: %s",
		   rows[p->kind].title, text);
	if (p->bad < json_get_i64(p->spec, "failureThreshold", 3))
		return;
	if (p->kind == PROBE_READINESS)
		set_ready(c, false);
	else
		give_up(p);
}

static void answered(void *ctx, bool good, const char *text)
{
	struct probe *p = ctx;

	p->action = NULL;
	if (!container_runs(p->container) || p->container->wanted_stop)
		return;
	p->good = good ? p->good + 1 : 0;
	p->bad = good ? 0 : p->bad + 1;
	loop_timer_set(p->timer, json_get_i64(p->spec, "periodSeconds", 10) * 1000, 0);
	if (good)
		succeeded(p);
	else
		failed(p, text);
}

static void ask(void *arg)
{
	struct probe *p = arg;
	const struct json *spec = container_spec_now(p->container);

	if (!p->action && spec)
		p->action = action_start(p->container, spec, p->spec,
					 json_get_i64(p->spec, "timeoutSeconds", 1) * 1000,
					 answered, p);
}

/* -- beginning --------------------------------------------------------------------------------- */

static void add(struct pod_container *c, const struct json *spec, enum probe_kind kind)
{
	const struct json *words = json_get(spec, rows[kind].member);
	struct probe *p;

	if (!words)
		return;
	p = mem_new(struct probe);
	p->container = c;
	p->kind = kind;
	p->spec = json_copy(words);
	p->timer = loop_timer_new(c->pod->agent->loop, ask, p);
	list_append(&c->probes, &p->link);
}

void probes_start(struct pod_container *c, const struct json *spec)
{
	bool was_started = c->adopted && c->started;

	assert(!c->probed && list_empty(&c->probes));
	c->probed = true;
	for (size_t k = 0; k < array_len(rows); k++)
		if (k != PROBE_STARTUP || !was_started)
			add(c, spec, (enum probe_kind)k);
	if (!has(c, PROBE_STARTUP)) {
		begin_others(c);
		return;
	}
	list_each (&c->probes, struct probe, link, p)
		if (p->kind == PROBE_STARTUP)
			loop_timer_set(p->timer,
				       json_get_i64(p->spec, "initialDelaySeconds", 0) * 1000, 0);
}
