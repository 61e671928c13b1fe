/*
 * Stateful sets: pods with a number, a name, claims of their own, and an order. A look goes up
 * through the numbers and makes what is missing, down through what is too much, and down once more
 * to replace one pod of an old template. In the default order it stops at the first pod that is
 * not there and ready. Two pods of one number never are: they would have one name.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/pod.h"
#include "cluster/controllers/revision.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"

#define POD_NAME_LABEL	"statefulset.kubernetes.io/pod-name"
#define POD_INDEX_LABEL "apps.kubernetes.io/pod-index"

struct replicas {
	struct work *work;
	const struct object *set;
	const struct json *spec;
	struct revisions revisions;
	const char *current, *update; /* names of revisions */
	struct owned pods;
	const struct object **slots; /* by number from `start`; NULL: not there */
	const struct object **extra; /* numbers beyond, the highest first */
	size_t extra_n;
	int64_t start, n, min_ready, partition;
	bool ordered, rolling;
};

static struct informer *sets(const struct controller *c)
{
	return controller_view(c, "apps", "statefulsets");
}

static void on_dependent(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;

	controller_on_dependent(c, sets(c), "StatefulSet", now, before);
}

static void begin(struct controller *c)
{
	informer_on(sets(c), controller_on_self, c);
	informer_on(controller_view(c, "", "pods"), on_dependent, c);
	informer_on(controller_view(c, "apps", "controllerrevisions"), on_dependent, c);
	(void)controller_view(c, "", "persistentvolumeclaims");
}

/* -- a look ------------------------------------------------------------------------------------ */

/* -1: the name is not one of this set's. */
static int64_t number_of(const struct object *set, const struct object *pod)
{
	size_t n = strlen(set->name);
	int64_t number = -1;
	struct err e;

	if (strncmp(pod->name, set->name, n) != 0 || pod->name[n] != '-' ||
	    parse_i64(str_of(pod->name + n + 1), "ordinal", &number, &e) < 0)
		return -1;
	return number;
}

static int downward(const void *x, const void *y)
{
	const struct object *const *a = x, *const *b = y;
	size_t na = strlen((*a)->name), nb = strlen((*b)->name);

	if (na != nb)
		return na > nb ? -1 : 1;
	return -strcmp((*a)->name, (*b)->name);
}

static void sort_pods(struct replicas *r)
{
	r->slots = mem_new_array(const struct object *, (size_t)r->n + 1);
	r->extra = mem_new_array(const struct object *, r->pods.n + 1);
	for (size_t i = 0; i < r->pods.n; i++) {
		int64_t number = number_of(r->set, r->pods.list[i]);

		if (number < 0)
			continue;
		if (number >= r->start && number < r->start + r->n)
			r->slots[number - r->start] = r->pods.list[i];
		else
			r->extra[r->extra_n++] = r->pods.list[i];
	}
	qsort(r->extra, r->extra_n, sizeof(*r->extra), downward);
}

static const struct object *newest(const struct revisions *r)
{
	const struct object *best = NULL;

	for (size_t i = 0; i < r->all.n; i++)
		if (!best || revision_number(r->all.list[i]) > revision_number(best))
			best = r->all.list[i];
	return best;
}

static bool look_at(struct replicas *r, struct work *w, const struct object *set, bool claim)
{
	const struct json *strategy;
	auto_arena struct arena a = {0};
	struct selector s = {0};

	*r = (struct replicas){.work = w, .set = set, .spec = tree_spec(set)};
	if (selector_of_object(set, &a, &s) < 0 || s.n == 0)
		return false;
	if (claim)
		revisions_look(w, set, &s, &r->revisions);
	else
		owned_claim(NULL, set,
			    controller_view(w->controller, "apps", "controllerrevisions"), &s,
			    &r->revisions.all);
	if (!claim)
		r->revisions.current = newest(&r->revisions);
	owned_claim(claim ? w : NULL, set, controller_view(w->controller, "", "pods"), &s,
		    &r->pods);
	strategy = json_get(r->spec, "updateStrategy");
	r->n = json_get_i64(r->spec, "replicas", 1);
	r->start = json_get_i64(json_get(r->spec, "ordinals"), "start", 0);
	r->min_ready = json_get_i64(r->spec, "minReadySeconds", 0);
	r->ordered = !text_eq(json_get_text(r->spec, "podManagementPolicy"), "Parallel");
	r->rolling = !text_eq(json_get_text(strategy, "type"), "OnDelete");
	r->partition = json_get_i64(json_get(strategy, "rollingUpdate"), "partition", 0);
	r->update = r->revisions.current ? r->revisions.current->name : NULL;
	r->current = json_get_text(tree_status(set), "currentRevision");
	if (!r->current || !r->current[0])
		r->current = r->update;
	sort_pods(r);
	return true;
}

static void looked(struct replicas *r)
{
	revisions_done(&r->revisions);
	owned_done(&r->pods);
	free(r->slots);
	free(r->extra);
}

static bool is_ready(const struct replicas *r, const struct object *pod)
{
	return text_eq(object_value(pod, "status.phase"), "Running") &&
	       pod_of(r->work->controller, pod)->ready;
}

static bool is_available(const struct replicas *r, const struct object *pod)
{
	int64_t left;
	bool is = is_ready(r, pod) && pod_available(r->work->controller, pod, r->min_ready, &left);

	if (is_ready(r, pod) && !is && (!r->work->again_ms || left * 1000 < r->work->again_ms))
		r->work->again_ms = left * 1000;
	return is;
}

static bool is_healthy(const struct replicas *r, const struct object *pod)
{
	return pod && !pod->deleting && is_available(r, pod);
}

static bool has_ended(const struct object *pod)
{
	return text_eq(object_value(pod, "status.phase"), "Failed") ||
	       text_eq(object_value(pod, "status.phase"), "Succeeded");
}

/* -- claims ------------------------------------------------------------------------------------ */

static char *claim_name(const struct replicas *r, const struct json *template, int64_t number)
{
	return mem_printf("%s-%s-%lld", json_get_text(json_get(template, "metadata"), "name"),
			  r->set->name, (long long)number);
}

static bool policy_deletes(const struct replicas *r, const char *when)
{
	return text_eq(
		json_get_text(json_get(r->spec, "persistentVolumeClaimRetentionPolicy"), when),
		"Delete");
}

static struct json *plain_owner(const struct object *owner)
{
	struct json *ref = owner_reference(owner);

	json_remove(ref, "controller");
	json_remove(ref, "blockOwnerDeletion");
	return ref;
}

static void tell_created(const struct work *w, const struct object *set, const struct object *made)
{
	bool claim = text_eq(made->kind->name, "PersistentVolumeClaim");

	work_event(w->controller, set, "Normal", "SuccessfulCreate",
		   "create %s %s in StatefulSet %s %s", claim ? "Claim" : "Pod", made->name,
		   set->name, claim ? "success" : "successful");
}

/* What became of a pod or a claim that the set asked for. */
static void created(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	const struct object *set = informer_get(sets(w->controller), w->namespace, w->name);

	if (set && o->object)
		tell_created(w, set, o->object);
	else if (set && o->error && o->error->kind != ERR_EXISTS)
		work_event(w->controller, set, "Warning", "FailedCreate",
			   "create in StatefulSet %s failed error: %s", set->name, o->error->text);
	work_called(w, o);
}

static void create(struct replicas *r, const struct kind *k, struct json *object)
{
	work_call(r->work);
	client_create(&r->work->controller->client, &(struct client_target){k, r->set->namespace},
		      object, NULL, created, r->work);
}

static void make_claim(struct replicas *r, const struct json *template, const char *name)
{
	struct json *claim = json_copy(template), *meta = json_make_object(claim, "metadata"),
		    *owners;
	const struct json *labels = json_get(json_get(r->spec, "selector"), "matchLabels");
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	json_remove(claim, "status");
	json_set_text(meta, "name", name);
	json_set_text(meta, "namespace", r->set->namespace);
	while (json_next(labels, &it, &key, &value))
		json_set(json_make_object(meta, "labels"), key, json_ref(value));
	if (policy_deletes(r, "whenDeleted")) {
		owners = json_new_array();
		json_append(owners, plain_owner(r->set));
		json_set(meta, "ownerReferences", owners);
	}
	create(r, view_kind("", "persistentvolumeclaims"), claim);
}

static bool is_pods(const struct json *ref)
{
	return text_eq(json_get_text(ref, "kind"), "Pod");
}

/* Who takes the claim along: the set, a pod that is too many, or nobody. */
static void own_claim(struct replicas *r, const struct object *claim, const struct object *extra)
{
	const struct json *have =
		json_get(json_get(object_tree(claim), "metadata"), "ownerReferences");
	struct json *want = json_new_array(), *patch;

	for (size_t i = 0; i < json_len(have); i++)
		if (!is_pods(json_at(have, i)) &&
		    !text_eq(json_get_text(json_at(have, i), "uid"), r->set->uid))
			json_append(want, json_ref(json_at(have, i)));
	if (extra && policy_deletes(r, "whenScaled"))
		json_append(want, plain_owner(extra)); /* alone, or the set would hold it */
	else if (policy_deletes(r, "whenDeleted"))
		json_append(want, plain_owner(r->set));
	if (json_equal(have, want) || json_len(have) + json_len(want) == 0) {
		(void)json_free(want);
		return;
	}
	patch = json_new_object();
	json_set(json_make_object(patch, "metadata"), "ownerReferences", tree_list(want));
	work_patch(r->work, claim, NULL, patch);
}

static void keep_claims(struct replicas *r, int64_t number, const struct object *extra)
{
	const struct json *templates = json_get(r->spec, "volumeClaimTemplates");
	struct informer *claims =
		controller_view(r->work->controller, "", "persistentvolumeclaims");

	for (size_t i = 0; i < json_len(templates); i++) {
		auto_free char *name = claim_name(r, json_at(templates, i), number);
		const struct object *claim = informer_get(claims, r->set->namespace, name);

		if (claim)
			own_claim(r, claim, extra);
		else if (!extra)
			make_claim(r, json_at(templates, i), name);
	}
}

/* -- pods -------------------------------------------------------------------------------------- */

static const struct object *revision_named(const struct replicas *r, const char *name)
{
	for (size_t i = 0; i < r->revisions.all.n; i++)
		if (text_eq(r->revisions.all.list[i]->name, name))
			return r->revisions.all.list[i];
	return NULL;
}

/* The pod's own claims stand in place of volumes of their name. */
static void mount_claims(const struct replicas *r, struct json *spec, int64_t number)
{
	const struct json *templates = json_get(r->spec, "volumeClaimTemplates");
	const struct json *have = json_get(spec, "volumes");
	struct json *volumes = json_new_array();

	for (size_t i = 0; i < json_len(templates); i++) {
		auto_free char *name = claim_name(r, json_at(templates, i), number);
		struct json *volume = json_new_object();

		json_set_text(volume, "name",
			      json_get_text(json_get(json_at(templates, i), "metadata"), "name"));
		json_set_text(json_make_object(volume, "persistentVolumeClaim"), "claimName", name);
		json_append(volumes, volume);
	}
	for (size_t i = 0; i < json_len(have); i++) {
		const char *name = json_get_text(json_at(have, i), "name");
		bool ours = false;

		for (size_t k = 0; k < json_len(templates); k++)
			ours = ours ||
			       text_eq(json_get_text(json_get(json_at(templates, k), "metadata"),
						     "name"),
				       name);
		if (!ours)
			json_append(volumes, json_ref(json_at(have, i)));
	}
	json_set(spec, "volumes", volumes);
}

static void make_pod(struct replicas *r, int64_t number)
{
	const struct object *old = number < r->start + r->partition && r->rolling
					   ? revision_named(r, r->current)
					   : NULL;
	auto_json struct json *template = old ? revision_template(old) : NULL;
	auto_free char *name = mem_printf("%s-%lld", r->set->name, (long long)number);
	auto_free char *index = mem_printf("%lld", (long long)number);
	const char *service = json_get_text(r->spec, "serviceName");
	struct json *pod, *meta, *labels, *spec;

	pod = pod_of_template(template ? template : json_get(r->spec, "template"), "", r->set);
	meta = json_get(pod, "metadata");
	json_remove(meta, "generateName");
	json_set_text(meta, "name", name);
	labels = json_make_object(meta, "labels");
	json_set_text(labels, POD_NAME_LABEL, name);
	json_set_text(labels, POD_INDEX_LABEL, index);
	json_set_text(labels, REVISION_HASH_LABEL, template ? r->current : r->update);
	spec = json_get(pod, "spec");
	json_set_text(spec, "hostname", name);
	if (service && service[0])
		json_set_text(spec, "subdomain", service);
	mount_claims(r, spec, number);
	create(r, view_kind("", "pods"), pod);
}

static void delete_pod(struct replicas *r, const struct object *pod)
{
	work_event(r->work->controller, r->set, "Normal", "SuccessfulDelete",
		   "delete Pod %s in StatefulSet %s successful", pod->name, r->set->name);
	work_delete(r->work, pod);
}

/* true: go on to the next number. */
static bool fill_slot(struct replicas *r, int64_t i)
{
	const struct object *pod = r->slots[i];

	if (pod && pod->deleting)
		return !r->ordered;
	keep_claims(r, r->start + i, NULL);
	if (!pod) {
		make_pod(r, r->start + i);
		return !r->ordered;
	}
	if (has_ended(pod)) {
		work_event(r->work->controller, r->set, "Warning", "RecreatingFailedPod",
			   "StatefulSet %s/%s is recreating failed Pod %s", r->set->namespace,
			   r->set->name, pod->name);
		delete_pod(r, pod);
		return !r->ordered;
	}
	return !r->ordered || is_available(r, pod);
}

static const struct object *first_unhealthy(const struct replicas *r)
{
	for (int64_t i = 0; i < r->n; i++)
		if (r->slots[i] && !is_healthy(r, r->slots[i]))
			return r->slots[i];
	for (size_t i = r->extra_n; i-- > 0;)
		if (!is_healthy(r, r->extra[i]))
			return r->extra[i];
	return NULL;
}

/* true: nothing is too much any more, or nobody waits for it. */
static bool drop_extra(struct replicas *r)
{
	const struct object *unhealthy = r->ordered ? first_unhealthy(r) : NULL;

	for (size_t i = 0; i < r->extra_n; i++) {
		const struct object *pod = r->extra[i];

		if (!pod->deleting) {
			if (r->ordered && !is_healthy(r, pod) && pod != unhealthy)
				return false;
			keep_claims(r, number_of(r->set, pod), pod);
			delete_pod(r, pod);
		}
		if (r->ordered)
			return false;
	}
	return true;
}

static bool is_updated(const struct replicas *r, const struct object *pod)
{
	return text_eq(object_label(pod, REVISION_HASH_LABEL), r->update);
}

static void roll(struct replicas *r)
{
	for (int64_t i = r->n; i-- > r->partition;) {
		const struct object *pod = r->slots[i];

		if (pod && !pod->deleting && !is_updated(r, pod)) {
			delete_pod(r, pod);
			return;
		}
		if (!is_healthy(r, pod))
			return;
	}
}

static void act(struct replicas *r)
{
	for (int64_t i = 0; i < r->n; i++)
		if (!fill_slot(r, i))
			return;
	if (drop_extra(r) && r->rolling)
		roll(r);
}

/* -- status ------------------------------------------------------------------------------------ */

static struct json *status_of(const struct replicas *r)
{
	int64_t replicas = 0, ready = 0, available = 0, current = 0, updated = 0;
	struct json *status = json_new_object();
	const char *revision = r->current;

	for (size_t i = 0; i < r->pods.n; i++) {
		const struct object *pod = r->pods.list[i];

		if (number_of(r->set, pod) < 0)
			continue;
		replicas++;
		ready += is_ready(r, pod);
		available += is_available(r, pod);
		if (pod->deleting)
			continue;
		current += text_eq(object_label(pod, REVISION_HASH_LABEL), r->current);
		updated += is_updated(r, pod);
	}
	if (r->rolling && updated == r->n && replicas == r->n && ready == r->n) {
		revision = r->update;
		current = updated;
	}
	json_set_i64(status, "observedGeneration", object_generation(r->set));
	json_set_i64(status, "replicas", replicas);
	tree_set_count(status, "readyReplicas", ready);
	json_set_i64(status, "availableReplicas", available);
	tree_set_count(status, "currentReplicas", current);
	tree_set_count(status, "updatedReplicas", updated);
	json_set_text(status, "currentRevision", revision);
	json_set_text(status, "updateRevision", r->update);
	if (!json_get(tree_status(r->set), "collisionCount"))
		json_set_i64(status, "collisionCount", 0);
	return status;
}

static void tell_status(struct work *w)
{
	const struct object *set = informer_get(sets(w->controller), w->namespace, w->name);
	struct replicas r;

	if (set && look_at(&r, w, set, false)) {
		if (r.update)
			work_status(w, set, status_of(&r));
		looked(&r);
	}
	work_end(w);
}

static bool lives(void *ctx, const struct object *revision)
{
	const struct replicas *r = ctx;

	if (text_eq(revision->name, r->current))
		return true;
	for (size_t i = 0; i < r->pods.n; i++)
		if (text_eq(object_label(r->pods.list[i], REVISION_HASH_LABEL), revision->name))
			return true;
	return false;
}

static void look(struct work *w)
{
	const struct object *set = informer_get(sets(w->controller), w->namespace, w->name);
	struct replicas r;

	if (!set || set->deleting || !look_at(&r, w, set, true)) {
		work_end(w);
		return;
	}
	w->then = tell_status;
	if (r.update) {
		act(&r);
		revisions_clean(w, set, &r.revisions, lives, &r);
	}
	looked(&r);
	work_end(w);
}

const struct controller_row statefulset_row = {"statefulset", begin, look, NULL};
