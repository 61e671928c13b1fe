/*
 * What hulld asks of a keeper: one table of types and handlers. A handler answers itself, or
 * returns an error that is answered for it.
 */
#include <assert.h>
#include <signal.h>

#include "ground/base/mem.h"
#include "ground/format/json.h"
#include "ground/linux/process.h"
#include "virt/container/resources.h"
#include "virt/container/spec.h"
#include "virt/keeper/message.h"
#include "virt/keeper/supervisor_priv.h"

#define FREEZE_MS 5000

struct request {
	struct supervisor *s;
	struct message message;
	int *fds;
	size_t fds_n;
	struct arena arena;
};

/* Decodes the body into `out`, a struct of the message's type. */
static int body(struct request *q, void *out, struct err *e)
{
	return message_decode(q->message.body, message_shape_of(q->message.type), &q->arena, out,
			      e);
}

static void ok(struct request *q)
{
	news_ok(q->s, q->message.serial);
}

static int on_go(struct request *q, struct err *e)
{
	(void)e;
	if (q->s->phase == KEEPER_PREPARING)
		life_create(q->s);
	return 0;
}

static int on_exec(struct request *q, struct err *e)
{
	int fd = q->fds_n > 0 ? take_fd(&q->fds[0]) : -1;

	return exec_start(q->s, q->message.body, q->message.serial, fd, e);
}

static int on_attach(struct request *q, struct err *e)
{
	struct keeper_attach how;
	int r = body(q, &how, e);

	if (r == 0 && q->fds_n != 1)
		r = err_set(e, ERR_INVALID, "attach without a client's socket");
	if (r == 0 && q->s->phase == KEEPER_ENDED)
		r = err_set(e, ERR_CONFLICT, "container '%s' has ended", q->s->orders.id);
	if (r == 0)
		r = streams_attach(&q->s->io, &how, take_fd(&q->fds[0]), e);
	if (r == 0)
		ok(q);
	return r;
}

static int on_resize(struct request *q, struct err *e)
{
	struct streams *io = &q->s->io;
	struct keeper_resize size;
	int r = body(q, &size, e);

	if (r < 0)
		return r;
	if (size.exec_id) {
		struct exec *x = exec_find(q->s, size.exec_id);

		if (!x)
			return err_set(e, ERR_NOT_FOUND, "no such exec: %s", size.exec_id);
		io = &x->io;
		x->order.rows = size.rows;
		x->order.columns = size.columns;
	} else if (size.rows <= UINT16_MAX && size.columns <= UINT16_MAX) {
		q->s->orders.rows = size.rows;
		q->s->orders.columns = size.columns;
	}
	r = streams_resize(io, size.rows, size.columns, e);
	if (r == 0)
		ok(q);
	return r;
}

static int on_signal(struct request *q, struct err *e)
{
	struct keeper_signal what;
	struct exec *x;
	int r = body(q, &what, e);

	if (r < 0)
		return r;
	if (what.signal == 0 || what.signal > (uint32_t)SIGRTMAX)
		return err_set(e, ERR_INVALID, "invalid signal %u", what.signal);
	if (what.exec_id) {
		x = exec_find(q->s, what.exec_id);
		if (!x || x->pidfd < 0)
			return err_set(e, ERR_NOT_FOUND, "no such running exec: %s", what.exec_id);
		r = process_signal(x->pidfd, (int)what.signal, e);
	} else {
		r = life_signal(q->s, (int)what.signal, e);
		if (r == 0 && what.last)
			q->s->stop_asked = true;
	}
	if (r == 0)
		ok(q);
	return r;
}

static int on_stop(struct request *q, struct err *e)
{
	struct keeper_stop how;
	int r = body(q, &how, e);

	if (r == 0 && how.signal > (uint32_t)SIGRTMAX)
		r = err_set(e, ERR_INVALID, "invalid signal %u", how.signal);
	if (r < 0)
		return r;
	ok(q);
	life_stop(q->s, &how);
	return 0;
}

static int freeze(struct request *q, bool wanted, struct err *e)
{
	struct supervisor *s = q->s;
	enum keeper_phase from = wanted ? KEEPER_RUNNING : KEEPER_PAUSED;
	int r;

	if (s->phase != from || s->init_pid == 0)
		return err_set(e, ERR_CONFLICT, "container '%s' is not %s", s->orders.id,
			       wanted ? "running" : "paused");
	r = cgroup_freeze(s->cgroup, wanted, FREEZE_MS, e);
	if (r < 0) {
		if (wanted)
			(void)!cgroup_freeze(s->cgroup, false, FREEZE_MS, NULL);
		return r;
	}
	s->phase = wanted ? KEEPER_PAUSED : KEEPER_RUNNING;
	supervisor_record(s);
	if (!wanted && s->health.status != KEEPER_HEALTH_NONE && !s->probe)
		turn_timer_set(&s->turn, &s->health_timer, s->health.interval_ns);
	ok(q);
	return 0;
}

static int on_pause(struct request *q, struct err *e)
{
	return freeze(q, true, e);
}

static int on_resume(struct request *q, struct err *e)
{
	return freeze(q, false, e);
}

/* An update under way: new limits are written by a maker, which reads the JSON. */
struct update {
	struct supervisor *s;
	uint32_t serial;
	char *json;
};

static int update_work(const void *job, struct container *ret, struct err *e)
{
	const struct update *u = job;
	auto_arena struct arena a = {0};
	auto_json struct json *j = NULL;
	struct spec_resources r;
	int got = json_parse(str_of(u->json), "resources", &j, e);

	(void)ret;
	if (got == 0)
		got = json_decode(j, &spec_resources_shape, "resources", &a, &r, e);
	if (got == 0)
		got = resources_update(u->s->cgroup, &r, e);
	return got;
}

static void on_updated(void *ctx, struct maker_outcome *o)
{
	struct update *u = ctx;

	if (o->err.kind == ERR_NONE)
		news_ok(u->s, u->serial);
	else
		news_fault(u->s, u->serial, &o->err, 125);
	free(u->json);
	free(u);
}

static int on_update(struct request *q, struct err *e)
{
	struct supervisor *s = q->s;
	struct keeper_update what;
	struct maker *m;
	struct update *u;
	int r = body(q, &what, e);

	if (r < 0)
		return r;
	if (what.has_restart) {
		s->restart.policy = what.restart;
		s->restart.max = what.restart_max;
	}
	/* Without a running container the next start reads the new configuration. */
	if (!what.resources_json || s->init_pid == 0) {
		ok(q);
		return 0;
	}
	u = mem_new(struct update);
	*u = (struct update){s, q->message.serial, mem_dup_text(what.resources_json)};
	r = maker_start(&s->turn, update_work, u, on_updated, u, &m, e);
	if (r < 0) {
		free(u->json);
		free(u);
	}
	return r;
}

static int on_descriptors(struct request *q, struct err *e)
{
	const struct netns_sockets *n = &q->s->net;
	const int fds[KEEPER_FD_READY_N] = {n->netns, n->route, n->netfilter, n->dns_udp,
					    n->dns_tcp};

	if (n->netns < 0)
		return err_set(e, ERR_CONFLICT, "container '%s' has no network of its own",
			       q->s->orders.id);
	news_answer(q->s, KEEPER_OK, q->message.serial, NULL, fds, KEEPER_FD_READY_N);
	return 0;
}

static int on_forget(struct request *q, struct err *e)
{
	(void)e;
	if (q->s->phase == KEEPER_PREPARING)
		life_abandon(q->s);
	return 0;
}

static const struct {
	enum keeper_type type;
	int (*handle)(struct request *q, struct err *e);
} handlers[] = {
	{KEEPER_GO, on_go},
	{KEEPER_EXEC, on_exec},
	{KEEPER_ATTACH, on_attach},
	{KEEPER_RESIZE, on_resize},
	{KEEPER_SIGNAL, on_signal},
	{KEEPER_STOP, on_stop},
	{KEEPER_PAUSE, on_pause},
	{KEEPER_RESUME, on_resume},
	{KEEPER_UPDATE, on_update},
	{KEEPER_FORGET, on_forget},
	{KEEPER_DESCRIPTORS, on_descriptors},
};

void request_handle(struct supervisor *s, struct str packet, int *fds, size_t fds_n)
{
	struct request q = {.s = s, .fds = fds, .fds_n = fds_n};
	struct err e = {0};
	int r = message_read(packet, &q.message, &e);

	if (r < 0)
		return;
	r = err_set(&e, ERR_UNSUPPORTED, "this keeper does not know request %u", q.message.type);
	for (size_t i = 0; i < array_len(handlers); i++)
		if (handlers[i].type == q.message.type) {
			err_clear(&e);
			r = handlers[i].handle(&q, &e);
			break;
		}
	if (r < 0 && q.message.serial)
		news_fault(s, q.message.serial, &e, 125);
	arena_done(&q.arena);
}
