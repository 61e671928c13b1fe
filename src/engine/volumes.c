/*
 * Volumes, as an API sees them.
 */
#include "engine/engine_priv.h"

#define V(key, kind, member)                                       \
	{                                                          \
		key, kind, offsetof(struct volume_request, member) \
	}
static const struct json_field request_fields[] = {
	V("Name", JSON_TEXT, name),
	V("Driver", JSON_TEXT, driver),
	V("DriverOpts", JSON_TEXT_MAP, options),
	V("Labels", JSON_TEXT_MAP, labels),
};
static const struct json_shape request_shape = JSON_SHAPE(struct volume_request, request_fields);

int volume_request_read(const struct json *body, struct arena *a, struct volume_request *ret,
			struct err *e)
{
	if (json_kind(body) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "the request's body is not a JSON object");
	return json_decode(body, &request_shape, "request", a, ret, e);
}

static struct volume_view *view(struct volume *v, struct arena *a)
{
	const struct volume_spec *s = volume_spec(v);
	struct volume_view *r = arena_new(a, struct volume_view);
	struct err ignored = {0};

	*r = (struct volume_view){
		.name = s->name,
		.driver = "local",
		.mountpoint = volume_path(v),
		.scope = "local",
		.options = s->options,
		.labels = s->labels,
		.size_bytes = -1,
		.ref_count = (int)volume_users(v),
	};
	if (s->created)
		(void)!rfc3339_parse(s->created, &r->created_ns, &ignored);
	return r;
}

static int find(struct user *u, const char *name, struct volume **ret, struct err *e)
{
	struct volume *v;

	if (volume_find(u->engine->volumes, name, &v, e) < 0)
		return -ERR_NOT_FOUND;
	if (!text_eq(volume_spec(v)->owner, owner_name(u->owner)))
		return err_set(e, ERR_NOT_FOUND, "get %s: no such volume", name);
	*ret = v;
	return 0;
}

struct volume_op {
	struct engine *engine;
	engine_volume_made *made;
	engine_done *done;
	void *ctx;
	char *name;
	struct err error;
};

static void op_end(struct volume_op *op, const struct err *e)
{
	auto_arena struct arena a = {0};
	struct volume *v = NULL;
	struct err gone = {0};

	if (op->done)
		op->done(op->ctx, e);
	else if (e || volume_find(op->engine->volumes, op->name, &v, &gone) < 0)
		op->made(op->ctx, NULL, e ? e : &gone);
	else
		op->made(op->ctx, view(v, &a), NULL);
	free(op->name);
	free(op);
}

static void op_deferred(void *arg)
{
	struct volume_op *op = arg;

	op_end(op, op->error.kind ? &op->error : NULL);
}

static void op_recorded(void *ctx, const struct err *e)
{
	op_end(ctx, e);
}

void engine_volume_create(struct user *u, const struct volume_request *r, engine_volume_made *made,
			  void *ctx)
{
	struct volume_op *op = mem_new(struct volume_op);
	char now[RFC3339_CHARS + 1];
	struct volume_spec spec = {
		.name = r->name && *r->name ? r->name : NULL,
		.driver = r->driver && *r->driver ? r->driver : NULL,
		.created = rfc3339_text(world_now_ns(u->engine->world), now),
		.owner = (char *)owner_name(u->owner),
		.anonymous = !r->name || !*r->name,
		.labels = r->labels,
		.options = r->options,
	};
	struct volume *v;

	op->engine = u->engine;
	op->made = made;
	op->ctx = ctx;
	if (volume_create(u->engine->volumes, &spec, &v, &op->error) < 0) {
		loop_defer(u->engine->loop, op_deferred, op);
		return;
	}
	op->name = mem_dup_text(volume_spec(v)->name);
	event_volume(u->engine, u->owner, "create", op->name);
	engine_volume_save(u->engine, v, op_recorded, op);
}

static int remove_volume(struct user *u, struct volume *v, record_done *done, void *ctx,
			 struct err *e)
{
	auto_free char *name = mem_dup_text(volume_spec(v)->name);

	if (volume_remove(u->engine->volumes, v, e) < 0)
		return -(int)e->kind;
	event_volume(u->engine, u->owner, "destroy", name);
	record_delete(u->engine->records, "volume", name, done, ctx);
	return 0;
}

void engine_volume_remove(struct user *u, const char *name, bool force, engine_done *done,
			  void *ctx)
{
	struct volume_op *op = mem_new(struct volume_op);
	struct volume *v;

	op->engine = u->engine;
	op->done = done;
	op->ctx = ctx;
	if (find(u, name, &v, &op->error) < 0) {
		if (force) /* docker volume rm -f of what is not there succeeds */
			err_clear(&op->error);
		loop_defer(u->engine->loop, op_deferred, op);
	} else if (remove_volume(u, v, op_recorded, op, &op->error) < 0) {
		loop_defer(u->engine->loop, op_deferred, op);
	}
}

int engine_volume_inspect(struct user *u, const char *name, struct arena *a,
			  struct volume_view **ret, struct err *e)
{
	struct volume *v;

	if (find(u, name, &v, e) < 0)
		return -ERR_NOT_FOUND;
	*ret = view(v, a);
	return 0;
}

static const char *const known[] = {"dangling", "driver", "label", "label!", "name", NULL};
static const char *const known_prune[] = {"all", "label", "label!", NULL};

int engine_volumes(struct user *u, const struct filters *f, struct arena *a,
		   struct volume_view ***ret, size_t *ret_n, struct err *e)
{
	struct volume *v = NULL;
	size_t count = 0, used = 0;
	bool dangling = false;

	if (filters_check(f, known, e) < 0 || filter_flag(f, "dangling", false, &dangling, e) < 0)
		return -ERR_INVALID;
	while ((v = volume_next(u->engine->volumes, v)) != NULL)
		count++;
	*ret = arena_new_array(a, struct volume_view *, count + 1);
	while ((v = volume_next(u->engine->volumes, v)) != NULL) {
		const struct volume_spec *s = volume_spec(v);

		if (!text_eq(s->owner, owner_name(u->owner)) ||
		    !filter_match(f, "driver", "local") || !filter_match_part(f, "name", s->name) ||
		    !filter_match_labels(f, s->labels))
			continue;
		if (filter_has(f, "dangling") && dangling == (volume_users(v) > 0))
			continue;
		(*ret)[used++] = view(v, a);
	}
	*ret_n = used;
	return 0;
}

struct pruning {
	engine_pruned *done;
	void *ctx;
	char **names;
	int64_t freed;
	struct err error;
};

static void pruned(void *ctx, const struct err *e)
{
	struct pruning *p = ctx;

	p->done(p->ctx, p->names, p->freed, p->error.kind ? &p->error : e);
	p->names = mem_free_texts(p->names);
	free(p);
}

void engine_volume_prune(struct user *u, const struct filters *f, bool all, engine_pruned *done,
			 void *ctx)
{
	struct pruning *p = mem_new(struct pruning);
	struct volume *v = NULL, *next;

	p->done = done;
	p->ctx = ctx;
	p->names = mem_new_array(char *, 1);
	if (filters_check(f, known_prune, &p->error) >= 0 &&
	    filter_flag(f, "all", all, &all, &p->error) >= 0)
		v = volume_next(u->engine->volumes, NULL);
	for (; v; v = next) {
		const struct volume_spec *s = volume_spec(v);
		auto_free char *name = mem_dup_text(s->name);
		struct err ignored = {0};
		int64_t size = 0;

		next = volume_next(u->engine->volumes, v);
		if (!text_eq(s->owner, owner_name(u->owner)) || volume_users(v) ||
		    (!all && !s->anonymous) || !filter_match_labels(f, s->labels))
			continue;
		(void)!volume_size(v, &size, &ignored);
		if (remove_volume(u, v, NULL, NULL, &ignored) < 0)
			continue;
		mem_append_text(&p->names, name);
		p->freed += size;
	}
	record_barrier(u->engine->records, pruned, p);
}
