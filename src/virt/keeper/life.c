/*
 * The container's life: the edges drawn in supervisor_priv.h. Each end is recorded durably before
 * it is told, and told before the clients see their streams end, so that whoever asks for the exit
 * code behind the last byte finds it.
 */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/process.h"
#include "virt/container/spec.h"
#include "virt/keeper/machine.h"
#include "virt/keeper/record.h"
#include "virt/keeper/stdio.h"
#include "virt/keeper/supervisor_priv.h"

#define INIT_INSIDE	   "/sbin/docker-init"
#define SECOND_NS	   1000000000LL
#define CGROUP_END_MS	   2000
#define STOP_SIGNAL	   SIGTERM
#define EXIT_CODE_NO_START 128

/* In the maker: the orders' terminal wins over the configuration's. */
static int adjust_spec(void *ctx, struct spec *spec, struct arena *a, struct err *e)
{
	const struct keeper_orders *o = ctx;

	(void)a;
	if (!spec->process)
		return err_set(e, ERR_INVALID, "the configuration of '%s' has no process", o->id);
	spec->process->terminal = o->tty;
	if (o->tty && o->rows > 0 && o->columns > 0)
		spec->process->console = (struct spec_console){o->rows, o->columns};
	return 0;
}

static int create_work(const void *job, struct container *ret, struct err *e)
{
	const struct supervisor *s = job;
	const struct keeper_orders *o = &s->orders;
	struct container_order order = CONTAINER_ORDER_INIT;
	struct container_overlay overlay = {.lower = o->lower, .upper = o->upper, .work = o->work};
	struct container_bind init = {
		.fd = -1, .source = o->init_path, .target = INIT_INSIDE, .readonly = true};
	char *prefix[] = {INIT_INSIDE, "--", NULL};

	if (o->run_args)
		return machine_create(o, s->child_ends, ret, e);
	order.id = o->id;
	/* The root is mounted over the bundle: not over what the spec binds from the container
	 * directory. */
	order.bundle = o->run_dir;
	order.config = o->config_path;
	order.overlay = o->lower ? &overlay : NULL;
	order.root_path = o->root_path;
	if (o->init_path) {
		order.binds = &init;
		order.binds_n = 1;
		order.prefix_args = prefix;
	}
	order.netns_fd = s->netns_fd;
	memcpy(order.stdio, s->child_ends, sizeof(order.stdio));
	order.want_console = o->tty;
	order.cgroup_path = o->cgroup_path;
	order.seccomp_dir = o->seccomp_dir;
	order.start = true;
	order.adjust = adjust_spec;
	order.adjust_ctx = (void *)(uintptr_t)o;
	return container_create(&order, ret, e);
}

static void forget_run(struct supervisor *s)
{
	int fd = s->oom.fd;

	turn_unwatch(&s->turn, &s->oom);
	(void)fd_close(fd);
	s->init_pid = 0;
	s->init_start_time = 0;
	s->init_pidfd = fd_close(s->init_pidfd);
	s->cgroup = cgroup_free(s->cgroup);
	free(take(s->cgroup_text));
	turn_timer_unset(&s->stop_timer);
	turn_timer_unset(&s->health_timer);
}

static void end(struct supervisor *s)
{
	s->phase = KEEPER_ENDED;
	/* A client that reads late must not keep the network alive. */
	if (s->netns_fd != s->net.netns)
		(void)fd_close(s->netns_fd);
	s->netns_fd = -1;
	netns_sockets_close(&s->net);
	streams_finish_clients(&s->io);
	supervisor_leave_if_done(s);
	if (!s->turn.stop)
		supervisor_record(
			s); /* it lingers for a client: a new hulld shall see that it ended */
}

static void write_exit(struct supervisor *s)
{
	const struct keeper_died *d = &s->died;
	struct exit_record r = {
		.version = KEEPER_PROTOCOL_VERSION,
		.id = s->orders.id,
		.pid = d->pid,
		.exit_code = d->exit_code,
		.signal = d->signal,
		.oom_killed = d->oom_killed,
		.stopped = d->stopped,
		.restarting = d->restarting,
		.started_at_ns = d->started_at_ns,
		.finished_at_ns = d->finished_at_ns,
		.restart_count = d->restart_count,
		.sentence = d->sentence,
	};

	/* On a full disk the end is still told; who asks later finds the keeper gone without
	 * record. */
	(void)!exit_record_write(s->orders.container_dir, &r, NULL);
}

/* It could not be started: final, also at a restart. */
static void fail(struct supervisor *s, const struct err *why, int exit_code)
{
	bool program = exit_code == 126 || exit_code == 127;

	free(s->fault_text);
	s->fault_text = mem_dup_text(why->text);
	s->has_fault = true;
	s->fault = (struct keeper_fault){.kind = why->kind,
					 .exit_code =
						 program ? (uint32_t)exit_code : EXIT_CODE_NO_START,
					 .text = s->fault_text};
	s->has_died = true;
	s->died = (struct keeper_died){.exit_code = s->fault.exit_code,
				       .stopped = s->stop_asked,
				       .finished_at_ns = world_now_ns(s->world),
				       .restart_count = s->restart.count,
				       .sentence = s->fault_text};
	write_exit(s);
	forget_run(s);
	streams_reset(&s->io);
	news_event(s, KEEPER_FAILED, &s->fault);
	end(s);
}

static void on_oom(void *ctx, uint32_t events)
{
	struct supervisor *s = as_supervisor(ctx);
	uint64_t kills;

	(void)events;
	cgroup_oom_drain(s->oom.fd);
	kills = cgroup_oom_kills(s->cgroup);
	if (kills > s->oom_kills)
		news_event(s, KEEPER_OOM, NULL);
	s->oom_kills = kills;
}

static void watch_oom(struct supervisor *s)
{
	int fd = -1;

	s->oom = (struct turn_watch){.fd = -1, .fn = on_oom, .ctx = s};
	s->oom_kills = 0;
	if (cgroup_oom_open(s->cgroup, &fd, NULL) < 0)
		return; /* no memory controller: nothing is killed for memory */
	if (turn_watch(&s->turn, &s->oom, fd, EPOLLIN | EPOLLPRI, NULL) < 0)
		(void)fd_close(fd);
}

static int take_run(struct supervisor *s, struct maker_outcome *o, struct err *e)
{
	int fds[3] = {-1, -1, -1}, r;

	s->init_pid = o->pid;
	s->init_pidfd = take_fd(&o->pidfd);
	s->init_start_time = o->start_time;
	s->started_at_ns = world_now_ns(s->world);
	s->started_monotonic_ns = world_monotonic_ns(s->world);
	s->cgroup_text = mem_dup_text(o->cgroup);
	r = cgroup_load(str_of(o->cgroup), &s->cgroup, e);
	if (r < 0)
		s->cgroup = cgroup_none();
	watch_oom(s);
	if (!s->orders.tty)
		return r;
	fds[0] = take_fd(&o->console);
	return streams_begin(&s->io, fds, e);
}

static void on_created(void *ctx, struct maker_outcome *o)
{
	struct supervisor *s = as_supervisor(ctx);
	struct keeper_started started;
	int status;

	s->making = NULL;
	if (o->err.kind != ERR_NONE) {
		/* Killed in the middle, it left a cgroup behind, and perhaps processes in it. */
		if (o->killed && s->orders.cgroup_path)
			(void)!cgroup_sweep(s->orders.cgroup_path, CGROUP_END_MS, NULL);
		fail(s, &o->err, o->exit_code);
		return;
	}
	/* What does not work here is not worth the container's life: it runs. */
	(void)!take_run(s, o, NULL);
	s->phase = KEEPER_RUNNING;
	supervisor_record(s);
	started = (struct keeper_started){.pid = s->init_pid,
					  .start_time = (int64_t)s->init_start_time,
					  .started_at_ns = s->started_at_ns,
					  .restart_count = s->restart.count,
					  .cgroup_dirs = s->cgroup_text};
	news_event(s, KEEPER_STARTED, &started);
	health_begin(&s->health);
	if (s->health.status != KEEPER_HEALTH_NONE)
		turn_timer_set(&s->turn, &s->health_timer, health_delay(&s->health, 0));
	if (orphan_take(s, s->init_pid, &status))
		life_child_ended(s, status);
	else if (s->stop_asked)
		(void)!life_signal(s, SIGKILL, NULL);
}

void life_create(struct supervisor *s)
{
	struct err e = {0};
	int ours[3], r;

	assert(!s->making);
	assert(s->init_pid == 0);
	s->phase = KEEPER_CREATING;
	r = s->orders.tty ? 0 : stdio_make(s->orders.open_stdin, true, ours, s->child_ends, &e);
	if (r == 0 && !s->orders.tty)
		r = streams_begin(&s->io, ours, &e);
	if (r == 0)
		r = maker_start(&s->turn, create_work, s, on_created, s, &s->making, &e);
	stdio_close(s->child_ends);
	if (r < 0)
		fail(s, &e, EXIT_CODE_NO_START);
}

void life_child_ended(struct supervisor *s, int status)
{
	assert(s->phase == KEEPER_RUNNING || s->phase == KEEPER_PAUSED);
	s->wait_status = status;
	s->died =
		(struct keeper_died){.pid = s->init_pid, .finished_at_ns = world_now_ns(s->world)};
	s->init_pid = 0;
	turn_timer_unset(&s->stop_timer);
	turn_timer_unset(&s->health_timer);
	exec_end_all(s);
	/* With a pid namespace of its own nothing is left; with a shared one, this ends the rest.
	 */
	(void)!cgroup_kill(s->cgroup, NULL);
	if (s->io.live)
		streams_process_ended(&s->io);
	else
		life_streams_ended(s);
}

/* Fills s->died: what happened, and why in one sentence. */
static void judge(struct supervisor *s)
{
	auto_strbuf struct strbuf why = {0};
	struct keeper_died *d = &s->died;

	d->exit_code = status_code(s->wait_status);
	d->signal = WIFSIGNALED(s->wait_status) ? (uint32_t)WTERMSIG(s->wait_status) : 0;
	d->started_at_ns = s->started_at_ns;
	d->stopped = s->stop_asked;
	d->restart_count = s->restart.count;
	d->oom_killed = cgroup_oom_kills(s->cgroup) > 0;
	if (d->oom_killed && !cgroup_oom_explain(s->cgroup, NULL, (pid_t)d->pid, &why))
		strbuf_add_text(&why, "killed for memory");
	else if (!d->oom_killed && d->signal)
		strbuf_printf(&why, "killed by signal %u (%s)", d->signal,
			      sigdescr_np((int)d->signal) ? sigdescr_np((int)d->signal)
							  : "unnamed");
	free(s->sentence);
	s->sentence = why.n > 0 ? strbuf_take(&why) : NULL;
	d->sentence = s->sentence;
	s->has_died = true;
}

void life_streams_ended(void *ctx)
{
	struct supervisor *s = as_supervisor(ctx);
	int64_t ran_ns = world_monotonic_ns(s->world) - s->started_monotonic_ns;

	assert(s->init_pid == 0);
	judge(s);
	/* A directory that stays is found and removed by the next run, or by the burial. */
	(void)!cgroup_delete(s->cgroup, CGROUP_END_MS, NULL);
	s->died.restarting = restart_next(&s->restart, s->died.exit_code, s->stop_asked, ran_ns,
					  &s->died.delay_ns);
	write_exit(s);
	forget_run(s);
	news_event(s, KEEPER_DIED, &s->died);
	if (!s->died.restarting) {
		end(s);
		return;
	}
	streams_reset(&s->io);
	s->phase = KEEPER_RESTARTING;
	supervisor_record(s);
	turn_timer_set(&s->turn, &s->restart_timer, s->died.delay_ns);
}

void life_restart_due(void *ctx)
{
	struct supervisor *s = as_supervisor(ctx);

	assert(s->phase == KEEPER_RESTARTING);
	life_create(s);
}

int life_signal(struct supervisor *s, int sig, struct err *e)
{
	if (s->init_pid == 0)
		return err_set(e, ERR_CONFLICT, "container '%s' is not running", s->orders.id);
	/* A frozen process dies of nothing: it is woken for its end. */
	if (s->phase == KEEPER_PAUSED && sig == SIGKILL &&
	    cgroup_freeze(s->cgroup, false, CGROUP_END_MS, NULL) == 0)
		s->phase = KEEPER_RUNNING;
	return process_signal(s->init_pidfd, sig, e);
}

void life_stop_due(void *ctx)
{
	(void)!life_signal(as_supervisor(ctx), SIGKILL, NULL);
}

static void stop_restarting(struct supervisor *s)
{
	turn_timer_unset(&s->restart_timer);
	s->died.restarting = false;
	s->died.stopped = true;
	s->died.delay_ns = 0;
	/* The restart that was counted does not come. */
	s->restart.count--;
	s->died.restart_count = s->restart.count;
	write_exit(s);
	news_event(s, KEEPER_DIED, &s->died);
	end(s);
}

void life_stop(struct supervisor *s, const struct keeper_stop *how)
{
	int sig = how->signal ? (int)how->signal : STOP_SIGNAL;

	s->stop_asked = true;
	switch (s->phase) {
	case KEEPER_PREPARING:
		life_abandon(s);
		return;
	case KEEPER_RESTARTING:
		stop_restarting(s);
		return;
	case KEEPER_CREATING: /* killed as soon as it is there */
	case KEEPER_ENDED:
		return;
	case KEEPER_RUNNING:
	case KEEPER_PAUSED:
		break;
	}
	if (s->phase == KEEPER_PAUSED && cgroup_freeze(s->cgroup, false, CGROUP_END_MS, NULL) == 0)
		s->phase = KEEPER_RUNNING;
	(void)!life_signal(s, how->timeout_s == 0 ? SIGKILL : sig, NULL);
	if (how->timeout_s > 0)
		turn_timer_set(&s->turn, &s->stop_timer, how->timeout_s * SECOND_NS);
}

void life_abandon(struct supervisor *s)
{
	assert(s->phase == KEEPER_PREPARING);
	end(s);
}
