/*
 * Verbs: a request for objects becomes one call of the client; its outcome becomes the answer. What
 * differs between kinds is in their tables, what differs between subresources in the pipeline.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/cause.h"
#include "cluster/objects/decode.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/format/yaml.h"

/* A body that is too long is still read, so that its sender reads what we say about it. */
#define BODY_READ_MAX (4 * KUBE_BODY_MAX)

static struct client_target target_of(const struct kube_request *r)
{
	return (struct client_target){
		.kind = r->kind,
		.namespace = r->namespace,
		.name = r->name[0] ? r->name : NULL,
		.sub = r->sub,
	};
}

/* -- what came back ---------------------------------------------------------------------------- */

/* What the body's decoding said comes before what the pipeline says. */
static void warn(struct kube_request *r, const char *const *more)
{
	size_t n = 0, m = 0;
	const char **all;

	while (r->warnings && r->warnings[n])
		n++;
	while (more && more[m])
		m++;
	if (m == 0)
		return;
	all = arena_new_array(&r->arena, const char *, n + m + 1);
	for (size_t i = 0; i < n; i++)
		all[i] = r->warnings[i];
	for (size_t i = 0; i < m; i++)
		all[n + i] = more[i];
	r->warnings = all;
}

static void finish(struct kube_request *r, int status, const struct outcome *o)
{
	if (o->error) {
		answer_outcome_error(r, o);
		return;
	}
	warn(r, o->warnings);
	if (o->body)
		answer_json(r, status, json_copy(o->body));
	else
		answer_object(r, status, o->object);
}

static void got(void *ctx, const struct outcome *o)
{
	finish(ctx, 200, o);
}

static void created(void *ctx, const struct outcome *o)
{
	struct kube_request *r = ctx;

	if (!o->error && r->sub && (text_eq(r->sub, "binding") || text_eq(r->sub, "eviction")))
		answer_status(r, 201, "", NULL, "%s", "");
	else
		finish(r, 201, o);
}

/* What is held by a grace period or finalizers is shown; of what is gone, that it is. */
static void removed(void *ctx, const struct outcome *o)
{
	struct kube_request *r = ctx;
	auto_json struct json *details = NULL;

	if (o->error || (o->object && o->object->deleting)) {
		finish(r, 200, o);
		return;
	}
	details = json_new_object();
	json_set_text(details, "uid", o->object ? o->object->uid : "");
	answer_status(r, 200, "", details, "%s", "");
}

static void listed(void *ctx, const struct list_outcome *l)
{
	struct kube_request *r = ctx;

	if (l->error)
		answer_error(r, l->error);
	else
		answer_list(r, l);
}

static void all_removed(void *ctx, const struct list_outcome *l)
{
	struct kube_request *r = ctx;

	if (l->error)
		answer_error(r, l->error);
	else
		answer_status(r, 200, "", NULL, "%s", "");
}

/* -- bodies ------------------------------------------------------------------------------------ */

static const struct kind *kind_of_body(const struct kube_request *r)
{
	static const struct {
		const char *sub, *group, *version, *kind;
	} rows[] = {
		{"scale", "autoscaling", "v1", "Scale"},
		{"binding", "", "v1", "Binding"},
		{"eviction", "policy", "v1", "Eviction"},
		{"token", "authentication.k8s.io", "v1", "TokenRequest"},
	};

	for (size_t i = 0; r->sub && i < array_len(rows); i++)
		if (text_eq(rows[i].sub, r->sub))
			return kind_of_name(rows[i].group, rows[i].version, rows[i].kind);
	return r->kind;
}

/* policy/v1beta1 evictions come from old clients: the same form under another version. */
static void modernize(struct json *tree)
{
	if (text_eq(json_get_text(tree, "kind"), "Eviction"))
		json_set_text(tree, "apiVersion", "policy/v1");
}

static int decode(struct kube_request *r, struct str body, const struct kind *k, bool strict,
		  struct json **ret)
{
	struct strict unknown = {.arena = &r->arena};
	const char *type = http_request_header(r->http, "Content-Type");
	auto_strbuf struct strbuf json = {0};
	struct err e;
	int bad = 0;

	if (type && text_starts(type, "application/vnd.kubernetes.protobuf") &&
	    !decode_is_protobuf(body))
		bad = err_set(&e, ERR_INVALID,
			      "provided data does not appear to be a protobuf message, expected "
			      "prefix [107 56 115 0]");
	if (type && text_starts(type, "application/yaml")) {
		bad = yaml_to_json(body, "the body", &json, &e);
		body = strbuf_str(&json);
	}
	if (bad >= 0)
		bad = decode_body(body, k, &unknown, NULL, ret, &e);
	if (bad >= 0 && strict)
		bad = decode_strict(&unknown, k, &e);
	if (bad < 0) {
		*ret = json_free(*ret);
		answer_error(r, &e);
		return bad;
	}
	if (!text_eq(http_request_query(r->http, "fieldValidation"), "Ignore") && unknown.n) {
		const char **list = arena_new_array(&r->arena, const char *, unknown.n + 1);

		memcpy(list, unknown.list, unknown.n * sizeof(*list));
		r->warnings = list;
	}
	return 0;
}

static void write_object(struct kube_request *r, struct str body)
{
	struct client_target t = target_of(r);
	struct json *tree = NULL;
	struct write_options o;

	if (query_write(r, &o) < 0 || decode(r, body, kind_of_body(r), o.strict, &tree) < 0)
		return;
	modernize(tree);
	r->body_name = arena_dup_text(&r->arena, json_get_text(json_get(tree, "metadata"), "name"));
	if (r->kind->flags & KIND_NO_STORE) {
		if (!review_run(r, tree)) {
			(void)json_free(tree);
			answer_status(r, 405, "MethodNotAllowed", NULL,
				      "the server does not allow this method on the requested "
				      "resource");
		}
		return;
	}
	if (grant_check(r, tree) < 0)
		(void)json_free(tree);
	else if (text_eq(r->verb, "create"))
		client_create(&r->client, &t, tree, &o, created, r);
	else
		client_update(&r->client, &t, tree, &o, got, r);
}

static void patch_object(struct kube_request *r, struct str body)
{
	const char *type = http_request_header(r->http, "Content-Type");
	struct client_target t = target_of(r);
	struct write_options o;
	enum patch_type how = PATCH_JSON;
	struct json *patch = NULL;
	struct err e;

	if (query_write(r, &o) < 0)
		return;
	if (!patch_type_of(type ? type : "", &how) || how == PATCH_APPLY) {
		answer_status(r, 415, "UnsupportedMediaType", NULL,
			      "%sthe body of the request was in an unknown format - accepted "
			      "media types include: application/json-patch+json, "
			      "application/merge-patch+json, "
			      "application/strategic-merge-patch+json",
			      how == PATCH_APPLY ? "this server has no server-side apply, apply "
						   "without --server-side: "
						 : "");
		return;
	}
	if (json_parse(body, "patch", &patch, &e) < 0) {
		answer_error(r, &e);
		return;
	}
	if (grant_is_judged(r))
		grant_patch(r, &t, how, patch, &o, got);
	else
		client_patch(&r->client, &t, how, patch, &o, got, r);
}

static void delete_object(struct kube_request *r, struct str body)
{
	struct client_target t = target_of(r);
	auto_json struct json *tree = NULL;
	struct selector labels, fields;
	struct delete_options o;
	struct list_query q;

	if (body.n &&
	    decode(r, body, kind_of_name("meta.k8s.io", "v1", "DeleteOptions"), false, &tree) < 0)
		return;
	if (query_delete(r, tree, &o) < 0)
		return;
	if (r->name[0]) {
		client_delete(&r->client, &t, &o, removed, r);
		return;
	}
	if (query_list(r, &q, &labels, &fields) == 0)
		client_delete_all(&r->client, &t, &q, &o, all_removed, r);
}

static void with_body(void *ctx, struct http_request *http, struct str body, const struct err *e)
{
	struct kube_request *r = ctx;

	(void)e;
	if (!http) { /* too long, or the client left: answered already */
		request_end(r);
		return;
	}
	if (body.n > KUBE_BODY_MAX)
		answer_status(r, 413, "RequestEntityTooLarge", NULL,
			      "Request entity too large: limit is %zu", KUBE_BODY_MAX);
	else if (text_eq(r->verb, "patch"))
		patch_object(r, body);
	else if (text_starts(r->verb, "delete"))
		delete_object(r, body);
	else
		write_object(r, body);
}

/* -- the door ---------------------------------------------------------------------------------- */

static void read_objects(struct kube_request *r)
{
	struct client_target t = target_of(r);
	struct selector labels, fields;
	struct list_query q;

	if (r->kind->flags & KIND_COMPUTED) {
		if (query_list(r, &q, &labels, &fields) == 0)
			computed_run(r, &q);
		return;
	}
	if (r->name[0]) {
		client_get(&r->client, &t, http_request_query(r->http, "resourceVersion"), got, r);
		return;
	}
	if (query_list(r, &q, &labels, &fields) == 0)
		client_list(&r->client, &t, &q, listed, r);
}

/* What a body may be, before any of it is read. 0, or the request is answered. */
static int media_check(struct kube_request *r)
{
	static const char *const types[] = {"application/json", "application/yaml",
					    "application/vnd.kubernetes.protobuf"};
	const char *type = http_request_header(r->http, "Content-Type");
	const char *length = http_request_header(r->http, "Content-Length");

	if (!type || !type[0] || text_eq(length, "0") || text_eq(r->verb, "patch"))
		return 0;
	for (size_t i = 0; i < array_len(types); i++)
		if (text_starts(type, types[i]))
			return 0;
	answer_status(r, 415, "UnsupportedMediaType", NULL,
		      "the body of the request was in an unknown format - accepted media types "
		      "include: application/json, application/yaml, "
		      "application/vnd.kubernetes.protobuf");
	return -ERR_UNSUPPORTED;
}

static bool has_sub(const struct kind *k, const char *sub)
{
	for (size_t i = 0; k->subs[i]; i++)
		if (text_eq(k->subs[i], sub))
			return true;
	return false;
}

/* Whether a verb makes sense where it was asked: rows of what is not. */
static bool is_allowed(const struct kube_request *r)
{
	bool create = text_eq(r->verb, "create"), named = r->name[0];
	bool change = text_eq(r->verb, "update") || text_eq(r->verb, "patch");
	bool read = text_eq(r->verb, "list") || text_eq(r->verb, "watch");
	bool computed = r->kind->flags & KIND_COMPUTED, review = r->kind->flags & KIND_NO_STORE;
	bool everywhere = r->kind->flags & KIND_NAMESPACED && !r->namespace[0];
	const bool wrong[] = {
		!r->verb[0],
		create && named && !r->sub,
		!named && change,
		computed && !text_eq(r->verb, "list") && !text_eq(r->verb, "get"),
		review && !create,
		everywhere && !read && !review,
		/* All that there is at one stroke: each by its name, or not at all. */
		text_eq(r->verb, "deletecollection") && kind_is(r->kind, "", "Namespace"),
	};

	for (size_t i = 0; i < array_len(wrong); i++)
		if (wrong[i])
			return false;
	return true;
}

/* One object of a kind that lives in namespaces, without one: there is no such path. */
static bool lacks_namespace(const struct kube_request *r)
{
	return r->kind->flags & KIND_NAMESPACED && r->name[0] && !r->namespace[0];
}

/* kubectl asks whether a kind that takes no patches is a custom one. There are none. */
static bool is_custom_kinds(const struct kube_request *r)
{
	return !r->kind && text_eq(r->group, "apiextensions.k8s.io") && text_eq(r->version, "v1") &&
	       text_eq(r->resource, "customresourcedefinitions") && text_eq(r->verb, "list");
}

static void no_custom_kinds(struct kube_request *r)
{
	struct json *j = json_new_object();

	json_set_text(j, "kind", "CustomResourceDefinitionList");
	json_set_text(j, "apiVersion", "apiextensions.k8s.io/v1");
	json_set(j, "metadata", json_new_object());
	json_set(j, "items", json_new_array());
	answer_json(r, 200, j);
}

void verb_run(struct kube_request *r)
{
	assert(r->magic == KUBE_REQUEST_MAGIC);
	if (is_custom_kinds(r))
		no_custom_kinds(r);
	else if (!r->kind || (r->sub && !has_sub(r->kind, r->sub)) || lacks_namespace(r))
		answer_status(r, 404, "NotFound", NULL,
			      "the server could not find the requested resource");
	else if (!is_allowed(r))
		answer_status(r, 405, "MethodNotAllowed", NULL,
			      "the server does not allow this method on the requested resource");
	else if (stream_is(r))
		stream_run(r);
	else if (!answer_is_acceptable(r))
		answer_status(r, 406, "NotAcceptable", NULL,
			      "only the following media types are accepted: application/json, "
			      "application/yaml");
	else if (text_eq(r->verb, "watch"))
		watch_run(r);
	else if (text_eq(r->verb, "get") || text_eq(r->verb, "list"))
		read_objects(r);
	else if (media_check(r) == 0)
		http_request_gather(r->http, BODY_READ_MAX, with_body, r);
}
