/*
 * One function per format over its library; each writes into the caller's memory and never past it.
 */
#include "ground/store/decompress.h"

#include <assert.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"

#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_BLOCK_BYTES	 (8u << 20) /* of the legacy format */
#define XZ_MEMORY_BYTES	 (128ull << 20)

static int damaged(const char *format, struct err *e)
{
	return err_set(e, ERR_INVALID, "damaged or cut off %s data", format);
}

static int too_long(const char *format, size_t n, struct err *e)
{
	return err_set(e, ERR_INVALID, "%s data unpacks to more than the %zu bytes it promises",
		       format, n);
}

/* Blocks of a 32-bit length and LZ4 data, each 8 MiB unpacked but for the last. */
static int from_lz4(struct str in, uint8_t *to, size_t n, size_t *ret_n, struct err *e)
{
	struct cursor c = cursor_of(in.p, in.n);
	size_t done = 0;

	(void)cursor_le32(&c);
	while (c.n >= 4) {
		uint32_t bytes = cursor_le32(&c);
		size_t room = n - done < LZ4_BLOCK_BYTES ? n - done : LZ4_BLOCK_BYTES;
		const unsigned char *block;
		int got;

		if (bytes == LZ4_LEGACY_MAGIC)
			continue;
		block = cursor_bytes(&c, bytes);
		if (!block || bytes == 0 || bytes > INT_MAX)
			return damaged("LZ4", e);
		got = LZ4_decompress_safe((const char *)block, (char *)to + done, (int)bytes,
					  (int)room);
		if (got < 0)
			return room < LZ4_BLOCK_BYTES ? too_long("LZ4", n, e) : damaged("LZ4", e);
		done += (size_t)got;
	}
	*ret_n = done;
	return 0;
}

static int from_gzip(struct str in, uint8_t *to, size_t n, size_t *ret_n, struct err *e)
{
	z_stream z = {0};
	int code;

	if (in.n > UINT_MAX || n > UINT_MAX)
		return too_long("gzip", n, e);
	z.next_in = (Bytef *)(uintptr_t)in.p;
	z.avail_in = (unsigned)in.n;
	z.next_out = to;
	z.avail_out = (unsigned)n;
	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return err_set(e, ERR_EXHAUSTED, "no memory to unpack gzip data");
	code = inflate(&z, Z_FINISH);
	*ret_n = z.total_out;
	(void)inflateEnd(&z);
	if (code == Z_STREAM_END)
		return 0;
	return code == Z_BUF_ERROR && z.avail_out == 0 ? too_long("gzip", n, e)
						       : damaged("gzip", e);
}

static int from_zstd(struct str in, uint8_t *to, size_t n, size_t *ret_n, struct err *e)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	ZSTD_inBuffer source = {in.p, in.n, 0};
	ZSTD_outBuffer target = {to, n, 0};
	size_t code = 1;

	assert(z);
	(void)ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 27);
	while (code > 0 && !ZSTD_isError(code) && source.pos < source.size &&
	       target.pos < target.size)
		code = ZSTD_decompressStream(z, &target, &source);
	(void)ZSTD_freeDStream(z);
	*ret_n = target.pos;
	if (code == 0)
		return 0;
	return !ZSTD_isError(code) && target.pos == n ? too_long("zstd", n, e) : damaged("zstd", e);
}

static int from_xz(struct str in, uint8_t *to, size_t n, size_t *ret_n, struct err *e)
{
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_ret code;

	if (lzma_stream_decoder(&z, XZ_MEMORY_BYTES, 0) != LZMA_OK)
		return err_set(e, ERR_EXHAUSTED, "no memory to unpack xz data");
	z.next_in = (const uint8_t *)in.p;
	z.avail_in = in.n;
	z.next_out = to;
	z.avail_out = n;
	do {
		code = lzma_code(&z, LZMA_FINISH);
	} while (code == LZMA_OK);
	*ret_n = n - z.avail_out;
	lzma_end(&z);
	if (code == LZMA_STREAM_END)
		return 0;
	return code == LZMA_BUF_ERROR && *ret_n == n ? too_long("xz", n, e) : damaged("xz", e);
}

static const struct {
	const char *name;
	unsigned char magic[6];
	size_t magic_n;
	int (*unpack)(struct str in, uint8_t *to, size_t n, size_t *ret_n, struct err *e);
} formats[] = {
	[DECOMPRESS_LZ4] = {"LZ4", {0x02, 0x21, 0x4c, 0x18}, 4, from_lz4},
	[DECOMPRESS_GZIP] = {"gzip", {0x1f, 0x8b, 8}, 3, from_gzip},
	[DECOMPRESS_ZSTD] = {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, from_zstd},
	[DECOMPRESS_XZ] = {"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, from_xz},
};
static_assert(array_len(formats) == DECOMPRESS_KINDS, "every format has its row");

const char *decompress_name(enum decompress_kind kind)
{
	return kind < DECOMPRESS_KINDS ? formats[kind].name : "unknown";
}

enum decompress_kind decompress_guess(struct str in)
{
	for (size_t i = 0; i < DECOMPRESS_KINDS; i++)
		if (in.n >= formats[i].magic_n &&
		    memcmp(in.p, formats[i].magic, formats[i].magic_n) == 0)
			return (enum decompress_kind)i;
	return DECOMPRESS_KINDS;
}

int decompress(struct str in, void *to, size_t n, size_t *ret_n, struct err *e)
{
	enum decompress_kind kind = decompress_guess(in);

	assert(to);
	assert(ret_n);
	if (kind == DECOMPRESS_KINDS)
		return err_set(e, ERR_UNSUPPORTED,
			       "it is compressed in a format that is none of LZ4, gzip, zstd, xz");
	return formats[kind].unpack(in, to, n, ret_n, e);
}
