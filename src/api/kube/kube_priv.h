/*
 * The inside of the API server: one request on its way. It is read from its path (path.c), gets an
 * identity (authenticate.c), is allowed (authorize.c), and is answered by the row of its verb
 * (verbs.c) or by a page that is no object (discovery.c, documents.c, health.c).
 */
#pragma once

#include "api/kube/kube.h"
#include "ground/base/arena.h"
#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/wire/http_server.h"
#include "ground/wire/pki.h"

#define KUBE_MAGIC	   0x4b554245u
#define KUBE_REQUEST_MAGIC 0x4b524551u
#define KUBE_BODY_MAX	   ((size_t)3 << 20)

enum answer_form { ANSWER_OBJECT, ANSWER_TABLE, ANSWER_METADATA };

struct rbac;
struct accounts;
struct known;
struct signer;
struct event_cache;

struct kube {
	uint32_t magic;
	struct kube_options o;
	struct loop *loop;
	const struct world *world;
	struct client client; /* of the server itself */
	struct http_server *http;
	struct pki_pair ca, server, signer;
	struct rbac *rbac;
	struct accounts *accounts;
	struct signer *csr_signer;
	struct list requests, watches, streams;
	struct event_cache *events;
	struct loop_timer *deadlines; /* of watches */
	struct loop_timer *renewals;  /* of certificates, daily */
	struct informers *informers;  /* NULL: pods are not known */
	struct informer *pods;
	struct known *known; /* certificates that were judged already */
	bool ready;
	uint64_t served, failed;
};

struct kube_request {
	uint32_t magic;
	struct kube *kube;
	struct http_request *http;
	struct list link;
	struct arena arena;
	const char *verb; /* as roles say it: "get", "deletecollection" */
	const struct kind *kind;
	const char *group, *version, *resource;	   /* as in the path */
	const char *namespace, *name, *sub, *rest; /* "" and NULL where there is none */
	const char *body_name;			   /* what a body calls itself; NULL */
	struct identity identity;
	struct client client; /* with this identity */
	enum answer_form form;
	bool yaml;		   /* the answer is to be called that */
	const char *table_version; /* "meta.k8s.io/v1" */
	const char *const *warnings;
	/* of a proxy */
	uint16_t port;
	const char *port_name;
};

/* -- path.c ------------------------------------------------------------------------------------ */

/* Reads the path of an object or list. false: it is none. kind NULL: nobody knows the resource. */
bool path_read(struct kube_request *r, const char *path);

/* -- answer.c ---------------------------------------------------------------------------------- */

/* Ends the request. Trees are the callee's. */
void answer_json(struct kube_request *r, int status, struct json *j);
void answer_text(struct kube_request *r, int status, const char *type, struct str text);
void answer_object(struct kube_request *r, int status, const struct object *o);
void answer_list(struct kube_request *r, const struct list_outcome *l);
/* A Status with the reason of its code. details may be NULL. */
void answer_status(struct kube_request *r, int code, const char *reason, const struct json *details,
		   const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void answer_error(struct kube_request *r, const struct err *e);
void answer_outcome_error(struct kube_request *r, const struct outcome *o);
/* The tree of such a Status. */
struct json *status_of(const struct kube_request *r, int code, const char *reason,
		       const char *message, const struct json *details);
const char *status_reason(int code, enum err_kind kind);
/* What the Accept header asks for. */
void answer_negotiate(struct kube_request *r);
bool answer_is_acceptable(const struct kube_request *r); /* to its Accept header */
/* The object in the version that was asked for; the caller's. */
struct json *answer_tree(const struct kind *asked, const struct object *o);
void answer_write(const struct kind *asked, const struct object *o, struct strbuf *out);
void request_end(struct kube_request *r); /* frees it; its reply is out */

/* -- query.c, verbs.c -------------------------------------------------------------------------- */

void verb_run(struct kube_request *r);
void watch_run(struct kube_request *r);
void watch_deadlines(void *kube);
void watch_end_all(struct kube *k);
struct event_cache *event_cache_new(void);
struct event_cache *event_cache_free(struct event_cache *c);
/* Selectors of the query; 0, or the request is answered. */
int query_selectors(struct kube_request *r, struct selector *labels, struct selector *fields);
int query_revision(struct kube_request *r); /* the same of the options about revisions */
bool query_flag(const struct kube_request *r, const char *name);
/* The same of a list, a write and a delete, whose body may be NULL. */
int query_list(struct kube_request *r, struct list_query *q, struct selector *labels,
	       struct selector *fields);
int query_write(struct kube_request *r, struct write_options *o);
int query_delete(struct kube_request *r, const struct json *body, struct delete_options *o);
bool review_run(struct kube_request *r, struct json *body); /* body taken when true */
void stream_run(struct kube_request *r); /* log, exec, attach, portforward, proxy */
bool stream_is(const struct kube_request *r);
/* Kinds that nobody stores: what is used now, how parts of the control plane do. */
void computed_run(struct kube_request *r, const struct list_query *q);
void streams_end(struct list *streams); /* with the server */

/*
 * Nobody hands out rights that he has not: whether this writes roles or bindings for somebody who
 * must be judged; 0, or the request is answered with 403.
 */
bool grant_is_judged(const struct kube_request *r);
int grant_check(struct kube_request *r, const struct json *object);
void grant_patch(struct kube_request *r, const struct client_target *t, enum patch_type how,
		 struct json *patch, const struct write_options *o, client_done *done);

/* -- pages ------------------------------------------------------------------------------------- */

bool page_run(struct kube_request *r, const char *path); /* false: there is none */
bool discovery_page(struct kube_request *r, const char *path);
bool documents_page(struct kube_request *r, const char *path);
bool health_page(struct kube_request *r, const char *path);
bool page_is_open(const char *path); /* to anybody */

/* -- who --------------------------------------------------------------------------------------- */

/* Finds r->identity. 0, or the request is answered (401, 403). */
int authenticate(struct kube_request *r);
int impersonate(struct kube_request *r); /* the same for whom it wants to be */
/* own may be NULL; NULL-terminated like the answer, at whose end `all` stands. */
const char *const *groups_with(struct arena *a, const char *const *own, const char *all);
const char *const *account_groups(struct arena *a, const char *namespace);
void authenticate_done(struct kube *k);

struct attributes {
	const struct identity *who;
	const char *verb, *group, *resource, *sub, *namespace, *name, *path; /* path: no resource */
};
struct rbac *rbac_new(struct kube *k);
struct rbac *rbac_free(struct rbac *r);
bool rbac_allows(const struct rbac *r, const struct attributes *a, struct strbuf *why);
/* Whether somebody has all rights of a list of rules; else the first that he lacks, as text. */
bool rbac_covers(const struct rbac *r, const struct identity *who, const char *namespace,
		 const struct json *rules, struct strbuf *missing);
/* The rules of the role that a binding refers to, gathered ones included; NULL: there is none. */
struct json *rbac_bound_rules(const struct rbac *r, const struct json *binding,
			      const char *namespace);
/* The rules that hold for somebody in a namespace, as SelfSubjectRulesReview lists them. */
void rbac_rules(const struct rbac *r, const struct identity *who, const char *namespace,
		struct json *resource_rules, struct json *path_rules);
/* 0, or the request is answered with 403. */
int authorize(struct kube_request *r);
int authorize_path(struct kube_request *r, const char *path);

/* Which service accounts exist: accounts.c. */
struct accounts *accounts_new(struct kube *k);
struct accounts *accounts_free(struct accounts *a);
bool accounts_has(const struct kube *k, const char *namespace, const char *name, const char *uid);

/* Certificates for approved requests: signer.c. */
struct signer *signer_new(struct kube *k);
struct signer *signer_free(struct signer *s);

/* -- credentials.c ----------------------------------------------------------------------------- */

int credentials_open(struct kube *k, struct err *e) must_use;
/* Renews what is due. 1: the server has a new certificate. */
int credentials_renew(struct kube *k, struct err *e) must_use;
/* audience NULL: the API itself. */
int token_identity(struct kube *k, struct str token, const char *audience, struct arena *a,
		   struct identity *ret, struct err *e) must_use;
