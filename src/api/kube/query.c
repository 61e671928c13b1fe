/*
 * Queries: what stands behind the `?` of a request, and what goes together there. Who asks for what
 * is none of it is told so before anything happens: a misspelt dry run must not be a real one.
 */
#include <assert.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/cause.h"
#include "cluster/objects/validate.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

#define MANAGER_MAX 128

bool query_flag(const struct kube_request *r, const char *name)
{
	const char *v = http_request_query(r->http, name);

	return v && !text_eq(v, "false") && !text_eq(v, "0");
}

static int check_fields(const struct kube_request *r, const struct selector *fields, struct err *e)
{
	for (size_t i = 0; i < fields->n; i++)
		if (!kind_selects(r->kind, fields->list[i].key))
			return err_set(e, ERR_INVALID, "field label not supported: %s",
				       fields->list[i].key);
	return 0;
}

/* Keys and values of labels are what labels may be. */
static int check_labels(const struct selector *labels, struct err *e)
{
	for (size_t i = 0; i < labels->n; i++) {
		const struct selector_one *one = &labels->list[i];
		const char *why = name_wrong_label_key(one->key);

		if (why)
			return err_set(
				e, ERR_INVALID,
				"unable to parse requirement: <nil>: Invalid value: \"%s\": %s",
				one->key, why);
		for (size_t v = 0; v < one->values_n; v++) {
			why = name_wrong_label_value(one->values[v]);
			if (why)
				return err_set(e, ERR_INVALID,
					       "unable to parse requirement: values[%zu][%s]: "
					       "Invalid value: \"%s\": %s",
					       v, one->key, one->values[v], why);
		}
	}
	return 0;
}

int query_selectors(struct kube_request *r, struct selector *labels, struct selector *fields)
{
	const char *l = http_request_query(r->http, "labelSelector");
	const char *f = http_request_query(r->http, "fieldSelector");
	struct err e;
	int bad = selector_parse_labels(l ? l : "", &r->arena, labels, &e);

	if (bad >= 0)
		bad = check_labels(labels, &e);
	if (bad >= 0)
		bad = selector_parse_fields(f ? f : "", &r->arena, fields, &e);
	if (bad >= 0)
		bad = check_fields(r, fields, &e);
	if (bad < 0)
		answer_error(r, &e);
	return bad;
}

/* One option of a request that is wrong: 422 about the options, as if they were an object. */
static int refuse_option(struct kube_request *r, const char *options, enum cause_kind kind,
			 const char *field, const char *value, const char *what)
{
	auto_arena struct arena a = {0};
	struct causes causes = {.arena = &a};
	auto_json struct json *details = json_new_object(), *shown = json_new_text(value);

	cause_add(&causes, kind, field, shown, "%s", what);
	json_set(details, "causes", causes_json(&causes));
	answer_status(r, 422, "Invalid", details, "%s.meta.k8s.io \"\" is invalid: %s: %s", options,
		      field, causes.list[0].message);
	return -ERR_INVALID;
}

static int forbid_option(struct kube_request *r, const char *field, const char *what)
{
	return refuse_option(r, "ListOptions", CAUSE_FORBIDDEN, field, NULL, what);
}

static int check_initial(struct kube_request *r, bool watch, const char *match)
{
	if (!watch)
		return forbid_option(r, "sendInitialEvents",
				     "sendInitialEvents is forbidden for list");
	if (!text_eq(match, "NotOlderThan"))
		return forbid_option(r, "resourceVersionMatch",
				     "sendInitialEvents requires setting resourceVersionMatch to "
				     "NotOlderThan");
	return 0;
}

static int check_match(struct kube_request *r, const char *match)
{
	const char *revision = http_request_query(r->http, "resourceVersion");
	const char *next = http_request_query(r->http, "continue"), *wrong = NULL;
	bool exact = text_eq(match, "Exact");

	if (text_eq(r->verb, "watch"))
		wrong = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
			"provided";
	else if (!exact && !text_eq(match, "NotOlderThan"))
		wrong = "supported values: \"Exact\", \"NotOlderThan\"";
	else if (next && next[0])
		wrong = "resourceVersionMatch is forbidden when continue is provided";
	else if (!revision || !revision[0])
		wrong = "resourceVersionMatch is forbidden unless resourceVersion is provided";
	else if (exact && text_eq(revision, "0"))
		wrong = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
	return wrong ? forbid_option(r, "resourceVersionMatch", wrong) : 0;
}

/* Whether the options about revisions go together, as Kubernetes has it. */
int query_revision(struct kube_request *r)
{
	const char *match = http_request_query(r->http, "resourceVersionMatch");

	if (http_request_query(r->http, "sendInitialEvents"))
		return check_initial(r, text_eq(r->verb, "watch"), match);
	return match && match[0] ? check_match(r, match) : 0;
}

int query_list(struct kube_request *r, struct list_query *q, struct selector *labels,
	       struct selector *fields)
{
	const char *limit = http_request_query(r->http, "limit");
	const char *match = http_request_query(r->http, "resourceVersionMatch");
	int64_t n = 0;
	struct err e;

	if (query_selectors(r, labels, fields) < 0 || query_revision(r) < 0)
		return -ERR_INVALID;
	if (limit && limit[0] && (parse_i64(str_of(limit), "limit", &n, &e) < 0 || n < 0)) {
		answer_status(r, 400, "BadRequest", NULL, "invalid limit '%s'", limit);
		return -ERR_INVALID;
	}
	*q = (struct list_query){
		.labels = labels,
		.fields = fields,
		.limit = (size_t)n,
		.next = http_request_query(r->http, "continue"),
		.revision = http_request_query(r->http, "resourceVersion"),
		.exact = text_eq(match, "Exact"),
	};
	return 0;
}

/* What a write's options are called: by its verb. */
static const char *options_of(const struct kube_request *r)
{
	if (text_eq(r->verb, "create"))
		return "CreateOptions";
	if (text_starts(r->verb, "delete"))
		return "DeleteOptions";
	return text_eq(r->verb, "patch") ? "PatchOptions" : "UpdateOptions";
}

static int check_dry(struct kube_request *r, const char *dry)
{
	if (!dry || !dry[0] || text_eq(dry, "All"))
		return 0;
	return refuse_option(r, options_of(r), CAUSE_NOT_SUPPORTED, "dryRun", dry,
			     "supported values: \"All\"");
}

int query_write(struct kube_request *r, struct write_options *o)
{
	static const char *const validations[] = {"", "Ignore", "Warn", "Strict", NULL};
	const char *validation = http_request_query(r->http, "fieldValidation");
	const char *dry = http_request_query(r->http, "dryRun");
	const char *manager = http_request_query(r->http, "fieldManager");

	if (check_dry(r, dry) < 0)
		return -ERR_INVALID;
	if (validation && !text_in(validation, (char *const *)validations))
		return refuse_option(r, options_of(r), CAUSE_NOT_SUPPORTED, "fieldValidation",
				     validation,
				     "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
	if (manager && strlen(manager) > MANAGER_MAX)
		return refuse_option(r, options_of(r), CAUSE_TOO_LONG, "fieldManager", NULL,
				     "may not be more than 128 bytes");
	*o = (struct write_options){
		.dry_run = text_eq(dry, "All"),
		.strict = text_eq(validation, "Strict"),
		.ignore_unknown = text_eq(validation, "Ignore"),
		.field_manager = manager,
	};
	return 0;
}

/* How what hangs on an object goes: 0, or the request is answered. */
static int read_propagation(struct kube_request *r, const struct json *body,
			    struct delete_options *o)
{
	static const char *const words[] = {"", "Background", "Foreground", "Orphan"};
	const char *how = http_request_query(r->http, "propagationPolicy");
	size_t at = 0;

	if (json_get_text(body, "propagationPolicy"))
		how = json_get_text(body, "propagationPolicy");
	if (how && how[0] && json_get(body, "orphanDependents"))
		return refuse_option(r, "DeleteOptions", CAUSE_INVALID, "propagationPolicy", how,
				     "orphanDependents and deletionPropagation cannot be both set");
	while (how && at < array_len(words) && !text_eq(words[at], how))
		at++;
	if (at == array_len(words))
		return refuse_option(
			r, "DeleteOptions", CAUSE_NOT_SUPPORTED, "propagationPolicy", how,
			"supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\"");
	o->propagation = (enum client_propagation)at;
	if (json_get_bool(body, "orphanDependents", false))
		o->propagation = PROPAGATE_ORPHAN;
	return 0;
}

int query_delete(struct kube_request *r, const struct json *body, struct delete_options *o)
{
	const char *grace = http_request_query(r->http, "gracePeriodSeconds");
	const char *dry = http_request_query(r->http, "dryRun");
	const struct json *pre = json_get(body, "preconditions"), *also = json_get(body, "dryRun");

	*o = (struct delete_options){
		.grace_s = json_get_i64(body, "gracePeriodSeconds", -1),
		.uid = json_get_text(pre, "uid"),
		.revision = json_get_text(pre, "resourceVersion"),
		.dry_run = json_len(also) > 0 || text_eq(dry, "All"),
	};
	if (check_dry(r, dry) < 0 || check_dry(r, json_text(json_at(also, 0))) < 0)
		return -ERR_INVALID;
	if (grace && grace[0] &&
	    parse_i64(str_of(grace), "gracePeriodSeconds", &o->grace_s, NULL) < 0) {
		answer_status(r, 400, "BadRequest", NULL, "invalid gracePeriodSeconds '%s'", grace);
		return -ERR_INVALID;
	}
	return read_propagation(r, body, o);
}
