/*
 * What registries are configured, what their challenges ask, and the encodings that go with it
 * (Basic, X-Registry-Auth, query strings). Text only: nothing here talks to anybody.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "virt/image/registry.h"

#define SETTINGS_FILE	   "registries.json"
#define SETTINGS_BYTES_MAX (1u << 20)
#define AUTH_CHARS_MAX	   65536

/* ---- Settings ---- */

static int read_insecure(struct registry_settings *r, const struct json *list, struct err *e)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const char *host = json_text(json_at(list, i));

		if (!host)
			return err_set(e, ERR_INVALID, "%s: insecure[%zu]: expected a host name",
				       SETTINGS_FILE, i);
		mem_append_text(&r->insecure, host);
	}
	return 0;
}

static int check_mirrors(const struct json *mirrors, struct err *e)
{
	struct json_iter it = {0};
	struct json *list;
	const char *host;

	while (json_next(mirrors, &it, &host, &list))
		for (size_t i = 0; i < json_len(list); i++)
			if (!json_text(json_at(list, i)))
				return err_set(e, ERR_INVALID,
					       "%s: mirrors.%s[%zu]: expected a URL", SETTINGS_FILE,
					       host, i);
	return 0;
}

/* Adds the keys of `more` (registries.json's form) to what is known; a mirror list replaces one. */
static int settings_add(struct registry_settings *r, const struct json *more, struct err *e)
{
	struct json_iter it = {0};
	struct json *list;
	const char *host;
	int bad = read_insecure(r, json_get(more, "insecure"), e);

	if (bad == 0)
		bad = check_mirrors(json_get(more, "mirrors"), e);
	if (bad < 0)
		return bad;
	while (json_next(json_get(more, "mirrors"), &it, &host, &list)) {
		if (!r->mirrors)
			r->mirrors = json_new_object();
		json_set(r->mirrors, host, json_copy(list));
	}
	return 0;
}

int registry_settings_load(struct image_store *s, const struct json *given, struct err *e)
{
	auto_json struct json *j = NULL;
	int r = 0;

	s->settings = mem_new(struct registry_settings);
	if (faccessat(s->root_fd, SETTINGS_FILE, F_OK, 0) == 0)
		r = json_read_file(s->root_fd, SETTINGS_FILE, SETTINGS_BYTES_MAX, &j, e);
	if (r == 0)
		r = settings_add(s->settings, j, e);
	if (r < 0)
		return err_wrap(e, "'%s/" SETTINGS_FILE "'", s->root);
	return settings_add(s->settings, given, e);
}

void registry_settings_free(struct registry_settings *r)
{
	if (!r)
		return;
	(void)mem_free_texts(r->insecure);
	(void)json_free(r->mirrors);
	map_done(&r->plain);
	free(r);
}

bool registry_loopback(const char *host)
{
	size_t name = strcspn(host, ":/");

	if ((name == 9 && memcmp(host, "localhost", 9) == 0) || text_starts(host, "[::1]"))
		return true;
	return text_starts(host, "127.") && strspn(host, "0123456789.") >= name;
}

bool registry_insecure(const struct registry_settings *s, const char *host)
{
	return registry_loopback(host) || text_in(host, s->insecure);
}

/* ---- Challenges ---- */

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t,");
}

/* key="value" or key=value at *p; false at the end or at nonsense. */
static bool next_parameter(const char **p, struct arena *a, char **ret_key, char **ret_value)
{
	const char *at = skip_blanks(*p);
	size_t n = strcspn(at, "=, \t\"");
	auto_strbuf struct strbuf value = {0};

	if (n == 0 || at[n] != '=')
		return false;
	*ret_key = arena_dup(a, (struct str){at, n});
	at += n + 1;
	if (*at != '"') {
		n = strcspn(at, ", \t");
		*ret_value = arena_dup(a, (struct str){at, n});
		*p = at + n;
		return true;
	}
	for (at++; *at && *at != '"'; at++) {
		if (*at == '\\' && at[1])
			at++;
		strbuf_add_char(&value, *at);
	}
	if (!*at)
		return false;
	*ret_value = arena_dup(a, strbuf_str(&value));
	*p = at + 1;
	return true;
}

bool registry_challenge(const char *header, struct arena *a, struct registry_challenge *ret)
{
	const char *at;
	char *key, *value;

	memset(ret, 0, sizeof(*ret));
	if (!header)
		return false;
	at = skip_blanks(header);
	if (strncasecmp(at, "basic", 5) == 0)
		return true;
	if (strncasecmp(at, "bearer ", 7) != 0)
		return false;
	ret->bearer = true;
	at += 7;
	while (next_parameter(&at, a, &key, &value)) {
		if (strcasecmp(key, "realm") == 0)
			ret->realm = value;
		else if (strcasecmp(key, "service") == 0)
			ret->service = value;
		else if (strcasecmp(key, "scope") == 0)
			ret->scope = value;
	}
	return ret->realm &&
	       (text_starts(ret->realm, "https://") || text_starts(ret->realm, "http://"));
}

/* ---- Encodings ---- */

static void base64(struct strbuf *out, const unsigned char *p, size_t n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)(i + 1 < n ? p[i + 1] : 0) << 8 |
			     (uint32_t)(i + 2 < n ? p[i + 2] : 0);

		strbuf_add_char(out, digits[v >> 18]);
		strbuf_add_char(out, digits[v >> 12 & 63]);
		strbuf_add_char(out, i + 1 < n ? digits[v >> 6 & 63] : '=');
		strbuf_add_char(out, i + 2 < n ? digits[v & 63] : '=');
	}
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

static bool unbase64(const char *text, struct strbuf *out)
{
	uint32_t v = 0;
	int bits = 0;

	for (; *text && *text != '='; text++) {
		int d = base64_digit(*text);

		if (d < 0)
			return false;
		v = v << 6 | (uint32_t)d;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			strbuf_add_char(out, (char)(v >> bits & 255));
		}
	}
	return text[strspn(text, "=")] == '\0';
}

char *registry_basic(const char *user, const char *password, struct arena *a)
{
	auto_strbuf struct strbuf plain = {0}, b = {0};

	strbuf_printf(&plain, "%s:%s", user, password ? password : "");
	strbuf_add_text(&b, "Basic ");
	base64(&b, (const unsigned char *)plain.p, plain.n);
	return arena_dup(a, strbuf_str(&b));
}

static const char *auth_text(const struct json *j, const char *key, struct arena *a)
{
	const char *text = json_get_text(j, key);

	return text && text[0] ? arena_dup_text(a, text) : NULL;
}

void image_auth_decode(const char *header, struct arena *a, struct image_auth *ret)
{
	auto_strbuf struct strbuf b = {0};
	auto_json struct json *j = NULL;

	memset(ret, 0, sizeof(*ret));
	if (!header || strlen(header) > AUTH_CHARS_MAX || !unbase64(header, &b))
		return;
	if (json_parse(strbuf_str(&b), "X-Registry-Auth", &j, NULL) < 0)
		return;
	ret->username = auth_text(j, "username", a);
	ret->password = auth_text(j, "password", a);
	ret->identity_token = auth_text(j, "identitytoken", a);
	ret->registry_token = auth_text(j, "registrytoken", a);
	ret->server = auth_text(j, "serveraddress", a);
}

void registry_query(struct strbuf *b, const char *key, const char *value)
{
	strbuf_printf(b, "%s%s=", b->n && b->p[b->n - 1] != '?' ? "&" : "", key);
	for (; *value; value++) {
		if (isalnum((unsigned char)*value) || strchr("-._~", *value))
			strbuf_add_char(b, *value);
		else
			strbuf_printf(b, "%%%02X", (unsigned char)*value);
	}
}

char *registry_error_text(struct str body, struct arena *a)
{
	auto_json struct json *j = NULL;
	const char *code, *message;
	struct json *first;

	if (body.n == 0 || json_parse(body, "error", &j, NULL) < 0)
		return arena_dup_text(a, "");
	first = json_at(json_get(j, "errors"), 0);
	code = json_get_text(first, "code");
	message = json_get_text(first, "message");
	if (!code && !message)
		message = json_get_text(j, "details");
	return arena_printf(a, "%.100s%s%.300s", code ? code : "", code && message ? ": " : "",
			    message ? message : "");
}
