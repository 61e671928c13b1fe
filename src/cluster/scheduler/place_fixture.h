/*
 * What tests of this room stand on: a scheduler that only knows (no loop, no client), nodes and
 * pods written as JSON with single quotes.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

struct place {
	struct scheduler *s;
	struct strbuf why, help;
	unsigned helped_by;
};

static inline const struct object *place_object(const char *resource, const char *text)
{
	auto_free char *plain = mem_dup_text(text);
	struct json *tree = NULL;
	const struct object *o;
	struct err e;

	for (char *c = plain; *c; c++)
		if (*c == '\'')
			*c = '"';
	if (json_parse(str_of(plain), "test", &tree, &e) < 0)
		fail_msg("%s", e.text);
	o = object_of_tree(kind_of_resource("", "v1", resource), tree);
	(void)json_free(tree);
	return o;
}

/* labels, taints and more: members of JSON objects, "" for none. */
static inline struct node_info *place_node(struct place *p, const char *name, const char *labels,
					   const char *spec, int cpus)
{
	auto_free char *text = mem_printf(
		"{'kind':'Node','apiVersion':'v1','metadata':{'name':'%s','labels':{'kubernetes.io/"
		"hostname':'%s'%s%s}},'spec':{%s},'status':{'allocatable':{'cpu':'%d','memory':"
		"'8Gi','pods':'10','example.com/gpu':'2'}}}",
		name, name, labels[0] ? "," : "", labels, spec, cpus);
	const struct object *o = place_object("nodes", text);

	(void)snapshot_node(p->s, o);
	(void)object_unref(o);
	return map_get(&p->s->infos, name);
}

/* A pod as an object: labels and spec are members of JSON objects. */
static inline const struct object *place_pod(const char *name, const char *labels, const char *spec)
{
	auto_free char *text = mem_printf(
		"{'kind':'Pod','apiVersion':'v1','metadata':{'name':'%s','namespace':'default',"
		"'uid':'%s','labels':{%s}},'spec':{%s}}",
		name, name, labels, spec);

	return place_object("pods", text);
}

static inline struct pod_class *place_class(struct place *p, const char *labels, const char *spec)
{
	const struct object *o = place_pod("x", labels, spec);
	struct pod_class *c = class_of(p->s, object_tree(o));

	(void)object_unref(o);
	return c;
}

/* A pod that has a node. */
static inline void place_put(struct place *p, const char *key, const char *labels, const char *spec,
			     const char *node)
{
	struct pod_class *c = place_class(p, labels, spec);

	snapshot_place(p->s, key, c, node);
	class_drop(p->s, c);
}

/* Where such a pod would go: the node's name, "" when it fits nowhere (then why says it). */
static inline const char *place_pick(struct place *p, const char *labels, const char *spec)
{
	struct pod_class *c = place_class(p, labels, spec);
	const struct node_info *n;

	strbuf_clear(&p->why);
	strbuf_clear(&p->help);
	n = pick_node(p->s, c, &p->why, &p->help, &p->helped_by);
	class_drop(p->s, c);
	return n ? n->name : "";
}

static inline int place_set_up(void **state)
{
	struct place *p = mem_new(struct place);

	p->s = mem_new(struct scheduler);
	p->s->world = &world_real;
	*state = p;
	return 0;
}

static inline int place_tear_down(void **state)
{
	struct place *p = *state;

	map_each (&p->s->nominated, it)
		preempt_forget(p->s, it->key);
	map_done(&p->s->nominated);
	snapshot_done(p->s);
	free(p->s);
	strbuf_done(&p->why);
	strbuf_done(&p->help);
	free(p);
	return 0;
}
