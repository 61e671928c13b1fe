/*
 * Paths: where an object or a list lives.
 *
 *	/api/v1/[namespaces/NS/]RESOURCE[/NAME[/SUB[/REST]]]
 *	/apis/GROUP/VERSION/...
 */
#include <assert.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/str.h"

static const char *cut(struct kube_request *r, struct str *rest)
{
	struct str head;

	if (!str_cut(rest, '/', &head))
		return "";
	return arena_dup(&r->arena, head);
}

static const char *verb_of(const struct kube_request *r, const char *method)
{
	static const struct {
		const char *method, *one, *many;
	} rows[] = {
		{"GET", "get", "list"},	      {"HEAD", "get", "list"},
		{"POST", "create", "create"}, {"PUT", "update", "update"},
		{"PATCH", "patch", "patch"},  {"DELETE", "delete", "deletecollection"},
	};
	const char *watch = http_request_query(r->http, "watch");

	for (size_t i = 0; i < array_len(rows); i++) {
		if (!text_eq(rows[i].method, method))
			continue;
		if (i < 2 && !r->sub && watch && !text_eq(watch, "false") && !text_eq(watch, "0"))
			return "watch";
		return r->name[0] ? rows[i].one : rows[i].many;
	}
	return "";
}

static void read_resource(struct kube_request *r, struct str *rest)
{
	struct str keep;

	r->resource = cut(r, rest);
	if (text_eq(r->resource, "watch") && rest->n) { /* the old way to ask for a watch */
		r->resource = cut(r, rest);
		r->verb = "watch";
	}
	keep = *rest;
	if (text_eq(r->resource, "namespaces") && rest->n) {
		const char *ns = cut(r, rest), *next;
		struct str after = *rest;

		next = cut(r, &after);
		if (next[0] && !text_eq(next, "status") && !text_eq(next, "finalize")) {
			r->namespace = ns;
			r->resource = next;
			*rest = after;
		} else {
			*rest = keep;
		}
	}
	r->name = cut(r, rest);
	r->sub = rest->n ? cut(r, rest) : NULL;
	if (r->sub && !r->sub[0])
		r->sub = NULL;
	r->rest = rest->n ? arena_dup(&r->arena, *rest) : NULL;
}

bool path_read(struct kube_request *r, const char *path)
{
	struct str rest;

	assert(path);
	r->namespace = r->name = r->resource = "";
	if (text_starts(path, "/api/")) {
		rest = str_of(path + strlen("/api/"));
		r->group = "";
	} else if (text_starts(path, "/apis/")) {
		rest = str_of(path + strlen("/apis/"));
		r->group = cut(r, &rest);
	} else {
		return false;
	}
	r->version = cut(r, &rest);
	if (rest.n == 0)
		return false;
	read_resource(r, &rest);
	if (!r->resource[0])
		return false;
	r->kind = kind_of_resource(r->group, r->version, r->resource);
	if (!r->verb)
		r->verb = verb_of(r, http_request_method(r->http));
	return true;
}
