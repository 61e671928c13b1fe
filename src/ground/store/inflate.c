/*
 * Streaming decompression over igzip and zstd. The one idea: two fixed buffers and a step function
 * per kind; the output buffer is handed out as it is, so a byte is copied once. Seeking is not
 * offered.
 */
#include "ground/store/inflate.h"

#include <assert.h>
#include <isa-l/igzip_lib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "ground/base/mem.h"
#include "ground/store/blob.h"
#include "ground/store/digest.h"

#define IN_BYTES	    (128u << 10)
#define OUT_BYTES	    (256u << 10)
#define ZSTD_WINDOW_LOG_MAX 27

struct inflate {
	struct inflate_source source;
	enum inflate_kind kind;
	struct digest *tee;
	uint64_t total;
	size_t in_at, in_n;
	bool in_end; /* the source said it was over */
	bool mid;    /* inside a member or frame: an end of input is a cut */
	struct inflate_state igzip;
	struct isal_gzip_header header; /* ours to keep: igzip's own forgets between two calls */
	bool in_header;
	ZSTD_DCtx *zstd;
	unsigned char in[IN_BYTES];
	unsigned char out[OUT_BYTES];
};

enum inflate_kind inflate_guess(const void *p, size_t n)
{
	const unsigned char *b = p;

	if (n >= 3 && b[0] == 0x1f && b[1] == 0x8b && b[2] == 8)
		return INFLATE_GZIP;
	if (n >= 4 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd && b[0] == 0x28)
		return INFLATE_ZSTD;
	/* A skippable frame first: zstd:chunked and some compressors begin so. */
	if (n >= 4 && (b[0] & 0xf0) == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18)
		return INFLATE_ZSTD;
	return INFLATE_PLAIN;
}

/* Moves what is left to the front and reads until there is something new or the end. */
static int fill(struct inflate *i, size_t want, struct err *e)
{
	if (i->in_at > 0) {
		memmove(i->in, i->in + i->in_at, i->in_n);
		i->in_at = 0;
	}
	while (i->in_n < want && i->in_n < IN_BYTES && !i->in_end) {
		int64_t n = i->source.read(i->source.arg, i->in + i->in_n, IN_BYTES - i->in_n, e);

		if (n < 0)
			return (int)n;
		assert((uint64_t)n <= IN_BYTES - i->in_n);
		i->in_end = n == 0;
		i->in_n += (size_t)n;
	}
	return 0;
}

static void gzip_member(struct inflate *i)
{
	isal_inflate_reset(&i->igzip);
	isal_gzip_header_init(&i->header);
	i->igzip.crc_flag = ISAL_GZIP_NO_HDR_VER;
	i->in_header = true;
}

int inflate_new(const struct inflate_source *source, struct inflate **ret, struct err *e)
{
	struct inflate *i = mem_new(struct inflate);
	int r;

	assert(source->read);
	i->source = *source;
	r = fill(i, 4, e);
	if (r < 0) {
		free(i);
		return r;
	}
	i->kind = inflate_guess(i->in, i->in_n);
	if (i->kind == INFLATE_GZIP) {
		isal_inflate_init(&i->igzip);
		gzip_member(i);
		i->mid = true;
	}
	if (i->kind == INFLATE_ZSTD) {
		i->zstd = ZSTD_createDCtx();
		assert(i->zstd);
		(void)ZSTD_DCtx_setParameter(i->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
	}
	*ret = i;
	return 0;
}

struct inflate *inflate_free(struct inflate *i)
{
	if (i && i->zstd)
		(void)ZSTD_freeDCtx(i->zstd);
	free(i);
	return NULL;
}

enum inflate_kind inflate_kind(const struct inflate *i)
{
	return i->kind;
}

void inflate_tee(struct inflate *i, struct digest *d)
{
	i->tee = d;
}

uint64_t inflate_total(const struct inflate *i)
{
	return i->total;
}

/* After a member: another one, or padding that every gunzip ignores. */
static bool gzip_more(struct inflate *i)
{
	if (inflate_guess(i->in + i->in_at, i->in_n) == INFLATE_GZIP) {
		gzip_member(i);
		return true;
	}
	i->in_n = 0;
	i->in_end = true;
	return false;
}

/*
 * Left to itself igzip reads the header into a structure on its stack, and when the input ends in
 * the middle of a file name, it goes on with what that place of the stack then holds.
 */
static int gzip_decode(struct inflate *i)
{
	int code;

	if (i->in_header) {
		code = isal_read_gzip_header(&i->igzip, &i->header);
		if (code != ISAL_DECOMP_OK)
			return code;
		i->in_header = false;
	}
	return isal_inflate(&i->igzip);
}

static int64_t step_gzip(struct inflate *i, struct err *e)
{
	struct inflate_state *z = &i->igzip;
	int code;

	if (!i->mid && !gzip_more(i))
		return 0;
	z->next_in = i->in + i->in_at;
	z->avail_in = (uint32_t)i->in_n;
	z->next_out = i->out;
	z->avail_out = OUT_BYTES;
	code = gzip_decode(i);
	i->in_at += i->in_n - z->avail_in;
	i->in_n = z->avail_in;
	if (code == ISAL_INCORRECT_CHECKSUM)
		return err_set(e, ERR_INVALID,
			       "damaged gzip stream: wrong checksum after %llu bytes",
			       (unsigned long long)i->total);
	if (code < 0)
		return err_set(e, ERR_INVALID, "damaged gzip stream after %llu bytes",
			       (unsigned long long)i->total);
	i->mid = i->in_header || z->block_state != ISAL_BLOCK_FINISH;
	return OUT_BYTES - z->avail_out;
}

static int64_t step_zstd(struct inflate *i, struct err *e)
{
	ZSTD_inBuffer in = {i->in + i->in_at, i->in_n, 0};
	ZSTD_outBuffer out = {i->out, OUT_BYTES, 0};
	size_t code = ZSTD_decompressStream(i->zstd, &out, &in);

	if (ZSTD_isError(code))
		return err_set(e, ERR_INVALID, "damaged zstd stream after %llu bytes: %s",
			       (unsigned long long)i->total, ZSTD_getErrorName(code));
	i->in_at += in.pos;
	i->in_n -= in.pos;
	i->mid = code != 0;
	return (int64_t)out.pos;
}

static int64_t step_plain(struct inflate *i)
{
	int64_t n = (int64_t)i->in_n;

	memcpy(i->out, i->in + i->in_at, i->in_n);
	i->in_n = 0;
	return n;
}

static int64_t step(struct inflate *i, struct err *e)
{
	switch (i->kind) {
	case INFLATE_GZIP:
		return step_gzip(i, e);
	case INFLATE_ZSTD:
		return step_zstd(i, e);
	case INFLATE_PLAIN:
	case INFLATE_KINDS:
		break;
	}
	return step_plain(i);
}

int64_t inflate_next(struct inflate *i, const void **ret, struct err *e)
{
	bool starved = false; /* the last step wanted input and gave nothing */

	for (;;) {
		size_t before = i->in_n;
		int64_t n;
		int r = fill(i, starved ? i->in_n + 1 : (i->mid ? 1 : 4), e);

		if (r < 0)
			return r;
		if (i->in_n == 0 && i->in_end && !i->mid)
			return 0;
		if (i->in_end && starved && i->in_n == before)
			return err_set(e, ERR_INVALID,
				       "the compressed stream is cut off after %llu bytes",
				       (unsigned long long)i->total);
		n = step(i, e);
		if (n < 0)
			return n;
		if (n > 0) {
			*ret = i->out;
			i->total += (uint64_t)n;
			if (i->tee)
				digest_add(i->tee, i->out, (size_t)n);
			return n;
		}
		starved = i->mid;
	}
}

int deflate_file(int fd, struct blob_writer *w, struct err *e)
{
	auto_free unsigned char *in = mem_new_bytes(1, OUT_BYTES);
	auto_free unsigned char *out = mem_new_bytes(1, OUT_BYTES);
	auto_free unsigned char *level = mem_new_bytes(1, ISAL_DEF_LVL2_DEFAULT);
	auto_free struct isal_zstream *z = mem_new(struct isal_zstream);
	int64_t at = 0;

	isal_deflate_init(z);
	z->gzip_flag = IGZIP_GZIP;
	z->level = 2;
	z->level_buf = level;
	z->level_buf_size = ISAL_DEF_LVL2_DEFAULT;
	while (!z->end_of_stream) {
		ssize_t n = pread(fd, in, OUT_BYTES, at);

		if (n < 0)
			return err_sys(e, "cannot read a layer to compress it");
		at += n;
		z->next_in = in;
		z->avail_in = (uint32_t)n;
		z->end_of_stream = n == 0;
		do {
			int r;

			z->next_out = out;
			z->avail_out = OUT_BYTES;
			if (isal_deflate(z) != COMP_OK)
				return err_set(e, ERR_INTERNAL, "cannot compress a layer");
			r = blob_write(w, out, OUT_BYTES - z->avail_out, e);
			if (r < 0)
				return r;
		} while (z->avail_out == 0);
	}
	return 0;
}
