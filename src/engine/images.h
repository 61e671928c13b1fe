/*
 * Images, as an API sees them: the engine passes these to virt/image, adds the owner, says the
 * events, and refuses to remove what a container uses.
 */
#pragma once

#include "engine/workload.h"

/* Progress of long work; any text may be NULL. current, total: bytes, 0 when unknown. */
struct progress {
	const char *status; /* "Downloading", "Pull complete", "Digest: sha256:..." */
	const char *id;	    /* a layer's short id; NULL: the whole */
	int64_t current, total;
	/* push only: the end */
	const char *aux_tag, *aux_digest;
	int64_t aux_size;
};
typedef void engine_progress(void *ctx, const struct progress *p);

struct registry_auth { /* X-Registry-Auth, decoded; all NULL: anonymous */
	const char *username, *password, *server_address, *identity_token, *registry_token;
};

/* Cancels long work whose client went away; no callback after this. */
struct image_job;
void image_job_cancel(struct image_job *j);

struct pull_options {
	const char *reference; /* "alpine:3", "host:5000/a@sha256:..." */
	const char *platform;
	struct registry_auth auth;
	bool all_tags;
};
struct image_job *engine_pull(struct user *u, const struct pull_options *o,
			      engine_progress *progress, engine_done *done, void *ctx);
struct image_job *engine_push(struct user *u, const char *reference,
			      const struct registry_auth *auth, engine_progress *progress,
			      engine_done *done, void *ctx);

/* docker load: any archive kind. loaded: NULL-terminated "Loaded image: x" subjects. */
typedef void engine_loaded(void *ctx, char *const *loaded, const struct err *e);
struct feed *engine_load(struct user *u, engine_progress *progress, engine_loaded *done, void *ctx);
/* docker save: OCI layout with docker's manifest.json. refs NULL-terminated. */
struct stream *engine_save(struct user *u, char *const *refs, const struct sink *sink);
/* docker import: a root file system as one layer. */
struct import_options {
	const char *reference, *message, *platform;
	char *const *changes;
};
typedef void engine_imported(void *ctx, const char *image_id, const struct err *e);
struct feed *engine_import(struct user *u, const struct import_options *o, engine_imported *done,
			   void *ctx);

void engine_tag(struct user *u, const char *ref, const char *reference, engine_done *done,
		void *ctx);

struct image_gone {
	const char *untagged, *deleted; /* one of them */
};
typedef void engine_image_gone(void *ctx, const struct image_gone *list, size_t n,
			       int64_t freed_bytes, const struct err *e);
void engine_image_remove(struct user *u, const char *ref, bool force, bool no_prune,
			 engine_image_gone *done, void *ctx);
/* filters: dangling (default true), until, label. */
void engine_image_prune(struct user *u, const struct filters *f, engine_image_gone *done,
			void *ctx);

struct image_history {
	int64_t created_ns;
	const char *created_by, *comment, *id; /* id "<missing>" or the image's */
	int64_t size_bytes;
	char *const *tags;
};

struct image_view {
	const char *id;			    /* "sha256:..." of the config */
	char *const *tags, *const *digests; /* NULL-terminated, never NULL */
	const char *parent;
	int64_t created_ns, size_bytes;
	const char *architecture, *os, *variant, *author, *comment;
	const struct container_config *config;
	char *const *layers; /* DiffIDs */
	int64_t last_tagged_ns;
	int containers; /* how many use it */
};
/* Whether a text can name an image at all. ERR_INVALID says why not. */
int engine_image_check_name(const char *text, struct err *e) must_use;
int engine_image_inspect(struct user *u, const char *ref, struct arena *a, struct image_view **ret,
			 struct err *e) must_use;
int engine_image_history(struct user *u, const char *ref, struct arena *a,
			 struct image_history **ret, size_t *ret_n, struct err *e) must_use;
/* filters: dangling label before since reference until. all: unused today (no intermediate images).
 */
int engine_images(struct user *u, bool all, const struct filters *f, struct arena *a,
		  struct image_view ***ret, size_t *ret_n, struct err *e) must_use;
