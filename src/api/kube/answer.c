/*
 * Answers: an object, a list, a Table or a Status, in the version and form that the client asked
 * for. Stored bytes are sent as they are where nothing has to change.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/convert.h"
#include "cluster/objects/table.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

void request_end(struct kube_request *r)
{
	assert(r->magic == KUBE_REQUEST_MAGIC);
	list_remove(&r->link);
	arena_done(&r->arena);
	r->magic = 0;
	free(r);
}

/* A Warning header: a quoted text, of one line. */
static void add_warning(struct kube_request *r, const char *text)
{
	auto_strbuf struct strbuf header = {0};

	strbuf_add_text(&header, "299 - \"");
	for (const char *p = text; *p; p++) {
		if (*p == '"' || *p == '\\')
			strbuf_add_char(&header, '\\');
		strbuf_add_char(&header, (unsigned char)*p < ' ' ? ' ' : *p);
	}
	strbuf_add_char(&header, '"');
	http_reply_header(r->http, "Warning", strbuf_text(&header));
}

/* The body is taken. */
static void answer_bytes(struct kube_request *r, int status, const char *type, struct strbuf *body)
{
	for (size_t i = 0; r->warnings && r->warnings[i]; i++)
		add_warning(r, r->warnings[i]);
	if (r->kind && r->kind->warning)
		add_warning(r, r->kind->warning);
	r->kube->served++;
	r->kube->failed += status >= 500;
	/* What is JSON is YAML too. */
	if (r->yaml && text_eq(type, "application/json"))
		type = "application/yaml";
	http_reply_take(r->http, status, type, body);
	request_end(r);
}

void answer_text(struct kube_request *r, int status, const char *type, struct str text)
{
	struct strbuf body = {0};

	strbuf_add(&body, text.p, text.n);
	answer_bytes(r, status, type, &body);
}

void answer_json(struct kube_request *r, int status, struct json *j)
{
	struct strbuf body = {0};
	auto_json struct json *taken = j;

	json_write(taken, &body);
	strbuf_add_char(&body, '\n');
	answer_bytes(r, status, "application/json", &body);
}

/* -- Status ------------------------------------------------------------------------------------ */

const char *status_reason(int code, enum err_kind kind)
{
	static const struct {
		int code;
		const char *reason;
	} rows[] = {
		{400, "BadRequest"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "NotFound"},
		{405, "MethodNotAllowed"},
		{406, "NotAcceptable"},
		{409, "Conflict"},
		{410, "Expired"},
		{413, "RequestEntityTooLarge"},
		{415, "UnsupportedMediaType"},
		{422, "Invalid"},
		{429, "TooManyRequests"},
		{500, "InternalError"},
		{501, "NotImplemented"},
		{503, "ServiceUnavailable"},
		{504, "Timeout"},
	};

	if (code == 409 && kind == ERR_EXISTS)
		return "AlreadyExists";
	for (size_t i = 0; i < array_len(rows); i++)
		if (rows[i].code == code)
			return rows[i].reason;
	return "";
}

static struct json *details_of(const struct kube_request *r, const struct json *more)
{
	const char *name = r->name && r->name[0] ? r->name : r->body_name;
	struct json *details = json_new_object();
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	if (name && name[0])
		json_set_text(details, "name", name);
	if (r->group && r->group[0])
		json_set_text(details, "group", r->group);
	if (r->resource && r->resource[0])
		json_set_text(details, "kind", r->resource);
	while (json_next(more, &it, &key, &value))
		json_set(details, key, json_ref(value));
	return details;
}

struct json *status_of(const struct kube_request *r, int code, const char *reason,
		       const char *message, const struct json *details)
{
	struct json *status = json_new_object(), *full = details_of(r, details);

	json_set_text(status, "kind", "Status");
	json_set_text(status, "apiVersion", "v1");
	json_set(status, "metadata", json_new_object());
	json_set_text(status, "status", code < 300 ? "Success" : "Failure");
	if (message[0])
		json_set_text(status, "message", message);
	if (reason[0])
		json_set_text(status, "reason", reason);
	if (json_len(full))
		json_set(status, "details", full);
	else
		(void)json_free(full);
	if (code >= 300)
		json_set_i64(status, "code", code);
	return status;
}

void answer_status(struct kube_request *r, int code, const char *reason, const struct json *details,
		   const char *fmt, ...)
{
	auto_strbuf struct strbuf message = {0};
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&message, fmt, ap);
	va_end(ap);
	answer_json(r, code, status_of(r, code, reason, strbuf_text(&message), details));
}

void answer_error(struct kube_request *r, const struct err *e)
{
	int code = e->kind == ERR_EXHAUSTED ? 413 : err_kind_info(e->kind)->http_status;

	answer_status(r, code, status_reason(code, e->kind), NULL, "%s", e->text);
}

void answer_outcome_error(struct kube_request *r, const struct outcome *o)
{
	int code = o->http_status ? o->http_status : err_kind_info(o->error->kind)->http_status;
	auto_json struct json *details = NULL;

	if (!o->http_status && o->error->kind == ERR_EXHAUSTED)
		code = 413;
	r->warnings = o->warnings;
	if (code == 422 && r->kind) { /* clients say "The Pod "x" is invalid" out of it */
		details = o->details ? json_copy(o->details) : json_new_object();
		if (!json_get(details, "kind"))
			json_set_text(details, "kind", r->kind->name);
	}
	if (json_get_i64(o->details, "retryAfterSeconds", 0) > 0) {
		auto_free char *seconds = mem_printf(
			"%lld", (long long)json_get_i64(o->details, "retryAfterSeconds", 0));

		http_reply_header(r->http, "Retry-After", seconds);
	}
	answer_status(r, code, status_reason(code, o->error->kind), details ? details : o->details,
		      "%s", o->message ? o->message : o->error->text);
}

/* -- forms ------------------------------------------------------------------------------------- */

void answer_negotiate(struct kube_request *r)
{
	const char *accept = http_request_header(r->http, "Accept");
	struct str rest, one;

	r->form = ANSWER_OBJECT;
	if (!accept)
		return;
	rest = str_of(accept);
	while (str_cut(&rest, ',', &one)) { /* the first that we have is the client's choice */
		auto_free char *text = str_dup(str_trim(one));
		bool known = strstr(text, "g=meta.k8s.io") != NULL;

		r->yaml = text_starts(text, "application/yaml");
		if (!r->yaml && !text_starts(text, "application/json") && !text_starts(text, "*/*"))
			continue;
		if (known && strstr(text, "as=Table")) {
			r->form = ANSWER_TABLE;
			r->table_version = strstr(text, "v=v1beta1") ? "meta.k8s.io/v1beta1"
								     : "meta.k8s.io/v1";
		} else if (known && strstr(text, "as=PartialObjectMetadata")) {
			r->form = ANSWER_METADATA;
		}
		return;
	}
}

bool answer_is_acceptable(const struct kube_request *r)
{
	const char *accept = http_request_header(r->http, "Accept");

	return !accept || !accept[0] || strstr(accept, "application/json") ||
	       strstr(accept, "application/yaml") || strstr(accept, "*/*") ||
	       strstr(accept, "application/*");
}

struct json *answer_tree(const struct kind *asked, const struct object *o)
{
	struct json *tree = object_copy(o);

	convert(tree, o->kind, asked);
	return tree;
}

void answer_write(const struct kind *asked, const struct object *o, struct strbuf *out)
{
	auto_json struct json *tree = NULL;

	if (asked == o->kind) {
		object_write(o, out);
		return;
	}
	tree = answer_tree(asked, o);
	json_write(tree, out);
}

static void write_metadata(const struct object *o, struct strbuf *out)
{
	auto_json struct json *j = json_new_object();

	json_set_text(j, "kind", "PartialObjectMetadata");
	json_set_text(j, "apiVersion", "meta.k8s.io/v1");
	json_set(j, "metadata", json_copy(json_get(object_tree(o), "metadata")));
	json_write(j, out);
}

static struct table_how table_how(const struct kube_request *r)
{
	const char *include = http_request_query(r->http, "includeObject");
	struct table_how how = {.api_version = r->table_version,
				.now_ns = world_now_ns(r->kube->world)};

	if (text_eq(include, "Object"))
		how.include = TABLE_OBJECT_FULL;
	else if (text_eq(include, "None"))
		how.include = TABLE_OBJECT_NONE;
	return how;
}

void answer_object(struct kube_request *r, int status, const struct object *o)
{
	struct strbuf out = {0};
	struct table_how how;
	struct json *table;

	switch (r->form) {
	case ANSWER_TABLE:
		how = table_how(r);
		table = table_new(o->kind, &how);
		table_add(table, o->kind, object_tree(o), &how);
		answer_json(r, status, table);
		return;
	case ANSWER_METADATA:
		write_metadata(o, &out);
		break;
	case ANSWER_OBJECT:
		answer_write(r->kind, o, &out);
		break;
	}
	strbuf_add_char(&out, '\n');
	answer_bytes(r, status, "application/json", &out);
}

static struct json *list_metadata(const struct list_outcome *l)
{
	struct json *meta = json_new_object();
	char revision[24];

	(void)snprintf(revision, sizeof(revision), "%llu", (unsigned long long)l->revision);
	json_set_text(meta, "resourceVersion", revision);
	if (l->next[0]) {
		json_set_text(meta, "continue", l->next);
		if (l->remaining >= 0)
			json_set_i64(meta, "remainingItemCount", l->remaining);
	}
	return meta;
}

static void answer_table(struct kube_request *r, const struct list_outcome *l)
{
	struct table_how how = table_how(r);
	struct json *table = table_new(r->kind->stored, &how);

	json_set(table, "metadata", list_metadata(l));
	for (size_t i = 0; i < l->n; i++)
		table_add(table, r->kind->stored, object_tree(l->items[i]), &how);
	answer_json(r, 200, table);
}

void answer_list(struct kube_request *r, const struct list_outcome *l)
{
	struct strbuf out = {0};
	auto_json struct json *meta = NULL;
	char api[128];

	if (r->form == ANSWER_TABLE) {
		answer_table(r, l);
		return;
	}
	meta = list_metadata(l);
	if (r->form == ANSWER_METADATA)
		strbuf_add_text(&out, "{\"kind\":\"PartialObjectMetadataList\","
				      "\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
	else
		strbuf_printf(&out, "{\"kind\":\"%sList\",\"apiVersion\":\"%s\",\"metadata\":",
			      r->kind->name, kind_api(r->kind, api, sizeof(api)));
	json_write(meta, &out);
	strbuf_add_text(&out, ",\"items\":[");
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			strbuf_add_char(&out, ',');
		if (r->form == ANSWER_METADATA)
			write_metadata(l->items[i], &out);
		else
			answer_write(r->kind, l->items[i], &out);
	}
	strbuf_add_text(&out, "]}\n");
	answer_bytes(r, 200, "application/json", &out);
}
