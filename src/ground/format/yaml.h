/*
 * YAML as another spelling of JSON: one document becomes the JSON text that says the same. Plain
 * words are read as Kubernetes' tools read them (YAML 1.1: `yes` is true, `0777` octal, an empty
 * value null); a key that stands twice stands twice in the text too, for whoever looks for that.
 *
 * Not taken: anchors and aliases, which make much out of little; tags other than of plain values.
 */
#pragma once

#include "ground/base/err.h"
#include "ground/base/str.h"

/* `what` names the source in errors: "the body: line 3, column 1: ...". Depth: JSON_DEPTH_MAX. */
int yaml_to_json(struct str text, const char *what, struct strbuf *out, struct err *e) must_use;
