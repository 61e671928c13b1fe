/*
 * The direct client: the cluster's objects in this process. It owns the one pipeline that every
 * write takes, whoever asks (api/kube, controllers, scheduler, node): decode is the caller's, then
 * strategy, defaults, admission, validation, store.
 *
 *	objects_new(&(struct objects_options){.loop = loop, .keys = keys, ...}, &objects, e);
 *	struct client c = objects_client(objects, (struct identity){"system:kube-scheduler"});
 */
#pragma once

#include "cluster/objects/client.h"
#include "ground/base/world.h"

struct keys;
struct loop;
struct objects;

struct objects_options {
	struct loop *loop;
	struct keys
		*keys; /* opened with objects_index and objects_index_free; outlives the objects */
	const struct world *world; /* NULL: the real one */
	const char *service_cidr;  /* "10.96.0.0/16": where cluster IPs come from */
	const char *service_cidr6; /* NULL: none */
	unsigned int node_ports_first, node_ports_last; /* 0: 30000 to 32767 */
	/*
	 * Signs a token for a service account (TokenRequest): the bound object, audiences and
	 * seconds are read from spec; the answer is a TokenRequest's status. NULL: tokens are not
	 * issued.
	 */
	int (*sign_token)(void *ctx, const struct object *account, const struct json *spec,
			  struct json **ret_status, struct err *e);
	void *ctx;
};

int objects_new(const struct objects_options *o, struct objects **ret, struct err *e) must_use;
struct objects *objects_free(struct objects *o); /* returns NULL */

/* The identity's texts must outlive the client. */
struct client objects_client(struct objects *o, struct identity identity);
/* The counter: what a list made now would say. */
uint64_t objects_revision(const struct objects *o);

/* For keys_options: extracts a struct object from stored bytes. */
struct key_value;
void *objects_index(void *ctx, const struct key_value *v);
void objects_index_free(void *index);
