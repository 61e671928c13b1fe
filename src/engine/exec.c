/*
 * Exec: further processes in a running container. An exec lives in memory and, so that a restart of
 * the daemon loses no exit code, as a small file <run>/exec/ID; it needs no sync, it dies with the
 * boot as its process does. Execs are forgotten when their container ends.
 */
#include <dirent.h>
#include <fcntl.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"

#define EXEC_FILE_MAX  (1 << 20)
#define EXECS_KEPT_MAX 1024 /* per container: the oldest ended one goes first */

struct exec {
	uint32_t magic;
	struct list link; /* in its container */
	struct workload *workload;
	char id[ENGINE_ID_HEX + 1];
	struct arena arena;
	struct exec_request request;
	bool started, running;
	int exit_code, pid;
};

#define X(key, kind, member)                                     \
	{                                                        \
		key, kind, offsetof(struct exec_request, member) \
	}
static const struct json_field request_fields[] = {
	X("Cmd", JSON_TEXTS, cmd),
	X("Env", JSON_TEXTS, env),
	X("User", JSON_TEXT, user),
	X("WorkingDir", JSON_TEXT, working_dir),
	X("DetachKeys", JSON_TEXT, detach_keys),
	X("Tty", JSON_FLAG, tty),
	X("Privileged", JSON_FLAG, privileged),
	X("AttachStdin", JSON_FLAG, attach_stdin),
	X("AttachStdout", JSON_FLAG, attach_stdout),
	X("AttachStderr", JSON_FLAG, attach_stderr),
};
static const struct json_shape request_shape = JSON_SHAPE(struct exec_request, request_fields);

int exec_request_read(const struct json *body, struct arena *a, struct exec_request *ret,
		      struct err *e)
{
	const struct json *size = json_get(body, "ConsoleSize");

	if (json_kind(body) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "the request's body is not a JSON object");
	if (json_decode(body, &request_shape, "request", a, ret, e) < 0)
		return -ERR_INVALID;
	ret->rows = (unsigned int)json_i64(json_at(size, 0), 0);
	ret->columns = (unsigned int)json_i64(json_at(size, 1), 0);
	if (!ret->cmd || !ret->cmd[0])
		return err_set(e, ERR_INVALID, "no exec command specified");
	return 0;
}

static void save(struct exec *x)
{
	auto_json struct json *j = json_new_object();
	auto_strbuf struct strbuf text = {0};
	auto_free char *path = mem_printf("%s/exec/%s", x->workload->engine->run, x->id);
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	json_set_text(j, "container", x->workload->id);
	json_set_bool(j, "started", x->started);
	json_set_bool(j, "running", x->running);
	json_set_i64(j, "exitCode", x->exit_code);
	json_set(j, "request", json_encode(&request_shape, &x->request));
	json_write(j, &text);
	if (fd < 0 || write(fd, strbuf_text(&text), text.n) != (ssize_t)text.n)
		log_warn("exec %.12s: cannot write '%s': %s", x->id, path, strerror(errno));
}

static struct exec *exec_new(struct workload *w, const char *id)
{
	struct exec *x = mem_new(struct exec);

	x->magic = EXEC_MAGIC;
	x->workload = w;
	memcpy(x->id, id, strlen(id) + 1);
	list_append(&w->execs, &x->link);
	map_put(&w->engine->execs, x->id, x);
	return x;
}

static void exec_free(struct exec *x, bool forget)
{
	struct engine *g = x->workload->engine;

	assert(x->magic == EXEC_MAGIC);
	if (forget) {
		auto_free char *path = mem_printf("%s/exec/%s", g->run, x->id);

		(void)unlink(path);
	}
	list_remove(&x->link);
	map_remove(&g->execs, x->id);
	arena_done(&x->arena);
	x->magic = 0;
	free(x);
}

void exec_drop_all(struct workload *w)
{
	bool forget = !w->engine->closing;

	list_each (&w->execs, struct exec, link, x) {
		/* Its exit code may still be asked for right after its container ended. */
		if (forget && x->started && x->running) {
			x->running = false;
			x->exit_code = 137;
		}
		if (!forget || w->removing)
			exec_free(x, forget);
	}
}

static int find(struct user *u, const char *id, struct exec **ret, struct err *e)
{
	struct exec *x = id ? map_get(&u->engine->execs, id) : NULL;

	if (!x || x->workload->owner != u->owner)
		return err_set(e, ERR_NOT_FOUND, "no such exec instance: %s", id ? id : "");
	*ret = x;
	return 0;
}

static int insist_running(const struct workload *w, struct err *e)
{
	if (w->state == WORKLOAD_PAUSED)
		return err_set(e, ERR_CONFLICT,
			       "container %s is paused, unpause the container before exec", w->id);
	if (w->state == WORKLOAD_RESTARTING)
		return err_set(e, ERR_CONFLICT,
			       "container %s is restarting, wait until the container is running",
			       w->id);
	if (w->state != WORKLOAD_RUNNING || !w->keeper)
		return err_set(e, ERR_CONFLICT, "container %s is not running", w->id);
	return 0;
}

/* Ended execs are only kept for their exit code: of many, the oldest go. */
static void drop_oldest(struct workload *w)
{
	size_t n = 0;

	list_each (&w->execs, struct exec, link, x)
		n += x->magic == EXEC_MAGIC;
	list_each (&w->execs, struct exec, link, x) {
		if (n < EXECS_KEPT_MAX)
			break;
		if (x->started && !x->running) {
			exec_free(x, true);
			n--;
		}
	}
}

int engine_exec_create(struct user *u, const char *ref, const struct exec_request *r,
		       char ret_id[ENGINE_ID_HEX + 1], struct err *e)
{
	auto_json struct json *copy = NULL;
	struct workload *w;
	struct exec *x;
	auto_free char *line = NULL;

	if (workload_find(u, ref, &w, e) < 0)
		return -ERR_NOT_FOUND;
	if (insist_running(w, e) < 0)
		return -ERR_CONFLICT;
	drop_oldest(w);
	world_random_hex(u->engine->world, ret_id, ENGINE_ID_HEX);
	x = exec_new(w, ret_id);
	copy = json_encode(&request_shape, r);
	if (json_decode(copy, &request_shape, "exec", &x->arena, &x->request, e) < 0) {
		exec_free(x, false);
		return -ERR_INTERNAL;
	}
	x->request.rows = r->rows;
	x->request.columns = r->columns;
	save(x);
	line = mem_printf("exec_create: %s", r->cmd[0]);
	event_container(w, line, "execID", x->id, NULL);
	return 0;
}

int engine_exec_check(struct user *u, const char *exec_id, bool *ret_tty, struct err *e)
{
	struct exec *x;

	if (find(u, exec_id, &x, e) < 0)
		return -ERR_NOT_FOUND;
	if (x->started)
		return err_set(e, ERR_CONFLICT, "exec %s has already been started", exec_id);
	if (insist_running(x->workload, e) < 0)
		return -ERR_CONFLICT;
	*ret_tty = x->request.tty;
	return 0;
}

struct exec_start {
	struct engine *engine;
	char id[ENGINE_ID_HEX + 1];
	engine_done *done;
	void *ctx;
};

static void exec_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct exec_start *s = ctx;
	struct exec *x = map_get(&s->engine->execs, s->id);
	const struct keeper_started *started = answer;

	if (x && why) {
		x->running = false;
		x->exit_code = exit_code ? exit_code : 126;
		save(x);
	} else if (x && started && x->running) {
		auto_free char *line = mem_printf("exec_start: %s", x->request.cmd[0]);

		x->pid = (int)started->pid;
		event_container(x->workload, line, "execID", x->id, NULL);
	}
	s->done(s->ctx, why);
	free(s);
}

static int exec_begin(struct user *u, const char *exec_id, const struct exec_start_options *o,
		      int fd, struct str early, struct exec_start *s, struct err *e)
{
	auto_close int own = fd;
	char keys[17];
	struct exec *x;

	if (find(u, exec_id, &x, e) < 0)
		return -ERR_NOT_FOUND;
	if (x->started)
		return err_set(e, ERR_CONFLICT, "exec %s has already been started", exec_id);
	if (insist_running(x->workload, e) < 0)
		return -ERR_CONFLICT;
	(void)attach_keys(x->request.detach_keys, keys);
	struct keeper_exec order = {
		.id = x->id,
		.args = x->request.cmd,
		.env = x->request.env,
		.cwd = x->request.working_dir && *x->request.working_dir ? x->request.working_dir
									 : NULL,
		.user = x->request.user && *x->request.user ? x->request.user : NULL,
		.tty = x->request.tty,
		.privileged = x->request.privileged,
		.rows = o->rows ? o->rows : x->request.rows,
		.columns = o->columns ? o->columns : x->request.columns,
		.client =
			{
				.session = x->id,
				.want_stdin = x->request.attach_stdin,
				.want_stdout = x->request.attach_stdout,
				.want_stderr = x->request.attach_stderr,
				.multiplexed = !x->request.tty,
				.detach_keys = keys,
				.early = (char *)early.p,
				.early_n = early.n,
			},
	};
	x->started = x->running = true;
	save(x);
	memcpy(s->id, x->id, sizeof(s->id));
	keeper_exec(x->workload->keeper, &order, own, (struct keeper_done){exec_answered, s});
	return 0;
}

void engine_exec_start(struct user *u, const char *exec_id, const struct exec_start_options *o,
		       int fd, struct str early, engine_done *done, void *ctx)
{
	struct exec_start *s = mem_new(struct exec_start);
	struct err e = {0};

	s->engine = u->engine;
	s->done = done;
	s->ctx = ctx;
	if (exec_begin(u, exec_id, o, fd, early, s, &e) < 0) {
		free(s);
		engine_finish(u->engine, done, ctx, &e);
	}
}

struct exec_resize {
	engine_done *done;
	void *ctx;
};

static void resize_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct exec_resize *r = ctx;

	r->done(r->ctx, why);
	free(r);
}

void engine_exec_resize(struct user *u, const char *exec_id, unsigned int rows,
			unsigned int columns, engine_done *done, void *ctx)
{
	struct exec_resize *r;
	struct err e = {0};
	struct exec *x;

	if (find(u, exec_id, &x, &e) < 0) {
		engine_finish(u->engine, done, ctx, &e);
		return;
	}
	if (!x->running || !x->workload->keeper) {
		x->request.rows = rows; /* it may come before the start */
		x->request.columns = columns;
		engine_finish(u->engine, done, ctx, NULL);
		return;
	}
	r = mem_new(struct exec_resize);
	*r = (struct exec_resize){done, ctx};
	keeper_resize(x->workload->keeper,
		      &(struct keeper_resize){.exec_id = x->id, .rows = rows, .columns = columns},
		      (struct keeper_done){resize_answered, r});
}

/*
 * A client that saw its stream break asks at once, before the loss of the keeper was noticed here.
 * A process that ends lets go of its program before it closes its files: without one it is dead,
 * zombie or not.
 */
static bool keeper_is_dead(const struct workload *w)
{
	auto_free char *path = NULL;
	char program[1];

	if (!w->keeper)
		return true;
	path = mem_printf("/proc/%d/exe", (int)keeper_pid(w->keeper));
	return readlink(path, program, sizeof(program)) < 0;
}

int engine_exec_inspect(struct user *u, const char *exec_id, struct arena *a,
			struct exec_view **ret, struct err *e)
{
	struct exec_view *v;
	struct exec *x;

	if (find(u, exec_id, &x, e) < 0)
		return -ERR_NOT_FOUND;
	if (x->running && keeper_is_dead(x->workload)) {
		x->running = false;
		x->exit_code = 137;
	}
	v = arena_new(a, struct exec_view);
	*v = (struct exec_view){
		.id = x->id,
		.container_id = x->workload->id,
		.running = x->running,
		.started = x->started,
		.exit_code = x->exit_code,
		.pid = x->pid,
		.request = &x->request,
	};
	*ret = v;
	return 0;
}

void exec_ended(struct engine *g, const struct keeper_exec_died *d)
{
	struct exec *x = d->id ? map_get(&g->execs, d->id) : NULL;
	auto_free char *code = NULL;

	if (!x || !x->running)
		return; /* told twice: by a state, and as news */
	x->running = false;
	x->exit_code = (int)d->exit_code;
	x->pid = 0;
	save(x);
	code = mem_printf("%d", x->exit_code);
	event_container(x->workload, "exec_die", "execID", x->id, "exitCode", code, NULL);
}

char **exec_ids(const struct workload *w, struct arena *a)
{
	size_t n = 0;
	char **ids;

	list_each ((struct list *)&w->execs, struct exec, link, x)
		n += x->running;
	if (!n)
		return NULL;
	ids = arena_new_array(a, char *, n + 1);
	n = 0;
	list_each ((struct list *)&w->execs, struct exec, link, x) {
		if (x->running)
			ids[n++] = arena_dup_text(a, x->id);
	}
	return ids;
}

/* -- across a restart of the daemon */

static void read_back(struct engine *g, const char *id)
{
	auto_free char *path = mem_printf("%s/exec/%s", g->run, id);
	auto_json struct json *j = NULL;
	struct err e = {0};
	struct workload *w;
	struct exec *x;

	if (json_read_file(AT_FDCWD, path, EXEC_FILE_MAX, &j, &e) < 0 ||
	    !(w = map_get(&g->workloads,
			  json_get_text(j, "container") ? json_get_text(j, "container") : ""))) {
		(void)unlink(path);
		return;
	}
	x = exec_new(w, id);
	x->started = json_get_bool(j, "started", false);
	x->running = json_get_bool(j, "running", false);
	x->exit_code = (int)json_get_i64(j, "exitCode", 0);
	if (json_decode(json_get(j, "request"), &request_shape, "exec", &x->arena, &x->request,
			&e) < 0)
		exec_free(x, true);
}

void exec_read_all(struct engine *g)
{
	auto_free char *path = mem_printf("%s/exec", g->run);
	auto_closedir DIR *dir = opendir(path);
	struct dirent *d;

	while (dir && (d = readdir(dir)) != NULL)
		if (strlen(d->d_name) == ENGINE_ID_HEX)
			read_back(g, d->d_name);
}

/* One "ID CODE" of a state: an end that was told to a daemon that did not live to note it. */
static void take_end(struct workload *w, const char *text)
{
	struct str code = str_of(text), id = {0};
	auto_free char *copy = NULL;
	struct exec *x;
	uint32_t n = 0;

	if (!str_cut(&code, ' ', &id) || parse_u32(code, "exit code", &n, NULL) < 0)
		return;
	copy = str_dup(id);
	x = map_get(&w->engine->execs, copy);
	if (x && x->running)
		exec_ended(w->engine, &(struct keeper_exec_died){.id = copy, .exit_code = n});
}

/* Which still run is the keeper's to say; ends that we missed follow as events. */
void exec_adopt(struct workload *w, const struct keeper_state *s)
{
	for (char *const *end = s->exec_ends; end && *end; end++)
		take_end(w, *end);
	list_each (&w->execs, struct exec, link, x) {
		if (x->running && !text_in(x->id, s->exec_ids))
			x->running = false;
	}
}
