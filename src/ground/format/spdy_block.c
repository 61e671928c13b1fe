/*
 * SPDY's header blocks: a count, then names and values with 32-bit lengths, deflated. Compression
 * goes on from block to block; both ends begin with the same dictionary of likely texts, which is
 * put together here from its parts: words with their lengths, as in a block, then plain text.
 *
 * A block that inflates beyond its limit ends the connection: what follows could not be read.
 */
#include "ground/format/spdy_priv.h"

#include <assert.h>

#include "ground/base/mem.h"

#define DICTIONARY_BYTES 1423
#define DICTIONARY_SUM	 0xe3c6a7c2u /* Adler-32, which the zlib stream names */

/* From the SPDY/3 draft, 2.6.10.1. */
static const char *const words[] = {
	"options",
	"head",
	"post",
	"put",
	"delete",
	"trace",
	"accept",
	"accept-charset",
	"accept-encoding",
	"accept-language",
	"accept-ranges",
	"age",
	"allow",
	"authorization",
	"cache-control",
	"connection",
	"content-base",
	"content-encoding",
	"content-language",
	"content-length",
	"content-location",
	"content-md5",
	"content-range",
	"content-type",
	"date",
	"etag",
	"expect",
	"expires",
	"from",
	"host",
	"if-match",
	"if-modified-since",
	"if-none-match",
	"if-range",
	"if-unmodified-since",
	"last-modified",
	"location",
	"max-forwards",
	"pragma",
	"proxy-authenticate",
	"proxy-authorization",
	"range",
	"referer",
	"retry-after",
	"server",
	"te",
	"trailer",
	"transfer-encoding",
	"upgrade",
	"user-agent",
	"vary",
	"via",
	"warning",
	"www-authenticate",
	"method",
	"get",
	"status",
	"200 OK",
	"version",
	"HTTP/1.1",
	"url",
	"public",
	"set-cookie",
	"keep-alive",
	"origin",
};
static const char text[] =
	"10010120120220520630030230330430530630740240540640740840941041141241341441541641"
	"7502504505203 Non-Authoritative Information204 No Content301 Moved Permanently40"
	"0 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error"
	"501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept O"
	"ct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag"
	"e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/"
	"javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1"
	",utf-,*,enq=0.";

static void put32(unsigned char *p, size_t n)
{
	p[0] = (unsigned char)(n >> 24);
	p[1] = (unsigned char)(n >> 16);
	p[2] = (unsigned char)(n >> 8);
	p[3] = (unsigned char)n;
}

static void dictionary(unsigned char ret[DICTIONARY_BYTES])
{
	size_t at = 0;

	for (size_t i = 0; i < array_len(words); i++) {
		size_t n = strlen(words[i]);

		put32(ret + at, n);
		memcpy(ret + at + 4, words[i], n);
		at += 4 + n;
	}
	assert(at + sizeof(text) - 1 == DICTIONARY_BYTES);
	memcpy(ret + at, text, sizeof(text) - 1);
	assert(adler32(adler32(0, NULL, 0), ret, DICTIONARY_BYTES) == DICTIONARY_SUM);
}

static voidpf allocate(voidpf arg, uInt n, uInt size)
{
	(void)arg;
	return mem_new_bytes(n, size);
}

static void release(voidpf arg, voidpf p)
{
	(void)arg;
	free(p);
}

void spdy_block_init(struct spdy_block *b)
{
	unsigned char d[DICTIONARY_BYTES];
	int r;

	dictionary(d);
	b->in.zalloc = b->out.zalloc = allocate;
	b->in.zfree = b->out.zfree = release;
	r = inflateInit(&b->in);
	assert(r == Z_OK);
	/* A small window: blocks are short, the dictionary fits. */
	r = deflateInit2(&b->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 11, 2, Z_DEFAULT_STRATEGY);
	assert(r == Z_OK);
	r = deflateSetDictionary(&b->out, d, sizeof(d));
	assert(r == Z_OK);
	b->plain = mem_new_bytes(1, SPDY_BLOCK_MAX_BYTES);
}

void spdy_block_done(struct spdy_block *b)
{
	(void)inflateEnd(&b->in);
	(void)deflateEnd(&b->out);
	free(b->plain);
}

static int unpack(struct spdy_block *b, struct str packed, size_t *ret_n, struct err *e)
{
	int r;

	b->in.next_in = (z_const Bytef *)(uintptr_t)packed.p;
	b->in.avail_in = (uInt)packed.n;
	b->in.next_out = b->plain;
	b->in.avail_out = SPDY_BLOCK_MAX_BYTES;
	r = inflate(&b->in, Z_SYNC_FLUSH);
	if (r == Z_NEED_DICT) {
		unsigned char d[DICTIONARY_BYTES];

		dictionary(d);
		if (inflateSetDictionary(&b->in, d, sizeof(d)) != Z_OK)
			return err_set(e, ERR_INVALID, "SPDY: headers need another dictionary");
		r = inflate(&b->in, Z_SYNC_FLUSH);
	}
	if (r != Z_OK && r != Z_BUF_ERROR)
		return err_set(e, ERR_INVALID, "SPDY: a header block cannot be inflated");
	if (b->in.avail_out == 0)
		return err_set(e, ERR_EXHAUSTED, "SPDY: a header block is longer than %u bytes",
			       SPDY_BLOCK_MAX_BYTES);
	if (b->in.avail_in)
		return err_set(e, ERR_INVALID, "SPDY: bytes behind a header block");
	*ret_n = SPDY_BLOCK_MAX_BYTES - b->in.avail_out;
	return 0;
}

static struct str read_text(struct cursor *c)
{
	size_t n = cursor_be32(c);
	const unsigned char *p = cursor_bytes(c, n);

	return p ? (struct str){(const char *)p, n} : (struct str){"", 0};
}

static bool is_name(struct str name)
{
	if (name.n == 0)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || (name.p[i] >= 'A' && name.p[i] <= 'Z'))
			return false;
	return true;
}

int spdy_block_read(struct spdy_block *b, struct str packed, struct err *e)
{
	struct cursor c;
	size_t n = 0;
	uint32_t count;
	int r = unpack(b, packed, &n, e);

	b->n = 0;
	if (r < 0)
		return r;
	c = cursor_of(b->plain, n);
	count = cursor_be32(&c);
	if (count > SPDY_HEADERS_MAX)
		return err_set(e, ERR_EXHAUSTED, "SPDY: more than %d headers", SPDY_HEADERS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		struct str name = read_text(&c), value = read_text(&c);

		if (!c.bad && !is_name(name))
			return err_set(e, ERR_INVALID, "SPDY: a header's name is not lower case");
		b->headers[i] = (struct spdy_header){name, value};
	}
	if (c.bad || c.n)
		return err_set(e, ERR_INVALID, "SPDY: lengths of a header block do not add up");
	b->n = count;
	return 0;
}

static void add_text(struct strbuf *out, struct str text_)
{
	unsigned char n[4];

	put32(n, text_.n);
	strbuf_add(out, n, sizeof(n));
	strbuf_add(out, text_.p, text_.n);
}

void spdy_block_write(struct spdy_block *b, const struct spdy_header *h, size_t n,
		      struct strbuf *out)
{
	auto_strbuf struct strbuf plain = {0};
	unsigned char count[4], piece[1024];

	put32(count, n);
	strbuf_add(&plain, count, sizeof(count));
	for (size_t i = 0; i < n; i++) {
		add_text(&plain, h[i].name);
		add_text(&plain, h[i].value);
	}
	b->out.next_in = (z_const Bytef *)plain.p;
	b->out.avail_in = (uInt)plain.n;
	do {
		b->out.next_out = piece;
		b->out.avail_out = sizeof(piece);
		(void)deflate(&b->out, Z_SYNC_FLUSH);
		strbuf_add(out, piece, sizeof(piece) - b->out.avail_out);
	} while (b->out.avail_out == 0);
	assert(b->out.avail_in == 0);
}
