/* Strategies: what a create, an update and a write of the status may bring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/objects/strategy.h"
#include "ground/base/str.h"

static struct json *parsed(const char *text)
{
	struct json *j = NULL;

	assert_int_equal(json_parse(str_of(text), "test", &j, NULL), 0);
	return j;
}

static void check(struct json *got, const char *text)
{
	auto_json struct json *want = parsed(text), *hold = got;
	auto_strbuf struct strbuf b = {0};

	json_write(got, &b);
	if (!json_equal(hold, want))
		fail_msg("%s", strbuf_text(&b));
}

static void test_create(void **state)
{
	struct json *deployment =
		parsed("{\"metadata\":{\"name\":\"d\"},\"spec\":{},\"status\":{\"replicas\":9}}");
	struct json *map = parsed("{\"metadata\":{\"name\":\"m\"},\"data\":{}}");
	struct json *job = parsed("{\"metadata\":{\"name\":\"j\",\"uid\":\"u\"},\"spec\":{"
				  "\"template\":{\"spec\":{}}}}");

	(void)state;
	strategy_create(kind_of_word("deployment"), deployment);
	check(deployment, "{\"metadata\":{\"name\":\"d\",\"generation\":1},\"spec\":{}}");
	strategy_create(kind_of_word("configmap"), map);
	check(map, "{\"metadata\":{\"name\":\"m\"},\"data\":{}}");
	strategy_create(kind_of_word("job"), job);
	check(job, "{\"metadata\":{\"name\":\"j\",\"uid\":\"u\",\"generation\":1},\"spec\":{"
		   "\"template\":{\"spec\":{},\"metadata\":{\"labels\":{\"controller-uid\":\"u\","
		   "\"job-name\":\"j\",\"batch.kubernetes.io/controller-uid\":\"u\","
		   "\"batch.kubernetes.io/job-name\":\"j\"}}},\"selector\":{\"matchLabels\":{"
		   "\"batch.kubernetes.io/controller-uid\":\"u\"}}}}");
}

#define OLD                                                                                        \
	"{\"metadata\":{\"name\":\"d\",\"uid\":\"u\",\"generation\":3},\"spec\":{\"replicas\":1}," \
	"\"status\":{\"replicas\":1}}"

static void test_update(void **state)
{
	const struct kind *k = kind_of_word("deployment");
	auto_json struct json *old = parsed(OLD);
	struct json *same =
		parsed("{\"metadata\":{\"name\":\"d\",\"labels\":{\"a\":\"b\"},\"uid\":\"x\"},"
		       "\"spec\":{\"replicas\":1},\"status\":{}}");
	struct json *other = parsed("{\"metadata\":{\"name\":\"d\"},\"spec\":{\"replicas\":2}}");

	(void)state;
	strategy_update(k, same, old);
	check(same,
	      "{\"metadata\":{\"name\":\"d\",\"labels\":{\"a\":\"b\"},\"uid\":\"u\",\"generation\":"
	      "3},\"spec\":{\"replicas\":1},\"status\":{\"replicas\":1}}");
	strategy_update(k, other, old);
	check(other, "{\"metadata\":{\"name\":\"d\",\"uid\":\"u\",\"generation\":4},\"spec\":{"
		     "\"replicas\":2},\"status\":{\"replicas\":1}}");
}

static void test_status(void **state)
{
	auto_json struct json *old = parsed(OLD);
	struct json *new =
		parsed("{\"metadata\":{\"name\":\"d\",\"resourceVersion\":\"7\",\"labels\":{}},"
		       "\"spec\":{\"replicas\":5},\"status\":{\"replicas\":2}}");

	(void)state;
	strategy_status(kind_of_word("deployment"), new, old);
	check(new, "{\"metadata\":{\"name\":\"d\",\"uid\":\"u\",\"generation\":3,"
		   "\"resourceVersion\":\"7\"},"
		   "\"spec\":{\"replicas\":1},\"status\":{\"replicas\":2}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
