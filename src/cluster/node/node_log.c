/*
 * Logs of containers for the API: the engine reads them; here pods' names become containers' ids,
 * and lines become the text that clients see.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"

int node_find(struct node_agent *a, const struct node_target *t, struct pod_container **ret,
	      struct err *e)
{
	struct pod *p = pod_find(a, t->namespace, t->pod);

	assert(a->magic == AGENT_MAGIC);
	if (!p || (t->uid && !text_eq(t->uid, p->uid)))
		return err_set(e, ERR_NOT_FOUND, "pod \"%s\" is not on this node", t->pod);
	*ret = t->container ? pod_container_find(p, t->container) : p->n ? &p->containers[0] : NULL;
	if (!*ret)
		return err_set(e, ERR_NOT_FOUND, "container %s is not in pod %s", t->container,
			       t->pod);
	return 0;
}

/* -- logs -------------------------------------------------------------------------------------- */

struct log {
	struct node_stream base;
	struct node_sink sink;
	struct stream *stream;
	bool timestamps;
	int64_t left; /* bytes; -1: no limit */
};

static int line(void *ctx, const struct log_entry *l)
{
	struct log *log = ctx;
	char time[RFC3339_CHARS + 1];
	size_t n = l->n;
	int full = 0;

	if (log->left == 0)
		return 0;
	if (log->timestamps) {
		rfc3339_text_padded(l->time_ns, time);
		(void)log->sink.data(log->sink.ctx, time, strlen(time));
		(void)log->sink.data(log->sink.ctx, " ", 1);
	}
	if (log->left > 0 && (int64_t)n > log->left)
		n = (size_t)log->left;
	full = log->sink.data(log->sink.ctx, l->p, n);
	if (log->left > 0)
		log->left -= (int64_t)n;
	return full;
}

static void log_ended(void *ctx, const struct err *e)
{
	struct log *log = ctx;
	struct node_sink sink = log->sink;

	free(log);
	sink.end(sink.ctx, e);
}

static void log_resume(struct node_stream *s)
{
	struct log *log = container_of(s, struct log, base);

	stream_resume(log->stream);
}

static void log_cancel(struct node_stream *s)
{
	struct log *log = container_of(s, struct log, base);

	stream_cancel(log->stream);
	free(log);
}

int node_log(void *node, const struct node_target *t, const struct node_log_options *o,
	     const struct node_sink *sink, struct node_stream **ret, struct err *e)
{
	struct node_agent *a = node;
	struct log_options want = {.stdout_ = !text_eq(o->stream, "Stderr"),
				   .stderr_ = !text_eq(o->stream, "Stdout"),
				   .follow = o->follow,
				   .since_ns = o->since_ns,
				   .tail = o->tail_lines};
	struct pod_container *c;
	const char *id;
	struct log *log;

	if (node_find(a, t, &c, e) < 0)
		return -ERR_NOT_FOUND;
	id = o->previous || !c->id[0] ? c->last_id : c->id;
	if (o->previous && !id[0])
		return err_set(e, ERR_NOT_FOUND,
			       "previous terminated container \"%s\" in pod \"%s\" not found",
			       c->name, t->pod);
	if (!id[0])
		return err_set(e, ERR_CONFLICT,
			       "container \"%s\" in pod \"%s\" is waiting to start: %s", c->name,
			       t->pod, c->reason ? c->reason : "ContainerCreating");
	log = mem_new(struct log);
	*log = (struct log){.base = {log_resume, log_cancel},
			    .sink = *sink,
			    .timestamps = o->timestamps,
			    .left = o->limit_bytes};
	if (engine_logs(a->user, id, &want, &(struct log_sink){line, log_ended, log}, &log->stream,
			e) < 0) {
		free(log);
		return -(int)e->kind;
	}
	*ret = &log->base;
	return 0;
}
