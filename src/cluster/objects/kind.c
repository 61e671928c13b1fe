/*
 * Lookups over the kinds' tables. Built-in kinds are scanned (there are under a hundred, and a
 * request asks once); custom ones stand behind them in a small array. A resource's first row in
 * the tables is the version that is preferred.
 */
#include "cluster/objects/kind.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/str.h"

static const struct kind *custom[KIND_CUSTOM_MAX];
static size_t custom_n;

const struct kind *kind_at(size_t i)
{
	if (i < kinds_built_in_n)
		return &kinds_built_in[i];
	i -= kinds_built_in_n;
	return i < custom_n ? custom[i] : NULL;
}

static bool of_version(const struct kind *k, const char *group, const char *version)
{
	return text_eq(k->group, group) && text_eq(k->version, version);
}

const struct kind *kind_of_resource(const char *group, const char *version, const char *plural)
{
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)); i++)
		if (k->plural[0] && of_version(k, group, version) && text_eq(k->plural, plural))
			return k;
	return NULL;
}

const struct kind *kind_of_name(const char *group, const char *version, const char *name)
{
	const struct kind *k;

	for (size_t i = 0; (k = kind_at(i)); i++)
		if (of_version(k, group, version) && text_eq(k->name, name))
			return k;
	return NULL;
}

const struct kind *kind_of_api(const char *api_version, const char *name)
{
	struct str rest = str_of(api_version), group = {"", 0};
	const struct kind *k;

	if (!api_version || !name)
		return NULL;
	if (strchr(api_version, '/'))
		(void)str_cut(&rest, '/', &group);
	for (size_t i = 0; (k = kind_at(i)); i++)
		if (str_is(group, k->group) && str_is(rest, k->version) && text_eq(k->name, name))
			return k;
	/* Option bodies name the group version of what they are about: policy/v1 DeleteOptions. */
	return strstr(name, "Options") ? kind_of_name("meta.k8s.io", "v1", name) : NULL;
}

const struct kind *kind_of_word(const char *word)
{
	const struct kind *k;

	assert(word);
	for (size_t i = 0; (k = kind_at(i)); i++) {
		if (!k->plural[0])
			continue;
		if (text_eq(k->plural, word) || text_eq(k->singular, word) ||
		    text_eq(k->name, word) || text_in(word, (char *const *)k->short_names))
			return k;
	}
	return NULL;
}

static char *fit(int n, char *ret, size_t room)
{
	assert(room > 0);
	if (n < 0 || (size_t)n >= room)
		ret[0] = '\0';
	return ret;
}

bool kind_is(const struct kind *k, const char *group, const char *name)
{
	return text_eq(k->group, group) && text_eq(k->name, name);
}

char *kind_api(const struct kind *k, char *ret, size_t room)
{
	assert(k && ret);
	return fit(snprintf(ret, room, "%s%s%s", k->group, k->group[0] ? "/" : "", k->version), ret,
		   room);
}

char *kind_resource(const struct kind *k, char *ret, size_t room)
{
	assert(k && ret);
	return fit(snprintf(ret, room, "%s%s%s", k->plural, k->group[0] ? "." : "", k->group), ret,
		   room);
}

bool kind_selects(const struct kind *k, const char *path)
{
	assert(k && path);
	return text_eq(path, "metadata.name") || text_eq(path, "metadata.namespace") ||
	       (k->selectable && text_in(path, (char *const *)k->selectable));
}

bool kind_add(const struct kind *k)
{
	assert(k && k->type && k->stored);
	if (custom_n == KIND_CUSTOM_MAX || kind_of_resource(k->group, k->version, k->plural))
		return false;
	custom[custom_n++] = k;
	return true;
}

void kind_remove(const struct kind *k)
{
	for (size_t i = 0; i < custom_n; i++) {
		if (custom[i] != k)
			continue;
		memmove(&custom[i], &custom[i + 1], (--custom_n - i) * sizeof(custom[0]));
		return;
	}
}

const struct field *type_field(const struct type *t, const char *name)
{
	assert(t && name);
	for (size_t i = 0; i < t->fields_n; i++) {
		const struct field *f = &t->fields[i];
		const struct field *deep;

		if (f->flags & FIELD_INLINE) {
			deep = type_field(f->of, name);
			if (deep)
				return deep;
		} else if (strcmp(f->name, name) == 0) {
			return f;
		}
	}
	return NULL;
}

const struct field *type_field_number(const struct type *t, uint32_t number)
{
	assert(t);
	for (size_t i = 0; i < t->fields_n; i++)
		if (t->fields[i].number == number && number > 0)
			return &t->fields[i];
	return NULL;
}

const struct type *type_at(size_t i)
{
	return i < types_built_in_n ? types_built_in[i] : NULL;
}

const struct type *type_of_name(const char *name)
{
	assert(name);
	for (size_t i = 0; i < types_built_in_n; i++) {
		const struct type *t = types_built_in[i];
		size_t n = strlen(t->package);

		if (strncmp(name, t->package, n) == 0 && name[n] == '.' &&
		    strcmp(name + n + 1, t->name) == 0)
			return t;
	}
	return NULL;
}
