/*
 * Impersonation: whoever has the right `impersonate` on a user, group, service account, uid or
 * extra may act as that one. He gives up his own identity for the request: only the new one is
 * judged afterwards.
 */
#include <string.h>
#include <strings.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define ACCOUNT	   "system:serviceaccount:"
#define EXTRA	   "Impersonate-Extra-"
#define GROUPS_MAX 64
#define AUTHN	   "authentication.k8s.io"

static int may_be(struct kube_request *r, struct attributes a)
{
	auto_strbuf struct strbuf why = {0};

	a.who = &r->identity;
	a.verb = "impersonate";
	if (rbac_allows(r->kube->rbac, &a, &why))
		return 0;
	answer_status(r, 403, "Forbidden", NULL,
		      "%s%s%s%s%s \"%s\" is forbidden: User \"%s\" cannot impersonate resource "
		      "\"%s%s%s\" in API group \"%s\" %s%s%s",
		      a.resource, a.group ? "." : "", a.group ? a.group : "", a.sub ? "/" : "",
		      a.sub ? a.sub : "", a.name, r->identity.user, a.resource, a.sub ? "/" : "",
		      a.sub ? a.sub : "", a.group ? a.group : "",
		      a.namespace ? "in the namespace \"" : "at the cluster scope",
		      a.namespace ? a.namespace : "", a.namespace ? "\"" : "");
	return -ERR_FORBIDDEN;
}

/* "system:serviceaccount:NS:NAME"; false: the user is none. */
static bool account_of(struct kube_request *r, const char *user, const char **ret_namespace,
		       const char **ret_name)
{
	struct str rest, namespace;

	if (!text_starts(user, ACCOUNT))
		return false;
	rest = str_of(user + strlen(ACCOUNT));
	if (!str_cut(&rest, ':', &namespace) || namespace.n == 0 || rest.n == 0)
		return false;
	*ret_namespace = arena_dup(&r->arena, namespace);
	*ret_name = arena_dup(&r->arena, rest);
	return true;
}

static int may_be_user(struct kube_request *r, const char *user, const char **ret_namespace)
{
	const char *name = NULL;

	*ret_namespace = NULL;
	if (account_of(r, user, ret_namespace, &name))
		return may_be(r, (struct attributes){.resource = "serviceaccounts",
						     .namespace = *ret_namespace,
						     .name = name});
	return may_be(r, (struct attributes){.resource = "users", .name = user});
}

static int may_have_extras(struct kube_request *r)
{
	const char *name, *value;

	for (size_t i = 0; http_request_each_header(r->http, i, &name, &value); i++) {
		if (strncasecmp(name, EXTRA, strlen(EXTRA)) != 0)
			continue;
		if (may_be(r, (struct attributes){.group = AUTHN,
						  .resource = "userextras",
						  .sub = name + strlen(EXTRA),
						  .name = value}) < 0)
			return -ERR_FORBIDDEN;
	}
	return 0;
}

static int refuse(struct kube_request *r, int code, const char *what)
{
	answer_status(r, code, status_reason(code, ERR_INTERNAL), NULL, "%s", what);
	return -ERR_INVALID;
}

static int read_groups(struct kube_request *r, const char *ret[GROUPS_MAX + 1])
{
	const char *group;
	size_t n = 0;

	while ((group = http_request_header_at(r->http, "Impersonate-Group", n)) != NULL) {
		if (n == GROUPS_MAX)
			return refuse(r, 400, "more than 64 groups are impersonated");
		if (may_be(r, (struct attributes){.resource = "groups", .name = group}) < 0)
			return -ERR_FORBIDDEN;
		ret[n++] = group;
	}
	ret[n] = NULL;
	return 0;
}

int impersonate(struct kube_request *r)
{
	const char *user = http_request_header(r->http, "Impersonate-User");
	const char *uid = http_request_header(r->http, "Impersonate-Uid");
	const char *groups[GROUPS_MAX + 1], *namespace;
	const char *all = "system:authenticated";

	if (!user || !user[0]) {
		if (uid || http_request_header(r->http, "Impersonate-Group"))
			return refuse(r, 500,
				      "Internal Server Error: groups or a uid are impersonated "
				      "without a user");
		return 0;
	}
	if (may_be_user(r, user, &namespace) < 0 || read_groups(r, groups) < 0 ||
	    may_have_extras(r) < 0)
		return -ERR_FORBIDDEN;
	if (uid &&
	    may_be(r, (struct attributes){.group = AUTHN, .resource = "uids", .name = uid}) < 0)
		return -ERR_FORBIDDEN;
	if (text_eq(user, "system:anonymous"))
		all = "system:unauthenticated";
	r->identity.user = arena_dup_text(&r->arena, user);
	r->identity.uid = arena_dup_text(&r->arena, uid);
	if (namespace && !groups[0])
		r->identity.groups = account_groups(&r->arena, namespace);
	else
		r->identity.groups = groups_with(&r->arena, groups, all);
	return 0;
}
