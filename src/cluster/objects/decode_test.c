/*
 * Decoding and completing: what kubectl sends, as JSON and as protobuf, and what is wrong with it,
 * in Kubernetes' words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/objects/complete.h"
#include "cluster/objects/decode.h"
#include "ground/base/mem.h"
#include "ground/format/protobuf.h"

#define POD                                                                     \
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"," \
	"\"creationTimestamp\":null},"

static char *text_of(const struct json *j, struct strbuf *b)
{
	strbuf_clear(b);
	json_write(j, b);
	return strbuf_text(b);
}

static void test_json(void **state)
{
	auto_strbuf struct strbuf b = {0};
	auto_json struct json *j = NULL;
	const struct kind *k = NULL;

	(void)state;
	assert_int_equal(decode_body(STR(POD "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":"
					     "\"i\",\"resources\":{\"limits\":{\"cpu\":\"1000m\","
					     "\"memory\":1024}}}]}}"),
				     NULL, NULL, &k, &j, NULL),
			 0);
	assert_string_equal(k->plural, "pods");
	assert_string_equal(text_of(j, &b), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
					    "\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":"
					    "\"c\",\"image\":\"i\",\"resources\":{\"limits\":{"
					    "\"cpu\":\"1\",\"memory\":\"1024\"}}}]}}");
}

static void test_times(void **state)
{
	auto_json struct json *j = NULL;
	struct json *spec;

	(void)state;
	assert_int_equal(decode_body(STR("{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":"
					 "\"Lease\",\"metadata\":{\"creationTimestamp\":"
					 "\"2024-02-03T04:05:06.7+02:00\"},\"spec\":{\"renewTime\":"
					 "\"2024-02-03T04:05:06.7Z\"}}"),
				     NULL, NULL, NULL, &j, NULL),
			 0);
	spec = json_get(j, "spec");
	assert_string_equal(json_get_text(json_get(j, "metadata"), "creationTimestamp"),
			    "2024-02-03T02:05:06Z");
	assert_string_equal(json_get_text(spec, "renewTime"), "2024-02-03T04:05:06.700000Z");
}

static void test_strict(void **state)
{
	auto_arena struct arena a = {0};
	auto_json struct json *j = NULL;
	struct strict strict = {.arena = &a};
	struct err e = {0};

	(void)state;
	assert_int_equal(decode_body(STR(POD "\"spec\":{\"foo\":1,\"containers\":[{\"name\":\"c\","
					     "\"name\":\"d\",\"bar\":[]}]}}"),
				     NULL, &strict, NULL, &j, &e),
			 0);
	assert_int_equal(strict.n, 3);
	assert_int_equal(decode_strict(&strict, kind_of_word("pod"), &e), -ERR_INVALID);
	assert_string_equal(e.text, "Pod in version \"v1\" cannot be handled as a Pod: strict "
				    "decoding error: unknown field \"spec.foo\", unknown field "
				    "\"spec.containers[0].bar\", duplicate field "
				    "\"spec.containers[0].name\"");
	assert_null(json_get(json_get(j, "spec"), "foo"));
}

static void test_wrong(void **state)
{
	static const struct {
		const char *body, *says;
	} cases[] = {
		{"{\"apiVersion\":\"apps/"
		 "v1\",\"kind\":\"Deployment\",\"spec\":{\"replicas\":\"2\"}}",
		 "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot "
		 "unmarshal string into Go struct field DeploymentSpec.spec.replicas of type "
		 "int32"},
		{POD "\"spec\":{\"containers\":[{\"env\":[{\"name\":\"a\",\"value\":1}]}]}}",
		 "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number "
		 "into Go struct field EnvVar.spec.containers.env.value of type string"},
		{POD "\"spec\":{\"containers\":{}}}",
		 "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object "
		 "into Go struct field PodSpec.spec.containers of type []v1.Container"},
		{"{\"apiVersion\":\"v9\",\"kind\":\"Pod\"}",
		 "no kind \"Pod\" is registered for version \"v9\""},
		{"{\"kind\":\"\xff\"}", "the body is not UTF-8"},
		{POD "\"spec\":{\"overhead\":{\"cpu\":\"1x\"}}}",
		 "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the "
		 "regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_json struct json *j = NULL;
		struct err e = {0};

		assert_int_equal(decode_body(str_of(cases[i].body), NULL, NULL, NULL, &j, &e),
				 -ERR_INVALID);
		assert_string_equal(e.text, cases[i].says);
	}
}

static void put_message(struct strbuf *out, uint32_t number, struct strbuf *message)
{
	protobuf_put_bytes(out, number, strbuf_str(message));
	strbuf_clear(message);
}

/* A config map as kubectl 1.32 and newer send it. */
static void test_protobuf(void **state)
{
	auto_strbuf struct strbuf body = {0}, meta = {0}, entry = {0}, raw = {0}, b = {0};
	auto_json struct json *j = NULL;
	const struct kind *k = NULL;
	struct err e = {0};

	(void)state;
	strbuf_add(&body, "k8s\0", 4);
	protobuf_put_bytes(&meta, 1, STR("v1"));
	protobuf_put_bytes(&meta, 2, STR("ConfigMap"));
	put_message(&body, 1, &meta);
	protobuf_put_bytes(&meta, 1, STR("settings"));
	protobuf_put_bytes(&meta, 3, STR(""));
	protobuf_put_varint(&meta, 7, 0);
	protobuf_put_bytes(&meta, 8, STR(""));
	put_message(&raw, 1, &meta);
	protobuf_put_bytes(&entry, 1, STR("k"));
	protobuf_put_bytes(&entry, 2, STR("v"));
	put_message(&raw, 2, &entry);
	protobuf_put_bytes(&entry, 1, STR("b"));
	protobuf_put_bytes(&entry, 2, STR("\xff"));
	put_message(&raw, 3, &entry);
	protobuf_put_varint(&raw, 4, 0);
	protobuf_put_bytes(&body, 2, strbuf_str(&raw));
	protobuf_put_bytes(&body, 3, STR(""));
	assert_int_equal(decode_body(strbuf_str(&body), NULL, NULL, &k, &j, &e), 0);
	assert_string_equal(k->name, "ConfigMap");
	assert_string_equal(text_of(j, &b),
			    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":"
			    "\"settings\"},\"data\":{\"k\":\"v\"},\"binaryData\":{\"b\":\"/w==\"},"
			    "\"immutable\":false}");
	for (size_t n = 5; n < body.n; n++) { /* cut off anywhere: refused or fine, never worse */
		auto_json struct json *cut = NULL;

		(void)!decode_body((struct str){body.p, n}, k, NULL, NULL, &cut, NULL);
	}
}

static void test_protobuf_types(void **state)
{
	auto_strbuf struct strbuf raw = {0}, inner = {0}, b = {0};
	auto_json struct json *probe = NULL, *volume = NULL, *lease = NULL;

	(void)state;
	protobuf_put_varint(&b, 1, 0);
	protobuf_put_varint(&b, 2, 8080);
	protobuf_put_bytes(&inner, 1, STR("/x"));
	put_message(&inner, 2, &b);
	put_message(&raw, 2, &inner); /* ProbeHandler.httpGet, inlined as field 1 of Probe */
	protobuf_put_bytes(&inner, 1, strbuf_str(&raw));
	protobuf_put_varint(&inner, 2, 5);
	assert_int_equal(decode_message(strbuf_str(&inner),
					type_of_name("io.k8s.api.core.v1.Probe"), &probe, NULL),
			 0);
	assert_string_equal(text_of(probe, &b), "{\"httpGet\":{\"path\":\"/x\",\"port\":8080},"
						"\"initialDelaySeconds\":5}");
	strbuf_clear(&raw), strbuf_clear(&inner);
	protobuf_put_bytes(&inner, 2, STR("")); /* emptyDir: {} is there */
	protobuf_put_bytes(&raw, 1, STR("v"));
	put_message(&raw, 2, &inner);
	assert_int_equal(decode_message(strbuf_str(&raw), type_of_name("io.k8s.api.core.v1.Volume"),
					&volume, NULL),
			 0);
	assert_string_equal(text_of(volume, &b), "{\"name\":\"v\",\"emptyDir\":{}}");
	strbuf_clear(&raw);
	protobuf_put_varint(&inner, 1, 1700000000);
	protobuf_put_varint(&inner, 2, 123456000);
	put_message(&raw, 4, &inner);
	assert_int_equal(decode_message(strbuf_str(&raw),
					type_of_name("io.k8s.api.coordination.v1.LeaseSpec"),
					&lease, NULL),
			 0);
	assert_string_equal(text_of(lease, &b), "{\"renewTime\":\"2023-11-14T22:13:20.123456Z\"}");
}

static void test_complete(void **state)
{
	auto_strbuf struct strbuf once = {0}, twice = {0};
	auto_json struct json *j = NULL;
	const struct kind *k = NULL;
	struct json *spec, *container;

	(void)state;
	assert_int_equal(
		decode_body(STR("{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":"
				"{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":"
				"\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
				"\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"x/y:1\","
				"\"livenessProbe\":{\"exec\":{\"command\":[\"true\"]}}}],"
				"\"volumes\":[{\"name\":\"v\"}]}}}}"),
			    NULL, NULL, &k, &j, NULL),
		0);
	complete(k, j);
	text_of(j, &once);
	complete(k, j);
	assert_string_equal(text_of(j, &twice), strbuf_text(&once));
	spec = json_get(j, "spec");
	assert_int_equal(json_get_i64(spec, "replicas", 0), 1);
	assert_string_equal(
		json_get_text(json_get(json_get(spec, "strategy"), "rollingUpdate"), "maxSurge"),
		"25%");
	spec = json_get(json_get(spec, "template"), "spec");
	assert_string_equal(json_get_text(spec, "dnsPolicy"), "ClusterFirst");
	assert_non_null(json_get(json_at(json_get(spec, "volumes"), 0), "emptyDir"));
	container = json_at(json_get(spec, "containers"), 0);
	assert_string_equal(json_get_text(container, "imagePullPolicy"), "IfNotPresent");
	assert_int_equal(json_get_i64(json_get(container, "livenessProbe"), "failureThreshold", 0),
			 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),	 cmocka_unit_test(test_times),
		cmocka_unit_test(test_strict),	 cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_protobuf), cmocka_unit_test(test_protobuf_types),
		cmocka_unit_test(test_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
