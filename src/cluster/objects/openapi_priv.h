/*
 * What the files of OpenAPI share. The two dialects differ in where schemas stand and in how a
 * reference is written beside a description.
 */
#pragma once

#include "cluster/objects/openapi.h"

enum dialect { OPENAPI_V2, OPENAPI_V3 };

void openapi_type_name(const struct type *t, struct strbuf *out);
struct json *openapi_schema(const struct type *t, enum dialect dialect);
/* Adds "x-kubernetes-group-version-kind" to the schemas of the kinds' own types. */
void openapi_name_kinds(struct json *schemas, const char *group, const char *version);
/* Quantity, IntOrString and Time, which are not in the tables. */
void openapi_add_scalars(struct json *schemas);
void openapi_add_paths(struct json *paths, const struct kind *k, enum dialect dialect);
