/*
 * Dockerfile lines as changes of a config (`commit --change`, `import --change`): CMD, ENTRYPOINT,
 * ENV, LABEL, EXPOSE, VOLUME, USER, WORKDIR, STOPSIGNAL. A line's value is JSON where it begins
 * with '[', else words.
 */
#include "engine/engine_priv.h"

static const char *word_end(const char *p)
{
	char quote = '\0';

	for (; *p; p++) {
		if (quote)
			quote = *p == quote ? '\0' : quote;
		else if (*p == '"' || *p == '\'')
			quote = *p;
		else if (*p == ' ' || *p == '\t')
			break;
	}
	return p;
}

static char *unquote(struct str text)
{
	auto_strbuf struct strbuf b = {0};
	char quote = '\0';

	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (quote ? c == quote : c == '"' || c == '\'')
			quote = quote ? '\0' : c;
		else
			strbuf_add_char(&b, c);
	}
	return strbuf_take(&b);
}

/* The words of a value, quotes removed. */
static char **words_of(const char *value)
{
	char **list = mem_new_array(char *, 1);

	while (*value) {
		const char *end;

		while (*value == ' ' || *value == '\t')
			value++;
		end = word_end(value);
		if (end > value) {
			auto_free char *word = unquote((struct str){value, (size_t)(end - value)});

			mem_append_text(&list, word);
		}
		value = end;
	}
	return list;
}

/* CMD and ENTRYPOINT: a JSON list, or a line for the shell. */
static int set_command(struct json *config, const char *key, const char *value, struct err *e)
{
	struct json *list = NULL;

	if (*value == '[') {
		if (json_parse(str_of(value), key, &list, e) < 0)
			return -ERR_INVALID;
		json_set(config, key, list);
		return 0;
	}
	list = json_new_array();
	json_append(list, json_new_text("/bin/sh"));
	json_append(list, json_new_text("-c"));
	json_append(list, json_new_text(value));
	json_set(config, key, list);
	return 0;
}

static void set_variable(struct json *config, const char *variable)
{
	struct json *old = json_get(config, "Env"), *fresh = json_new_array();
	size_t n = strcspn(variable, "=") + 1;

	for (size_t i = 0; i < json_len(old); i++) {
		const char *text = json_text(json_at(old, i));

		if (text && strncmp(text, variable, n) != 0)
			json_append(fresh, json_new_text(text));
	}
	json_append(fresh, json_new_text(variable));
	json_set(config, "Env", fresh);
}

static int set_pairs(struct json *config, const char *value, bool labels, struct err *e)
{
	char **words = words_of(value);
	int bad = 0;

	for (char **w = words; *w && bad >= 0; w++) {
		char *equals = strchr(*w, '=');

		if (!equals) {
			bad = err_set(e, ERR_INVALID, "invalid change '%s': NAME=VALUE is expected",
				      value);
		} else if (labels) {
			*equals = '\0';
			json_set_text(json_make_object(config, "Labels"), *w, equals + 1);
		} else {
			set_variable(config, *w);
		}
	}
	(void)mem_free_texts(words);
	return bad;
}

static int set_members(struct json *config, const char *key, const char *value, bool ports,
		       struct err *e)
{
	struct json *list = NULL;
	char **words;

	if (*value == '[') {
		if (json_parse(str_of(value), key, &list, e) < 0)
			return -ERR_INVALID;
		for (size_t i = 0; i < json_len(list); i++)
			if (json_text(json_at(list, i)))
				json_set(json_make_object(config, key), json_text(json_at(list, i)),
					 json_new_object());
		(void)json_free(list);
		return 0;
	}
	words = words_of(value);
	for (char **w = words; *w; w++) {
		auto_free char *port = ports && !strchr(*w, '/') ? mem_printf("%s/tcp", *w) : NULL;

		json_set(json_make_object(config, key), port ? port : *w, json_new_object());
	}
	(void)mem_free_texts(words);
	return 0;
}

enum change_form { FORM_COMMAND, FORM_ENV, FORM_LABEL, FORM_MEMBERS, FORM_TEXT };

static const struct {
	const char *verb;
	const char *key;
	enum change_form form;
} verbs[] = {
	{"CMD", "Cmd", FORM_COMMAND},
	{"ENTRYPOINT", "Entrypoint", FORM_COMMAND},
	{"ENV", "Env", FORM_ENV},
	{"LABEL", "Labels", FORM_LABEL},
	{"EXPOSE", "ExposedPorts", FORM_MEMBERS},
	{"VOLUME", "Volumes", FORM_MEMBERS},
	{"USER", "User", FORM_TEXT},
	{"WORKDIR", "WorkingDir", FORM_TEXT},
	{"STOPSIGNAL", "StopSignal", FORM_TEXT},
};

static int apply(struct json *config, const char *line, struct err *e)
{
	const char *value = line + strcspn(line, " \t");
	size_t n = (size_t)(value - line);

	while (*value == ' ' || *value == '\t')
		value++;
	for (size_t i = 0; i < array_len(verbs); i++) {
		if (strlen(verbs[i].verb) != n || strncasecmp(verbs[i].verb, line, n) != 0)
			continue;
		switch (verbs[i].form) {
		case FORM_COMMAND:
			return set_command(config, verbs[i].key, value, e);
		case FORM_ENV:
			return set_pairs(config, value, false, e);
		case FORM_LABEL:
			return set_pairs(config, value, true, e);
		case FORM_MEMBERS:
			return set_members(config, verbs[i].key, value,
					   text_eq(verbs[i].verb, "EXPOSE"), e);
		case FORM_TEXT:
			json_set_text(config, verbs[i].key, value);
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "%.*s is not a valid change command", (int)n, line);
}

int changes_apply(const struct json *base, char *const *changes, struct json **ret, struct err *e)
{
	auto_json struct json *config = base ? json_copy(base) : json_new_object();

	for (; changes && *changes; changes++)
		if (apply(config, *changes, e) < 0)
			return -ERR_INVALID;
	*ret = take(config);
	return 0;
}

int changes_merge(const struct json *own, const struct json *given, char *const *changes,
		  struct json **ret, struct err *e)
{
	auto_json struct json *config = json_copy(own);
	struct json_iter it = {0};
	const char *key;
	struct json *value;

	/* Of the config the client sends, what it says (not null, not empty) replaces the
	 * container's. */
	while (json_kind(given) == JSON_OBJECT && json_next(given, &it, &key, &value)) {
		const char *text = json_text(value);
		bool says = text			    ? *text != '\0'
			    : json_kind(value) == JSON_BOOL ? false
							    : json_len(value) > 0;

		if (says)
			json_set(config, key, json_copy(value));
	}
	return changes_apply(config, changes, ret, e);
}
