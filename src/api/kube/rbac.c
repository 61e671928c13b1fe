/*
 * Roles: who may do what, out of the Roles and bindings of the cluster, which are mirrored here by
 * watches. A rule allows; nothing forbids. Members of system:masters may do everything: that is how
 * a cluster without roles can be repaired.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

enum { ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS, MIRRORS };

static const char *const resources[MIRRORS] = {"roles", "clusterroles", "rolebindings",
					       "clusterrolebindings"};

struct mirror {
	struct rbac *rbac;
	struct map objects; /* "ns/name" -> struct json *, the mirror's */
	struct client_watch *watch;
	const struct kind *kind;
};

struct rbac {
	struct kube *kube;
	struct mirror mirrors[MIRRORS];
};

/* -- the mirror -------------------------------------------------------------------------------- */

static void changed(void *ctx, const struct watch_event *v)
{
	struct mirror *m = ctx;
	char key[OBJECT_KEY_MAX];

	if (!v->object)
		return;
	object_key(v->object, key);
	if (v->type == WATCH_DELETED)
		(void)json_free(map_remove(&m->objects, key));
	else
		(void)json_free(map_put(&m->objects, key, object_copy(v->object)));
}

static void begin(struct mirror *m);

static void forget(struct mirror *m)
{
	map_each (&m->objects, it)
		(void)json_free(it->value);
	map_done(&m->objects);
}

/* What was taken back meanwhile is not told: rather nobody may for a moment than somebody still. */
static void broke(void *ctx, const struct err *e)
{
	(void)e;
	forget(ctx);
	begin(ctx);
}

static void begin(struct mirror *m)
{
	client_watch(&m->rbac->kube->client, &(struct client_target){m->kind}, NULL,
		     &(struct watch_sink){changed, broke, m}, &m->watch);
}

struct rbac *rbac_new(struct kube *k)
{
	struct rbac *r = mem_new(struct rbac);

	r->kube = k;
	for (size_t i = 0; i < MIRRORS; i++) {
		r->mirrors[i].rbac = r;
		r->mirrors[i].kind =
			kind_of_resource("rbac.authorization.k8s.io", "v1", resources[i]);
		begin(&r->mirrors[i]);
	}
	return r;
}

struct rbac *rbac_free(struct rbac *r)
{
	for (size_t i = 0; r && i < MIRRORS; i++) {
		client_unwatch(&r->kube->client, r->mirrors[i].watch);
		forget(&r->mirrors[i]);
	}
	free(r);
	return NULL;
}

/* -- rules ------------------------------------------------------------------------------------- */

static bool lists(const struct json *list, const char *text)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const char *one = json_text(json_at(list, i));

		if (text_eq(one, "*") || text_eq(one, text))
			return true;
	}
	return false;
}

static bool lists_resource(const struct json *list, const struct attributes *a)
{
	auto_free char *full = a->sub ? mem_printf("%s/%s", a->resource, a->sub) : NULL;
	auto_free char *any = a->sub ? mem_printf("*/%s", a->sub) : NULL;

	for (size_t i = 0; i < json_len(list); i++) {
		const char *one = json_text(json_at(list, i));

		if (text_eq(one, "*") || text_eq(one, full ? full : a->resource) ||
		    (any && text_eq(one, any)))
			return true;
	}
	return false;
}

static bool lists_path(const struct json *list, const char *path)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const char *one = json_text(json_at(list, i));
		size_t n = one ? strlen(one) : 0;

		if (text_eq(one, path) ||
		    (n && one[n - 1] == '*' && strncmp(one, path, n - 1) == 0))
			return true;
	}
	return false;
}

static bool rule_allows(const struct json *rule, const struct attributes *a)
{
	const struct json *names = json_get(rule, "resourceNames");

	if (!lists(json_get(rule, "verbs"), a->verb))
		return false;
	if (a->path)
		return lists_path(json_get(rule, "nonResourceURLs"), a->path);
	return lists(json_get(rule, "apiGroups"), a->group ? a->group : "") &&
	       lists_resource(json_get(rule, "resources"), a) &&
	       (json_len(names) == 0 || (a->name && a->name[0] && lists(names, a->name)));
}

static bool selected_by(const struct json *selector, const struct json *labels)
{
	auto_arena struct arena a = {0};
	struct selector s;
	struct err e;

	return selector_of_json(selector, &a, &s, &e) == 0 && selector_matches(&s, labels);
}

typedef bool rule_fn(void *ctx, const struct json *rule);

static bool each_rule(const struct json *list, rule_fn *fn, void *ctx)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (fn(ctx, json_at(list, i)))
			return true;
	return false;
}

/* The rules of a role, those that it gathers from others included; true when fn stops. */
static bool role_rules(const struct rbac *r, const struct json *role, rule_fn *fn, void *ctx)
{
	const struct json *gather =
		json_get(json_get(role, "aggregationRule"), "clusterRoleSelectors");

	if (each_rule(json_get(role, "rules"), fn, ctx))
		return true;
	for (size_t i = 0; i < json_len(gather); i++)
		map_each (&r->mirrors[CLUSTER_ROLES].objects, it) {
			const struct json *labels =
				json_get(json_get(it->value, "metadata"), "labels");

			if (it->value != role && selected_by(json_at(gather, i), labels) &&
			    !json_get(it->value, "aggregationRule") &&
			    each_rule(json_get(it->value, "rules"), fn, ctx))
				return true;
		}
	return false;
}

/* -- bindings ---------------------------------------------------------------------------------- */

static bool is_account(const char *user, const char *namespace, const char *name)
{
	auto_free char *full =
		mem_printf("system:serviceaccount:%s:%s", namespace ? namespace : "", name);

	return text_eq(user, full);
}

static bool is_subject(const struct json *subject, const struct identity *who,
		       const char *namespace)
{
	const char *kind = json_get_text(subject, "kind"), *name = json_get_text(subject, "name");
	const char *ns = json_get_text(subject, "namespace");

	if (text_eq(kind, "User"))
		return text_eq(name, who->user);
	if (text_eq(kind, "ServiceAccount"))
		return is_account(who->user, ns && ns[0] ? ns : namespace, name);
	for (size_t i = 0; who->groups && who->groups[i]; i++)
		if (text_eq(kind, "Group") && text_eq(name, who->groups[i]))
			return true;
	return false;
}

static bool binds(const struct json *binding, const struct identity *who, const char *namespace)
{
	const struct json *subjects = json_get(binding, "subjects");

	for (size_t i = 0; i < json_len(subjects); i++)
		if (is_subject(json_at(subjects, i), who, namespace))
			return true;
	return false;
}

static const struct json *role_of(const struct rbac *r, const struct json *binding,
				  const char *namespace)
{
	const struct json *ref = json_get(binding, "roleRef");
	const char *name = json_get_text(ref, "name");
	auto_free char *key = NULL;

	if (!name)
		return NULL;
	if (text_eq(json_get_text(ref, "kind"), "ClusterRole"))
		return map_get(&r->mirrors[CLUSTER_ROLES].objects, name);
	key = mem_printf("%s/%s", namespace ? namespace : "", name);
	return map_get(&r->mirrors[ROLES].objects, key);
}

static bool bound_rules(const struct rbac *r, const struct identity *who, const char *namespace,
			int mirror, rule_fn *fn, void *ctx)
{
	map_each (&r->mirrors[mirror].objects, it) {
		const char *ns = json_get_text(json_get(it->value, "metadata"), "namespace");
		const struct json *role;

		if (mirror == BINDINGS && !text_eq(ns, namespace))
			continue;
		if (!binds(it->value, who, ns))
			continue;
		role = role_of(r, it->value, ns);
		if (role && role_rules(r, role, fn, ctx))
			return true;
	}
	return false;
}

static bool everybody_rules(const struct rbac *r, const struct identity *who, const char *namespace,
			    rule_fn *fn, void *ctx)
{
	return bound_rules(r, who, namespace, CLUSTER_BINDINGS, fn, ctx) ||
	       (namespace && namespace[0] && bound_rules(r, who, namespace, BINDINGS, fn, ctx));
}

static bool is_master(const struct identity *who)
{
	for (size_t i = 0; who->groups && who->groups[i]; i++)
		if (text_eq(who->groups[i], "system:masters"))
			return true;
	return false;
}

static bool allows(void *ctx, const struct json *rule)
{
	return rule_allows(rule, ctx);
}

bool rbac_allows(const struct rbac *r, const struct attributes *a, struct strbuf *why)
{
	struct attributes ask = *a;

	if (is_master(a->who)) {
		strbuf_add_text(why, "member of system:masters");
		return true;
	}
	if (!everybody_rules(r, a->who, a->namespace, allows, &ask))
		return false;
	strbuf_printf(why, "RBAC: a role of %s allows it", a->who->user);
	return true;
}

struct collecting {
	struct json *resources, *paths;
};

static bool collect(void *ctx, const struct json *rule)
{
	struct collecting *c = ctx;

	json_append(json_len(json_get(rule, "nonResourceURLs")) ? c->paths : c->resources,
		    json_copy(rule));
	return false;
}

void rbac_rules(const struct rbac *r, const struct identity *who, const char *namespace,
		struct json *resource_rules, struct json *path_rules)
{
	struct collecting c = {resource_rules, path_rules};

	if (is_master(who)) {
		struct json *all = NULL;
		struct err e;

		if (json_parse(STR("{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],"
				   "\"resources\":[\"*\"]}"),
			       "rule", &all, &e) == 0)
			json_append(resource_rules, all);
	}
	(void)everybody_rules(r, who, namespace, collect, &c);
}

/* -- grants ------------------------------------------------------------------------------------ */

/* One right out of a rule: what would have to be asked for it. */
static bool has_right(const struct rbac *r, struct attributes *a, const char *resource)
{
	auto_free char *head = NULL;
	const char *slash = resource ? strchr(resource, '/') : NULL;

	if (slash) {
		head = str_dup((struct str){resource, (size_t)(slash - resource)});
		a->resource = head;
		a->sub = slash + 1;
	} else {
		a->resource = resource;
		a->sub = NULL;
	}
	return everybody_rules(r, a->who, a->namespace, allows, a);
}

static const char *text_at(const struct json *list, size_t i)
{
	const char *text = json_text(json_at(list, i));

	return text ? text : "";
}

/* All of resources x groups x names for one verb. */
static bool has_resources(const struct rbac *r, struct attributes *a, const struct json *rule)
{
	const struct json *groups = json_get(rule, "apiGroups"),
			  *resource = json_get(rule, "resources"),
			  *names = json_get(rule, "resourceNames");
	size_t names_n = json_len(names) ? json_len(names) : 1;
	size_t all = json_len(groups) * json_len(resource) * names_n;

	for (size_t i = 0; i < all; i++) {
		a->name = json_len(names) ? text_at(names, i % names_n) : "";
		a->group = text_at(groups, i / names_n % json_len(groups));
		if (!has_right(r, a, text_at(resource, i / names_n / json_len(groups))))
			return false;
	}
	return true;
}

static bool has_rule(const struct rbac *r, const struct identity *who, const char *namespace,
		     const struct json *rule)
{
	const struct json *verbs = json_get(rule, "verbs"),
			  *paths = json_get(rule, "nonResourceURLs");

	for (size_t v = 0; v < json_len(verbs); v++) {
		struct attributes a = {
			.who = who, .verb = text_at(verbs, v), .namespace = namespace};

		if (!has_resources(r, &a, rule))
			return false;
		for (size_t i = 0; i < json_len(paths); i++) {
			a = (struct attributes){
				.who = who, .verb = text_at(verbs, v), .path = text_at(paths, i)};
			if (!everybody_rules(r, who, namespace, allows, &a))
				return false;
		}
	}
	return true;
}

static void rule_text(const struct json *rule, struct strbuf *out)
{
	static const char *const rows[][2] = {{"apiGroups", "APIGroups"},
					      {"resources", "Resources"},
					      {"resourceNames", "ResourceNames"},
					      {"nonResourceURLs", "NonResourceURLs"},
					      {"verbs", "Verbs"}};
	const char *comma = "";

	strbuf_add_char(out, '{');
	for (size_t i = 0; i < array_len(rows); i++) {
		const struct json *list = json_get(rule, rows[i][0]);

		if (json_len(list) == 0)
			continue;
		strbuf_printf(out, "%s%s:[", comma, rows[i][1]);
		for (size_t j = 0; j < json_len(list); j++)
			strbuf_printf(out, "%s\"%s\"", j ? " " : "", text_at(list, j));
		strbuf_add_char(out, ']');
		comma = ", ";
	}
	strbuf_add_char(out, '}');
}

bool rbac_covers(const struct rbac *r, const struct identity *who, const char *namespace,
		 const struct json *rules, struct strbuf *missing)
{
	bool all = true;

	if (is_master(who))
		return true;
	for (size_t i = 0; i < json_len(rules); i++) {
		if (has_rule(r, who, namespace, json_at(rules, i)))
			continue;
		if (!all)
			strbuf_add_char(missing, '\n');
		rule_text(json_at(rules, i), missing);
		all = false;
	}
	return all;
}

static bool gather(void *ctx, const struct json *rule)
{
	json_append(ctx, json_copy(rule));
	return false;
}

struct json *rbac_bound_rules(const struct rbac *r, const struct json *binding,
			      const char *namespace)
{
	const struct json *role = role_of(r, binding, namespace);
	struct json *rules;

	if (!role)
		return NULL;
	rules = json_new_array();
	(void)role_rules(r, role, gather, rules);
	return rules;
}

/* -- requests ---------------------------------------------------------------------------------- */

int authorize(struct kube_request *r)
{
	struct attributes a = {.who = &r->identity,
			       .verb = r->verb,
			       .group = r->group,
			       .resource = r->resource,
			       .sub = r->sub,
			       .namespace = r->namespace,
			       .name = r->name};
	auto_strbuf struct strbuf why = {0};
	auto_free char *scope = NULL;

	if (!r->group[0] && text_eq(r->resource, "namespaces"))
		a.namespace = r->name; /* it is thought to lie within itself */
	if (rbac_allows(r->kube->rbac, &a, &why))
		return 0;
	scope = a.namespace[0] ? mem_printf("in the namespace \"%s\"", a.namespace)
			       : mem_dup_text("at the cluster scope");
	answer_status(r, 403, "Forbidden", NULL,
		      "%s%s%s%s%s%s%s is forbidden: User \"%s\" cannot %s resource \"%s%s%s\" in "
		      "API group \"%s\" %s",
		      r->resource, r->group[0] ? "." : "", r->group, r->name[0] ? " \"" : "",
		      r->name, r->name[0] ? "\"" : "", "", r->identity.user, r->verb, r->resource,
		      r->sub ? "/" : "", r->sub ? r->sub : "", r->group, scope);
	return -ERR_FORBIDDEN;
}

int authorize_path(struct kube_request *r, const char *path)
{
	static const char *const verbs[][2] = {
		{"GET", "get"},	    {"HEAD", "head"},	  {"POST", "post"},	 {"PUT", "put"},
		{"PATCH", "patch"}, {"DELETE", "delete"}, {"OPTIONS", "options"}};
	struct attributes a = {.who = &r->identity, .verb = "", .path = path};
	auto_strbuf struct strbuf why = {0};

	for (size_t i = 0; i < array_len(verbs); i++)
		if (text_eq(verbs[i][0], http_request_method(r->http)))
			a.verb = verbs[i][1];
	if (page_is_open(path) || rbac_allows(r->kube->rbac, &a, &why))
		return 0;
	answer_status(r, 403, "Forbidden", NULL, "forbidden: User \"%s\" cannot %s path \"%s\"",
		      r->identity.user, a.verb, path);
	return -ERR_FORBIDDEN;
}
