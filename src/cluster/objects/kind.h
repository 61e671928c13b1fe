/*
 * Kinds: what the Kubernetes API knows about its objects, as const tables.
 *
 * kinds/<group>.kind declares each group version once; tool/kinds turns them into the tables that
 * are declared here. Everything that needs to know a field (decoding, strict validation, defaults,
 * patches, OpenAPI, Tables) walks these tables over a JSON tree. A custom resource is a struct kind
 * made at run time: kind_add() puts it beside the built-in ones.
 *
 *	const struct kind *k = kind_of_resource("apps", "v1", "deployments");
 *	const struct field *f = type_field(k->type, "spec");
 *
 * All is const and lives for the whole process; what kind_add() took must outlive kind_remove().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
	FIELD_STRING,
	FIELD_BOOL,
	FIELD_INT32,
	FIELD_INT64,
	FIELD_DOUBLE,
	FIELD_BYTES,	   /* base64 text in JSON */
	FIELD_QUANTITY,	   /* "100m", "1Gi"; a number is read too */
	FIELD_INT_OR_TEXT, /* a port or a percentage */
	FIELD_TIME,	   /* seconds */
	FIELD_MICRO_TIME,
	FIELD_DURATION,
	FIELD_RAW,    /* any JSON value, kept as it is */
	FIELD_TEXTS,  /* a string list that protobuf wraps in a message of its own */
	FIELD_STRUCT, /* of field.of */
	FIELD_TYPES
};

enum field_shape { FIELD_ONE, FIELD_LIST, FIELD_MAP /* of text to value */ };

enum {
	FIELD_REQUIRED = 1u << 0,  /* absent or empty is an error */
	FIELD_OPTIONAL = 1u << 1,  /* a pointer in Kubernetes: zero differs from absent */
	FIELD_IMMUTABLE = 1u << 2, /* an update may not change it */
	FIELD_INLINE = 1u << 3,	   /* its fields stand in the parent's JSON object */
	FIELD_MERGE = 1u << 4,	   /* strategic merge: a list is merged by merge_key */
	FIELD_RETAIN_KEYS = 1u << 5,
	FIELD_ATOMIC = 1u << 6, /* a map or struct that server-side apply takes whole */
};

struct type;

struct field {
	const char *name;
	uint32_t number; /* in protobuf */
	enum field_type type;
	enum field_shape shape;
	unsigned int flags;
	const struct type *of;	   /* FIELD_STRUCT */
	const char *merge_key;	   /* NULL: the list's values are their own keys */
	const char *const *values; /* of an enumeration, NULL-terminated; NULL: any */
	const char *otherwise;	   /* its default as JSON text, NULL: none */
	const char *help;	   /* may be NULL */
};

struct type {
	const char *name;    /* "PodSpec" */
	const char *package; /* "io.k8s.api.core.v1" */
	const char *help;
	const struct field *fields;
	size_t fields_n;
};

/* One printed column. */
struct column {
	const char *name;
	const char *type;   /* "string", "integer", "date" */
	const char *format; /* "name" or "" */
	int priority;	    /* above 0: wide output only */
	const char *cell;   /* ".spec.replicas", or "@words" for a cell function of table.c */
	const char *help;
};

enum {
	KIND_NAMESPACED = 1u << 0,
	KIND_NO_STORE = 1u << 1,  /* a review or an option body: nothing is kept */
	KIND_STATUS = 1u << 2,	  /* has the status subresource */
	KIND_SCALE = 1u << 3,	  /* has the scale subresource */
	KIND_OVERWRITE = 1u << 4, /* leases and events: kept without history */
	KIND_CUSTOM = 1u << 5,	  /* made at run time: JSON and merge patches only */
	KIND_COMPUTED = 1u << 6,  /* made on request: get and list only */
};

struct kind {
	const char *group;   /* "" is the core group */
	const char *version; /* "v1" */
	const char *name;    /* "Deployment" */
	const char *plural;  /* the resource: "deployments"; "" for a body without resource */
	const char *singular;
	const char *const *short_names; /* NULL-terminated, never NULL */
	const char *const *categories;	/* NULL-terminated, never NULL */
	const char *const *subs;	/* subresources, NULL-terminated, never NULL */
	unsigned int flags;
	const struct type *type;
	const struct column *columns;
	size_t columns_n;
	const struct kind *stored; /* the version that is kept; itself for that one */
	const char *warning;	   /* told to users of this version; NULL: none */
	/* What field selectors may name besides metadata.name and .namespace; NULL: nothing. */
	const char *const *selectable;
};

/* All kinds in the order of declaration: kind_at(0) ... until NULL. */
const struct kind *kind_at(size_t i);

/* Lookups: NULL when there is none. */
const struct kind *kind_of_resource(const char *group, const char *version, const char *plural);
const struct kind *kind_of_name(const char *group, const char *version, const char *name);
const struct kind *kind_of_api(const char *api_version, const char *name); /* "apps/v1" */
/* By plural, singular, kind or short name in any group; the first declared wins. */
const struct kind *kind_of_word(const char *word);

/* Whether it is this kind, in any of its versions. */
bool kind_is(const struct kind *k, const char *group, const char *name);

/* "v1", "apps/v1" into `ret` of `room` bytes; returns ret. "" when it does not fit. */
char *kind_api(const struct kind *k, char *ret, size_t room);
/* "deployments.apps", "pods": how messages name a resource. */
char *kind_resource(const struct kind *k, char *ret, size_t room);

/* Whether a field selector may name this path. */
bool kind_selects(const struct kind *k, const char *path);

/* Custom kinds, at most KIND_CUSTOM_MAX. false: full, or group, version and resource are taken. */
#define KIND_CUSTOM_MAX 512
bool kind_add(const struct kind *k);
void kind_remove(const struct kind *k);

/* A field by its JSON name, inlined ones included; by its protobuf number. NULL: none. */
const struct field *type_field(const struct type *t, const char *name);
const struct field *type_field_number(const struct type *t, uint32_t number);

/* A type by its full OpenAPI name ("io.k8s.api.core.v1.PodSpec"), all types in turn. */
const struct type *type_at(size_t i);
const struct type *type_of_name(const char *name);

/* The tables, as tool/kinds writes them. */
extern const struct kind kinds_built_in[];
extern const size_t kinds_built_in_n;
extern const struct type *const types_built_in[];
extern const size_t types_built_in_n;
