/*
 * Preemption: whose end is asked for, and what is said where nobody's would help.
 */
#include "cluster/scheduler/place_fixture.h"

#define WANTS(n, priority)                                                                \
	"'priority':" priority ",'containers':[{'name':'c','resources':{'requests':{'cpu" \
	"':'" n "'}}}]"

/* What came of it for such a pod; the nominated node's name, "" when there is none. */
static const char *preempt(struct place *p, const char *spec)
{
	const struct object *o = place_pod("big", "", spec);
	struct pod_class *c = class_of(p->s, object_tree(o));
	const struct node_info *n;

	strbuf_clear(&p->why);
	n = preempt_for(p->s, o, c, &p->why) ? preempt_nominated(p->s, "default/big") : NULL;
	class_drop(p->s, c);
	(void)object_unref(o);
	return n ? n->name : "";
}

static bool is_leaving(struct place *p, const char *key)
{
	return ((struct pod_info *)map_get(&p->s->placed, key))->leaving;
}

static void takes_who_matters_least(void **state)
{
	struct place *p = *state;

	(void)place_node(p, "a", "", "", 2);
	(void)place_node(p, "b", "", "", 2);
	place_put(p, "default/a1", "", WANTS("2", "5"), "a");
	place_put(p, "default/b1", "", WANTS("1", "1"), "b");
	place_put(p, "default/b2", "", WANTS("1", "4"), "b");
	assert_string_equal(preempt(p, WANTS("1", "10")), "b");
	assert_true(is_leaving(p, "default/b1"));
	assert_false(is_leaving(p, "default/b2"));
	assert_false(is_leaving(p, "default/a1"));
	/* in thought only: what is there is still there */
	assert_int_equal(((struct node_info *)map_get(&p->s->infos, "b"))->used.n[AMOUNT_CPU],
			 2000);
	/* while the victim ends, nobody else is told to */
	assert_string_equal(preempt(p, WANTS("1", "10")), "");
	assert_string_equal(strbuf_text(&p->why), " preemption: not eligible due to a terminating "
						  "pod on the nominated node.");
}

static void reserves_the_room(void **state)
{
	struct place *p = *state;

	(void)place_node(p, "a", "", "", 2);
	place_put(p, "default/a1", "", WANTS("2", "1"), "a");
	assert_string_equal(preempt(p, WANTS("2", "10")), "a");
	assert_true(snapshot_unplace(p->s, "default/a1"));
	assert_string_equal(place_pick(p, "", WANTS("1", "1")), "");
	assert_string_equal(place_pick(p, "", WANTS("1", "11")), "a");
	preempt_lift(p->s, "default/big", true);
	assert_string_equal(place_pick(p, "", WANTS("2", "10")), "a");
	preempt_lift(p->s, "default/big", false);
	preempt_forget(p->s, "default/big");
	assert_string_equal(place_pick(p, "", WANTS("1", "1")), "a");
}

static void says_why_it_does_not_help(void **state)
{
	struct place *p = *state;

	(void)place_node(p, "a", "", "", 1);
	(void)place_node(p, "b", "", "'unschedulable':true", 8);
	assert_string_equal(preempt(p, WANTS("2", "10")), "");
	assert_string_equal(strbuf_text(&p->why),
			    " preemption: 0/2 nodes are available: 1 No preemption victims found "
			    "for incoming pod, 1 Preemption is not helpful for scheduling.");
	assert_string_equal(preempt(p, "'preemptionPolicy':'Never'," WANTS("2", "10")), "");
	assert_string_equal(strbuf_text(&p->why),
			    " preemption: not eligible due to preemptionPolicy=Never.");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_who_matters_least, place_set_up,
						place_tear_down),
		cmocka_unit_test_setup_teardown(reserves_the_room, place_set_up, place_tear_down),
		cmocka_unit_test_setup_teardown(says_why_it_does_not_help, place_set_up,
						place_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
