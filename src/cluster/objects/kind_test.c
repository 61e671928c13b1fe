/*
 * The kinds' tables are whole: lookups find what is declared, every type is reachable by its name,
 * numbers and names are unique, defaults are JSON of the field's type.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/objects/kind.h"
#include "ground/base/mem.h"
#include "ground/format/json.h"

static void test_lookups(void **state)
{
	char text[64];
	const struct kind *k = kind_of_resource("apps", "v1", "deployments");

	(void)state;
	assert_non_null(k);
	assert_string_equal(k->name, "Deployment");
	assert_ptr_equal(k->stored, k);
	assert_string_equal(kind_api(k, text, sizeof(text)), "apps/v1");
	assert_string_equal(kind_resource(k, text, sizeof(text)), "deployments.apps");
	assert_string_equal(kind_api(k, text, 3), "");
	assert_ptr_equal(kind_of_api("apps/v1", "Deployment"), k);
	assert_ptr_equal(kind_of_word("deploy"), k);
	assert_ptr_equal(kind_of_word("Deployment"), k);
	assert_string_equal(kind_of_word("po")->plural, "pods");
	assert_null(kind_of_resource("apps", "v2", "deployments"));
	assert_null(kind_of_api("apps", "Deployment"));
	assert_null(kind_of_api(NULL, NULL));
	k = kind_of_resource("policy", "v1beta1", "poddisruptionbudgets");
	assert_string_equal(k->stored->version, "v1");
	assert_non_null(k->warning);
	assert_non_null(kind_of_api("policy/v1", "DeleteOptions"));
	assert_true(kind_selects(kind_of_word("pod"), "spec.nodeName"));
	assert_true(kind_selects(kind_of_word("configmap"), "metadata.name"));
	assert_false(kind_selects(kind_of_word("configmap"), "data.a"));
}

static void test_fields(void **state)
{
	const struct type *pod = kind_of_word("pod")->type;
	const struct field *spec = type_field(pod, "spec");
	const struct type *volume = type_of_name("io.k8s.api.core.v1.Volume");

	(void)state;
	assert_string_equal(spec->of->name, "PodSpec");
	assert_string_equal(type_field(spec->of, "containers")->merge_key, "name");
	assert_int_equal(type_field_number(spec->of, 2)->shape, FIELD_LIST);
	assert_non_null(type_field(volume, "emptyDir")); /* inlined */
	assert_null(type_field(volume, "nothing"));
	assert_null(type_field_number(pod, 0));
	assert_null(type_of_name("io.k8s.api.core.v1.Vol"));
}

static void check_field(const struct type *t, size_t at)
{
	const struct field *f = &t->fields[at];

	assert_true((f->type == FIELD_STRUCT) == (f->of != NULL));
	for (size_t i = 0; i < at; i++) {
		assert_string_not_equal(t->fields[i].name, f->name);
		assert_true(f->number == 0 || t->fields[i].number != f->number);
	}
	if (f->otherwise) {
		auto_json struct json *j = NULL;

		assert_int_equal(json_parse(str_of(f->otherwise), f->name, &j, NULL), 0);
	}
}

static void test_tables(void **state)
{
	const struct type *t;
	const struct kind *k;

	(void)state;
	for (size_t i = 0; (t = type_at(i)); i++)
		for (size_t at = 0; at < t->fields_n; at++)
			check_field(t, at);
	for (size_t i = 0; (k = kind_at(i)); i++) {
		assert_non_null(k->short_names && k->categories && k->subs ? k : NULL);
		assert_ptr_equal(kind_of_name(k->group, k->version, k->name), k);
		assert_true(k->columns_n > 0 || !k->plural[0] || (k->flags & KIND_NO_STORE) ||
			    k->stored != k);
	}
}

static void test_custom(void **state)
{
	static const char *const none[] = {NULL};
	static const struct type any = {"Wheel", "example", NULL, NULL, 0};
	static const struct kind wheel = {"example.org", "v1", "Wheel", "wheels",    "wheel",
					  none,		 none, none,	KIND_CUSTOM, &any,
					  NULL,		 0,    &wheel,	NULL};

	(void)state;
	assert_true(kind_add(&wheel));
	assert_false(kind_add(&wheel));
	assert_ptr_equal(kind_of_word("wheel"), &wheel);
	kind_remove(&wheel);
	assert_null(kind_of_word("wheel"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_custom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
