/*
 * OpenAPI documents: see openapi.h. Here are the schemas; paths and the protobuf form have files of
 * their own.
 */
#include "cluster/objects/openapi.h"

#include <assert.h>
#include <string.h>

#include "cluster/objects/openapi_priv.h"
#include "ground/base/mem.h"

#define QUANTITY "io.k8s.apimachinery.pkg.api.resource.Quantity"
#define INT_TEXT "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
#define MOMENT	 "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
#define MICRO	 "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"

static const struct {
	const char *type, *format, *reference;
} scalars[] = {
	[FIELD_STRING] = {"string", NULL, NULL},     [FIELD_BOOL] = {"boolean", NULL, NULL},
	[FIELD_INT32] = {"integer", "int32", NULL},  [FIELD_INT64] = {"integer", "int64", NULL},
	[FIELD_DOUBLE] = {"number", "double", NULL}, [FIELD_BYTES] = {"string", "byte", NULL},
	[FIELD_QUANTITY] = {NULL, NULL, QUANTITY},   [FIELD_INT_OR_TEXT] = {NULL, NULL, INT_TEXT},
	[FIELD_TIME] = {NULL, NULL, MOMENT},	     [FIELD_MICRO_TIME] = {NULL, NULL, MICRO},
	[FIELD_DURATION] = {"string", NULL, NULL},   [FIELD_RAW] = {"object", NULL, NULL},
	[FIELD_TEXTS] = {"array", NULL, NULL},	     [FIELD_STRUCT] = {NULL, NULL, NULL},
};
static_assert(array_len(scalars) == FIELD_TYPES);

void openapi_type_name(const struct type *t, struct strbuf *out)
{
	strbuf_printf(out, "%s.%s", t->package, t->name);
}

static void refer(struct json *schema, const char *name, enum dialect dialect)
{
	auto_strbuf struct strbuf b = {0};
	struct json *one = schema;

	strbuf_printf(&b, "%s%s",
		      dialect == OPENAPI_V2 ? "#/definitions/" : "#/components/schemas/", name);
	if (dialect == OPENAPI_V3) { /* nothing may stand beside a reference */
		one = json_new_object();
		json_set(schema, "allOf", json_new_array());
		json_append(json_get(schema, "allOf"), one);
	}
	json_set_text(one, "$ref", strbuf_text(&b));
}

static struct json *text_schema(void)
{
	struct json *j = json_new_object();

	json_set_text(j, "type", "string");
	return j;
}

/* One value of the field, without its list or map around it. */
static void value_schema(const struct field *f, enum dialect dialect, struct json *into)
{
	auto_strbuf struct strbuf b = {0};

	if (f->type == FIELD_STRUCT) {
		openapi_type_name(f->of, &b);
		refer(into, strbuf_text(&b), dialect);
		return;
	}
	if (scalars[f->type].reference) {
		refer(into, scalars[f->type].reference, dialect);
		return;
	}
	json_set_text(into, "type", scalars[f->type].type);
	if (scalars[f->type].format)
		json_set_text(into, "format", scalars[f->type].format);
	if (f->type == FIELD_TEXTS)
		json_set(into, "items", text_schema());
	if (f->values) {
		json_set(into, "enum", json_new_array());
		for (size_t i = 0; f->values[i]; i++)
			json_append(json_get(into, "enum"), json_new_text(f->values[i]));
	}
}

static void merge_hints(const struct field *f, struct json *schema)
{
	bool retain = f->flags & FIELD_RETAIN_KEYS, merged = f->flags & FIELD_MERGE;

	if (retain || merged)
		json_set_text(schema, "x-kubernetes-patch-strategy",
			      retain && merged ? "merge,retainKeys"
			      : retain	       ? "retainKeys"
					       : "merge");
	if (f->merge_key)
		json_set_text(schema, "x-kubernetes-patch-merge-key", f->merge_key);
}

static struct json *field_schema(const struct field *f, enum dialect dialect)
{
	struct json *schema = json_new_object(), *inner = schema, *otherwise = NULL;

	if (f->help)
		json_set_text(schema, "description", f->help);
	if (f->shape == FIELD_LIST) {
		inner = json_new_object();
		json_set_text(schema, "type", "array");
		json_set(schema, "items", inner);
	} else if (f->shape == FIELD_MAP) {
		inner = json_new_object();
		json_set_text(schema, "type", "object");
		json_set(schema, "additionalProperties", inner);
	}
	value_schema(f, dialect, inner);
	merge_hints(f, schema);
	if (f->otherwise && json_parse(str_of(f->otherwise), f->name, &otherwise, NULL) == 0)
		json_set(schema, "default", otherwise);
	return schema;
}

static void add_fields(const struct type *t, enum dialect dialect, struct json *properties,
		       struct json *required)
{
	for (size_t i = 0; i < t->fields_n; i++) {
		const struct field *f = &t->fields[i];

		if (f->flags & FIELD_INLINE) {
			add_fields(f->of, dialect, properties, required);
			continue;
		}
		json_set(properties, f->name, field_schema(f, dialect));
		if (f->flags & FIELD_REQUIRED)
			json_append(required, json_new_text(f->name));
	}
}

struct json *openapi_schema(const struct type *t, enum dialect dialect)
{
	struct json *schema = json_new_object();
	struct json *properties = json_new_object(), *required = json_new_array();

	add_fields(t, dialect, properties, required);
	if (t->help)
		json_set_text(schema, "description", t->help);
	json_set_text(schema, "type", "object");
	if (json_len(required) > 0)
		json_set(schema, "required", required);
	else
		json_free(required);
	json_set(schema, "properties", properties);
	return schema;
}

void openapi_add_scalars(struct json *schemas)
{
	static const struct {
		const char *name, *format, *help;
	} all[] = {
		{QUANTITY, NULL, "A number with a unit: 100m, 1.5, 2Gi."},
		{INT_TEXT, "int-or-string", "A number, or a text such as a name or a percentage."},
		{MOMENT, "date-time", "A moment, in seconds."},
		{MICRO, "date-time", "A moment, in microseconds."},
	};

	for (size_t i = 0; i < array_len(all); i++) {
		struct json *one = text_schema();

		if (all[i].format)
			json_set_text(one, "format", all[i].format);
		json_set_text(one, "description", all[i].help);
		json_set(schemas, all[i].name, one);
	}
}

void openapi_name_kinds(struct json *schemas, const char *group, const char *version)
{
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)); i++) {
		auto_strbuf struct strbuf name = {0};
		struct json *schema, *one;

		if (group && (!text_eq(k->group, group) || !text_eq(k->version, version)))
			continue;
		openapi_type_name(k->type, &name);
		schema = json_get(schemas, strbuf_text(&name));
		if (!schema)
			continue;
		if (!json_get(schema, "x-kubernetes-group-version-kind"))
			json_set(schema, "x-kubernetes-group-version-kind", json_new_array());
		one = json_new_object();
		json_set_text(one, "group", k->group);
		json_set_text(one, "kind", k->name);
		json_set_text(one, "version", k->version);
		json_append(json_get(schema, "x-kubernetes-group-version-kind"), one);
	}
}

/* The type and all that it is made of. */
static void add_types(struct json *schemas, const struct type *t)
{
	auto_strbuf struct strbuf name = {0};

	openapi_type_name(t, &name);
	if (json_get(schemas, strbuf_text(&name)))
		return;
	json_set(schemas, strbuf_text(&name), openapi_schema(t, OPENAPI_V3));
	for (size_t i = 0; i < t->fields_n; i++)
		if (t->fields[i].of)
			add_types(schemas, t->fields[i].of);
}

static struct json *document(const char *key, const char *version)
{
	struct json *doc = json_new_object(), *info = json_new_object();

	json_set_text(doc, key, version);
	json_set_text(info, "title", "Kubernetes");
	json_set_text(info, "version", "v1.33.0");
	json_set(doc, "info", info);
	json_set(doc, "paths", json_new_object());
	return doc;
}

struct json *openapi_v3(const char *group, const char *version)
{
	struct json *doc = document("openapi", "3.0.0");
	struct json *components = json_new_object(), *schemas = json_new_object();
	const struct kind *k;
	size_t found = 0;

	json_set(doc, "components", components);
	json_set(components, "schemas", schemas);
	for (size_t i = 0; (k = kind_at(i)); i++) {
		if (!text_eq(k->group, group) || !text_eq(k->version, version))
			continue;
		found++;
		add_types(schemas, k->type);
		openapi_add_paths(json_get(doc, "paths"), k, OPENAPI_V3);
	}
	openapi_add_scalars(schemas);
	openapi_name_kinds(schemas, group, version);
	return found ? doc : json_free(doc);
}

struct json *openapi_v2(void)
{
	struct json *doc = document("swagger", "2.0"), *schemas = json_new_object();
	const struct kind *k;
	const struct type *t;

	for (size_t i = 0; (t = type_at(i)); i++) {
		auto_strbuf struct strbuf name = {0};

		openapi_type_name(t, &name);
		json_set(schemas, strbuf_text(&name), openapi_schema(t, OPENAPI_V2));
	}
	openapi_add_scalars(schemas);
	openapi_name_kinds(schemas, NULL, NULL);
	for (size_t i = 0; (k = kind_at(i)); i++)
		openapi_add_paths(json_get(doc, "paths"), k, OPENAPI_V2);
	json_set(doc, "definitions", schemas);
	return doc;
}
