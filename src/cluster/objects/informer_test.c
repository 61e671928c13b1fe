/*
 * Informers over a client of the test's own, which says what it likes: what is told first, what
 * changes, what a watch that ends leaves out. Work queues over the real loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster/objects/informer.h"
#include "cluster/objects/workqueue.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

struct place {
	struct loop *loop;
	struct client client;
	struct watch_sink sink; /* of the watch that is open */
	unsigned int watches, unwatched;
	struct informers *informers;
	struct informer *pods;
	struct strbuf told;
	bool synced;
	/* work queues */
	struct workqueue *queue;
	size_t working, most, stop_after;
	bool fails, later;
};

static const struct kind *pods_kind(void)
{
	return kind_of_resource("", "v1", "pods");
}

static void open_watch(const struct client *c, const struct client_target *t,
		       const struct watch_query *q, const struct watch_sink *sink,
		       struct client_watch **ret)
{
	struct place *p = c->impl;

	assert_ptr_equal(t->kind, pods_kind());
	assert_true(q->bookmarks);
	p->sink = *sink;
	p->watches++;
	*ret = (struct client_watch *)p;
	if (p->watches > 1)
		loop_stop(p->loop);
}

static void close_watch(struct client_watch *w)
{
	((struct place *)w)->unwatched++;
}

static const struct client_ops ops = {.watch = open_watch, .unwatch = close_watch};

static const struct object *pod(const char *name, const char *uid, const char *owner,
				const char *node, uint64_t revision)
{
	auto_free char *text = mem_printf(
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\","
		"\"namespace\":"
		"\"default\",\"uid\":\"%s\",\"resourceVersion\":\"%llu\",\"ownerReferences\":[%s%s%"
		"s]"
		"},\"spec\":{\"nodeName\":\"%s\"}}",
		name, uid, (unsigned long long)revision,
		owner[0] ? "{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"r\","
			   "\"controller\":true,\"uid\":\""
			 : "",
		owner, owner[0] ? "\"}" : "", node);
	auto_json struct json *tree = NULL;
	struct err e;

	if (json_parse(str_of(text), "test", &tree, &e) < 0)
		fail_msg("%s", e.text);
	return object_of_tree(pods_kind(), tree);
}

static void say(struct place *p, enum watch_type type, const struct object *o)
{
	struct watch_event v = {.type = type, .revision = o ? o->revision : 0, .object = o};

	p->sink.event(p->sink.ctx, &v);
	(void)object_unref(o);
}

static void changed(void *ctx, const struct object *now, const struct object *before)
{
	struct place *p = ctx;

	strbuf_printf(&p->told, "%c%s%s%llu ",
		      now && before ? '~'
		      : now	    ? '+'
				    : '-',
		      (now ? now : before)->name, now ? "@" : "#",
		      (unsigned long long)(now ? now : before)->revision);
}

static void check_told(struct place *p, const char *want)
{
	assert_string_equal(strbuf_text(&p->told), want);
	strbuf_clear(&p->told);
}

static void all_synced(void *ctx)
{
	((struct place *)ctx)->synced = true;
}

static int set_up(void **state)
{
	struct place *p = mem_new(struct place);
	struct err e;

	assert_int_equal(loop_new(&p->loop, &e), 0);
	p->client = (struct client){.ops = &ops, .impl = p};
	p->informers = informers_new(p->loop, &p->client);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;

	p->queue = workqueue_free(p->queue);
	p->informers = informers_free(p->informers);
	(void)loop_free(p->loop);
	strbuf_done(&p->told);
	free(p);
	return 0;
}

static void begin(struct place *p)
{
	p->pods = informer_of(p->informers, pods_kind());
	informer_on(p->pods, changed, p);
	informers_on_synced(p->informers, all_synced, p);
}

static void follows_a_watch(void **state)
{
	struct place *p = *state;

	begin(p);
	assert_ptr_equal(informer_of(p->informers, pods_kind()), p->pods);
	assert_int_equal(p->watches, 1);
	say(p, WATCH_ADDED, pod("a", "1", "", "", 5));
	assert_false(p->synced);
	assert_false(informers_synced(p->informers));
	say(p, WATCH_BOOKMARK, NULL);
	assert_true(p->synced);
	assert_true(informers_synced(p->informers));
	say(p, WATCH_ADDED, pod("b", "2", "", "", 6));
	say(p, WATCH_MODIFIED, pod("a", "1", "", "", 7));
	say(p, WATCH_DELETED, pod("b", "2", "", "", 8));
	check_told(p, "+a@5 +b@6 ~a@7 -b#6 ");
	assert_int_equal(informer_count(p->pods), 1);
	assert_int_equal(informer_get(p->pods, "default", "a")->revision, 7);
	assert_null(informer_get(p->pods, "default", "b"));
	assert_non_null(informer_get_key(p->pods, "default/a"));
	assert_null(informer_get(p->pods, "other", "a"));
}

static void tells_late_comers(void **state)
{
	struct place *p = *state;

	p->pods = informer_of(p->informers, pods_kind());
	say(p, WATCH_ADDED, pod("a", "1", "", "", 5));
	informer_on(p->pods, changed, p);
	check_told(p, "+a@5 ");
}

static bool count_each(void *ctx, const struct object *o)
{
	(void)o;
	++*(size_t *)ctx;
	return true;
}

static size_t owned(struct place *p, const char *uid)
{
	size_t n = 0;

	informer_each_owned(p->pods, uid, count_each, &n);
	return n;
}

static size_t on_node(struct place *p, const char *node)
{
	size_t n = 0;

	informer_each_value(p->pods, "spec.nodeName", node, count_each, &n);
	return n;
}

static void finds_by_owner_and_value(void **state)
{
	struct place *p = *state;

	begin(p);
	say(p, WATCH_ADDED, pod("a", "1", "x", "n1", 5));
	say(p, WATCH_ADDED, pod("b", "2", "x", "", 6));
	say(p, WATCH_ADDED, pod("c", "3", "", "n1", 7));
	informer_index(p->pods, "spec.nodeName");
	assert_int_equal(owned(p, "x"), 2);
	assert_int_equal(owned(p, ""), 1);
	assert_int_equal(on_node(p, "n1"), 2);
	say(p, WATCH_MODIFIED, pod("b", "2", "", "n1", 8)); /* let go, and bound */
	assert_int_equal(owned(p, "x"), 1);
	assert_int_equal(owned(p, ""), 2);
	assert_int_equal(on_node(p, "n1"), 3);
	say(p, WATCH_DELETED, pod("a", "1", "x", "n1", 9));
	assert_int_equal(owned(p, "x"), 0);
	assert_int_equal(on_node(p, "n1"), 2);
	assert_int_equal(on_node(p, ""), 0);
}

/* What happened while nobody watched is told as differences. */
static void closes_gaps(void **state)
{
	struct place *p = *state;
	struct err e;

	begin(p);
	say(p, WATCH_ADDED, pod("a", "1", "", "", 5));
	say(p, WATCH_ADDED, pod("b", "2", "", "", 6));
	say(p, WATCH_ADDED, pod("c", "3", "", "", 7));
	say(p, WATCH_BOOKMARK, NULL);
	check_told(p, "+a@5 +b@6 +c@7 ");
	(void)err_set(&e, ERR_GONE, "too old");
	p->sink.end(p->sink.ctx, &e);
	assert_true(informers_synced(p->informers)); /* what was seen still serves */
	assert_false(informers_current(p->informers));
	assert_int_equal(informer_count(p->pods), 3);
	loop_run(p->loop); /* until it watches again */
	assert_int_equal(p->watches, 2);
	say(p, WATCH_ADDED, pod("a", "1", "", "", 5));
	say(p, WATCH_ADDED, pod("c", "4", "", "", 20));
	check_told(p, "-c#7 +c@20 "); /* another one of this name */
	say(p, WATCH_BOOKMARK, NULL);
	check_told(p, "-b#6 ");
	assert_true(informers_current(p->informers));
	assert_int_equal(informer_count(p->pods), 2);
	say(p, WATCH_BOOKMARK, NULL);
	check_told(p, "");
}

/*
 * -- work queues
 * ----------------------------------------------------------------------------------
 */

static void work(void *ctx, const char *key)
{
	struct place *p = ctx;

	strbuf_printf(&p->told, "%s ", key);
	p->working++;
	p->most = p->working > p->most ? p->working : p->most;
	if (!p->later) {
		p->working--;
		workqueue_done(p->queue, key, p->fails);
	}
	if (p->stop_after > 0 && --p->stop_after == 0)
		loop_stop(p->loop);
}

static void make_queue(struct place *p, size_t parallel)
{
	p->queue = workqueue_new(&(struct workqueue_options){.loop = p->loop,
							     .name = "test",
							     .parallel = parallel,
							     .sync = work,
							     .ctx = p,
							     .first_ms = 1,
							     .last_ms = 4});
}

static void run_for(struct place *p, size_t keys)
{
	p->stop_after = keys;
	loop_run(p->loop);
}

static void works_on_a_key_once(void **state)
{
	struct place *p = *state;

	make_queue(p, 0);
	workqueue_add(p->queue, "a");
	workqueue_add(p->queue, "b");
	workqueue_add(p->queue, "a");
	assert_false(workqueue_idle(p->queue));
	run_for(p, 2);
	check_told(p, "a b ");
	assert_true(workqueue_idle(p->queue));
}

static void works_once_more_afterwards(void **state)
{
	struct place *p = *state;

	make_queue(p, 2);
	p->later = true;
	workqueue_add(p->queue, "a");
	workqueue_add(p->queue, "b");
	workqueue_add(p->queue, "c");
	run_for(p, 2);
	check_told(p, "a b ");
	workqueue_add(p->queue, "a"); /* while it is worked on */
	workqueue_add(p->queue, "a");
	p->working--;
	workqueue_done(p->queue, "b", false);
	run_for(p, 1);
	check_told(p, "c ");
	p->working--;
	workqueue_done(p->queue, "a", false);
	run_for(p, 1);
	check_told(p, "a ");
	assert_int_equal(p->most, 2);
	workqueue_done(p->queue, "a", false);
	workqueue_done(p->queue, "c", false);
	assert_true(workqueue_idle(p->queue));
}

static void comes_back_after_failures(void **state)
{
	struct place *p = *state;

	make_queue(p, 0);
	p->fails = true;
	workqueue_add(p->queue, "a");
	run_for(p, 4);
	check_told(p, "a a a a ");
	p->fails = false;
	run_for(p, 1);
	assert_true(workqueue_idle(p->queue));
}

static void waits_as_told(void **state)
{
	struct place *p = *state;

	make_queue(p, 0);
	workqueue_add_after(p->queue, "late", 20);
	workqueue_add_after(p->queue, "never", 3600000);
	workqueue_add_after(p->queue, "soon", 1);
	workqueue_add_after(p->queue, "late", 3600000); /* the earlier time stays */
	workqueue_add_after(p->queue, "now", 3600000);
	workqueue_add(p->queue, "now");
	run_for(p, 3);
	check_told(p, "now soon late ");
}

static void is_freed_in_the_middle(void **state)
{
	struct place *p = *state;

	make_queue(p, 0);
	p->later = true;
	workqueue_add(p->queue, "a");
	run_for(p, 1);
	workqueue_add(p->queue, "b");
	workqueue_add_after(p->queue, "c", 5);
	p->queue = workqueue_free(p->queue);
	loop_post(p->loop, (loop_fn *)loop_stop, p->loop);
	loop_run(p->loop);
	check_told(p, "a ");
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(follows_a_watch),	     IN_PLACE(tells_late_comers),
		IN_PLACE(finds_by_owner_and_value),  IN_PLACE(closes_gaps),
		IN_PLACE(works_on_a_key_once),	     IN_PLACE(works_once_more_afterwards),
		IN_PLACE(comes_back_after_failures), IN_PLACE(waits_as_told),
		IN_PLACE(is_freed_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
