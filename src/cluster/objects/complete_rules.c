/*
 * Rules of completing: see complete_priv.h. Each gets an object whose own fields and children have
 * their defaults already, and touches what was left out only.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/complete_priv.h"
#include "ground/base/str.h"
#include "ground/format/base64.h"

static void text_otherwise(struct json *object, const char *key, const char *text)
{
	const char *now = json_get_text(object, key);

	if (!now || !now[0])
		json_set_text(object, key, text);
}

/* ":latest", or no tag and no digest: the image may change behind its name. */
static bool may_change(const char *image)
{
	const char *name = strrchr(image, '/');
	const char *tag = strchr(name ? name : image, ':');

	return !strchr(image, '@') && (!tag || text_eq(tag, ":latest"));
}

void complete_container(struct json *container)
{
	const char *image = json_get_text(container, "image");

	if (image && image[0])
		text_otherwise(container, "imagePullPolicy",
			       may_change(image) ? "Always" : "IfNotPresent");
}

/* What has a limit and no request asks for its limit. */
void complete_resources(struct json *resources)
{
	struct json *limits = json_get(resources, "limits");
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(limits, &it, &key, &value))
		if (!json_get(json_get(resources, "requests"), key))
			json_set(json_make_object(resources, "requests"), key, json_ref(value));
}

static void host_ports(const struct json *containers)
{
	for (size_t i = 0; i < json_len(containers); i++) {
		struct json *ports = json_get(json_at(containers, i), "ports");

		for (size_t p = 0; p < json_len(ports); p++) {
			struct json *port = json_at(ports, p);

			if (json_get_i64(port, "hostPort", 0) == 0)
				json_set_i64(port, "hostPort",
					     json_get_i64(port, "containerPort", 0));
		}
	}
}

void complete_pod_spec(struct json *spec)
{
	const char *account = json_get_text(spec, "serviceAccountName");
	const char *old = json_get_text(spec, "serviceAccount");

	if (json_get_bool(spec, "hostNetwork", false)) {
		host_ports(json_get(spec, "containers"));
		host_ports(json_get(spec, "initContainers"));
	}
	if ((!account || !account[0]) && old && old[0])
		json_set_text(spec, "serviceAccountName", old);
	account = json_get_text(spec, "serviceAccountName");
	if (account && account[0])
		json_set_text(spec, "serviceAccount", account);
}

void complete_volume(struct json *volume)
{
	if (json_len(volume) == (json_get(volume, "name") ? 1 : 0))
		json_set(volume, "emptyDir", json_new_object());
}

static void service_ports(struct json *spec)
{
	struct json *ports = json_get(spec, "ports");

	for (size_t i = 0; i < json_len(ports); i++) {
		struct json *port = json_at(ports, i);
		struct json *target = json_get(port, "targetPort");

		if (!target || (json_kind(target) == JSON_NUMBER && json_i64(target, 0) == 0) ||
		    (json_kind(target) == JSON_STRING && json_str(target).n == 0))
			json_set_i64(port, "targetPort", json_get_i64(port, "port", 0));
	}
}

void complete_service(struct json *spec)
{
	const char *type = json_get_text(spec, "type");
	bool balanced = text_eq(type, "LoadBalancer");

	service_ports(spec);
	if (text_eq(json_get_text(spec, "sessionAffinity"), "ClientIP")) {
		struct json *client = json_make_object(
			json_make_object(spec, "sessionAffinityConfig"), "clientIP");

		if (!json_get(client, "timeoutSeconds"))
			json_set_i64(client, "timeoutSeconds", 10800);
	}
	if (balanced || text_eq(type, "NodePort"))
		text_otherwise(spec, "externalTrafficPolicy", "Cluster");
	if (balanced && !json_get(spec, "allocateLoadBalancerNodePorts"))
		json_set_bool(spec, "allocateLoadBalancerNodePorts", true);
	if (text_eq(type, "ExternalName"))
		json_remove(spec, "internalTrafficPolicy");
}

/* Deployments, daemon sets and stateful sets differ in which fields the pace has. */
void complete_rolling(struct json *strategy)
{
	const char *type = json_get_text(strategy, "type");

	if (!type || !type[0] || text_eq(type, "RollingUpdate"))
		(void)json_make_object(strategy, "rollingUpdate");
}

void complete_stateful(struct json *spec)
{
	struct json *claims = json_get(spec, "volumeClaimTemplates");

	for (size_t i = 0; i < json_len(claims); i++) {
		text_otherwise(json_at(claims, i), "apiVersion", "v1");
		text_otherwise(json_at(claims, i), "kind", "PersistentVolumeClaim");
	}
}

/* The old kinds take labels and selector from their template. */
void complete_labels(struct json *workload)
{
	struct json *spec = json_get(workload, "spec");
	struct json *labels = json_get(json_get(json_get(spec, "template"), "metadata"), "labels");

	if (json_len(labels) == 0)
		return;
	if (json_len(json_get(json_get(workload, "metadata"), "labels")) == 0)
		json_set(json_make_object(workload, "metadata"), "labels", json_copy(labels));
	if (text_eq(json_get_text(workload, "kind"), "ReplicationController") &&
	    json_len(json_get(spec, "selector")) == 0)
		json_set(spec, "selector", json_copy(labels));
}

void complete_job(struct json *spec)
{
	bool wide = json_get(spec, "parallelism");

	if (!wide)
		json_set_i64(spec, "parallelism", 1);
	if (!wide && !json_get(spec, "completions"))
		json_set_i64(spec, "completions", 1);
	text_otherwise(spec, "podReplacementPolicy",
		       json_get(spec, "podFailurePolicy") ? "Failed" : "TerminatingOrFailed");
}

/* stringData is a way to write data, and is never read back. */
void complete_secret(struct json *secret)
{
	struct json *plain = json_get(secret, "stringData");
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(plain, &it, &key, &value)) {
		auto_strbuf struct strbuf b = {0};

		base64_encode(json_str(value), &b);
		json_set(json_make_object(secret, "data"), key, json_new_str(strbuf_str(&b)));
	}
	json_remove(secret, "stringData");
}

void complete_namespace(struct json *namespace)
{
	text_otherwise(json_make_object(namespace, "status"), "phase", "Active");
	if (json_get_text(json_get(namespace, "metadata"), "name"))
		json_set_text(json_make_object(json_make_object(namespace, "metadata"), "labels"),
			      "kubernetes.io/metadata.name",
			      json_get_text(json_get(namespace, "metadata"), "name"));
}

static void look_at(const struct json *container, bool *ret_any, bool *ret_all)
{
	static const char *const names[] = {"cpu", "memory"};
	const struct json *resources = json_get(container, "resources");

	for (size_t i = 0; i < 2; i++) {
		const char *limit = json_get_text(json_get(resources, "limits"), names[i]);
		const char *request = json_get_text(json_get(resources, "requests"), names[i]);

		if ((limit && !text_eq(limit, "0")) || (request && !text_eq(request, "0")))
			*ret_any = true;
		if (!limit || text_eq(limit, "0") || !text_eq(limit, request))
			*ret_all = false;
	}
}

const char *complete_qos(const struct json *spec)
{
	static const char *const lists[] = {"containers", "initContainers"};
	bool any = false, all = true;

	for (size_t l = 0; l < 2; l++) {
		const struct json *list = json_get(spec, lists[l]);

		for (size_t i = 0; i < json_len(list); i++)
			look_at(json_at(list, i), &any, &all);
	}
	if (!any)
		return "BestEffort";
	return all ? "Guaranteed" : "Burstable";
}

void complete_pod(struct json *pod)
{
	struct json *status = json_make_object(pod, "status");

	text_otherwise(status, "phase", "Pending");
	if (json_get(pod, "spec"))
		text_otherwise(status, "qosClass", complete_qos(json_get(pod, "spec")));
}

void complete_pending(struct json *object)
{
	text_otherwise(json_make_object(object, "status"), "phase", "Pending");
}

void complete_subject(struct json *subject)
{
	const char *kind = json_get_text(subject, "kind");

	if (text_eq(kind, "User") || text_eq(kind, "Group"))
		text_otherwise(subject, "apiGroup", "rbac.authorization.k8s.io");
}

void complete_policy(struct json *spec)
{
	struct json *types;

	if (json_len(json_get(spec, "policyTypes")) > 0)
		return;
	types = json_new_array();
	json_append(types, json_new_text("Ingress"));
	if (json_len(json_get(spec, "egress")) > 0)
		json_append(types, json_new_text("Egress"));
	json_set(spec, "policyTypes", types);
}

/* Without metrics, pods are held at 80 % of the CPU they ask for. */
void complete_autoscaler(struct json *spec)
{
	struct json *metric, *target;

	/* v1 says it in one field. */
	if (json_len(json_get(spec, "metrics")) > 0 ||
	    json_get(spec, "targetCPUUtilizationPercentage"))
		return;
	json_set(spec, "metrics", json_new_array());
	metric = json_new_object();
	json_append(json_get(spec, "metrics"), metric);
	json_set_text(metric, "type", "Resource");
	json_set_text(json_make_object(metric, "resource"), "name", "cpu");
	target = json_make_object(json_make_object(metric, "resource"), "target");
	json_set_text(target, "type", "Utilization");
	json_set_i64(target, "averageUtilization", 80);
}
