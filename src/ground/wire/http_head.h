/*
 * The head of an HTTP/1.1 reply and the framing of its body, pure: bytes in, values out. Only what
 * the small client of http_local.h needs; the server and the big client have their libraries.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

#define HTTP_HEAD_MAX_BYTES  (64u << 10)
#define HTTP_HEAD_FIELDS_MAX 128

struct http_head {
	int status;
	char *text; /* owned: the head's bytes, cut up into NUL-terminated names and values */
	struct http_head_field {
		const char *name, *value;
	} fields[HTTP_HEAD_FIELDS_MAX];
	size_t fields_n;
};

/* Reads a head from the front of `in`. Returns 0 and its length, or 1 when more bytes are needed.
 */
int http_head_parse(struct str in, struct http_head *ret, size_t *ret_n, struct err *e) must_use;
void http_head_done(struct http_head *h);
const char *http_head_get(const struct http_head *h, const char *name); /* any case; NULL */

enum http_body_kind { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_CLOSE };
enum http_body_state { HTTP_CHUNK_SIZE, HTTP_CHUNK_DATA, HTTP_CHUNK_END, HTTP_CHUNK_TRAILER };

struct http_body {
	enum http_body_kind kind;
	enum http_body_state state; /* of a chunked body */
	uint64_t left;		    /* bytes of the body or of this chunk */
	bool ended;
};

/* How the body of this reply is framed (RFC 9112 §6.3). head_only: it answers a HEAD. */
int http_body_start(const struct http_head *h, bool head_only, struct http_body *ret,
		    struct err *e) must_use;
/*
 * Takes the next piece of body out of `in`: *ret_piece views into it (may be empty), *ret_used
 * bytes of `in` are consumed. Nothing used and not ended: more bytes are needed.
 */
int http_body_next(struct http_body *b, struct str in, struct str *ret_piece, size_t *ret_used,
		   struct err *e) must_use;
