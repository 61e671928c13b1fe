/*
 * The token of a pod's service account, asked for when the pod is made and again before it ends. It
 * is bound to the pod: the API takes it no longer once the account is gone.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

#define TOKEN_SECONDS 3607

static void arrived(void *ctx, const struct outcome *o)
{
	struct pod *p = ctx;
	const char *token = json_get_text(json_get(o->body, "status"), "token");
	int64_t now = loop_now_ms(p->agent->loop);

	assert(p->magic == POD_MAGIC);
	p->token_busy = false;
	if (o->error || !token) {
		log_warn("pod %s: no token: %s", p->key, o->error ? o->error->text : "empty");
		workqueue_add_after(p->agent->queue, p->key, 1000);
		return;
	}
	free(p->token);
	p->token = mem_dup_text(token);
	p->token_until_ms = now + (int64_t)TOKEN_SECONDS * 800; /* at 80 % of its life */
	workqueue_add_after(p->agent->queue, p->key, (int64_t)TOKEN_SECONDS * 800);
	pod_again(p);
}

static void ask(struct pod *p, const char *account, const struct json *source)
{
	const struct kind *k = kind_of_resource("", "v1", "serviceaccounts");
	struct json *request = json_new_object(), *spec = json_new_object(),
		    *bound = json_new_object();
	const char *audience = json_get_text(source, "audience");

	if (audience && audience[0]) {
		json_set(spec, "audiences", json_new_array());
		json_append(json_get(spec, "audiences"), json_new_text(audience));
	}
	json_set_i64(spec, "expirationSeconds", TOKEN_SECONDS);
	json_set_text(bound, "kind", "Pod");
	json_set_text(bound, "apiVersion", "v1");
	json_set_text(bound, "name", p->name);
	json_set_text(bound, "uid", p->uid);
	json_set(spec, "boundObjectRef", bound);
	json_set_text(request, "kind", "TokenRequest");
	json_set_text(request, "apiVersion", "authentication.k8s.io/v1");
	json_set(request, "spec", spec);
	p->token_busy = true;
	client_create(&p->agent->client, &(struct client_target){k, p->namespace, account, "token"},
		      request, NULL, arrived, p);
}

const char *pod_token(struct pod *p, const struct json *pod, const struct json *source)
{
	const char *account = json_get_text(json_get(pod, "spec"), "serviceAccountName");
	bool due = p->token && loop_now_ms(p->agent->loop) >= p->token_until_ms;

	if ((!p->token || due) && !p->token_busy)
		ask(p, account ? account : "default", source);
	return p->token;
}
