/*
 * Prune: removes the stopped containers that match, one after another, and counts what that frees.
 */
#include "engine/engine_priv.h"

struct pruning {
	struct user *user;
	engine_pruned *done;
	void *ctx;
	char **ids; /* to remove, then removed */
	size_t next;
	char **removed;
	int64_t freed;
	struct err error;
};

static void prune_next(struct pruning *p);

static void prune_end(void *arg)
{
	struct pruning *p = arg;

	p->done(p->ctx, p->removed, p->freed, p->error.kind ? &p->error : NULL);
	p->ids = mem_free_texts(p->ids);
	p->removed = mem_free_texts(p->removed);
	free(p);
}

static void one_removed(void *ctx, const struct err *e)
{
	struct pruning *p = ctx;

	if (!e)
		mem_append_text(&p->removed, p->ids[p->next]);
	p->next++;
	prune_next(p);
}

static void one_sized(void *ctx, const struct container_sizes *s, const struct err *e)
{
	struct pruning *p = ctx;
	struct workload *w = map_get(&p->user->engine->workloads, p->ids[p->next]);

	if (!w || w->removing || w->starting || workload_runs(w)) {
		p->next++;
		prune_next(p);
		return;
	}
	if (!e)
		p->freed += s->rw_bytes;
	workload_remove(w, false, one_removed, p);
}

static void prune_next(struct pruning *p)
{
	if (!p->ids[p->next]) {
		loop_defer(p->user->engine->loop, prune_end, p);
		return;
	}
	engine_sizes(p->user, p->ids[p->next], one_sized, p);
}

static const char *const known[] = {"until", "label", "label!", NULL};

void engine_prune(struct user *u, const struct filters *f, engine_pruned *done, void *ctx)
{
	struct pruning *p = mem_new(struct pruning);
	int64_t until = 0;

	p->user = u;
	p->done = done;
	p->ctx = ctx;
	p->ids = mem_new_array(char *, 1);
	p->removed = mem_new_array(char *, 1);
	if (filters_check(f, known, &p->error) < 0 ||
	    filter_until(f, u->engine->world, &until, &p->error) < 0) {
		loop_defer(u->engine->loop, prune_end, p);
		return;
	}
	map_each (&u->engine->workloads, it) {
		struct workload *w = it->value;

		if (w->owner == u->owner && !w->hidden && !workload_runs(w) && !w->starting &&
		    !w->removing && (!until || w->created_ns < until) &&
		    filter_match_labels(f, w->request.config.labels))
			mem_append_text(&p->ids, w->id);
	}
	prune_next(p);
}
