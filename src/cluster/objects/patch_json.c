/*
 * JSON patch (RFC 6902). A pointer (RFC 6901) is followed token by token; on the way back each list
 * that changed is made anew from its elements, objects change in place. What is copied is bounded
 * by COPY_MAX in all, for a copy of a copy doubles.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/patch_priv.h"
#include "ground/base/parse.h"

#define COPY_MAX   ((size_t)3 << 20)
#define TOKENS_MAX 128

enum verb { ADD, REMOVE, REPLACE };

struct step {
	enum verb verb;
	struct json *value; /* consumed when it was put */
	const char *path;
	struct err *e;
};

static int missing(const struct step *s)
{
	return err_set(s->e, ERR_INVALID, "the patch names '%s', which the object does not have",
		       s->path);
}

/* "~1" is a slash, "~0" a tilde. */
static void unescape(struct str token, struct strbuf *out)
{
	for (size_t i = 0; i < token.n; i++) {
		bool tilde = token.p[i] == '~' && i + 1 < token.n;

		if (tilde && (token.p[i + 1] == '0' || token.p[i + 1] == '1'))
			strbuf_add_char(out, token.p[++i] == '0' ? '~' : '/');
		else
			strbuf_add_char(out, token.p[i]);
	}
}

/* An index without leading zeros, or "-" for the end where something may be added. */
static bool index_of(struct str token, size_t n, bool adding, size_t *ret)
{
	uint32_t i = 0;

	if (adding && str_is(token, "-")) {
		*ret = n;
		return true;
	}
	if ((token.n > 1 && token.p[0] == '0') || parse_u32(token, "index", &i, NULL) < 0)
		return false;
	*ret = i;
	return adding ? i <= n : i < n;
}

static struct json *spliced(const struct json *list, size_t at, const struct step *s)
{
	struct json *made = json_new_array();

	for (size_t i = 0; i <= json_len(list); i++) {
		if (i == at && s->verb != REMOVE)
			json_append(made, s->value);
		if (i < json_len(list) && (i != at || s->verb == ADD))
			json_append(made, json_ref(json_at(list, i)));
	}
	return made;
}

static int edit(struct json *node, struct str rest, unsigned int depth, struct step *s,
		struct json **ret);

static int edit_list(struct json *list, struct str token, struct str rest, unsigned int depth,
		     struct step *s, struct json **ret)
{
	bool last = rest.n == 0 && rest.p == NULL;
	struct json *changed = NULL;
	struct step put = {.verb = REPLACE};
	size_t at;
	int r;

	if (!index_of(token, json_len(list), last && s->verb == ADD, &at))
		return missing(s);
	if (last) {
		*ret = spliced(list, at, s);
		s->value = NULL;
		return 0;
	}
	r = edit(json_at(list, at), rest, depth + 1, s, &changed);
	if (r < 0 || !changed)
		return r;
	put.value = changed;
	*ret = spliced(list, at, &put);
	return 0;
}

static int edit_object(struct json *object, struct str token, struct str rest, unsigned int depth,
		       struct step *s)
{
	auto_strbuf struct strbuf key = {0};
	bool last = rest.n == 0 && rest.p == NULL;
	struct json *changed = NULL;
	int r;

	unescape(token, &key);
	if (!json_get(object, strbuf_text(&key)) && !(last && s->verb == ADD))
		return missing(s);
	if (last) {
		if (s->verb == REMOVE)
			json_remove(object, strbuf_text(&key));
		else
			json_set(object, strbuf_text(&key), s->value);
		s->value = NULL;
		return 0;
	}
	r = edit(json_get(object, strbuf_text(&key)), rest, depth + 1, s, &changed);
	if (r == 0 && changed)
		json_set(object, strbuf_text(&key), changed);
	return r;
}

/* The first token of "/a/b": "a", with "/b" left; a NULL rest when it was the last. */
static bool first_token(struct str *rest, struct str *ret)
{
	const char *slash;

	if (rest->n == 0 || rest->p[0] != '/')
		return false;
	rest->p++, rest->n--;
	slash = memchr(rest->p, '/', rest->n);
	*ret = *rest;
	if (!slash) {
		*rest = (struct str){NULL, 0};
		return true;
	}
	ret->n = (size_t)(slash - rest->p);
	*rest = (struct str){slash, rest->n - ret->n};
	return true;
}

/* *ret is set when another value has to stand in node's place. */
static int edit(struct json *node, struct str rest, unsigned int depth, struct step *s,
		struct json **ret)
{
	struct str token;

	if (depth > TOKENS_MAX || !first_token(&rest, &token))
		return missing(s);
	if (json_kind(node) == JSON_ARRAY)
		return edit_list(node, token, rest, depth, s, ret);
	if (json_kind(node) == JSON_OBJECT)
		return edit_object(node, token, rest, depth, s);
	return missing(s);
}

static int apply(struct json **tree, enum verb verb, const char *path, struct json *value,
		 struct err *e)
{
	struct step s = {.verb = verb, .value = value, .path = path, .e = e};
	struct json *changed = NULL;
	int r = 0;

	if (path[0] == '\0' && verb != REMOVE) {
		changed = value;
		s.value = NULL;
	} else {
		r = edit(*tree, str_of(path), 0, &s, &changed);
	}
	json_free(s.value);
	if (r == 0 && changed) {
		json_free(*tree);
		*tree = changed;
	}
	return r;
}

static struct json *look_up(struct json *tree, const char *path)
{
	struct str rest = str_of(path), token;
	struct json *node = tree;
	size_t at;

	while (node && rest.n > 0 && first_token(&rest, &token)) {
		auto_strbuf struct strbuf key = {0};

		unescape(token, &key);
		if (json_kind(node) == JSON_OBJECT)
			node = json_get(node, strbuf_text(&key));
		else if (index_of(token, json_len(node), false, &at))
			node = json_at(node, at);
		else
			return NULL;
	}
	return rest.n == 0 ? node : NULL;
}

static int move_or_copy(struct json **tree, const struct json *op, const char *path, bool move,
			size_t *copied, struct err *e)
{
	const char *from = json_get_text(op, "from");
	struct json *found = from ? look_up(*tree, from) : NULL;
	auto_strbuf struct strbuf b = {0};
	struct json *value;
	int r = 0;

	if (!found)
		return err_set(e, ERR_INVALID,
			       "the patch names '%s', which the object does not have",
			       from ? from : "");
	if (move && str_starts(str_of(path), from) && path[strlen(from)] == '/')
		return err_set(e, ERR_INVALID, "the patch moves '%s' into itself", from);
	json_write(found, &b);
	*copied += b.n;
	if (*copied > COPY_MAX)
		return err_set(e, ERR_EXHAUSTED, "the patch copies more than %zu bytes", COPY_MAX);
	value = json_copy(found);
	if (move)
		r = apply(tree, REMOVE, from, NULL, e);
	if (r < 0) {
		json_free(value);
		return r;
	}
	return apply(tree, ADD, path, value, e);
}

static int one_op(struct json **tree, const struct json *op, size_t *copied, struct err *e)
{
	const char *verb = json_get_text(op, "op");
	const char *path = json_get_text(op, "path");
	struct json *value = json_get(op, "value");

	if (!verb || !path)
		return err_set(e, ERR_INVALID, "an operation of the patch has no 'op' or 'path'");
	if (text_eq(verb, "add"))
		return apply(tree, ADD, path, json_copy(value), e);
	if (text_eq(verb, "replace"))
		return apply(tree, REPLACE, path, json_copy(value), e);
	if (text_eq(verb, "remove"))
		return apply(tree, REMOVE, path, NULL, e);
	if (text_eq(verb, "move") || text_eq(verb, "copy"))
		return move_or_copy(tree, op, path, verb[0] == 'm', copied, e);
	if (!text_eq(verb, "test"))
		return err_set(e, ERR_INVALID, "the patch asks for '%s', which is no operation",
			       verb);
	if (!json_equal(look_up(*tree, path), value))
		return err_set(e, ERR_INVALID, "testing value '%s' failed: test failed", path);
	return 0;
}

int patch_json_ops(struct json **tree, const struct json *ops, struct err *e)
{
	size_t copied = 0;
	int r = 0;

	assert(tree && *tree);
	if (json_len(ops) > PATCH_OPS_MAX)
		return err_set(e, ERR_EXHAUSTED,
			       "The allowed maximum operations in a JSON patch is %d, got %zu",
			       PATCH_OPS_MAX, json_len(ops));
	for (size_t i = 0; i < json_len(ops) && r == 0; i++)
		r = one_op(tree, json_at(ops, i), &copied, e);
	return r;
}
