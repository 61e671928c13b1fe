/*
 * Completing: see complete.h. First the table's defaults of a type's fields are filled in, then
 * its children are completed, then the rule for the type, where there is one: what depends on
 * several fields cannot stand in a table. A rule that makes children goes first. As in Kubernetes,
 * a field that is not optional counts as left out when it is zero.
 */
#include "cluster/objects/complete.h"

#include <assert.h>
#include <string.h>

#include "cluster/objects/complete_priv.h"
#include "ground/base/mem.h"
#include "ground/base/str.h"

static const struct rule {
	const char *type;
	void (*complete)(struct json *object);
	bool first; /* before its children, which it may make */
} rules[] = {
	{"Container", complete_container},
	{"EphemeralContainer", complete_container},
	{"ResourceRequirements", complete_resources},
	{"PodSpec", complete_pod_spec},
	{"Volume", complete_volume},
	{"ServiceSpec", complete_service},
	{"DeploymentStrategy", complete_rolling, true},
	{"DaemonSetUpdateStrategy", complete_rolling, true},
	{"StatefulSetUpdateStrategy", complete_rolling, true},
	{"StatefulSetSpec", complete_stateful},
	{"ReplicationController", complete_labels},
	{"Job", complete_labels},
	{"JobSpec", complete_job},
	{"Secret", complete_secret},
	{"Namespace", complete_namespace},
	{"Pod", complete_pod},
	{"PersistentVolumeClaim", complete_pending},
	{"PersistentVolume", complete_pending},
	{"Subject", complete_subject},
	{"NetworkPolicySpec", complete_policy},
	{"HorizontalPodAutoscalerSpec", complete_autoscaler},
};

static bool left_out(const struct field *f, const struct json *value)
{
	if (!value)
		return true;
	if (f->flags & FIELD_OPTIONAL)
		return false;
	if (json_kind(value) == JSON_STRING)
		return json_str(value).n == 0;
	return json_kind(value) == JSON_NUMBER && json_double(value, 1) == 0;
}

static void apply_rules(const struct type *t, struct json *object, bool first)
{
	for (size_t i = 0; i < array_len(rules); i++)
		if (rules[i].first == first && strcmp(rules[i].type, t->name) == 0)
			rules[i].complete(object);
}

static void complete_struct(const struct type *t, struct json *object, unsigned int depth);

static void complete_field(const struct field *f, struct json *object, unsigned int depth)
{
	struct json *value = json_get(object, f->name);
	struct json_iter it = {0};
	struct json *one;
	const char *key;

	if (f->otherwise && left_out(f, value)) {
		int r = json_parse(str_of(f->otherwise), f->name, &value, NULL);

		assert(r == 0); /* kind_test has seen them all */
		json_set(object, f->name, value);
	}
	if (f->type != FIELD_STRUCT || !value)
		return;
	switch (f->shape) {
	case FIELD_ONE:
		complete_struct(f->of, value, depth + 1);
		return;
	case FIELD_LIST:
		for (size_t i = 0; i < json_len(value); i++)
			complete_struct(f->of, json_at(value, i), depth + 1);
		return;
	case FIELD_MAP:
		while (json_next(value, &it, &key, &one))
			complete_struct(f->of, one, depth + 1);
		return;
	}
}

static void complete_struct(const struct type *t, struct json *object, unsigned int depth)
{
	if (json_kind(object) != JSON_OBJECT || depth > JSON_DEPTH_MAX)
		return;
	apply_rules(t, object, true);
	for (size_t i = 0; i < t->fields_n; i++) {
		const struct field *f = &t->fields[i];

		if (f->flags & FIELD_INLINE)
			complete_struct(f->of, object, depth + 1);
		else
			complete_field(f, object, depth);
	}
	apply_rules(t, object, false);
}

void complete(const struct kind *k, struct json *object)
{
	const struct field *spec = type_field(k->type, "spec");

	assert(k && object);
	if (k->flags & KIND_CUSTOM)
		return;
	/* Who says nothing wants what is usual: its rules apply too. */
	if (spec && spec->type == FIELD_STRUCT && !(spec->flags & FIELD_OPTIONAL))
		(void)json_make_object(object, "spec");
	complete_struct(k->type, object, 0);
}
