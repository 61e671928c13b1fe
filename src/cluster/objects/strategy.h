/*
 * Strategies: which parts of an object a request may write. A create brings no status; an update
 * leaves status and what the server sets alone; a write of the status subresource changes nothing
 * but status. All in place, before complete() and validate(), after metadata.uid is set.
 *
 *	strategy_create(k, object);
 *	complete(k, object);
 *	validate(k, object, NULL, &causes);
 */
#pragma once

#include "cluster/objects/client.h"
#include "cluster/objects/kind.h"
#include "ground/format/json.h"

/* Drops status, begins generation, gives a Job its selector and labels. */
void strategy_create(const struct kind *k, struct json *object);

/* Who asks for a certificate is written down by the server. `who` may be NULL. */
void strategy_requester(const struct kind *k, struct json *object, const struct identity *who);

/* Status and the server's metadata as in `old`; generation goes up when what is wanted differs:
 * call it again after complete(), which may have filled the object up to what it was. */
void strategy_update(const struct kind *k, struct json *object, const struct json *old);

/* Only status stays as it is in `object`. */
void strategy_status(const struct kind *k, struct json *object, const struct json *old);
