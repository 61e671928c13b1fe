/*
 * Processes in containers, and connections into pods, for the API. The caller's socket goes to the
 * container's keeper, which serves it from then on; here only the end is awaited.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

struct node_session {
	struct list link;
	struct node_agent *agent;
	char exec[ENGINE_ID_HEX + 1]; /* "" : attached to the container itself */
	char container[ENGINE_ID_HEX + 1];
	struct node_session_events on;
	bool started, left, ended;
	int code;
	struct err error;
};

static void session_free(struct node_session *s)
{
	list_remove(&s->link);
	free(s);
}

static void tell_end(struct node_session *s)
{
	struct node_session_events on = s->on;
	bool left = s->left;
	int code = s->code;

	session_free(s);
	if (!left)
		on.exited(on.ctx, code);
}

static void started(void *ctx, const struct err *e)
{
	struct node_session *s = ctx;
	struct node_session_events on = s->on;

	if (e) {
		bool left = s->left;
		struct err copy = *e;

		session_free(s);
		if (!left)
			on.started(on.ctx, NULL, &copy);
		return;
	}
	s->started = true;
	if (!s->left)
		on.started(on.ctx, s, NULL);
	if (s->ended)
		tell_end(s);
}

static void fail_late(void *arg)
{
	struct node_session *s = arg;
	struct err e = s->error;

	started(s, &e);
}

static void end(struct node_session *s, int code)
{
	s->ended = true;
	s->code = code;
	if (s->started)
		tell_end(s);
}

void session_exec_ended(struct node_agent *a, const char *exec_id, int code)
{
	list_each (&a->sessions, struct node_session, link, s)
		if (s->exec[0] && text_eq(s->exec, exec_id))
			end(s, code);
}

void session_attach_ended(struct node_agent *a, const char *container_id)
{
	list_each (&a->sessions, struct node_session, link, s)
		if (!s->exec[0] && text_eq(s->container, container_id))
			end(s, 0);
}

static int begin_exec(struct node_session *s, const struct node_exec *x, int fd, struct err *e)
{
	struct exec_request r = {.cmd = (char **)(uintptr_t)x->command,
				 .tty = x->tty,
				 .attach_stdin = x->in,
				 .attach_stdout = x->out,
				 .attach_stderr = x->error,
				 .rows = x->rows,
				 .columns = x->columns};
	struct exec_start_options o = {.tty = x->tty, .rows = x->rows, .columns = x->columns};

	if (engine_exec_create(s->agent->user, s->container, &r, s->exec, e) < 0) {
		(void)fd_close(fd);
		return -(int)e->kind;
	}
	engine_exec_start(s->agent->user, s->exec, &o, fd, STR(""), started, s);
	return 0;
}

static int begin_attach(struct node_session *s, const struct node_exec *x, int fd, struct err *e)
{
	struct attach_options o = {.stdin_ = x->in,
				   .stdout_ = x->out,
				   .stderr_ = x->error,
				   .stream = true,
				   .detach_keys = ""};
	bool tty;

	if (engine_attach_check(s->agent->user, s->container, &tty, e) < 0) {
		(void)fd_close(fd);
		return -(int)e->kind;
	}
	engine_attach(s->agent->user, s->container, &o, fd, STR(""), started, s);
	return 0;
}

static void agent_exec(void *node, const struct node_target *t, const struct node_exec *x, int fd,
		       const struct node_session_events *on)
{
	struct node_agent *a = node;
	struct node_session *s = mem_new(struct node_session);
	struct pod_container *c = NULL;
	int bad;

	s->agent = a;
	s->on = *on;
	list_append(&a->sessions, &s->link);
	bad = node_find(a, t, &c, &s->error);
	if (bad >= 0) {
		container_look(c);
		if (!container_runs(c))
			bad = err_set(&s->error, ERR_CONFLICT,
				      "container \"%s\" of pod \"%s\" does not run", c->name,
				      t->pod);
	}
	if (bad < 0) {
		(void)fd_close(fd);
		loop_defer(a->loop, fail_late, s);
		return;
	}
	memcpy(s->container, c->id, sizeof(s->container));
	bad = x->command ? begin_exec(s, x, fd, &s->error) : begin_attach(s, x, fd, &s->error);
	if (bad < 0)
		loop_defer(a->loop, fail_late, s);
}

static void ignore(void *ctx, const struct err *e)
{
	(void)ctx;
	(void)e;
}

static void agent_resize(void *node, struct node_session *s, unsigned int rows,
			 unsigned int columns)
{
	struct node_agent *a = node;

	if (s->exec[0])
		engine_exec_resize(a->user, s->exec, rows, columns, ignore, NULL);
	else
		engine_resize(a->user, s->container, rows, columns, ignore, NULL);
}

static void agent_leave(void *node, struct node_session *s)
{
	(void)node;
	s->left = true;
}

/* -- connections ------------------------------------------------------------------------------- */

struct connecting {
	struct node_agent *agent;
	int fd;
	struct loop_watch *watch;
	node_fd_done *done;
	void *ctx;
	struct err error;
};

static void connect_end(struct connecting *c, const struct err *e)
{
	int fd = e ? -1 : take_fd(&c->fd);

	c->watch = loop_watch_free(c->watch);
	(void)fd_close(c->fd);
	c->done(c->ctx, fd, e);
	free(c);
}

static void connect_failed(void *arg)
{
	struct connecting *c = arg;
	struct err e = c->error;

	connect_end(c, &e);
}

static void connect_ready(void *arg, unsigned int ready)
{
	struct connecting *c = arg;
	int sys = 0;
	socklen_t n = sizeof(sys);
	struct err e;

	(void)ready;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &n) < 0 || sys) {
		errno = sys;
		(void)err_sys(&e, "cannot connect to the pod");
		connect_end(c, &e);
		return;
	}
	connect_end(c, NULL);
}

static void reached(void *ctx, int fd, const struct err *e)
{
	struct connecting *c = ctx;

	c->done(c->ctx, fd, e);
	free(c);
}

static struct connecting *connecting_new(struct node_agent *a, node_fd_done *done, void *ctx)
{
	struct connecting *c = mem_new(struct connecting);

	*c = (struct connecting){.agent = a, .fd = -1, .done = done, .ctx = ctx};
	return c;
}

static void agent_port_forward(void *node, const struct node_target *t, uint16_t port,
			       node_fd_done *done, void *ctx)
{
	struct node_agent *a = node;
	struct connecting *c = connecting_new(a, done, ctx);
	const struct pod *p = pod_find(a, t->namespace, t->pod);

	if (p && p->sandbox[0]) {
		engine_sandbox_connect(a->user, p->sandbox, port, reached, c);
		return;
	}
	(void)err_set(&c->error, ERR_NOT_FOUND, "pod \"%s\" does not run on this node", t->pod);
	loop_defer(a->loop, connect_failed, c);
}

static int begin_connect(struct connecting *c, const char *ip, uint16_t port, struct err *e)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, ip, &to.sin_addr) != 1)
		return err_set(e, ERR_CONFLICT, "the pod has no address yet");
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return err_sys(e, "cannot make a socket");
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return err_sys(e, "cannot connect to %s:%u", ip, port);
	return loop_watch_new(c->agent->loop, c->fd, LOOP_WRITE, connect_ready, c, &c->watch, e);
}

static void agent_connect(void *node, const struct node_target *t, uint16_t port,
			  node_fd_done *done, void *ctx)
{
	struct node_agent *a = node;
	struct connecting *c = connecting_new(a, done, ctx);
	const struct pod *p = pod_find(a, t->namespace, t->pod);
	const struct sandbox_view *v = p ? engine_sandbox_find(a->user, p->sandbox) : NULL;
	const char *ip = !v ? "" : v->host_network ? a->o.address : v->ipv4;

	if (begin_connect(c, ip, port, &c->error) < 0)
		loop_defer(a->loop, connect_failed, c);
}

const struct node_ops agent_ops = {
	.log = node_log,
	.exec = agent_exec,
	.resize = agent_resize,
	.leave = agent_leave,
	.port_forward = agent_port_forward,
	.connect = agent_connect,
	.stats = node_stats,
};
