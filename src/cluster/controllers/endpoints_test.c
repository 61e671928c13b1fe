/* Endpoints and endpoint slices of services, as their pods come, get ready and go. */
#include "cluster/controllers/place_fixture.h"

static void make_service(struct place *p, const char *more)
{
	place_create(p, "nodes", place_json("{'metadata':{'name':'n1'}}"));
	place_create(p, "services",
		     place_json("{'metadata':{'name':'web','labels':{'tier':'front'}},'spec':{%s"
				"'selector':{'app':'web'},'ports':[{'name':'http','port':80,"
				"'targetPort':'web'}]}}",
				more));
}

static void make_pod(struct place *p, const char *name, int port)
{
	place_create(p, "pods",
		     place_json("{'metadata':{'name':'%s','labels':{'app':'web'},'finalizers':["
				"'test/hold']},'spec':{'nodeName':'n1','containers':[{'name':'c',"
				"'image':'i','ports':[{'name':'web','containerPort':%d}]}]}}",
				name, port));
}

static size_t addresses(struct place *p, const char *which)
{
	const struct json *subsets = json_get(place_get(p, "endpoints", "web"), "subsets");
	size_t n = 0;

	for (size_t i = 0; i < json_len(subsets); i++)
		n += json_len(json_get(json_at(subsets, i), which));
	return n;
}

static const struct json *slice(struct place *p)
{
	return json_at(place_list(p, "endpointslices"), 0);
}

static bool condition(struct place *p, size_t i, const char *name)
{
	return json_get_bool(json_get(json_at(json_get(slice(p), "endpoints"), i), "conditions"),
			     name, false);
}

static void follow_readiness(void **state)
{
	struct place *p = *state;
	const struct json *port;

	make_service(p, "");
	assert_int_equal(addresses(p, "addresses"), 0);
	assert_int_equal(place_count(p, "endpointslices"), 1); /* that says: none */
	make_pod(p, "a", 8080);
	place_run(p, "a", false);
	assert_int_equal(addresses(p, "notReadyAddresses"), 1);
	assert_false(condition(p, 0, "ready"));
	place_run(p, "a", true);
	assert_int_equal(addresses(p, "addresses"), 1);
	assert_true(condition(p, 0, "ready"));
	port = json_at(json_get(json_at(json_get(place_get(p, "endpoints", "web"), "subsets"), 0),
				"ports"),
		       0);
	assert_int_equal(json_get_i64(port, "port", 0), 8080);
	assert_string_equal(json_get_text(port, "name"), "http");
	assert_string_equal(json_get_text(json_get(json_get(slice(p), "metadata"), "labels"),
					  "kubernetes.io/service-name"),
			    "web");
	assert_int_equal(place_count(p, "endpointslices"), 1);
}

static void let_go_at_once(void **state)
{
	struct place *p = *state;

	make_service(p, "");
	make_pod(p, "a", 8080);
	place_run(p, "a", true);
	place_delete(p, "pods", "a", PROPAGATE_DEFAULT);
	assert_non_null(place_get(p, "pods", "a")); /* it is still there */
	assert_int_equal(addresses(p, "addresses"), 0);
	assert_false(condition(p, 0, "ready"));
	assert_true(condition(p, 0, "serving"));
	assert_true(condition(p, 0, "terminating"));
}

static void publish_what_is_not_ready(void **state)
{
	struct place *p = *state;

	make_service(p, "'clusterIP':'None','publishNotReadyAddresses':true,");
	make_pod(p, "a", 8080);
	place_run(p, "a", false);
	assert_int_equal(addresses(p, "addresses"), 1);
	assert_true(condition(p, 0, "ready"));
}

static void part_different_ports(void **state)
{
	struct place *p = *state;

	make_service(p, "");
	make_pod(p, "a", 8080);
	make_pod(p, "b", 9090);
	place_run(p, "a", true);
	place_run(p, "b", true);
	assert_int_equal(json_len(json_get(place_get(p, "endpoints", "web"), "subsets")), 2);
	assert_int_equal(place_count(p, "endpointslices"), 2);
}

static void spread_over_slices(void **state)
{
	struct place *p = *state;
	const struct json *slices;
	size_t total = 0;

	make_service(p, "");
	place_down(p);
	for (int i = 0; i < 120; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "p%d", i);
		make_pod(p, name, 80);
		place_run(p, name, true);
	}
	place_up(p);
	slices = place_list(p, "endpointslices");
	assert_int_equal(json_len(slices), 2);
	for (size_t i = 0; i < 2; i++)
		total += json_len(json_get(json_at(slices, i), "endpoints"));
	assert_int_equal(total, 120);
}

static void go_with_their_service(void **state)
{
	struct place *p = *state;

	make_service(p, "");
	place_delete(p, "services", "web", PROPAGATE_DEFAULT);
	assert_null(place_get(p, "endpoints", "web"));
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(follow_readiness),	     IN_PLACE(let_go_at_once),
		IN_PLACE(publish_what_is_not_ready), IN_PLACE(part_different_ports),
		IN_PLACE(spread_over_slices),	     IN_PLACE(go_with_their_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
