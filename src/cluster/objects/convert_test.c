/* Conversion: older forms and back, with nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/objects/convert.h"
#include "ground/base/str.h"

static struct json *parsed(const char *text)
{
	struct json *j = NULL;

	assert_int_equal(json_parse(str_of(text), "test", &j, NULL), 0);
	return j;
}

static void there_and_back(const struct kind *stored, const struct kind *old, const char *text,
			   const char *as_old)
{
	auto_json struct json *j = parsed(text), *want = parsed(text), *middle = parsed(as_old);

	convert(j, stored, old);
	if (!json_equal(j, middle)) {
		auto_strbuf struct strbuf b = {0};

		json_write(j, &b);
		fail_msg("%s", strbuf_text(&b));
	}
	convert(j, old, stored);
	assert_true(json_equal(j, want));
}

static void test_scaler(void **state)
{
	(void)state;
	there_and_back(
		kind_of_name("autoscaling", "v2", "HorizontalPodAutoscaler"),
		kind_of_name("autoscaling", "v1", "HorizontalPodAutoscaler"),
		"{\"apiVersion\":\"autoscaling/v2\",\"metadata\":{\"name\":\"h\"},\"spec\":{"
		"\"metrics\":[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{"
		"\"type\":\"Utilization\",\"averageUtilization\":80}}},{\"type\":\"Pods\"}],"
		"\"behavior\":{\"scaleUp\":{}}}}",
		"{\"apiVersion\":\"autoscaling/v1\",\"metadata\":{\"name\":\"h\",\"annotations\":{"
		"\"autoscaling.alpha.kubernetes.io/metrics\":\"[{\\\"type\\\":\\\"Pods\\\"}]\","
		"\"autoscaling.alpha.kubernetes.io/behavior\":\"{\\\"scaleUp\\\":{}}\"}},\"spec\":{"
		"\"targetCPUUtilizationPercentage\":80}}");
}

static void test_event(void **state)
{
	(void)state;
	there_and_back(
		kind_of_name("", "v1", "Event"), kind_of_name("events.k8s.io", "v1", "Event"),
		"{\"apiVersion\":\"v1\",\"message\":\"m\",\"count\":2,\"involvedObject\":{}}",
		"{\"apiVersion\":\"events.k8s.io/v1\",\"note\":\"m\",\"deprecatedCount\":2,"
		"\"regarding\":{}}");
}

static void test_same_form(void **state)
{
	(void)state;
	there_and_back(kind_of_name("policy", "v1", "PodDisruptionBudget"),
		       kind_of_name("policy", "v1beta1", "PodDisruptionBudget"),
		       "{\"apiVersion\":\"policy/v1\",\"spec\":{}}",
		       "{\"apiVersion\":\"policy/v1beta1\",\"spec\":{}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scaler),
		cmocka_unit_test(test_event),
		cmocka_unit_test(test_same_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
