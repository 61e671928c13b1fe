/*
 * The environment of a container: variables of services, of config maps and secrets, of the pod
 * itself, and the container's own, where a later one may name an earlier one as $(NAME).
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/base64.h"
#include "ground/format/quantity.h"

#define QUANTITY_ONE 1000000000 /* nanos in it */

static void set(char ***env, const char *name, const char *value)
{
	size_t n = strlen(name);
	char *pair = mem_printf("%s=%s", name, value ? value : "");

	for (char **at = *env; at && *at; at++)
		if (strncmp(*at, name, n) == 0 && (*at)[n] == '=') {
			free(*at);
			*at = pair;
			return;
		}
	mem_append_text(env, pair);
	free(pair);
}

static const char *get(char *const *env, struct str name)
{
	for (; env && *env; env++)
		if (strncmp(*env, name.p, name.n) == 0 && (*env)[name.n] == '=')
			return *env + name.n + 1;
	return NULL;
}

char *pod_expand(const char *text, char *const *env)
{
	auto_strbuf struct strbuf out = {0};

	for (const char *p = text ? text : ""; *p; p++) {
		const char *end = p[0] == '$' && p[1] == '(' ? strchr(p, ')') : NULL;
		const char *value =
			end ? get(env, (struct str){p + 2, (size_t)(end - p) - 2}) : NULL;

		if (p[0] == '$' && p[1] == '$') {
			strbuf_add_char(&out, '$');
			p++;
		} else if (value) {
			strbuf_add_text(&out, value);
			p = end;
		} else {
			strbuf_add_char(&out, *p);
		}
	}
	return strbuf_take(&out);
}

/* -- services ---------------------------------------------------------------------------------- */

static char *shout(const char *name)
{
	char *copy = mem_dup_text(name);

	for (char *p = copy; *p; p++)
		*p = (char)(*p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? *p - 32 : *p);
	return copy;
}

struct serving {
	char ***env;
	const char *namespace;
};

static bool add_service(void *ctx, const struct object *o)
{
	struct serving *s = ctx;
	const struct json *spec = json_get(object_tree(o), "spec"),
			  *ports = json_get(spec, "ports");
	const char *ip = json_get_text(spec, "clusterIP");
	auto_free char *name = shout(o->name), *host = mem_printf("%s_SERVICE_HOST", name),
		       *port = mem_printf("%s_SERVICE_PORT", name);
	char number[24];

	if (!ip || !ip[0] || text_eq(ip, "None") || json_len(ports) == 0)
		return true;
	if (!text_eq(o->namespace, s->namespace) &&
	    !(text_eq(o->namespace, "default") && text_eq(o->name, "kubernetes")))
		return true;
	(void)snprintf(number, sizeof(number), "%lld",
		       (long long)json_get_i64(json_at(ports, 0), "port", 0));
	set(s->env, host, ip);
	set(s->env, port, number);
	return true;
}

/* -- references -------------------------------------------------------------------------------- */

/* The value of one key, decoded; the caller's. NULL: e says what is missing, kind 0: it may be. */
static char *key_of(struct pod *p, const struct json *ref, bool secret, struct err *e)
{
	const char *name = json_get_text(ref, "name"), *key = json_get_text(ref, "key");
	bool optional = json_get_bool(ref, "optional", false);
	const struct object *o = informer_get(secret ? p->agent->secrets : p->agent->config_maps,
					      p->namespace, name ? name : "");
	const char *value =
		o ? json_get_text(json_get(object_tree(o), "data"), key ? key : "") : NULL;
	auto_strbuf struct strbuf plain = {0};

	err_clear(e);
	if (!value) {
		if (!optional && !o)
			(void)err_set(e, ERR_NOT_FOUND, "%s \"%s\" not found",
				      secret ? "secret" : "configmap", name ? name : "");
		else if (!optional)
			(void)err_set(e, ERR_NOT_FOUND, "couldn't find key %s in %s %s/%s",
				      key ? key : "", secret ? "Secret" : "ConfigMap", p->namespace,
				      name);
		return NULL;
	}
	if (!secret)
		return mem_dup_text(value);
	if (base64_decode(str_of(value), &plain, e) < 0)
		return NULL;
	return strbuf_take(&plain);
}

static int add_all(struct pod *p, const struct json *from, char ***env, struct err *e)
{
	static const char *const members[] = {"configMapRef", "secretRef"};
	const char *prefix = json_get_text(from, "prefix");

	for (size_t i = 0; i < array_len(members); i++) {
		const struct json *ref = json_get(from, members[i]);
		const char *name = json_get_text(ref, "name");
		const struct object *o;
		struct json_iter it = {0};
		struct json *value;
		const char *key;

		if (!name)
			continue;
		o = informer_get(i ? p->agent->secrets : p->agent->config_maps, p->namespace, name);
		if (!o && json_get_bool(ref, "optional", false))
			continue;
		if (!o)
			return err_set(e, ERR_NOT_FOUND, "%s \"%s\" not found",
				       i ? "secret" : "configmap", name);
		while (json_next(json_get(object_tree(o), "data"), &it, &key, &value)) {
			auto_free char *full = mem_printf("%s%s", prefix ? prefix : "", key);
			auto_strbuf struct strbuf plain = {0};

			if (i && base64_decode(json_str(value), &plain, e) < 0)
				return -ERR_INVALID;
			set(env, full, i ? strbuf_text(&plain) : json_text(value));
		}
	}
	return 0;
}

/* -- the pod's own facts ----------------------------------------------------------------------- */

static char *map_text(const struct json *map)
{
	auto_strbuf struct strbuf out = {0};
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(map, &it, &key, &value))
		strbuf_printf(&out, "%s%s=\"%s\"", out.n ? "\n" : "", key,
			      json_text(value) ? json_text(value) : "");
	return strbuf_take(&out);
}

static char *map_member(const struct json *map, const char *path)
{
	const char *open = strchr(path, '['), *quote = open ? strchr(open, '\'') : NULL;
	const char *end = quote ? strrchr(quote + 1, '\'') : NULL;
	auto_free char *key = NULL;

	if (!open)
		return map_text(map);
	if (!end)
		return NULL;
	key = str_dup((struct str){quote + 1, (size_t)(end - quote) - 1});
	return mem_dup_text(json_get_text(map, key) ? json_get_text(map, key) : "");
}

char *pod_field(const struct pod *p, const struct json *pod, const char *path)
{
	const struct json *meta = json_get(pod, "metadata"), *spec = json_get(pod, "spec");

	if (text_starts(path, "metadata.labels"))
		return map_member(json_get(meta, "labels"), path);
	if (text_starts(path, "metadata.annotations"))
		return map_member(json_get(meta, "annotations"), path);
	if (text_starts(path, "metadata."))
		return mem_dup_text(json_get_text(meta, path + strlen("metadata.")));
	if (text_starts(path, "spec."))
		return mem_dup_text(json_get_text(spec, path + strlen("spec.")));
	if (text_eq(path, "status.hostIP") || text_eq(path, "status.hostIPs"))
		return mem_dup_text(p->agent->o.address);
	if (text_eq(path, "status.podIP") || text_eq(path, "status.podIPs"))
		return mem_dup_text(pod_ip(p));
	return NULL;
}

/* What a container may use that set no limit: all that the node gives to pods. */
static const struct json *allocatable(const struct pod *p, const char *name)
{
	const struct object *o = informer_get(p->agent->nodes, NULL, p->agent->node_name);

	return o ? json_get(json_get(json_get(object_tree(o), "status"), "allocatable"), name)
		 : NULL;
}

char *pod_resource(const struct pod *p, const struct json *pod, const struct json *container,
		   const struct json *ref)
{
	const char *which = json_get_text(ref, "resource"),
		   *of = json_get_text(ref, "containerName");
	const char *divisor = json_get_text(ref, "divisor");
	const struct json *from = of ? podspec_container(json_get(pod, "spec"), of) : container;
	struct str rest = str_of(which ? which : ""), group;
	struct quantity q = {0}, by = {QUANTITY_ONE, QUANTITY_DECIMAL};
	auto_free char *kind = NULL, *name = NULL;
	const struct json *v;
	struct err e;

	(void)str_cut(&rest, '.', &group);
	kind = str_dup(group);
	name = str_dup(rest);
	v = json_get(json_get(json_get(from, "resources"), kind), name);
	if (!v && text_eq(kind, "limits"))
		v = allocatable(p, name);
	if (!v || quantity_parse(json_str(v), &q, &e) < 0)
		return mem_dup_text("0");
	if (divisor && (quantity_parse(str_of(divisor), &by, &e) < 0 || by.nano <= 0))
		by.nano = QUANTITY_ONE; /* "0" stands for 1 */
	return mem_printf("%lld", (long long)((q.nano + by.nano - 1) / by.nano));
}

/* -- all together ------------------------------------------------------------------------------ */

static int add_one(struct pod *p, const struct json *pod, const struct json *container,
		   const struct json *one, char ***env, struct err *e)
{
	const struct json *from = json_get(one, "valueFrom"), *ref;
	const char *name = json_get_text(one, "name");
	auto_free char *value = NULL;

	err_clear(e);
	if (!from)
		value = pod_expand(json_get_text(one, "value"), *env);
	else if ((ref = json_get(from, "fieldRef")) != NULL)
		value = pod_field(p, pod, json_get_text(ref, "fieldPath"));
	else if ((ref = json_get(from, "resourceFieldRef")) != NULL)
		value = pod_resource(p, pod, container, ref);
	else if ((ref = json_get(from, "configMapKeyRef")) != NULL)
		value = key_of(p, ref, false, e);
	else if ((ref = json_get(from, "secretKeyRef")) != NULL)
		value = key_of(p, ref, true, e);
	if (e->kind != ERR_NONE)
		return -(int)e->kind;
	if (value)
		set(env, name, value);
	return 0;
}

int pod_env(struct pod *p, const struct json *pod, const struct json *container, char ***ret,
	    struct err *e)
{
	const struct json *from = json_get(container, "envFrom"),
			  *list = json_get(container, "env");
	char **env = NULL;
	struct serving s = {&env, p->namespace};
	const char *hostname;
	int bad = 0;

	if (json_get_bool(json_get(pod, "spec"), "enableServiceLinks", true))
		informer_each(p->agent->services, NULL, add_service, &s);
	hostname = json_get_text(json_get(pod, "spec"), "hostname");
	set(&env, "HOSTNAME", hostname && hostname[0] ? hostname : p->name);
	for (size_t i = 0; i < json_len(from) && bad >= 0; i++)
		bad = add_all(p, json_at(from, i), &env, e);
	for (size_t i = 0; i < json_len(list) && bad >= 0; i++)
		bad = add_one(p, pod, container, json_at(list, i), &env, e);
	if (bad < 0) {
		(void)mem_free_texts(env);
		return bad;
	}
	*ret = env;
	return 0;
}
