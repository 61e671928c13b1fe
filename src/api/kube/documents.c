/*
 * Documents: OpenAPI v2 and v3, made from the kinds' tables when first asked for and then kept. v2
 * is asked for as protobuf by every kubectl before it writes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/openapi.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

/* The reply's type has dots where the request's has an @: clients insist. */
#define V2_PROTOBUF "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
#define ETAG	    "\"kinds-1\"" /* the tables are part of the program */

static bool unchanged(struct kube_request *r)
{
	const char *have = http_request_header(r->http, "If-None-Match");

	http_reply_header(r->http, "ETag", ETAG);
	if (!text_eq(have, ETAG))
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

	for (size_t i = 0; (k = kind_at(i)) != NULL; i++) {
		auto_free char *path = NULL, *url = NULL;
		struct json *one;

		if (!k->plural[0] || known_before(i))
			continue;
		path = k->group[0] ? mem_printf("apis/%s/%s", k->group, k->version)
				   : mem_printf("api/%s", k->version);
		url = mem_printf("/openapi/v3/%s?hash=1", path);
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
