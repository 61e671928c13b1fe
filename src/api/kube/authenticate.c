/*
 * Who asks: a client certificate of the cluster's authority (common name and organizations), a
 * service account's token, or nobody in particular. Whoever may impersonate may then be somebody
 * else.
 *
 * Judging a certificate costs a signature; what was judged is remembered for a minute.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define KNOWN_MAX     256
#define KNOWN_SECONDS 60

struct known {
	struct known_one {
		char *der;
		size_t der_n;
		int64_t until_s;
		struct pki_identity who;
	} list[KNOWN_MAX];
	size_t n, next;
};

static void forget(struct known_one *o)
{
	free(o->der);
	pki_identity_done(&o->who);
	*o = (struct known_one){0};
}

void authenticate_done(struct kube *k)
{
	for (size_t i = 0; k->known && i < k->known->n; i++)
		forget(&k->known->list[i]);
	free(k->known);
	k->known = NULL;
}

static const struct pki_identity *judge(struct kube *k, struct str der, struct err *e)
{
	int64_t now_s = world_now_ns(k->world) / 1000000000;
	struct known_one *o;

	if (!k->known)
		k->known = mem_new(struct known);
	for (size_t i = 0; i < k->known->n; i++) {
		o = &k->known->list[i];
		if (o->der_n == der.n && o->until_s > now_s && memcmp(o->der, der.p, der.n) == 0)
			return &o->who;
	}
	o = &k->known->list[k->known->next];
	forget(o);
	if (pki_identify(k->ca.cert_pem, der, now_s, &o->who, e) < 0)
		return NULL;
	o->der = mem_dup_bytes(der.p, der.n);
	o->der_n = der.n;
	o->until_s = now_s + KNOWN_SECONDS;
	if (k->known->next == k->known->n)
		k->known->n++;
	k->known->next = (k->known->next + 1) % KNOWN_MAX;
	return &o->who;
}

/* The groups that everybody of a sort is in come behind his own. */
const char *const *groups_with(struct arena *a, const char *const *own, const char *all)
{
	size_t n = 0;
	const char **list;

	while (own && own[n])
		n++;
	list = arena_new_array(a, const char *, n + 2);
	for (size_t i = 0; i < n; i++)
		list[i] = arena_dup_text(a, own[i]);
	list[n] = all;
	return list;
}

static int by_certificate(struct kube_request *r, struct str der, struct err *e)
{
	const struct pki_identity *who = judge(r->kube, der, e);

	if (!who)
		return -ERR_FORBIDDEN;
	r->identity.user = arena_dup_text(&r->arena, who->name);
	r->identity.groups =
		groups_with(&r->arena, (const char *const *)who->groups, "system:authenticated");
	return 0;
}

static void anonymous(struct kube_request *r)
{
	r->identity.user = "system:anonymous";
	r->identity.groups = groups_with(&r->arena, NULL, "system:unauthenticated");
}

int authenticate(struct kube_request *r)
{
	struct str der = http_request_certificate(r->http);
	const char *header = http_request_header(r->http, "Authorization");
	struct err e = {0};
	int bad = 0;

	if (header && strncasecmp(header, "Bearer ", strlen("Bearer ")) == 0)
		bad = token_identity(r->kube, str_of(header + strlen("Bearer ")), NULL, &r->arena,
				     &r->identity, &e);
	else if (der.n)
		bad = by_certificate(r, der, &e);
	else
		anonymous(r);
	if (bad < 0) {
		answer_status(r, 401, "Unauthorized", NULL, "Unauthorized");
		return bad;
	}
	return impersonate(r);
}
