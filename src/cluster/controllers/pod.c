/* Pods as controllers see them: see pod.h. */
#include "cluster/controllers/pod.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"

#define COST "controller.kubernetes.io/pod-deletion-cost"

static void clear(struct pod *p)
{
	free(p->ip4);
	free(p->ip6);
	free(p->hostname);
	free(p->subdomain);
	(void)json_free(p->ports);
	*p = (struct pod){0};
}

static void add_address(struct pod *p, const char *ip)
{
	char **at = ip && strchr(ip, ':') ? &p->ip6 : &p->ip4;

	if (ip && ip[0] && !*at)
		*at = mem_dup_text(ip);
}

static void add_ports(struct pod *p, const struct json *containers)
{
	for (size_t i = 0; i < json_len(containers); i++) {
		const struct json *ports = json_get(json_at(containers, i), "ports");

		for (size_t k = 0; k < json_len(ports); k++)
			if (json_get(json_at(ports, k), "name"))
				json_append(p->ports, json_copy(json_at(ports, k)));
	}
}

static void read_job(struct pod *p, const struct object *o)
{
	const struct json *list = json_get(json_get(object_tree(o), "metadata"), "finalizers");
	const char *index = tree_annotation(o, POD_JOB_INDEX);
	struct err e;

	for (size_t i = 0; i < json_len(list); i++)
		p->tracked = p->tracked || text_eq(json_text(json_at(list, i)), POD_JOB_FINALIZER);
	if (!index || parse_i64(str_of(index), POD_JOB_INDEX, &p->job_index, &e) < 0)
		p->job_index = -1;
}

static void read_status(struct pod *p, const struct json *status)
{
	const struct json *list = json_get(status, "podIPs"),
			  *ready = condition_of(status, "Ready");

	p->ready = text_eq(json_get_text(ready, "status"), "True");
	p->ready_s = time_of(json_get_text(ready, "lastTransitionTime"));
	for (size_t i = 0; i < json_len(list); i++)
		add_address(p, json_get_text(json_at(list, i), "ip"));
	add_address(p, json_get_text(status, "podIP"));
	list = json_get(status, "containerStatuses");
	for (size_t i = 0; i < json_len(list); i++) {
		int64_t n = json_get_i64(json_at(list, i), "restartCount", 0);

		p->restarts = n > p->restarts ? n : p->restarts;
	}
}

static void read_pod(struct pod *p, const struct object *o)
{
	const struct json *spec = tree_spec(o);
	const char *cost = tree_annotation(o, COST);
	struct err e;

	clear(p);
	p->revision = o->revision;
	p->created_s = tree_created_s(o);
	if (cost && parse_i64(str_of(cost), COST, &p->cost, &e) < 0)
		p->cost = 0;
	p->hostname = mem_dup_text(json_get_text(spec, "hostname"));
	p->subdomain = mem_dup_text(json_get_text(spec, "subdomain"));
	p->ports = json_new_array();
	add_ports(p, json_get(spec, "containers"));
	add_ports(p, json_get(spec, "initContainers"));
	read_job(p, o);
	read_status(p, tree_status(o));
}

const struct pod *pod_of(const struct controller *c, const struct object *o)
{
	struct map *pods = &c->all->pods;
	struct pod *p = map_get(pods, o->uid);

	if (!p) {
		p = mem_new(struct pod);
		(void)map_put(pods, o->uid, p);
	}
	if (!p->ports || p->revision != o->revision)
		read_pod(p, o);
	assert(p->ports);
	return p;
}

bool pod_available(const struct controller *c, const struct object *o, int64_t min_ready_s,
		   int64_t *ret_left_s)
{
	const struct pod *p = pod_of(c, o);
	int64_t left = p->ready_s + min_ready_s - controller_now_s(c);

	*ret_left_s = 0;
	if (!p->ready || min_ready_s <= 0 || left <= 0)
		return p->ready;
	*ret_left_s = left;
	return false;
}

void pod_forget(void *controllers, const struct object *now, const struct object *before)
{
	struct controllers *all = controllers;
	struct pod *p = now ? NULL : map_remove(&all->pods, before->uid);

	if (p) {
		clear(p);
		free(p);
	}
}

void pod_forget_all(struct controllers *all)
{
	map_each (&all->pods, it) {
		clear(it->value);
		free(it->value);
	}
	map_done(&all->pods);
}
