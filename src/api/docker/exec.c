/*
 * Exec: another process in a running container.
 */
#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

void exec_create(struct call *c)
{
	struct exec_request q = {0};
	char id[ENGINE_ID_HEX + 1];
	struct err e = {0};
	struct json *j;

	if (!c->body) {
		call_reply_message(c, 400, "the request has no body");
		return;
	}
	if (exec_request_read(c->body, &c->arena, &q, &e) < 0 ||
	    engine_exec_create(c->user, c->params[0], &q, id, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	j = json_new_object();
	json_set_text(j, "Id", id);
	call_reply_json(c, 201, j);
}

static void started_detached(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	if (e)
		call_reply_err(c, e);
	else
		call_reply(c, 200);
}

static void started(void *ctx, const struct err *e)
{
	(void)e; /* said in the stream */
	call_release(call_of(ctx));
}

static void taken(void *arg, int fd, struct str early)
{
	struct call *c = call_of(arg);

	if (fd < 0)
		call_release(c);
	else
		engine_exec_start(c->user, c->params[0], c->state, fd, early, started, c);
}

void exec_start(struct call *c)
{
	struct exec_start_options *o = arena_new(&c->arena, struct exec_start_options);
	const struct json *size = json_get(c->body, "ConsoleSize");
	struct err e = {0};
	bool tty = false;

	o->tty = json_get_bool(c->body, "Tty", false);
	o->rows = (unsigned)json_i64(json_at(size, 0), 0);
	o->columns = (unsigned)json_i64(json_at(size, 1), 0);
	c->state = o;
	if (engine_exec_check(c->user, c->params[0], &tty, &e) < 0)
		call_reply_err(c, &e);
	else if (json_get_bool(c->body, "Detach", false))
		engine_exec_start(c->user, c->params[0], o, -1, (struct str){NULL, 0},
				  started_detached, c);
	else
		http_request_hijack(c->r, o->tty || c->minor < 42 ? TYPE_RAW : TYPE_MULTIPLEXED,
				    taken, c);
}

void exec_resize(struct call *c)
{
	int64_t h = 0, w = 0;

	if (param_int(c, "h", 0, &h) < 0 || param_int(c, "w", 0, &w) < 0)
		return;
	if (h < 0 || w < 0 || h > UINT16_MAX || w > UINT16_MAX)
		call_reply_message(c, 400, "invalid terminal size");
	else
		engine_exec_resize(c->user, c->params[0], (unsigned)h, (unsigned)w,
				   started_detached, c);
}

static struct json *process_json(const struct exec_request *q)
{
	struct json *j = json_new_object();

	json_set_bool(j, "tty", q->tty);
	json_set_text(j, "entrypoint", q->cmd && q->cmd[0] ? q->cmd[0] : "");
	json_set(j, "arguments", shape_texts(q->cmd && q->cmd[0] ? q->cmd + 1 : NULL));
	json_set_bool(j, "privileged", q->privileged);
	if (q->user)
		json_set_text(j, "user", q->user);
	return j;
}

void exec_inspect(struct call *c)
{
	struct exec_view *v = NULL;
	struct err e = {0};
	struct json *j;

	if (engine_exec_inspect(c->user, c->params[0], &c->arena, &v, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	j = json_new_object();
	json_set_text(j, "ID", v->id);
	json_set_bool(j, "Running", v->running);
	json_set(j, "ExitCode",
		 v->started && !v->running ? json_new_i64(v->exit_code) : json_new_text(NULL));
	json_set(j, "ProcessConfig", process_json(v->request));
	json_set_bool(j, "OpenStdin", v->request->attach_stdin);
	json_set_bool(j, "OpenStderr", v->request->attach_stderr);
	json_set_bool(j, "OpenStdout", v->request->attach_stdout);
	json_set_bool(j, "CanRemove", v->started && !v->running);
	json_set_text(j, "ContainerID", v->container_id);
	json_set_text(j, "DetachKeys", v->request->detach_keys ? v->request->detach_keys : "");
	json_set_i64(j, "Pid", v->pid);
	call_reply_json(c, 200, j);
}
