/*
 * Every namespace has a service account `default` and a config map with the authority's
 * certificate: pods need both to speak to the API.
 */
#include "cluster/controllers/controllers_priv.h"
#include "ground/base/mem.h"

#define CA_MAP "kube-root-ca.crt"

static void of_namespace(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	const struct object *o = now ? now : before;

	if (o->namespace[0]) /* an account or map: its namespace is looked at */
		workqueue_add(c->queue, o->namespace);
	else
		workqueue_add(c->queue, o->name);
}

static void of_map(void *ctx, const struct object *now, const struct object *before)
{
	if (text_eq((now ? now : before)->name, CA_MAP))
		of_namespace(ctx, now, before);
}

static void begin(struct controller *c)
{
	informer_on(controller_view(c, "", "namespaces"), of_namespace, c);
	informer_on(controller_view(c, "", "serviceaccounts"), of_namespace, c);
	informer_on(controller_view(c, "", "configmaps"), of_map, c);
}

static struct json *named(const char *name)
{
	struct json *j = json_new_object(), *meta = json_new_object();

	json_set_text(meta, "name", name);
	json_set(j, "metadata", meta);
	return j;
}

static struct json *ca_data(const struct controller *c)
{
	struct json *data = json_new_object();

	json_set_text(data, "ca.crt", c->all->o.ca_pem);
	return data;
}

static void ensure_map(struct work *w)
{
	struct controller *c = w->controller;
	struct informer *maps = controller_view(c, "", "configmaps");
	const struct object *have = informer_get(maps, w->name, CA_MAP);
	struct json *j;

	if (!c->all->o.ca_pem)
		return;
	if (!have) {
		j = named(CA_MAP);
		json_set(j, "data", ca_data(c));
		work_create(w, kind_of_resource("", "v1", "configmaps"), w->name, j);
	} else if (!text_eq(json_get_text(json_get(object_tree(have), "data"), "ca.crt"),
			    c->all->o.ca_pem)) {
		j = json_new_object();
		json_set(j, "data", ca_data(c));
		work_patch(w, have, NULL, j);
	}
}

static void sync_namespace(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *ns = informer_get(controller_view(c, "", "namespaces"), "", w->name);

	if (ns && !ns->deleting) {
		if (!informer_get(controller_view(c, "", "serviceaccounts"), w->name, "default"))
			work_create(w, kind_of_resource("", "v1", "serviceaccounts"), w->name,
				    named("default"));
		ensure_map(w);
	}
	work_end(w);
}

const struct controller_row serviceaccount_row = {"service-account", begin, sync_namespace, NULL};
