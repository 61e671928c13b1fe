/*
 * Conversion: an object of one served version as another version of the same kind has it. Most
 * versions share a form and differ in apiVersion alone; autoscaling/v1 and events.k8s.io/v1 do not.
 * Nothing is lost on the way to an older form and back: what it has no field for is kept in
 * annotations, as Kubernetes does.
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/format/json.h"

/* In place. from->stored and to->stored must be the same. */
void convert(struct json *object, const struct kind *from, const struct kind *to);
