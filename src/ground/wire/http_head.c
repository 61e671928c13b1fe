/*
 * Reply heads and body framing. A head is copied once and cut up in place; obsolete line folding is
 * refused. Of two framings the chunked one counts, as RFC 9112 §6.3 says.
 */
#include "ground/wire/http_head.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ground/base/parse.h"

#define CHUNK_LINE_MAX 256

/* Cuts one line off *at, without its CRLF or LF. */
static char *cut_line(char **at)
{
	char *line = *at;
	char *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*at = end + 1;
	if (end > line && end[-1] == '\r')
		end--;
	*end = '\0';
	return line;
}

/* "HTTP/1.1 200 OK" */
static int parse_status(const char *line, int *ret_status, struct err *e)
{
	uint32_t status = 0;

	if (strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12 || line[8] != ' ')
		return err_set(e, ERR_INVALID, "the reply is not HTTP");
	if (parse_u32((struct str){line + 9, 3}, "status", &status, e) < 0 || status < 100)
		return err_set(e, ERR_INVALID, "the reply has no HTTP status");
	*ret_status = (int)status;
	return 0;
}

static int parse_field(char *line, struct http_head *h, struct err *e)
{
	char *colon = strchr(line, ':');
	char *value;
	size_t n;

	if (!colon || colon == line || line[0] == ' ' || line[0] == '\t')
		return err_set(e, ERR_INVALID, "the reply has a malformed header line");
	if (h->fields_n == HTTP_HEAD_FIELDS_MAX)
		return err_set(e, ERR_EXHAUSTED, "the reply has more than %d headers",
			       HTTP_HEAD_FIELDS_MAX);
	*colon = '\0';
	value = colon + 1 + strspn(colon + 1, " \t");
	n = strlen(value);
	while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
		value[--n] = '\0';
	h->fields[h->fields_n++] = (struct http_head_field){line, value};
	return 0;
}

/* Length of the head with its empty line, 0 when it is not all there. */
static size_t head_length(struct str in)
{
	for (size_t i = 0; i + 1 < in.n; i++) {
		if (in.p[i] != '\n')
			continue;
		if (in.p[i + 1] == '\n')
			return i + 2;
		if (in.p[i + 1] == '\r' && i + 2 < in.n && in.p[i + 2] == '\n')
			return i + 3;
	}
	return 0;
}

int http_head_parse(struct str in, struct http_head *ret, size_t *ret_n, struct err *e)
{
	size_t n = head_length(in);
	struct http_head h = {0};
	char *at, *line;
	int r;

	if (n > HTTP_HEAD_MAX_BYTES || (n == 0 && in.n > HTTP_HEAD_MAX_BYTES))
		return err_set(e, ERR_EXHAUSTED, "the reply's headers are too long");
	if (n == 0)
		return 1;
	if (memchr(in.p, '\0', n))
		return err_set(e, ERR_INVALID, "the reply's headers hold a NUL");
	h.text = str_dup((struct str){in.p, n});
	at = h.text;
	line = cut_line(&at);
	r = line ? parse_status(line, &h.status, e)
		 : err_set(e, ERR_INVALID, "the reply is not HTTP");
	while (r == 0 && (line = cut_line(&at)) && line[0])
		r = parse_field(line, &h, e);
	if (r < 0) {
		http_head_done(&h);
		return r;
	}
	*ret = h;
	*ret_n = n;
	return 0;
}

void http_head_done(struct http_head *h)
{
	free(h->text);
	*h = (struct http_head){0};
}

const char *http_head_get(const struct http_head *h, const char *name)
{
	for (size_t i = 0; i < h->fields_n; i++)
		if (strcasecmp(h->fields[i].name, name) == 0)
			return h->fields[i].value;
	return NULL;
}

int http_body_start(const struct http_head *h, bool head_only, struct http_body *ret, struct err *e)
{
	const char *coding = http_head_get(h, "Transfer-Encoding");
	const char *length = http_head_get(h, "Content-Length");
	struct http_body b = {0};

	if (head_only || h->status < 200 || h->status == 204 || h->status == 304) {
		b.kind = HTTP_BODY_NONE;
	} else if (coding) {
		if (strcasecmp(coding, "chunked") != 0)
			return err_set(e, ERR_UNSUPPORTED,
				       "the reply's transfer coding '%s' is unknown", coding);
		b.kind = HTTP_BODY_CHUNKED;
	} else if (length) {
		if (parse_u64(str_of(length), "Content-Length", &b.left, e) < 0)
			return -ERR_INVALID;
		b.kind = b.left ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
	} else {
		b.kind = HTTP_BODY_UNTIL_CLOSE;
	}
	b.ended = b.kind == HTTP_BODY_NONE;
	*ret = b;
	return 0;
}

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1a2b;extension" */
static int parse_chunk_size(struct str line, uint64_t *ret, struct err *e)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < line.n && hex_of(line.p[i]) >= 0; i++) {
		if (size >> 60)
			return err_set(e, ERR_INVALID, "the reply has an impossible chunk size");
		size = size << 4 | (uint64_t)hex_of(line.p[i]);
	}
	if (i == 0 || (i < line.n && line.p[i] != ';' && line.p[i] != ' ' && line.p[i] != '\r'))
		return err_set(e, ERR_INVALID, "the reply has a malformed chunk size");
	*ret = size;
	return 0;
}

/* One control line of a chunked body: a size, the end of a chunk, or a trailer. */
static int chunk_line(struct http_body *b, struct str line, struct err *e)
{
	bool empty = line.n == 0 || (line.n == 1 && line.p[0] == '\r');

	switch (b->state) {
	case HTTP_CHUNK_SIZE:
		if (parse_chunk_size(line, &b->left, e) < 0)
			return -ERR_INVALID;
		b->state = b->left ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
		return 0;
	case HTTP_CHUNK_END:
		if (!empty)
			return err_set(e, ERR_INVALID, "the reply has a chunk without end");
		b->state = HTTP_CHUNK_SIZE;
		return 0;
	case HTTP_CHUNK_TRAILER:
		b->ended = empty;
		return 0;
	case HTTP_CHUNK_DATA:
		break;
	}
	assert(!"chunk data is no line");
	return -ERR_INTERNAL;
}

static void take_data(struct http_body *b, struct str in, struct str *ret_piece, size_t *ret_used)
{
	size_t n = in.n;

	if (b->kind != HTTP_BODY_UNTIL_CLOSE && n > b->left)
		n = (size_t)b->left;
	*ret_piece = (struct str){in.p, n};
	*ret_used += n;
	if (b->kind == HTTP_BODY_UNTIL_CLOSE)
		return;
	b->left -= n;
	if (b->left == 0 && b->kind == HTTP_BODY_LENGTH)
		b->ended = true;
	if (b->left == 0)
		b->state = HTTP_CHUNK_END;
}

int http_body_next(struct http_body *b, struct str in, struct str *ret_piece, size_t *ret_used,
		   struct err *e)
{
	*ret_piece = (struct str){in.p, 0};
	*ret_used = 0;
	if (b->ended)
		return 0;
	if (b->kind != HTTP_BODY_CHUNKED) {
		take_data(b, in, ret_piece, ret_used);
		return 0;
	}
	while (!b->ended && b->state != HTTP_CHUNK_DATA) {
		struct str rest = {in.p + *ret_used, in.n - *ret_used};
		const char *end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;

		if (!end && rest.n > CHUNK_LINE_MAX)
			return err_set(e, ERR_INVALID, "the reply has a malformed chunk");
		if (!end)
			return 0;
		if (chunk_line(b, (struct str){rest.p, (size_t)(end - rest.p)}, e) < 0)
			return -ERR_INVALID;
		*ret_used += (size_t)(end - rest.p) + 1;
	}
	if (!b->ended)
		take_data(b, (struct str){in.p + *ret_used, in.n - *ret_used}, ret_piece, ret_used);
	return 0;
}
