/*
 * Fuzz: the HTTP surface. The text is one request ("METHOD PATH?QUERY", lines of headers, an empty
 * line, the body), sent to a whole API server over a store to which everybody may do everything, so
 * that it gets past the doors. Whatever is asked is answered, and never with an error of the
 * server's own; a stream is left once it has begun.
 *
 * The objects that it makes stay, for requests to come to meet them; a new store begins now and
 * then.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/direct.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"

#define STORE_LIFE   2000 /* requests */
#define ANSWER_MS    500
#define SETTLE_TURNS 100

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct place {
	char dir[128];
	struct loop *loop;
	struct keys *keys;
	struct objects *objects;
	struct client client;
	struct kube *kube;
	struct sockaddr_un address;
	unsigned int served;
	/* the request at hand */
	int fd;
	struct strbuf in;
	struct loop_timer *patience;
	struct loop_watch *watch;
	unsigned int turns;
} place;

/* -- a node that does as little as can be ------------------------------------------------------ */

/* Whatever a node was asked for, until it is told; one of them serves all kinds. */
struct node_session {
	struct node_stream stream;
	struct node_sink sink;
	struct node_session_events on;
	node_fd_done *done;
	void *ctx;
	int fd;
};

static void session_free(struct node_session *s, loop_fn *pending)
{
	loop_defer_cancel(place.loop, pending, s);
	s->fd = fd_close(s->fd);
	free(s);
}

static void tell_log(void *arg)
{
	struct node_session *s = arg;
	struct node_sink sink = s->sink;

	(void)sink.data(sink.ctx, "hi\n", 3);
	free(s);
	sink.end(sink.ctx, NULL);
}

static void log_resume(struct node_stream *s)
{
	(void)s;
}

static void log_cancel(struct node_stream *s)
{
	session_free(container_of(s, struct node_session, stream), tell_log);
}

static int node_log(void *node, const struct node_target *t, const struct node_log_options *o,
		    const struct node_sink *sink, struct node_stream **ret, struct err *e)
{
	struct node_session *s = mem_new(struct node_session);

	(void)node, (void)e;
	assert(t->pod && o->tail_lines >= -1);
	s->stream = (struct node_stream){log_resume, log_cancel};
	s->sink = *sink;
	s->fd = -1;
	*ret = &s->stream;
	loop_defer(place.loop, tell_log, s);
	return 0;
}

static void tell_exit(void *arg)
{
	static const char frame[] = {1, 0, 0, 0, 0, 0, 0, 2, 'h', 'i'};
	struct node_session *s = arg;
	struct node_session_events on = s->on;

	(void)!write(s->fd, frame, sizeof(frame));
	s->fd = fd_close(s->fd);
	free(s);
	on.exited(on.ctx, 7);
}

static void tell_start(void *arg)
{
	struct node_session *s = arg;

	loop_defer(place.loop, tell_exit, s);
	s->on.started(s->on.ctx, s, NULL);
}

static void node_exec(void *node, const struct node_target *t, const struct node_exec *x, int fd,
		      const struct node_session_events *on)
{
	struct node_session *s = mem_new(struct node_session);

	(void)node;
	assert(t->container && (!x->command || x->command[0]));
	s->on = *on;
	s->fd = fd;
	loop_defer(place.loop, tell_start, s);
}

static void node_resize(void *node, struct node_session *s, unsigned int rows, unsigned int columns)
{
	(void)node, (void)rows, (void)columns;
	assert(s);
}

static void node_leave(void *node, struct node_session *s)
{
	(void)node;
	loop_defer_cancel(place.loop, tell_start, s);
	session_free(s, tell_exit);
}

static void tell_connected(void *arg)
{
	struct node_session *s = arg;

	s->done(s->ctx, s->fd, NULL);
	free(s);
}

/* A peer that has said one thing and left. */
static void node_connect(void *node, const struct node_target *t, uint16_t port, node_fd_done *done,
			 void *ctx)
{
	static const char said[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
	struct node_session *s = mem_new(struct node_session);
	int pair[2];

	(void)node, (void)port;
	assert(t->pod);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	(void)!write(pair[1], said, sizeof(said) - 1);
	(void)close(pair[1]);
	s->done = done;
	s->ctx = ctx;
	s->fd = pair[0];
	loop_defer(place.loop, tell_connected, s);
}

static void node_stats(void *node, node_json_done *done, void *ctx)
{
	auto_json struct json *none = json_new_object();

	(void)node;
	done(ctx, none, NULL);
}

static const struct node_ops *find_node(void *ctx, const char *name, void **ret_node)
{
	static const struct node_ops ops = {.log = node_log,
					    .exec = node_exec,
					    .resize = node_resize,
					    .leave = node_leave,
					    .port_forward = node_connect,
					    .connect = node_connect,
					    .stats = node_stats};

	*ret_node = ctx;
	return text_eq(name, "n") ? &ops : NULL;
}

/* -- the server -------------------------------------------------------------------------------- */

static void ready(void *ctx)
{
	struct place *p = ctx;

	loop_stop(p->loop);
}

static void made(void *ctx, const struct outcome *o)
{
	assert(!o->error);
	ready(ctx);
}

/* The server comes after its objects. */
static int sign_token(void *ctx, const struct object *account, const struct json *spec,
		      struct json **ret_status, struct err *e)
{
	(void)ctx;
	return kube_sign_token(place.kube, account, spec, ret_status, e);
}

static void make(struct place *p, const char *word, const char *namespace, const char *text)
{
	const struct kind *k = kind_of_word(word);
	struct json *tree = NULL;
	int bad = json_parse(str_of(text), "fuzz", &tree, NULL);

	assert(k && bad == 0);
	client_create(&p->client, &(struct client_target){k->stored, namespace, NULL, NULL}, tree,
		      NULL, made, p);
	loop_run(p->loop);
}

/* Strangers are administrators here, and a pod runs on a node. */
static void furnish(struct place *p)
{
	make(p, "clusterrolebindings", NULL,
	     "{\"metadata\":{\"name\":\"all\"},\"roleRef\":{\"apiGroup\":"
	     "\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"cluster-admin\"},"
	     "\"subjects\":[{\"kind\":\"Group\",\"apiGroup\":\"rbac.authorization.k8s.io\","
	     "\"name\":\"system:unauthenticated\"}]}");
	make(p, "nodes", NULL, "{\"metadata\":{\"name\":\"n\"}}");
	make(p, "serviceaccounts", "default", "{\"metadata\":{\"name\":\"default\"}}");
	make(p, "pods", "default",
	     "{\"metadata\":{\"name\":\"run\"},\"spec\":{\"nodeName\":\"n\",\"containers\":[{"
	     "\"name\":\"c\",\"image\":\"i\",\"ports\":[{\"containerPort\":80}]}]}}");
}

static void place_open(struct place *p)
{
	static const struct node_directory nodes = {find_node, NULL};
	static const char *const groups[] = {"system:masters", NULL};
	const char *tmp = getenv("TMPDIR");
	struct keys_options ko = {.index = objects_index, .index_free = objects_index_free};
	struct objects_options oo = {.service_cidr = "10.96.0.0/16", .sign_token = sign_token};
	struct kube_options o = {.address = "127.0.0.1:6443",
				 .service_ip = "10.96.0.1",
				 .version = "fuzz",
				 .client = &p->client,
				 .folder = p->dir,
				 .nodes = &nodes};
	auto_free char *db = NULL;
	struct err e;
	int fd;

	(void)snprintf(p->dir, sizeof(p->dir), "%.80s/kube-fuzz-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(p->dir) || loop_new(&p->loop, &e) < 0)
		abort();
	db = mem_printf("%s/db", p->dir);
	ko.path = db;
	ko.loop = oo.loop = o.loop = p->loop;
	if (keys_open(&ko, &p->keys, &e) < 0)
		abort();
	oo.keys = p->keys;
	if (objects_new(&oo, &p->objects, &e) < 0)
		abort();
	p->client = objects_client(p->objects, (struct identity){.user = "fuzz", .groups = groups});
	if (kube_new(&o, &p->kube, &e) < 0)
		abort();
	p->patience = loop_timer_new(p->loop, ready, p);
	kube_bootstrap(p->kube, ready, p);
	loop_run(p->loop);
	furnish(p);
	p->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(p->address.sun_path, sizeof(p->address.sun_path), "%.90s/s", p->dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&p->address, sizeof(p->address)) < 0 ||
	    listen(fd, 8) < 0 || http_server_listen(p->kube->http, fd, &e) < 0)
		abort();
}

static void place_close(struct place *p)
{
	static const char *const files[] = {"db", "db-wal", "db-shm", "s"};

	p->kube = kube_free(p->kube);
	p->patience = loop_timer_free(p->patience);
	p->objects = objects_free(p->objects);
	p->keys = keys_close(p->keys);
	p->loop = loop_free(p->loop);
	p->served = 0;
	for (size_t i = 0; i < array_len(files); i++) {
		auto_free char *file = mem_printf("%s/%s", p->dir, files[i]);

		(void)unlink(file);
	}
}

/* -- one request ------------------------------------------------------------------------------- */

/* Whether the answer is whole, or a stream that has begun. */
static bool is_answered(struct strbuf *in)
{
	const char *text = strbuf_text(in), *end = strstr(text, "\r\n\r\n");
	const char *length = end ? strstr(text, "Content-Length: ") : NULL;
	struct str rest = str_of(length), number;
	uint64_t n = 0;

	if (!end)
		return false;
	if (!length || length > end || !str_cut(&rest, ':', &number) ||
	    !str_cut(&rest, '\r', &number) || parse_u64(str_trim(number), "length", &n, NULL) < 0)
		return true;
	return in->n - (size_t)(end + 4 - text) >= n;
}

static void readable(void *ctx, unsigned int what)
{
	struct place *p = ctx;
	char block[65536];
	ssize_t n = read(p->fd, block, sizeof(block));

	(void)what;
	if (n > 0)
		strbuf_add(&p->in, block, (size_t)n);
	if ((n < 0 && errno != EAGAIN) || n == 0 || is_answered(&p->in))
		loop_stop(p->loop);
}

/* The server sees that the client has left, and lets go of what it held for it. */
static void settle(void *ctx)
{
	struct place *p = ctx;
	bool idle = list_empty(&p->kube->requests) && list_empty(&p->kube->watches) &&
		    list_empty(&p->kube->streams);

	if (idle || ++p->turns > SETTLE_TURNS)
		loop_stop(p->loop);
	else
		loop_defer(p->loop, settle, p);
}

static void ask(struct place *p, struct str request)
{
	size_t done = 0;
	struct err e;

	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&p->address, sizeof(p->address)) < 0)
		abort();
	while (done < request.n) {
		ssize_t n = send(p->fd, request.p + done, request.n - done, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	strbuf_clear(&p->in);
	if (loop_watch_new(p->loop, p->fd, LOOP_READ, readable, p, &p->watch, &e) < 0)
		abort();
	loop_timer_set(p->patience, ANSWER_MS, 0);
	loop_run(p->loop);
	loop_timer_unset(p->patience);
	p->watch = loop_watch_free(p->watch);
	p->fd = fd_close(p->fd);
	p->turns = 0;
	loop_defer(p->loop, settle, p);
	loop_run(p->loop);
}

/* The text with the lines that HTTP wants and the text leaves out. false: it is no request. */
static bool compose(struct str text, struct strbuf *out)
{
	struct str line;

	if (!str_cut(&text, '\n', &line) || line.n < 3 || !memchr(line.p, ' ', line.n))
		return false;
	strbuf_add(out, line.p, line.n);
	strbuf_add_text(out, " HTTP/1.1\r\nHost: x\r\n");
	while (str_cut(&text, '\n', &line) && line.n) {
		auto_free char *header = str_dup(line);

		if (strcasestr(header, "length") || strcasestr(header, "encoding") ||
		    strcasestr(header, "expect"))
			continue; /* how long it is stays our word */
		strbuf_printf(out, "%s\r\n", header);
	}
	/* What follows an upgrade is the stream's. */
	if (strstr(strbuf_text(out), "Upgrade:"))
		strbuf_add_text(out, "\r\n");
	else
		strbuf_printf(out, "Content-Length: %zu\r\n\r\n", text.n);
	strbuf_add(out, text.p, text.n);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_strbuf struct strbuf request = {0};
	struct place *p = &place;

	if (!compose((struct str){(const char *)bytes, n}, &request))
		return 0;
	if (p->kube && p->served++ == STORE_LIFE)
		place_close(p);
	if (!p->kube)
		place_open(p);
	ask(p, strbuf_str(&request));
	if (p->in.n) {
		assert(strncmp(p->in.p, "HTTP/1.1 ", 9) == 0);
		/* Groups without a user to stand in for are 500, as in Kubernetes. */
		assert(strncmp(p->in.p + 9, "500", 3) != 0 ||
		       strstr(strbuf_text(&p->in), "impersonated without a user"));
	}
	return 0;
}
