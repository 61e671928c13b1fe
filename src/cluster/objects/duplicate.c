/*
 * Duplicate keys: the parser keeps the last of two equal keys and says nothing, so the text is
 * looked through once more. Keys are compared as they are written: one that is spelled with an
 * escape the second time is not noticed. The text is known to be JSON, so the scan is a simple one;
 * it still never reads past the end.
 */
#include <assert.h>

#include "cluster/objects/decode_priv.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

struct scan {
	struct str text;
	size_t at;
	struct strict *strict;
	struct strbuf path;
	unsigned int depth;
};

static bool one_of(const char *set, char c)
{
	return c != '\0' && strchr(set, c);
}

static void skip_space(struct scan *s)
{
	while (s->at < s->text.n && one_of(" \t\r\n,:", s->text.p[s->at]))
		s->at++;
}

/* The raw bytes between the quotes; escapes stay as they are written. */
static struct str scan_text(struct scan *s)
{
	size_t from = ++s->at;

	while (s->at < s->text.n) {
		const char *at = s->text.p + s->at, *escape;
		const char *quote = memchr(at, '"', s->text.n - s->at);
		size_t n = quote ? (size_t)(quote - at) : s->text.n - s->at;

		escape = memchr(at, '\\', n);
		s->at += escape ? (size_t)(escape - at) + 2 : n;
		if (!escape)
			break;
	}
	if (s->at > s->text.n)
		s->at = s->text.n;
	return (struct str){s->text.p + from, s->at++ - from};
}

static void scan_value(struct scan *s);

static void scan_object(struct scan *s)
{
	auto_map struct map seen = {0};
	size_t before = s->path.n;

	for (s->at++, skip_space(s); s->at < s->text.n && s->text.p[s->at] == '"'; skip_space(s)) {
		struct str key = scan_text(s);
		auto_free char *name = str_dup(key);

		if (before)
			strbuf_add_char(&s->path, '.');
		strbuf_add_text(&s->path, name);
		if (map_put(&seen, name, s) != NULL)
			strict_add(s->strict, "duplicate field", strbuf_text(&s->path));
		skip_space(s);
		scan_value(s);
		s->path.n = before;
	}
	s->at++;
}

static void scan_array(struct scan *s)
{
	size_t before = s->path.n, i = 0;

	for (s->at++, skip_space(s); s->at < s->text.n && s->text.p[s->at] != ']'; skip_space(s)) {
		strbuf_printf(&s->path, "[%zu]", i++);
		scan_value(s);
		s->path.n = before;
	}
	s->at++;
}

static void scan_value(struct scan *s)
{
	if (s->at >= s->text.n || s->depth > JSON_DEPTH_MAX)
		return;
	s->depth++;
	if (s->text.p[s->at] == '{')
		scan_object(s);
	else if (s->text.p[s->at] == '[')
		scan_array(s);
	else if (s->text.p[s->at] == '"')
		(void)scan_text(s);
	else /* a number or a word: up to what may follow it */
		while (s->at < s->text.n && !one_of(" \t\r\n,:]}", s->text.p[s->at]))
			s->at++;
	s->depth--;
}

void duplicate_find(struct str text, const struct json *tree, struct strict *s)
{
	struct scan scan = {.text = text, .strict = s};

	assert(s && tree);
	skip_space(&scan);
	scan_value(&scan);
	strbuf_done(&scan.path);
}
