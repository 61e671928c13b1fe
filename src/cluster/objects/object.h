/*
 * Objects: one version of one Kubernetes object, immutable and shared. What is kept is its bytes
 * (JSON in the version that is stored, without metadata.resourceVersion) and a few facts that
 * lists, selectors and controllers ask for all the time; a tree is built when somebody walks it.
 *
 * Trees are kept for the OBJECT_TREES_KEPT objects that were walked last, and until the turn of the
 * loop ends for at least OBJECT_TREES_MOST. They are borrowed and must not be changed: whoever
 * wants to change one takes object_copy(), and so does who walks more than that at a time.
 *
 * Loop thread only, but for ref, unref and the constant members.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/objects/kind.h"
#include "ground/base/own.h"
#include "ground/format/json.h"
#include "ground/format/selector.h"

#define OBJECT_TREES_KEPT 64
#define OBJECT_TREES_MOST 4096
#define OBJECT_KEY_MAX	  1024 /* bytes of object_key()'s text */

struct object {
	uint32_t magic;
	const struct kind *kind; /* in the version that is stored */
	uint64_t revision;	 /* its resourceVersion */
	const char *namespace;	 /* "" for a cluster's */
	const char *name, *uid;
	const char *owner_uid;	/* of the owner that is its controller; "" */
	const char *owner_kind; /* "ReplicaSet"; "" */
	const char *owner_name;
	bool deleting;	    /* has a deletionTimestamp */
	const char *labels; /* "key\0value\0key\0value\0\0" */
	/*
	 * What field selectors ask for: values[i] belongs to kind->selectable[i]; "" when
	 * absent.
	 */
	const char *const *values;
	struct str bytes;
};

const struct object *object_ref(const struct object *o);
const struct object *object_unref(const struct object *o); /* NULL allowed; returns NULL */
static inline void own_object_release(const struct object **o)
{
	(void)object_unref(*o);
}
#define auto_object own_auto(object)

/* The tree, with metadata.resourceVersion; borrowed until this turn of the loop ends. */
const struct json *object_tree(const struct object *o);
struct json *object_copy(const struct object *o); /* a tree of the caller's */
/* The bytes as clients get them: with metadata.resourceVersion. */
void object_write(const struct object *o, struct strbuf *out);

const char *object_label(const struct object *o, const char *key);	     /* NULL: it has none */
bool object_selected(const struct object *o, const struct selector *labels); /* NULL: all */
bool object_selected_fields(const struct object *o, const struct selector *fields);
/* "default/web", "node-1": what work queues and informers call it. Returns ret. */
char *object_key(const struct object *o, char ret[OBJECT_KEY_MAX]);
/* A value of kind->selectable ("spec.nodeName"); "" when absent or not among them. */
const char *object_value(const struct object *o, const char *path);

/* A container of any sort in a PodSpec; NULL. */
const struct json *podspec_container(const struct json *spec, const char *name);
/* A letter for names that are made up, of any byte: no vowels, so no words, as Kubernetes does. */
char name_letter(unsigned char byte);

/*
 * A free-standing object from a tree in its stored version (what a remote client or a test has).
 * The revision is taken from metadata.resourceVersion, 0 when it has none.
 */
const struct object *object_of_tree(const struct kind *k, const struct json *tree);
