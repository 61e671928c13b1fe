/*
 * Claims: the local disk as a storage class ("local-path"). A claim that waits is bound to a volume
 * that fits it, or a folder below <root>/claims is made its volume; a volume whose claim is gone is
 * removed or kept by its reclaim policy. What is in use is not let go.
 *
 * Level-triggered, over a queue of its own: "namespace/claim" and "volume" are its keys. Each look
 * takes one step, and what it writes brings the next look.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/quantity.h"
#include "ground/store/folder.h"

#define CLASS	    "local-path"
#define PROVISIONER "hull.io/local-path"
#define CLAIM_HOLD  "kubernetes.io/pvc-protection"
#define VOLUME_HOLD "kubernetes.io/pv-protection"

static const struct kind *volume_kind(void)
{
	return kind_of_resource("", "v1", "persistentvolumes");
}

static void written(void *ctx, const struct outcome *o)
{
	if (o->error && o->error->kind != ERR_CONFLICT && o->error->kind != ERR_NOT_FOUND &&
	    o->error->kind != ERR_EXISTS)
		log_warn("claims: %s", o->error->text);
	(void)ctx;
}

static const char *phase_of(const struct object *o)
{
	const char *phase = json_get_text(json_get(object_tree(o), "status"), "phase");

	return phase ? phase : "";
}

/* Writes the object again without one finalizer; false: it does not have it. */
static bool let_go(struct node_agent *a, const struct object *o, const char *hold)
{
	const struct json *have = json_get(json_get(object_tree(o), "metadata"), "finalizers");
	struct json *left = json_new_array(), *copy;

	for (size_t i = 0; i < json_len(have); i++)
		if (!text_eq(json_text(json_at(have, i)), hold))
			json_append(left, json_new_text(json_text(json_at(have, i))));
	if (json_len(left) == json_len(have)) {
		(void)json_free(left);
		return false;
	}
	copy = object_copy(o);
	json_set(json_get(copy, "metadata"), "finalizers", left);
	client_update(&a->client, &(struct client_target){o->kind, o->namespace, o->name}, copy,
		      NULL, written, a);
	return true;
}

static void set_status(struct node_agent *a, const struct object *o, struct json *status)
{
	struct json *patch = json_new_object();

	json_set(patch, "status", status);
	client_patch(&a->client, &(struct client_target){o->kind, o->namespace, o->name, "status"},
		     PATCH_MERGE, patch, NULL, written, a);
}

static void set_phase(struct node_agent *a, const struct object *o, const char *phase)
{
	struct json *status;

	if (text_eq(phase_of(o), phase))
		return;
	status = json_new_object();
	json_set_text(status, "phase", phase);
	set_status(a, o, status);
}

/* -- claims ------------------------------------------------------------------------------------ */

struct use {
	const char *claim;
	bool is;
};

static bool look_for_use(void *ctx, const struct object *o)
{
	struct use *u = ctx;
	const struct json *list = json_get(json_get(object_tree(o), "spec"), "volumes");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_get(json_at(list, i), "persistentVolumeClaim"),
					  "claimName"),
			    u->claim))
			u->is = true;
	return !u->is;
}

static bool is_used(struct node_agent *a, const struct object *claim)
{
	struct use u = {claim->name, false};

	informer_each(a->pods, claim->namespace, look_for_use, &u);
	return u.is;
}

struct fit {
	const struct object *claim;
	const struct object *best;
	int64_t bytes;
};

static int64_t bytes_of(const struct json *map)
{
	struct quantity q;

	return quantity_read(json_get(map, "storage"), &q) ? quantity_whole(&q) : 0;
}

static bool fits(const struct json *want, const struct json *have)
{
	const struct json *modes = json_get(want, "accessModes");
	const char *a = json_get_text(want, "storageClassName"),
		   *b = json_get_text(have, "storageClassName");

	if (!text_eq(a ? a : "", b ? b : ""))
		return false;
	for (size_t i = 0; i < json_len(modes); i++)
		if (!json_lists(json_get(have, "accessModes"), json_text(json_at(modes, i))))
			return false;
	return bytes_of(json_get(have, "capacity")) >=
	       bytes_of(json_get(json_get(want, "resources"), "requests"));
}

/* The smallest volume that is free, or is kept for this claim. */
static bool look_at_volume(void *ctx, const struct object *o)
{
	struct fit *f = ctx;
	auto_json struct json *want = object_copy(f->claim);
	const struct json *have = json_get(object_tree(o), "spec"),
			  *ref = json_get(have, "claimRef");
	int64_t bytes = bytes_of(json_get(have, "capacity"));
	const char *uid = json_get_text(ref, "uid");

	if (o->deleting)
		return true;
	if (ref && text_eq(json_get_text(ref, "name"), f->claim->name) &&
	    text_eq(json_get_text(ref, "namespace"), f->claim->namespace) &&
	    (!uid || !uid[0] || text_eq(uid, f->claim->uid))) {
		f->best = o;
		return false;
	}
	if (!ref && fits(json_get(want, "spec"), have) && (!f->best || bytes < f->bytes)) {
		f->best = o;
		f->bytes = bytes;
	}
	return true;
}

static struct json *reference_to(const struct object *claim)
{
	struct json *ref = json_new_object();

	json_set_text(ref, "kind", "PersistentVolumeClaim");
	json_set_text(ref, "apiVersion", "v1");
	json_set_text(ref, "namespace", claim->namespace);
	json_set_text(ref, "name", claim->name);
	json_set_text(ref, "uid", claim->uid);
	return ref;
}

static void provision(struct node_agent *a, const struct object *claim)
{
	auto_json struct json *copy = object_copy(claim);
	const struct json *spec = json_get(copy, "spec");
	auto_free char *name = mem_printf("pvc-%s", claim->uid);
	auto_free char *path = mem_printf("%s/claims/%s", a->o.root, name);
	struct json *volume = json_new_object(), *meta = json_make_object(volume, "metadata"),
		    *v = json_make_object(volume, "spec"), *host;

	json_set_text(meta, "name", name);
	json_set_text(json_make_object(meta, "annotations"), "pv.kubernetes.io/provisioned-by",
		      PROVISIONER);
	json_set(v, "capacity", json_copy(json_get(json_get(spec, "resources"), "requests")));
	json_set(v, "accessModes", json_copy(json_get(spec, "accessModes")));
	json_set_text(v, "storageClassName", CLASS);
	json_set_text(v, "persistentVolumeReclaimPolicy", "Delete");
	json_set(v, "claimRef", reference_to(claim));
	host = json_make_object(v, "hostPath");
	json_set_text(host, "path", path);
	json_set_text(host, "type", "DirectoryOrCreate");
	client_create(&a->client, &(struct client_target){volume_kind()}, volume, NULL, written, a);
}

/* Both sides name each other: first the volume, then the claim, then their statuses. */
static void bind(struct node_agent *a, const struct object *claim, const struct object *volume)
{
	struct json *patch = json_new_object();
	const struct json *spec = json_get(object_tree(volume), "spec");

	if (!json_get_text(json_get(spec, "claimRef"), "uid")) {
		json_set(json_make_object(patch, "spec"), "claimRef", reference_to(claim));
		client_patch(&a->client, &(struct client_target){volume->kind, NULL, volume->name},
			     PATCH_MERGE, patch, NULL, written, a);
		return; /* its news brings the claim here again */
	}
	json_set_text(json_make_object(patch, "spec"), "volumeName", volume->name);
	client_patch(&a->client,
		     &(struct client_target){claim->kind, claim->namespace, claim->name},
		     PATCH_MERGE, patch, NULL, written, a);
}

static void bound(struct node_agent *a, const struct object *claim, const struct object *volume)
{
	const struct json *spec = json_get(object_tree(volume), "spec");
	struct json *status;

	if (text_eq(phase_of(claim), "Bound"))
		return;
	status = json_new_object();
	json_set_text(status, "phase", "Bound");
	json_set(status, "accessModes", json_copy(json_get(spec, "accessModes")));
	json_set(status, "capacity", json_copy(json_get(spec, "capacity")));
	set_status(a, claim, status);
}

static void look_at_claim(struct node_agent *a, const struct object *claim)
{
	auto_json struct json *copy = object_copy(claim);
	const struct json *spec = json_get(copy, "spec");
	const char *named = json_get_text(spec, "volumeName"),
		   *class = json_get_text(spec, "storageClassName");
	struct fit f = {.claim = claim};

	if (claim->deleting) {
		if (!is_used(a, claim))
			(void)let_go(a, claim, CLAIM_HOLD);
		return;
	}
	if (named && named[0]) {
		f.best = informer_get(a->stores, NULL, named);
		if (f.best &&
		    json_get_text(json_get(json_get(object_tree(f.best), "spec"), "claimRef"),
				  "uid"))
			bound(a, claim, f.best);
		else if (f.best)
			bind(a, claim, f.best);
		return;
	}
	informer_each(a->stores, NULL, look_at_volume, &f);
	if (f.best)
		bind(a, claim, f.best);
	else if (text_eq(class, CLASS))
		provision(a, claim);
	else
		set_phase(a, claim, "Pending");
}

/* -- volumes ----------------------------------------------------------------------------------- */

static void remove_folder(struct node_agent *a, const struct object *volume)
{
	auto_free char *top = mem_printf("%s/claims", a->o.root);
	auto_close int dirfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e;

	if (dirfd >= 0 && folder_remove(dirfd, volume->name, &e) < 0)
		log_warn("volume %s: %s", volume->name, e.text);
}

static void look_at_volume_alone(struct node_agent *a, const struct object *volume)
{
	auto_json struct json *copy = object_copy(volume);
	const struct json *spec = json_get(copy, "spec"), *ref = json_get(spec, "claimRef"),
			  *notes = json_get(json_get(copy, "metadata"), "annotations");
	const char *uid = json_get_text(ref, "uid");
	const struct object *claim = ref ? informer_get(a->claims, json_get_text(ref, "namespace"),
							json_get_text(ref, "name"))
					 : NULL;
	bool ours = text_eq(json_get_text(notes, "pv.kubernetes.io/provisioned-by"), PROVISIONER);

	if (claim && (!uid || text_eq(uid, claim->uid))) {
		if (text_eq(json_get_text(json_get(object_tree(claim), "spec"), "volumeName"),
			    volume->name))
			set_phase(a, volume, "Bound");
		return;
	}
	if (volume->deleting) {
		if (ours)
			remove_folder(a, volume);
		(void)let_go(a, volume, VOLUME_HOLD);
	} else if (!uid) {
		set_phase(a, volume, "Available");
	} else if (ours &&
		   text_eq(json_get_text(spec, "persistentVolumeReclaimPolicy"), "Delete")) {
		client_delete(&a->client, &(struct client_target){volume->kind, NULL, volume->name},
			      &(struct delete_options){.grace_s = -1, .uid = volume->uid}, written,
			      a);
	} else {
		set_phase(a, volume, "Released");
	}
}

/* -- what wakes it ----------------------------------------------------------------------------- */

static void look(void *ctx, const char *key)
{
	struct node_agent *a = ctx;
	auto_free char *copy = mem_dup_text(key);
	const struct object *o = informer_get_key(strchr(copy, '/') ? a->claims : a->stores, copy);

	if (o && strchr(copy, '/'))
		look_at_claim(a, o);
	else if (o)
		look_at_volume_alone(a, o);
	workqueue_done(a->claim_queue, copy, false);
}

static bool add(void *ctx, const struct object *o)
{
	struct node_agent *a = ctx;
	char key[OBJECT_KEY_MAX];

	workqueue_add(a->claim_queue, object_key(o, key));
	return true;
}

static void claim_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct node_agent *a = ctx;
	const char *volume =
		json_get_text(json_get(object_tree(now ? now : before), "spec"), "volumeName");

	if (volume && volume[0])
		workqueue_add(a->claim_queue, volume);
	(void)add(a, now ? now : before);
}

static void volume_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct node_agent *a = ctx;

	(void)before;
	if (now)
		(void)add(a, now);
	informer_each(a->claims, NULL, add, a);
}

/* A claim that is to go was perhaps held by this pod. */
static void user_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct node_agent *a = ctx;

	if (!now && json_len(json_get(json_get(object_tree(before), "spec"), "volumes")))
		informer_each(a->claims, before->namespace, add, a);
}

static void make_class(struct node_agent *a)
{
	struct json *class = json_new_object(), *meta = json_make_object(class, "metadata");

	json_set_text(meta, "name", CLASS);
	json_set_text(json_make_object(meta, "annotations"),
		      "storageclass.kubernetes.io/is-default-class", "true");
	json_set_text(class, "provisioner", PROVISIONER);
	json_set_text(class, "reclaimPolicy", "Delete");
	json_set_text(class, "volumeBindingMode", "Immediate");
	client_create(
		&a->client,
		&(struct client_target){kind_of_resource("storage.k8s.io", "v1", "storageclasses")},
		class, NULL, written, a);
}

void claims_start(struct node_agent *a)
{
	auto_free char *folder = mem_printf("%s/claims", a->o.root);

	assert(a->claims && a->stores && a->pods);
	if (mkdir(folder, 0711) < 0 && errno != EEXIST)
		log_warn("claims: cannot make '%s': %s", folder, strerror(errno));
	a->claim_queue = workqueue_new(&(struct workqueue_options){
		.loop = a->loop, .name = "claims", .sync = look, .ctx = a});
	make_class(a);
	informer_on(a->claims, claim_changed, a);
	informer_on(a->stores, volume_changed, a);
	informer_on(a->pods, user_changed, a);
}
