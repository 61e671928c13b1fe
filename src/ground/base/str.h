/*
 * Text: `struct str` is a view of bytes that somebody else owns, `struct strbuf` a growing builder.
 * NUL termination is for system calls only; a strbuf keeps a NUL behind its bytes for that.
 *
 *	auto_strbuf struct strbuf b = {0};
 *	strbuf_printf(&b, "%s=%d", key, n);
 *	use(strbuf_text(&b));
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ground/base/err.h"

struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})

static inline struct str str_of(const char *text)
{
	return (struct str){text, text ? strlen(text) : 0};
}

bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *text);
bool str_starts(struct str a, const char *prefix);
bool str_ends(struct str a, const char *suffix);
struct str str_trim(struct str a); /* without white space at both ends */

/* Cuts off everything before `sep` into *ret_head; without `sep` the head is all. false at the end.
 */
bool str_cut(struct str *rest, char sep, struct str *ret_head);

char *str_dup(struct str a); /* a NUL-terminated copy the caller frees */

/* For C texts: NULL equals only NULL. */
bool text_eq(const char *a, const char *b);
bool text_starts(const char *a, const char *prefix);
bool text_ends(const char *a, const char *suffix);
bool text_in(const char *a, char *const *list); /* list is NULL-terminated, may be NULL */

struct strbuf {
	char *p;
	size_t n;
	size_t room;
};

void strbuf_done(struct strbuf *b);
void strbuf_clear(struct strbuf *b); /* empties, keeps the memory */
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_add_text(struct strbuf *b, const char *text);
void strbuf_add_char(struct strbuf *b, char c);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
void strbuf_drop_front(struct strbuf *b, size_t n); /* forgets the first n bytes */
char *strbuf_text(struct strbuf *b); /* NUL-terminated, still owned by b; never NULL */
char *strbuf_take(struct strbuf *b); /* NUL-terminated, now the caller's */
struct str strbuf_str(const struct strbuf *b);

#define auto_strbuf __attribute__((cleanup(strbuf_done)))
