/*
 * The Kubernetes API over HTTPS: REST verbs, discovery, OpenAPI, Tables, watches, and who may do
 * what. Everything about objects is asked of a client (cluster/objects/client.h), everything about
 * running pods of the nodes (node_ops.h); this room speaks HTTP.
 *
 *	kube_new(&(struct kube_options){.loop = loop, .client = &client, ...}, &kube, e);
 *	kube_listen(kube, fd, e);
 */
#pragma once

#include "cluster/objects/client.h"
#include "cluster/objects/informer.h"
#include "cluster/objects/node_ops.h"
#include "ground/base/world.h"

struct loop;
struct kube;

struct kube_options {
	struct loop *loop;
	const struct world *world;   /* NULL: the real one */
	const struct client *client; /* outlives the server; requests lend it their identity */
	const char *folder;	     /* where certificates and keys are kept: made at first start */
	const char *address;	     /* "127.0.0.1:6443": what the kubeconfig says */
	const char *service_ip;	     /* first of the service range: "10.96.0.1" */
	const char *version;	     /* of this program */
	const struct node_directory *nodes; /* NULL: nothing of running pods */
};

/* Opens or makes the certificates; begins to watch roles. ERR_* names the file that is wrong. */
int kube_new(const struct kube_options *o, struct kube **ret, struct err *e) must_use;
struct kube *kube_free(struct kube *k); /* returns NULL */

/* Serves a listening TCP socket (taken) over TLS. */
int kube_listen(struct kube *k, int fd, struct err *e) must_use;

/*
 * Makes what every cluster has (namespaces, roles, priorities, the service `kubernetes`) where
 * it is missing; done(ctx) once it is there.
 */
void kube_bootstrap(struct kube *k, void (*done)(void *ctx), void *ctx);

/* A token for a service account, as objects_options.sign_token wants it; ctx is the kube. */
int kube_sign_token(void *kube, const struct object *account, const struct json *spec,
		    struct json **ret_status, struct err *e);

/* Tokens that are bound to a pod end with it, once the server may see pods. NULL: no more. */
void kube_use_informers(struct kube *k, struct informers *informers);

const char *kube_ca_pem(const struct kube *k); /* of the cluster's authority */
