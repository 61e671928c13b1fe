/*
 * Port forwarding: SPDY streams joined to TCP connections on the pod's own loopback. For each
 * connection the client opens an error stream and a data stream with the same request id and the
 * port; bytes of the data stream are the connection's, and what goes wrong is said on the error
 * stream. Both end with the connection.
 *
 * Newer kubectls carry the same SPDY bytes in the messages of a WebSocket.
 *
 * A connection whose pod does not read fills its buffer; then the client is not read any more until
 * there is room: SPDY as kubectl speaks it has no windows, so its other connections wait too, as
 * they do with Kubernetes.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "api/kube/stream_priv.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/format/websocket.h"

#define FORWARD_MAGIC  0x4b666f72u
#define TUNNEL_MAGIC   0x4b74756eu
#define REQUEST_ID_MAX 64

#define FORWARD_PROTOCOL  "portforward.k8s.io"
#define TUNNELED_PROTOCOL "SPDY/3.1+portforward.k8s.io"

struct forward {
	uint32_t magic;
	struct stream stream;
	struct kube *kube;
	struct loop *loop;
	struct stream_node node;
	char *namespace, *pod, *uid;
	struct duplex *duplex;
	struct spdy *spdy;
	struct websocket *socket; /* NULL: SPDY without */
	struct list tunnels;
	struct kube_request *request; /* until it is upgraded */
	bool broken;
};

/* One connection. */
struct tunnel {
	uint32_t magic;
	struct list link;
	struct forward *forward; /* NULL: it is over, and the node has still to answer */
	char request_id[REQUEST_ID_MAX];
	uint16_t port;
	uint32_t data, error; /* ids of the streams; 0: not there yet */
	bool asked;	      /* the node is connecting */
	int fd;
	struct loop_watch *watch;
	struct strbuf in; /* for the pod */
	bool in_ended, in_shut, out_ended;
};

static struct forward *forward_of(void *p)
{
	struct forward *f = p;

	assert(f->magic == FORWARD_MAGIC);
	return f;
}

static struct tunnel *tunnel_of(void *p)
{
	struct tunnel *t = p;

	assert(t->magic == TUNNEL_MAGIC);
	return t;
}

static void pump_later(void *arg);

/* What SPDY has to say goes to the client. */
static void move(struct forward *f)
{
	struct strbuf *from = spdy_out(f->spdy);

	if (!f->duplex)
		return;
	if (f->socket) {
		if (from->n)
			websocket_send(f->socket, false, STR(""), strbuf_str(from));
		strbuf_clear(from);
		from = websocket_out(f->socket);
	}
	if (from->n == 0)
		return;
	strbuf_add(duplex_out(f->duplex), from->p, from->n);
	strbuf_clear(from);
	duplex_flush(f->duplex);
}

static void hold(struct forward *f)
{
	bool full = false;

	list_each (&f->tunnels, struct tunnel, link, t)
		full = full || t->in.n >= STREAM_FULL;
	if (f->duplex)
		duplex_hold(f->duplex, full);
}

static void tunnel_release(struct tunnel *t)
{
	strbuf_done(&t->in);
	t->magic = 0;
	free(t);
}

/* Ends both streams, with a word on the error stream if there is one to say. */
static void tunnel_end(struct tunnel *t, const struct err *e)
{
	struct forward *f = t->forward;

	if (e && t->error && spdy_room(f->spdy, t->error) >= strlen(e->text))
		spdy_data(f->spdy, t->error, e->text, strlen(e->text), false);
	spdy_data(f->spdy, t->error, "", 0, true);
	spdy_data(f->spdy, t->data, "", 0, true);
	loop_defer_cancel(f->loop, pump_later, t);
	t->watch = loop_watch_free(t->watch);
	t->fd = fd_close(t->fd);
	list_remove(&t->link);
	t->forward = NULL;
	if (!t->asked)
		tunnel_release(t);
	move(f);
	hold(f);
}

/* -- bytes ------------------------------------------------------------------------------------- */

static int push_in(struct tunnel *t)
{
	size_t done = 0;

	while (done < t->in.n) {
		ssize_t n =
			send(t->fd, t->in.p + done, t->in.n - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	spdy_consumed(t->forward->spdy, t->data, done);
	strbuf_drop_front(&t->in, done);
	if (t->in_ended && t->in.n == 0 && !t->in_shut) {
		t->in_shut = true;
		(void)shutdown(t->fd, SHUT_WR);
	}
	return 0;
}

static size_t out_room(struct tunnel *t)
{
	size_t room = duplex_room(t->forward->duplex);
	size_t window = spdy_room(t->forward->spdy, t->data);

	room = room < window ? room : window;
	return room < STREAM_BLOCK ? room : STREAM_BLOCK;
}

static int pull_out(struct tunnel *t)
{
	char block[STREAM_BLOCK];
	size_t room = out_room(t);
	ssize_t n = room ? recv(t->fd, block, room, MSG_DONTWAIT) : -1;

	if (room == 0 || t->out_ended)
		return 0;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	t->out_ended = n == 0;
	if (n > 0)
		spdy_data(t->forward->spdy, t->data, block, (size_t)n, false);
	return 0;
}

static void pump(struct tunnel *t)
{
	struct forward *f = t->forward;
	bool read;

	if (t->fd < 0)
		return;
	/* When the pod has ended, the connection has: nobody would read an answer. */
	if (push_in(t) < 0 || pull_out(t) < 0 || t->out_ended) {
		tunnel_end(t, NULL);
		return;
	}
	move(f);
	hold(f);
	read = out_room(t) > 0;
	loop_watch_want(t->watch, (read ? LOOP_READ : 0) | (t->in.n ? LOOP_WRITE : 0));
}

static void pump_later(void *arg)
{
	pump(tunnel_of(arg));
}

static void pump_soon(struct tunnel *t)
{
	loop_defer_cancel(t->forward->loop, pump_later, t);
	loop_defer(t->forward->loop, pump_later, t);
}

static void tunnel_ready(void *arg, unsigned ready)
{
	(void)ready;
	pump(tunnel_of(arg));
}

/* -- the way there ----------------------------------------------------------------------------- */

static void connected(void *ctx, int fd, const struct err *e)
{
	struct tunnel *t = tunnel_of(ctx);
	struct err why = {0};

	t->asked = false;
	if (!t->forward) {
		(void)fd_close(fd);
		tunnel_release(t);
		return;
	}
	if (e) {
		(void)err_set(&why, e->kind, "error forwarding port %u to pod %s: %s", t->port,
			      t->forward->pod, e->text);
		tunnel_end(t, &why);
		return;
	}
	t->fd = fd;
	if (loop_watch_new(t->forward->loop, fd, LOOP_READ, tunnel_ready, t, &t->watch, &why) < 0)
		tunnel_end(t, &why);
	else
		pump(t);
}

static void connect_tunnel(struct tunnel *t)
{
	struct forward *f = t->forward;
	struct node_target at = {f->namespace, f->pod, f->uid, NULL};

	t->asked = true;
	f->node.ops->port_forward(f->node.node, &at, t->port, connected, t);
}

static struct tunnel *tunnel_named(struct forward *f, struct str id, uint16_t port)
{
	struct tunnel *t;

	list_each (&f->tunnels, struct tunnel, link, it)
		if (str_is(id, it->request_id) && it->port == port)
			return it;
	t = mem_new(struct tunnel);
	*t = (struct tunnel){.magic = TUNNEL_MAGIC, .forward = f, .port = port, .fd = -1};
	memcpy(t->request_id, id.p, id.n);
	list_append(&f->tunnels, &t->link);
	return t;
}

static struct tunnel *tunnel_of_stream(struct forward *f, uint32_t id)
{
	list_each (&f->tunnels, struct tunnel, link, t)
		if (t->data == id || t->error == id)
			return t;
	return NULL;
}

static void opened(struct forward *f, const struct spdy_event *v)
{
	struct str type = spdy_header_value(v->headers, v->headers_n, "streamtype");
	struct str id = spdy_header_value(v->headers, v->headers_n, "requestid");
	struct str text = spdy_header_value(v->headers, v->headers_n, "port");
	bool data = str_is(type, "data");
	uint64_t port = 0;
	struct tunnel *t;

	if (!id.p) /* the oldest clients have one connection at a time */
		id = STR("");
	if ((!data && !str_is(type, "error")) || id.n >= REQUEST_ID_MAX || !text.p ||
	    parse_u64(text, "port", &port, NULL) < 0 || port == 0 || port > UINT16_MAX) {
		spdy_reset(f->spdy, v->id, SPDY_PROTOCOL_ERROR);
		return;
	}
	t = tunnel_named(f, id, (uint16_t)port);
	if (data ? t->data : t->error) {
		spdy_reset(f->spdy, v->id, SPDY_REFUSED_STREAM);
		return;
	}
	*(data ? &t->data : &t->error) = v->id;
	spdy_reply(f->spdy, v->id, NULL, 0, false);
	if (data)
		connect_tunnel(t);
}

static void stream_ended(struct tunnel *t, const struct spdy_event *v)
{
	if (v->id != t->data)
		return; /* clients end their half of the error stream at once */
	if (v->kind == SPDY_RESET) {
		tunnel_end(t, NULL);
		return;
	}
	t->in_ended = true;
	pump_soon(t);
}

static void happened(struct forward *f, const struct spdy_event *v)
{
	struct tunnel *t;

	if (v->kind == SPDY_OPENED)
		opened(f, v);
	if (v->kind == SPDY_ROOM)
		list_each (&f->tunnels, struct tunnel, link, each)
			pump_soon(each);
	t = v->id ? tunnel_of_stream(f, v->id) : NULL;
	if (!t) { /* it is over; clients end their half in their own time */
		spdy_consumed(f->spdy, v->id, v->data.n);
		return;
	}
	if (v->kind == SPDY_DATA && v->id == t->data && !t->in_ended) {
		strbuf_add(&t->in, v->data.p, v->data.n);
		pump_soon(t);
	}
	if (v->fin || v->kind == SPDY_RESET)
		stream_ended(t, v);
}

static void spdy_bytes(struct forward *f, const char *p, size_t n)
{
	struct cursor in = cursor_of(p, n);
	struct spdy_event v;
	int r = 0;

	while (!f->broken && (r = spdy_next(f->spdy, &in, &v, NULL)) > 0)
		happened(f, &v);
	f->broken = f->broken || r < 0;
}

static void message_piece(void *ctx, bool text, struct str piece, bool first, bool last)
{
	(void)text;
	(void)first;
	(void)last;
	spdy_bytes(forward_of(ctx), piece.p, piece.n);
}

static void forward_free(struct forward *f)
{
	list_remove(&f->stream.link);
	if (f->duplex)
		duplex_finish(take(f->duplex));
	list_each (&f->tunnels, struct tunnel, link, t)
		tunnel_end(t, NULL);
	(void)spdy_free(f->spdy);
	(void)websocket_free(f->socket);
	free(f->namespace);
	free(f->pod);
	free(f->uid);
	f->magic = 0;
	free(f);
}

static void stream_end(struct stream *s)
{
	forward_free(forward_of(container_of(s, struct forward, stream)));
}

static void came(void *ctx, const char *p, size_t n)
{
	struct forward *f = forward_of(ctx);

	if (!f->socket)
		spdy_bytes(f, p, n);
	else if (websocket_feed(f->socket, p, n, NULL) < 0)
		f->broken = true;
	move(f);
	hold(f);
	if (f->broken)
		forward_free(f);
}

static void room(void *ctx)
{
	list_each (&forward_of(ctx)->tunnels, struct tunnel, link, t)
		pump_soon(t);
}

static void gone(void *ctx)
{
	forward_free(forward_of(ctx));
}

static const struct duplex_events duplex_events = {came, room, gone};

static void upgraded(void *arg, int fd, struct str early)
{
	struct forward *f = forward_of(arg);

	(void)early;
	request_end(take(f->request));
	if (fd >= 0)
		f->duplex = duplex_new(f->kube, fd, &duplex_events, f);
	if (f->duplex)
		stream_add(f->kube, &f->stream, stream_end);
	else
		forward_free(f);
}

void forward_run(struct kube_request *r, const struct stream_node *n)
{
	static const char *const plain[] = {FORWARD_PROTOCOL, NULL};
	static const char *const tunneled[] = {TUNNELED_PROTOCOL, NULL};
	bool websocket = upgrade_is_websocket(r);
	struct forward *f;

	if (websocket ? !upgrade_offer(r, "Sec-WebSocket-Protocol", tunneled)
		      : !upgrade_is_spdy(r) ||
				!upgrade_offer(r, "X-Stream-Protocol-Version", plain)) {
		answer_status(r, 400, "BadRequest", NULL,
			      "you must ask for an upgrade to SPDY/3.1 with protocol %s, or to a "
			      "WebSocket with %s",
			      FORWARD_PROTOCOL, TUNNELED_PROTOCOL);
		return;
	}
	f = mem_new(struct forward);
	*f = (struct forward){.magic = FORWARD_MAGIC,
			      .kube = r->kube,
			      .loop = r->kube->loop,
			      .node = *n,
			      .namespace = mem_dup_text(n->target.namespace),
			      .pod = mem_dup_text(n->target.pod),
			      .uid = mem_dup_text(n->target.uid),
			      .spdy = spdy_new(false),
			      .request = r};
	list_init(&f->stream.link);
	list_init(&f->tunnels);
	if (websocket) {
		f->socket = websocket_new(false, message_piece, f);
		upgrade_greet_websocket(r, TUNNELED_PROTOCOL);
	} else {
		upgrade_greet_spdy(r, FORWARD_PROTOCOL);
	}
	http_request_hijack(r->http, NULL, upgraded, f);
}
