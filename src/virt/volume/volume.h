/*
 * Volumes: storage that outlives a container, bound directories and temporary file systems, as data
 * that becomes OCI mounts.
 *
 * A named volume is the directory <root>/volume/NAME/_data and a record that the engine stores (the
 * JSON of volume_encode()). A volume with local-driver options (type, o, device) has no data of its
 * own: the options become the mount of each container that uses it; nothing is mounted in the
 * host's namespace. Use is counted by container, in memory: the engine says volume_use() for each
 * container it has.
 *
 * Everything below a volume or a root file system is reached by descriptor, without following
 * symbolic links out of it. All calls are cheap but volume_copy_up() and volume_remove(), which
 * touch as many files as there are: they may run on a pool thread while nobody else changes the
 * same volume.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"
#include "ground/base/world.h"
#include "ground/format/json.h"

#define VOLUME_NAME_MAX	  128
#define VOLUME_MOUNTS_MAX 1024 /* mounts of one container */

struct volume_store;
struct volume;

struct volume_spec {
	char *name;    /* [a-zA-Z0-9][a-zA-Z0-9_.-]*; NULL: 64 random hex digits (anonymous) */
	char *driver;  /* NULL: "local"; nothing else exists here */
	char *created; /* RFC 3339, the engine's */
	char *owner;
	bool anonymous;
	bool populated; /* the first-use copy was done (or there was something already) */
	struct json_pair *labels;
	struct json_pair *options; /* type, o, device */
};

/* `root`: Hull's root; makes <root>/volume (0711) when missing. */
int volume_store_open(const char *root, const struct world *w, struct volume_store **ret,
		      struct err *e) must_use;
struct volume_store *volume_store_free(struct volume_store *s);

/* Makes it, or gives the one of that name (ERR_CONFLICT when its driver or options differ). */
int volume_create(struct volume_store *s, const struct volume_spec *spec, struct volume **ret,
		  struct err *e) must_use;
int volume_load(struct volume_store *s, const struct json *record, struct volume **ret,
		struct err *e) must_use;
struct json *volume_encode(const struct volume *v);
int volume_find(struct volume_store *s, const char *name, struct volume **ret,
		struct err *e) must_use;
struct volume *volume_next(struct volume_store *s, const struct volume *v);
const struct volume_spec *volume_spec(const struct volume *v);
const char *volume_path(const struct volume *v); /* <root>/volume/NAME/_data */
int volume_size(const struct volume *v, int64_t *ret_bytes, struct err *e) must_use; /* as du -s */

/* ERR_CONFLICT while in use (names a container). */
int volume_remove(struct volume_store *s, struct volume *v, struct err *e) must_use;
/* Removes directories under <root>/volume that no loaded record knows (a crash between mkdir and
 * record). */
int volume_sweep(struct volume_store *s, struct err *e) must_use;

void volume_use(struct volume *v, const char *container);
void volume_release(struct volume *v, const char *container);
size_t volume_users(const struct volume *v);

/*
 * First use: when the volume is empty, fills it with what the image has at `path` (owner, modes,
 * times, xattrs, symlinks, devices, hard links), directory attributes included. `root_fd` is the
 * root file system (a detached overlay mount or a plain directory); `path` is resolved inside it.
 * Marks the volume populated: the engine stores it again. A path the image does not have, or a
 * file, is no error.
 */
int volume_copy_up(struct volume *v, int root_fd, const char *path, struct err *e) must_use;

/* ---- what a container asks for ---- */

enum volume_kind { VOLUME_BIND, VOLUME_NAMED, VOLUME_TMPFS };

/* One mount of a container; all texts live in the arena of the parse. */
struct volume_mount {
	enum volume_kind kind;
	char *source; /* bind: absolute host path; named: volume name, NULL = anonymous; tmpfs: NULL
		       */
	char *target; /* absolute, cleaned */
	bool read_only;
	bool no_copy;	    /* named: no copy-up */
	bool create_source; /* bind from -v: a missing source is made as a directory */
	bool recursive_read_only;
	char *propagation; /* NULL: "rprivate" */
	char *subpath;	   /* named: below the volume's root */
	char **options; /* further OCI options: "noexec", "size=64m", "mode=1777"; NULL-terminated
			 */
	int64_t tmpfs_size_bytes; /* 0: the kernel's default */
	uint32_t tmpfs_mode;	  /* 0: 01777 */
	struct json_pair *labels; /* of a volume made on the fly */
	struct json_pair *driver_options;
};

/* "-v" / HostConfig.Binds: "SOURCE:TARGET[:OPTIONS]" or "TARGET" (anonymous). */
int volume_parse_bind(struct str text, struct arena *a, struct volume_mount *ret,
		      struct err *e) must_use;
/* HostConfig.Mounts[i]: {Type, Source, Target, ReadOnly, BindOptions, VolumeOptions, TmpfsOptions}.
 */
int volume_parse_mount(const struct json *j, struct arena *a, struct volume_mount *ret,
		       struct err *e) must_use;
/* HostConfig.Tmpfs: target and "rw,size=64m,...". */
int volume_parse_tmpfs(const char *target, const char *options, struct arena *a,
		       struct volume_mount *ret, struct err *e) must_use;

/*
 * The OCI mount {destination, type, source, options}. For a named volume `v` is given; for a bind
 * the source is checked (and made when create_source): ERR_INVALID "bind source path does not
 * exist: ...".
 */
int volume_oci_mount(const struct volume_mount *m, const struct volume *v, struct json **ret,
		     struct err *e) must_use;
