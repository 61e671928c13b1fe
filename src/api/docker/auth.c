/*
 * POST /auth: are these credentials good? The registry is asked as a pull would ask it
 * (distribution spec, token authentication): GET /v2/, and where it answers 401, once more with the
 * credentials, at the registry itself (Basic) or at the token server it names (Bearer). Nothing is
 * kept.
 */
#include <string.h>
#include <strings.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"
#include "ground/format/base64.h"
#include "ground/wire/http_client.h"
#include "ground/wire/http_local.h"

#define HUB_NAME "docker.io"
#define HUB_HOST "registry-1.docker.io"

struct auth_state {
	const char *host;  /* with port */
	const char *basic; /* "Basic ..." */
	const char *user;
	bool insecure;	       /* certificates are not checked, plain HTTP will do */
	bool plain;	       /* HTTP is being tried */
	bool asked_with_basic; /* the answer counts */
};

static void ask(struct call *c, const char *url, const char *authorization);

static void reply_unauthorized(struct call *c)
{
	const struct auth_state *s = c->state;

	http_reply_message(c->r, 401,
			   "login to registry '%s' failed: incorrect username or password",
			   s->host);
	call_release(c);
}

static void reply_good(struct call *c)
{
	struct json *j = json_new_object();

	json_set_text(j, "Status", "Login Succeeded");
	json_set_text(j, "IdentityToken", "");
	call_reply_json(c, 200, j);
}

/* key="value" out of a challenge; NULL when it is not there. */
static char *challenge_value(struct call *c, const char *challenge, const char *key)
{
	auto_free char *begin = mem_printf("%s=\"", key);
	const char *at = strcasestr(challenge, begin);
	const char *end;

	if (!at)
		return NULL;
	at += strlen(begin);
	end = strchr(at, '"');
	return end ? arena_dup(&c->arena, (struct str){at, (size_t)(end - at)}) : NULL;
}

/* A realm without TLS gets no password unless the registry is known to be insecure. */
static void ask_realm(struct call *c, const char *challenge)
{
	struct auth_state *s = c->state;
	const char *realm = challenge_value(c, challenge, "realm");
	const char *service = challenge_value(c, challenge, "service");
	auto_strbuf struct strbuf url = {0};

	if (!realm || (!text_starts(realm, "https://") && !s->insecure)) {
		call_reply_message(c, 502,
				   "the registry names no token server that can be trusted");
		return;
	}
	strbuf_printf(&url, "%s%caccount=", realm, strchr(realm, '?') ? '&' : '?');
	http_encode(&url, s->user);
	strbuf_add_text(&url, "&client_id=docker");
	if (service) {
		strbuf_add_text(&url, "&service=");
		http_encode(&url, service);
	}
	s->asked_with_basic = true;
	ask(c, strbuf_text(&url), s->basic);
}

static void answered(void *arg, struct http_call *h, int status, const struct err *e)
{
	struct call *c = call_of(arg);
	struct auth_state *s = c->state;
	const char *challenge = e ? NULL : http_call_header(h, "WWW-Authenticate");

	if (e && s->insecure && !s->plain && !s->asked_with_basic) {
		auto_free char *url = mem_printf("http://%s/v2/", s->host);

		s->plain = true;
		ask(c, url, NULL);
	} else if (e) {
		call_reply_err(c, e);
	} else if (status == 200) {
		reply_good(c);
	} else if (status != 401) {
		http_reply_message(c->r, 502, "registry '%s' answered the login with status %d",
				   s->host, status);
		call_release(c);
	} else if (s->asked_with_basic || !challenge) {
		reply_unauthorized(c);
	} else if (strncasecmp(challenge, "Bearer ", 7) == 0) {
		ask_realm(c, challenge);
	} else {
		auto_free char *url =
			mem_printf("%s://%s/v2/", s->plain ? "http" : "https", s->host);

		s->asked_with_basic = true;
		ask(c, url, s->basic);
	}
}

static void ask(struct call *c, const char *url, const char *authorization)
{
	const struct auth_state *s = c->state;
	const struct http_call_options o = {.url = url,
					    .authorization = authorization,
					    .insecure = s->insecure,
					    .ops = {.done = answered},
					    .arg = c};
	struct http_call *h = NULL;
	struct err e = {0};

	if (http_call_start(c->docker->client, &o, &h, &e) < 0)
		call_reply_err(c, &e);
}

/* "https://index.docker.io/v1/", "host:5000", "https://host/path" */
static char *host_of(struct call *c, const char *address)
{
	const char *scheme = address ? strstr(address, "://") : NULL;
	const char *host = scheme ? scheme + 3 : address;
	struct str name = {host, host ? strcspn(host, "/") : 0};

	if (name.n == 0 || str_is(name, HUB_NAME) || str_is(name, "index." HUB_NAME))
		return arena_dup_text(&c->arena, HUB_HOST);
	return arena_dup(&c->arena, name);
}

static bool is_insecure(struct call *c, const char *host)
{
	struct system_info *i = NULL;

	if (text_starts(host, "127.") || text_starts(host, "localhost:") ||
	    text_eq(host, "localhost") || text_starts(host, "[::1]"))
		return true;
	engine_info(c->user, &c->arena, &i);
	return text_in(host, i->insecure_registries);
}

void system_auth(struct call *c)
{
	struct auth_state *s = arena_new(&c->arena, struct auth_state);
	const char *password = json_get_text(c->body, "password");
	auto_strbuf struct strbuf pair = {0};
	auto_strbuf struct strbuf basic = {0};
	auto_free char *url = NULL;
	struct err e = {0};

	c->state = s;
	s->user = arena_dup_text(&c->arena, json_get_text(c->body, "username"));
	if (!s->user || !s->user[0] || !password) {
		call_reply_message(c, 400, "login needs a username and a password");
		return;
	}
	if (!c->docker->client &&
	    http_client_new(c->docker->loop, "hull/" HULL_VERSION, &c->docker->client, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	strbuf_printf(&pair, "%s:%s", s->user, password);
	strbuf_add_text(&basic, "Basic ");
	base64_encode(strbuf_str(&pair), &basic);
	s->basic = arena_dup(&c->arena, strbuf_str(&basic));
	s->host = host_of(c, json_get_text(c->body, "serveraddress"));
	s->insecure = is_insecure(c, s->host);
	url = mem_printf("https://%s/v2/", s->host);
	ask(c, url, NULL);
}
