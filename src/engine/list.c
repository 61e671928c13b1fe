/*
 * Lists of containers: which pass a filter, newest first.
 */
#include "engine/engine_priv.h"
#include "ground/base/parse.h"

static const char *const known[] = {
	"id",	   "name",   "label",	"label!",    "status",	"ancestor",
	"before",  "since",  "exited",	"health",    "network", "volume",
	"publish", "expose", "is-task", "isolation", NULL,
};

struct question {
	const struct list_options *o;
	int64_t before_ns, since_ns; /* creation times that bound */
	const char *ancestor_ids[64];
	size_t ancestors_n;
	struct image *ancestors[64];
};

static const struct filter *values_of(const struct filters *f, const char *key)
{
	for (size_t i = 0; i < f->n; i++)
		if (text_eq(f->list[i].key, key))
			return &f->list[i];
	return NULL;
}

/* An image is an ancestor when it is the container's, or its layers are the container's lowest. */
static bool match_ancestor(struct workload *w, const struct question *q)
{
	const struct filter *asked = values_of(&q->o->filters, "ancestor");

	if (!asked || !asked->values[0])
		return true;
	for (size_t i = 0; i < q->ancestors_n; i++)
		if (text_eq(w->image_id, q->ancestors[i]->id))
			return true;
	return text_in(w->image_ref, asked->values);
}

/* Docker takes a regular expression; anchors and plain text are what people write. */
static bool match_pattern(const char *subject, struct str core, bool start, bool end)
{
	size_t have = strlen(subject);

	if (core.n > have)
		return false;
	if (start && end)
		return have == core.n && !memcmp(subject, core.p, core.n);
	if (start)
		return !memcmp(subject, core.p, core.n);
	if (end)
		return !memcmp(subject + have - core.n, core.p, core.n);
	return memmem(subject, have, core.p, core.n) != NULL;
}

static bool match_one_name(const struct workload *w, const char *slashed, const char *pattern)
{
	size_t n = strlen(pattern);
	bool start = *pattern == '^', end = n && pattern[n - 1] == '$';
	struct str core = {pattern + start, n - start - end};

	return match_pattern(core.n && core.p[0] == '/' ? slashed : w->name, core, start, end);
}

static bool match_name(const struct workload *w, const struct filters *f)
{
	auto_free char *slashed = mem_printf("/%s", w->name);
	const struct filter *asked = values_of(f, "name");

	if (!asked || !asked->values[0])
		return true;
	for (size_t i = 0; asked->values[i]; i++)
		if (match_one_name(w, slashed, asked->values[i]))
			return true;
	return false;
}

static bool match_exited(const struct workload *w, const struct filters *f)
{
	auto_free char *code = mem_printf("%d", w->exit_code);

	if (!filter_has(f, "exited"))
		return true;
	return w->state == WORKLOAD_EXITED && filter_match(f, "exited", code);
}

static bool match_network(const struct workload *w, const struct filters *f)
{
	if (!filter_has(f, "network"))
		return true;
	for (size_t i = 0; i < w->request.endpoints_n; i++) {
		struct network *n;
		struct err ignored = {0};

		if (filter_match(f, "network", w->request.endpoints[i].network))
			return true;
		if (network_find(w->engine->net, w->request.endpoints[i].network, &n, &ignored) >=
			    0 &&
		    filter_match_prefix(f, "network", network_spec(n)->id))
			return true;
	}
	return false;
}

static bool match_isolation(const struct workload *w, const struct filters *f)
{
	return filter_match(f, "isolation", w->runtime->machine ? "vm" : "container");
}

static bool match_volume(const struct workload *w, const struct filters *f)
{
	if (!filter_has(f, "volume"))
		return true;
	for (size_t i = 0; i < w->mounts_n; i++)
		if (filter_match(f, "volume", w->mounts[i].source) ||
		    filter_match(f, "volume", w->mounts[i].target))
			return true;
	return false;
}

/* "80", "80/tcp" against published or exposed ports. */
static bool match_port(struct workload *w, const struct filters *f, const char *key,
		       struct arena *a)
{
	const struct container_view *v;

	if (!filter_has(f, key))
		return true;
	v = workload_view(w, a);
	for (size_t i = 0; i < v->ports_n; i++) {
		const char *plain = arena_printf(a, "%u", v->ports[i].container_port);
		const char *full = arena_printf(a, "%s/%s", plain, v->ports[i].protocol);
		const char *host = arena_printf(a, "%u", v->ports[i].host_port);

		if (text_eq(key, "publish") && !v->ports[i].host_port)
			continue;
		if (filter_match(f, key, plain) || filter_match(f, key, full) ||
		    (v->ports[i].host_port && filter_match(f, key, host)))
			return true;
	}
	return false;
}

static bool match_bounds(const struct workload *w, const struct question *q)
{
	return (!q->before_ns || w->created_ns < q->before_ns) &&
	       (!q->since_ns || w->created_ns > q->since_ns);
}

/* Without -a only what runs is listed, unless the question is about states. */
static bool match_running(const struct workload *w, const struct question *q)
{
	const struct filters *f = &q->o->filters;

	return q->o->all || q->o->limit || filter_has(f, "status") || filter_has(f, "exited") ||
	       workload_runs(w);
}

static bool match_state(const struct workload *w, const struct filters *f)
{
	return filter_match_prefix(f, "id", w->id) &&
	       filter_match(f, "status", workload_state_name(w->state)) &&
	       filter_match(f, "health", w->health_known ? w->health.status : "none") &&
	       match_exited(w, f);
}

static bool passes(struct workload *w, const struct question *q, struct arena *a)
{
	const struct filters *f = &q->o->filters;

	return !w->hidden && match_running(w, q) && match_bounds(w, q) && match_state(w, f) &&
	       match_name(w, f) && filter_match_labels(f, w->request.config.labels) &&
	       match_network(w, f) && match_volume(w, f) && match_isolation(w, f) &&
	       match_ancestor(w, q) && match_port(w, f, "publish", a) &&
	       match_port(w, f, "expose", a);
}

static int bound(struct user *u, const struct filters *f, const char *key, int64_t *ret_ns,
		 struct err *e)
{
	const struct filter *asked = values_of(f, key);
	struct workload *w;

	*ret_ns = 0;
	if (!asked || !asked->values[0])
		return 0;
	if (workload_find(u, asked->values[0], &w, e) < 0)
		return err_wrap(e, "filter '%s'", key);
	*ret_ns = w->created_ns;
	return 0;
}

static int check_values(const struct filters *f, struct err *e)
{
	const struct filter *status = values_of(f, "status"), *exited = values_of(f, "exited");
	int64_t number;

	for (size_t i = 0; status && status->values[i]; i++) {
		bool good = false;

		for (int s = 0; s < WORKLOAD_STATES; s++)
			good = good || text_eq(status->values[i],
					       workload_state_name((enum workload_state)s));
		if (!good)
			return err_set(e, ERR_INVALID, "invalid filter 'status=%s'",
				       status->values[i]);
	}
	for (size_t i = 0; exited && exited->values[i]; i++)
		if (parse_i64(str_of(exited->values[i]), "exited", &number, e) < 0)
			return -ERR_INVALID;
	return 0;
}

static void find_ancestors(struct user *u, struct question *q)
{
	const struct filter *asked = values_of(&q->o->filters, "ancestor");

	for (size_t i = 0; asked && asked->values[i] && q->ancestors_n < array_len(q->ancestors);
	     i++) {
		struct err ignored = {0};

		if (image_find(u->engine->images, asked->values[i], &q->ancestors[q->ancestors_n],
			       &ignored) >= 0)
			q->ancestors_n++;
	}
}

static int newest_first(const void *a, const void *b)
{
	const struct workload *const *x = a, *const *y = b;

	if ((*x)->created_ns != (*y)->created_ns)
		return (*x)->created_ns > (*y)->created_ns ? -1 : 1;
	return strcmp((*x)->id, (*y)->id);
}

int engine_list(struct user *u, const struct list_options *o, struct arena *a,
		struct container_view ***ret, size_t *ret_n, struct err *e)
{
	struct question q = {.o = o};
	struct workload **found;
	struct container_view **views;
	size_t n = 0;

	if (filters_check(&o->filters, known, e) < 0 || check_values(&o->filters, e) < 0 ||
	    bound(u, &o->filters, "before", &q.before_ns, e) < 0 ||
	    bound(u, &o->filters, "since", &q.since_ns, e) < 0)
		return -ERR_INVALID;
	find_ancestors(u, &q);
	found = mem_new_array(struct workload *, u->engine->workloads.count + 1);
	map_each (&u->engine->workloads, it) {
		struct workload *w = it->value;

		if (w->owner == u->owner && passes(w, &q, a))
			found[n++] = w;
	}
	for (size_t i = 0; i < q.ancestors_n; i++)
		(void)image_unref(q.ancestors[i]);
	qsort(found, n, sizeof(struct workload *), newest_first);
	if (o->limit > 0 && n > (size_t)o->limit)
		n = (size_t)o->limit;
	views = arena_new_array(a, struct container_view *, n + 1);
	for (size_t i = 0; i < n; i++)
		views[i] = workload_view(found[i], a);
	free(found);
	*ret = views;
	*ret_n = n;
	return 0;
}
