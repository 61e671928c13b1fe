/*
 * docker cp and export: tar archives in and out of a container.
 */
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"
#include "ground/format/base64.h"

/* X-Docker-Container-Path-Stat: base64 of {name, size, mode, mtime, linkTarget}. */
static void add_stat_header(struct call *c, const struct path_stat *s)
{
	auto_json struct json *j = json_new_object();
	auto_strbuf struct strbuf text = {0};
	auto_strbuf struct strbuf coded = {0};
	char time[RFC3339_CHARS + 1];

	json_set_text(j, "name", s->name);
	json_set_i64(j, "size", s->size);
	json_set_i64(j, "mode", s->mode);
	json_set_text(j, "mtime", rfc3339_text(s->mtime_ns, time));
	json_set_text(j, "linkTarget", s->link_target ? s->link_target : "");
	json_write(j, &text);
	base64_encode(strbuf_str(&text), &coded);
	http_reply_header(c->r, "X-Docker-Container-Path-Stat", strbuf_text(&coded));
}

/* The path, or NULL after a 400. */
static const char *path_param(struct call *c)
{
	const char *path = call_query(c, "path");

	if (path && path[0])
		return path;
	call_reply_message(c, 400, "the parameter 'path' is missing");
	return NULL;
}

static void head_found(void *ctx, const struct path_stat *s, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e) {
		call_reply_err(c, e);
		return;
	}
	add_stat_header(c, s);
	call_reply(c, 200);
}

void archive_head(struct call *c)
{
	const char *path = path_param(c);

	if (path)
		engine_archive_stat(c->user, c->params[0], path, head_found, c);
}

/* An error comes through the sink, too; there it is answered. */
static void get_found(void *ctx, const struct path_stat *s, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		return;
	add_stat_header(c, s);
	out_begin(c, TYPE_TAR);
}

void archive_get(struct call *c)
{
	const char *path = path_param(c);
	struct sink sink;

	if (!path)
		return;
	sink = out_sink(c, TYPE_TAR);
	c->stream = engine_archive_get(c->user, c->params[0], path, get_found, &sink);
}

static void put_done(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	in_end(c);
	if (e)
		call_reply_err(c, e);
	else
		call_reply(c, 200);
}

void archive_put(struct call *c)
{
	const char *path = path_param(c);
	struct archive_put_options o = {.no_overwrite_dir_non_dir =
						param_flag(c, "noOverwriteDirNonDir", false),
					.copy_uid_gid = param_flag(c, "copyUIDGID", false)};

	if (path)
		in_start(c, engine_archive_put(c->user, c->params[0], path, &o, put_done, c));
}

void archive_export(struct call *c)
{
	struct sink sink = out_sink(c, "application/octet-stream");

	c->stream = engine_export(c->user, c->params[0], &sink);
}
