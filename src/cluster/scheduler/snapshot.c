/*
 * The snapshot: nodes as filters and scores read them, kept by events. A node's sums follow from
 * the pods placed there, whether they are bound already or about to be; each change is a line in
 * the journal, so that rankings look again at those nodes only.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

static const char *const amount_names[AMOUNTS] = {"cpu", "memory", "ephemeral-storage", "pods"};

/* -- counting ---------------------------------------------------------------------------------- */

static void count_crowd(struct node_info *n, struct pod_class *c, int sign)
{
	size_t i = 0;

	while (i < n->crowds_n && n->crowds[i].class != c)
		i++;
	if (i == n->crowds_n) {
		assert(sign > 0);
		mem_grow(n->crowds, n->crowds_n + 1, n->crowds_room);
		n->crowds[n->crowds_n++] = (struct crowd){c, 0};
	}
	assert(sign > 0 || n->crowds[i].n > 0);
	n->crowds[i].n += (size_t)sign;
	if (n->crowds[i].n == 0)
		n->crowds[i] = n->crowds[--n->crowds_n];
}

void snapshot_count(struct node_info *n, struct pod_class *c, int sign)
{
	for (int i = 0; i < AMOUNTS; i++)
		n->used.n[i] += sign * c->wants.n[i];
	for (size_t i = 0; i < c->extras_n; i++) {
		struct extra_room *x = map_get(&n->extras, c->extras[i].name);

		if (!x) {
			x = mem_new(struct extra_room);
			(void)map_put(&n->extras, c->extras[i].name, x);
		}
		x->used += sign * c->extras[i].n;
	}
	for (size_t i = 0; i < c->ports_n; i++) {
		uintptr_t have = (uintptr_t)map_get(&n->ports, c->ports[i]) + (uintptr_t)sign;

		if (have)
			(void)map_put(&n->ports, c->ports[i], (void *)have);
		else
			(void)map_remove(&n->ports, c->ports[i]);
	}
	count_crowd(n, c, sign);
}

static void note(struct scheduler *s, const struct node_info *n)
{
	s->journal[s->journal_n++ % JOURNAL_N] = (uint32_t)n->index;
}

bool snapshot_unplace(struct scheduler *s, const char *key)
{
	struct pod_info *p = map_remove(&s->placed, key);
	struct node_info *n = p ? map_get(&s->infos, p->node) : NULL;

	if (!p)
		return false;
	if (n) {
		(void)map_remove(&n->pods, p->key); /* `key` may have been the map's */
		snapshot_count(n, p->class, -1);
		note(s, n);
	}
	class_drop(s, p->class);
	free(p->key);
	free(p->node);
	free(p);
	return true;
}

void snapshot_place(struct scheduler *s, const char *key, struct pod_class *c, const char *node)
{
	struct node_info *n = map_get(&s->infos, node);
	struct pod_info *p = mem_new(struct pod_info);

	assert(!map_get(&s->placed, key));
	p->key = mem_dup_text(key);
	p->node = mem_dup_text(node);
	p->class = c;
	c->refs++;
	(void)map_put(&s->placed, key, p);
	if (!n)
		return;
	(void)map_put(&n->pods, key, p);
	snapshot_count(n, c, 1);
	note(s, n);
}

/* -- nodes ------------------------------------------------------------------------------------- */

static void read_room(struct node_info *n)
{
	const struct json *room = json_get(json_get(n->node, "status"), "allocatable");
	struct json_iter it = {0};
	struct json *v;
	const char *key;

	memset(&n->room, 0, sizeof(n->room));
	map_each (&n->extras, x)
		((struct extra_room *)x->value)->room = 0;
	while (json_next(room, &it, &key, &v)) {
		struct extra_room *x;
		struct quantity q;
		struct err e;
		int a = 0;

		if (!json_text(v) || quantity_parse(json_str(v), &q, &e) < 0)
			continue;
		while (a < AMOUNTS && !text_eq(key, amount_names[a]))
			a++;
		if (a < AMOUNTS) {
			n->room.n[a] = a == AMOUNT_CPU ? quantity_milli(&q) : quantity_whole(&q);
			continue;
		}
		x = map_get(&n->extras, key);
		if (!x) {
			x = mem_new(struct extra_room);
			(void)map_put(&n->extras, key, x);
		}
		x->room = quantity_whole(&q);
	}
}

static void read_images(struct node_info *n)
{
	const struct json *list = json_get(json_get(n->node, "status"), "images");

	map_done(&n->images);
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *names = json_get(json_at(list, i), "names");
		int64_t bytes = json_get_i64(json_at(list, i), "sizeBytes", 0);

		for (size_t k = 0; k < json_len(names); k++)
			if (json_text(json_at(names, k)))
				(void)map_put(&n->images, json_text(json_at(names, k)),
					      (void *)(uintptr_t)bytes);
	}
}

static bool is_odd(const struct node_info *n)
{
	const char *label = json_get_text(n->labels, HOSTNAME);

	return label && !text_eq(label, n->name);
}

static bool same(const struct json *a, const struct json *b, const char *part, const char *key)
{
	const struct json *x = json_get(json_get(a, part), key),
			  *y = json_get(json_get(b, part), key);

	return (!x && !y) || (x && y && json_equal(x, y));
}

/* Whether nothing that filters and scores read has changed: a heartbeat. */
static bool is_same(const struct json *a, const struct json *b)
{
	static const char *const parts[][2] = {
		{"metadata", "labels"},	   {"spec", "taints"},	 {"spec", "unschedulable"},
		{"status", "allocatable"}, {"status", "images"},
	};

	for (size_t i = 0; i < array_len(parts); i++)
		if (!same(a, b, parts[i][0], parts[i][1]))
			return false;
	return true;
}

static struct node_info *node_new(struct scheduler *s, const char *name)
{
	struct node_info *n = mem_new(struct node_info);

	n->name = mem_dup_text(name);
	n->index = s->nodes_n;
	mem_grow(s->nodes, s->nodes_n + 1, s->nodes_room);
	s->nodes[s->nodes_n++] = n;
	(void)map_put(&s->infos, name, n);
	map_each (&s->placed, it) {
		struct pod_info *p = it->value;

		if (!text_eq(p->node, name))
			continue;
		(void)map_put(&n->pods, p->key, p);
		snapshot_count(n, p->class, 1);
	}
	return n;
}

bool snapshot_node(struct scheduler *s, const struct object *o)
{
	struct node_info *n = map_get(&s->infos, o->name);
	const struct json *now = object_tree(o);

	if (n && is_same(n->node, now))
		return false;
	if (!n)
		n = node_new(s, o->name);
	else
		s->odd_hostnames -= is_odd(n);
	(void)json_free(n->node);
	n->node = object_copy(o);
	n->labels = json_get(json_get(n->node, "metadata"), "labels");
	n->taints = json_get(json_get(n->node, "spec"), "taints");
	n->cordoned = json_get_bool(json_get(n->node, "spec"), "unschedulable", false);
	s->odd_hostnames += is_odd(n);
	read_room(n);
	read_images(n);
	s->epoch++;
	return true;
}

static void node_free(struct node_info *n)
{
	map_each (&n->extras, it)
		free(it->value);
	map_done(&n->extras);
	map_done(&n->ports);
	map_done(&n->images);
	map_done(&n->pods);
	(void)json_free(n->node);
	free(n->crowds);
	free(n->name);
	free(n);
}

void snapshot_forget_node(struct scheduler *s, const char *name)
{
	struct node_info *n = map_remove(&s->infos, name);

	if (!n)
		return;
	s->odd_hostnames -= is_odd(n);
	s->nodes[n->index] = s->nodes[--s->nodes_n];
	s->nodes[n->index]->index = n->index;
	s->epoch++;
	node_free(n);
}

void snapshot_done(struct scheduler *s)
{
	map_each (&s->placed, it)
		(void)snapshot_unplace(s, it->key);
	map_done(&s->placed);
	map_each (&s->infos, it)
		node_free(it->value);
	map_done(&s->infos);
	free(s->nodes);
	assert(s->classes.count == 0);
	map_done(&s->classes);
	map_done(&s->with_terms);
}
