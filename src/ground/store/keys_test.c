/*
 * Revisioned keys: compare-and-swap, one counter, watches that miss nothing, the past as it was,
 * and all of that again after a restart and after a kill at any moment. The random test runs
 * against a plain model: whoever replays events from some revision holds what a list at the end
 * shows.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys.h"
#include "ground/store/keys_priv.h"
#include "ground/wire/loop.h"

static int64_t clock_ns = INT64_C(1700000000000000000);

static int64_t fake_now(void *ctx)
{
	(void)ctx;
	return clock_ns;
}

static int64_t fake_monotonic(void *ctx)
{
	(void)ctx;
	return clock_ns;
}

static const struct world fake = {fake_now, fake_monotonic, NULL, NULL};

struct place {
	char dir[64], path[96];
	struct loop *loop;
	struct keys *keys;
	/* the last outcome */
	uint64_t revision;
	struct err error;
	size_t past_events;
};

static void open_keys(struct place *p)
{
	struct keys_options o = {
		.loop = p->loop, .path = p->path, .world = &fake, .past_events = p->past_events};
	struct err e = {0};

	if (keys_open(&o, &p->keys, &e) < 0)
		fail_msg("%s", e.text);
}

static int set_up(void **state)
{
	struct place *p = mem_new(struct place);
	struct err e = {0};

	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/hull-keys-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/keys.db", p->dir);
	assert_int_equal(loop_new(&p->loop, &e), 0);
	open_keys(p);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"keys.db", "keys.db-wal", "keys.db-shm", "copy.db"};
	struct place *p = *state;

	p->keys = keys_close(p->keys);
	for (size_t i = 0; i < array_len(names); i++) {
		auto_free char *path = mem_printf("%s/%s", p->dir, names[i]);

		(void)unlink(path);
	}
	(void)rmdir(p->dir);
	(void)loop_free(p->loop);
	free(p);
	return 0;
}

static void ended(void *ctx, const struct key_value *v, uint64_t revision, const struct err *e)
{
	struct place *p = ctx;

	(void)v;
	p->revision = revision;
	p->error = e ? *e : (struct err){0};
	loop_stop(p->loop);
}

static enum err_kind put(struct place *p, const char *key, const char *text, uint64_t expect)
{
	keys_put(p->keys, key_value_new(key, str_of(text), NULL, 0), expect, 0, ended, p);
	loop_run(p->loop);
	return p->error.kind;
}

static enum err_kind delete (struct place *p, const char *key, uint64_t expect) {
	keys_delete(p->keys, key, expect, ended, p); loop_run(p->loop); return p->error.kind;
}

static const char *get(struct place *p, const char *key)
{
	const struct key_value *v = keys_get(p->keys, key);

	return v ? v->bytes.p : NULL;
}

static void swaps_only_what_it_expects(void **state)
{
	struct place *p = *state;
	uint64_t first;

	assert_int_equal(put(p, "a/1", "x", 0), ERR_NONE);
	first = p->revision;
	assert_string_equal(get(p, "a/1"), "x");
	assert_int_equal(put(p, "a/1", "y", 0), ERR_EXISTS);
	assert_int_equal(put(p, "a/2", "y", 5), ERR_NOT_FOUND);
	assert_int_equal(put(p, "a/1", "y", first), ERR_NONE);
	assert_int_equal(put(p, "a/1", "z", first), ERR_CONFLICT);
	assert_string_equal(get(p, "a/1"), "y");
	assert_int_equal(keys_get(p->keys, "a/1")->created, first);
	assert_int_equal(delete (p, "a/1", first), ERR_CONFLICT);
	assert_int_equal(delete (p, "a/1", first + 1), ERR_NONE);
	assert_int_equal(delete (p, "a/1", first + 1), ERR_NOT_FOUND);
	assert_null(get(p, "a/1"));
	assert_int_equal(keys_count(p->keys, ""), 0);
	assert_int_equal(put(p, "a/1", "again", 0), ERR_NONE);
	assert_true(keys_get(p->keys, "a/1")->created > first);
}

/* Writes of one turn are checked against each other before any of them is committed. */
static void counts_what_is_on_its_way(void **state)
{
	struct place *p = *state;
	const struct key_value *on_its_way;

	keys_put(p->keys, key_value_new("k", STR("1"), NULL, 0), 0, 0, NULL, NULL);
	assert_null(keys_get(p->keys, "k"));
	on_its_way = keys_newest(p->keys, "k");
	assert_non_null(on_its_way);
	keys_put(p->keys, key_value_new("k", STR("2"), NULL, 0), on_its_way->modified, 0, NULL,
		 NULL);
	keys_delete(p->keys, "k", keys_newest(p->keys, "k")->modified, NULL, NULL);
	assert_null(keys_newest(p->keys, "k"));
	keys_put(p->keys, key_value_new("k", STR("3"), NULL, 0), 0, 0, ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_string_equal(get(p, "k"), "3");
	assert_int_equal(keys_revision(p->keys), 4);
}

/* -- watching ---------------------------------------------------------------------------------- */

struct seen {
	char text[4096];
	uint64_t last;
	struct keys_watch *watch;
	int unwatch_after;
};

static void note(void *ctx, const struct key_event *v)
{
	struct seen *s = ctx;
	size_t n = strlen(s->text);
	const struct key_value *about = v->now ? v->now : v->before;

	assert_true(v->revision > s->last);
	s->last = v->revision;
	(void)snprintf(s->text + n, sizeof(s->text) - n, "%c%s=%s ", "+~-"[v->type], about -> key,
		       about -> bytes.p);
	if (s->unwatch_after && --s->unwatch_after == 0)
		s->watch = keys_unwatch(s->watch);
}

static void watch(struct place *p, const char *prefix, uint64_t from, struct seen *s)
{
	struct err e;

	assert_int_equal(keys_watch(p->keys, prefix, from, note, s, &s->watch, &e), 0);
}

static void settle(struct place *p)
{
	keys_fresh(p->keys, 0, ended, p);
	loop_run(p->loop);
}

static void write_some(struct place *p)
{
	assert_int_equal(put(p, "a/1", "x", 0), ERR_NONE);
	assert_int_equal(put(p, "b/1", "x", 0), ERR_NONE);
	assert_int_equal(put(p, "a/1", "y", 1), ERR_NONE);
	assert_int_equal(put(p, "a/2", "x", 0), ERR_NONE);
	assert_int_equal(delete (p, "a/1", 3), ERR_NONE);
}

static void tells_what_was_and_what_comes(void **state)
{
	struct place *p = *state;
	struct seen all = {.last = 0}, late = {.last = 2}, one = {.unwatch_after = 1};

	watch(p, "a/", 0, &all);
	watch(p, "a/", 0, &one);
	write_some(p);
	watch(p, "a/", 2, &late);
	assert_string_equal(late.text, ""); /* never from inside */
	settle(p);
	assert_string_equal(all.text, "+a/1=x ~a/1=y +a/2=x -a/1=y ");
	assert_string_equal(late.text, "~a/1=y +a/2=x -a/1=y ");
	assert_string_equal(one.text, "+a/1=x ");
	all.watch = keys_unwatch(all.watch);
	assert_int_equal(put(p, "a/3", "x", 0), ERR_NONE);
	assert_string_equal(late.text, "~a/1=y +a/2=x -a/1=y +a/3=x ");
	assert_string_equal(all.text, "+a/1=x ~a/1=y +a/2=x -a/1=y ");
	late.watch = keys_unwatch(late.watch);
}

static bool join(void *ctx, const struct key_value *v)
{
	char *text = ctx;
	size_t n = strlen(text);

	(void)snprintf(text + n, 256 - n, "%s=%s ", v->key, v->bytes.p);
	return true;
}

static void lists_the_past_as_it_was(void **state)
{
	static const char *const at[] = {"",	   "a/1=x ",	   "a/1=x ",
					 "a/1=y ", "a/1=y a/2=x ", "a/2=x "};
	struct place *p = *state;
	struct err e;

	write_some(p);
	for (int restart = 0; restart < 2; restart++) {
		for (uint64_t r = 1; r < array_len(at); r++) {
			char text[256] = "";

			assert_int_equal(keys_each(p->keys, "a/", NULL, r, join, text, &e), 0);
			assert_string_equal(text, at[r]);
		}
		assert_int_equal(keys_each(p->keys, "a/", NULL, 99, join, NULL, &e), -ERR_INVALID);
		p->keys = keys_close(p->keys);
		open_keys(p);
	}
	{
		char text[256] = "";

		assert_int_equal(keys_each(p->keys, "", "a/2", 0, join, text, &e), 0);
		assert_string_equal(text, "b/1=x ");
	}
}

static void goes_on_after_a_restart(void **state)
{
	struct place *p = *state;
	struct seen late = {.last = 2};

	write_some(p);
	p->keys = keys_close(p->keys);
	open_keys(p);
	assert_int_equal(keys_revision(p->keys), 5);
	watch(p, "a/", 2, &late);
	assert_int_equal(put(p, "a/1", "z", 0), ERR_NONE);
	assert_int_equal(p->revision, 6);
	assert_string_equal(late.text, "~a/1=y +a/2=x -a/1=y +a/1=z ");
	late.watch = keys_unwatch(late.watch);
}

static void forgets_the_past(void **state)
{
	struct place *p = *state;
	struct seen s = {.last = 4};
	struct keys_watch *w = NULL;
	struct err e;

	write_some(p);
	keys_compact(p->keys, 4);
	assert_int_equal(keys_watch(p->keys, "a/", 3, note, &s, &w, &e), -ERR_GONE);
	assert_int_equal(keys_each(p->keys, "a/", NULL, 3, join, NULL, &e), -ERR_GONE);
	watch(p, "a/", 4, &s);
	settle(p);
	assert_string_equal(s.text, "-a/1=y ");
	s.watch = keys_unwatch(s.watch);
	assert_int_equal(put(p, "c", "1", 0), ERR_NONE); /* carries the compaction to the disk */
	p->keys = keys_close(p->keys);
	open_keys(p);
	assert_int_equal(keys_compacted(p->keys), 4);
	assert_int_equal(keys_watch(p->keys, "a/", 3, note, &s, &w, &e), -ERR_GONE);
}

static void overwritten_keys_have_no_history(void **state)
{
	struct place *p = *state;
	struct seen s = {.last = 0};
	struct keys_watch *w = NULL;
	struct err e;

	keys_put(p->keys, key_value_new("c/leases/x", STR("1"), NULL, 0), 0, KEYS_OVERWRITE, ended,
		 p);
	loop_run(p->loop);
	keys_put(p->keys, key_value_new("c/leases/x", STR("2"), NULL, 0), p->revision,
		 KEYS_OVERWRITE, ended, p);
	loop_run(p->loop);
	watch(p, "c/leases/", 0, &s);
	settle(p);
	assert_string_equal(s.text, "+c/leases/x=1 ~c/leases/x=2 ");
	s.watch = keys_unwatch(s.watch);
	p->keys = keys_close(p->keys);
	open_keys(p);
	assert_string_equal(get(p, "c/leases/x"), "2");
	assert_int_equal(keys_watch(p->keys, "c/leases/", 1, note, &s, &w, &e), -ERR_GONE);
	watch(p, "c/leases/", 2, &s);
	s.watch = keys_unwatch(s.watch);
}

static void values_end_by_themselves(void **state)
{
	struct place *p = *state;
	struct seen s = {.last = 1};

	keys_put(p->keys, key_value_new("e/1", STR("1"), NULL, clock_ns + 1000), 0, KEYS_OVERWRITE,
		 ended, p);
	loop_run(p->loop);
	watch(p, "e/", 1, &s);
	clock_ns += 2000000000;
	p->keys = keys_close(p->keys); /* an end that passed while nobody looked is seen at open */
	open_keys(p);
	s.watch = NULL;
	watch(p, "e/", 1, &s);
	while (keys_get(p->keys, "e/1")) {
		struct loop_timer *t = loop_timer_new(p->loop, (loop_fn *)loop_stop, p->loop);

		loop_timer_set(t, 20, 0);
		loop_run(p->loop);
		(void)loop_timer_free(t);
	}
	assert_string_equal(s.text, "-e/1=1 ");
	s.watch = keys_unwatch(s.watch);
}

static void waits_for_what_is_to_come(void **state)
{
	struct place *p = *state;

	keys_put(p->keys, key_value_new("k", STR("1"), NULL, 0), 0, 0, NULL, NULL);
	keys_fresh(p->keys, 1, ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_int_equal(keys_revision(p->keys), 1);
}

static void copies_itself(void **state)
{
	struct place *p = *state;
	auto_free char *copy = mem_printf("%s/copy.db", p->dir);

	write_some(p);
	keys_backup(p->keys, copy, ended, p);
	loop_run(p->loop);
	assert_string_equal(p->error.text, "");
	p->keys = keys_close(p->keys);
	assert_int_equal(rename(copy, p->path), 0);
	open_keys(p);
	assert_string_equal(get(p, "a/2"), "x");
	assert_int_equal(keys_revision(p->keys), 5);
}

static void limit_files(rlim_t bytes, struct rlimit *ret_had)
{
	struct rlimit limit;

	(void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, ret_had), 0);
	limit = (struct rlimit){bytes, ret_had->rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The file may not grow: the commit fails, and so does what was queued behind it. */
static void a_failed_batch_takes_what_was_built_on_it(void **state)
{
	struct place *p = *state;
	struct rlimit had;
	static char big[512u << 10];

	memset(big, 'x', sizeof(big));
	assert_int_equal(put(p, "k", "1", 0), ERR_NONE);
	limit_files(64u << 10, &had);
	keys_put(p->keys, key_value_new("big", (struct str){big, sizeof(big)}, NULL, 0), 0, 0, NULL,
		 NULL);
	keys_delete(p->keys, "big", keys_newest(p->keys, "big")->modified, NULL, NULL);
	assert_int_equal(put(p, "k", "2", 1), ERR_SYSTEM);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &had), 0);
	assert_string_equal(get(p, "k"), "1");
	assert_string_equal(keys_newest(p->keys, "k")->bytes.p, "1");
	assert_null(keys_newest(p->keys, "big"));
	assert_int_equal(put(p, "k", "3", 1), ERR_NONE);
	p->keys = keys_close(p->keys);
	open_keys(p);
	assert_string_equal(get(p, "k"), "3");
}

/* -- what is easily lost ----------------------------------------------------------------------- */

static void count_end(void *ctx, const struct key_value *v, uint64_t revision, const struct err *e)
{
	int *n = ctx;

	(void)v;
	(void)revision;
	(void)e;
	(*n)++;
}

/* Who can be answered at once does not wait with those who ask for what is to come. */
static void answers_at_once_beside_the_patient(void **state)
{
	struct place *p = *state;
	int patient = 0;

	keys_fresh(p->keys, 0, ended, p);
	keys_fresh(p->keys, 1, count_end, &patient);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_int_equal(patient, 0);
	assert_int_equal(put(p, "k", "1", 0), ERR_NONE);
	assert_int_equal(patient, 1);
}

static void the_past_of_overwritten_keys_ends_at_the_start(void **state)
{
	struct place *p = *state;
	struct err e;
	char text[256] = "";

	assert_int_equal(put(p, "a/b/1", "x", 0), ERR_NONE);
	keys_put(p->keys, key_value_new("c/leases/x", STR("1"), NULL, 0), 0, KEYS_OVERWRITE, ended,
		 p);
	loop_run(p->loop);
	keys_put(p->keys, key_value_new("c/leases/x", STR("2"), NULL, 0), 2, KEYS_OVERWRITE, ended,
		 p);
	loop_run(p->loop);
	assert_int_equal(keys_each(p->keys, "c/", NULL, 2, join, text, &e), 0);
	assert_string_equal(text, "c/leases/x=1 ");
	p->keys = keys_close(p->keys);
	open_keys(p);
	assert_int_equal(keys_each(p->keys, "c/leases/", NULL, 2, join, text, &e), -ERR_GONE);
	assert_int_equal(keys_each(p->keys, "", NULL, 2, join, text, &e), -ERR_GONE);
	text[0] = '\0';
	assert_int_equal(keys_each(p->keys, "a/", NULL, 2, join, text, &e), 0);
	assert_int_equal(keys_each(p->keys, "c/", NULL, 3, join, text, &e), 0);
	assert_string_equal(text, "a/b/1=x c/leases/x=2 ");
}

static void ends_a_value_though_the_disk_failed(void **state)
{
	struct place *p = *state;
	struct rlimit had;

	keys_put(p->keys, key_value_new("e/1", STR("1"), NULL, clock_ns + 1000), 0, 0, ended, p);
	loop_run(p->loop);
	clock_ns += 2000000000;
	limit_files(4096, &had);
	expiry_due(p->keys);
	assert_null(keys_newest(p->keys, "e/1"));
	assert_int_not_equal(put(p, "k", "1", 0), ERR_NONE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &had), 0);
	assert_string_equal(get(p, "e/1"), "1");
	expiry_due(p->keys);
	assert_int_equal(put(p, "k", "1", 0), ERR_NONE);
	assert_null(get(p, "e/1"));
}

struct starter {
	struct place *place;
	struct seen *second;
};

static void watch_the_past(void *ctx, const struct key_event *v)
{
	struct starter *s = ctx;

	(void)v;
	if (!s->second->watch)
		watch(s->place, "", 0, s->second);
}

/* The batch that is being told also pushes the oldest event out; the new watch still gets it. */
static void a_watch_begun_by_a_watch_misses_nothing(void **state)
{
	struct place *p = *state;
	struct seen second = {.last = 0};
	struct starter s = {p, &second};
	struct keys_watch *first = NULL;
	struct err e;

	p->past_events = 2;
	p->keys = keys_close(p->keys);
	open_keys(p);
	assert_int_equal(put(p, "k/1", "a", 0), ERR_NONE);
	assert_int_equal(put(p, "k/2", "b", 0), ERR_NONE);
	assert_int_equal(keys_watch(p->keys, "", 2, watch_the_past, &s, &first, &e), 0);
	assert_int_equal(put(p, "k/3", "c", 0), ERR_NONE);
	settle(p);
	assert_string_equal(second.text, "+k/1=a +k/2=b +k/3=c ");
	assert_int_equal(keys_compacted(p->keys), 1);
	first = keys_unwatch(first);
	second.watch = keys_unwatch(second.watch);
}

static int indexes_freed;

static void *index_of(void *ctx, const struct key_value *v)
{
	(void)ctx;
	return mem_dup_text(v->key);
}

static void free_index(void *index)
{
	indexes_freed++;
	free(index);
}

static void frees_the_index_that_it_is_given(void **state)
{
	struct place *p = *state;
	struct keys_options o = {
		.loop = p->loop, .path = p->path, .index = index_of, .index_free = free_index};
	struct err e;

	p->keys = keys_close(p->keys);
	assert_int_equal(keys_open(&o, &p->keys, &e), 0);
	indexes_freed = 0;
	keys_put(p->keys, key_value_new("k", STR("1"), mem_dup_text("mine"), 0), 0, 0, ended, p);
	loop_run(p->loop);
	assert_string_equal(keys_get(p->keys, "k")->index, "mine");
	keys_put(p->keys, key_value_new("k", STR("2"), mem_dup_text("refused"), 0), 0, 0, ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_EXISTS);
	assert_int_equal(indexes_freed, 1);
	assert_int_equal(put(p, "l", "1", 0), ERR_NONE);
	assert_string_equal(keys_get(p->keys, "l")->index, "l");
	p->keys = keys_close(p->keys);
	assert_int_equal(indexes_freed, 3);
}

/* -- the model --------------------------------------------------------------------------------- */

struct replay {
	const char *prefix;
	struct map live; /* key -> text */
	uint64_t last;
	struct keys_watch *watch;
};

static void replay(void *ctx, const struct key_event *v)
{
	struct replay *r = ctx;

	assert_true(v->revision > r->last);
	r->last = v->revision;
	if (v->type == KEY_ADDED)
		assert_null(map_get(&r->live, v->now->key));
	else
		assert_string_equal(map_get(&r->live, v->before->key), v->before->bytes.p);
	if (v->now)
		free(map_put(&r->live, v->now->key, mem_dup_text(v->now->bytes.p)));
	else
		free(map_remove(&r->live, v->before->key));
}

static bool fill(void *ctx, const struct key_value *v)
{
	free(map_put(ctx, v->key, mem_dup_text(v->bytes.p)));
	return true;
}

static bool same(void *ctx, const struct key_value *v)
{
	const struct replay *r = ctx;

	assert_string_equal(map_get(&r->live, v->key), v->bytes.p);
	return true;
}

static void check_replay(struct place *p, struct replay *r)
{
	struct err e;

	assert_int_equal(keys_each(p->keys, r->prefix, NULL, 0, same, r, &e), 0);
	assert_int_equal(r->live.count, keys_count(p->keys, r->prefix));
	map_each (&r->live, it)
		free(it->value);
	map_done(&r->live);
	r->watch = keys_unwatch(r->watch);
}

static void begin_replay(struct place *p, struct replay *r, const char *prefix, uint64_t from)
{
	struct err e;

	*r = (struct replay){.prefix = prefix, .last = from};
	if (from) /* 0 would ask for now */
		assert_int_equal(keys_each(p->keys, prefix, NULL, from, fill, &r->live, &e), 0);
	assert_int_equal(keys_watch(p->keys, prefix, from, replay, r, &r->watch, &e), 0);
}

static void random_write(struct place *p, unsigned int *seed)
{
	char key[32], text[32];
	const struct key_value *have;

	(void)snprintf(key, sizeof(key), "k/%d", rand_r(seed) % 40);
	(void)snprintf(text, sizeof(text), "%d", rand_r(seed));
	have = keys_newest(p->keys, key);
	if (have && rand_r(seed) % 3 == 0)
		keys_delete(p->keys, key, have->modified, NULL, NULL);
	else
		keys_put(p->keys, key_value_new(key, str_of(text), NULL, 0),
			 have ? have->modified : 0, 0, NULL, NULL);
}

static void replays_equal_lists(void **state)
{
	struct place *p = *state;
	unsigned int seed = 7;
	struct replay r = {0};
	uint64_t from = 0;

	p->past_events = 300;
	p->keys = keys_close(p->keys);
	open_keys(p);
	for (int round = 0; round < 30; round++) {
		begin_replay(p, &r, "", from);
		for (int burst = 0; burst < 5; burst++) {
			for (int i = rand_r(&seed) % 12; i >= 0; i--)
				random_write(p, &seed);
			keys_put(p->keys, key_value_new("mark", STR("m"), NULL, 0),
				 keys_newest(p->keys, "mark")
					 ? keys_newest(p->keys, "mark")->modified
					 : 0,
				 0, ended, p);
			loop_run(p->loop);
			assert_int_equal(p->error.kind, ERR_NONE);
		}
		settle(p);
		check_replay(p, &r);
		from = keys_revision(p->keys) - (uint64_t)(rand_r(&seed) % 40);
		if (from < keys_compacted(p->keys))
			from = keys_compacted(p->keys);
		if (round % 3 == 0) {
			p->keys = keys_close(p->keys);
			open_keys(p);
		}
	}
}

/* -- a kill at any moment ---------------------------------------------------------------------- */

struct child {
	struct place *place;
	int pipe;
	unsigned int seed;
};

/* Two of three keys have a history, one has none; values differ, and some go. */
static void child_next(void *ctx, const struct key_value *v, uint64_t revision, const struct err *e)
{
	struct child *c = ctx;
	struct keys *keys = c->place->keys;
	const struct key_value *have;
	char key[16], text[32];
	unsigned int draw = (unsigned int)rand_r(&c->seed);
	bool overwrite = draw % 3 == 0;

	if (e)
		_exit(1);
	if (v && write(c->pipe, &revision, sizeof(revision)) < 0)
		_exit(1);
	(void)snprintf(key, sizeof(key), overwrite ? "o/x/%u" : "k/%u", draw / 8 % 10);
	(void)snprintf(text, sizeof(text), "%u", draw);
	have = keys_newest(keys, key);
	if (have && draw / 3 % 4 == 0)
		keys_delete(keys, key, have->modified, child_next, c);
	else
		keys_put(keys, key_value_new(key, str_of(text), NULL, 0), have ? have->modified : 0,
			 overwrite ? KEYS_OVERWRITE : 0, child_next, c);
}

static uint64_t run_and_kill(struct place *p, unsigned int seed)
{
	uint64_t acknowledged = 0, one;
	int ends[2];
	pid_t pid;

	p->keys = keys_close(p->keys);
	p->loop = loop_free(p->loop);
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		struct child c = {p, ends[1], seed};
		struct err e;

		if (loop_new(&p->loop, &e) < 0)
			_exit(1);
		open_keys(p);
		child_next(&c, NULL, 0, NULL);
		child_next(&c, NULL, 0, NULL);
		loop_run(p->loop);
		_exit(0);
	}
	(void)close(ends[1]);
	for (unsigned int n = 0; n < 5 + seed % 60; n++)
		if (read(ends[0], &one, sizeof(one)) == sizeof(one) && one > acknowledged)
			acknowledged = one;
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (read(ends[0], &one, sizeof(one)) == sizeof(one))
		acknowledged = one > acknowledged ? one : acknowledged;
	(void)close(ends[0]);
	(void)waitpid(pid, NULL, 0);
	return acknowledged;
}

static void keeps_what_was_acknowledged(void **state)
{
	struct place *p = *state;
	struct err e;

	p->past_events = 40; /* so that the past is forgotten on the disk, too */
	for (unsigned int seed = 1; seed <= 20; seed++) {
		struct replay r;
		uint64_t from = keys_revision(p->keys), acknowledged = run_and_kill(p, seed * 13);

		assert_int_equal(loop_new(&p->loop, &e), 0);
		open_keys(p);
		assert_true(keys_revision(p->keys) >= acknowledged);
		if (from < keys_compacted(p->keys))
			from = keys_compacted(p->keys);
		begin_replay(p, &r, "k/", from);
		settle(p);
		check_replay(p, &r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(swaps_only_what_it_expects, set_up, tear_down),
		cmocka_unit_test_setup_teardown(counts_what_is_on_its_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tells_what_was_and_what_comes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lists_the_past_as_it_was, set_up, tear_down),
		cmocka_unit_test_setup_teardown(goes_on_after_a_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(forgets_the_past, set_up, tear_down),
		cmocka_unit_test_setup_teardown(overwritten_keys_have_no_history, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(values_end_by_themselves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(waits_for_what_is_to_come, set_up, tear_down),
		cmocka_unit_test_setup_teardown(copies_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_failed_batch_takes_what_was_built_on_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(answers_at_once_beside_the_patient, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_past_of_overwritten_keys_ends_at_the_start,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(ends_a_value_though_the_disk_failed, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_watch_begun_by_a_watch_misses_nothing, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(frees_the_index_that_it_is_given, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(replays_equal_lists, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_what_was_acknowledged, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
