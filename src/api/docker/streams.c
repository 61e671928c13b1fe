/*
 * What flows out of a running container: wait, attach, logs, stats; and what is found inside: top,
 * changes.
 */
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

/* -- wait: registered first, then the headers, then, some day, the body -- */

static void exited(void *ctx, int exit_code, const char *error)
{
	struct call *c = call_of(ctx);
	struct json *j = json_new_object();

	/* Docker's "Error" means that the wait itself failed. Why the container ended has a word of
	 * its own: its state, which says so too, goes with --rm. */
	c->waiter = NULL;
	json_set_i64(j, "StatusCode", exit_code);
	if (error)
		json_set_text(j, "Reason", error);
	out_json(c, j, "\n");
	out_end(c);
}

void containers_wait(struct call *c)
{
	const char *text = call_query(c, "condition");
	enum wait_condition condition = WAIT_NOT_RUNNING;
	struct err e = {0};

	if (wait_condition_of(text ? text : "", &condition, &e) < 0 ||
	    engine_wait(c->user, c->params[0], condition, exited, c, &c->waiter, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	out_watch(c);
	out_begin(c, TYPE_JSON);
}

/* -- attach: the client's socket goes to the keeper -- */

static const char *stream_type(const struct call *c, bool tty)
{
	return tty || c->minor < 42 ? TYPE_RAW : TYPE_MULTIPLEXED;
}

static void attached(void *ctx, const struct err *e)
{
	(void)e; /* the stream is the engine's: it has told the client */
	call_release(call_of(ctx));
}

static void attach_taken(void *arg, int fd, struct str early)
{
	struct call *c = call_of(arg);

	if (fd < 0)
		call_release(c);
	else
		engine_attach(c->user, c->params[0], c->state, fd, early, attached, c);
}

void containers_attach(struct call *c)
{
	struct attach_options *o = arena_new(&c->arena, struct attach_options);
	struct err e = {0};
	bool tty = false;

	*o = (struct attach_options){
		.stdin_ = param_flag(c, "stdin", false),
		.stdout_ = param_flag(c, "stdout", false),
		.stderr_ = param_flag(c, "stderr", false),
		.logs = param_flag(c, "logs", false),
		.stream = param_flag(c, "stream", false),
		.detach_keys = arena_dup_text(&c->arena, call_query(c, "detachKeys"))};
	c->state = o;
	if (engine_attach_check(c->user, c->params[0], &tty, &e) < 0)
		call_reply_err(c, &e);
	else
		http_request_hijack(c->r, stream_type(c, tty), attach_taken, c);
}

/* -- logs -- */

struct logs_state {
	bool tty, timestamps, details;
};

/* [stream, 0, 0, 0, length as 32 bits big endian] payload; a terminal's log is bare. */
static void frame(struct strbuf *b, int stream, size_t n)
{
	const unsigned char head[8] = {(unsigned char)stream,
				       0,
				       0,
				       0,
				       (unsigned char)(n >> 24),
				       (unsigned char)(n >> 16),
				       (unsigned char)(n >> 8),
				       (unsigned char)n};

	strbuf_add(b, head, sizeof(head));
}

static int logs_line(void *ctx, const struct log_entry *l)
{
	struct call *c = call_of(ctx);
	const struct logs_state *s = c->state;
	auto_strbuf struct strbuf prefix = {0};
	auto_strbuf struct strbuf b = {0};

	if (s->timestamps)
		shape_log_time(&prefix, l->time_ns);
	if (s->details)
		strbuf_add_char(&prefix, ' ');
	if (!s->tty)
		frame(&b, l->stream, prefix.n + l->n);
	strbuf_add(&b, strbuf_text(&prefix), prefix.n);
	strbuf_add(&b, l->p, l->n);
	return out_push(c, b.p, b.n) > HTTP_REPLY_FULL;
}

static void stream_end(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	c->stream = NULL;
	if (e)
		out_fail(c, e);
	else
		out_end(c);
}

static int logs_params(struct call *c, struct log_options *o)
{
	const char *tail = call_query(c, "tail");

	o->stdout_ = param_flag(c, "stdout", false);
	o->stderr_ = param_flag(c, "stderr", false);
	o->follow = param_flag(c, "follow", false);
	o->tail = -1;
	if (!o->stdout_ && !o->stderr_) {
		call_reply_message(c, 400, "Bad parameters: you must choose at least one stream");
		return -1;
	}
	if (tail && strcmp(tail, "all") != 0 && param_int(c, "tail", -1, &o->tail) < 0)
		return -1;
	if (param_time(c, "since", &o->since_ns) < 0 || param_time(c, "until", &o->until_ns) < 0)
		return -1;
	return 0;
}

void containers_logs(struct call *c)
{
	struct logs_state *s = arena_new(&c->arena, struct logs_state);
	const struct log_sink sink = {logs_line, stream_end, c};
	struct log_options o = {0};
	struct container_view *v = NULL;
	struct err e = {0};

	c->state = s;
	s->timestamps = param_flag(c, "timestamps", false);
	s->details = param_flag(c, "details", false);
	if (logs_params(c, &o) < 0)
		return;
	if (engine_inspect(c->user, c->params[0], &c->arena, &v, &e) < 0 ||
	    engine_logs(c->user, c->params[0], &o, &sink, &c->stream, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	s->tty = v->config->tty;
	out_watch(c);
	out_begin(c, stream_type(c, s->tty));
}

/* -- stats -- */

static void stats_came(void *ctx, const struct container_stats *s)
{
	struct call *c = call_of(ctx);

	if (!c->begun)
		out_begin(c, TYPE_JSON);
	out_json(c, shape_stats(s), "\n");
}

static void stats_end(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	c->stream = NULL;
	if (e) {
		out_fail(c, e);
		return;
	}
	if (!c->begun)
		out_begin(c, TYPE_JSON);
	out_end(c);
}

void containers_stats(struct call *c)
{
	struct stats_options o = {.stream = param_flag(c, "stream", true),
				  .one_shot = param_flag(c, "one-shot", false)};
	const struct stats_sink sink = {stats_came, stats_end, c};
	struct err e = {0};

	if (engine_stats(c->user, c->params[0], &o, &sink, &c->stream, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	out_watch(c);
	if (o.stream)
		out_begin(c, TYPE_JSON);
}

/* -- inside -- */

static void topped(void *ctx, char *const *titles, char **const *rows, size_t rows_n,
		   const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j, *list;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	list = json_new_array();
	json_set(j, "Titles", shape_texts(titles));
	for (size_t i = 0; i < rows_n; i++)
		json_append(list, shape_texts(rows[i]));
	json_set(j, "Processes", list);
	call_reply_json(c, 200, j);
}

void containers_top(struct call *c)
{
	engine_top(c->user, c->params[0], topped, c);
}

static void changes_found(void *ctx, const struct change *list, size_t n, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = n ? json_new_array() : NULL;
	for (size_t i = 0; i < n; i++) {
		struct json *row = json_new_object();

		json_set_text(row, "Path", list[i].path);
		json_set_i64(row, "Kind", list[i].kind);
		json_append(j, row);
	}
	call_reply_json(c, 200, j);
}

void containers_changes(struct call *c)
{
	engine_changes(c->user, c->params[0], changes_found, c);
}
