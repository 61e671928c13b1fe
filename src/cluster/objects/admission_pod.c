/*
 * Admission of pods: the service account and its token, the priority, the runtime's overhead, and
 * how long a pod stays on a node that does not answer.
 */
#include <assert.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define TOKEN_PATH    "/var/run/secrets/kubernetes.io/serviceaccount"
#define TOKEN_SECONDS 3607
#define STAY_SECONDS  300

/* -- service account --------------------------------------------------------------------------- */

static struct json *source(const char *kind, struct json *what)
{
	struct json *o = json_new_object();

	json_set(o, kind, what);
	return o;
}

static struct json *item(const char *key, const char *path)
{
	struct json *o = json_new_object();

	json_set_text(o, "key", key);
	json_set_text(o, "path", path);
	return o;
}

static struct json *token_source(void)
{
	struct json *o = json_new_object();

	json_set_i64(o, "expirationSeconds", TOKEN_SECONDS);
	json_set_text(o, "path", "token");
	return source("serviceAccountToken", o);
}

static struct json *ca_source(void)
{
	struct json *o = json_new_object();

	json_set_text(o, "name", "kube-root-ca.crt");
	json_append(json_make_array(o, "items"), item("ca.crt", "ca.crt"));
	return source("configMap", o);
}

static struct json *namespace_source(void)
{
	struct json *o = json_new_object(), *file = json_new_object(), *ref = json_new_object();

	json_set_text(ref, "apiVersion", "v1");
	json_set_text(ref, "fieldPath", "metadata.namespace");
	json_set_text(file, "path", "namespace");
	json_set(file, "fieldRef", ref);
	json_append(json_make_array(o, "items"), file);
	return source("downwardAPI", o);
}

static bool mounts_token(const struct json *container)
{
	const struct json *list = json_get(container, "volumeMounts");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "mountPath"), TOKEN_PATH))
			return true;
	return false;
}

static size_t mount_in(struct json *list, const char *volume)
{
	size_t n = 0;

	for (size_t i = 0; i < json_len(list); i++) {
		struct json *mount;

		if (mounts_token(json_at(list, i)))
			continue;
		mount = json_new_object();
		json_set_text(mount, "name", volume);
		json_set_bool(mount, "readOnly", true);
		json_set_text(mount, "mountPath", TOKEN_PATH);
		json_append(json_make_array(json_at(list, i), "volumeMounts"), mount);
		n++;
	}
	return n;
}

static void mount_token(struct change *c, struct json *spec)
{
	struct json *volume, *projected;
	char name[32], hex[7];

	world_random_hex(c->objects->world, hex, 6);
	(void)snprintf(name, sizeof(name), "kube-api-access-%.5s", hex);
	if (mount_in(json_get(spec, "initContainers"), name) +
		    mount_in(json_get(spec, "containers"), name) ==
	    0)
		return;
	projected = json_new_object();
	json_append(json_make_array(projected, "sources"), token_source());
	json_append(json_make_array(projected, "sources"), ca_source());
	json_append(json_make_array(projected, "sources"), namespace_source());
	json_set_i64(projected, "defaultMode", 0644);
	volume = json_new_object();
	json_set_text(volume, "name", name);
	json_set(volume, "projected", projected);
	json_append(json_make_array(spec, "volumes"), volume);
}

static int service_account(struct change *c, struct json *spec)
{
	const struct kind *k = kind_of_resource("", "v1", "serviceaccounts");
	const char *name = json_get_text(spec, "serviceAccountName");
	const struct object *account;
	const struct json *tree, *secrets;
	bool automount;

	/* a mirror of what a node runs by itself has no account */
	if (json_get_text(json_get(json_get(c->object, "metadata"), "annotations"),
			  "kubernetes.io/config.mirror"))
		return 0;
	if (!name || !name[0])
		name = "default";
	account = objects_newest(c->objects, k, c->namespace, name);
	if (!account)
		return change_forbid(
			c,
			"error looking up service account %s/%s: serviceaccount \"%s\" "
			"not found",
			c->namespace, name, name);
	tree = object_tree(account);
	automount = json_get_bool(spec, "automountServiceAccountToken",
				  json_get_bool(tree, "automountServiceAccountToken", true));
	secrets = json_get(tree, "imagePullSecrets");
	if (json_len(secrets) && json_len(json_get(spec, "imagePullSecrets")) == 0)
		json_set(spec, "imagePullSecrets", json_copy(secrets));
	json_set_text(spec, "serviceAccountName", account->name);
	json_set_text(spec, "serviceAccount", account->name);
	if (automount)
		mount_token(c, spec);
	return 0;
}

/* -- priority ---------------------------------------------------------------------------------- */

static bool find_default(void *ctx, const struct object *o)
{
	const struct object **ret = ctx;

	if (json_get_bool(object_tree(o), "globalDefault", false))
		*ret = o;
	return true;
}

static int priority(struct change *c, struct json *spec)
{
	const struct kind *k = kind_of_resource("scheduling.k8s.io", "v1", "priorityclasses");
	const char *name = json_get_text(spec, "priorityClassName"), *policy = NULL;
	const struct object *class = NULL;
	int64_t value = 0;

	if (name && name[0]) {
		class = objects_newest(c->objects, k, NULL, name);
		if (!class)
			return change_forbid(c, "no PriorityClass with name %s was found", name);
	} else {
		objects_each(c->objects, k, NULL, find_default, &class);
	}
	if (class) {
		value = json_get_i64(object_tree(class), "value", 0);
		policy = json_get_text(object_tree(class), "preemptionPolicy");
		json_set_text(spec, "priorityClassName", class->name);
	}
	if (json_get(spec, "priority") && json_get_i64(spec, "priority", 0) != value)
		return change_forbid(c,
				     "the integer value of priority (%lld) must not be provided in "
				     "pod spec; priority admission controller computed %lld from "
				     "the given PriorityClass name",
				     (long long)json_get_i64(spec, "priority", 0),
				     (long long)value);
	json_set_i64(spec, "priority", value);
	json_set_text(spec, "preemptionPolicy", policy ? policy : "PreemptLowerPriority");
	return 0;
}

/* -- runtime class and tolerations ------------------------------------------------------------- */

static int runtime_class(struct change *c, struct json *spec)
{
	const char *name = json_get_text(spec, "runtimeClassName");
	const struct object *class;
	const struct json *overhead;

	if (!name || !name[0])
		return 0;
	class = objects_newest(c->objects, kind_of_resource("node.k8s.io", "v1", "runtimeclasses"),
			       NULL, name);
	if (!class)
		return change_forbid(c, "pod rejected: RuntimeClass \"%s\" not found", name);
	overhead = json_get(json_get(object_tree(class), "overhead"), "podFixed");
	if (overhead && !json_get(spec, "overhead"))
		json_set(spec, "overhead", json_copy(overhead));
	return 0;
}

static bool tolerates(const struct json *list, const char *key)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const char *k = json_get_text(json_at(list, i), "key");
		const char *effect = json_get_text(json_at(list, i), "effect");

		if ((!k || !k[0] || text_eq(k, key)) &&
		    (!effect || !effect[0] || text_eq(effect, "NoExecute")))
			return true;
	}
	return false;
}

static void stay(struct json *spec)
{
	static const char *const keys[] = {"node.kubernetes.io/not-ready",
					   "node.kubernetes.io/unreachable"};

	for (size_t i = 0; i < array_len(keys); i++) {
		struct json *list = json_make_array(spec, "tolerations"), *one;

		if (tolerates(list, keys[i]))
			continue;
		one = json_new_object();
		json_set_text(one, "key", keys[i]);
		json_set_text(one, "operator", "Exists");
		json_set_text(one, "effect", "NoExecute");
		json_set_i64(one, "tolerationSeconds", STAY_SECONDS);
		json_append(list, one);
	}
}

int admission_pod(struct change *c)
{
	struct json *spec = json_get(c->object, "spec");

	if (json_kind(spec) != JSON_OBJECT)
		return 0; /* validation says so */
	if (service_account(c, spec) < 0 || priority(c, spec) < 0 || runtime_class(c, spec) < 0)
		return -ERR_FORBIDDEN;
	stay(spec);
	return 0;
}
