/* Views and builders of text: see str.h. */
#include "ground/base/str.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "ground/base/mem.h"

bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_is(struct str a, const char *text)
{
	return str_eq(a, str_of(text));
}

bool str_starts(struct str a, const char *prefix)
{
	size_t n = strlen(prefix);

	return a.n >= n && memcmp(a.p, prefix, n) == 0;
}

bool str_ends(struct str a, const char *suffix)
{
	size_t n = strlen(suffix);

	return a.n >= n && memcmp(a.p + a.n - n, suffix, n) == 0;
}

struct str str_trim(struct str a)
{
	while (a.n && isspace((unsigned char)a.p[0])) {
		a.p++;
		a.n--;
	}
	while (a.n && isspace((unsigned char)a.p[a.n - 1]))
		a.n--;
	return a;
}

bool str_cut(struct str *rest, char sep, struct str *ret_head)
{
	const char *at;

	if (!rest->p)
		return false;
	at = rest->n ? memchr(rest->p, sep, rest->n) : NULL;
	if (at) {
		*ret_head = (struct str){rest->p, (size_t)(at - rest->p)};
		rest->n -= ret_head->n + 1;
		rest->p = at + 1;
	} else {
		*ret_head = *rest;
		*rest = (struct str){NULL, 0};
	}
	return true;
}

char *str_dup(struct str a)
{
	char *copy = mem_new_bytes(a.n + 1, 1);

	if (a.n)
		memcpy(copy, a.p, a.n);
	return copy;
}

bool text_eq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool text_starts(const char *a, const char *prefix)
{
	return a && str_starts(str_of(a), prefix);
}

bool text_ends(const char *a, const char *suffix)
{
	return a && str_ends(str_of(a), suffix);
}

bool text_in(const char *a, char *const *list)
{
	for (size_t i = 0; list && list[i]; i++) {
		if (text_eq(a, list[i]))
			return true;
	}
	return false;
}

void strbuf_done(struct strbuf *b)
{
	free(b->p);
	*b = (struct strbuf){0};
}

void strbuf_clear(struct strbuf *b)
{
	b->n = 0;
	if (b->p)
		b->p[0] = '\0';
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
	size_t want;

	assert(!__builtin_add_overflow(b->n, n + 1, &want));
	mem_grow(b->p, want, b->room);
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

void strbuf_add_text(struct strbuf *b, const char *text)
{
	strbuf_add(b, text, strlen(text));
}

void strbuf_add_char(struct strbuf *b, char c)
{
	strbuf_add(b, &c, 1);
}

void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	assert(n >= 0);
	mem_grow(b->p, b->n + (size_t)n + 1, b->room);
	(void)vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
	b->n += (size_t)n;
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(b, fmt, ap);
	va_end(ap);
}

void strbuf_drop_front(struct strbuf *b, size_t n)
{
	assert(n <= b->n);
	if (n == 0)
		return;
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
	if (b->p)
		b->p[b->n] = '\0';
}

char *strbuf_text(struct strbuf *b)
{
	if (!b->p)
		strbuf_add(b, "", 0);
	return b->p;
}

char *strbuf_take(struct strbuf *b)
{
	char *text = strbuf_text(b);

	*b = (struct strbuf){0};
	return text;
}

struct str strbuf_str(const struct strbuf *b)
{
	return (struct str){b->p, b->n};
}
