/*
 * Images: references, manifests, registries, layers, and the directories that containers are
 * made of. The one door of the room.
 *
 * A *store* lives under <root>: compressed layers, configs and manifests as they came in
 * <root>/blob/sha256/, unpacked layers named by their DiffID in <root>/layer/HEX/fs, records
 * in <root>/image/. What was acknowledged is on disk; a crash at any instant leaves no half-
 * made image.
 *
 * Everything runs on the loop's thread. Questions answer at once from memory. Long work (pull,
 * push, load, save, import, commit, gc, trees) is a *task*: it reports progress and its end by
 * callback, never from inside the call that began it, and `done` is called exactly once (with
 * ERR_GONE after image_task_cancel). Archives from outside are parsed only in the confined
 * child hull-unpack.
 *
 *	struct image_watch w = {.progress = on_progress, .done = on_done, .ctx = req};
 *	struct image_pull p = {.reference = "alpine:3", .owner = IMAGE_OWNER_DOCKER};
 *	if (image_pull_start(store, &p, &w, &task, &e) < 0) ...	(a bad reference fails here)
 *
 * Prefixes: image_ image_store_ image_task_ image_hold_ (door), reference_ manifest_ registry_
 * layer_ (inside).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/base/own.h"
#include "ground/base/world.h"
#include "ground/format/json.h"

struct loop; /* ground/wire/loop.h */
struct image_store;
struct image_task; /* one long work under way; ends itself with `done` */
struct image_hold; /* keeps an image's layers from the garbage collector */

/* Who made a reference: each API lists, prunes and removes only its own. */
enum image_owner { IMAGE_OWNER_DOCKER, IMAGE_OWNER_KUBE, IMAGE_OWNER_CLI, IMAGE_OWNERS };
#define IMAGE_OWNER_ANY IMAGE_OWNERS /* in questions: everybody's */

#define IMAGE_LAYERS_MAX   512
#define IMAGE_CONFIG_MAX   (8u << 20) /* bytes of a config or a manifest */
#define IMAGE_DIGEST_CHARS 71	      /* "sha256:" and 64 digits */

/* ---- The store ---- */

struct image_limits {		  /* of one archive; 0 means the default */
	uint64_t bytes_max;	  /* unpacked size, 128 GiB */
	uint64_t entries_max;	  /* 4,000,000 */
	uint32_t depth_max;	  /* folders in folders, 256 */
	uint32_t xattr_bytes_max; /* of one entry, 128 KiB */
};

struct image_options {
	const char *root; /* Hull's root directory; must exist */
	struct loop *loop;
	const struct world *world;   /* NULL: the real one */
	const char *unpack_program;  /* path of hull-unpack */
	const char *architecture;    /* "amd64"; NULL: this host's */
	unsigned int layers_at_once; /* downloads and unpackings side by side; 0: 4 */
	struct image_limits limits;
	const struct json *registries; /* as registries.json, added to it; borrowed for the call */
};

/*
 * Opens or creates. Sweeps what an earlier crash left half made. Registries are configured by
 * <root>/registries.json (absent: defaults):
 *	{"insecure": ["reg.lan:5000"], "mirrors": {"docker.io": ["https://mirror.lan"]}}
 * A registry on localhost or 127.0.0.0/8 is insecure by default, as Docker has it.
 */
int image_store_open(const struct image_options *o, struct image_store **ret,
		     struct err *e) must_use;
/* Cancels tasks (their `done` is called with ERR_GONE), frees. NULL allowed. Returns NULL. */
struct image_store *image_store_close(struct image_store *s);

/* ---- An image, decoded ---- */

struct image_port {
	uint16_t port;
	const char *protocol; /* "tcp", "udp", "sctp" */
};

struct image_health { /* absent: test is NULL */
	char **test;  /* {"NONE"} | {"CMD", ...} | {"CMD-SHELL", text} */
	int64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
	int64_t retries;
};

struct image_step { /* one line of history, oldest first */
	const char *created;
	const char *created_by;
	const char *author;
	const char *comment;
	bool empty_layer;
	int64_t size_bytes; /* of its layer, 0 for an empty one */
};

/* Immutable and reference-counted. Lists are NULL-terminated, and NULL when the config has none. */
struct image {
	char id[IMAGE_DIGEST_CHARS + 1];	      /* digest of the config */
	char manifest_digest[IMAGE_DIGEST_CHARS + 1]; /* of the manifest that push would send */
	const char *architecture, *variant, *os, *author, *created, *comment;
	char **env, **entrypoint, **cmd, **volumes, **onbuild, **shell;
	const char *user, *workdir, *stop_signal, *hostname;
	const struct json_pair *labels; /* ended by a NULL key; NULL when there are none */
	const struct image_port *ports;
	size_t ports_n;
	struct image_health health;
	const struct image_step *history;
	size_t history_n;
	char **diff_ids; /* DiffIDs, bottom first */
	size_t layers_n;
	int64_t size_bytes; /* unpacked layers, shared ones included */
	int64_t created_ns; /* since the epoch; 0 when the config does not say */
	const struct json
		*config; /* the whole config as it came; its "config" key is the run part */

	unsigned int refs; /* private from here */
	struct arena arena;
	struct json *config_owned;
};

struct image *image_ref(struct image *i);
struct image *image_unref(struct image *i); /* NULL allowed; returns NULL */
own_define(image, struct image *, (void)image_unref);
#define auto_image own_auto(image)

/* ---- Questions (answered at once) ---- */

/*
 * By reference ("alpine", "alpine:3", "reg:5000/a/b@sha256:..."), by id ("sha256:..." or bare hex),
 * or by an id's first digits. ERR_NOT_FOUND: "no such image: alpine:latest"; ERR_INVALID: a bad
 * reference, or an ambiguous short id. The caller unrefs.
 */
int image_find(struct image_store *s, const char *name, struct image **ret, struct err *e) must_use;

/* All images; each is unref'd and the array freed by the caller. Order: newest first. */
size_t image_list(struct image_store *s, struct image ***ret);

/* "alpine:3" forms (familiar: docker.io/library cut off) of this owner; NULL-terminated, caller's
 * (mem_free_texts). image_digests: "alpine@sha256:...". Both are empty lists, not NULL, when none.
 */
char **image_tags(struct image_store *s, const struct image *i, enum image_owner owner);
char **image_digests(struct image_store *s, const struct image *i, enum image_owner owner);

/* The normal form of a reference: full "docker.io/library/alpine:latest", familiar "alpine:latest".
 * Either output may be NULL; caller frees. ERR_INVALID says what is wrong with it. */
int image_reference_normal(const char *name, char **ret_full, char **ret_familiar,
			   struct err *e) must_use;

struct image_usage {
	int64_t images, layers, blobs;
	int64_t layer_bytes;  /* unpacked, each layer once */
	int64_t blob_bytes;   /* compressed, each once */
	int64_t unused_bytes; /* what image_gc would free after all unheld images are removed */
};
void image_usage(struct image_store *s, struct image_usage *ret);
int64_t image_shared_bytes(struct image_store *s,
			   const struct image *i); /* layers others use too */

/* ---- Names ---- */

/* Points `reference` at the image; a former holder of the name loses it. Durable on return. */
int image_tag(struct image_store *s, const struct image *i, const char *reference,
	      enum image_owner owner, struct err *e) must_use;

struct image_removed {
	char *untagged; /* one of the two is set */
	char *deleted;
};

/*
 * Docker's rmi: a name loses its name, and the image goes with its last name; an id with several
 * names in several repositories needs `force`. Held images (image_hold) lose names, and are deleted
 * only with force, in which case layers stay until released. Results are what Docker prints, in
 * order; the caller frees with image_removed_free. Layers are freed on disk in the background.
 * Names of other owners are kept and keep the image (ERR_CONFLICT when nothing could be removed).
 */
int image_remove(struct image_store *s, const char *name, enum image_owner owner, bool force,
		 struct image_removed **ret, size_t *ret_n, struct err *e) must_use;
void image_removed_free(struct image_removed *r, size_t n);

/* ---- Roots for containers ---- */

/*
 * The image's layer directories (absolute), top first, as overlay's lowerdir wants them, with a
 * hold that keeps them until image_hold_release. Holds are not on disk: after a restart the engine
 * takes them again for each container (image_hold_id also finds images that were removed while
 * held) before its first image_gc. `who` names the holder in messages ("container 1a2b...").
 */
int image_layers(struct image_store *s, const struct image *i, const char *who, char ***ret_dirs,
		 struct image_hold **ret_hold, struct err *e) must_use;
int image_hold_id(struct image_store *s, const char *id, const char *who, char ***ret_dirs,
		  struct image_hold **ret_hold, struct err *e) must_use;
struct image_hold *image_hold_release(struct image_hold *h); /* NULL allowed; returns NULL */

/*
 * Can overlay be mounted with its layers and upper under the store's root? Probed once in a child,
 * cached. When not (root on overlay, no right to mount), the engine calls image_root_copy for each
 * container.
 */
bool image_overlay_works(struct image_store *s);

/* ---- Tasks ---- */

/* One step of progress, as Docker's JSON wants it. Borrowed: valid during the callback only. */
struct image_progress {
	const char *id; /* 12 digits of a layer, a tag for "Pulling from ...", or NULL */
	const char *
		status; /* "Downloading", "Pull complete", "Digest: sha256:..."; NULL when stream */
	const char *stream;	/* load: "Loaded image: x\n" */
	int64_t current, total; /* bytes; total 0: not known; both 0: no progressDetail */
	const char *push_tag, *push_digest; /* push: the aux object {"Tag","Digest","Size"} */
	int64_t push_size;
};

struct image_result {
	struct image *image; /* pull, import, commit, load (the last one); borrowed; NULL: none */
	int64_t freed_bytes; /* gc */
	int64_t bytes;	     /* save, tree: bytes written or read */
};

struct image_watch {
	void (*progress)(void *ctx, const struct image_progress *p); /* may be NULL */
	void (*done)(void *ctx, const struct image_result *r,
		     const struct err *e); /* e NULL: good */
	void *ctx;
};

void image_task_cancel(struct image_task *t); /* `done` follows, with ERR_GONE */

struct image_auth { /* the decoded X-Registry-Auth of a docker client; all NULL: anonymous */
	const char *username, *password, *identity_token, *registry_token, *server;
};
/* Decodes base64url JSON as sent in X-Registry-Auth. Garbage is anonymous, as Docker has it. */
void image_auth_decode(const char *header, struct arena *a, struct image_auth *ret);

struct image_pull {
	const char *reference;
	const char *platform; /* "linux/arm64/v8"; NULL: this host's */
	enum image_owner owner;
	struct image_auth auth;
	bool all_tags;
};
int image_pull_start(struct image_store *s, const struct image_pull *p, const struct image_watch *w,
		     struct image_task **ret, struct err *e) must_use;

struct image_push {
	const char *reference;
	enum image_owner owner;
	struct image_auth auth;
	bool all_tags; /* every tag of the reference's repository */
};
int image_push_start(struct image_store *s, const struct image_push *p, const struct image_watch *w,
		     struct image_task **ret, struct err *e) must_use;

/*
 * Load: OCI layout or docker-archive, plain or compressed, several images. `fd` is any readable
 * descriptor (file, pipe, socket), duplicated into a child at once: the caller closes its own.
 */
int image_load_start(struct image_store *s, int fd, enum image_owner owner,
		     const struct image_watch *w, struct image_task **ret, struct err *e) must_use;

/* Save: one tar that is a docker-archive and an OCI layout at once, written to `fd` by a child.
 * Names are NULL-terminated; a name without a tag saves all tags of its repository. */
int image_save_start(struct image_store *s, char *const *names, int fd, const struct image_watch *w,
		     struct image_task **ret, struct err *e) must_use;

struct image_import { /* plain tar (or compressed) → image of one layer */
	int fd;
	const char *reference; /* NULL: untagged */
	const char *message;
	const char *platform;
	const struct json
		*config; /* the "config" object (Cmd, Env, ...) from --change, or NULL; borrowed */
	enum image_owner owner;
};
int image_import_start(struct image_store *s, const struct image_import *i,
		       const struct image_watch *w, struct image_task **ret,
		       struct err *e) must_use;

struct image_commit {		  /* a container's writable layer → a new layer on its image */
	const struct image *base; /* NULL: from nothing */
	const char *upper;	  /* the overlay's upperdir */
	const char *reference;	  /* NULL: untagged */
	const char *author, *message;
	const struct json *config; /* the whole new "config" object; borrowed; NULL: the base's */
	enum image_owner owner;
};
int image_commit_start(struct image_store *s, const struct image_commit *c,
		       const struct image_watch *w, struct image_task **ret,
		       struct err *e) must_use;

/* Mark and sweep: layers, blobs and temporary files that no image, hold or task needs. */
int image_gc_start(struct image_store *s, const struct image_watch *w, struct image_task **ret,
		   struct err *e) must_use;

/* All layers flattened into `dir` (empty, existing), whiteouts applied: a root where overlay is not
 * possible. */
int image_root_copy(struct image_store *s, const struct image *i, const char *dir,
		    const struct image_watch *w, struct image_task **ret, struct err *e) must_use;

/* ---- Trees: docker cp and export (confined child as well) ---- */

/*
 * A directory tree: `dirfd` (a descriptor of its top, e.g. of a running container's root), or, when
 * dirfd is -1, an overlay that the child mounts for itself (lower: top first; upper and work may be
 * NULL for read-only). Paths inside are resolved in-root: symlinks cannot leave it.
 */
struct image_tree {
	int dirfd;
	char *const *lower;
	const char *upper, *work;
};

struct image_pack { /* tree → tar on fd */
	struct image_tree tree;
	const char *path;   /* inside the tree; "/" for all */
	const char *rename; /* first component in the archive; NULL: the path's last; "" : none
			       (export) */
	int fd;
	bool one_mount; /* what is mounted in the tree is left out, but for an empty place */
};
/* ERR_NOT_FOUND when the path is not there (before any byte is written). */
int image_pack_start(struct image_store *s, const struct image_pack *p, const struct image_watch *w,
		     struct image_task **ret, struct err *e) must_use;

struct image_unpack { /* tar on fd (plain or compressed) → tree */
	struct image_tree tree;
	const char *path; /* an existing directory inside the tree */
	int fd;
	bool no_overwrite; /* docker's noOverwriteDirNonDir: a directory never replaces a file, nor
			      the reverse */
	bool keep_owner;   /* docker's copyUIDGID: else everything becomes `uid`:`gid` */
	uint32_t uid, gid;
};
int image_unpack_start(struct image_store *s, const struct image_unpack *u,
		       const struct image_watch *w, struct image_task **ret,
		       struct err *e) must_use;

/* What docker's X-Docker-Container-Path-Stat tells. mode is st_mode of the kernel. */
struct image_path_stat {
	char name[256];
	int64_t size_bytes, mtime_ns;
	uint32_t mode;
	char link_target[4096]; /* "" when not a symbolic link */
};
/* Asynchronous: needs the child when the tree is an overlay. e NULL: st is valid. */
int image_stat_start(struct image_store *s, const struct image_tree *tree, const char *path,
		     void (*done)(void *ctx, const struct image_path_stat *st, const struct err *e),
		     void *ctx, struct err *e) must_use;
