/*
 * Images of containers: here, whoever brought them, or pulled. "Always" asks the registry again for
 * what came from one; what was loaded or built here has no registry to ask. Credentials are those
 * of the pod's imagePullSecrets for the image's registry.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/node/agent_priv.h"
#include "engine/images.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/base64.h"
#include "ground/wire/loop.h"

#define HUB "docker.io"

static const char *image_of(const struct pod_container *c)
{
	const char *image = json_get_text(container_spec_now(c), "image");

	return image ? image : "";
}

static void pulled(void *ctx, const struct err *e)
{
	struct pod_container *c = ctx;

	c->busy = false;
	if (e) {
		auto_free char *text =
			mem_printf("Failed to pull image \"%s\": %s", image_of(c), e->text);

		container_failed(c, c->backoff_s ? "ImagePullBackOff" : "ErrImagePull", text);
	} else {
		container_clear(c);
		c->pulled = true;
		c->backoff_s = 0;
		node_event(c->pod, "Normal", "Pulled", c->name,
			   "Successfully pulled image \"%s\" in %lldms", image_of(c),
			   (long long)(loop_now_ms(c->pod->agent->loop) - c->pull_began_ms));
	}
	pod_again(c->pod);
}

/* Whether it is here, and whether we had it from a registry. */
static bool have_image(struct pod_container *c, const char *image, bool *ret_pulled)
{
	auto_arena struct arena a = {0};
	struct image_view *v;
	struct err e;

	if (engine_image_inspect(c->pod->agent->user, image, &a, &v, &e) < 0)
		return false;
	*ret_pulled = v->digests[0] != NULL;
	return true;
}

/* -- credentials ------------------------------------------------------------------------------- */

/* "registry:5000/name" -> "registry:5000"; a first part without dot and colon is no registry. */
static char *registry_of(const char *image)
{
	struct str rest = str_of(image), first;

	if (!strchr(image, '/') || !str_cut(&rest, '/', &first))
		return mem_dup_text(HUB);
	if (!memchr(first.p, '.', first.n) && !memchr(first.p, ':', first.n) &&
	    !str_is(first, "localhost"))
		return mem_dup_text(HUB);
	return str_dup(first);
}

/* A key of the "auths": "https://index.docker.io/v1/", "registry:5000". */
static bool is_for(const char *key, const char *registry)
{
	const char *host = strstr(key, "://");

	host = host ? host + 3 : key;
	if (text_eq(registry, HUB))
		return text_starts(host, "index.docker.io") || text_starts(host, HUB);
	return text_starts(host, registry) &&
	       (host[strlen(registry)] == '\0' || host[strlen(registry)] == '/');
}

static void take_auth(const struct json *auth, struct arena *a, struct registry_auth *ret)
{
	const char *both = json_get_text(auth, "auth");
	auto_strbuf struct strbuf plain = {0};
	struct str rest, user;
	struct err e;

	ret->username = arena_dup_text(a, json_get_text(auth, "username"));
	ret->password = arena_dup_text(a, json_get_text(auth, "password"));
	if (ret->username || !both || base64_decode(str_of(both), &plain, &e) < 0)
		return;
	rest = strbuf_str(&plain);
	if (!str_cut(&rest, ':', &user))
		return;
	ret->username = arena_dup(a, user);
	ret->password = arena_dup(a, rest);
}

static void read_secret(const struct object *secret, const char *registry, struct arena *a,
			struct registry_auth *ret)
{
	const char *data =
		json_get_text(json_get(object_tree(secret), "data"), ".dockerconfigjson");
	auto_strbuf struct strbuf plain = {0};
	auto_json struct json *config = NULL;
	struct json_iter it = {0};
	struct json *auth;
	const char *key;
	struct err e;

	if (!data || base64_decode(str_of(data), &plain, &e) < 0 ||
	    json_parse(strbuf_str(&plain), "pull secret", &config, &e) < 0)
		return;
	while (json_next(json_get(config, "auths"), &it, &key, &auth))
		if (is_for(key, registry))
			take_auth(auth, a, ret);
}

static void find_auth(const struct pod *p, const char *image, struct arena *a,
		      struct registry_auth *ret)
{
	const struct object *o = informer_get_key(p->agent->pods, p->key);
	auto_json struct json *pod = o ? object_copy(o) : NULL;
	const struct json *list = json_get(json_get(pod, "spec"), "imagePullSecrets");
	auto_free char *registry = registry_of(image);

	for (size_t i = 0; i < json_len(list) && !ret->username; i++) {
		const char *name = json_get_text(json_at(list, i), "name");
		const struct object *secret =
			informer_get(p->agent->secrets, p->namespace, name ? name : "");

		if (secret)
			read_secret(secret, registry, a, ret);
	}
	if (ret->username)
		ret->server_address = arena_dup_text(a, registry);
}

/* -- the policy -------------------------------------------------------------------------------- */

static void pull(struct pod_container *c, const char *image)
{
	auto_arena struct arena a = {0};
	struct pull_options o = {.reference = image};

	find_auth(c->pod, image, &a, &o.auth);
	node_event(c->pod, "Normal", "Pulling", c->name, "Pulling image \"%s\"", image);
	c->busy = true;
	c->pull_began_ms = loop_now_ms(c->pod->agent->loop);
	(void)engine_pull(c->pod->agent->user, &o, NULL, pulled, c);
}

bool pull_ensure(struct pod_container *c, const struct json *spec)
{
	const char *image = json_get_text(spec, "image"),
		   *policy = json_get_text(spec, "imagePullPolicy");
	bool from_registry = false, here;

	struct err e;

	assert(!c->busy);
	if (!image)
		return true;
	if (engine_image_check_name(image, &e) < 0) {
		auto_free char *text =
			mem_printf("Failed to apply default image tag \"%s\": %s", image, e.text);

		container_failed(c, "InvalidImageName", text);
		return false;
	}
	here = have_image(c, image, &from_registry);
	if (here && (c->pulled || !from_registry || !text_eq(policy, "Always"))) {
		if (!c->pulled)
			node_event(c->pod, "Normal", "Pulled", c->name,
				   "Container image \"%s\" already present on machine", image);
		return true;
	}
	if (text_eq(policy, "Never")) {
		auto_free char *text =
			mem_printf("Container image \"%s\" is not present with pull policy of "
				   "Never; load it first, or let it be pulled",
				   image);

		container_failed(c, "ErrImageNeverPull", text);
		return false;
	}
	pull(c, image);
	return false;
}
