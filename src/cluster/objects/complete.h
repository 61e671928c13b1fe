/*
 * Completing: fills in what a request left out, by the tables and by a few functions where a
 * default depends on other fields (a ":latest" image is always pulled, a host port follows the
 * container's). Completing twice changes nothing. Works on trees that decode.h accepted,
 * in the form that is stored (convert.h).
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/format/json.h"

void complete(const struct kind *k, struct json *object);
