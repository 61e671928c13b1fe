/*
 * Parameters of a request: Docker's flags, numbers, times, filters, names and credentials.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/base/rfc3339.h"
#include "ground/format/base64.h"

#define AUTH_BYTES_MAX (16u << 10)
#define NS_OF_A_SECOND 1000000000LL
#define SECONDS_MAX    9000000000LL

bool param_flag(const struct call *c, const char *name, bool otherwise)
{
	static const char *const no[] = {"", "0", "no", "false", "none"};
	const char *text = call_query(c, name);

	if (!text)
		return otherwise;
	for (size_t i = 0; i < array_len(no); i++)
		if (strcasecmp(text, no[i]) == 0)
			return false;
	return true;
}

int param_int(struct call *c, const char *name, int64_t otherwise, int64_t *ret)
{
	const char *text = call_query(c, name);
	struct err e = {0};

	*ret = otherwise;
	if (!text || !text[0])
		return 0;
	if (parse_i64(str_of(text), name, ret, &e) == 0)
		return 0;
	call_reply_err(c, &e);
	return -1;
}

/* ".5" as nanoseconds: at most nine digits count. */
static int parse_fraction(struct str digits, int64_t *ret_ns)
{
	int64_t ns = 0;

	for (size_t i = 0; i < 9; i++)
		ns = ns * 10 + (i < digits.n ? digits.p[i] - '0' : 0);
	for (size_t i = 0; i < digits.n; i++)
		if (digits.p[i] < '0' || digits.p[i] > '9')
			return -1;
	*ret_ns = ns;
	return 0;
}

static int parse_seconds(struct str text, int64_t *ret_ns)
{
	struct str whole, rest = text;
	int64_t s = 0, ns = 0;

	if (!str_cut(&rest, '.', &whole) || parse_i64(whole, "time", &s, NULL) < 0)
		return -1;
	if (rest.n && parse_fraction(rest, &ns) < 0)
		return -1;
	if (s > SECONDS_MAX || s < -SECONDS_MAX)
		return -1;
	*ret_ns = s * NS_OF_A_SECOND + (s < 0 ? -ns : ns);
	return 0;
}

int param_parse_time(struct str text, int64_t *ret_ns, struct err *e)
{
	auto_free char *copy = str_dup(text);

	if (text.n && (parse_seconds(text, ret_ns) == 0 || rfc3339_parse(copy, ret_ns, NULL) == 0))
		return 0;
	return err_set(e, ERR_INVALID, "invalid time '%s': expected seconds since 1970 or RFC 3339",
		       copy);
}

int param_time(struct call *c, const char *name, int64_t *ret_ns)
{
	const char *text = call_query(c, name);
	struct err e = {0};

	*ret_ns = 0;
	if (!text || !text[0] || text_eq(text, "0"))
		return 0;
	if (param_parse_time(str_of(text), ret_ns, &e) == 0)
		return 0;
	call_reply_err(c, &e);
	return -1;
}

int param_filters(struct call *c, struct filters *ret)
{
	struct err e = {0};

	if (filters_read(str_of(call_query(c, "filters")), &c->arena, ret, &e) == 0)
		return 0;
	call_reply_err(c, &e);
	return -1;
}

char *const *param_list(struct call *c, const char *name)
{
	size_t n = 0;
	char **list;

	while (http_request_query_at(c->r, name, n))
		n++;
	list = arena_new_array(&c->arena, char *, n + 1);
	for (size_t i = 0; i < n; i++)
		list[i] = arena_dup_text(&c->arena, http_request_query_at(c->r, name, i));
	return list;
}

struct registry_auth param_auth(struct call *c)
{
	const char *text = http_request_header(c->r, "X-Registry-Auth");
	auto_strbuf struct strbuf b = {0};
	auto_json struct json *j = NULL;
	struct registry_auth a = {0};

	if (!text || strlen(text) > AUTH_BYTES_MAX || base64_decode(str_of(text), &b, NULL) < 0)
		return a;
	if (b.n == 0 || json_parse(strbuf_str(&b), "X-Registry-Auth", &j, NULL) < 0)
		return a;
	a.username = arena_dup_text(&c->arena, json_get_text(j, "username"));
	a.password = arena_dup_text(&c->arena, json_get_text(j, "password"));
	a.server_address = arena_dup_text(&c->arena, json_get_text(j, "serveraddress"));
	a.identity_token = arena_dup_text(&c->arena, json_get_text(j, "identitytoken"));
	a.registry_token = arena_dup_text(&c->arena, json_get_text(j, "registrytoken"));
	return a;
}

char *param_reference(struct call *c, const char *name, const char *tag)
{
	if (!tag || !tag[0])
		return arena_dup_text(&c->arena, name);
	return arena_printf(&c->arena, "%s%c%s", name, strchr(tag, ':') ? '@' : ':', tag);
}
