/*
 * Grants: nobody hands out rights that he does not have. Whoever writes a role must have all that
 * its rules allow (or the right `escalate`), whoever writes a binding all that its role allows (or
 * `bind` on it).
 *
 * What a patch comes to is known only once it was applied: it is tried first, judged, and then
 * written as an update of just the version that was judged.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define RBAC "rbac.authorization.k8s.io"

static bool is_role(const struct kube_request *r)
{
	return text_eq(r->resource, "roles") || text_eq(r->resource, "clusterroles");
}

static bool may(const struct kube_request *r, const char *verb, const char *resource,
		const char *name)
{
	struct attributes a = {.who = &r->identity,
			       .verb = verb,
			       .group = RBAC,
			       .resource = resource,
			       .namespace = r->namespace,
			       .name = name};
	auto_strbuf struct strbuf why = {0};

	return rbac_allows(r->kube->rbac, &a, &why);
}

bool grant_is_judged(const struct kube_request *r)
{
	bool binding =
		text_eq(r->resource, "rolebindings") || text_eq(r->resource, "clusterrolebindings");

	if (!text_eq(r->group, RBAC) || (!binding && !is_role(r)))
		return false;
	return !may(r, "*", "*", ""); /* whoever may do all with roles needs no judging */
}

static int refuse(struct kube_request *r, const char *name, const char *missing)
{
	auto_strbuf struct strbuf groups = {0};

	for (size_t i = 0; r->identity.groups && r->identity.groups[i]; i++)
		strbuf_printf(&groups, "%s\"%s\"", i ? " " : "", r->identity.groups[i]);
	answer_status(r, 403, "Forbidden", NULL,
		      "%s." RBAC " \"%s\" is forbidden: user \"%s\" (groups=[%s]) is attempting to "
		      "grant RBAC permissions not currently held:\n%s",
		      r->resource, name, r->identity.user, strbuf_text(&groups), missing);
	return -ERR_FORBIDDEN;
}

static bool has_everything(const struct kube_request *r)
{
	struct attributes a = {.who = &r->identity, .verb = "*", .group = "*", .resource = "*"};
	auto_strbuf struct strbuf why = {0};

	return rbac_allows(r->kube->rbac, &a, &why);
}

static int check_role(struct kube_request *r, const struct json *object, const char *name)
{
	auto_strbuf struct strbuf missing = {0};

	if (may(r, "escalate", r->resource, name))
		return 0;
	if (json_get(object, "aggregationRule") && !has_everything(r))
		return refuse(r, name,
			      "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]} (the role "
			      "gathers the rules of others)");
	if (rbac_covers(r->kube->rbac, &r->identity, r->namespace, json_get(object, "rules"),
			&missing))
		return 0;
	return refuse(r, name, strbuf_text(&missing));
}

static int check_binding(struct kube_request *r, const struct json *object, const char *name)
{
	const struct json *ref = json_get(object, "roleRef");
	bool cluster = text_eq(json_get_text(ref, "kind"), "ClusterRole");
	const char *role = json_get_text(ref, "name");
	auto_strbuf struct strbuf missing = {0};
	auto_json struct json *rules = NULL;

	if (!role || may(r, "bind", cluster ? "clusterroles" : "roles", role))
		return 0;
	rules = rbac_bound_rules(r->kube->rbac, object, r->namespace);
	if (!rules) {
		answer_status(r, 404, "NotFound", NULL, "%s." RBAC " \"%s\" not found",
			      cluster ? "clusterroles" : "roles", role);
		return -ERR_NOT_FOUND;
	}
	if (rbac_covers(r->kube->rbac, &r->identity, r->namespace, rules, &missing))
		return 0;
	return refuse(r, name, strbuf_text(&missing));
}

int grant_check(struct kube_request *r, const struct json *object)
{
	const char *name = r->name[0] ? r->name : r->body_name;

	if (!grant_is_judged(r))
		return 0;
	if (!name)
		name = "";
	return is_role(r) ? check_role(r, object, name) : check_binding(r, object, name);
}

/* -- patches ----------------------------------------------------------------------------------- */

struct granting {
	struct kube_request *request;
	struct client_target target;
	enum patch_type how;
	struct json *patch;
	struct write_options options;
	client_done *done;
	char *revision; /* before the patch */
};

static void granting_free(struct granting *g)
{
	(void)json_free(g->patch);
	free(g->revision);
	free(g);
}

static void tried(void *ctx, const struct outcome *o)
{
	struct granting *g = ctx;
	struct kube_request *r = g->request;
	struct json *tree;

	if (o->error || !o->object) {
		g->done(r, o);
		granting_free(g);
		return;
	}
	if (grant_check(r, object_tree(o->object)) < 0) {
		granting_free(g);
		return;
	}
	tree = answer_tree(r->kind, o->object);
	json_set_text(json_get(tree, "metadata"), "resourceVersion", g->revision);
	client_update(&r->client, &g->target, tree, &g->options, g->done, r);
	granting_free(g);
}

static void looked(void *ctx, const struct outcome *o)
{
	struct granting *g = ctx;
	struct kube_request *r = g->request;
	struct write_options dry = g->options;

	if (o->error) {
		g->done(r, o);
		granting_free(g);
		return;
	}
	g->revision = mem_printf("%llu", (unsigned long long)o->object->revision);
	dry.dry_run = true;
	client_patch(&r->client, &g->target, g->how, take(g->patch), &dry, tried, g);
}

void grant_patch(struct kube_request *r, const struct client_target *t, enum patch_type how,
		 struct json *patch, const struct write_options *o, client_done *done)
{
	struct granting *g = mem_new(struct granting);

	*g = (struct granting){.request = r,
			       .target = *t,
			       .how = how,
			       .patch = patch,
			       .options = *o,
			       .done = done};
	client_get(&r->client, t, NULL, looked, g);
}
