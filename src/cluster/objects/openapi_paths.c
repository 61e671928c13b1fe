/*
 * OpenAPI's paths: which verbs a resource has and which query parameters they take. Clients look up
 * two things there: the kind behind a path, and whether a patch takes dryRun and fieldValidation.
 */
#include <assert.h>

#include "cluster/objects/openapi_priv.h"
#include "ground/base/mem.h"

static const char *const read_params[] = {"pretty", NULL};
static const char *const list_params[] = {"pretty",
					  "allowWatchBookmarks",
					  "continue",
					  "fieldSelector",
					  "labelSelector",
					  "limit",
					  "resourceVersion",
					  "resourceVersionMatch",
					  "sendInitialEvents",
					  "timeoutSeconds",
					  "watch",
					  NULL};
static const char *const write_params[] = {"pretty", "dryRun", "fieldManager", "fieldValidation",
					   NULL};
static const char *const patch_params[] = {"pretty",	      "dryRun", "fieldManager",
					   "fieldValidation", "force",	NULL};
static const char *const delete_params[] = {
	"pretty", "dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy", NULL};

static const struct verb {
	const char *method, *action;
	bool item; /* of one object, not of the collection */
	const char *const *params;
} verbs[] = {
	{"get", "list", false, list_params},	{"post", "post", false, write_params},
	{"get", "get", true, read_params},	{"put", "put", true, write_params},
	{"patch", "patch", true, patch_params}, {"delete", "delete", true, delete_params},
};

static struct json *parameter(const char *name, const char *in, enum dialect dialect)
{
	static const char *const flags[] = {
		"watch", "allowWatchBookmarks", "force", "sendInitialEvents", "orphanDependents",
		NULL};
	static const char *const numbers[] = {"limit", "timeoutSeconds", "gracePeriodSeconds",
					      NULL};
	const char *type = text_in(name, (char *const *)flags)	   ? "boolean"
			   : text_in(name, (char *const *)numbers) ? "integer"
								   : "string";
	struct json *j = json_new_object();

	json_set_text(j, "name", name);
	json_set_text(j, "in", in);
	if (text_eq(in, "path"))
		json_set_bool(j, "required", true);
	if (dialect == OPENAPI_V2) {
		json_set_text(j, "type", type);
		return j;
	}
	json_set(j, "schema", json_new_object());
	json_set_text(json_get(j, "schema"), "type", type);
	return j;
}

static struct json *group_version_kind(const struct kind *k)
{
	struct json *j = json_new_object();

	json_set_text(j, "group", k->group);
	json_set_text(j, "kind", k->name);
	json_set_text(j, "version", k->version);
	return j;
}

static struct json *operation(const struct kind *k, const struct verb *v, const char *path,
			      enum dialect dialect)
{
	auto_strbuf struct strbuf id = {0};
	struct json *j = json_new_object(), *list = json_new_array(), *responses, *ok;

	for (size_t i = 0; v->params[i]; i++)
		json_append(list, parameter(v->params[i], "query", dialect));
	strbuf_printf(&id, "%s:%s", v->action, path);
	json_set_text(j, "operationId", strbuf_text(&id));
	json_set(j, "parameters", list);
	ok = json_new_object();
	json_set_text(ok, "description", "OK");
	responses = json_new_object();
	json_set(responses, "200", ok);
	json_set(j, "responses", responses);
	json_set_text(j, "x-kubernetes-action", v->action);
	json_set(j, "x-kubernetes-group-version-kind", group_version_kind(k));
	return j;
}

/* Reviews are posted, measurements are read, the rest is everything. */
static bool has_verb(const struct kind *k, const struct verb *v)
{
	if (k->flags & KIND_NO_STORE)
		return text_eq(v->action, "post");
	return !(k->flags & KIND_COMPUTED) || text_eq(v->method, "get");
}

static void add_path(struct json *paths, const struct kind *k, bool namespaced, bool item,
		     enum dialect dialect)
{
	auto_strbuf struct strbuf path = {0};
	struct json *j = json_new_object(), *list = json_new_array();
	char api[128];

	strbuf_printf(&path, "%s/%s%s/%s%s", k->group[0] ? "/apis" : "/api",
		      kind_api(k, api, sizeof(api)), namespaced ? "/namespaces/{namespace}" : "",
		      k->plural, item ? "/{name}" : "");
	for (size_t i = 0; i < array_len(verbs); i++)
		if (verbs[i].item == item && has_verb(k, &verbs[i]))
			json_set(j, verbs[i].method,
				 operation(k, &verbs[i], strbuf_text(&path), dialect));
	if (item)
		json_append(list, parameter("name", "path", dialect));
	if (namespaced)
		json_append(list, parameter("namespace", "path", dialect));
	json_set(j, "parameters", list);
	json_set(paths, strbuf_text(&path), j);
}

void openapi_add_paths(struct json *paths, const struct kind *k, enum dialect dialect)
{
	bool namespaced = k->flags & KIND_NAMESPACED;

	if (!k->plural[0])
		return;
	add_path(paths, k, namespaced, false, dialect);
	if (!(k->flags & KIND_NO_STORE))
		add_path(paths, k, namespaced, true, dialect);
}
