/*
 * Execs: more processes in the running container, each with streams of its own, and health probes,
 * which are execs that nobody is attached to and whose output is kept for the result.
 *
 * An exec leaves when its process has ended, its output was read, its end was told and its clients
 * have drained. It is freed from a timer: never below a callback that still uses it.
 */
#include <assert.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/process.h"
#include "virt/keeper/machine.h"
#include "virt/keeper/message.h"
#include "virt/keeper/stdio.h"
#include "virt/keeper/supervisor_priv.h"

#define EXEC_MAGIC	  0x45584543
#define PROBE_EXIT_FAILED UINT32_MAX /* it did not run, or took too long */

static struct exec *as_exec(void *p)
{
	struct exec *x = p;

	assert(x);
	assert(x->magic == EXEC_MAGIC);
	return x;
}

static void bury(void *ctx)
{
	struct exec *x = as_exec(ctx);
	struct supervisor *s = x->owner;

	turn_timer_unset(&x->timer);
	list_remove(&x->link);
	(void)maker_free(x->making);
	streams_done(&x->io);
	stdio_close(x->child_ends);
	(void)fd_close(x->pidfd);
	strbuf_done(&x->output);
	arena_done(&x->arena);
	x->magic = 0;
	free(x);
	/* A burst of execs must not leave its high-water mark behind. */
	if (list_empty(&s->execs))
		(void)malloc_trim(0);
	supervisor_leave_if_done(s);
}

/* Nothing is left to be done for x: it goes in a moment. */
static void leave_if_done(struct exec *x)
{
	if (!x->told || x->io.clients_n > 0)
		return;
	turn_timer_unset(&x->timer);
	turn_timer_init(&x->timer, bury, x);
	turn_timer_set(&x->owner->turn, &x->timer, 0);
}

static void tell_probe(struct exec *x)
{
	struct supervisor *s = x->owner;
	bool good = x->exit_code == 0 && !x->timed_out;
	int64_t age_ns = x->probe_began_ns - s->started_monotonic_ns;
	struct keeper_health h = {.started_at_ns = x->probe_began_wall_ns,
				  .finished_at_ns = x->finished_at_ns,
				  .exit_code = x->timed_out ? PROBE_EXIT_FAILED : x->exit_code};

	s->probe = NULL;
	/* The container has ended meanwhile, or is another run: the result means nothing. */
	if (s->init_pid == 0 || x->probe_began_ns < s->started_monotonic_ns)
		return;
	h.changed = health_result(&s->health, good, age_ns);
	h.status = s->health.status;
	h.failing_streak = s->health.streak;
	if (x->timed_out) {
		strbuf_clear(&x->output);
		strbuf_printf(&x->output, "health check took longer than %.3g s",
			      (double)s->health.timeout_ns / 1e9);
	}
	h.output = strbuf_text(&x->output);
	news_event(s, KEEPER_HEALTH, &h);
	age_ns = world_monotonic_ns(s->world) - s->started_monotonic_ns;
	turn_timer_set(&s->turn, &s->health_timer, health_delay(&s->health, age_ns));
}

/* Its end, for the states to come. */
static void keep_end(struct exec *x)
{
	char **ends = x->owner->exec_ends;
	size_t n = mem_count_texts(ends);

	if (n == KEEPER_EXEC_ENDS) {
		free(ends[0]);
		memmove(ends, ends + 1, KEEPER_EXEC_ENDS * sizeof(*ends));
		n--;
	}
	ends[n] = mem_printf("%s %u", x->order.id, x->exit_code);
}

/* The process has ended and its output was read. */
static void on_streams_ended(void *ctx)
{
	struct exec *x = as_exec(ctx);
	struct keeper_exec_died d = {.id = x->order.id,
				     .pid = x->pid,
				     .exit_code = x->exit_code,
				     .finished_at_ns = x->finished_at_ns};

	assert(x->ended);
	assert(!x->told);
	x->told = true;
	if (x->probe) {
		tell_probe(x);
	} else {
		keep_end(x);
		news_event(x->owner, KEEPER_EXEC_DIED, &d);
	}
	streams_finish_clients(&x->io);
	leave_if_done(x);
}

static void on_detached(void *ctx, const char *session, bool by_keys)
{
	struct exec *x = as_exec(ctx);
	struct keeper_detached d = {(char *)(uintptr_t)session, by_keys};

	news_event(x->owner, KEEPER_DETACHED, &d);
	leave_if_done(x);
}

static void ended(struct exec *x, int status)
{
	x->ended = true;
	x->exit_code = status_code(status);
	x->finished_at_ns = world_now_ns(x->owner->world);
	x->pidfd = fd_close(x->pidfd);
	if (x->io.live)
		streams_process_ended(&x->io);
	else
		on_streams_ended(x);
}

bool exec_child_ended(struct supervisor *s, pid_t pid, int status)
{
	list_each (&s->execs, struct exec, link, x) {
		if (x->pid != pid || x->ended)
			continue;
		ended(x, status);
		return true;
	}
	return false;
}

struct exec *exec_find(struct supervisor *s, const char *id)
{
	list_each (&s->execs, struct exec, link, x)
		if (!x->probe && text_eq(x->order.id, id))
			return x;
	return NULL;
}

void exec_end_all(struct supervisor *s)
{
	list_each (&s->execs, struct exec, link, x)
		if (x->pidfd >= 0)
			(void)!process_signal(x->pidfd, SIGKILL, NULL);
}

static int exec_work(const void *job, struct container *ret, struct err *e)
{
	const struct exec *x = job;
	const struct supervisor *s = x->owner;
	struct container_exec_order o = CONTAINER_EXEC_INIT;

	if (s->orders.run_args)
		return machine_exec(&s->orders, &x->order, s->cgroup, x->child_ends, ret, e);
	o.pid = s->init_pid;
	o.start_time = s->init_start_time;
	o.config = s->orders.config_path;
	o.cgroup = s->cgroup;
	o.args = x->order.args;
	o.env = x->order.env;
	o.cwd = x->order.cwd;
	o.user = x->order.user;
	o.terminal = x->order.tty;
	o.privileged = x->order.privileged;
	o.rows = x->order.rows;
	o.columns = x->order.columns;
	memcpy(o.stdio, x->child_ends, sizeof(o.stdio));
	o.want_console = x->order.tty;
	o.seccomp_dir = s->orders.seccomp_dir;
	return container_exec(&o, ret, e);
}

/* It could not be started: the client reads why, hulld gets the code. */
static void fail(struct exec *x, const struct err *why, int exit_code)
{
	auto_free char *text = mem_printf("%s\r\n", why->text);

	x->ended = x->told = true;
	x->finished_at_ns = world_now_ns(x->owner->world);
	x->exit_code = x->probe ? PROBE_EXIT_FAILED : (uint32_t)exit_code;
	streams_reset(&x->io);
	if (x->probe) {
		strbuf_add_text(&x->output, why->text);
		tell_probe(x);
	} else {
		news_fault(x->owner, x->serial, why, exit_code);
		streams_tell(&x->io, LOG_STREAM_STDOUT, text);
	}
	streams_finish_clients(&x->io);
	leave_if_done(x);
}

static void on_started(void *ctx, struct maker_outcome *o)
{
	struct exec *x = as_exec(ctx);
	struct keeper_started started;
	int fds[3] = {-1, -1, -1}, status;

	x->making = NULL;
	if (o->err.kind != ERR_NONE) {
		fail(x, &o->err, o->exit_code);
		return;
	}
	x->pid = o->pid;
	x->pidfd = take_fd(&o->pidfd);
	if (x->order.tty) {
		fds[0] = take_fd(&o->console);
		(void)!streams_begin(&x->io, fds, NULL);
	}
	started = (struct keeper_started){.pid = o->pid,
					  .start_time = (int64_t)o->start_time,
					  .started_at_ns = world_now_ns(x->owner->world)};
	if (!x->probe)
		news_answer(x->owner, KEEPER_EXEC_STARTED, x->serial, &started, NULL, 0);
	if (orphan_take(x->owner, x->pid, &status))
		ended(x, status);
	else if (x->owner->init_pid == 0 || x->timed_out)
		(void)!process_signal(x->pidfd, SIGKILL, NULL);
}

static struct exec *exec_new(struct supervisor *s)
{
	struct exec *x = mem_new(struct exec);

	x->magic = EXEC_MAGIC;
	x->owner = s;
	x->pidfd = -1;
	for (int i = 0; i < 3; i++)
		x->child_ends[i] = -1;
	streams_init(&x->io, &s->turn);
	x->io.ended = on_streams_ended;
	x->io.detached = on_detached;
	x->io.ctx = x;
	turn_timer_init(&x->timer, bury, x);
	list_append(&s->execs, &x->link);
	return x;
}

/* Streams and maker. Errors are told by fail(). */
static void launch(struct exec *x, bool input, bool output)
{
	struct err e = {0};
	int ours[3], r = 0;

	if (!x->order.tty)
		r = stdio_make(input, output, ours, x->child_ends, &e);
	if (r == 0 && !x->order.tty && (input || output))
		r = streams_begin(&x->io, ours, &e);
	if (r == 0)
		r = maker_start(&x->owner->turn, exec_work, x, on_started, x, &x->making, &e);
	stdio_close(x->child_ends);
	if (r < 0)
		fail(x, &e, 126);
}

static int check(struct supervisor *s, const struct keeper_exec *o, struct err *e)
{
	size_t n = 0;

	if (s->phase == KEEPER_PAUSED)
		return err_set(e, ERR_CONFLICT, "container '%s' is paused: unpause it before exec",
			       s->orders.id);
	if (s->phase != KEEPER_RUNNING || s->init_pid == 0)
		return err_set(e, ERR_CONFLICT, "container '%s' is not running", s->orders.id);
	if (!o->id || !o->args || !o->args[0])
		return err_set(e, ERR_INVALID, "exec without an id or a command");
	list_each (&s->execs, struct exec, link, x)
		n++;
	if (n > KEEPER_EXECS_MAX)
		return err_set(e, ERR_EXHAUSTED, "container '%s' runs %d execs already",
			       s->orders.id, KEEPER_EXECS_MAX);
	return 0;
}

int exec_start(struct supervisor *s, struct str body, uint32_t serial, int client_fd, struct err *e)
{
	struct exec *x = exec_new(s);
	bool attached = client_fd >= 0;
	int r;

	x->serial = serial;
	r = message_decode(body, message_shape_of(KEEPER_EXEC), &x->arena, &x->order, e);
	if (r == 0)
		r = check(s, &x->order, e);
	if (r < 0) {
		(void)fd_close(client_fd);
		bury(x);
		return r;
	}
	x->io.tty = x->order.tty;
	x->io.stdin_once = true;
	x->io.input_expected = attached && x->order.client.want_stdin;
	if (attached)
		r = streams_attach(&x->io, &x->order.client, client_fd, e);
	if (r < 0) {
		bury(x);
		return r;
	}
	launch(x, x->io.input_expected, attached);
	return 0;
}

static void probe_too_long(void *ctx)
{
	struct exec *x = as_exec(ctx);

	x->timed_out = true;
	if (x->pidfd >= 0)
		(void)!process_signal(x->pidfd, SIGKILL, NULL);
}

void exec_probe(void *ctx)
{
	struct supervisor *s = as_supervisor(ctx);
	struct exec *x;

	if (s->phase != KEEPER_RUNNING || s->init_pid == 0 || s->probe)
		return;
	x = exec_new(s);
	x->probe = true;
	x->order.args = s->orders.health_test;
	x->io.capture = &x->output;
	x->io.capture_max = KEEPER_HEALTH_OUTPUT;
	x->probe_began_ns = world_monotonic_ns(s->world);
	x->probe_began_wall_ns = world_now_ns(s->world);
	s->probe = x;
	turn_timer_init(&x->timer, probe_too_long, x);
	turn_timer_set(&s->turn, &x->timer, s->health.timeout_ns);
	launch(x, false, true);
}
