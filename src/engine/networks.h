/*
 * Networks, as an API sees them. bridge, host and none are always there and cannot be removed.
 */
#pragma once

#include "engine/workload.h"

struct ipam_config {
	char *subnet, *ip_range, *gateway;
	struct json_pair *aux_addresses;
};

struct network_request {
	char *name, *driver; /* "bridge" (default) */
	bool internal, attachable, ingress, enable_ipv6, config_only;
	bool *enable_ipv4;
	char *ipam_driver;
	struct ipam_config *ipam;
	size_t ipam_n;
	struct json_pair *options, *labels;
};

int network_request_read(const struct json *body, struct arena *a, struct network_request *ret,
			 struct err *e) must_use;

typedef void engine_network_made(void *ctx, const char *id, const char *warning,
				 const struct err *e);
/* ERR_EXISTS: the name is taken (Docker's 409). ERR_CONFLICT: the subnet overlaps another. */
void engine_network_create(struct user *u, const struct network_request *r,
			   engine_network_made *done, void *ctx);
/* ERR_FORBIDDEN: predefined, or in use ("has active endpoints"). */
void engine_network_remove(struct user *u, const char *ref, engine_done *done, void *ctx);
void engine_network_connect(struct user *u, const char *ref, const char *container,
			    const struct endpoint_request *r, engine_done *done, void *ctx);
void engine_network_disconnect(struct user *u, const char *ref, const char *container, bool force,
			       engine_done *done, void *ctx);
void engine_network_prune(struct user *u, const struct filters *f, engine_pruned *done, void *ctx);

struct network_member {
	const char *container_id, *name, *endpoint_id, *mac;
	const char *ipv4, *ipv6; /* with prefix: "172.17.0.2/16"; "" */
};

struct network_view {
	const char *id, *name, *driver, *scope; /* "local" */
	int64_t created_ns;
	bool internal, attachable, ingress, enable_ipv4, enable_ipv6, config_only;
	const char *ipam_driver;
	const struct ipam_config *ipam;
	size_t ipam_n;
	const struct json_pair *options, *labels;
	const struct network_member *members;
	size_t members_n;
};
int engine_network_inspect(struct user *u, const char *ref, struct arena *a,
			   struct network_view **ret, struct err *e) must_use;
/* filters: driver id label name scope type dangling. */
int engine_networks(struct user *u, const struct filters *f, struct arena *a,
		    struct network_view ***ret, size_t *ret_n, struct err *e) must_use;
