/*
 * Signer: certificates for clients, out of requests that somebody approved. It watches requests,
 * signs what is for `kubernetes.io/kube-apiserver-client` and writes the certificate into the
 * status; what cannot be signed gets the condition Failed that says why. Requests for other signers
 * are theirs.
 *
 * Nobody becomes an administrator this way: a request for `system:masters` fails, as in Kubernetes.
 */
#include <assert.h>
#include <stdlib.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"
#include "ground/format/base64.h"
#include "ground/wire/loop.h"

#define SIGNER_NAME "kubernetes.io/kube-apiserver-client"
#define NS_PER_S    INT64_C(1000000000)
#define LIFE_S	    (INT64_C(365) * 24 * 3600)
#define LIFE_LEAST  600
#define BEFORE_S    300 /* clocks of others may be late */

struct signer {
	struct kube *kube;
	struct client_watch *watch;
	const struct object **waiting; /* for this turn's end; references */
	size_t n, room;
};

static const struct kind *requests(void)
{
	return kind_of_resource("certificates.k8s.io", "v1", "certificatesigningrequests");
}

static bool has_condition(const struct json *tree, const char *type)
{
	const struct json *one =
		json_find(json_get(json_get(tree, "status"), "conditions"), "type", type);

	return one && !text_eq(json_get_text(one, "status"), "False");
}

static bool is_due(const struct json *tree)
{
	const char *have = json_get_text(json_get(tree, "status"), "certificate");

	return text_eq(json_get_text(json_get(tree, "spec"), "signerName"), SIGNER_NAME) &&
	       (!have || !have[0]) && has_condition(tree, "Approved") &&
	       !has_condition(tree, "Denied") && !has_condition(tree, "Failed");
}

/* -- one certificate --------------------------------------------------------------------------- */

static int check_subject(const struct kube *k, const char *pem, int64_t now_s, struct err *e)
{
	struct pki_identity who = {0};
	int r = pki_identify(k->ca.cert_pem, str_of(pem), now_s, &who, e);

	if (r == 0 && text_in("system:masters", who.groups))
		r = err_set(e, ERR_FORBIDDEN,
			    "use of " SIGNER_NAME
			    " signer with system:masters group is not allowed");
	pki_identity_done(&who);
	return r;
}

static int make(const struct kube *k, const struct json *spec, char **ret_pem, struct err *e)
{
	int64_t now = world_now_ns(k->world) / NS_PER_S;
	int64_t life = json_get_i64(spec, "expirationSeconds", LIFE_S);
	auto_strbuf struct strbuf request = {0};
	auto_free char *pem = NULL;
	int r = 0;

	if (!json_lists(json_get(spec, "usages"), "client auth"))
		return err_set(e, ERR_INVALID, "usages of " SIGNER_NAME " include \"client auth\"");
	if (base64_decode(json_str(json_get(spec, "request")), &request, e) < 0)
		return -ERR_INVALID;
	if (life < LIFE_LEAST)
		life = LIFE_LEAST;
	r = pki_sign(&k->ca, strbuf_str(&request), now - BEFORE_S, now + life, &pem, e);
	if (r == 0)
		r = check_subject(k, pem, now, e);
	if (r == 0)
		*ret_pem = take(pem);
	return r;
}

static void add_failure(const struct kube *k, struct json *status, const char *why)
{
	struct json *one = json_new_object();
	char now[RFC3339_CHARS + 1];

	rfc3339_seconds(world_now_ns(k->world), now);
	json_set_text(one, "type", "Failed");
	json_set_text(one, "status", "True");
	json_set_text(one, "reason", "SignerValidationFailure");
	json_set_text(one, "message", why);
	json_set_text(one, "lastUpdateTime", now);
	json_set_text(one, "lastTransitionTime", now);
	json_append(json_make_array(status, "conditions"), one);
}

static void sign(struct signer *s, const struct object *o)
{
	struct json *tree = object_copy(o), *status = json_make_object(tree, "status");
	auto_strbuf struct strbuf text = {0};
	auto_free char *pem = NULL;
	struct err e = {0};

	if (make(s->kube, json_get(tree, "spec"), &pem, &e) < 0) {
		add_failure(s->kube, status, e.text);
	} else {
		base64_encode(str_of(pem), &text);
		json_set_text(status, "certificate", strbuf_text(&text));
	}
	/* Who changed it meanwhile made it come again. */
	client_update(&s->kube->client,
		      &(struct client_target){requests(), NULL, o->name, "status"}, tree, NULL,
		      NULL, NULL);
}

/* -- the watch --------------------------------------------------------------------------------- */

static void sign_all(void *arg)
{
	struct signer *s = arg;

	for (size_t i = 0; i < s->n; i++) {
		sign(s, s->waiting[i]);
		(void)object_unref(s->waiting[i]);
	}
	s->n = 0;
}

static void changed(void *ctx, const struct watch_event *v)
{
	struct signer *s = ctx;

	if (!v->object || v->type == WATCH_DELETED || !is_due(object_tree(v->object)))
		return;
	if (s->n == 0)
		loop_defer(s->kube->loop, sign_all, s);
	mem_grow(s->waiting, s->n + 1, s->room);
	s->waiting[s->n++] = object_ref(v->object);
}

static void broke(void *ctx, const struct err *e);

static void begin(struct signer *s)
{
	client_watch(&s->kube->client, &(struct client_target){requests()}, NULL,
		     &(struct watch_sink){changed, broke, s}, &s->watch);
}

static void broke(void *ctx, const struct err *e)
{
	(void)e;
	begin(ctx);
}

struct signer *signer_new(struct kube *k)
{
	struct signer *s = mem_new(struct signer);

	s->kube = k;
	begin(s);
	return s;
}

struct signer *signer_free(struct signer *s)
{
	if (!s)
		return NULL;
	client_unwatch(&s->kube->client, s->watch);
	loop_defer_cancel(s->kube->loop, sign_all, s);
	for (size_t i = 0; i < s->n; i++)
		(void)object_unref(s->waiting[i]);
	free(s->waiting);
	free(s);
	return NULL;
}
