/*
 * Tasks: the shared half of every long work. A task ends exactly once, by a deferred call, so that
 * nobody's `done` runs inside the call that caused it; what the kind owns is released just before.
 */
#include <assert.h>
#include <stdio.h>

#include "virt/image/image_priv.h"

#define TASK_MAGIC 0x7461736b

void *task_new(struct image_store *s, size_t size_bytes, const struct image_watch *w,
	       const char *name)
{
	struct image_task *t = mem_new_bytes(1, size_bytes);

	assert(size_bytes >= sizeof(*t));
	t->magic = TASK_MAGIC;
	t->store = s;
	if (w)
		t->watch = *w;
	t->name = arena_dup_text(&t->arena, name);
	list_append(&s->tasks, &t->link);
	return t;
}

void *task_live(void *arg)
{
	const struct image_task *t = arg;

	assert(t);
	assert(t->magic == TASK_MAGIC);
	assert(t->store);
	return arg;
}

static void task_report(void *arg)
{
	struct image_task *t = arg;

	list_remove(&t->link);
	t->result.image = t->image_owned;
	if (t->watch.done)
		t->watch.done(t->watch.ctx, &t->result, t->failed ? &t->err : NULL);
	(void)image_unref(t->image_owned);
	arena_done(&t->arena);
	t->magic = 0;
	free(t);
}

/*
 * What came before a failure serves nobody: neither blob nor layer stays, and that is so when the
 * failure is told. Layers that are still being stopped are waited for (task_cleaned).
 */
static void task_clean(struct image_task *t)
{
	t->cleaning = t->store->failing > 0;
	if (!t->cleaning)
		(void)index_collect(t->store, task_report, t);
}

static void task_finish(void *arg)
{
	struct image_task *t = arg;

	assert(t->magic == TASK_MAGIC && t->ending);
	if (t->release)
		t->release(t);
	if (t->failed && t->brings && !t->store->closing)
		task_clean(t);
	else
		task_report(t);
}

void task_cleaned(struct image_store *s)
{
	list_each (&s->tasks, struct image_task, link, t) {
		if (t->cleaning)
			task_clean(t);
	}
}

static void task_started(void *arg)
{
	struct image_task *t = arg;

	if (!t->ending)
		t->begin(t);
}

void task_begin(struct image_task *t, void (*begin)(struct image_task *t))
{
	t->begin = begin;
	loop_defer(t->store->loop, task_started, t);
}

void task_drop(struct image_task *t)
{
	assert(t->magic == TASK_MAGIC && !t->ending);
	list_remove(&t->link);
	if (t->release)
		t->release(t);
	(void)image_unref(t->image_owned);
	arena_done(&t->arena);
	t->magic = 0;
	free(t);
}

void task_end(struct image_task *t, const struct err *e)
{
	assert(t->magic == TASK_MAGIC);
	if (t->ending)
		return;
	t->ending = true;
	if (e) {
		t->err = *e;
		t->failed = true;
	}
	loop_defer(t->store->loop, task_finish, t);
}

void task_set_image(struct image_task *t, struct image *i)
{
	(void)image_unref(t->image_owned);
	t->image_owned = i;
}

void image_task_cancel(struct image_task *t)
{
	struct err e = {0};

	assert(t->magic == TASK_MAGIC);
	if (t->ending)
		return;
	(void)err_set(&e, ERR_GONE, "%s was cancelled", t->name);
	if (t->cancel)
		t->cancel(t, &e);
	else
		task_end(t, &e);
}

static void tell(struct image_task *t, const struct image_progress *p)
{
	if (t->watch.progress && !t->ending)
		t->watch.progress(t->watch.ctx, p);
}

void task_say(struct image_task *t, const char *id, const char *fmt, ...)
{
	auto_strbuf struct strbuf b = {0};
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&b, fmt, ap);
	va_end(ap);
	tell(t, &(struct image_progress){.id = id, .status = strbuf_text(&b)});
}

void task_stream(struct image_task *t, const char *fmt, ...)
{
	auto_strbuf struct strbuf b = {0};
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&b, fmt, ap);
	va_end(ap);
	tell(t, &(struct image_progress){.stream = strbuf_text(&b)});
}

void task_aux(struct image_task *t, const char *tag, const char *digest, int64_t size)
{
	tell(t,
	     &(struct image_progress){.push_tag = tag, .push_digest = digest, .push_size = size});
}

void task_count(struct image_task *t, const char *id, const char *status, int64_t current,
		int64_t total)
{
	tell(t, &(struct image_progress){
			.id = id, .status = status, .current = current, .total = total});
}
