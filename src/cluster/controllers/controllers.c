/*
 * The table of controllers and their life: see controllers.h. They begin when every view that they
 * asked for has been filled, so that nobody acts on half of what is.
 */
#include "cluster/controllers/controllers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/controllers_priv.h"
#include "cluster/controllers/pod.h"
#include "ground/base/mem.h"

#define FILLING_MS 50

/* clang-format off */
static const struct controller_row *const rows[] = {
	&autoscaler_row,
	&cronjob_row,
	&daemonset_row,
	&deployment_row,
	&disruption_row,
	&endpoints_row,
	&endpointslice_row,
	&gc_row,
	&job_row,
	&namespace_row,
	&nodelife_row,
	&podgc_row,
	&quota_row,
	&replicaset_row,
	&replicationcontroller_row,
	&serviceaccount_row,
	&statefulset_row,
	&tainteviction_row,
};
/* clang-format on */

static void sync_key(void *ctx, const char *key)
{
	struct controller *c = ctx;
	struct work *w;
	struct str rest = str_of(key), head;

	assert(c->magic == CONTROLLER_MAGIC);
	if (!informers_current(c->all->o.informers)) { /* nobody acts on half of what is */
		workqueue_add_after(c->queue, key, FILLING_MS);
		workqueue_done(c->queue, key, false);
		return;
	}
	w = mem_new(struct work);
	w->magic = WORK_MAGIC;
	w->controller = c;
	w->key = key;
	w->calls = 1; /* its own part */
	(void)str_cut(&rest, '/', &head);
	w->namespace = rest.n ? str_dup(head) : mem_dup_text("");
	w->name = rest.n ? str_dup(rest) : str_dup(head);
	c->row->sync(w);
}

/* What people know a controller by: the last part of its identity. */
static const char *controller_name(const char *user)
{
	return strrchr(user, ':') + 1;
}

static void begin(struct controllers *all, size_t i)
{
	struct controller *c = &all->list[i];

	c->magic = CONTROLLER_MAGIC;
	c->row = rows[i];
	c->all = all;
	c->client = *all->o.client;
	mem_append_text(&all->users, "");
	free(all->users[i]);
	all->users[i] = mem_printf("system:serviceaccount:kube-system:%s-controller", c->row->name);
	c->client.identity = (struct identity){.user = all->users[i]};
	recorder_init(&c->recorder, &c->client, all->world, controller_name(all->users[i]), NULL);
	c->queue = workqueue_new(&(struct workqueue_options){
		.loop = all->loop, .name = c->row->name, .sync = sync_key, .ctx = c});
	c->row->begin(c);
}

struct controllers *controllers_new(const struct controllers_options *o)
{
	struct controllers *all = mem_new(struct controllers);

	assert(o->loop && o->client && o->informers);
	all->o = *o;
	all->loop = o->loop;
	all->world = o->world ? o->world : &world_real;
	all->n = array_len(rows);
	all->list = mem_new_array(struct controller, all->n);
	for (size_t i = 0; i < all->n; i++)
		begin(all, i);
	informer_on(informer_of(o->informers, view_kind("", "pods")), pod_forget, all);
	return all;
}

/* The informers are to be freed first: nobody is told anything any more. */
struct controllers *controllers_free(struct controllers *all)
{
	for (size_t i = 0; all && i < all->n; i++) {
		struct controller *c = &all->list[i];

		c->queue = workqueue_free(c->queue);
		if (c->row->end)
			c->row->end(c);
		recorder_done(&c->recorder);
		c->magic = 0;
	}
	if (all) {
		pod_forget_all(all);
		(void)mem_free_texts(all->users);
		free(all->list);
		free(all);
	}
	return NULL;
}

bool controllers_idle(const struct controllers *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (!workqueue_idle(all->list[i].queue))
			return false;
	return true;
}
