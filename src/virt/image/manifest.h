/*
 * Manifests, indexes and configs: JSON of strangers made into checked structs. OCI image-spec 1.1
 * and Docker's schema 2; schema 1 is refused by name. A document that is both an index and a
 * manifest is refused (CVE-2021-41190). Everything decoded lives in the arena given.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/format/json.h"

#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER    "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX	      "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER	      "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_OCI_LAYER_GZIP  "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_OCI_LAYER_ZSTD  "application/vnd.oci.image.layer.v1.tar+zstd"

struct manifest_platform {
	char *os, *architecture, *variant;
};

struct manifest_part { /* a descriptor */
	char *media_type;
	char *digest; /* valid */
	int64_t size_bytes;
	char **urls;
	struct manifest_platform platform;
	struct json_pair *annotations;
};

struct manifest {
	bool index; /* else an image */
	const char *media_type;
	struct manifest_part config; /* of an image */
	struct manifest_part *parts; /* layers, or manifests of an index */
	size_t parts_n;
};

/* `what` names the document in errors; `content_type` is the registry's word, may be NULL. */
int manifest_parse(struct str bytes, const char *what, const char *content_type, struct arena *a,
		   struct manifest *ret, struct err *e) must_use;

/* "linux/arm64/v8" into parts; NULL: this host's. */
int manifest_platform_parse(const char *text, struct arena *a, struct manifest_platform *ret,
			    struct err *e) must_use;
/* The best entry of an index for the platform, or ERR_NOT_FOUND telling what there is. */
int manifest_choose(const struct manifest *index, const struct manifest_platform *want,
		    const char *what, const struct manifest_part **ret, struct err *e) must_use;

struct image;
/* Decodes a config into a new image (one reference). The JSON is kept inside. */
int manifest_config(struct str bytes, const char *what, struct image **ret, struct err *e) must_use;

const char *manifest_host_architecture(void); /* "amd64" */
