/*
 * Probes: a container is asked from time to time whether it has started, lives, and is ready. Each
 * probe has a timer of its own; an answer that does not come in time is a failure. The startup
 * probe holds the others back; a failed startup or liveness probe ends the container, and its pod's
 * policy says what then.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/http_client.h"
#include "ground/wire/loop.h"

#define PROBE_MAGIC 0x50524f42u

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, PROBE_KINDS };

static const char *const members[PROBE_KINDS] = {"startupProbe", "livenessProbe", "readinessProbe"};
static const char *const names[PROBE_KINDS] = {"Startup", "Liveness", "Readiness"};

struct probe {
	uint32_t magic;
	struct list link;
	struct pod_container *container;
	enum probe_kind kind;
	struct json *spec, *ports; /* of the probe, and of its container */
	int64_t grace_s;
	int64_t successes, failures;
	struct loop_timer *next, *deadline;
	unsigned int turn; /* answers to an earlier question are not heard */
	struct http_call *call;
	bool ending;	  /* it is over, but an answer is still on its way */
	unsigned int out; /* questions whose answer is on its way */
};

/* A question whose answer may come after its probe's patience, or its life. */
struct question {
	struct probe *probe;
	unsigned int turn;
};

static int64_t number(const struct probe *p, const char *key, int64_t otherwise)
{
	int64_t n = json_get_i64(p->spec, key, otherwise);

	return n > 0 ? n : otherwise;
}

static void probe_free(struct probe *p)
{
	p->next = loop_timer_free(p->next);
	p->deadline = loop_timer_free(p->deadline);
	if (p->call)
		p->call = http_call_cancel(p->call);
	if (p->out > 0) { /* the last answer frees it */
		p->ending = true;
		return;
	}
	(void)json_free(p->spec);
	(void)json_free(p->ports);
	p->magic = 0;
	free(p);
}

/* -- what an answer means ---------------------------------------------------------------------- */

static void succeeded(struct probe *p)
{
	struct pod_container *c = p->container;

	p->failures = 0;
	if (++p->successes < number(p, "successThreshold", 1))
		return;
	if (p->kind == PROBE_STARTUP && !c->started) {
		c->started = true;
		pod_again(c->pod);
	} else if (p->kind == PROBE_READINESS && !c->ready) {
		c->ready = true;
		pod_again(c->pod);
	}
}

static void failed(struct probe *p, const char *why)
{
	struct pod_container *c = p->container;

	p->successes = 0;
	node_event(c->pod, "Warning", "Unhealthy", c->name, "%s probe failed: %s", names[p->kind],
		   why);
	if (++p->failures < number(p, "failureThreshold", 3))
		return;
	if (p->kind == PROBE_READINESS) {
		if (c->ready) {
			c->ready = false;
			pod_again(c->pod);
		}
		return;
	}
	if (c->busy || c->wanted_stop)
		return;
	node_event(c->pod, "Normal", "Killing", c->name,
		   "Container %s failed %s probe, will be restarted", c->name,
		   p->kind == PROBE_LIVENESS ? "liveness" : "startup");
	container_stop(c, p->grace_s);
}

static void again(struct probe *p)
{
	loop_timer_unset(p->deadline);
	loop_timer_set(p->next, number(p, "periodSeconds", 10) * 1000, 0);
}

/* The answer to the question of `turn`; NULL: it is well. */
static void answered(struct probe *p, unsigned int turn, const char *why)
{
	if (p->turn != turn || p->ending)
		return;
	p->turn++;
	again(p);
	if (why)
		failed(p, why);
	else
		succeeded(p);
}

static void too_late(void *arg)
{
	struct probe *p = arg;
	auto_free char *why =
		mem_printf("no answer within %llds", (long long)number(p, "timeoutSeconds", 1));

	if (p->call)
		p->call = http_call_cancel(p->call);
	answered(p, p->turn, why);
}

/* -- asking ------------------------------------------------------------------------------------ */

static struct question *ask(struct probe *p)
{
	struct question *q = mem_new(struct question);

	*q = (struct question){p, p->turn};
	p->out++;
	return q;
}

static void question_end(struct question *q, const char *why)
{
	struct probe *p = q->probe;
	unsigned int turn = q->turn;

	assert(p->magic == PROBE_MAGIC && p->out > 0);
	free(q);
	p->out--;
	if (p->ending)
		probe_free(p);
	else
		answered(p, turn, why);
}

static void exec_started(void *ctx, struct node_session *s, const struct err *e)
{
	(void)s;
	if (e)
		question_end(ctx, e->text);
}

static void exec_exited(void *ctx, int code)
{
	auto_free char *why = mem_printf("command exited with code %d", code);

	question_end(ctx, code ? why : NULL);
}

static struct node_target target(const struct probe *p)
{
	const struct pod_container *c = p->container;

	return (struct node_target){c->pod->namespace, c->pod->name, c->pod->uid, c->name};
}

static void ask_exec(struct probe *p)
{
	const struct json *words = json_get(json_get(p->spec, "exec"), "command");
	char **command = mem_new_array(char *, json_len(words) + 1);
	struct node_exec x = {.command = command};
	struct node_target t = target(p);

	for (size_t i = 0; i < json_len(words); i++)
		command[i] = (char *)(uintptr_t)json_text(json_at(words, i));
	agent_ops.exec(p->container->pod->agent, &t, &x, -1,
		       &(struct node_session_events){exec_started, exec_exited, ask(p)});
	free(command);
}

/* A port by number or by the name that the container gave it. */
static uint16_t port_of(const struct probe *p, const struct json *port)
{
	const char *name = json_text(port);

	if (!name)
		return (uint16_t)json_i64(port, 0);
	for (size_t i = 0; i < json_len(p->ports); i++)
		if (text_eq(json_get_text(json_at(p->ports, i), "name"), name))
			return (uint16_t)json_get_i64(json_at(p->ports, i), "containerPort", 0);
	return 0;
}

static void connected(void *ctx, int fd, const struct err *e)
{
	(void)fd_close(fd);
	question_end(ctx, e ? e->text : NULL);
}

static void ask_tcp(struct probe *p)
{
	struct node_target t = target(p);
	uint16_t port = port_of(p, json_get(json_get(p->spec, "tcpSocket"), "port"));

	agent_ops.connect(p->container->pod->agent, &t, port, connected, ask(p));
}

static void http_done(void *arg, struct http_call *call, int status, const struct err *e)
{
	struct probe *p = arg;
	auto_free char *why = NULL;

	(void)call;
	p->call = NULL;
	if (e)
		why = mem_dup_text(e->text);
	else if (status < 200 || status >= 400)
		why = mem_printf("HTTP probe failed with statuscode: %d", status);
	answered(p, p->turn, why);
}

static const char **headers_of(const struct json *list, struct arena *a)
{
	const char **h = arena_new_array(a, const char *, json_len(list) + 2);

	h[0] = "User-Agent: kube-probe/1.33";
	for (size_t i = 0; i < json_len(list); i++)
		h[i + 1] = arena_printf(a, "%s: %s", json_get_text(json_at(list, i), "name"),
					json_get_text(json_at(list, i), "value"));
	return h;
}

static void ask_http(struct probe *p)
{
	struct node_agent *a = p->container->pod->agent;
	const struct json *get = json_get(p->spec, "httpGet");
	const struct sandbox_view *v = engine_sandbox_find(a->user, p->container->pod->sandbox);
	const char *host = json_get_text(get, "host"), *path = json_get_text(get, "path");
	bool https = text_eq(json_get_text(get, "scheme"), "HTTPS");
	auto_arena struct arena arena = {0};
	auto_free char *url = NULL;
	struct err e;

	if (!host || !host[0])
		host = !v ? "" : v->host_network ? a->o.address : v->ipv4;
	url = mem_printf("%s://%s:%u%s%s", https ? "https" : "http", host,
			 port_of(p, json_get(get, "port")), path && path[0] == '/' ? "" : "/",
			 path ? path : "");
	if (http_call_start(a->http,
			    &(struct http_call_options){
				    .url = url,
				    .headers = headers_of(json_get(get, "httpHeaders"), &arena),
				    .insecure = true,
				    .ops = {.done = http_done},
				    .arg = p},
			    &p->call, &e) < 0) {
		p->call = NULL;
		answered(p, p->turn, e.text);
	}
}

static void tick(void *arg)
{
	struct probe *p = arg;
	struct pod_container *c = p->container;

	assert(p->magic == PROBE_MAGIC);
	if ((p->kind != PROBE_STARTUP && !c->started) || c->wanted_stop) {
		again(p);
		return;
	}
	if (p->kind == PROBE_STARTUP && c->started)
		return;
	loop_timer_set(p->deadline, number(p, "timeoutSeconds", 1) * 1000, 0);
	if (json_get(p->spec, "exec"))
		ask_exec(p);
	else if (json_get(p->spec, "httpGet"))
		ask_http(p);
	else if (json_get(p->spec, "tcpSocket"))
		ask_tcp(p);
	else
		answered(p, p->turn,
			 "this node probes by exec, httpGet and tcpSocket; use one of these");
}

/* -- life -------------------------------------------------------------------------------------- */

void probes_begin(struct pod_container *c, const struct json *spec)
{
	struct loop *loop = c->pod->agent->loop;

	probes_end(c);
	for (int kind = 0; kind < PROBE_KINDS; kind++) {
		const struct json *how = json_get(spec, members[kind]);
		struct probe *p;

		if (!how)
			continue;
		p = mem_new(struct probe);
		p->magic = PROBE_MAGIC;
		p->container = c;
		p->kind = (enum probe_kind)kind;
		p->spec = json_copy(how);
		p->ports = json_copy(json_get(spec, "ports"));
		p->grace_s = json_get_i64(how, "terminationGracePeriodSeconds", 30);
		p->next = loop_timer_new(loop, tick, p);
		p->deadline = loop_timer_new(loop, too_late, p);
		loop_timer_set(p->next, json_get_i64(how, "initialDelaySeconds", 0) * 1000, 0);
		list_append(&c->probes, &p->link);
		if (kind == PROBE_STARTUP)
			c->started = false;
		if (kind == PROBE_READINESS)
			c->ready = false;
	}
	c->probing = true;
}

void probes_end(struct pod_container *c)
{
	list_each (&c->probes, struct probe, link, p) {
		list_remove(&p->link);
		probe_free(p);
	}
	c->probing = false;
}
