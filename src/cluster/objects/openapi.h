/*
 * OpenAPI from the kinds' tables: v3 per group version, v2 in one document. Both are trees that the
 * caller frees and should keep as bytes: they change only with custom kinds.
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/format/json.h"

/* One group version's v3 document; NULL when no kind has it. */
struct json *openapi_v3(const char *group, const char *version);
/* The whole v2 document as JSON. */
struct json *openapi_v2(void);
