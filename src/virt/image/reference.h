/*
 * References to images, in Docker's spelling: [host[:port]/]path[:tag][@digest], with docker.io and
 * library/ left out where they are meant. Grammar: distribution/reference (docker),
 * distribution-spec 1.1 "Pulling manifests". Pure text; nothing is looked up. Everything lives in
 * the caller's arena.
 */
#pragma once

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/base/str.h"

#define REFERENCE_NAME_MAX 255 /* host and path */
#define REFERENCE_TAG_MAX  128

struct reference {
	const char *host;   /* "docker.io", "localhost:5000" */
	const char *path;   /* "library/alpine" */
	const char *tag;    /* NULL when the text had none */
	const char *digest; /* "sha256:…", or NULL */
};

/* ERR_INVALID: "invalid reference format: …" with the text and the reason. */
int reference_parse(const char *text, struct arena *a, struct reference *ret,
		    struct err *e) must_use;
/* The tag "latest" where neither tag nor digest is given. */
void reference_default_tag(struct reference *r);

char *reference_repository(const struct reference *r,
			   struct arena *a);			    /* docker.io/library/alpine */
char *reference_tagged(const struct reference *r, struct arena *a); /* repository:tag */
char *reference_digested(const struct reference *r, const char *digest, struct arena *a);
/* Without docker.io/ and library/: what people type. `full` is any of the above. */
char *reference_familiar(const char *full, struct arena *a);
