/*
 * What pods use now: asked of the nodes when an autoscaler wants to know, and not otherwise. All
 * who ask while the nodes measure (about a second) share the answer; nothing is kept fresh for
 * nobody.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/autoscaler_priv.h"
#include "cluster/objects/node_ops.h"
#include "ground/base/mem.h"

/* One asking of all nodes: it may outlive who asked, as nodes answer when they can. */
struct round {
	struct sample *sample; /* NULL: nobody wants to know any more */
	struct map found;      /* "namespace/name" -> struct json * */
	size_t left;
};

struct sample {
	struct controller *controller;
	struct map found; /* of the last round */
	struct round *round;
	struct work **waiting;
	size_t n, room;
};

static void forget(struct map *found)
{
	map_each (found, it)
		(void)json_free(it->value);
	map_done(found);
}

struct sample *sample_new(struct controller *c)
{
	struct sample *s = mem_new(struct sample);

	s->controller = c;
	return s;
}

struct sample *sample_free(struct sample *s)
{
	if (!s)
		return NULL;
	if (s->round)
		s->round->sample = NULL;
	for (size_t i = 0; i < s->n; i++)
		work_drop(s->waiting[i]);
	free(s->waiting);
	forget(&s->found);
	free(s);
	return NULL;
}

const struct json *sample_of(const struct sample *s, const struct object *pod)
{
	char key[OBJECT_KEY_MAX];

	return map_get(&s->found, object_key(pod, key));
}

static void keep(struct round *r, const struct json *answer)
{
	const struct json *pods = json_get(answer, "pods");

	for (size_t i = 0; i < json_len(pods); i++) {
		const struct json *pod = json_at(pods, i);
		auto_free char *key = mem_printf("%s/%s", json_get_text(pod, "namespace"),
						 json_get_text(pod, "name"));
		struct json *kept = json_copy(pod);

		json_set_i64(kept, "time_s", time_of(json_get_text(answer, "time")));
		json_set_i64(kept, "window_s", json_get_i64(answer, "window_s", 0));
		(void)json_free(map_put(&r->found, key, kept));
	}
}

static void end_round(struct round *r)
{
	struct sample *s = r->sample;
	struct work **waiting;
	size_t n;

	assert(r->left == 0);
	if (!s) {
		forget(&r->found);
		free(r);
		return;
	}
	forget(&s->found);
	s->found = r->found;
	free(r);
	s->round = NULL;
	waiting = s->waiting;
	n = s->n;
	s->waiting = NULL;
	s->n = s->room = 0;
	for (size_t i = 0; i < n; i++)
		work_end(waiting[i]);
	free(waiting);
}

static void one_less(struct round *r)
{
	assert(r->left > 0);
	if (--r->left == 0)
		end_round(r);
}

static void measured(void *ctx, const struct json *answer, const struct err *e)
{
	struct round *r = ctx;

	if (!e && answer)
		keep(r, answer);
	one_less(r);
}

static bool ask_node(void *ctx, const struct object *node)
{
	struct round *r = ctx;
	const struct node_directory *nodes = r->sample->controller->all->o.nodes;
	const struct node_ops *ops;
	void *it = NULL;

	ops = nodes ? nodes->find(nodes->ctx, node->name, &it) : NULL;
	if (ops && ops->stats) {
		r->left++;
		ops->stats(it, measured, r);
	}
	return true;
}

/* The work's own part ends when the round does: its then() is called after that. */
void sample_ask(struct sample *s, struct work *w)
{
	struct round *r;

	assert(w->then);
	mem_grow(s->waiting, s->n + 1, s->room);
	s->waiting[s->n++] = w;
	if (s->round)
		return;
	r = s->round = mem_new(struct round);
	r->sample = s;
	r->left = 1;
	informer_each(controller_view(s->controller, "", "nodes"), NULL, ask_node, r);
	one_less(r);
}
