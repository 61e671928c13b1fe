/*
 * The grammar of references as a few scanners over text. Messages name the whole reference and the
 * part that is wrong, since "invalid reference format" alone has puzzled many.
 */
#include "virt/image/reference.h"

#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/store/digest.h"

#define DOCKER_HOST "docker.io"

static bool is_lower_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_word(char c)
{
	return is_lower_digit(c) || is_upper(c) || c == '_';
}

static bool has_upper(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (is_upper(s.p[i]))
			return true;
	return false;
}

/* Between two alphanumerics: one dot, one or two underscores, or any number of dashes. */
static size_t separator(struct str s)
{
	size_t n = 0;

	if (s.n && s.p[0] == '.')
		return 1;
	if (s.n && s.p[0] == '_')
		return s.n > 1 && s.p[1] == '_' ? 2 : 1;
	while (n < s.n && s.p[n] == '-')
		n++;
	return n;
}

static bool component_valid(struct str s)
{
	size_t at = 0;

	for (;;) {
		size_t n = 0;

		while (at + n < s.n && is_lower_digit(s.p[at + n]))
			n++;
		if (n == 0)
			return false;
		at += n;
		if (at == s.n)
			return true;
		at += separator((struct str){s.p + at, s.n - at});
	}
}

static bool path_valid(struct str path)
{
	struct str part;

	if (path.n == 0 || path.p[path.n - 1] == '/')
		return false;
	while (str_cut(&path, '/', &part))
		if (!component_valid(part))
			return false;
	return true;
}

static bool label_valid(struct str s)
{
	if (s.n == 0 || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_digit(s.p[i]) && !is_upper(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

/* Without ":port" at the end, if there is one. */
static struct str without_port(struct str host)
{
	size_t n = host.n;

	while (n > 0 && host.p[n - 1] >= '0' && host.p[n - 1] <= '9')
		n--;
	if (n > 0 && n < host.n && host.p[n - 1] == ':' && host.n - n <= 5)
		host.n = n - 1;
	return host;
}

/* [v6], or labels with dots; then perhaps a port. */
static bool host_valid(struct str host)
{
	struct str name = without_port(host), label;

	if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']') {
		for (size_t i = 1; i + 1 < name.n; i++)
			if (!strchr("0123456789abcdefABCDEF:.", name.p[i]))
				return false;
		return true;
	}
	if (name.n == 0 || name.p[name.n - 1] == '.')
		return false;
	while (str_cut(&name, '.', &label))
		if (!label_valid(label))
			return false;
	return true;
}

static bool tag_valid(struct str tag)
{
	if (tag.n == 0 || tag.n > REFERENCE_TAG_MAX || !is_word(tag.p[0]))
		return false;
	for (size_t i = 1; i < tag.n; i++)
		if (!is_word(tag.p[i]) && tag.p[i] != '.' && tag.p[i] != '-')
			return false;
	return true;
}

static bool is_bare_id(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return s.n == DIGEST_HEX_CHARS;
}

static bool looks_like_host(struct str s)
{
	return memchr(s.p, '.', s.n) || memchr(s.p, ':', s.n) || str_is(s, "localhost") ||
	       has_upper(s);
}

/* Splits host and path and puts in what Docker leaves out. */
static void split_name(struct str name, struct arena *a, struct reference *ret)
{
	const char *slash = memchr(name.p, '/', name.n);
	struct str first = {name.p, slash ? (size_t)(slash - name.p) : 0};

	if (!slash || !looks_like_host(first)) {
		ret->host = DOCKER_HOST;
		ret->path = arena_dup(a, name);
	} else {
		ret->host = arena_dup(a, first);
		ret->path = arena_dup(a, (struct str){slash + 1, name.n - first.n - 1});
	}
	if (strcmp(ret->host, "index.docker.io") == 0)
		ret->host = DOCKER_HOST;
	if (strcmp(ret->host, DOCKER_HOST) == 0 && !strchr(ret->path, '/'))
		ret->path = arena_printf(a, "library/%s", ret->path);
}

static int check_name(const char *text, const struct reference *r, struct err *e)
{
	struct str path = str_of(r->path);

	if (!host_valid(str_of(r->host)))
		return err_set(e, ERR_INVALID,
			       "invalid reference format: '%.300s': '%.100s' is no host name", text,
			       r->host);
	if (has_upper(path))
		return err_set(
			e, ERR_INVALID,
			"invalid reference format: repository name (%.300s) must be lowercase",
			r->path);
	if (!path_valid(path))
		return err_set(e, ERR_INVALID,
			       "invalid reference format: '%.300s': a repository name has "
			       "lower-case letters and "
			       "digits, separated by '/', '.', '_' or '-'",
			       text);
	if (strlen(r->host) + 1 + path.n > REFERENCE_NAME_MAX)
		return err_set(e, ERR_INVALID,
			       "invalid reference format: the repository name must not be more "
			       "than %d characters",
			       REFERENCE_NAME_MAX);
	return 0;
}

int reference_parse(const char *text, struct arena *a, struct reference *ret, struct err *e)
{
	struct str name = str_of(text);
	struct reference r = {0};
	const char *at, *colon;
	int failed;

	assert(text && ret);
	if (name.n == 0)
		return err_set(e, ERR_INVALID, "invalid reference format: the name is empty");
	if (is_bare_id(name))
		return err_set(
			e, ERR_INVALID,
			"invalid repository name (%s), cannot specify 64-byte hexadecimal strings",
			text);
	at = memchr(name.p, '@', name.n);
	if (at) {
		r.digest = arena_dup(a, (struct str){at + 1, name.n - (size_t)(at - name.p) - 1});
		failed = digest_check(str_of(r.digest), e);
		if (failed < 0)
			return err_wrap(e, "invalid reference format: '%.300s'", text);
		name.n = (size_t)(at - name.p);
	}
	colon = memrchr(name.p, ':', name.n);
	if (colon && !memchr(colon, '/', name.n - (size_t)(colon - name.p))) {
		struct str tag = {colon + 1, name.n - (size_t)(colon - name.p) - 1};

		if (!tag_valid(tag))
			return err_set(e, ERR_INVALID,
				       "invalid reference format: '%.300s': tag '%.*s' must have 1 "
				       "to %d letters, digits, "
				       "'_', '.' or '-', and begin with neither '.' nor '-'",
				       text, tag.n > 140 ? 140 : (int)tag.n, tag.p,
				       REFERENCE_TAG_MAX);
		r.tag = arena_dup(a, tag);
		name.n = (size_t)(colon - name.p);
	}
	if (name.n == 0)
		return err_set(e, ERR_INVALID,
			       "invalid reference format: '%.300s': the name is empty", text);
	split_name(name, a, &r);
	failed = check_name(text, &r, e);
	if (failed < 0)
		return failed;
	*ret = r;
	return 0;
}

void reference_default_tag(struct reference *r)
{
	if (!r->tag && !r->digest)
		r->tag = "latest";
}

char *reference_repository(const struct reference *r, struct arena *a)
{
	return arena_printf(a, "%s/%s", r->host, r->path);
}

char *reference_tagged(const struct reference *r, struct arena *a)
{
	assert(r->tag);
	return arena_printf(a, "%s/%s:%s", r->host, r->path, r->tag);
}

char *reference_digested(const struct reference *r, const char *digest, struct arena *a)
{
	return arena_printf(a, "%s/%s@%s", r->host, r->path, digest);
}

char *reference_familiar(const char *full, struct arena *a)
{
	static const char hub[] = DOCKER_HOST "/", library[] = "library/";

	if (text_starts(full, hub)) {
		full += sizeof(hub) - 1;
		if (text_starts(full, library))
			full += sizeof(library) - 1;
	}
	return arena_dup_text(a, full);
}
