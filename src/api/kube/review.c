/*
 * Reviews: bodies that ask and are not kept. May I, may he, what may I, who am I, whose token is
 * it.
 */
#include <assert.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

static struct json *status_in(struct json *body)
{
	json_set(body, "status", json_new_object());
	return json_get(body, "status");
}

static struct json *user_json(const struct identity *who)
{
	struct json *j = json_new_object(), *groups = json_new_array();

	json_set_text(j, "username", who->user);
	if (who->uid)
		json_set_text(j, "uid", who->uid);
	for (size_t i = 0; who->groups && who->groups[i]; i++)
		json_append(groups, json_new_text(who->groups[i]));
	json_set(j, "groups", groups);
	return j;
}

static void judge(struct kube_request *r, struct json *body, const struct identity *who,
		  const char *namespace)
{
	const struct json *spec = json_get(body, "spec");
	const struct json *what = json_get(spec, "resourceAttributes");
	const struct json *page = json_get(spec, "nonResourceAttributes");
	struct attributes a = {.who = who};
	auto_strbuf struct strbuf why = {0};
	struct json *status;
	bool yes;

	if (page) {
		a.verb = json_get_text(page, "verb");
		a.path = json_get_text(page, "path");
	} else {
		a.verb = json_get_text(what, "verb");
		a.group = json_get_text(what, "group");
		a.resource = json_get_text(what, "resource");
		a.sub = json_get_text(what, "subresource");
		a.namespace = namespace ? namespace : json_get_text(what, "namespace");
		a.name = json_get_text(what, "name");
	}
	if (a.sub && !a.sub[0])
		a.sub = NULL;
	yes = a.verb && (a.path || a.resource) && rbac_allows(r->kube->rbac, &a, &why);
	status = status_in(body);
	json_set_bool(status, "allowed", yes);
	if (why.n)
		json_set_text(status, "reason", strbuf_text(&why));
}

static void self_access(struct kube_request *r, struct json *body)
{
	judge(r, body, &r->identity, NULL);
}

static void access_of(struct kube_request *r, struct json *body, const char *namespace)
{
	const struct json *spec = json_get(body, "spec"), *list = json_get(spec, "groups");
	const char **groups = arena_new_array(&r->arena, const char *, json_len(list) + 1);
	struct identity who = {.user = json_get_text(spec, "user"), .groups = groups};

	for (size_t i = 0; i < json_len(list); i++)
		groups[i] = arena_dup_text(&r->arena, json_text(json_at(list, i)));
	if (!who.user)
		who.user = "";
	judge(r, body, &who, namespace);
}

static void subject_access(struct kube_request *r, struct json *body)
{
	access_of(r, body, NULL);
}

static void local_access(struct kube_request *r, struct json *body)
{
	access_of(r, body, r->namespace);
}

static void self_rules(struct kube_request *r, struct json *body)
{
	auto_free char *ns = mem_dup_text(json_get_text(json_get(body, "spec"), "namespace"));
	struct json *status = status_in(body), *resources = json_new_array(),
		    *paths = json_new_array();

	rbac_rules(r->kube->rbac, &r->identity, ns, resources, paths);
	json_set(status, "resourceRules", resources);
	json_set(status, "nonResourceRules", paths);
	json_set_bool(status, "incomplete", false);
}

static void self_review(struct kube_request *r, struct json *body)
{
	json_set(status_in(body), "userInfo", user_json(&r->identity));
}

/* Which of the audiences that are asked for the token is meant for: its index, or -1. */
static int judge_token(struct kube_request *r, const char *token, const struct json *audiences,
		       struct identity *who, struct err *e)
{
	size_t n = json_len(audiences);

	if (n == 0)
		return token_identity(r->kube, str_of(token), NULL, &r->arena, who, e) < 0 ? -1 : 0;
	for (size_t i = 0; i < n; i++) {
		const char *one = json_text(json_at(audiences, i));

		if (one && token_identity(r->kube, str_of(token), one, &r->arena, who, e) == 0)
			return (int)i;
	}
	return -1;
}

static void token_review(struct kube_request *r, struct json *body)
{
	const struct json *spec = json_get(body, "spec");
	auto_json struct json *audiences = json_copy(json_get(spec, "audiences"));
	auto_free char *token = mem_dup_text(json_get_text(spec, "token"));
	struct json *status = status_in(body), *list;
	struct identity who = {0};
	struct err e;
	int which = token ? judge_token(r, token, audiences, &who, &e) : -1;

	json_set_bool(status, "authenticated", which >= 0);
	if (which < 0) {
		json_set_text(status, "error", token ? e.text : "no token was given");
		return;
	}
	json_set(status, "user", user_json(&who));
	if (json_len(audiences) == 0)
		return;
	list = json_new_array();
	json_append(list, json_copy(json_at(audiences, (size_t)which)));
	json_set(status, "audiences", list);
}

static const struct {
	const char *kind;
	void (*answer)(struct kube_request *r, struct json *body);
} reviews[] = {
	{"SelfSubjectAccessReview", self_access},   {"SubjectAccessReview", subject_access},
	{"LocalSubjectAccessReview", local_access}, {"SelfSubjectRulesReview", self_rules},
	{"SelfSubjectReview", self_review},	    {"TokenReview", token_review},
};

bool review_run(struct kube_request *r, struct json *body)
{
	if (!text_eq(r->verb, "create"))
		return false;
	for (size_t i = 0; i < array_len(reviews); i++)
		if (text_eq(reviews[i].kind, r->kind->name)) {
			reviews[i].answer(r, body);
			answer_json(r, 201, body);
			return true;
		}
	return false;
}
