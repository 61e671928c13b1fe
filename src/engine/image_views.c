/*
 * What is known about images: views, lists, history.
 */
#include "engine/engine_priv.h"
#include "virt/image/reference.h"

static char **texts_in(struct arena *a, char **list)
{
	size_t n = mem_count_texts(list);
	char **copy = arena_new_array(a, char *, n + 1);

	for (size_t i = 0; i < n; i++)
		copy[i] = arena_dup_text(a, list[i]);
	(void)mem_free_texts(list);
	return copy;
}

/* The image's config in the words of a request, by way of JSON that the arena's tree keeps. */
static const struct container_config *config_of(const struct image *i, struct arena *a)
{
	struct container_config *c = arena_new(a, struct container_config);
	struct health_check *h;

	*c = (struct container_config){
		.hostname = (char *)i->hostname,
		.user = (char *)i->user,
		.env = i->env,
		.cmd = i->cmd,
		.entrypoint = i->entrypoint,
		.working_dir = (char *)i->workdir,
		.labels = (struct json_pair *)i->labels,
		.stop_signal = (char *)i->stop_signal,
		.on_build = i->onbuild,
		.shell = i->shell,
	};
	/* Sets are borrowed from the config as it came: {"config": {"ExposedPorts": {}, "Volumes":
	 * {}}} */
	c->exposed_ports = json_get(json_get(i->config, "config"), "ExposedPorts");
	c->volumes = json_get(json_get(i->config, "config"), "Volumes");
	if (!i->health.test)
		return c;
	h = c->health_check = arena_new(a, struct health_check);
	*h = (struct health_check){
		.test = i->health.test,
		.interval_ns = i->health.interval_ns,
		.timeout_ns = i->health.timeout_ns,
		.start_period_ns = i->health.start_period_ns,
		.start_interval_ns = i->health.start_interval_ns,
		.retries = (int32_t)i->health.retries,
	};
	return c;
}

static int users_of(struct user *u, const char *image_id)
{
	int n = 0;

	map_each (&u->engine->workloads, it)
		n += text_eq(((struct workload *)it->value)->image_id, image_id);
	return n;
}

static struct image_view *view(struct user *u, struct image *i, struct arena *a)
{
	struct image_view *v = arena_new(a, struct image_view);

	*v = (struct image_view){
		.id = i->id,
		.tags = texts_in(a, image_tags(u->engine->images, i, (enum image_owner)u->owner)),
		.digests = texts_in(
			a, image_digests(u->engine->images, i, (enum image_owner)u->owner)),
		.parent = "",
		.created_ns = i->created_ns,
		.size_bytes = i->size_bytes,
		.architecture = i->architecture,
		.os = i->os,
		.variant = i->variant,
		.author = i->author,
		.comment = i->comment,
		.config = config_of(i, a),
		.layers = i->diff_ids,
		.containers = users_of(u, i->id),
	};
	return v;
}

static void unref_later(void *arg)
{
	(void)image_unref(arg);
}

int engine_image_check_name(const char *text, struct err *e)
{
	auto_arena struct arena a = {0};
	struct reference r;

	return reference_parse(text, &a, &r, e);
}

int engine_image_inspect(struct user *u, const char *ref, struct arena *a, struct image_view **ret,
			 struct err *e)
{
	struct image *i;

	if (image_find(u->engine->images, ref, &i, e) < 0)
		return -ERR_NOT_FOUND;
	*ret = view(u, i, a);
	/* The view borrows from the image until the asker's callback is over. */
	loop_defer(u->engine->loop, unref_later, i);
	return 0;
}

int engine_image_history(struct user *u, const char *ref, struct arena *a,
			 struct image_history **ret, size_t *ret_n, struct err *e)
{
	auto_image struct image *i = NULL;
	struct image_history *list;

	if (image_find(u->engine->images, ref, &i, e) < 0)
		return -ERR_NOT_FOUND;
	list = arena_new_array(a, struct image_history, i->history_n + 1);
	for (size_t k = 0; k < i->history_n; k++) {
		const struct image_step *s = &i->history[i->history_n - 1 - k];
		struct err ignored = {0};

		list[k] = (struct image_history){
			.created_by = arena_dup_text(a, s->created_by ? s->created_by : ""),
			.comment = arena_dup_text(a, s->comment ? s->comment : ""),
			.id = k ? "<missing>" : arena_dup_text(a, i->id),
			.size_bytes = s->size_bytes,
			.tags = k ? NULL
				  : texts_in(a, image_tags(u->engine->images, i,
							   (enum image_owner)u->owner)),
		};
		if (s->created)
			(void)!rfc3339_parse(s->created, &list[k].created_ns, &ignored);
	}
	*ret = list;
	*ret_n = i->history_n;
	return 0;
}

static const char *const known[] = {"dangling", "label",     "label!", "before",
				    "since",	"reference", "until",  NULL};

struct image_question {
	const struct filters *filters;
	bool has_dangling, dangling;
	int64_t before_ns, since_ns, until_ns;
};

/* "alpine", "alpine:3", a pattern with a star: it matches the name, with or without its tag. */
static bool match_reference(const struct filters *f, const struct image_view *v)
{
	if (!filter_has(f, "reference"))
		return true;
	for (char *const *t = v->tags; *t; t++) {
		const char *colon = strrchr(*t, ':');
		auto_free char *bare =
			colon ? str_dup((struct str){*t, (size_t)(colon - *t)}) : NULL;

		if (filter_match_glob(f, "reference", *t) ||
		    (bare && filter_match_glob(f, "reference", bare)))
			return true;
	}
	return false;
}

static bool passes(const struct image_question *q, const struct image_view *v)
{
	bool dangling = !v->tags[0];

	if (q->has_dangling && dangling != q->dangling)
		return false;
	if ((q->before_ns && v->created_ns >= q->before_ns) ||
	    (q->since_ns && v->created_ns <= q->since_ns) ||
	    (q->until_ns && v->created_ns >= q->until_ns))
		return false;
	return filter_match_labels(q->filters, v->config->labels) && match_reference(q->filters, v);
}

static int bound(struct user *u, const struct filters *f, const char *key, int64_t *ret,
		 struct err *e)
{
	for (size_t k = 0; k < f->n; k++) {
		auto_image struct image *i = NULL;

		if (!text_eq(f->list[k].key, key) || !f->list[k].values[0])
			continue;
		if (image_find(u->engine->images, f->list[k].values[0], &i, e) < 0)
			return err_wrap(e, "filter '%s'", key);
		*ret = i->created_ns;
	}
	return 0;
}

/* An image without any name is everybody's garbage; one with another owner's names only is not
 * ours. */
static bool foreign(struct user *u, const struct image *i, const struct image_view *v)
{
	char **anybody;
	bool named;

	if (v->tags[0] || v->digests[0])
		return false;
	anybody = image_tags(u->engine->images, i, IMAGE_OWNER_ANY);
	named = anybody[0] != NULL;
	(void)mem_free_texts(anybody);
	return named;
}

int engine_images(struct user *u, bool all, const struct filters *f, struct arena *a,
		  struct image_view ***ret, size_t *ret_n, struct err *e)
{
	struct image_question q = {.filters = f, .has_dangling = filter_has(f, "dangling")};
	struct image **list = NULL;
	size_t n, used = 0;

	if (filters_check(f, known, e) < 0 ||
	    filter_flag(f, "dangling", false, &q.dangling, e) < 0 ||
	    filter_until(f, u->engine->world, &q.until_ns, e) < 0 ||
	    bound(u, f, "before", &q.before_ns, e) < 0 || bound(u, f, "since", &q.since_ns, e) < 0)
		return -ERR_INVALID;
	n = image_list(u->engine->images, &list);
	*ret = arena_new_array(a, struct image_view *, n + 1);
	for (size_t i = 0; i < n; i++) {
		struct image_view *v = view(u, list[i], a);

		if (!foreign(u, list[i], v) && passes(&q, v))
			(*ret)[used++] = v;
		loop_defer(u->engine->loop, unref_later, list[i]);
	}
	free(list);
	*ret_n = used;
	return 0;
}
