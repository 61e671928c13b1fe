/*
 * Images: their list and what is known about them, tags, removal; and their travels: pull, push,
 * import, load, save, commit.
 */
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

void images_list(struct call *c)
{
	struct image_view **views = NULL;
	struct filters f = {0};
	struct err e = {0};
	struct json *rows;
	size_t n = 0;

	if (param_filters(c, &f) < 0)
		return;
	if (engine_images(c->user, param_flag(c, "all", false), &f, &c->arena, &views, &n, &e) <
	    0) {
		call_reply_err(c, &e);
		return;
	}
	rows = json_new_array();
	for (size_t i = 0; i < n; i++)
		json_append(rows, shape_image_row(c->minor, views[i], -1));
	call_reply_json(c, 200, rows);
}

void images_inspect(struct call *c)
{
	struct image_view *v = NULL;
	struct err e = {0};

	if (engine_image_inspect(c->user, c->params[0], &c->arena, &v, &e) < 0)
		call_reply_err(c, &e);
	else
		call_reply_json(c, 200, shape_image(c, v));
}

void images_history(struct call *c)
{
	struct image_history *h = NULL;
	struct err e = {0};
	size_t n = 0;

	if (engine_image_history(c->user, c->params[0], &c->arena, &h, &n, &e) < 0)
		call_reply_err(c, &e);
	else
		call_reply_json(c, 200, shape_history(h, n));
}

static void tagged(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		call_reply(c, 201);
}

void images_tag(struct call *c)
{
	const char *repo = call_query(c, "repo");

	if (!repo || !repo[0])
		call_reply_message(c, 400, "the parameter 'repo' is missing");
	else
		engine_tag(c->user, c->params[0], param_reference(c, repo, call_query(c, "tag")),
			   tagged, c);
}

static struct json *gone_json(const struct image_gone *list, size_t n)
{
	struct json *rows = json_new_array();

	for (size_t i = 0; i < n; i++) {
		struct json *row = json_new_object();

		if (list[i].untagged)
			json_set_text(row, "Untagged", list[i].untagged);
		if (list[i].deleted)
			json_set_text(row, "Deleted", list[i].deleted);
		json_append(rows, row);
	}
	return rows;
}

static void removed(void *ctx, const struct image_gone *list, size_t n, int64_t freed_bytes,
		    const struct err *e)
{
	struct call *c = call_of(ctx);

	(void)freed_bytes;
	if (e)
		call_reply_err(c, e);
	else
		call_reply_json(c, 200, gone_json(list, n));
}

void images_remove(struct call *c)
{
	engine_image_remove(c->user, c->params[0], param_flag(c, "force", false),
			    param_flag(c, "noprune", false), removed, c);
}

static void pruned(void *ctx, const struct image_gone *list, size_t n, int64_t freed_bytes,
		   const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set(j, "ImagesDeleted", n ? gone_json(list, n) : NULL);
	json_set_i64(j, "SpaceReclaimed", freed_bytes);
	call_reply_json(c, 200, j);
}

void images_prune(struct call *c)
{
	struct filters f = {0};

	if (param_filters(c, &f) == 0)
		engine_image_prune(c->user, &f, pruned, c);
}

/* -- pull and import -- */

static void imported(void *ctx, const char *image_id, const struct err *e)
{
	struct call *c = call_of(ctx);

	in_end(c);
	if (e) {
		out_progress_done(c, e);
		return;
	}
	out_progress(c, &(struct progress){.status = image_id});
	out_progress_done(c, NULL);
}

/* fromSrc=-: the body is a root file system. */
static void import(struct call *c, const char *source)
{
	const char *repo = call_query(c, "repo");
	struct import_options o = {
		.reference =
			repo && repo[0] ? param_reference(c, repo, call_query(c, "tag")) : NULL,
		.message = call_query(c, "message"),
		.platform = call_query(c, "platform"),
		.changes = param_list(c, "changes")};

	if (strcmp(source, "-") != 0)
		call_reply_message(c, 501,
				   "importing from an address is not supported: fetch it "
				   "and give the archive itself ('-')");
	else
		in_start(c, engine_import(c->user, &o, imported, c));
}

static void pull(struct call *c, const char *name)
{
	const char *tag = call_query(c, "tag");
	const char *last = strrchr(name, '/');
	bool exact = strchr(last ? last : name, ':') || strchr(name, '@');
	struct pull_options o = {.reference = param_reference(c, name, tag),
				 .platform = call_query(c, "platform"),
				 .auth = param_auth(c),
				 .all_tags = !exact && (!tag || !tag[0])};

	if (o.platform && !o.platform[0])
		o.platform = NULL;
	out_watch(c);
	c->job = engine_pull(c->user, &o, out_pull_progress, out_progress_done, c);
}

void images_create(struct call *c)
{
	const char *name = call_query(c, "fromImage");
	const char *source = call_query(c, "fromSrc");

	if (name && name[0])
		pull(c, name);
	else if (source && source[0])
		import(c, source);
	else
		call_reply_message(c, 400, "one of 'fromImage' and 'fromSrc' must be given");
}

void images_push(struct call *c)
{
	struct registry_auth auth = param_auth(c);
	const char *reference = param_reference(c, c->params[0], call_query(c, "tag"));

	out_watch(c);
	c->job = engine_push(c->user, reference, &auth, out_progress, out_progress_done, c);
}

/* -- save and load -- */

void images_get(struct call *c)
{
	char *const names[] = {arena_dup_text(&c->arena, c->params[0]), NULL};
	struct sink sink = out_sink(c, TYPE_TAR);

	c->stream = engine_save(c->user, names, &sink);
}

void images_get_many(struct call *c)
{
	char *const *names = param_list(c, "names");
	struct sink sink;

	if (!names[0]) {
		call_reply_message(c, 400, "the parameter 'names' is missing");
		return;
	}
	sink = out_sink(c, TYPE_TAR);
	c->stream = engine_save(c->user, names, &sink);
}

static void loaded(void *ctx, char *const *list, const struct err *e)
{
	struct call *c = call_of(ctx);

	in_end(c);
	if (!e && !c->begun)
		out_begin(c, TYPE_JSON);
	for (size_t i = 0; !e && list && list[i]; i++) {
		struct json *j = json_new_object();
		auto_free char *line =
			mem_printf(text_starts(list[i], "sha256:") ? "Loaded image ID: %s\n"
								   : "Loaded image: %s\n",
				   list[i]);

		json_set_text(j, "stream", line);
		out_json(c, j, "\r\n");
	}
	out_progress_done(c, e);
}

static void no_progress(void *ctx, const struct progress *p)
{
	(void)ctx;
	(void)p;
}

void images_load(struct call *c)
{
	bool quiet = param_flag(c, "quiet", false);

	in_start(c, engine_load(c->user, quiet ? no_progress : out_progress, loaded, c));
}

/* -- commit -- */

static void committed(void *ctx, const char *image_id, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	json_set_text(j, "Id", image_id);
	call_reply_json(c, 201, j);
}

void images_commit(struct call *c)
{
	const char *repo = call_query(c, "repo");
	const char *container = call_query(c, "container");
	struct commit_options o = {
		.reference =
			repo && repo[0] ? param_reference(c, repo, call_query(c, "tag")) : NULL,
		.author = call_query(c, "author"),
		.comment = call_query(c, "comment"),
		.pause = param_flag(c, "pause", true),
		.config = c->body,
		.changes = param_list(c, "changes")};

	if (!container || !container[0])
		call_reply_message(c, 400, "the parameter 'container' is missing");
	else
		engine_commit(c->user, container, &o, committed, c);
}
