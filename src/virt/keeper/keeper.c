/*
 * hulld's end of a keeper: a packet channel, the requests that wait for their answer, and a table
 * from message types to events. Nothing is decoded before it is known what it is.
 *
 * A callback may free the keeper: behind each call of one, nothing of it is touched.
 */
#include "virt/keeper/keeper.h"

#include <assert.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/list.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/fdpass.h"
#include "ground/wire/loop.h"
#include "ground/wire/packet.h"
#include "virt/keeper/message.h"
#include "virt/keeper/record.h"

#define KEEPER_MAGIC   0x4b504552
#define NO_ANSWER_CODE 125

struct keeper {
	uint32_t magic;
	struct loop *loop;
	struct packet *channel; /* NULL: the connection has ended */
	const struct keeper_events *events;
	void *ctx;
	struct list open; /* requests without an answer yet */
	uint32_t serial;
	pid_t pid;
	struct err why; /* of the connection's end */
};

struct open_request {
	struct list link;
	struct loop *loop;
	uint32_t serial;
	struct keeper_done done;
	struct err why;
};

static struct keeper *as_keeper(void *p)
{
	struct keeper *k = p;

	assert(k);
	assert(k->magic == KEEPER_MAGIC);
	return k;
}

/* One received message while it is handled. */
struct news {
	struct keeper *k;
	struct message m;
	struct arena *arena;
	int *fds;
	size_t fds_n;
};

static void answer_failed(void *arg)
{
	struct open_request *q = arg;

	if (q->done.fn)
		q->done.fn(q->done.ctx, NULL, &q->why, NO_ANSWER_CODE);
	free(q);
}

static void tell_lost(void *arg)
{
	struct keeper *k = as_keeper(arg);
	struct err why = k->why;

	if (k->events->lost)
		k->events->lost(k->ctx, &why);
}

static void on_closed(void *arg)
{
	struct keeper *k = as_keeper(arg);

	k->channel = packet_free(k->channel);
	(void)err_set(&k->why, ERR_UNAVAILABLE, "the supervisor (process %d) has ended",
		      (int)k->pid);
	list_each (&k->open, struct open_request, link, q) {
		list_remove(&q->link);
		q->why = k->why;
		loop_defer(k->loop, answer_failed, q);
	}
	loop_defer(k->loop, tell_lost, k);
}

static void close_ready(struct keeper_ready *r)
{
	for (size_t i = 0; i < KEEPER_FD_READY_N; i++)
		r->fds[i] = fd_close(r->fds[i]);
}

static void take_ready(struct news *n, struct keeper_ready *ret)
{
	for (size_t i = 0; i < KEEPER_FD_READY_N; i++)
		ret->fds[i] = i < n->fds_n ? take_fd(&n->fds[i]) : -1;
}

/* The answer's struct in n->arena; NULL where it has none or is broken. */
static const void *decode(struct news *n)
{
	const struct message_shape *shape = message_shape_of(n->m.type);
	void *out = shape ? arena_new_bytes(n->arena, shape->size) : NULL;

	if (out && message_decode(n->m.body, shape, n->arena, out, NULL) < 0)
		return NULL;
	return out;
}

static void fault_to_err(const struct keeper_fault *f, struct err *ret)
{
	enum err_kind kind = f->kind > ERR_NONE && f->kind < ERR_KINDS ? f->kind : ERR_INTERNAL;

	(void)err_set(ret, kind, "%s", f->text ? f->text : "no reason given");
}

static void on_answer(struct news *n)
{
	struct keeper_ready ready;
	struct open_request *found = NULL;
	struct keeper_done done;
	const void *answer;

	list_each (&n->k->open, struct open_request, link, q)
		if (q->serial == n->m.serial)
			found = q;
	if (!found)
		return;
	list_remove(&found->link);
	done = found->done;
	free(found);
	if (!done.fn)
		return;
	answer = decode(n);
	if (n->m.type == KEEPER_FAULT) {
		const struct keeper_fault none = {.kind = ERR_INTERNAL},
					  *f = answer ? answer : &none;
		struct err why = {0};

		fault_to_err(f, &why);
		done.fn(done.ctx, NULL, &why, (int)f->exit_code);
		return;
	}
	take_ready(n, &ready);
	done.fn(done.ctx, n->fds_n > 0 ? &ready : answer, NULL, 0);
	close_ready(&ready);
}

static void on_ready(struct news *n)
{
	struct keeper_ready ready;

	take_ready(n, &ready);
	if (n->k->events->ready)
		n->k->events->ready(n->k->ctx, &ready);
	close_ready(&ready);
}

static void on_oom(struct news *n)
{
	if (n->k->events->oom)
		n->k->events->oom(n->k->ctx);
}

/* Events with a body: decoded, then given to the callback of that name. */
#define EVENT(name, type)                                    \
	static void on_##name(struct news *n)                \
	{                                                    \
		const struct type *body = decode(n);         \
                                                             \
		if (body && n->k->events->name)              \
			n->k->events->name(n->k->ctx, body); \
	}

EVENT(started, keeper_started)
EVENT(failed, keeper_fault)
EVENT(state, keeper_state)
EVENT(died, keeper_died)
EVENT(health, keeper_health)
EVENT(exec_died, keeper_exec_died)
EVENT(detached, keeper_detached)

static const struct {
	enum keeper_type type;
	void (*handle)(struct news *n);
} handlers[] = {
	{KEEPER_OK, on_answer},
	{KEEPER_FAULT, on_answer},
	{KEEPER_EXEC_STARTED, on_answer},
	{KEEPER_STATE, on_state},
	{KEEPER_READY, on_ready},
	{KEEPER_STARTED, on_started},
	{KEEPER_FAILED, on_failed},
	{KEEPER_DIED, on_died},
	{KEEPER_HEALTH, on_health},
	{KEEPER_EXEC_DIED, on_exec_died},
	{KEEPER_OOM, on_oom},
	{KEEPER_DETACHED, on_detached},
};

static void on_received(void *arg, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	auto_arena struct arena a = {0};
	struct news news = {.k = as_keeper(arg), .arena = &a, .fds = fds, .fds_n = fds_n};

	if (message_read((struct str){bytes, n}, &news.m, NULL) < 0)
		return;
	for (size_t i = 0; i < array_len(handlers); i++)
		if (handlers[i].type == news.m.type) {
			handlers[i].handle(&news);
			return;
		}
}

static const struct packet_ops channel_ops = {.received = on_received, .closed = on_closed};

static struct keeper *keeper_new(struct loop *loop, const struct keeper_events *events, void *ctx)
{
	struct keeper *k = mem_new(struct keeper);

	assert(events);
	k->magic = KEEPER_MAGIC;
	k->loop = loop;
	k->events = events;
	k->ctx = ctx;
	list_init(&k->open);
	return k;
}

struct keeper *keeper_free(struct keeper *k)
{
	if (!k)
		return NULL;
	assert(k->magic == KEEPER_MAGIC);
	loop_defer_cancel(k->loop, tell_lost, k);
	k->channel = packet_free(k->channel);
	list_each (&k->open, struct open_request, link, q) {
		list_remove(&q->link);
		free(q);
	}
	k->magic = 0;
	free(k);
	return NULL;
}

pid_t keeper_pid(const struct keeper *k)
{
	return k->pid;
}

static int send_message(struct keeper *k, enum keeper_type type, uint32_t serial, const void *in,
			int fd, struct err *e)
{
	auto_strbuf struct strbuf message = {0};

	if (!k->channel)
		return err_set(e, ERR_UNAVAILABLE, "the supervisor (process %d) has ended",
			       (int)k->pid);
	message_write(&message, type, serial, in);
	if (message.n > KEEPER_PACKET_MAX)
		return err_set(
			e, ERR_INVALID,
			"arguments and environment of %zu bytes are more than the %d that fit",
			message.n, KEEPER_PACKET_MAX);
	return packet_send(k->channel, message.p, message.n, &fd, fd >= 0 ? 1 : 0, e);
}

static void ask(struct keeper *k, enum keeper_type type, const void *in, int fd,
		struct keeper_done done)
{
	struct open_request *q = mem_new(struct open_request);

	assert(k->magic == KEEPER_MAGIC);
	if (++k->serial == 0)
		k->serial = 1;
	q->loop = k->loop;
	q->serial = k->serial;
	q->done = done;
	list_init(&q->link);
	if (send_message(k, type, q->serial, in, fd, &q->why) < 0)
		loop_defer(k->loop, answer_failed, q);
	else
		list_append(&k->open, &q->link);
}

static int start_process(struct loop *loop, const char *path, int sock, pid_t *ret, struct err *e)
{
	char *argv[] = {"hull-keeper", NULL};
	char *envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	int fds[] = {-1, -1, -1, sock};
	struct loop_spawn_options o = {.program = path,
				       .argv = argv,
				       .envp = envp,
				       .fds = fds,
				       .fds_n = array_len(fds),
				       .new_session = true};
	struct loop_process *p;
	int r = loop_spawn(loop, &o, &p, e);

	if (r < 0)
		return r;
	*ret = loop_process_pid(p);
	(void)loop_process_free(p);
	return 0;
}

int keeper_spawn(struct loop *loop, const char *path, const struct keeper_orders *orders,
		 int join_fd, const struct keeper_events *events, void *ctx, struct keeper **ret,
		 struct err *e)
{
	struct keeper *k;
	int pair[2], r;

	r = fdpass_pair(SOCK_SEQPACKET, pair, e);
	if (r < 0)
		return r;
	k = keeper_new(loop, events, ctx);
	r = start_process(loop, path, pair[1], &k->pid, e);
	(void)fd_close(pair[1]);
	if (r < 0)
		(void)fd_close(pair[0]);
	else
		r = packet_open(loop, pair[0], &channel_ops, k, &k->channel, e);
	if (r == 0)
		r = send_message(k, KEEPER_ORDERS, 0, orders, join_fd, e);
	if (r < 0) {
		(void)keeper_free(k);
		return err_wrap(e, "supervisor of container '%s'", orders->id);
	}
	*ret = k;
	return 0;
}

int keeper_adopt(struct loop *loop, const char *run_dir, const struct keeper_events *events,
		 void *ctx, struct keeper **ret, struct err *e)
{
	auto_free char *sock = mem_printf("%s/sock", run_dir);
	auto_arena struct arena a = {0};
	struct keeper_record record;
	struct keeper *k;
	int r = keeper_record_read(run_dir, &a, &record, e);

	if (r == 0 && !keeper_record_lives(&record))
		r = err_set(e, ERR_GONE, "its supervisor (process %lld) has ended",
			    (long long)record.pid);
	if (r < 0) {
		if (r == -ERR_NOT_FOUND || r == -ERR_INVALID)
			(void)err_set(e, ERR_GONE, "no supervisor left a record in '%s'", run_dir);
		return -ERR_GONE;
	}
	k = keeper_new(loop, events, ctx);
	k->pid = (pid_t)record.pid;
	r = packet_connect(loop, sock, &channel_ops, k, &k->channel, e);
	if (r < 0) {
		(void)keeper_free(k);
		(void)err_set(e, ERR_GONE, "supervisor %lld does not answer at '%s'",
			      (long long)record.pid, sock);
		return -ERR_GONE;
	}
	*ret = k;
	return 0;
}

void keeper_go(struct keeper *k)
{
	/* A connection that is gone is told by `lost`. */
	(void)!send_message(k, KEEPER_GO, 0, NULL, -1, NULL);
}

void keeper_forget(struct keeper *k)
{
	(void)!send_message(k, KEEPER_FORGET, 0, NULL, -1, NULL);
}

void keeper_attach(struct keeper *k, const struct keeper_attach *how, int client_fd,
		   struct keeper_done done)
{
	assert(client_fd >= 0);
	ask(k, KEEPER_ATTACH, how, client_fd, done);
}

void keeper_exec(struct keeper *k, const struct keeper_exec *what, int client_fd,
		 struct keeper_done done)
{
	ask(k, KEEPER_EXEC, what, client_fd, done);
}

void keeper_resize(struct keeper *k, const struct keeper_resize *size, struct keeper_done done)
{
	ask(k, KEEPER_RESIZE, size, -1, done);
}

void keeper_signal(struct keeper *k, const struct keeper_signal *what, struct keeper_done done)
{
	ask(k, KEEPER_SIGNAL, what, -1, done);
}

void keeper_stop(struct keeper *k, const struct keeper_stop *how, struct keeper_done done)
{
	ask(k, KEEPER_STOP, how, -1, done);
}

void keeper_pause(struct keeper *k, struct keeper_done done)
{
	ask(k, KEEPER_PAUSE, NULL, -1, done);
}

void keeper_resume(struct keeper *k, struct keeper_done done)
{
	ask(k, KEEPER_RESUME, NULL, -1, done);
}

void keeper_update(struct keeper *k, const struct keeper_update *what, struct keeper_done done)
{
	ask(k, KEEPER_UPDATE, what, -1, done);
}

void keeper_descriptors(struct keeper *k, struct keeper_done done)
{
	ask(k, KEEPER_DESCRIPTORS, NULL, -1, done);
}
