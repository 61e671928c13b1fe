/*
 * Inside SPDY: header blocks, compressed by one zlib stream each way that lives as long as the
 * connection and begins with the protocol's dictionary.
 */
#pragma once

#include <zlib.h>

#include "ground/format/spdy.h"

struct spdy_block {
	z_stream in, out;
	unsigned char *plain; /* SPDY_BLOCK_MAX_BYTES */
	struct spdy_header headers[SPDY_HEADERS_MAX];
	size_t n;
};

void spdy_block_init(struct spdy_block *b);
void spdy_block_done(struct spdy_block *b);
/* Reads a block into b->headers, which point into b->plain. */
int spdy_block_read(struct spdy_block *b, struct str packed, struct err *e) must_use;
void spdy_block_write(struct spdy_block *b, const struct spdy_header *h, size_t n,
		      struct strbuf *out);
