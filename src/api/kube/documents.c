/*
 * Documents: OpenAPI v2 and v3, made from the kinds' tables when first asked for and then kept. v2
 * is asked for as protobuf by every kubectl before it writes.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/openapi.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

/* The reply's type has dots where the request's has an @: clients insist. */
#define V2_PROTOBUF  "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
#define DIGEST_CHARS 20

static uint64_t stir(uint64_t hash, const char *text)
{
	for (; text && *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return (hash ^ 0xff) * UINT64_C(0x100000001b3);
}

/* What the tables say, in short: clients keep documents on disk until this changes. Returns ret. */
static char *digest(char ret[DIGEST_CHARS])
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	const struct type *t;
	const struct kind *k;

	for (size_t i = 0; (t = type_at(i)) != NULL; i++) {
		hash = stir(stir(hash, t->name), t->help);
		for (size_t j = 0; j < t->fields_n; j++) {
			const struct field *f = &t->fields[j];

			hash = stir(stir(stir(hash, f->name), f->help), f->otherwise);
			hash = (hash ^ (f->flags << 8 | (unsigned)f->type)) * 31;
		}
	}
	for (size_t i = 0; (k = kind_at(i)) != NULL; i++)
		hash = stir(stir(stir(hash, k->group), k->version), k->name);
	(void)snprintf(ret, DIGEST_CHARS, "%016llx", (unsigned long long)hash);
	return ret;
}

static bool unchanged(struct kube_request *r)
{
	const char *have = http_request_header(r->http, "If-None-Match");
	char text[DIGEST_CHARS];
	auto_free char *etag = mem_printf("\"%s\"", digest(text));

	http_reply_header(r->http, "ETag", etag);
	if (!text_eq(have, etag))
		return false;
	answer_text(r, 304, NULL, STR(""));
	return true;
}

static void v2_page(struct kube_request *r)
{
	const char *accept = http_request_header(r->http, "Accept");
	auto_strbuf struct strbuf out = {0};

	if (unchanged(r))
		return;
	if (accept && strstr(accept, "protobuf")) {
		openapi_v2_protobuf(&out);
		answer_text(r, 200, V2_PROTOBUF, strbuf_str(&out));
		return;
	}
	answer_json(r, 200, openapi_v2());
}

static bool known_before(size_t i)
{
	const struct kind *k = kind_at(i);

	for (size_t j = 0; j < i; j++)
		if (text_eq(kind_at(j)->group, k->group) && kind_at(j)->plural[0] &&
		    text_eq(kind_at(j)->version, k->version))
			return true;
	return false;
}

static void v3_index(struct kube_request *r)
{
	struct json *j = json_new_object(), *paths = json_new_object();
	const struct kind *k;
	char text[DIGEST_CHARS];

	(void)digest(text);
	for (size_t i = 0; (k = kind_at(i)) != NULL; i++) {
		auto_free char *path = NULL, *url = NULL;
		struct json *one;

		if (!k->plural[0] || known_before(i))
			continue;
		path = k->group[0] ? mem_printf("apis/%s/%s", k->group, k->version)
				   : mem_printf("api/%s", k->version);
		url = mem_printf("/openapi/v3/%s?hash=%s", path, text);
		one = json_new_object();
		json_set_text(one, "serverRelativeURL", url);
		json_set(paths, path, one);
	}
	json_set(j, "paths", paths);
	answer_json(r, 200, j);
}

static bool v3_page(struct kube_request *r, const char *path)
{
	struct str rest = str_of(path), first, group = STR(""), version;
	struct json *j;

	(void)str_cut(&rest, '/', &first);
	if (str_is(first, "apis"))
		(void)str_cut(&rest, '/', &group);
	if (!str_cut(&rest, '/', &version))
		return false;
	j = openapi_v3(arena_dup(&r->arena, group), arena_dup(&r->arena, version));
	if (!j)
		return false;
	if (unchanged(r)) {
		(void)json_free(j);
		return true;
	}
	answer_json(r, 200, j);
	return true;
}

bool documents_page(struct kube_request *r, const char *path)
{
	if (text_eq(path, "/openapi/v2")) {
		v2_page(r);
		return true;
	}
	if (text_eq(path, "/openapi/v3")) {
		v3_index(r);
		return true;
	}
	if (text_starts(path, "/openapi/v3/"))
		return v3_page(r, path + strlen("/openapi/v3/"));
	return false;
}
