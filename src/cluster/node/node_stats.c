/*
 * What the node uses now, for `kubectl top`: one sample of every container, gathered side by side.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"
#include "ground/wire/loop.h"

struct sampling {
	struct node_agent *agent;
	struct json *pods;
	size_t left; /* containers that have not answered, and the asking itself */
	uint64_t cpu, memory;
	node_json_done *done;
	void *ctx;
};

struct sample {
	struct sampling *all;
	struct json *container; /* in the answer */
	struct stream *stream;
};

static void one_less(struct sampling *s)
{
	auto_json struct json *answer = NULL;
	struct json *node;
	char now[RFC3339_CHARS + 1];

	assert(s->left > 0);
	if (--s->left > 0)
		return;
	answer = json_new_object();
	node = json_new_object();
	json_set(node, "cpu", json_new_u64(s->cpu));
	json_set(node, "memory", json_new_u64(s->memory));
	json_set(answer, "node", node);
	json_set(answer, "pods", s->pods);
	json_set_text(answer, "time", rfc3339_text(world_now_ns(s->agent->world), now));
	json_set_i64(answer, "window_s", 1);
	s->done(s->ctx, answer, NULL);
	free(s);
}

/* The share of the last second, in nanocores. */
static uint64_t nanocores(const struct container_stats *v)
{
	int64_t wall = v->read_ns - v->preread_ns;

	if (!v->preread_ns || wall <= 0 || v->cpu_total_ns < v->precpu_total_ns)
		return 0;
	return (uint64_t)((double)(v->cpu_total_ns - v->precpu_total_ns) / (double)wall * 1e9);
}

static void sampled(void *ctx, const struct container_stats *v)
{
	struct sample *one = ctx;
	uint64_t cpu = nanocores(v);
	uint64_t memory = v->memory_usage > v->memory_inactive_file
				  ? v->memory_usage - v->memory_inactive_file
				  : 0;

	json_set(one->container, "cpu", json_new_u64(cpu));
	json_set(one->container, "memory", json_new_u64(memory));
	one->all->cpu += cpu;
	one->all->memory += memory;
}

static void sample_ended(void *ctx, const struct err *e)
{
	struct sample *one = ctx;
	struct sampling *all = one->all;

	(void)e;
	free(one);
	one_less(all);
}

static void sample_one(struct sampling *s, struct pod_container *c, struct json *containers)
{
	struct sample *one = mem_new(struct sample);
	struct json *j = json_new_object();
	struct err e;

	json_set_text(j, "name", c->name);
	json_set_i64(j, "cpu", 0);
	json_set_i64(j, "memory", 0);
	json_append(containers, j);
	*one = (struct sample){.all = s, .container = j};
	if (engine_stats(s->agent->user, c->id, &(struct stats_options){0},
			 &(struct stats_sink){sampled, sample_ended, one}, &one->stream, &e) < 0)
		free(one);
	else
		s->left++;
}

static void asked(void *arg)
{
	one_less(arg);
}

void node_stats(void *node, node_json_done *done, void *ctx)
{
	struct node_agent *a = node;
	struct sampling *s = mem_new(struct sampling);

	*s = (struct sampling){
		.agent = a, .pods = json_new_array(), .left = 1, .done = done, .ctx = ctx};
	map_each (&a->known, it) {
		struct pod *p = it->value;
		struct json *j = json_new_object(), *containers = json_new_array();

		json_set_text(j, "namespace", p->namespace);
		json_set_text(j, "name", p->name);
		json_set(j, "containers", containers);
		json_append(s->pods, j);
		for (size_t i = 0; i < p->n; i++) {
			container_look(&p->containers[i]);
			if (container_runs(&p->containers[i]))
				sample_one(s, &p->containers[i], containers);
		}
	}
	loop_defer(a->loop, asked, s);
}
