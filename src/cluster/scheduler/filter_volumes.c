/*
 * Volumes: the claims of a pod exist, their volumes can be reached from the node, and a claim for
 * one pod only (ReadWriteOncePod) is not another's. Binding claims to volumes is the node's work
 * (cluster/node/claims.c), which begins when a pod that has a node asks for one.
 */
#include <assert.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

static bool is_for_one(const struct object *claim)
{
	return json_lists(json_get(json_get(object_tree(claim), "spec"), "accessModes"),
			  "ReadWriteOncePod");
}

/* Whether a pod that has a node uses the claim. */
static bool is_taken(struct scheduler *s, const struct pod_class *c, const char *claim)
{
	map_each (&s->placed, it) {
		const struct pod_class *k = ((struct pod_info *)it->value)->class;

		for (size_t i = 0; i < k->claims_n; i++)
			if (text_eq(k->namespace, c->namespace) && text_eq(k->claims[i], claim))
				return true;
	}
	return false;
}

static void look_at_claim(struct ask *q, const char *name)
{
	const struct object *claim = informer_get(q->s->claims, q->namespace, name);
	const struct object *volume;
	const char *bound;

	if (!claim) {
		q->no_volume =
			arena_printf(&q->arena, "persistentvolumeclaim \"%s\" not found", name);
		return;
	}
	if (claim->deleting) {
		q->no_volume = arena_printf(&q->arena,
					    "persistentvolumeclaim \"%s\" is being deleted", name);
		return;
	}
	if (is_for_one(claim) && is_taken(q->s, q->class, name)) {
		q->no_volume = "node has pod using PersistentVolumeClaim with the same name and "
			       "ReadWriteOncePod access mode";
		return;
	}
	bound = json_get_text(json_get(object_tree(claim), "spec"), "volumeName");
	volume = bound && bound[0] ? informer_get(q->s->volumes, NULL, bound) : NULL;
	if (bound && bound[0] && !volume)
		q->no_volume = "node(s) unavailable due to one or more pvc(s) bound to "
			       "non-existent pv(s)";
	if (volume)
		q->volumes[q->volumes_n++] = json_get(
			json_get(json_get(json_get(object_tree(volume), "spec"), "nodeAffinity"),
				 "required"),
			"nodeSelectorTerms");
}

void volumes_prepare(struct ask *q)
{
	if (q->class->claims_n == 0 || !q->s->claims)
		return;
	q->local = false;
	q->volumes = arena_new_array(&q->arena, const struct json *, q->class->claims_n);
	for (size_t i = 0; i < q->class->claims_n && !q->no_volume; i++)
		look_at_claim(q, q->class->claims[i]);
}

const char *volumes_fit(struct ask *q, const struct node_info *n)
{
	if (q->no_volume)
		return q->no_volume;
	for (size_t i = 0; i < q->volumes_n; i++) {
		bool any = json_len(q->volumes[i]) == 0;

		for (size_t t = 0; t < json_len(q->volumes[i]) && !any; t++)
			any = filter_node_term(json_at(q->volumes[i], t), n);
		if (!any)
			return "node(s) had volume node affinity conflict";
	}
	return NULL;
}
