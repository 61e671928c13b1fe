/*
 * Theory of operation of a call
 *
 *	send --no reply, insecure host, https--> switch the endpoint to http, send again
 *	send --no reply, 5xx, 429-----------> wait (back-off), send again, three times
 *	send --401, challenge understood-----> fetch a token (or take Basic), send again once
 *	send --anything else-----------------> done
 *
 * The request is kept whole, so every "again" is the same call. The token is the registry's
 * and serves later calls.
 */
#include "virt/image/registry.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/wire/http_client.h"

#define CALL_MAGIC	0x72656763
#define ENDPOINTS_MAX	9
#define TRIES_MAX	4
#define TOKEN_BYTES_MAX (1u << 20)
#define ERROR_BYTES_MAX 65536
#define BACKOFF_MS	400

struct endpoint {
	char *url; /* "https://host[:port]" without a slash at the end */
	bool insecure;
	bool origin; /* gets credentials */
	bool https, tried_other;
};

struct registry {
	struct image_store *store;
	unsigned int refs;
	struct arena arena;
	const char *host, *path, *actions;
	struct image_auth auth;
	struct endpoint endpoints[ENDPOINTS_MAX];
	size_t endpoints_n, at;
	char *authorization; /* of the current endpoint; NULL: none yet */
	struct list calls;
};

struct registry_call {
	unsigned int magic;
	struct registry *registry;
	struct list link;
	struct arena arena;
	struct registry_request q;
	struct http_call *http;
	struct loop_timer *timer;
	struct strbuf body; /* collected reply, or an error's */
	int status, tries;
	bool challenged, overflow, sent_https;
	struct registry_challenge challenge;
};

static struct registry_call *as_call(void *p)
{
	struct registry_call *c = p;

	assert(c);
	assert(c->magic == CALL_MAGIC);
	assert(c->registry->at < c->registry->endpoints_n);
	return c;
}

static int send_call(struct registry_call *c, struct err *e);

/* ---- Opening ---- */

static void add_endpoint(struct registry *r, const char *url, bool origin)
{
	struct registry_settings *set = r->store->settings;
	struct endpoint *ep = &r->endpoints[r->endpoints_n];
	const char *host = strstr(url, "://");
	size_t n;

	if (r->endpoints_n == ENDPOINTS_MAX)
		return;
	host = host ? host + 3 : url;
	n = strcspn(host, "/");
	ep->https = !text_starts(url, "http://");
	ep->url = arena_printf(&r->arena, "%s://%.*s", ep->https ? "https" : "http", (int)n, host);
	ep->insecure = registry_insecure(set, arena_dup(&r->arena, (struct str){host, n}));
	ep->origin = origin;
	/* On loopback plain http is the rule, and a TLS attempt costs the loading of all trusted
	 * roots. */
	if (ep->https && !strstr(url, "://") && registry_loopback(host)) {
		ep->https = false;
		ep->url = arena_printf(&r->arena, "http://%.*s", (int)n, host);
	}
	if (ep->insecure && ep->https && map_get(&set->plain, strstr(ep->url, "://") + 3)) {
		ep->https = false;
		ep->url = arena_printf(&r->arena, "http://%.*s", (int)n, host);
	}
	r->endpoints_n++;
}

static void copy_auth(struct registry *r, const struct image_auth *auth)
{
	if (!auth)
		return;
	r->auth.username = arena_dup_text(&r->arena, auth->username);
	r->auth.password = arena_dup_text(&r->arena, auth->password);
	r->auth.identity_token = arena_dup_text(&r->arena, auth->identity_token);
	r->auth.registry_token = arena_dup_text(&r->arena, auth->registry_token);
}

int registry_open(struct image_store *s, const struct registry_options *o, struct registry **ret,
		  struct err *e)
{
	struct registry *r = mem_new(struct registry);
	const struct json *mirrors;

	assert(o->reference->host && o->reference->path);
	r->store = s;
	r->refs = 1;
	list_init(&r->calls);
	r->host = arena_dup_text(&r->arena, o->reference->host);
	r->path = arena_dup_text(&r->arena, o->reference->path);
	r->actions = o->push ? "pull,push" : "pull";
	copy_auth(r, o->auth);
	mirrors = o->push ? NULL : json_get(s->settings->mirrors, r->host);
	for (size_t i = 0; i < json_len(mirrors) && i + 1 < ENDPOINTS_MAX; i++)
		add_endpoint(r, json_text(json_at(mirrors, i)), false);
	add_endpoint(r, text_eq(r->host, "docker.io") ? "registry-1.docker.io" : r->host, true);
	if (r->auth.registry_token && r->endpoints_n == 1)
		r->authorization = arena_printf(&r->arena, "Bearer %s", r->auth.registry_token);
	*ret = r;
	return 0;
}

struct registry *registry_ref(struct registry *r)
{
	assert(r->refs > 0);
	r->refs++;
	return r;
}

struct registry *registry_free(struct registry *r)
{
	if (!r || --r->refs > 0)
		return NULL;
	while (!list_empty(&r->calls))
		(void)registry_cancel(list_first(&r->calls, struct registry_call, link));
	arena_done(&r->arena);
	free(r);
	return NULL;
}

const char *registry_host(const struct registry *r)
{
	return r->host;
}

struct loop *registry_loop(const struct registry *r)
{
	return r->store->loop;
}

const char *registry_endpoint(const struct registry *r)
{
	return r->endpoints[r->at].url;
}

bool registry_next_endpoint(struct registry *r)
{
	if (r->at + 1 >= r->endpoints_n)
		return false;
	r->at++;
	r->authorization = NULL;
	if (r->auth.registry_token && r->endpoints[r->at].origin)
		r->authorization = arena_printf(&r->arena, "Bearer %s", r->auth.registry_token);
	return true;
}

/* ---- A call's life ---- */

static void resend(void *arg);

static void call_free(struct registry_call *c)
{
	loop_defer_cancel(c->registry->store->loop, resend, c);
	list_remove(&c->link);
	(void)loop_timer_free(c->timer);
	strbuf_done(&c->body);
	arena_done(&c->arena);
	c->magic = 0;
	free(c);
}

struct registry_call *registry_cancel(struct registry_call *c)
{
	if (!c)
		return NULL;
	if (c->http)
		c->http = http_call_cancel(c->http);
	call_free(c);
	return NULL;
}

void registry_pause(struct registry_call *c, bool on)
{
	if (c->http && on)
		http_call_pause(c->http);
	else if (c->http)
		http_call_resume(c->http);
}

int registry_call_status(const struct registry_call *c)
{
	return c->status;
}

static void call_end(struct registry_call *c, struct http_call *http, const struct err *e)
{
	struct registry_reply reply = {.status = c->status, .body = strbuf_str(&c->body)};
	void (*done)(void *arg, const struct registry_reply *reply, const struct err *e) =
		c->q.done;
	struct registry *held;
	void *arg = c->q.arg;

	if (http && !e) {
		reply.content_type = http_call_header(http, "Content-Type");
		reply.location = http_call_header(http, "Location");
		reply.digest = http_call_header(http, "Docker-Content-Digest");
		reply.range = http_call_header(http, "Range");
	}
	/* Off the list first, and holding the registry: done may let go of it. */
	list_remove(&c->link);
	(void)registry_ref(c->registry);
	done(arg, e ? NULL : &reply, e);
	held = c->registry;
	call_free(c);
	(void)registry_free(held);
}

/* What a bad status means to the person who asked. */
static void explain_status(struct registry_call *c, struct err *e)
{
	struct registry *r = c->registry;
	char *text = registry_error_text(strbuf_str(&c->body), &c->arena);
	const char *colon = text[0] ? ": " : "";

	if (c->status == 401 || c->status == 403)
		(void)err_set(e, ERR_FORBIDDEN,
			      "access denied for %s/%s, it does not exist or may require 'docker "
			      "login %s'%s%s",
			      r->host, r->path, r->host, colon, text);
	else if (c->status == 429)
		(void)err_set(e, ERR_BUSY, "registry %s: too many requests, try later%s%s", r->host,
			      colon, text);
	else if (c->status >= 500)
		(void)err_set(e, ERR_UNAVAILABLE, "registry %s failed with status %d%s%s",
			      registry_endpoint(r), c->status, colon, text);
	else
		(void)err_set(e, ERR_INVALID, "registry %s refused with status %d%s%s",
			      registry_endpoint(r), c->status, colon, text);
}

static void explain_failure(struct registry_call *c, const struct err *failure, struct err *e)
{
	const char *endpoint = registry_endpoint(c->registry);

	*e = *failure;
	if (failure->sys == ECONNREFUSED)
		(void)err_set(e, ERR_UNAVAILABLE,
			      "registry %s: connection refused by %s; is it running, and is the "
			      "port right?",
			      c->registry->host, strstr(endpoint, "://") + 3);
	else
		(void)err_wrap(e, "registry %s", c->registry->host);
}

static void resend(void *arg)
{
	struct registry_call *c = as_call(arg);
	struct err e = {0};

	strbuf_clear(&c->body);
	if (send_call(c, &e) < 0)
		call_end(c, NULL, &e);
}

static bool again_later(struct registry_call *c)
{
	if (++c->tries >= TRIES_MAX)
		return false;
	if (!c->timer)
		c->timer = loop_timer_new(c->registry->store->loop, resend, c);
	loop_timer_set(c->timer, (int64_t)BACKOFF_MS << c->tries, 0);
	return true;
}

static void on_data(void *arg, struct http_call *http, const void *p, size_t n)
{
	struct registry_call *c = as_call(arg);
	bool wanted = c->status < 300 && !c->q.collect_max && c->q.data;
	size_t max = c->status < 300 && c->q.collect_max ? c->q.collect_max : ERROR_BYTES_MAX;

	if (wanted) {
		c->q.data(c->q.arg, c, p, n);
		return;
	}
	if (c->body.n + n > max) {
		c->overflow = true;
		return;
	}
	strbuf_add(&c->body, p, n);
}

static void on_replied(void *arg, struct http_call *http, int status)
{
	struct registry_call *c = as_call(arg);

	c->status = status;
}

/* ---- Tokens ---- */

static void token_done(void *arg, struct http_call *http, int status, const struct err *failure)
{
	struct registry_call *c = as_call(arg);
	struct registry *r = c->registry;
	auto_json struct json *j = NULL;
	struct err e = {0};
	const char *token;

	c->http = NULL;
	if (failure) {
		e = *failure;
		(void)err_wrap(&e, "cannot get a token for %s from '%s'", r->host,
			       c->challenge.realm);
		call_end(c, NULL, &e);
		return;
	}
	if (status != 200) {
		c->status = status == 404 || status == 400 ? 401 : status;
		explain_status(c, &e);
		call_end(c, NULL, &e);
		return;
	}
	if (json_parse(strbuf_str(&c->body), "the token server's reply", &j, &e) < 0) {
		call_end(c, NULL, &e);
		return;
	}
	token = json_get_text(j, "token");
	token = token ? token : json_get_text(j, "access_token");
	if (!token || strpbrk(token, "\r\n")) {
		(void)err_set(&e, ERR_INVALID, "the token server '%s' sent no token",
			      c->challenge.realm);
		call_end(c, NULL, &e);
		return;
	}
	r->authorization = arena_printf(&r->arena, "Bearer %s", token);
	resend(c);
}

/* The registry's own address: the only one that sees its authorization. */
static bool is_own(const struct registry *r, const char *url)
{
	const char *base = registry_endpoint(r);
	size_t n = strlen(base);

	return strncmp(url, base, n) == 0 && (url[n] == '/' || url[n] == '\0');
}

/* Credentials for the realm: over https, or to an insecure registry's own host. */
static bool realm_trusted(const struct registry *r, const char *realm)
{
	return r->endpoints[r->at].origin && (text_starts(realm, "https://") || is_own(r, realm));
}

static int ask_token(struct registry_call *c, struct err *e)
{
	static const char *const form_header[] = {"Content-Type: application/x-www-form-urlencoded",
						  NULL};
	struct registry *r = c->registry;
	const struct registry_challenge *ch = &c->challenge;
	bool trusted = realm_trusted(r, ch->realm), form = trusted && r->auth.identity_token;
	auto_strbuf struct strbuf url = {0}, query = {0};
	char *scope = arena_printf(&c->arena, "repository:%s:%s", r->path, r->actions);
	struct http_call_options o = {.arg = c, .redirects_max = -1};

	if (ch->service)
		registry_query(&query, "service", ch->service);
	registry_query(&query, "scope", scope);
	if (form) {
		registry_query(&query, "grant_type", "refresh_token");
		registry_query(&query, "client_id", "hull");
		registry_query(&query, "refresh_token", r->auth.identity_token);
	}
	strbuf_add_text(&url, ch->realm);
	if (!form)
		strbuf_printf(&url, "%c%s", strchr(ch->realm, '?') ? '&' : '?',
			      strbuf_text(&query));
	strbuf_clear(&c->body);
	c->status = 0;
	o.url = strbuf_text(&url);
	o.insecure = r->endpoints[r->at].insecure;
	o.ops.replied = on_replied;
	o.ops.data = on_data;
	o.ops.done = token_done;
	if (form) {
		o.method = "POST";
		o.headers = form_header;
		o.body = query.p;
		o.body_n = query.n;
	} else if (trusted && r->auth.username) {
		o.authorization = registry_basic(r->auth.username, r->auth.password, &c->arena);
	}
	return http_call_start(r->store->http, &o, &c->http, e);
}

/* true: the call goes on by itself. */
static bool answer_challenge(struct registry_call *c, const char *header)
{
	struct registry *r = c->registry;
	struct err e = {0};

	if (c->challenged || !registry_challenge(header, &c->arena, &c->challenge))
		return false;
	c->challenged = true;
	if (!c->challenge.bearer) {
		if (!r->auth.username || !r->endpoints[r->at].origin)
			return false;
		r->authorization = registry_basic(r->auth.username, r->auth.password, &r->arena);
		loop_defer(r->store->loop, resend, c);
		return true;
	}
	if (ask_token(c, &e) == 0)
		return true;
	return false;
}

/* ---- Sending ---- */

/* Where plain http is allowed, the other scheme is tried once when the first brings nothing. */
static bool other_scheme(struct registry_call *c)
{
	struct registry *r = c->registry;
	struct endpoint *ep = &r->endpoints[r->at];

	if (!ep->insecure || ep->tried_other)
		return false;
	ep->tried_other = true;
	ep->https = !ep->https;
	ep->url = arena_printf(&r->arena, "%s%s", ep->https ? "https" : "http",
			       strstr(ep->url, "://"));
	return true;
}

/* A call that began before another one of the registry found the right scheme. */
static bool scheme_moved(const struct registry_call *c)
{
	return c->sent_https != c->registry->endpoints[c->registry->at].https;
}

/* There was no reply: the other scheme, another try, or the end. */
static void no_reply(struct registry_call *c, const struct err *failure)
{
	struct err e = {0};

	/* An invalid one was a reply (a redirect without end, or to what is no http). */
	if (c->status == 0 && failure->sys != ECONNREFUSED && failure->kind != ERR_INVALID &&
	    (scheme_moved(c) || other_scheme(c))) {
		loop_defer(c->registry->store->loop, resend, c);
		return;
	}
	/* A refused connection will be refused again; a slow one may be quicker next time. */
	if (!c->q.data && failure->kind == ERR_TIMEOUT && again_later(c))
		return;
	explain_failure(c, failure, &e);
	call_end(c, NULL, &e);
}

/* true: the reply is no end, the call goes on by itself. */
static bool goes_on(struct registry_call *c, struct http_call *http)
{
	struct registry *r = c->registry;

	if (c->status == 400 && (scheme_moved(c) || other_scheme(c))) {
		loop_defer(r->store->loop, resend, c);
		return true;
	}
	if (c->status == 401)
		return answer_challenge(c, http_call_header(http, "WWW-Authenticate"));
	return (c->status >= 500 || c->status == 429) && again_later(c);
}

static void on_done(void *arg, struct http_call *http, int status, const struct err *failure)
{
	struct registry_call *c = as_call(arg);
	struct registry *r = c->registry;
	const struct endpoint *ep = &r->endpoints[r->at];
	struct err e = {0};

	c->http = NULL;
	if (failure) {
		no_reply(c, failure);
		return;
	}
	c->status = status;
	if (goes_on(c, http))
		return;
	if (!ep->https && ep->insecure)
		(void)map_put(&r->store->settings->plain, strstr(ep->url, "://") + 3, r->store);
	if (c->overflow && status < 400)
		(void)err_set(&e, ERR_INVALID,
			      "registry %s sent more than the %zu bytes allowed for '%s'", r->host,
			      c->q.collect_max, c->q.path);
	else if (status >= 400 && status != 404 && status != 416)
		explain_status(c, &e);
	call_end(c, http, e.kind != ERR_NONE ? &e : NULL);
}

static char *call_url(struct registry_call *c)
{
	struct registry *r = c->registry;
	const char *base = registry_endpoint(r);

	if (text_starts(c->q.path, "http://") || text_starts(c->q.path, "https://"))
		return arena_dup_text(&c->arena, c->q.path);
	if (c->q.path[0] == '/')
		return arena_printf(&c->arena, "%s%s", base, c->q.path);
	return arena_printf(&c->arena, "%s/v2/%s/%s", base, r->path, c->q.path);
}

static void add_header(struct registry_call *c, const char **list, size_t *n, const char *name,
		       const char *value)
{
	if (value)
		list[(*n)++] = arena_printf(&c->arena, "%s: %s", name, value);
}

static int send_call(struct registry_call *c, struct err *e)
{
	struct registry *r = c->registry;
	const char *headers[8] = {NULL}, *url = call_url(c);
	size_t n = 0;
	struct http_call_options o = {
		.method = c->q.method,
		.url = url,
		.insecure = r->endpoints[r->at].insecure,
		.arg = c,
		.body = c->q.body.n ? c->q.body.p : NULL,
		.body_n = c->q.body.n,
		.body_from_fd = c->q.body_fd >= 0,
		.body_fd = c->q.body_fd,
		.body_offset = c->q.body_offset,
		.body_size = c->q.body_size,
		.ops = {.replied = on_replied, .data = on_data, .done = on_done},
	};

	add_header(c, headers, &n, "Accept", c->q.accept);
	add_header(c, headers, &n, "Content-Type", c->q.content_type);
	add_header(c, headers, &n, "Content-Range", c->q.content_range);
	if (c->q.from)
		add_header(c, headers, &n, "Range",
			   arena_printf(&c->arena, "bytes=%llu-", (unsigned long long)c->q.from));
	o.headers = headers;
	if (is_own(r, url))
		o.authorization = r->authorization;
	c->status = 0;
	c->sent_https = r->endpoints[r->at].https;
	return http_call_start(r->store->http, &o, &c->http, e);
}

int registry_ask(struct registry *r, const struct registry_request *q, struct registry_call **ret,
		 struct err *e)
{
	struct registry_call *c = mem_new(struct registry_call);
	int failed;

	assert(q->path && q->done);
	c->magic = CALL_MAGIC;
	c->registry = r;
	c->q = *q;
	c->q.method = arena_dup_text(&c->arena, q->method);
	c->q.path = arena_dup_text(&c->arena, q->path);
	c->q.accept = arena_dup_text(&c->arena, q->accept);
	c->q.content_type = arena_dup_text(&c->arena, q->content_type);
	c->q.content_range = arena_dup_text(&c->arena, q->content_range);
	if (q->body.n)
		c->q.body = (struct str){arena_dup(&c->arena, q->body), q->body.n};
	list_append(&r->calls, &c->link);
	failed = send_call(c, e);
	if (failed < 0) {
		call_free(c);
		return failed;
	}
	*ret = c;
	return 0;
}
