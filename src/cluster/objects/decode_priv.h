/*
 * What the files of decoding share: the texts of strict decoding, the scan for duplicate keys, the
 * protobuf walk, and how one scalar is brought into its canonical form.
 */
#pragma once

#include "cluster/objects/decode.h"

void strict_add(struct strict *s, const char *what, const char *path);

/* Adds the keys that stand twice in one object. `text` is known to be JSON that made `tree`. */
void duplicate_find(struct str text, const struct json *tree, struct strict *s);

/* The envelope: apiVersion and kind (empty when absent), and the bytes of the object. */
struct envelope {
	struct str api_version, kind, raw;
};
int proto_open(struct str body, struct envelope *ret, struct err *e) must_use;
int proto_message(struct str bytes, const struct type *t, struct json *into, unsigned int depth,
		  struct err *e) must_use;
