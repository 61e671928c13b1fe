/* Trees: what controllers read from objects' JSON and put into it, beyond a plain member. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/parse.h"

void tree_set_count(struct json *object, const char *key, int64_t n)
{
	json_set(object, key, n ? json_new_i64(n) : NULL);
}

struct json *tree_list(struct json *list)
{
	return json_len(list) ? list : json_free(list);
}

const struct json *tree_spec(const struct object *o)
{
	return json_get(object_tree(o), "spec");
}

const struct json *tree_status(const struct object *o)
{
	return json_get(object_tree(o), "status");
}

const char *tree_annotation(const struct object *o, const char *key)
{
	return json_get_text(json_get(json_get(object_tree(o), "metadata"), "annotations"), key);
}

int64_t tree_created_s(const struct object *o)
{
	return time_of(json_get_text(json_get(object_tree(o), "metadata"), "creationTimestamp"));
}

int64_t tree_portion(const struct json *value, int64_t whole, bool up)
{
	struct str text = json_str(value);
	uint64_t percent;
	struct err e;

	if (json_kind(value) != JSON_STRING)
		return json_i64(value, 0);
	if (!str_ends(text, "%"))
		return 0;
	text.n--;
	if (parse_u64(text, "percentage", &percent, &e) < 0 || percent > 1000000)
		return 0;
	return (whole * (int64_t)percent + (up ? 99 : 0)) / 100;
}

char *tree_hash(const struct json *tree, int64_t count, char ret[TREE_HASH_CHARS])
{
	auto_strbuf struct strbuf text = {0};
	uint32_t h = 2166136261u;
	int n;

	json_write(tree, &text);
	if (count)
		strbuf_printf(&text, "%lld", (long long)count);
	for (size_t i = 0; i < text.n; i++)
		h = (h ^ (unsigned char)text.p[i]) * 16777619u;
	n = snprintf(ret, TREE_HASH_CHARS, "%u", h);
	assert(n > 0 && n < TREE_HASH_CHARS);
	for (int i = 0; i < n; i++)
		ret[i] = name_letter((unsigned char)ret[i]);
	return ret;
}
