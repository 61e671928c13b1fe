/*
 * OpenAPI from the kinds' tables: v3 per group version, v2 in one document, which older clients
 * want as protobuf. Making one costs milliseconds: keep the bytes, they change only with custom
 * kinds. A custom kind appears in paths; its schema is an open object.
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/format/json.h"

/* One group version's v3 document; NULL when no kind has it. */
struct json *openapi_v3(const char *group, const char *version);

/* The whole v2 document as JSON. */
struct json *openapi_v2(void);

/* The same as gnostic's openapi.v2.Document, which kubectl before 1.27 cannot do without. */
void openapi_v2_protobuf(struct strbuf *out);
