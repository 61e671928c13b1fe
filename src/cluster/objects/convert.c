/*
 * Conversion: see convert.h. Fields are moved, not copied: trees are reference-counted.
 */
#include "cluster/objects/convert.h"

#include <assert.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"

#define METRICS	 "autoscaling.alpha.kubernetes.io/metrics"
#define BEHAVIOR "autoscaling.alpha.kubernetes.io/behavior"
#define CURRENT	 "autoscaling.alpha.kubernetes.io/current-metrics"
#define STATE	 "autoscaling.alpha.kubernetes.io/conditions"

static void move(struct json *from, const char *key, struct json *to, const char *other)
{
	struct json *value = json_get(from, key);

	if (!value)
		return;
	json_set(to, other, json_ref(value));
	json_remove(from, key);
}

/* core/v1 on the left, events.k8s.io/v1 on the right. */
static void convert_event(struct json *event, bool to_core)
{
	static const char *const names[][2] = {
		{"message", "note"},
		{"involvedObject", "regarding"},
		{"reportingComponent", "reportingController"},
		{"source", "deprecatedSource"},
		{"firstTimestamp", "deprecatedFirstTimestamp"},
		{"lastTimestamp", "deprecatedLastTimestamp"},
		{"count", "deprecatedCount"},
	};

	for (size_t i = 0; i < array_len(names); i++)
		move(event, names[i][to_core], event, names[i][!to_core]);
}

static bool is_cpu(const struct json *metric)
{
	const struct json *resource = json_get(metric, "resource");

	return text_eq(json_get_text(metric, "type"), "Resource") &&
	       text_eq(json_get_text(resource, "name"), "cpu");
}

/* Text of a value into an annotation, and back out of it. */
static void hide(struct json *object, const char *key, const struct json *value)
{
	auto_strbuf struct strbuf b = {0};

	json_write(value, &b);
	json_set(json_make_object(json_make_object(object, "metadata"), "annotations"), key,
		 json_new_str(strbuf_str(&b)));
}

static struct json *unhide(struct json *object, const char *key)
{
	struct json *list = json_get(json_get(object, "metadata"), "annotations");
	struct json *value = NULL;

	if (!json_get_text(list, key))
		return NULL;
	if (json_parse(json_str(json_get(list, key)), key, &value, NULL) < 0)
		value = NULL; /* somebody wrote it by hand: it stays out */
	json_remove(list, key);
	if (json_len(list) == 0)
		json_remove(json_get(object, "metadata"), "annotations");
	return value;
}

/* Splits `list` into the number that v1 has a field for and the rest, which is hidden. */
static void take_cpu(struct json *scaler, struct json *part, const char *list_name,
		     const char *inner, const char *field, const char *annotation)
{
	struct json *list = json_get(part, list_name), *others = json_new_array();

	for (size_t i = 0; i < json_len(list); i++) {
		struct json *metric = json_at(list, i);
		struct json *percent = json_get(json_get(json_get(metric, "resource"), inner),
						"averageUtilization");

		if (is_cpu(metric) && percent && !json_get(part, field))
			json_set(part, field, json_ref(percent));
		else
			json_append(others, json_ref(metric));
	}
	if (json_len(others) > 0)
		hide(scaler, annotation, others);
	json_free(others);
	json_remove(part, list_name);
}

static void scaler_to_v1(struct json *scaler)
{
	struct json *spec = json_get(scaler, "spec"), *status = json_get(scaler, "status");

	take_cpu(scaler, spec, "metrics", "target", "targetCPUUtilizationPercentage", METRICS);
	if (json_get(spec, "behavior")) {
		hide(scaler, BEHAVIOR, json_get(spec, "behavior"));
		json_remove(spec, "behavior");
	}
	if (!status)
		return;
	take_cpu(scaler, status, "currentMetrics", "current", "currentCPUUtilizationPercentage",
		 CURRENT);
	if (json_get(status, "conditions")) {
		hide(scaler, STATE, json_get(status, "conditions"));
		json_remove(status, "conditions");
	}
}

static void give_cpu(struct json *scaler, struct json *part, const char *list_name,
		     const char *inner, const char *field, const char *annotation)
{
	auto_json struct json *others = unhide(scaler, annotation);
	struct json *percent = json_get(part, field), *list, *metric, *target;

	if (!part || (!percent && json_len(others) == 0))
		return;
	list = json_new_array();
	if (percent) {
		metric = json_new_object();
		json_set_text(metric, "type", "Resource");
		json_set_text(json_make_object(metric, "resource"), "name", "cpu");
		target = json_make_object(json_make_object(metric, "resource"), inner);
		if (text_eq(inner, "target"))
			json_set_text(target, "type", "Utilization");
		json_set(target, "averageUtilization", json_ref(percent));
		json_append(list, metric);
		json_remove(part, field);
	}
	for (size_t i = 0; json_kind(others) == JSON_ARRAY && i < json_len(others); i++)
		json_append(list, json_ref(json_at(others, i)));
	json_set(part, list_name, list);
}

static void put_back(struct json *scaler, const char *part, const char *key, const char *annotation)
{
	struct json *value = unhide(scaler, annotation);

	if (value)
		json_set(json_make_object(scaler, part), key, value);
}

static void scaler_to_v2(struct json *scaler)
{
	give_cpu(scaler, json_get(scaler, "spec"), "metrics", "target",
		 "targetCPUUtilizationPercentage", METRICS);
	give_cpu(scaler, json_get(scaler, "status"), "currentMetrics", "current",
		 "currentCPUUtilizationPercentage", CURRENT);
	put_back(scaler, "spec", "behavior", BEHAVIOR);
	put_back(scaler, "status", "conditions", STATE);
}

void convert(struct json *object, const struct kind *from, const struct kind *to)
{
	char api[128];

	assert(object && from && to && from->stored == to->stored);
	if (from->type != to->type && text_eq(to->name, "Event"))
		convert_event(object, to == to->stored);
	else if (from->type != to->type && text_eq(to->version, "v1"))
		scaler_to_v1(object);
	else if (from->type != to->type)
		scaler_to_v2(object);
	json_set_text(object, "apiVersion", kind_api(to, api, sizeof(api)));
}
