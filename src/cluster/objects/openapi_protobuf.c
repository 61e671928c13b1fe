/*
 * The v2 document as protobuf: gnostic's openapi.v2 messages, made from the JSON document. Only the
 * fields that our documents use are written; their numbers are in the tables and beside the calls.
 * Extensions carry their value as YAML, for which JSON serves.
 */
#include <assert.h>

#include "cluster/objects/openapi_priv.h"
#include "ground/base/mem.h"
#include "ground/format/protobuf.h"

static void put_text(struct strbuf *out, uint32_t number, const struct json *value)
{
	if (json_kind(value) == JSON_STRING)
		protobuf_put_bytes(out, number, json_str(value));
}

static void put_message(struct strbuf *out, uint32_t number, const struct strbuf *message)
{
	protobuf_put_bytes(out, number, strbuf_str(message));
}

/* Any {2: yaml}. */
static void put_any(struct strbuf *out, uint32_t number, const struct json *value)
{
	auto_strbuf struct strbuf any = {0}, text = {0};

	json_write(value, &text);
	strbuf_add_char(&text, '\n');
	put_message(&any, 2, &text);
	put_message(out, number, &any);
}

/* NamedAny {1: name, 2: value} for each key that begins with "x-". */
static void put_extensions(struct strbuf *out, uint32_t number, const struct json *object)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(object, &it, &key, &value)) {
		auto_strbuf struct strbuf named = {0};

		if (!text_starts(key, "x-"))
			continue;
		protobuf_put_bytes(&named, 1, str_of(key));
		put_any(&named, 2, value);
		put_message(out, number, &named);
	}
}

static void put_schema(struct strbuf *out, uint32_t number, const struct json *schema);

/* A list of NamedSchema {1: name, 2: schema}, each as field 1. */
static void put_schemas(struct strbuf *out, uint32_t number, const struct json *schemas)
{
	auto_strbuf struct strbuf all = {0};
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(schemas, &it, &key, &value)) {
		auto_strbuf struct strbuf named = {0};

		protobuf_put_bytes(&named, 1, str_of(key));
		put_schema(&named, 2, value);
		put_message(&all, 1, &named);
	}
	put_message(out, number, &all);
}

static void put_schema(struct strbuf *out, uint32_t number, const struct json *schema)
{
	auto_strbuf struct strbuf b = {0}, inner = {0};
	const struct json *required = json_get(schema, "required");

	put_text(&b, 1, json_get(schema, "$ref"));
	put_text(&b, 2, json_get(schema, "format"));
	put_text(&b, 4, json_get(schema, "description"));
	if (json_get(schema, "default"))
		put_any(&b, 5, json_get(schema, "default"));
	for (size_t i = 0; i < json_len(required); i++)
		put_text(&b, 19, json_at(required, i));
	if (json_get(schema, "additionalProperties")) {
		put_schema(&inner, 1, json_get(schema, "additionalProperties"));
		put_message(&b, 21, &inner);
		strbuf_clear(&inner);
	}
	if (json_get(schema, "type")) {
		put_text(&inner, 1, json_get(schema, "type"));
		put_message(&b, 22, &inner);
		strbuf_clear(&inner);
	}
	if (json_get(schema, "items")) {
		put_schema(&inner, 1, json_get(schema, "items"));
		put_message(&b, 23, &inner);
	}
	if (json_get(schema, "properties"))
		put_schemas(&b, 25, json_get(schema, "properties"));
	put_extensions(&b, 31, schema);
	put_message(out, number, &b);
}

/* ParametersItem.parameter.non_body_parameter; query (3) and path (4) differ in their numbers. */
static void put_parameter(struct strbuf *out, uint32_t number, const struct json *parameter)
{
	bool query = text_eq(json_get_text(parameter, "in"), "query");
	auto_strbuf struct strbuf p = {0}, one = {0}, two = {0}, three = {0};

	if (json_get_bool(parameter, "required", false))
		protobuf_put_varint(&p, 1, 1);
	put_text(&p, 2, json_get(parameter, "in"));
	put_text(&p, 4, json_get(parameter, "name"));
	put_text(&p, query ? 6 : 5, json_get(parameter, "type"));
	put_message(&one, query ? 3 : 4, &p);
	put_message(&two, 2, &one);
	put_message(&three, 1, &two);
	put_message(out, number, &three);
}

static void put_responses(struct strbuf *out, uint32_t number, const struct json *responses)
{
	auto_strbuf struct strbuf all = {0};
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(responses, &it, &key, &value)) {
		auto_strbuf struct strbuf named = {0}, outer = {0}, response = {0};

		put_text(&response, 1, json_get(value, "description"));
		put_message(&outer, 1, &response);
		protobuf_put_bytes(&named, 1, str_of(key));
		put_message(&named, 2, &outer);
		put_message(&all, 1, &named);
	}
	put_message(out, number, &all);
}

static void put_parameters(struct strbuf *out, uint32_t number, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++)
		put_parameter(out, number, json_at(list, i));
}

static void put_operation(struct strbuf *out, uint32_t number, const struct json *operation)
{
	auto_strbuf struct strbuf b = {0};

	put_text(&b, 5, json_get(operation, "operationId"));
	put_parameters(&b, 8, json_get(operation, "parameters"));
	put_responses(&b, 9, json_get(operation, "responses"));
	put_extensions(&b, 13, operation);
	put_message(out, number, &b);
}

static void put_path(struct strbuf *out, const char *name, const struct json *path)
{
	static const struct {
		const char *method;
		uint32_t number;
	} methods[] = {{"get", 2}, {"put", 3}, {"post", 4}, {"delete", 5}, {"patch", 8}};
	auto_strbuf struct strbuf named = {0}, item = {0};

	for (size_t i = 0; i < array_len(methods); i++)
		if (json_get(path, methods[i].method))
			put_operation(&item, methods[i].number, json_get(path, methods[i].method));
	put_parameters(&item, 9, json_get(path, "parameters"));
	protobuf_put_bytes(&named, 1, str_of(name));
	put_message(&named, 2, &item);
	put_message(out, 2, &named);
}

void openapi_v2_protobuf(struct strbuf *out)
{
	auto_json struct json *doc = openapi_v2();
	auto_strbuf struct strbuf info = {0}, paths = {0};
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	assert(doc && out);
	put_text(out, 1, json_get(doc, "swagger"));
	put_text(&info, 1, json_get(json_get(doc, "info"), "title"));
	put_text(&info, 2, json_get(json_get(doc, "info"), "version"));
	put_message(out, 2, &info);
	while (json_next(json_get(doc, "paths"), &it, &key, &value))
		put_path(&paths, key, value);
	put_message(out, 8, &paths);
	put_schemas(out, 9, json_get(doc, "definitions"));
}
