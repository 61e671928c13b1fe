/*
 * A registry, as one task sees it: a repository on a host (and its mirrors), with credentials.
 * Distribution-spec 1.1. It finds the scheme, answers challenges (Basic, Bearer tokens), walks over
 * mirrors, and turns statuses into errors that say what to do. Credentials go to the registry
 * itself and to the token realm it names over https (or the same host when the registry is
 * insecure), never anywhere else.
 */
#pragma once

#include "virt/image/image_priv.h"

struct http_call;
struct registry;
struct registry_call;

struct registry_options {
	const struct reference *reference;
	const struct image_auth *auth;
	bool push; /* asks for the right to push; no mirrors */
};
int registry_open(struct image_store *s, const struct registry_options *o, struct registry **ret,
		  struct err *e) must_use;
struct registry *registry_ref(struct registry *r);
/* Drops a reference; the last cancels its calls. NULL allowed; returns NULL. */
struct registry *registry_free(struct registry *r);
const char *registry_host(const struct registry *r);
struct loop *registry_loop(const struct registry *r);

struct registry_reply {
	int status;
	struct str body;				      /* collected, when asked for */
	const char *content_type, *location, *digest, *range; /* headers, NULL when absent */
};

struct registry_request {
	const char *method; /* NULL: GET */
	const char *path;   /* "manifests/latest", below /v2/REPOSITORY/; or absolute "http...",
			       "/v2/..." */
	const char *accept; /* header values; NULL: none */
	const char *content_type;
	const char *content_range;
	uint64_t from;	 /* Range: bytes=from- ; 0: none */
	struct str body; /* copied */
	int body_fd;	 /* -1: none; else body_size bytes from body_offset */
	int64_t body_offset, body_size;
	size_t collect_max; /* reply bodies are gathered up to this; 0: given to data */
	void (*data)(void *arg, struct registry_call *c, const void *p, size_t n);
	/* e set: no usable reply. Statuses below 400 and 404 are replies; others become errors. */
	void (*done)(void *arg, const struct registry_reply *reply, const struct err *e);
	void *arg;
};
int registry_ask(struct registry *r, const struct registry_request *q, struct registry_call **ret,
		 struct err *e) must_use;
struct registry_call *registry_cancel(struct registry_call *c); /* NULL allowed; returns NULL */
void registry_pause(struct registry_call *c, bool on);
int registry_call_status(const struct registry_call *c);
/* The next mirror, or the origin after the last; false when there is none left. */
bool registry_next_endpoint(struct registry *r);
const char *registry_endpoint(const struct registry *r); /* "https://reg.lan" */

/* A blob into a layer work, resumed after cuts. It holds the registry. */
void registry_blob_source(struct registry *r, struct layer_source *ret);

/* ---- Settings and challenges (registry_auth.c) ---- */

struct registry_settings {
	char **insecure;      /* hosts, NULL-terminated */
	struct json *mirrors; /* host → list of texts */
	struct map plain;     /* hosts that turned out to speak http */
};
bool registry_loopback(const char *host); /* "localhost:5000", "127....", "[::1]..." */
bool registry_insecure(const struct registry_settings *s, const char *host);

struct registry_challenge {
	bool bearer;
	char *realm, *service, *scope;
};
/* Parses WWW-Authenticate; false: not understood. */
bool registry_challenge(const char *header, struct arena *a, struct registry_challenge *ret);
char *registry_basic(const char *user, const char *password, struct arena *a); /* "Basic ..." */
void registry_query(struct strbuf *b, const char *key,
		    const char *value); /* "&key=percent-encoded" */
/* {"errors":[{"code","message"}]} as text, or "". */
char *registry_error_text(struct str body, struct arena *a);
