/*
 * Discovery: what this server serves, out of the kinds' tables. /api, /apis, and one list of
 * resources for each group version; or all of it at once, where a client accepts that.
 */
#include <assert.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

static struct json *new_kind(const char *kind)
{
	struct json *j = json_new_object();

	json_set_text(j, "kind", kind);
	json_set_text(j, "apiVersion", "v1");
	return j;
}

static struct json *strings(const char *const *list)
{
	struct json *j = json_new_array();

	for (size_t i = 0; list[i]; i++)
		json_append(j, json_new_text(list[i]));
	return j;
}

/* -- one group version ------------------------------------------------------------------------- */

static void set_verbs(struct json *j, const char *text)
{
	struct json *list = json_new_array();
	struct str rest = str_of(text), one;

	while (str_cut(&rest, ' ', &one))
		json_append(list, json_new_str(one));
	json_set(j, "verbs", list);
}

static const char *verbs_of(const struct kind *k)
{
	if (k->flags & KIND_NO_STORE)
		return "create";
	if (k->flags & KIND_COMPUTED)
		return "get list";
	if (kind_is(k, "", "Namespace"))
		return "create delete get list patch update watch";
	return "create delete deletecollection get list patch update watch";
}

static struct json *resource(const struct kind *k)
{
	struct json *j = json_new_object();

	json_set_text(j, "name", k->plural);
	json_set_text(j, "singularName", k->singular);
	json_set_bool(j, "namespaced", k->flags & KIND_NAMESPACED);
	json_set_text(j, "kind", k->name);
	set_verbs(j, verbs_of(k));
	if (k->short_names[0])
		json_set(j, "shortNames", strings(k->short_names));
	if (k->categories[0])
		json_set(j, "categories", strings(k->categories));
	return j;
}

static const struct sub_row {
	const char *name, *kind, *group, *version, *verbs;
} subs[] = {
	{"status", NULL, NULL, NULL, "get patch update"},
	{"scale", "Scale", "autoscaling", "v1", "get patch update"},
	{"binding", "Binding", NULL, NULL, "create"},
	{"eviction", "Eviction", "policy", "v1", "create"},
	{"log", NULL, NULL, NULL, "get"},
	{"exec", "PodExecOptions", NULL, NULL, "create get"},
	{"attach", "PodAttachOptions", NULL, NULL, "create get"},
	{"portforward", "PodPortForwardOptions", NULL, NULL, "create get"},
	{"proxy", "PodProxyOptions", NULL, NULL, "create delete get patch update"},
	{"ephemeralcontainers", NULL, NULL, NULL, "get patch update"},
	{"token", "TokenRequest", "authentication.k8s.io", "v1", "create"},
	{"finalize", NULL, NULL, NULL, "update"},
	{"approval", NULL, NULL, NULL, "get patch update"},
};

static struct json *sub_resource(const struct kind *k, const char *sub)
{
	struct json *j = json_new_object();
	auto_free char *name = mem_printf("%s/%s", k->plural, sub);
	const struct sub_row *row = NULL;

	for (size_t i = 0; i < array_len(subs); i++)
		if (text_eq(subs[i].name, sub))
			row = &subs[i];
	json_set_text(j, "name", name);
	json_set_text(j, "singularName", "");
	json_set_bool(j, "namespaced", k->flags & KIND_NAMESPACED);
	if (row && row->group) {
		json_set_text(j, "group", row->group);
		json_set_text(j, "version", row->version);
	}
	json_set_text(j, "kind", row && row->kind ? row->kind : k->name);
	set_verbs(j, row ? row->verbs : "get");
	return j;
}

static bool is_in(const struct kind *k, const char *group, const char *version)
{
	return text_eq(k->group, group) && text_eq(k->version, version) && k->plural[0];
}

static bool resources_page(struct kube_request *r, const char *group, const char *version)
{
	struct json *j = new_kind("APIResourceList"), *list = json_new_array();
	auto_free char *api =
		group[0] ? mem_printf("%s/%s", group, version) : mem_dup_text(version);
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)) != NULL; i++) {
		if (!is_in(k, group, version))
			continue;
		json_append(list, resource(k));
		for (size_t s = 0; k->subs[s]; s++)
			json_append(list, sub_resource(k, k->subs[s]));
	}
	json_set_text(j, "groupVersion", api);
	json_set(j, "resources", list);
	if (json_len(list) == 0) {
		(void)json_free(j);
		return false;
	}
	answer_json(r, 200, j);
	return true;
}

/* -- groups ------------------------------------------------------------------------------------ */

static bool seen_before(size_t i, bool version_too)
{
	const struct kind *k = kind_at(i), *other;

	for (size_t j = 0; j < i; j++) {
		other = kind_at(j);
		if (other->plural[0] && text_eq(other->group, k->group) &&
		    (!version_too || text_eq(other->version, k->version)))
			return true;
	}
	return false;
}

static struct json *version_of(const struct kind *k)
{
	struct json *j = json_new_object();
	char api[128];

	json_set_text(j, "groupVersion", kind_api(k, api, sizeof(api)));
	json_set_text(j, "version", k->version);
	return j;
}

static struct json *group_of(const char *group)
{
	struct json *j = json_new_object(), *versions = json_new_array();
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)) != NULL; i++)
		if (k->plural[0] && text_eq(k->group, group) && !seen_before(i, true))
			json_append(versions, version_of(k));
	json_set_text(j, "name", group);
	json_set(j, "versions", versions);
	json_set(j, "preferredVersion", json_copy(json_at(versions, 0)));
	return j;
}

static void groups_page(struct kube_request *r)
{
	struct json *j = new_kind("APIGroupList"), *list = json_new_array();
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)) != NULL; i++)
		if (k->plural[0] && k->group[0] && !seen_before(i, false))
			json_append(list, group_of(k->group));
	json_set(j, "groups", list);
	answer_json(r, 200, j);
}

static void api_page(struct kube_request *r)
{
	struct json *j = new_kind("APIVersions"), *versions = json_new_array(),
		    *addresses = json_new_array(), *one = json_new_object();

	json_append(versions, json_new_text("v1"));
	json_set(j, "versions", versions);
	json_set_text(one, "clientCIDR", "0.0.0.0/0");
	json_set_text(one, "serverAddress", r->kube->o.address);
	json_append(addresses, one);
	json_set(j, "serverAddressByClientCIDRs", addresses);
	answer_json(r, 200, j);
}

static bool group_page(struct kube_request *r, const char *group)
{
	struct json *j = group_of(group);

	if (json_len(json_get(j, "versions")) == 0) {
		(void)json_free(j);
		return false;
	}
	json_set_text(j, "kind", "APIGroup");
	json_set_text(j, "apiVersion", "v1");
	answer_json(r, 200, j);
	return true;
}

/* -- all at once ------------------------------------------------------------------------------- */

static struct json *response_kind(const struct kind *k, const struct json *resource)
{
	struct json *j = json_new_object();
	const char *group = json_get_text(resource, "group");
	const char *version = json_get_text(resource, "version");

	json_set_text(j, "group", group ? group : k->group);
	json_set_text(j, "version", version ? version : k->version);
	json_set_text(j, "kind", json_get_text(resource, "kind"));
	return j;
}

static void copy_member(struct json *to, const char *as, const struct json *from, const char *name)
{
	if (json_get(from, name))
		json_set(to, as, json_copy(json_get(from, name)));
}

static struct json *discovered_sub(const struct kind *k, const char *name)
{
	auto_json struct json *plain = sub_resource(k, name);
	struct json *j = json_new_object();

	json_set_text(j, "subresource", name);
	json_set(j, "responseKind", response_kind(k, plain));
	copy_member(j, "verbs", plain, "verbs");
	return j;
}

static struct json *discovered(const struct kind *k)
{
	auto_json struct json *plain = resource(k);
	struct json *j = json_new_object(), *list = json_new_array();
	bool namespaced = k->flags & KIND_NAMESPACED;

	json_set_text(j, "resource", k->plural);
	json_set(j, "responseKind", response_kind(k, plain));
	json_set_text(j, "scope", namespaced ? "Namespaced" : "Cluster");
	json_set_text(j, "singularResource", k->singular);
	copy_member(j, "verbs", plain, "verbs");
	copy_member(j, "shortNames", plain, "shortNames");
	copy_member(j, "categories", plain, "categories");
	for (size_t i = 0; k->subs[i]; i++)
		json_append(list, discovered_sub(k, k->subs[i]));
	if (json_len(list))
		json_set(j, "subresources", list);
	else
		(void)json_free(list);
	return j;
}

static struct json *discovered_version(const char *group, const char *version)
{
	struct json *j = json_new_object(), *list = json_new_array();
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)) != NULL; i++)
		if (is_in(k, group, version))
			json_append(list, discovered(k));
	json_set_text(j, "version", version);
	json_set(j, "resources", list);
	json_set_text(j, "freshness", "Current");
	return j;
}

static struct json *discovered_group(const char *group)
{
	struct json *j = json_new_object(), *meta = json_new_object(), *versions = json_new_array();
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)) != NULL; i++)
		if (k->plural[0] && text_eq(k->group, group) && !seen_before(i, true))
			json_append(versions, discovered_version(group, k->version));
	json_set_text(meta, "name", group);
	json_set(j, "metadata", meta);
	json_set(j, "versions", versions);
	return j;
}

/* "v2" or "v2beta1", whichever the client names first; NULL: it wants plain lists. */
static const char *accepted_form(const struct kube_request *r)
{
	const char *accept = http_request_header(r->http, "Accept");
	struct str rest = str_of(accept ? accept : ""), one;

	while (str_cut(&rest, ',', &one)) {
		auto_free char *text = str_dup(str_trim(one));

		if (!strstr(text, "as=APIGroupDiscoveryList"))
			return NULL;
		if (!text_starts(text, "application/json"))
			continue;
		if (strstr(text, "v=v2beta1"))
			return "v2beta1";
		if (strstr(text, "v=v2"))
			return "v2";
	}
	return NULL;
}

static void discovery_all(struct kube_request *r, const char *form, bool core)
{
	auto_free char *api = mem_printf("apidiscovery.k8s.io/%s", form);
	auto_free char *type = mem_printf(
		"application/json;g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList", form);
	auto_json struct json *j = json_new_object();
	auto_strbuf struct strbuf out = {0};
	struct json *list = json_new_array();
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)) != NULL; i++)
		if (k->plural[0] && (k->group[0] == '\0') == core && !seen_before(i, false))
			json_append(list, discovered_group(k->group));
	json_set_text(j, "kind", "APIGroupDiscoveryList");
	json_set_text(j, "apiVersion", api);
	json_set(j, "metadata", json_new_object());
	json_set(j, "items", list);
	json_write(j, &out);
	http_reply_header(r->http, "Vary", "Accept");
	answer_text(r, 200, type, strbuf_str(&out));
}

/* The two roots, in the form that is asked for. */
static void root_of(struct kube_request *r, bool core)
{
	const char *form = accepted_form(r);

	if (form)
		discovery_all(r, form, core);
	else if (core)
		api_page(r);
	else
		groups_page(r);
}

bool discovery_page(struct kube_request *r, const char *path)
{
	struct str rest, group, version;

	if (text_eq(path, "/api")) {
		root_of(r, true);
		return true;
	}
	if (text_eq(path, "/apis")) {
		root_of(r, false);
		return true;
	}
	if (text_starts(path, "/api/"))
		return resources_page(r, "", path + strlen("/api/"));
	if (!text_starts(path, "/apis/"))
		return false;
	rest = str_of(path + strlen("/apis/"));
	(void)str_cut(&rest, '/', &group);
	if (!str_cut(&rest, '/', &version) || version.n == 0)
		return group_page(r, arena_dup(&r->arena, group));
	return resources_page(r, arena_dup(&r->arena, group), arena_dup(&r->arena, version));
}
