/*
 * Lists of the direct client: pages of one moment. A page that goes on says the revision of the
 * first and the key it ended with, so that all pages show the same state, however much is written
 * in between. Removing many is a list whose items are removed side by side.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/direct_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/format/base64.h"
#include "ground/wire/loop.h"

struct listing {
	struct objects *objects;
	const struct kind *kind;
	char *prefix;
	const struct selector *labels, *fields;
	struct arena arena;
	size_t limit;
	uint64_t revision; /* of the state that is shown; 0: now */
	uint64_t at_least;
	char *after; /* key the page before ended with */
	const struct object **items;
	size_t n, room;
	bool more;
	int64_t remaining;
	struct err error;
	client_listed *done;
	void *ctx;
	/* of a removal */
	bool removes;
	struct delete_options remove;
	size_t under_way;
};

const struct selector *direct_keep(const struct selector *s, struct arena *a)
{
	struct selector *kept;

	if (!s || s->n == 0)
		return NULL;
	kept = arena_new(a, struct selector);
	kept->n = s->n;
	kept->list = arena_new_array(a, struct selector_one, s->n);
	for (size_t i = 0; i < s->n; i++) {
		const struct selector_one *from = &s->list[i];
		struct selector_one *to = &kept->list[i];

		*to = *from;
		to->key = arena_dup_text(a, from->key);
		to->values = arena_new_array(a, char *, from->values_n + 1);
		for (size_t j = 0; j < from->values_n; j++)
			to->values[j] = arena_dup_text(a, from->values[j]);
	}
	return kept;
}

static void listing_free(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		(void)object_unref(l->items[i]);
	free(l->items);
	free(l->prefix);
	free(l->after);
	arena_done(&l->arena);
	free(l);
}

/* -- the token of a page that goes on ---------------------------------------------------------- */

static void write_token(const struct listing *l, struct strbuf *out)
{
	auto_strbuf struct strbuf plain = {0};

	strbuf_printf(&plain, "%llu ", (unsigned long long)l->revision);
	strbuf_add_text(&plain, l->after);
	base64_encode(strbuf_str(&plain), out);
}

static int read_token(struct listing *l, const char *text, struct err *e)
{
	auto_strbuf struct strbuf plain = {0};
	struct str rest, revision;

	if (base64_decode(str_of(text), &plain, e) < 0)
		return err_set(e, ERR_INVALID,
			       "continue key is not valid: it is not what a list gave");
	rest = strbuf_str(&plain);
	if (!str_cut(&rest, ' ', &revision) ||
	    parse_u64(revision, "continue", &l->revision, e) < 0 || l->revision == 0 ||
	    rest.n == 0 || memchr(rest.p, '\0', rest.n))
		return err_set(e, ERR_INVALID,
			       "continue key is not valid: it is not what a list gave");
	l->after = str_dup(rest);
	if (!text_starts(l->after, l->prefix))
		return err_set(e, ERR_INVALID, "continue key is not valid: it is of another list");
	return 0;
}

/* -- collecting -------------------------------------------------------------------------------- */

static bool collect(void *ctx, const struct key_value *v)
{
	struct listing *l = ctx;
	const struct object *o = object_of_value(v);

	if (!o || !object_selected(o, l->labels) || !object_selected_fields(o, l->fields))
		return true;
	if (l->limit && l->n == l->limit) {
		l->more = true;
		l->remaining++;
		return !l->labels && !l->fields; /* go on counting */
	}
	mem_grow(l->items, l->n + 1, l->room);
	l->items[l->n++] = object_ref(o);
	if (l->limit && l->n == l->limit) {
		free(l->after);
		l->after = mem_dup_text(v->key);
	}
	return true;
}

static void answer(struct listing *l)
{
	auto_strbuf struct strbuf token = {0};
	struct list_outcome out = {
		.error = l->error.kind ? &l->error : NULL,
		.items = l->items,
		.n = l->n,
		.revision = l->revision,
		.remaining = l->labels || l->fields ? -1 : l->remaining,
	};

	if (l->more)
		write_token(l, &token);
	out.next = strbuf_text(&token);
	l->done(l->ctx, &out);
	listing_free(l);
}

static void remove_items(struct listing *l);

static void run(void *arg)
{
	struct listing *l = arg;
	uint64_t asked = l->revision;
	char *after = take(l->after);

	if (l->error.kind == ERR_NONE) {
		if (!l->revision)
			l->revision = keys_revision(l->objects->keys);
		if (keys_each(l->objects->keys, l->prefix, after, asked, collect, l, &l->error) <
			    0 &&
		    l->error.kind == ERR_GONE)
			(void)err_set(
				&l->error, ERR_GONE,
				"The provided continue parameter is too old to display a "
				"consistent list result. You can start a new list without the "
				"continue parameter");
	}
	free(after);
	if (l->removes && l->error.kind == ERR_NONE && l->n)
		remove_items(l);
	else
		answer(l);
}

static void fresh(void *ctx, const struct key_value *v, uint64_t revision, const struct err *e)
{
	struct listing *l = ctx;

	(void)v;
	(void)revision;
	if (e)
		l->error = *e;
	run(l);
}

static struct listing *listing_new(const struct client *client, const struct client_target *t,
				   const struct list_query *q, client_listed *done, void *ctx)
{
	static const struct list_query all = {0};
	struct listing *l = mem_new(struct listing);
	uint64_t revision = 0;

	if (!q)
		q = &all;
	l->objects = client->impl;
	l->kind = t->kind;
	l->prefix = objects_key(t->kind->stored, t->namespace, NULL);
	l->labels = direct_keep(q->labels, &l->arena);
	l->fields = direct_keep(q->fields, &l->arena);
	l->limit = q->limit;
	l->done = done;
	l->ctx = ctx;
	if (q->next && q->next[0]) {
		(void)read_token(l, q->next, &l->error);
		return l;
	}
	if (q->revision && q->revision[0] &&
	    parse_u64(str_of(q->revision), "resourceVersion", &revision, &l->error) < 0)
		return l;
	if (q->exact)
		l->revision = revision;
	else
		l->at_least = revision;
	return l;
}

static void begin(struct listing *l)
{
	if (l->error.kind == ERR_NONE && l->at_least > keys_revision(l->objects->keys))
		keys_fresh(l->objects->keys, l->at_least, fresh, l);
	else
		loop_defer(l->objects->loop, run, l);
}

void direct_list(const struct client *client, const struct client_target *t,
		 const struct list_query *q, client_listed *done, void *ctx)
{
	begin(listing_new(client, t, q, done, ctx));
}

/* -- removing many ----------------------------------------------------------------------------- */

static void item_removed(void *ctx, const struct outcome *o)
{
	struct listing *l = ctx;

	assert(l->under_way > 0);
	if (o->error && o->error->kind != ERR_NOT_FOUND && l->error.kind == ERR_NONE)
		l->error = *o->error;
	if (--l->under_way == 0)
		answer(l);
}

static void remove_items(struct listing *l)
{
	size_t n = l->n;

	l->under_way = n;
	for (size_t i = 0; i < n; i++) {
		const struct object *o = l->items[i];
		struct client_target t = {l->kind, o->namespace, o->name, NULL};
		const struct object *newest =
			objects_newest(l->objects, l->kind, o->namespace, o->name);
		struct change *c = change_new(l->objects, CHANGE_DELETE, &t, item_removed, l);

		c->dry_run = l->remove.dry_run;
		c->old = newest ? object_ref(newest) : NULL;
		if (c->old)
			remove_begin(c, &l->remove);
		else
			change_not_found(c);
	}
}

void direct_remove_all(const struct client *client, const struct client_target *t,
		       const struct list_query *q, const struct delete_options *o,
		       client_listed *done, void *ctx)
{
	struct listing *l = listing_new(client, t, q, done, ctx);

	l->removes = true;
	l->remove = o ? *o : (struct delete_options){.grace_s = -1};
	l->remove.uid = l->remove.revision = NULL;
	begin(l);
}
