/*
 * The server's engine room: libmicrohttpd with its own epoll descriptor, watched by the loop and
 * run when that is readable, when a resting connection was resumed, or when the library asks for
 * it.
 *
 * What the library makes hard, and how it is met:
 * - A reply queued in the handler's first call closes the connection. So the first call only makes
 * the request and shows it to its owner; the connection rests unless he knew at once what to do,
 * and replies are queued in the last call, when the request is whole.
 * - A resting (suspended) connection does not notice its client leaving. The loop watches its
 * descriptor for RDHUP by itself, where the owner wants to be told.
 * - It does not see an end that comes in one go with half a request: silence ends that too.
 * - Connections may be suspended only from their own callbacks, and the library is not re-entrant:
 * every change from outside is a resume, acted on in the callbacks of the next run.
 * - An upgrade must answer 101, writes its own headers and ends by closing the descriptor. Docker
 * wants other headers, 200 for old clients, and a descriptor that outlives this process. So, while
 * the connection rests (and is in no epoll set), the socket is copied, one end of a socket pair is
 * put on the library's number, our own reply goes out on the copy, and the library upgrades into
 * the pair: we get the bytes it had read ahead, and what it closes is the pair. Over TLS it rests
 * to its end: http_upgrade.c.
 */
#include "ground/wire/http_server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ground/base/log.h"
#include "ground/base/own.h"
#include "ground/wire/http_priv.h"
#include "ground/wire/pki.h"

#define SERVER_MAGIC 0x48745365u
#define PORT_MAGIC   0x4874506fu
/* A body of so many digits is not read away for nothing: the reply closes the connection instead.
 */
#define DRAIN_DIGITS_MAX 6
#define TLS_PORTS_MAX	 8 /* that are renewed at once */
#define CORKED_MAX_BYTES (8u << 10)
#define POOL_BYTES	 (HTTP_HEADERS_MAX_BYTES + (8u << 10))

struct http_server {
	unsigned magic;
	struct loop *loop;
	http_handler_fn *handle;
	void *arg;
	struct list ports;
};

/* One listening socket and its daemon. */
struct http_port {
	unsigned magic;
	struct list link;
	struct http_server *server;
	struct loop *loop;
	struct MHD_Daemon *daemon;
	struct loop_watch *watch;
	struct loop_timer *timer;
	bool unix_socket, tls;
	bool retired; /* its socket was handed on */
	bool run_asked;
	bool closing;
	struct list requests, upgrades;
};

static void port_run(void *arg)
{
	struct http_port *p = arg;
	MHD_UNSIGNED_LONG_LONG wait_ms = 0;

	assert(p->magic == PORT_MAGIC);
	p->run_asked = false;
	(void)MHD_run(p->daemon);
	/* More to do at once is done in the next turn: others have theirs before it. */
	if (MHD_get_timeout(p->daemon, &wait_ms) == MHD_YES)
		loop_timer_set(p->timer, (int64_t)wait_ms, 0);
	else
		loop_timer_unset(p->timer);
}

static void port_ready(void *arg, unsigned ready)
{
	(void)ready;
	port_run(arg);
}

void http_port_kick(struct http_port *p)
{
	assert(p->magic == PORT_MAGIC);
	if (!p->run_asked) {
		p->run_asked = true;
		loop_defer(p->loop, port_run, p);
	}
}

void http_kick(struct http_request *r)
{
	if (!r->connection || !r->resting)
		return;
	if (r->phase == HTTP_BODY && r->paused) /* pushing a reply does not let the body in */
		return;
	r->resting = false;
	MHD_resume_connection(r->connection);
	http_port_kick(r->port);
}

/* Only from the connection's own callbacks. */
static void rest(struct http_request *r)
{
	assert(!r->resting);
	r->resting = true;
	MHD_suspend_connection(r->connection);
}

static enum MHD_Result collect(void *arg, enum MHD_ValueKind kind, const char *name,
			       const char *value)
{
	struct http_request *r = arg;
	struct http_pairs *to = kind == MHD_HEADER_KIND ? &r->headers : &r->query;

	http_pairs_add(r, to, name, value ? value : "");
	return MHD_YES;
}

static bool request_has_body(const struct http_request *r)
{
	const char *length = http_request_header(r, "Content-Length");

	if (http_request_header(r, "Transfer-Encoding"))
		return true;
	return length && strspn(length, "0") != strlen(length);
}

static gnutls_session_t session_of(const struct http_request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	assert(info);
	return info->tls_session;
}

/* What the client showed in the handshake; GnuTLS checked that it holds the key. */
static void read_certificate(struct http_request *r)
{
	unsigned int n = 0;
	const gnutls_datum_t *shown = gnutls_certificate_get_peers(session_of(r), &n);

	if (shown && n > 0) {
		struct str der = {(const char *)shown[0].data, shown[0].size};

		r->certificate = (struct str){arena_dup(&r->arena, der), der.n};
	}
}

static struct http_request *request_new(struct http_port *p, struct MHD_Connection *c,
					const char *method, const char *path)
{
	struct http_request *r = mem_new(struct http_request);
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);

	r->magic = HTTP_REQUEST_MAGIC;
	r->port = p;
	r->loop = p->loop;
	r->connection = c;
	r->fd = info->connect_fd;
	r->hijack_fd = r->hijack_pipe = -1;
	r->unix_socket = p->unix_socket;
	r->tls = p->tls;
	if (r->tls)
		read_certificate(r);
	r->method = arena_dup_text(&r->arena, method);
	r->path = arena_dup_text(&r->arena, path);
	(void)MHD_get_connection_values(c, MHD_HEADER_KIND, collect, r);
	(void)MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, collect, r);
	r->has_body = request_has_body(r);
	list_append(&p->requests, &r->link);
	return r;
}

static void left(void *arg, unsigned ready)
{
	struct http_request *r = http_request_of(arg);

	(void)ready;
	r->watch = loop_watch_free(r->watch);
	r->gone = true;
	http_tell_gone(r);
}

void http_watch(struct http_request *r)
{
	struct err e = {0};

	if (!r->connection || r->finished || r->watch || r->gone || r->reply == HTTP_HIJACK)
		return;
	if (!r->on_gone || (r->has_body && r->phase < HTTP_READY))
		return;
	if (loop_watch_new(r->loop, r->fd, LOOP_HUP, left, r, &r->watch, &e) < 0)
		log_warn("a client's leaving will not be noticed: %s", e.text);
}

/* The library's callback for streamed replies. */
static ssize_t next_bytes(void *arg, uint64_t at, char *buf, size_t max)
{
	struct http_request *r = http_request_of(arg);
	size_t n = r->out.n < max ? r->out.n : max;

	(void)at;
	if (n > 0) {
		memcpy(buf, r->out.p, n);
		strbuf_drop_front(&r->out, n);
		if (r->drained && !r->ended && r->out.n < HTTP_REPLY_LOW) {
			loop_defer_cancel(r->loop, r->drained, r->drained_arg);
			loop_defer(r->loop, r->drained, r->drained_arg);
		}
		return (ssize_t)n;
	}
	if (r->reply == HTTP_DROP)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (r->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	rest(r);
	return 0;
}

/*
 * The library sends head and body one by one, each a record, a packet and a wake-up of the client.
 * A small reply is held back until it is whole, where it surely finds room: nothing is on its way.
 */
static void cork(struct http_request *r)
{
	int unsent = 0;

	if (!r->tls || r->out.n > CORKED_MAX_BYTES)
		return;
	if (ioctl(r->fd, SIOCOUTQ, &unsent) < 0 || unsent > 0)
		return;
	gnutls_record_cork(session_of(r));
	r->corked = true;
}

/* The library has corked the socket too, and believes that all is sent. */
static void uncork(struct http_request *r)
{
	int off = 0;

	if (!r->corked)
		return;
	r->corked = false;
	(void)setsockopt(r->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
	if (gnutls_record_uncork(session_of(r), 0) < 0)
		log_debug("http: a reply did not reach its client");
}

static enum MHD_Result answer(struct http_request *r)
{
	struct MHD_Response *m;
	enum MHD_Result done;

	if (r->reply == HTTP_PIECES) {
		m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 << 10, next_bytes, r,
						      NULL);
	} else {
		size_t n = r->out.n;

		cork(r);
		m = MHD_create_response_from_buffer(n, strbuf_take(&r->out), MHD_RESPMEM_MUST_FREE);
	}
	if (!m)
		return MHD_NO;
	if (r->content_type)
		(void)MHD_add_response_header(m, "Content-Type", r->content_type);
	for (size_t i = 0; i < r->reply_headers.n; i++)
		(void)MHD_add_response_header(m, r->reply_headers.items[i].name,
					      r->reply_headers.items[i].value);
	r->phase = HTTP_ANSWERED;
	done = MHD_queue_response(r->connection, (unsigned)r->status, m);
	MHD_destroy_response(m);
	return done;
}

static void hijack_done(struct http_request *r, struct str early)
{
	http_hijacked_fn *fn = r->hijacked;
	int fd = take_fd(&r->hijack_fd);

	r->hijack_pipe = fd_close(r->hijack_pipe);
	r->hijacked = NULL;
	if (fn)
		fn(r->hijacked_arg, fd, early);
	else
		(void)fd_close(fd);
}

static void upgraded(void *arg, struct MHD_Connection *c, void *context, const char *early,
		     size_t early_n, MHD_socket fd, struct MHD_UpgradeResponseHandle *h)
{
	struct http_request *r = http_request_of(arg);

	(void)c;
	(void)context;
	(void)fd;
	hijack_done(r, (struct str){early, early_n});
	(void)MHD_upgrade_action(h, MHD_UPGRADE_ACTION_CLOSE);
}

/* What the owner says the protocol is. */
static const char *hijack_protocol(const struct http_request *r)
{
	const char *said = http_pairs_get(&r->reply_headers, "Upgrade", 0);

	return said ? said : "tcp";
}

static void hijack_head(const struct http_request *r, struct strbuf *b)
{
	bool upgrade = http_request_wants_upgrade(r);

	strbuf_add_text(b, upgrade ? "HTTP/1.1 101 UPGRADED\r\n" : "HTTP/1.1 200 OK\r\n");
	if (r->content_type)
		strbuf_printf(b, "Content-Type: %s\r\n", r->content_type);
	if (upgrade)
		strbuf_printf(b, "Connection: Upgrade\r\nUpgrade: %s\r\n", hijack_protocol(r));
	for (size_t i = 0; i < r->reply_headers.n; i++)
		if (strcasecmp(r->reply_headers.items[i].name, "Upgrade") != 0)
			strbuf_printf(b, "%s: %s\r\n", r->reply_headers.items[i].name,
				      r->reply_headers.items[i].value);
	strbuf_add_text(b, "\r\n");
}

/* Our reply, on the copied socket: small, into an empty buffer, so it goes out at once or never. */
static int hijack_greet(struct http_request *r)
{
	auto_strbuf struct strbuf b = {0};

	hijack_head(r, &b);
	return send(r->hijack_fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)b.n ? 0 : -1;
}

/* Puts one end of a pair where the library has the socket, which becomes ours. */
static int hijack_swap(struct http_request *r)
{
	int pair[2];

	if (unix_pair(SOCK_STREAM | SOCK_NONBLOCK, pair, NULL) < 0)
		return -1;
	r->hijack_pipe = pair[1];
	r->hijack_fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 3);
	if (r->hijack_fd >= 0 && dup3(pair[0], r->fd, O_CLOEXEC) < 0)
		r->hijack_fd = fd_close(r->hijack_fd);
	(void)fd_close(pair[0]);
	return r->hijack_fd < 0 ? -1 : 0;
}

static int hijack_upgrade(struct http_request *r)
{
	struct MHD_Response *m = MHD_create_response_for_upgrade(upgraded, r);
	enum MHD_Result done = MHD_NO;

	if (!m)
		return -1;
	if (MHD_add_response_header(m, "Upgrade", "tcp") == MHD_YES)
		done = MHD_queue_response(r->connection, MHD_HTTP_SWITCHING_PROTOCOLS, m);
	MHD_destroy_response(m);
	return done == MHD_YES ? 0 : -1;
}

/* Over TLS a connection is taken over as it rests: http_upgrade.c. */
static int hijack_tls(struct http_request *r)
{
	auto_strbuf struct strbuf head = {0};

	if (!http_request_wants_upgrade(r))
		return -1;
	hijack_head(r, &head);
	r->hijack_fd = http_upgrade_begin(r, &r->port->upgrades, &head);
	if (r->hijack_fd < 0)
		return -1;
	hijack_done(r, (struct str){NULL, 0});
	return 0;
}

/* The connection rests: it is in no epoll set, its number may change its meaning. */
static int hijack_plain(struct http_request *r)
{
	if (hijack_swap(r) < 0 || hijack_greet(r) < 0)
		return -1;
	return hijack_upgrade(r);
}

static void hijack(void *arg)
{
	struct http_request *r = http_request_of(arg);

	if (!r->connection)
		return; /* told when the connection went */
	assert(r->resting);
	r->watch = loop_watch_free(r->watch);
	if (r->gone || (r->tls ? hijack_tls(r) : hijack_plain(r)) < 0) {
		r->hijack_fd = fd_close(r->hijack_fd);
		r->reply = HTTP_DROP;
		hijack_done(r, (struct str){NULL, 0});
	} else if (r->tls) {
		return; /* rests on */
	}
	http_kick(r);
}

/* The request is whole: answer it, or rest until there is an answer. */
static enum MHD_Result whole(struct http_request *r)
{
	if (r->phase == HTTP_BODY) {
		r->phase = HTTP_READY;
		http_body_end(r);
		http_watch(r);
	}
	switch (r->reply) {
	case HTTP_NO_REPLY:
		rest(r);
		return MHD_YES;
	case HTTP_HIJACK:
		if (r->hijack_fd >= 0 || !r->hijacked)
			return MHD_YES;
		rest(r);
		loop_defer(r->loop, hijack, r);
		return MHD_YES;
	case HTTP_DROP:
		return MHD_NO;
	case HTTP_WHOLE:
	case HTTP_PIECES:
		return answer(r);
	}
	__builtin_unreachable();
}

/* The first call, repeated after the rest: on to the body, unless it is too long to be read for
 * nothing. */
static enum MHD_Result resumed(struct http_request *r)
{
	const char *length = http_request_header(r, "Content-Length");
	bool unwanted = r->reply == HTTP_WHOLE && r->body_mode == HTTP_DRAIN && r->has_body;

	if (r->reply == HTTP_DROP)
		return MHD_NO;
	r->phase = HTTP_BODY;
	if (unwanted && length && strlen(length) > DRAIN_DIGITS_MAX) {
		r->phase = HTTP_READY;
		return answer(r); /* early: the library closes the connection after it */
	}
	return MHD_YES;
}

/* The first call: whoever asked for the body or answered goes on, the others rest. */
static enum MHD_Result asked(struct http_request *r)
{
	struct http_server *s = r->port->server;

	s->handle(s->arg, r);
	if (r->finished || r->reply != HTTP_NO_REPLY || (r->asked && r->body_mode != HTTP_DRAIN))
		return resumed(r);
	rest(r);
	return MHD_YES;
}

static enum MHD_Result access_handler(void *arg, struct MHD_Connection *c, const char *url,
				      const char *method, const char *version, const char *bytes,
				      size_t *n, void **context)
{
	struct http_port *p = arg;
	struct http_request *r = *context;

	(void)version;
	assert(p->magic == PORT_MAGIC);
	if (!r) {
		r = request_new(p, c, method, url);
		*context = r;
		return asked(r);
	}
	if (r->phase == HTTP_ASKED)
		return resumed(r);
	if (*n == 0)
		return whole(r);
	if (r->resting) /* the library offers the next chunk in spite of it: later */
		return MHD_YES;
	if (r->body_mode != HTTP_DRAIN)
		http_body_piece(r, bytes, *n);
	*n = 0;
	if (r->reply == HTTP_DROP)
		return MHD_NO;
	if (r->paused)
		rest(r);
	return MHD_YES;
}

/* The library is done with a request, for whatever reason. Its descriptor is about to be closed. */
static void completed(void *arg, struct MHD_Connection *c, void **context,
		      enum MHD_RequestTerminationCode how)
{
	struct http_request *r = *context;

	(void)arg;
	(void)c;
	if (!r)
		return;
	assert(r->magic == HTTP_REQUEST_MAGIC);
	*context = NULL;
	uncork(r);
	r->watch = loop_watch_free(r->watch);
	r->connection = NULL;
	r->resting = false;
	list_remove(&r->link);
	if (r->hijacked) { /* broke off on the way */
		r->hijack_fd = fd_close(r->hijack_fd);
		hijack_done(r, (struct str){NULL, 0});
	}
	if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK || !r->finished)
		r->gone = true;
	if (r->finished) {
		http_release_later(r);
		return;
	}
	http_body_broken(r);
	http_tell_gone(r);
}

static void report(void *arg, const char *fmt, va_list ap)
{
	char line[512];

	(void)arg;
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("http: %s", line);
}

int http_server_new(struct loop *l, http_handler_fn *handle, void *arg, struct http_server **ret,
		    struct err *e)
{
	struct http_server *s = mem_new(struct http_server);

	assert(handle);
	(void)e;
	*s = (struct http_server){.magic = SERVER_MAGIC, .loop = l, .handle = handle, .arg = arg};
	list_init(&s->ports);
	*ret = s;
	return 0;
}

static void on_timer(void *arg)
{
	port_run(arg);
}

static struct MHD_Daemon *start_daemon(struct http_port *p, int fd, const struct pki_pair *own,
				       const char *ca_pem)
{
	unsigned flags =
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG;
	/* The library asks clients for a certificate where it has somebody to trust, and names it:
	 * clients choose theirs by that name. It does not verify. */
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_KEY, 0, own ? own->key_pem : NULL},
		{MHD_OPTION_HTTPS_MEM_CERT, 0, own ? own->cert_pem : NULL},
		{MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)ca_pem},
		{MHD_OPTION_HTTPS_PRIORITIES, 0,
		 (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
		{MHD_OPTION_END, 0, NULL},
	};

	if (own)
		flags |= MHD_USE_TLS;
	else
		tls[0] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
	return MHD_start_daemon(flags, 0, NULL, NULL, access_handler, p, MHD_OPTION_EXTERNAL_LOGGER,
				report, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
				MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
				MHD_OPTION_CONNECTION_TIMEOUT, HTTP_SILENCE_SECONDS,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES,
				MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

static void port_free(struct http_port *p)
{
	list_remove(&p->link);
	p->watch = loop_watch_free(p->watch);
	p->timer = loop_timer_free(p->timer);
	p->magic = 0;
	free(p);
}

static int listen_on(struct http_server *s, int fd, const struct pki_pair *own, const char *ca_pem,
		     struct err *e)
{
	struct http_port *p = mem_new(struct http_port);
	struct sockaddr_storage a = {0};
	socklen_t n = sizeof(a);
	const union MHD_DaemonInfo *info;
	int r;

	assert(s->magic == SERVER_MAGIC);
	*p = (struct http_port){.magic = PORT_MAGIC, .server = s, .loop = s->loop};
	list_init(&p->requests);
	list_init(&p->upgrades);
	list_append(&s->ports, &p->link);
	p->unix_socket = getsockname(fd, (struct sockaddr *)&a, &n) == 0 && a.ss_family == AF_UNIX;
	p->tls = own != NULL;
	p->timer = loop_timer_new(s->loop, on_timer, p);
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	p->daemon = start_daemon(p, fd, own, ca_pem);
	if (!p->daemon) {
		(void)fd_close(fd);
		port_free(p);
		return err_set(e, ERR_SYSTEM, "cannot serve HTTP on descriptor %d", fd);
	}
	info = MHD_get_daemon_info(p->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	r = loop_watch_new(s->loop, info->epoll_fd, LOOP_READ, port_ready, p, &p->watch, e);
	if (r < 0) {
		MHD_stop_daemon(p->daemon);
		port_free(p);
		return r;
	}
	port_run(p);
	return 0;
}

int http_server_listen(struct http_server *s, int fd, struct err *e)
{
	return listen_on(s, fd, NULL, NULL, e);
}

int http_server_listen_tls(struct http_server *s, int fd, const struct pki_pair *own,
			   const char *ca_pem, struct err *e)
{
	assert(own && own->cert_pem && own->key_pem && ca_pem);
	return listen_on(s, fd, own, ca_pem, e);
}

static struct http_port *tls_port(struct http_server *s)
{
	list_each (&s->ports, struct http_port, link, p)
		if (p->tls && !p->retired)
			return p;
	return NULL;
}

int http_server_renew_tls(struct http_server *s, const struct pki_pair *own, const char *ca_pem,
			  struct err *e)
{
	int fds[TLS_PORTS_MAX];
	size_t n = 0;

	assert(s->magic == SERVER_MAGIC);
	assert(own && own->cert_pem && own->key_pem && ca_pem);
	for (struct http_port *p; (p = tls_port(s)) != NULL;) {
		int fd = MHD_quiesce_daemon(p->daemon);

		p->retired = true;
		if (fd < 0)
			return err_set(e, ERR_SYSTEM, "cannot take back a listening socket");
		fds[n++] = fd;
		if (n == array_len(fds))
			break;
	}
	while (n > 0)
		if (listen_on(s, fds[--n], own, ca_pem, e) < 0)
			return -ERR_SYSTEM;
	return 0;
}

/* The library must not be stopped over resting connections: each is told to break off first. */
static void port_close(struct http_port *p)
{
	p->watch = loop_watch_free(p->watch);
	loop_defer_cancel(p->loop, port_run, p);
	p->run_asked = true; /* no more runs from http_kick */
	http_upgrades_end(&p->upgrades);
	list_each (&p->requests, struct http_request, link, r) {
		loop_defer_cancel(p->loop, hijack, r);
		r->reply = HTTP_DROP;
		strbuf_clear(&r->out);
		http_kick(r);
	}
	for (int i = 0; i < 4 && !list_empty(&p->requests); i++)
		(void)MHD_run(p->daemon);
	MHD_stop_daemon(p->daemon);
	assert(list_empty(&p->requests));
	port_free(p);
}

struct http_server *http_server_free(struct http_server *s)
{
	if (!s)
		return NULL;
	assert(s->magic == SERVER_MAGIC);
	list_each (&s->ports, struct http_port, link, p)
		port_close(p);
	s->magic = 0;
	free(s);
	return NULL;
}
