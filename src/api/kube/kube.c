/*
 * The API server: its life, and the way of one request: path, identity, right, verb.
 */
#include "api/kube/kube.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

#define PATH_BYTES_MAX 4096
#define RENEWAL_MS     (INT64_C(24) * 3600 * 1000)

static void run_page(struct kube_request *r, const char *path)
{
	if (authorize_path(r, path) < 0)
		return;
	if (!page_run(r, path))
		answer_status(r, 404, "NotFound", NULL,
			      "the server could not find the requested resource");
}

static void run(struct kube_request *r, const char *path)
{
	bool object = path_read(r, path);

	answer_negotiate(r);
	if (authenticate(r) < 0)
		return;
	r->client = r->kube->client;
	r->client.identity = r->identity;
	if (!object)
		run_page(r, path);
	else if (authorize(r) == 0)
		verb_run(r);
}

/* "/apis/" is "/apis". */
static const char *without_slash(struct arena *a, const char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	return arena_dup(a, (struct str){path, n});
}

static void handle(void *arg, struct http_request *http)
{
	struct kube *k = arg;
	struct kube_request *r = mem_new(struct kube_request);
	const char *path = http_request_path(http);

	assert(k->magic == KUBE_MAGIC);
	r->magic = KUBE_REQUEST_MAGIC;
	r->kube = k;
	r->http = http;
	r->name = r->namespace = r->group = r->resource = "";
	list_append(&k->requests, &r->link);
	if (strlen(path) > PATH_BYTES_MAX) {
		answer_status(r, 414, "", NULL, "the path is longer than %d bytes", PATH_BYTES_MAX);
		return;
	}
	run(r, without_slash(&r->arena, path));
}

/* Certificates last a year; clients that are connected notice nothing. */
static void renew(void *arg)
{
	struct kube *k = arg;
	struct err e = {0};
	int made = credentials_renew(k, &e);

	if (made > 0)
		made = http_server_renew_tls(k->http, &k->server, k->ca.cert_pem, &e);
	if (made < 0)
		log_error("cannot renew the certificates of the Kubernetes API: %s", e.text);
}

int kube_new(const struct kube_options *o, struct kube **ret, struct err *e)
{
	struct kube *k = mem_new(struct kube);

	assert(o->loop && o->client && o->folder && o->address);
	k->magic = KUBE_MAGIC;
	k->o = *o;
	k->loop = o->loop;
	k->world = o->world ? o->world : &world_real;
	k->client = *o->client;
	list_init(&k->requests);
	list_init(&k->watches);
	list_init(&k->streams);
	k->events = event_cache_new();
	k->deadlines = loop_timer_new(k->loop, watch_deadlines, k);
	k->renewals = loop_timer_new(k->loop, renew, k);
	loop_timer_set(k->renewals, RENEWAL_MS, RENEWAL_MS);
	if (credentials_open(k, e) < 0 || http_server_new(k->loop, handle, k, &k->http, e) < 0) {
		(void)kube_free(k);
		return -(int)e->kind;
	}
	k->rbac = rbac_new(k);
	k->accounts = accounts_new(k);
	k->csr_signer = signer_new(k);
	*ret = k;
	return 0;
}

struct kube *kube_free(struct kube *k)
{
	if (!k)
		return NULL;
	assert(k->magic == KUBE_MAGIC);
	watch_end_all(k);
	streams_end(&k->streams);
	k->http = http_server_free(k->http);
	k->deadlines = loop_timer_free(k->deadlines);
	k->renewals = loop_timer_free(k->renewals);
	k->events = event_cache_free(k->events);
	k->rbac = rbac_free(k->rbac);
	k->accounts = accounts_free(k->accounts);
	k->csr_signer = signer_free(k->csr_signer);
	authenticate_done(k);
	pki_pair_done(&k->ca);
	pki_pair_done(&k->server);
	pki_pair_done(&k->signer);
	k->magic = 0;
	free(k);
	return NULL;
}

int kube_listen(struct kube *k, int fd, struct err *e)
{
	assert(k->magic == KUBE_MAGIC);
	return http_server_listen_tls(k->http, fd, &k->server, k->ca.cert_pem, e);
}
