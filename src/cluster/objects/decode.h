/*
 * Decoding: the body of a request into a JSON tree that is known to have the fields and types of
 * its kind, whether it came as JSON or as protobuf. Nulls are dropped, as Go drops them.
 *
 * Unknown and duplicate fields are collected in `strict`, one text each ("unknown field
 * \"spec.foo\""), and left out of the tree; the caller makes of them an error or warnings:
 * decode_strict() joins them as Kubernetes does. Depth is bounded by JSON_DEPTH_MAX, size by
 * DECODE_MAX.
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/base/arena.h"
#include "ground/format/json.h"

#define DECODE_MAX	  ((size_t)3 << 20) /* bytes of one body, as Kubernetes has it */
#define DECODE_STRICT_MAX 32		    /* texts that are kept */

struct strict {
	struct arena *arena;
	const char *list[DECODE_STRICT_MAX];
	size_t n; /* texts in the list */
};

/* k may be NULL: it is then taken from the body's apiVersion and kind. *ret_kind may be NULL. */
int decode_body(struct str body, const struct kind *k, struct strict *strict,
		const struct kind **ret_kind, struct json **ret, struct err *e) must_use;

/* The same for a tree at hand (the outcome of a patch): it is cleaned in place. */
int decode_tree(struct json *tree, const struct kind *k, struct strict *strict,
		struct err *e) must_use;

/* 0 when nothing was collected; else ERR_INVALID with Kubernetes' sentence of a 400. */
int decode_strict(const struct strict *strict, const struct kind *k, struct err *e) must_use;

/* A body that begins with the envelope's four bytes "k8s\0". */
bool decode_is_protobuf(struct str body);

/* The raw message of one type (no envelope), for proto.c's own tests and lists. */
int decode_message(struct str bytes, const struct type *t, struct json **ret,
		   struct err *e) must_use;
