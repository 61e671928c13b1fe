/*
 * Streams of running pods: which requests they are, and the node they go to. A log is text in
 * pieces; the client's speed holds the node back.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/base/rfc3339.h"

bool stream_is(const struct kube_request *r)
{
	static const char *const subs[] = {"log", "exec", "attach", "portforward", "proxy"};

	for (size_t i = 0; r->sub && i < array_len(subs); i++)
		if (text_eq(subs[i], r->sub))
			return true;
	return false;
}

/*
 * -- logs
 * ----------------------------------------------------------------------------------------
 */

struct log {
	struct kube_request *request;
	struct node_stream *stream;
	bool began;
};

static void begin(struct log *l)
{
	if (!l->began)
		http_reply_begin(l->request->http, 200, "text/plain");
	l->began = true;
}

static int data(void *ctx, const void *p, size_t n)
{
	struct log *l = ctx;

	begin(l);
	return http_reply_push(l->request->http, p, n) > HTTP_REPLY_FULL;
}

static void end(void *ctx, const struct err *e)
{
	struct log *l = ctx;
	struct kube_request *r = l->request;

	if (e && !l->began) {
		free(l);
		answer_error(r, e);
		return;
	}
	begin(l);
	free(l);
	http_reply_end(r->http);
	request_end(r);
}

static void drained(void *arg)
{
	struct log *l = arg;

	l->stream->resume(l->stream);
}

static void gone(void *arg)
{
	struct log *l = arg;
	struct kube_request *r = l->request;

	l->stream->cancel(l->stream);
	free(l);
	if (!http_request_is_gone(r->http))
		return;
	http_request_drop(r->http);
	request_end(r);
}

static int64_t number(const struct kube_request *r, const char *name, int64_t otherwise)
{
	const char *text = http_request_query(r->http, name);
	int64_t n;
	struct err e;

	return text && parse_i64(str_of(text), name, &n, &e) == 0 ? n : otherwise;
}

static void read_options(const struct kube_request *r, struct node_log_options *o)
{
	const char *since = http_request_query(r->http, "sinceTime");
	int64_t seconds = number(r, "sinceSeconds", 0);
	struct err e;

	*o = (struct node_log_options){
		.follow = query_flag(r, "follow"),
		.previous = query_flag(r, "previous"),
		.timestamps = query_flag(r, "timestamps"),
		.tail_lines = number(r, "tailLines", -1),
		.limit_bytes = number(r, "limitBytes", -1),
		.stream = http_request_query(r->http, "stream"),
	};
	if (seconds > 0)
		o->since_ns = world_now_ns(r->kube->world) - seconds * 1000000000;
	else if (since && rfc3339_parse(since, &o->since_ns, &e) < 0)
		o->since_ns = 0;
}

static void run_log(struct kube_request *r, const struct node_ops *ops, void *node,
		    const struct node_target *t)
{
	struct log *l = mem_new(struct log);
	struct node_log_options o;
	struct err e;

	read_options(r, &o);
	l->request = r;
	if (ops->log(node, t, &o, &(struct node_sink){data, end, l}, &l->stream, &e) < 0) {
		free(l);
		answer_status(r, 400, "BadRequest", NULL, "%s", e.text);
		return;
	}
	if (o.follow) /* the headers tell that it works, though nothing may be there yet */
		begin(l);
	http_reply_on_drained(r->http, drained, l);
	http_request_on_gone(r->http, gone, l);
}

/*
 * -- the pod
 * -------------------------------------------------------------------------------------
 */

static const char *names_of(struct arena *a, const struct json *list)
{
	auto_strbuf struct strbuf out = {0};

	for (size_t i = 0; i < json_len(list); i++)
		strbuf_printf(&out, "%s%s", i ? " " : "", json_get_text(json_at(list, i), "name"));
	return arena_dup(a, strbuf_str(&out));
}

static bool has_container(const struct json *spec, const char *name)
{
	static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};

	for (size_t l = 0; l < array_len(lists); l++) {
		const struct json *list = json_get(spec, lists[l]);

		for (size_t i = 0; i < json_len(list); i++)
			if (text_eq(json_get_text(json_at(list, i), "name"), name))
				return true;
	}
	return false;
}

/* The container that is meant; NULL, and the request is answered. */
static const char *container_of_pod(struct kube_request *r, const struct json *pod)
{
	const struct json *spec = json_get(pod, "spec"), *list = json_get(spec, "containers");
	const char *name = http_request_query(r->http, "container");
	const char *usual = json_get_text(json_get(json_get(pod, "metadata"), "annotations"),
					  "kubectl.kubernetes.io/default-container");

	if (!name || !name[0])
		name = usual && has_container(spec, usual) ? usual : NULL;
	if (!name && json_len(list) == 1)
		return arena_dup_text(&r->arena, json_get_text(json_at(list, 0), "name"));
	if (!name) {
		answer_status(r, 400, "BadRequest", NULL,
			      "a container name must be specified for pod %s, choose one of: [%s]",
			      r->name, names_of(&r->arena, list));
		return NULL;
	}
	if (!has_container(spec, name)) {
		answer_status(r, 400, "BadRequest", NULL, "container %s is not valid for pod %s",
			      name, r->name);
		return NULL;
	}
	return arena_dup_text(&r->arena, name);
}

static void with_pod(void *ctx, const struct outcome *o)
{
	struct kube_request *r = ctx;
	const struct node_directory *nodes = r->kube->o.nodes;
	const struct node_ops *ops = NULL;
	struct node_target t = {.namespace = r->namespace, .pod = r->name};
	const struct json *pod;
	const char *node;
	void *self = NULL;

	if (o->error) {
		answer_outcome_error(r, o);
		return;
	}
	pod = object_tree(o->object);
	node = json_get_text(json_get(pod, "spec"), "nodeName");
	t.uid = arena_dup_text(&r->arena, o->object->uid);
	t.container = container_of_pod(r, pod);
	if (!t.container)
		return;
	if (!node || !node[0]) {
		answer_status(r, 400, "BadRequest", NULL, "pod %s does not have a host assigned",
			      r->name);
		return;
	}
	if (nodes)
		ops = nodes->find(nodes->ctx, node, &self);
	if (!ops)
		answer_status(r, 503, "ServiceUnavailable", NULL,
			      "node \"%s\" cannot be reached from here", node);
	else if (text_eq(r->sub, "log"))
		run_log(r, ops, self, &t);
	else
		answer_status(r, 501, "NotImplemented", NULL, "%s is not served yet", r->sub);
}

void stream_run(struct kube_request *r)
{
	if (!text_eq(r->resource, "pods")) {
		answer_status(r, 501, "NotImplemented", NULL, "%s/%s is not served yet",
			      r->resource, r->sub);
		return;
	}
	client_get(&r->client, &(struct client_target){r->kind, r->namespace, r->name, NULL}, NULL,
		   with_pod, r);
}
