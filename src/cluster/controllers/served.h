/*
 * What a service is served by: its pods, each with its address of one family and the ports that
 * the service's ports mean on it. Endpoints and endpoint slices are two forms of the same.
 */
#pragma once

#include "cluster/controllers/controllers_priv.h"

#define MANAGED_BY_ENDPOINTS "endpoints.kubernetes.io/managed-by"
#define MANAGED_BY_SLICES    "endpointslice.kubernetes.io/managed-by"
#define HEADLESS_LABEL	     "service.kubernetes.io/headless"
#define SERVICE_NAME_LABEL   "kubernetes.io/service-name"

/* Handlers: services themselves, and the services that a pod serves or served. */
void served_subscribe(struct controller *c);

/* Whether the service's endpoints are made from pods at all. */
bool served_has_selector(const struct object *service);
bool served_is_headless(const struct object *service);
bool served_publishes_unready(const struct object *service);
/* "IPv4" or "IPv6", as spec.ipFamilies has them in order; NULL behind the last. */
const char *served_family(const struct object *service, size_t i);

/* Each pod that the selector takes and that has not ended. */
void served_each(const struct controller *c, const struct object *service,
		 void (*fn)(void *ctx, const struct object *pod), void *ctx);
/* The pod's address of a family; NULL: it has none yet. */
const char *served_address(const struct controller *c, const struct object *pod,
			   const char *family);
/* What the service's ports are on this pod: [{name, port, protocol, appProtocol}]. */
struct json *served_ports(const struct controller *c, const struct object *service,
			  const struct object *pod);
/* Members that both forms have: targetRef, nodeName, hostname. */
void served_describe(const struct controller *c, struct json *address, const struct object *service,
		     const struct object *pod);
/* The labels of what is made for a service. */
struct json *served_labels(const struct object *service, const char *managed_by,
			   const char *manager);
