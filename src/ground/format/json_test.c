/* Unit tests of JSON: places in errors, shapes both ways, hostile input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/format/json.h"

static struct json *parsed(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	if (json_parse(str_of(text), "test", &j, &e) < 0)
		fail_msg("%s", e.text);
	return j;
}

static void assert_refused(const char *text, const char *message)
{
	struct json *j = NULL;
	struct err e = {0};

	assert_true(json_parse(str_of(text), "f.json", &j, &e) < 0);
	assert_null(j);
	assert_string_equal(e.text, message);
}

static void errors_name_line_and_column(void **state)
{
	(void)state;
	assert_refused("{\n  \"a\": tru,\n}", "f.json: not JSON: line 2, column "
					      "11: boolean expected");
	assert_refused("", "f.json: it is empty, a JSON value was expected");
	assert_refused("{\"a\":1", "f.json: not JSON: line 1, column 7: "
				   "the text ends in the middle of a value");
	assert_refused("{} x", "f.json: not JSON: line 1, column 4: more text follows the value");
}

static void depth_is_bounded(void **state)
{
	char deep[4001];
	struct json *j = NULL;
	struct err e = {0};

	(void)state;
	memset(deep, '[', 4000);
	deep[4000] = '\0';
	assert_true(json_parse(str_of(deep), "deep", &j, &e) < 0);
	assert_non_null(strstr(e.text, "nesting"));
}

static void bare_values_parse(void **state)
{
	struct json *j = parsed(" 42 ");

	(void)state;
	assert_int_equal(json_i64(j, 0), 42);
	(void)json_free(j);
	j = parsed("17");
	assert_int_equal(json_i64(j, 0), 17);
	(void)json_free(j);
	assert_null(parsed("null"));
}

struct limit {
	char *type;
	uint64_t hard;
};

struct sample {
	char *name;
	char **args;
	int64_t *memory;
	bool tty;
	struct limit *limits;
	size_t limits_n;
	struct json_pair *labels;
	struct limit inner;
	uint32_t uid;
};

static const struct json_field limit_fields[] = {
	{"type", JSON_TEXT, offsetof(struct limit, type), .required = true},
	{"hard", JSON_U64, offsetof(struct limit, hard)},
};
static const struct json_shape limit_shape = JSON_SHAPE(struct limit, limit_fields);

static const struct json_field sample_fields[] = {
	{"name", JSON_TEXT, offsetof(struct sample, name)},
	{"args", JSON_TEXTS, offsetof(struct sample, args), .empty_list = true},
	{"memory", JSON_OPT_I64, offsetof(struct sample, memory), .omit_empty = true},
	{"tty", JSON_FLAG, offsetof(struct sample, tty)},
	{"limits", JSON_LIST, offsetof(struct sample, limits), &limit_shape,
	 offsetof(struct sample, limits_n), .empty_list = true},
	{"labels", JSON_TEXT_MAP, offsetof(struct sample, labels), .empty_list = true},
	{"inner", JSON_STRUCT, offsetof(struct sample, inner), &limit_shape},
	{"uid", JSON_U32, offsetof(struct sample, uid), .omit_empty = true},
};
static const struct json_shape sample_shape = JSON_SHAPE(struct sample, sample_fields);

static void shapes_go_both_ways(void **state)
{
	static const char text[] =
		"{\"name\":\"x\",\"args\":[\"a\",\"/b\"],\"memory\":-1,\"tty\":true,"
		"\"limits\":[{\"type\":\"N\",\"hard\":18446744073709551615}],"
		"\"labels\":{\"k\":\"v\"},\"inner\":{\"type\":\"i\",\"hard\":0},\"uid\":"
		"4294967295}";
	auto_json struct json *j = parsed(text), *back = NULL;
	auto_arena struct arena a = {0};
	auto_strbuf struct strbuf out = {0};
	struct sample s;
	struct err e = {0};

	(void)state;
	assert_int_equal(json_decode(j, &sample_shape, "test", &a, &s, &e), 0);
	assert_string_equal(s.args[1], "/b");
	assert_null(s.args[2]);
	assert_true(*s.memory == -1);
	assert_int_equal(s.limits_n, 1);
	assert_true(s.limits[0].hard == UINT64_MAX);
	assert_string_equal(s.labels[0].value, "v");
	assert_int_equal(s.uid, UINT32_MAX);
	back = json_encode(&sample_shape, &s);
	json_write(back, &out);
	assert_string_equal(strbuf_text(&out), text);
}

static void what_is_written_is_read_back(void **state)
{
	static const char text[] =
		"{\"\":{},\"a\\\"\\\\b\":[],\"c\":[null,true,false,-1,1.5,18446744073709551615],"
		"\"d\":\"/\\b\\f\\n\\r\\t\\u0000\\u001f\u00e4\",\"e\":{\"f\":[{\"g\":\"\"}]}}";
	auto_json struct json *j = parsed(text);
	auto_strbuf struct strbuf out = {0};

	(void)state;
	json_write(j, &out);
	assert_string_equal(strbuf_text(&out), text);
}

static void empty_structs_encode_as_docker_does(void **state)
{
	struct sample s = {0};
	auto_json struct json *j = json_encode(&sample_shape, &s);
	auto_strbuf struct strbuf out = {0};

	(void)state;
	json_write(j, &out);
	assert_string_equal(strbuf_text(&out),
			    "{\"name\":null,\"args\":[],\"tty\":false,\"limits\":[],\"labels\":{},"
			    "\"inner\":{\"type\":null,\"hard\":0}}");
}

static void assert_misfit(const char *text, const char *message)
{
	auto_json struct json *j = parsed(text);
	auto_arena struct arena a = {0};
	struct sample s;
	struct err e = {0};

	assert_true(json_decode(j, &sample_shape, "config.json", &a, &s, &e) < 0);
	assert_string_equal(e.text, message);
}

static void misfits_name_the_key(void **state)
{
	(void)state;
	assert_misfit("{\"limits\":[{\"type\":\"a\"},{\"type\":\"b\",\"hard\":\"x\"}]}",
		      "config.json: limits[1].hard: expected a number, found a string");
	assert_misfit("{\"limits\":[{}]}",
		      "config.json: limits[0].type: it is missing and must be given");
	assert_misfit("{\"uid\":4294967296}",
		      "config.json: uid: the number is out of range 0 to 4294967295");
	assert_misfit("{\"memory\":1.5}", "config.json: memory: expected a whole number");
	assert_misfit("{\"memory\":9223372036854775808}",
		      "config.json: memory: the number is out of range -9223372036854775808 to "
		      "9223372036854775807");
	assert_misfit("{\"args\":[\"a\",7]}",
		      "config.json: args[1]: expected a string, found a number");
	assert_misfit("{\"name\":\"a\\u0000b\"}",
		      "config.json: name: the string contains a NUL character");
	assert_misfit("[]", "config.json: expected an object, found an array");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_name_line_and_column),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(bare_values_parse),
		cmocka_unit_test(shapes_go_both_ways),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(empty_structs_encode_as_docker_does),
		cmocka_unit_test(misfits_name_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
