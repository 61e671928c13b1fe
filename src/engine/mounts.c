/*
 * What a container mounts: binds, --mount, --tmpfs, --volumes-from and the image's own volumes
 * become one list, later sources winning over earlier ones by target. Volumes are made on the fly,
 * counted as used, and filled once from the image (copy-up) in the job pool.
 */
#include "engine/engine_priv.h"
#include "virt/keeper/files.h"

#define K(type, key, kind, member)                                           \
	{                                                                    \
		key, kind, offsetof(struct type, member), .omit_empty = true \
	}
static const struct json_field mount_fields[] = {
	K(volume_mount, "kind", JSON_U32, kind),
	K(volume_mount, "source", JSON_TEXT, source),
	K(volume_mount, "target", JSON_TEXT, target),
	K(volume_mount, "readOnly", JSON_FLAG, read_only),
	K(volume_mount, "noCopy", JSON_FLAG, no_copy),
	K(volume_mount, "createSource", JSON_FLAG, create_source),
	K(volume_mount, "recursiveReadOnly", JSON_FLAG, recursive_read_only),
	K(volume_mount, "propagation", JSON_TEXT, propagation),
	K(volume_mount, "subpath", JSON_TEXT, subpath),
	K(volume_mount, "options", JSON_TEXTS, options),
	K(volume_mount, "size", JSON_I64, tmpfs_size_bytes),
	K(volume_mount, "mode", JSON_U32, tmpfs_mode),
};
static const struct json_shape mount_shape = JSON_SHAPE(struct volume_mount, mount_fields);
static_assert(sizeof(enum volume_kind) == sizeof(uint32_t), "the kind is read as a number");

struct mounts {
	struct workload *workload;
	struct volume_mount list[VOLUME_MOUNTS_MAX];
	size_t n;
};

static int add(struct mounts *m, const struct volume_mount *one, struct err *e)
{
	for (size_t i = 0; i < m->n; i++)
		if (text_eq(m->list[i].target, one->target)) {
			m->list[i] = *one;
			return 0;
		}
	if (m->n == VOLUME_MOUNTS_MAX)
		return err_set(e, ERR_INVALID, "more than %d mounts in one container",
			       VOLUME_MOUNTS_MAX);
	m->list[m->n++] = *one;
	return 0;
}

static bool has_target(const struct mounts *m, const char *target)
{
	for (size_t i = 0; i < m->n; i++)
		if (text_eq(m->list[i].target, target))
			return true;
	return false;
}

static int add_from(struct mounts *m, const char *spec, struct err *e)
{
	struct workload *w = m->workload, *other;
	struct str rest = str_of(spec), head;
	auto_free char *ref = NULL;

	(void)str_cut(&rest, ':', &head);
	ref = str_dup(head);
	if (rest.n && !str_is(rest, "ro") && !str_is(rest, "rw") && !str_is(rest, "z"))
		return err_set(e, ERR_INVALID,
			       "invalid mode for volumes-from '%s': ro or rw is expected", spec);
	if (workload_find(&w->engine->users[w->owner], ref, &other, e) < 0)
		return err_wrap(e, "volumes-from");
	for (size_t i = 0; i < other->mounts_n; i++) {
		struct volume_mount one = other->mounts[i];

		if (one.kind == VOLUME_TMPFS)
			continue;
		one.source = arena_dup_text(&w->arena, one.source);
		one.target = arena_dup_text(&w->arena, one.target);
		one.propagation = arena_dup_text(&w->arena, one.propagation);
		one.subpath = arena_dup_text(&w->arena, one.subpath);
		one.options = NULL;
		one.no_copy = true;
		one.read_only = one.read_only || str_is(rest, "ro");
		if (add(m, &one, e) < 0)
			return -ERR_INVALID;
	}
	return 0;
}

static int collect_asked(struct mounts *m, struct err *e)
{
	struct workload *w = m->workload;
	const struct host_config *h = &w->request.host;
	struct volume_mount one;
	int bad = 0;

	for (char **f = h->volumes_from; f && *f && bad >= 0; f++)
		bad = add_from(m, *f, e);
	for (char **b = h->binds; b && *b && bad >= 0; b++) {
		bad = volume_parse_bind(str_of(*b), &w->arena, &one, e);
		if (bad >= 0)
			bad = add(m, &one, e);
	}
	for (size_t i = 0; i < h->mounts_n && bad >= 0; i++) {
		auto_json struct json *j = request_mount_json(&h->mounts[i]);

		bad = volume_parse_mount(j, &w->arena, &one, e);
		if (bad >= 0)
			bad = add(m, &one, e);
	}
	for (const struct json_pair *t = h->tmpfs; t && t->key && bad >= 0; t++) {
		bad = volume_parse_tmpfs(t->key, t->value, &w->arena, &one, e);
		if (bad >= 0)
			bad = add(m, &one, e);
	}
	return bad;
}

/* {"/data": {}} of the image or the client: anonymous volumes, where nothing else is mounted. */
static int collect_anonymous(struct mounts *m, struct err *e)
{
	struct workload *w = m->workload;
	struct json_iter it = {0};
	const char *target;
	struct json *value;

	while (json_next(w->request.config.volumes, &it, &target, &value)) {
		struct volume_mount one;

		if (has_target(m, target))
			continue;
		if (volume_parse_bind(str_of(target), &w->arena, &one, e) < 0 ||
		    add(m, &one, e) < 0)
			return -ERR_INVALID;
	}
	return 0;
}

void engine_volume_save(struct engine *g, const struct volume *v, record_done *done, void *ctx)
{
	auto_json struct json *j = volume_encode(v);
	auto_strbuf struct strbuf text = {0};

	json_write(j, &text);
	record_put(g->records, "volume", volume_spec(v)->name, strbuf_str(&text), done, ctx);
}

/* Finds or makes the volume of one mount, and counts the container as its user. */
static int use_volume(struct workload *w, struct volume_mount *m, struct err *e)
{
	struct engine *g = w->engine;
	char now[RFC3339_CHARS + 1];
	struct volume_spec spec = {
		.name = m->source,
		.created = rfc3339_text(world_now_ns(g->world), now),
		.owner = (char *)owner_name(w->owner),
		.anonymous = !m->source,
		.labels = m->labels,
		.options = m->driver_options,
	};
	struct volume *v = NULL;
	struct err ignored = {0};

	if (!m->source || volume_find(g->volumes, m->source, &v, &ignored) < 0) {
		if (volume_create(g->volumes, &spec, &v, e) < 0)
			return e ? -(int)e->kind : -ERR_INTERNAL;
		engine_volume_save(g, v, NULL, NULL);
		event_volume(g, w->owner, "create", volume_spec(v)->name);
	}
	if (!text_eq(volume_spec(v)->owner, owner_name(w->owner)))
		return err_set(e, ERR_CONFLICT, "volume '%s' belongs to another API", m->source);
	m->source = arena_dup_text(&w->arena, volume_spec(v)->name);
	volume_use(v, w->id);
	return 0;
}

int mounts_resolve(struct workload *w, struct err *e)
{
	struct mounts *m = mem_new(struct mounts);
	int bad;

	m->workload = w;
	bad = collect_asked(m, e);
	if (bad >= 0)
		bad = collect_anonymous(m, e);
	if (bad >= 0 && m->n) {
		w->mounts = arena_new_array(&w->arena, struct volume_mount, m->n);
		memcpy(w->mounts, m->list, m->n * sizeof(*m->list));
	}
	for (size_t i = 0; i < m->n && bad >= 0; i++) {
		w->mounts_n = i + 1;
		if (w->mounts[i].kind == VOLUME_NAMED)
			bad = use_volume(w, &w->mounts[i], e);
	}
	free(m);
	return bad;
}

void mounts_release(struct workload *w)
{
	for (size_t i = 0; i < w->mounts_n; i++) {
		struct volume *v;
		struct err ignored = {0};

		if (w->mounts[i].kind == VOLUME_NAMED && w->mounts[i].source &&
		    volume_find(w->engine->volumes, w->mounts[i].source, &v, &ignored) >= 0)
			volume_release(v, w->id);
	}
}

struct json *mounts_encode(const struct workload *w)
{
	struct json *list = json_new_array();

	for (size_t i = 0; i < w->mounts_n; i++)
		json_append(list, json_encode(&mount_shape, &w->mounts[i]));
	return list;
}

int mounts_decode(struct workload *w, const struct json *j, struct err *e)
{
	size_t n = json_len(j);

	if (n > VOLUME_MOUNTS_MAX)
		return err_set(e, ERR_INVALID, "it has %zu mounts", n);
	w->mounts = arena_new_array(&w->arena, struct volume_mount, n + 1);
	for (size_t i = 0; i < n; i++) {
		struct volume *v;
		struct err missing = {0};

		if (json_decode(json_at(j, i), &mount_shape, "mounts", &w->arena, &w->mounts[i],
				e) < 0)
			return -ERR_INVALID;
		w->mounts_n = i + 1;
		if (w->mounts[i].kind != VOLUME_NAMED || !w->mounts[i].source)
			continue;
		if (volume_find(w->engine->volumes, w->mounts[i].source, &v, &missing) >= 0)
			volume_use(v, w->id);
		else
			log_warn("container %.12s: %s", w->id, missing.text);
	}
	return 0;
}

/* First use: volumes are filled from the image, one after another, on a pool thread. */

struct copy_up {
	struct workload *workload;
	struct volume **volumes;
	const char **paths;
	size_t n, room;
	struct keeper_orders orders;
	struct err error;
	engine_done *done;
	void *ctx;
};

static void copy_up_work(void *arg)
{
	struct copy_up *c = arg;
	struct files_query q = {.orders = &c->orders, .readonly = true};
	auto_close int root = -1;

	if (files_open(&q, &root, &c->error) < 0)
		return;
	for (size_t i = 0; i < c->n; i++)
		if (volume_copy_up(c->volumes[i], root, c->paths[i], &c->error) < 0)
			return;
}

static void copy_up_done(void *arg)
{
	struct copy_up *c = arg;
	bool failed = c->error.kind != ERR_NONE;

	for (size_t i = 0; i < c->n && !failed; i++)
		engine_volume_save(c->workload->engine, c->volumes[i], NULL, NULL);
	c->done(c->ctx, failed ? &c->error : NULL);
	free(c->volumes);
	free(c->paths);
	free(c);
}

void mounts_copy_up(struct workload *w, engine_done *done, void *ctx)
{
	struct copy_up *c = mem_new(struct copy_up);
	size_t paths_room = 0;

	c->workload = w;
	c->done = done;
	c->ctx = ctx;
	for (size_t i = 0; i < w->mounts_n; i++) {
		struct volume *v;
		struct err ignored = {0};

		if (w->mounts[i].kind != VOLUME_NAMED || w->mounts[i].no_copy ||
		    volume_find(w->engine->volumes, w->mounts[i].source, &v, &ignored) < 0)
			continue;
		if (volume_spec(v)->populated || volume_spec(v)->options)
			continue;
		mem_grow(c->volumes, c->n + 1, c->room);
		mem_grow(c->paths, c->n + 1, paths_room);
		c->volumes[c->n] = v;
		c->paths[c->n++] = w->mounts[i].target;
	}
	if (!c->n) {
		free(c);
		engine_finish(w->engine, done, ctx, NULL);
		return;
	}
	workload_root_orders(w, &w->arena, &c->orders);
	loop_job(w->engine->loop, copy_up_work, copy_up_done, c);
}
