/*
 * exec and attach: a process on a node joined to a client's channels.
 *
 *	STARTING the node was asked; the client still waits for its reply
 *	  |	started: it runs (or the reply is an error)
 *	UPGRADING the reply is on its way
 *	  |	the connection is ours
 *	OPENING	 the client opens its streams, for STREAM_CREATE_MS
 *	  |	channels are ready
 *	JOINED	 bytes flow
 *	  |	exited, and what it wrote was passed on: the status goes out; or the client left
 *	(gone)
 *
 * The process starts before the client's streams are there: so a container that does not run is a
 * plain HTTP error, and what it writes early waits in the socket pair. The order of output and exit
 * status is kept because the status is sent only when the pair has been read to its end: the
 * keeper's, which comes when all has been written, or silence for DRAIN_MS.
 *
 * stdin waits in a buffer of at most STREAM_FULL while the process does not read; then the client
 * is not read either.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "api/kube/stream_priv.h"
#include "ground/base/log.h"
#include "ground/base/own.h"

#define EXEC_MAGIC	 0x4b657865u
#define RESIZE_MAX_BYTES 256
#define HEAD_BYTES	 8
#define DRAIN_MS	 2000 /* for a node that does not close its end of the pair */

enum exec_state { EXEC_STARTING, EXEC_UPGRADING, EXEC_OPENING, EXEC_JOINED };

struct exec {
	uint32_t magic;
	struct stream stream; /* from OPENING */
	struct kube *kube;
	enum exec_state state;
	struct kube_request *request; /* until UPGRADING is over */
	struct loop *loop;
	struct stream_node node;
	struct node_session *session; /* NULL: it ended, or has not begun */
	struct channels *channels;    /* from OPENING */
	const struct channel_protocol *protocol;
	struct loop_timer *timer;
	bool tty;
	unsigned wanted; /* bits of channels */
	int fd;		 /* our end of the pair */
	struct loop_watch *watch;
	struct strbuf in;     /* stdin that the process has not taken */
	struct strbuf resize; /* a size that is not whole yet */
	bool in_ended, in_shut, out_ended;
	bool exited;
	int code;
	unsigned char head[HEAD_BYTES]; /* of the frame that comes */
	size_t head_n, left;
};

static struct exec *exec_of(void *p)
{
	struct exec *x = p;

	assert(x->magic == EXEC_MAGIC);
	return x;
}

static void pump(struct exec *x);
static void pump_later(void *arg);

static void exec_free(struct exec *x)
{
	list_remove(&x->stream.link);
	loop_defer_cancel(x->loop, pump_later, x);
	if (x->session)
		x->node.ops->leave(x->node.node, x->session);
	if (x->channels)
		channels_leave(x->channels);
	x->timer = loop_timer_free(x->timer);
	x->watch = loop_watch_free(x->watch);
	x->fd = fd_close(x->fd);
	strbuf_done(&x->in);
	strbuf_done(&x->resize);
	x->magic = 0;
	free(x);
}

static void stream_end(struct stream *s)
{
	exec_free(exec_of(container_of(s, struct exec, stream)));
}

/* -- stdin ------------------------------------------------------------------------------------- */

static void push_in(struct exec *x)
{
	size_t done = 0;

	while (done < x->in.n) {
		ssize_t n =
			send(x->fd, x->in.p + done, x->in.n - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR) {
			done = x->in.n; /* nobody reads it any more */
			x->in_ended = true;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	strbuf_drop_front(&x->in, done);
	if (x->in_ended && x->in.n == 0 && !x->in_shut) {
		x->in_shut = true;
		(void)shutdown(x->fd, SHUT_WR);
	}
}

/* {"Width": 80, "Height": 24}, one behind the other. */
static void resized(struct exec *x, struct str text)
{
	auto_json struct json *j = NULL;
	int64_t rows, columns;

	if (json_parse(text, "size", &j, NULL) < 0 || !x->session)
		return;
	rows = json_get_i64(j, "Height", 0);
	columns = json_get_i64(j, "Width", 0);
	if (rows > 0 && rows <= UINT16_MAX && columns > 0 && columns <= UINT16_MAX)
		x->node.ops->resize(x->node.node, x->session, (unsigned)rows, (unsigned)columns);
}

static void resize_bytes(struct exec *x, struct str bytes)
{
	for (size_t i = 0; i < bytes.n; i++) {
		if (x->resize.n < RESIZE_MAX_BYTES)
			strbuf_add_char(&x->resize, bytes.p[i]);
		if (bytes.p[i] != '}')
			continue;
		resized(x, strbuf_str(&x->resize));
		strbuf_clear(&x->resize);
	}
}

/* -- stdout and stderr ------------------------------------------------------------------------- */

static bool is_open(const struct exec *x)
{
	return x->state == EXEC_JOINED;
}

/* How many bytes may be read: of a frame's head, or as many as its channel takes. 0: none now. */
static size_t out_room(struct exec *x, enum channel *ret)
{
	size_t room;

	*ret = CHANNEL_OUT;
	if (!x->tty) {
		if (x->left == 0)
			return HEAD_BYTES - x->head_n;
		*ret = x->head[0] == 2 ? CHANNEL_ERR : CHANNEL_OUT;
	}
	room = channels_room(x->channels, *ret);
	room = room < STREAM_BLOCK ? room : STREAM_BLOCK;
	return x->tty || room < x->left ? room : x->left;
}

static void out_bytes(struct exec *x, enum channel to, const char *p, size_t n)
{
	if (!x->tty && x->left == 0) {
		memcpy(x->head + x->head_n, p, n);
		x->head_n += n;
		if (x->head_n == HEAD_BYTES) {
			struct cursor c = cursor_of(x->head + 4, 4);

			x->left = cursor_be32(&c);
			x->head_n = 0;
		}
		return;
	}
	if (!x->tty)
		x->left -= n;
	channels_write(x->channels, to, (struct str){p, n});
}

/* A few blocks at a time. 1: the pair is empty now; 0: there may be more. */
static int pull_out(struct exec *x)
{
	char block[STREAM_BLOCK];
	enum channel to;

	for (int i = 0; i < 16; i++) {
		size_t room = out_room(x, &to);
		ssize_t n = room ? recv(x->fd, block, room, MSG_DONTWAIT) : -1;

		if (room == 0)
			return 0;
		if (n > 0) {
			out_bytes(x, to, block, (size_t)n);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		x->out_ended = x->out_ended || n == 0 || errno != EAGAIN;
		return 1;
	}
	loop_defer(x->loop, pump_later, x);
	return 0;
}

static void want(struct exec *x)
{
	enum channel to;
	bool read = !x->out_ended && out_room(x, &to) > 0;

	loop_watch_want(x->watch, (read ? LOOP_READ : 0) | (x->in.n ? LOOP_WRITE : 0));
	channels_hold(x->channels, x->in.n >= STREAM_FULL);
}

static void finish(struct exec *x)
{
	channels_finish(take(x->channels), x->code, NULL);
	exec_free(x);
}

static void pump(struct exec *x)
{
	int empty;

	if (!is_open(x))
		return;
	push_in(x);
	empty = x->out_ended ? 1 : pull_out(x);
	if (x->exited && x->out_ended) {
		finish(x);
		return;
	}
	if (x->exited && empty) /* whoever writes may still hold what did not fit before */
		loop_timer_set(x->timer, DRAIN_MS, 0);
	else if (x->exited) /* it is the client who takes its time */
		loop_timer_unset(x->timer);
	want(x);
}

static void pump_later(void *arg)
{
	pump(exec_of(arg));
}

static void pair_ready(void *arg, unsigned ready)
{
	(void)ready;
	pump(exec_of(arg));
}

/* -- the client -------------------------------------------------------------------------------- */

static void on_ready(void *ctx)
{
	struct exec *x = exec_of(ctx);

	loop_timer_unset(x->timer);
	x->state = EXEC_JOINED;
	loop_defer_cancel(x->loop, pump_later, x);
	loop_defer(x->loop, pump_later, x);
}

static void on_bytes(void *ctx, enum channel from, struct str bytes)
{
	struct exec *x = exec_of(ctx);

	if (from == CHANNEL_RESIZE) {
		resize_bytes(x, bytes);
		return;
	}
	if (x->in_ended)
		return;
	strbuf_add(&x->in, bytes.p, bytes.n);
	loop_defer_cancel(x->loop, pump_later, x);
	loop_defer(x->loop, pump_later, x);
	if (x->in.n >= STREAM_FULL)
		channels_hold(x->channels, true);
}

static void on_ended(void *ctx, enum channel c)
{
	struct exec *x = exec_of(ctx);

	if (c != CHANNEL_IN)
		return;
	x->in_ended = true;
	loop_defer_cancel(x->loop, pump_later, x);
	loop_defer(x->loop, pump_later, x);
}

static void on_room(void *ctx)
{
	struct exec *x = exec_of(ctx);

	loop_defer_cancel(x->loop, pump_later, x);
	loop_defer(x->loop, pump_later, x);
}

static void on_gone(void *ctx)
{
	exec_free(exec_of(ctx));
}

static const struct channels_events channels_events = {on_ready, on_bytes, on_ended, on_room,
						       on_gone};

/* OPENING: the client does not open its streams; JOINED: the process ended, its streams did not. */
static void too_long(void *arg)
{
	struct exec *x = exec_of(arg);

	if (x->state == EXEC_JOINED) {
		finish(x);
		return;
	}
	log_debug("a client did not open the streams it announced");
	exec_free(x);
}

/* -- the way there ----------------------------------------------------------------------------- */

static void upgraded(void *arg, int fd, struct str early)
{
	struct exec *x = exec_of(arg);

	(void)early; /* there is none over TLS; a client that left before is found out here */
	request_end(take(x->request));
	if (fd >= 0)
		x->channels =
			channels_new(x->kube, fd, x->protocol, x->wanted, &channels_events, x);
	if (!x->channels) {
		exec_free(x);
		return;
	}
	x->state = EXEC_OPENING;
	stream_add(x->kube, &x->stream, stream_end);
	if (channels_are_ready(x->channels))
		on_ready(x);
	else
		loop_timer_set(x->timer, STREAM_CREATE_MS, 0);
}

static void started(void *ctx, struct node_session *s, const struct err *e)
{
	struct exec *x = exec_of(ctx);
	struct kube_request *r = x->request;

	assert(x->state == EXEC_STARTING);
	if (e) {
		x->request = NULL;
		exec_free(x);
		answer_error(r, e);
		return;
	}
	x->session = s;
	x->state = EXEC_UPGRADING;
	channels_greet(r, x->protocol);
	http_request_hijack(r->http, NULL, upgraded, x);
}

static void exited(void *ctx, int code)
{
	struct exec *x = exec_of(ctx);

	x->session = NULL;
	x->exited = true;
	x->code = code;
	pump(x);
}

static char **read_command(struct kube_request *r)
{
	char **list = arena_new_array(&r->arena, char *, STREAM_COMMAND_MAX + 1);
	const char *word;
	size_t n = 0;

	while (n < STREAM_COMMAND_MAX && (word = http_request_query_at(r->http, "command", n)))
		list[n++] = arena_dup_text(&r->arena, word);
	return n ? list : NULL;
}

/* What the query asks for. 0, or the request is answered. */
static int read_options(struct kube_request *r, const struct stream_node *n, struct node_exec *x)
{
	bool attach = text_eq(r->sub, "attach");

	x->in = query_flag(r, "stdin");
	x->tty = attach ? n->tty : query_flag(r, "tty");
	x->out = query_flag(r, "stdout");
	x->error = query_flag(r, "stderr") && !query_flag(r, "tty");
	if (!x->in && !x->out && !x->error) {
		answer_status(r, 400, "BadRequest", NULL,
			      "you must specify at least one of stdin, stdout, stderr");
		return -1;
	}
	x->command = attach ? NULL : read_command(r);
	if (!attach && !x->command) {
		answer_status(r, 400, "BadRequest", NULL, "you must specify command");
		return -1;
	}
	return 0;
}

static unsigned wanted(const struct kube_request *r, const struct node_exec *o)
{
	return 1u << CHANNEL_STATUS | (o->in ? 1u << CHANNEL_IN : 0) |
	       (o->out ? 1u << CHANNEL_OUT : 0) | (o->error ? 1u << CHANNEL_ERR : 0) |
	       (query_flag(r, "tty") ? 1u << CHANNEL_RESIZE : 0);
}

void exec_run(struct kube_request *r, const struct stream_node *n)
{
	const struct channel_protocol *p = channels_protocol(r);
	struct node_exec o = {0};
	struct exec *x;
	int pair[2];
	struct err e = {0};

	if (read_options(r, n, &o) < 0)
		return;
	if (!p) {
		answer_status(
			r, 400, "BadRequest", NULL,
			"you must ask for an upgrade to SPDY/3.1 or to a WebSocket, and offer "
			"a protocol such as v5.channel.k8s.io");
		return;
	}
	if (unix_pair(SOCK_STREAM | SOCK_NONBLOCK, pair, &e) < 0) {
		answer_error(r, &e);
		return;
	}
	x = mem_new(struct exec);
	*x = (struct exec){.magic = EXEC_MAGIC,
			   .request = r,
			   .kube = r->kube,
			   .loop = r->kube->loop,
			   .node = *n,
			   .protocol = p,
			   .tty = o.tty,
			   .wanted = wanted(r, &o),
			   .in_ended = !o.in,
			   .fd = pair[0]};
	list_init(&x->stream.link);
	x->timer = loop_timer_new(x->loop, too_long, x);
	if (loop_watch_new(x->loop, x->fd, 0, pair_ready, x, &x->watch, &e) < 0) {
		(void)fd_close(pair[1]);
		exec_free(x);
		answer_error(r, &e);
		return;
	}
	n->ops->exec(n->node, &n->target, &o, pair[1],
		     &(struct node_session_events){started, exited, x});
}
