/*
 * The inside of objects, for object.c and the pipeline: how a tree becomes what is kept, and what
 * is kept becomes an object.
 */
#pragma once

#include "cluster/objects/direct.h"
#include "cluster/objects/object.h"
#include "ground/base/list.h"
#include "ground/store/keys.h"

#define OBJECT_MAGIC	  0x4f424a45u
#define OBJECT_VALUES_MAX 24 /* paths that field selectors may name */

struct object_full {
	struct object o;
	unsigned int refs;	       /* atomic; of one that is not stored */
	const struct key_value *value; /* whose index it is; NULL: not stored */
	const struct object *under;    /* whose texts it shows with another revision */
	char *own_bytes;
	struct json *tree;
	struct list kept; /* while tree */
};

/* What is known of a tree; bytes and revision are still to be filled. */
struct object_full *object_make(const struct kind *k, const struct json *tree);

/* The bytes that are kept: kind, apiVersion and metadata first, no resourceVersion. */
void object_store_bytes(const struct kind *k, const struct json *tree, struct strbuf *out);

/* At the end of a turn: forgets the trees that are not kept. */
void objects_trim(void *arg);

/* A value to put, with its object as index. */
struct key_value *object_to_store(const struct kind *k, const struct json *tree, const char *key,
				  int64_t expires_ns);

/* The object of a value; NULL for NULL. Borrowed as the value is. */
const struct object *object_of_value(const struct key_value *v);

/* The same object as of another revision (of its deletion); the caller's. */
const struct object *object_at_revision(const struct object *o, uint64_t revision);
