/*
 * What an earlier daemon left behind: sandboxes and containers of pods whose objects went while
 * nobody looked. They are ended like any pod whose object is gone. Only after that the agent looks
 * at its pods, so that a name's former pod is away before its next one comes.
 */
#include <assert.h>
#include <dirent.h>
#include <string.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/folder.h"
#include "ground/wire/loop.h"

#define AGAIN_MS 1000

struct sweep {
	struct node_agent *agent;
	const struct list_outcome *list;
};

static bool is_bound_here(const struct sweep *s, const char *uid)
{
	for (size_t i = 0; i < s->list->n; i++)
		if (text_eq(s->list->items[i]->uid, uid))
			return text_eq(object_value(s->list->items[i], "spec.nodeName"),
				       s->agent->node_name);
	return false;
}

static const char *label(const struct container_view *v, const char *key)
{
	for (const struct json_pair *p = v->config->labels; p && p->key; p++)
		if (text_eq(p->key, key))
			return p->value;
	return NULL;
}

static struct pod *orphan(const struct sweep *s, const char *namespace, const char *name,
			  const char *uid)
{
	struct pod *p = pod_find(s->agent, namespace, name);

	if (p || is_bound_here(s, uid))
		return p && text_eq(p->uid, uid) ? p : NULL;
	log_info("pod %s/%s went while no daemon was there: what is left of it is ended", namespace,
		 name);
	p = pod_make(s->agent, namespace, name, uid);
	workqueue_add(s->agent->queue, p->key);
	return p;
}

static void sweep_sandbox(void *ctx, const struct sandbox_view *v)
{
	struct str name = str_of(v->name), space;
	auto_free char *n = NULL, *ns = NULL;

	if (!str_cut(&name, '/', &space))
		return;
	ns = str_dup(space);
	n = str_dup(name);
	(void)orphan(ctx, ns, n, v->uid);
}

static void sweep_container(const struct sweep *s, const struct container_view *v)
{
	const char *uid = label(v, "io.kubernetes.pod.uid"),
		   *name = label(v, "io.kubernetes.pod.name"),
		   *namespace = label(v, "io.kubernetes.pod.namespace"),
		   *own = label(v, "io.kubernetes.container.name");
	struct pod *p = uid && name && namespace && own ? orphan(s, namespace, name, uid) : NULL;

	if (p && !is_bound_here(s, uid) && !pod_container_find(p, own))
		(void)pod_add_container(p, own);
}

static bool is_known(const struct sweep *s, const char *uid)
{
	map_each (&s->agent->known, it) {
		const struct pod *p = it->value;

		if (text_eq(p->uid, uid))
			return true;
	}
	return is_bound_here(s, uid);
}

/* Folders of pods that nothing else is left of. */
static void sweep_folders(const struct sweep *s)
{
	auto_free char *top = mem_printf("%s/pods", s->agent->o.root);
	auto_closedir DIR *dir = opendir(top);
	struct dirent *d;
	struct err e;

	while (dir && (d = readdir(dir)) != NULL) {
		auto_free char *path = mem_printf("%s/%s", top, d->d_name);

		if (d->d_name[0] == '.' || is_known(s, d->d_name))
			continue;
		pod_mounts_detach(path);
		if (folder_remove(dirfd(dir), d->d_name, &e) < 0)
			log_warn("node %s: %s", s->agent->node_name, e.text);
	}
}

static bool look(void *ctx, const struct object *o)
{
	struct node_agent *a = ctx;
	char key[OBJECT_KEY_MAX];

	if (text_eq(object_value(o, "spec.nodeName"), a->node_name))
		workqueue_add(a->queue, object_key(o, key));
	return true;
}

static void listed(void *ctx, const struct list_outcome *l)
{
	struct node_agent *a = ctx;
	struct sweep s = {a, l};
	struct list_options all = {.all = true};
	auto_arena struct arena arena = {0};
	struct container_view **list = NULL;
	size_t n = 0;
	struct err e;

	assert(a->magic == AGENT_MAGIC);
	if (l->error) {
		log_warn("node %s: cannot list pods: %s", a->node_name, l->error->text);
		loop_timer_set(a->sweeper, AGAIN_MS, 0);
		return;
	}
	engine_sandbox_each(a->user, sweep_sandbox, &s);
	if (engine_list(a->user, &all, &arena, &list, &n, &e) < 0)
		log_warn("node %s: %s", a->node_name, e.text);
	for (size_t i = 0; i < n; i++)
		sweep_container(&s, list[i]);
	map_each (&a->known, it)
		container_adopt(it->value);
	sweep_folders(&s);
	a->swept = true;
	informer_each(a->pods, NULL, look, a);
}

void pod_sweep(void *agent)
{
	struct node_agent *a = agent;

	client_list(&a->client, &(struct client_target){kind_of_resource("", "v1", "pods")},
		    &(struct list_query){0}, listed, a);
}
