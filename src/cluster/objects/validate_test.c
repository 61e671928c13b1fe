/*
 * Validation: the mistakes that people make, and the sentence for each; what is right passes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cluster/objects/complete.h"
#include "cluster/objects/decode.h"
#include "cluster/objects/validate.h"
#include "ground/base/mem.h"
#include "ground/format/yaml.h"

static struct json *object_of(const char *text, const struct kind **ret_kind)
{
	struct json *j = NULL;
	struct err e = {0};

	if (decode_body(str_of(text), NULL, NULL, ret_kind, &j, &e) < 0)
		fail_msg("%s", e.text);
	complete(*ret_kind, j);
	return j;
}

/* "" when nothing is wrong. */
static void check(const char *text, const char *old_text, const char *says)
{
	auto_arena struct arena a = {0};
	struct causes causes = {.arena = &a};
	const struct kind *k = NULL;
	auto_json struct json *old = old_text ? object_of(old_text, &k) : NULL;
	auto_json struct json *object = object_of(text, &k);
	struct err e = {0};

	validate(k, object, old, &causes);
	if (causes.n > 0)
		causes_say(&causes, k, json_get_text(json_get(object, "metadata"), "name"), &e);
	assert_string_equal(e.text, says);
}

#define POD(name, spec)                                                                 \
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"" name "\"}," \
	"\"spec\":{" spec "}}"
#define ONE "\"containers\":[{\"name\":\"c\",\"image\":\"i\""
#define DEPLOY(selector, label)                                                               \
	"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},"  \
	"\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"" selector                        \
	"\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"" label "\"}},\"spec\":{" ONE \
	"}]}}}}"

static void test_pods(void **state)
{
	(void)state;
	assert_true(validate_is_sorted());
	check(POD("a", ONE "}]"), NULL, "");
	check(POD("a", ""), NULL, "Pod \"a\" is invalid: spec.containers: Required value");
	check(POD("a", "\"containers\":[{\"name\":\"c\"}]"), NULL,
	      "Pod \"a\" is invalid: spec.containers[0].image: Required value");
	check(POD("a", ONE ",\"ports\":[{\"containerPort\":70000}]}]"), NULL,
	      "Pod \"a\" is invalid: spec.containers[0].ports[0].containerPort: Invalid value: "
	      "70000: must be between 1 and 65535, inclusive");
	check(POD("a", ONE ",\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/x\"}]}]"), NULL,
	      "Pod \"a\" is invalid: spec.containers[0].volumeMounts[0].name: Not found: \"v\"");
	check(POD("a", ONE "},{\"name\":\"c\",\"image\":\"i\"}]"), NULL,
	      "Pod \"a\" is invalid: spec.containers[1].name: Duplicate value: \"c\"");
	check(POD("a", ONE ",\"livenessProbe\":{}}]"), NULL,
	      "Pod \"a\" is invalid: spec.containers[0].livenessProbe: Required value: must "
	      "specify "
	      "a handler type");
	check(POD("a",
		  ONE ",\"resources\":{\"requests\":{\"cpu\":\"2\"},\"limits\":{\"cpu\":\"1\"}}}]"),
	      NULL,
	      "Pod \"a\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2\": "
	      "must be less than or equal to cpu limit of 1");
	check(POD("a", "\"restartPolicy\":\"Sometimes\"," ONE "}]"), NULL,
	      "Pod \"a\" is invalid: spec.restartPolicy: Unsupported value: \"Sometimes\": "
	      "supported "
	      "values: \"Always\", \"Never\", \"OnFailure\"");
	check(POD("a", ONE "}]"), POD("a", ONE "}]"), "");
	check(POD("a", "\"hostNetwork\":true," ONE "}]"), POD("a", ONE "}]"),
	      "Pod \"a\" is invalid: spec: Forbidden: pod updates may not change fields other than "
	      "`spec.containers[*].image`,`spec.initContainers[*].image`,"
	      "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
	      "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
	      "was "
	      "previously negative)");
}

static void test_names(void **state)
{
	(void)state;
	check("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"A_b\"}}",
	      NULL,
	      "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase "
	      "RFC "
	      "1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
	      "must start and end with an alphanumeric character (e.g. 'example.com', regex used "
	      "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'"
	      ")");
	check("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{}}", NULL,
	      "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is "
	      "required");
	check("{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRole\","
	      "\"metadata\":{\"name\":\"system:a\"}}",
	      NULL, "");
	assert_null(name_wrong_label_key("example.com/Key_1"));
	assert_non_null(name_wrong_label_key("/x"));
	assert_non_null(name_wrong_label_key("a/b/c"));
	assert_null(name_wrong_label_value(""));
	assert_non_null(name_wrong_label_value("-a"));
	assert_non_null(name_wrong_service("1a"));
	assert_null(name_wrong_service("a1"));
}

static void test_workloads(void **state)
{
	(void)state;
	check(DEPLOY("a", "a"), NULL, "");
	check(DEPLOY("a", "b"), NULL,
	      "Deployment.apps \"d\" is invalid: spec.template.metadata.labels: Invalid value: "
	      "{\"app\":\"b\"}: `selector` does not match template `labels`");
	check(DEPLOY("b", "b"), DEPLOY("a", "a"),
	      "Deployment.apps \"d\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{"
	      "\"app\":\"b\"}}: field is immutable");
	check("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
	      "}}",
	      NULL, "Service \"s\" is invalid: spec.ports: Required value");
	check("{\"apiVersion\":\"batch/"
	      "v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"j\"},\"spec\":{"
	      "\"template\":{\"spec\":{" ONE "}]}}}}",
	      NULL,
	      "Job.batch \"j\" is invalid: spec.template.spec.restartPolicy: Required value: valid "
	      "values: "
	      "\"OnFailure\", \"Never\"");
	check("{\"apiVersion\":\"autoscaling/"
	      "v2\",\"kind\":\"HorizontalPodAutoscaler\",\"metadata\":{"
	      "\"name\":\"h\"},\"spec\":{\"scaleTargetRef\":{\"kind\":\"Deployment\",\"name\":"
	      "\"d\"},"
	      "\"minReplicas\":3,\"maxReplicas\":2}}",
	      NULL,
	      "HorizontalPodAutoscaler.autoscaling \"h\" is invalid: spec.maxReplicas: Invalid "
	      "value: 2: must be greater than or equal to `minReplicas`");
}

static void test_config(void **state)
{
	(void)state;
	check("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"},"
	      "\"data\":{"
	      "\"a b\":\"\"}}",
	      NULL,
	      "ConfigMap \"m\" is invalid: data[a b]: Invalid value: \"a b\": a valid config key "
	      "must "
	      "consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
	      "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')");
	check("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"},"
	      "\"immutable\":true,\"data\":{\"a\":\"2\"}}",
	      "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"},"
	      "\"immutable\":true,\"data\":{\"a\":\"1\"}}",
	      "ConfigMap \"m\" is invalid: data: Forbidden: field is immutable when `immutable` is "
	      "set");
}

static void test_policy(void **state)
{
	(void)state;
	check(POD("a", "\"tolerations\":[{\"operator\":\"Exists\"}]," ONE "}]"), NULL, "");
	check(POD("a",
		  "\"tolerations\":[{\"value\":\"x\",\"key\":\"k\",\"operator\":\"Exists\"}]," ONE
		  "}]"),
	      NULL,
	      "Pod \"a\" is invalid: spec.tolerations[0].operator: Invalid value: \"x\": value "
	      "must "
	      "be empty when `operator` is 'Exists'");
	check("{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"Role\",\"metadata\":{"
	      "\"name\":\"r\"},\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"]}]}",
	      NULL,
	      "Role.rbac.authorization.k8s.io \"r\" is invalid: rules[0].resources: Required "
	      "value: "
	      "resource rules must supply at least one resource");
	check("{\"apiVersion\":\"v1\",\"kind\":\"LimitRange\",\"metadata\":{\"name\":\"l\"},"
	      "\"spec\":{\"limits\":[{\"type\":\"Container\",\"min\":{\"cpu\":\"2\"},\"max\":{"
	      "\"cpu\":\"1\"}}]}}",
	      NULL,
	      "LimitRange \"l\" is invalid: spec.limits[0].min[cpu]: Invalid value: \"2\": min "
	      "value 2 "
	      "is greater than max value 1");
	check("{\"apiVersion\":\"scheduling.k8s.io/v1\",\"kind\":\"PriorityClass\",\"metadata\":{"
	      "\"name\":\"p\"},\"value\":2000000000}",
	      NULL,
	      "PriorityClass.scheduling.k8s.io \"p\" is invalid: value: Forbidden: maximum allowed "
	      "value of a user defined priority is 1000000000");
	check("{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a.b\"}}",
	      NULL,
	      "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": a lowercase "
	      "RFC "
	      "1123 label must consist of lower case alphanumeric characters or '-', and must "
	      "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
	      "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')");
}

static const struct {
	const char *api, *kind, *spec, *says;
} mistake_rows[] = {
	{"v1", "Pod", "containers: [{name: x, image: ' i '}]",
	 "spec.containers[0].image: Invalid value: \" i \": must not have leading or "
	 "trailing whitespace"},
	{"v1", "Pod", "{initContainers: [{name: x, image: i}], containers: [{name: x, image: i}]}",
	 "spec.initContainers[0].name: Duplicate value: \"x\""},
	{"v1", "Pod", "containers: [{name: x, image: i, ports: [{containerPort: 1, name: '80'}]}]",
	 "spec.containers[0].ports[0].name: Invalid value: \"80\": must contain at least "
	 "one letter (a-z)"},
	{"v1", "Pod",
	 "containers: [{name: x, image: i, ports: [{containerPort: 1, hostPort: 8}, "
	 "{containerPort: 2, hostPort: 8}]}]",
	 "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//8\""},
	{"v1", "Pod", "containers: [{name: x, image: i, resources: {requests: {a.b/c: 1}}}]",
	 "spec.containers[0].resources.limits: Required value: Limit must be set for non "
	 "overcommitable resources"},
	{"v1", "Pod", "containers: [{name: x, image: i, envFrom: [{}]}]",
	 "spec.containers[0].envFrom[0]: Invalid value: {}: must specify one of: "
	 "`configMapRef` or `secretRef`"},
	{"v1", "Pod", "containers: [{name: x, image: i, lifecycle: {preStop: {}}}]",
	 "spec.containers[0].lifecycle.preStop: Required value: must specify a handler "
	 "type"},
	{"v1", "Pod", "containers: [{name: x, image: i, securityContext: {runAsUser: -1}}]",
	 "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between "
	 "0 and 2147483647, inclusive"},
	{"v1", "Pod",
	 "{containers: [{name: x, image: i}], volumes: [{name: v, hostPath: {path: "
	 "/a/../b}}]}",
	 "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain "
	 "'..'"},
	{"v1", "Pod", "{containers: [{name: x, image: i}], volumes: [{name: v, secret: {}}]}",
	 "spec.volumes[0].secret.secretName: Required value"},
	{"v1", "Pod", "{containers: [{name: x, image: i}], dnsPolicy: None}",
	 "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is "
	 "None"},
	{"v1", "Service", "ports: [{port: 80, nodePort: 30000}]",
	 "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"},
	{"v1", "Service", "ports: [{port: 80, name: a}, {port: 80, name: b}]",
	 "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}"},
	{"v1", "Service", "{type: ExternalName, externalName: x.example.com.}", ""},
	{"v1", "PersistentVolume", "{capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce]}",
	 "spec: Required value: must specify a volume type"},
	{"v1", "ResourceQuota", "hard: {pods: 0.5}",
	 "spec.hard[pods]: Invalid value: \"500m\": must be an integer"},
	{"batch/v1", "CronJob",
	 "{schedule: '1-60 * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: "
	 "Never, containers: [{name: x, image: i}]}}}}}",
	 "spec.schedule: Invalid value: \"1-60 * * * *\": minute 60 is out of range: it "
	 "goes from 0 to 59"},
	{"batch/v1", "CronJob",
	 "{schedule: '*/5 0-23/2 1,15 jan-dec 7', jobTemplate: {spec: {template: {spec: "
	 "{restartPolicy: Never, containers: [{name: x, image: i}]}}}}}",
	 ""},
	{"policy/v1", "PodDisruptionBudget", "minAvailable: half",
	 "spec.minAvailable: Invalid value: \"half\": a valid percent string must be a "
	 "numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
	 "validation is '[0-9]+%')"},
	{"networking.k8s.io/v1", "Ingress", "{}",
	 "spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"},
};

/* What is said of a manifest in YAML; "" when nothing is wrong. */
static void mistakes(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(mistake_rows); i++) {
		auto_strbuf struct strbuf yaml = {0}, json = {0}, says = {0};
		const struct kind *k = kind_of_api(mistake_rows[i].api, mistake_rows[i].kind);

		assert_non_null(k);
		if (mistake_rows[i].says[0])
			strbuf_printf(&says, "%s%s%s \"o\" is invalid: %s", k->name,
				      k->group[0] ? "." : "", k->group, mistake_rows[i].says);
		strbuf_printf(&yaml, "apiVersion: %s\nkind: %s\nmetadata: {name: o}\nspec:\n  %s\n",
			      mistake_rows[i].api, mistake_rows[i].kind, mistake_rows[i].spec);
		assert_int_equal(yaml_to_json(strbuf_str(&yaml), "row", &json, NULL), 0);
		check(strbuf_text(&json), NULL, strbuf_text(&says));
	}
}

/* A long message is whole where an error's text is not. */
static void long_messages(void **state)
{
	auto_arena struct arena a = {0};
	struct causes causes = {.arena = &a};
	auto_json struct json *name = json_new_text("x");
	struct err e;

	(void)state;
	for (int i = 0; i < 20; i++)
		cause_add(&causes, CAUSE_INVALID, "metadata.name", name, "must be something else");
	assert_true(causes_say(&causes, kind_of_word("pod"), "x", &e) < 0);
	assert_true(strlen(e.text) < sizeof(e.text));
	assert_true(text_ends(causes_text(&causes, kind_of_word("pod"), "x"), "something else]"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pods),	  cmocka_unit_test(test_names),
		cmocka_unit_test(test_workloads), cmocka_unit_test(test_config),
		cmocka_unit_test(test_policy),	  cmocka_unit_test(mistakes),
		cmocka_unit_test(long_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
