/*
 * Waiters: who wants to know when a container stops or is removed. A waiter is in its container's
 * list until it is told or cancelled; telling is deferred, so that it never happens inside a verb,
 * and a waiter that is cancelled meanwhile is not told.
 *
 * not-running: at once when it does not run, else at its final end. next-exit: at the next end
 * (also of a failed start). removed: when it is gone, with the exit code it had.
 */
#include "engine/engine_priv.h"

#define WAITER_MAGIC 0x57414954u

struct waiter {
	uint32_t magic;
	struct list link; /* in the container's list, or alone */
	struct engine *engine;
	enum wait_condition condition;
	engine_exited *done;
	void *ctx;
	int exit_code;
	char *error;
	bool told;
};

int wait_condition_of(const char *text, enum wait_condition *ret, struct err *e)
{
	static const char *const names[] = {"not-running", "next-exit", "removed"};

	*ret = WAIT_NOT_RUNNING;
	if (!text || !*text)
		return 0;
	for (size_t i = 0; i < array_len(names); i++)
		if (text_eq(text, names[i])) {
			*ret = (enum wait_condition)i;
			return 0;
		}
	return err_set(
		e, ERR_INVALID,
		"invalid condition '%s': 'not-running', 'next-exit' or 'removed' is expected",
		text);
}

static struct waiter *as_waiter(void *p)
{
	struct waiter *wt = p;

	assert(wt->magic == WAITER_MAGIC);
	return wt;
}

static void waiter_free(struct waiter *wt)
{
	list_remove(&wt->link);
	free(wt->error);
	wt->magic = 0;
	free(wt);
}

static void tell_now(void *arg)
{
	struct waiter *wt = as_waiter(arg);

	wt->done(wt->ctx, wt->exit_code, wt->error);
	waiter_free(wt);
}

static void tell(struct waiter *wt, int exit_code, const char *error)
{
	assert(!wt->told);
	wt->told = true;
	wt->exit_code = exit_code;
	wt->error = error && *error ? mem_dup_text(error) : NULL;
	list_remove(&wt->link);
	loop_defer(wt->engine->loop, tell_now, wt);
}

int engine_wait(struct user *u, const char *ref, enum wait_condition condition, engine_exited *done,
		void *ctx, struct waiter **ret, struct err *e)
{
	struct workload *w;
	struct waiter *wt;
	int bad = workload_find(u, ref, &w, e);

	assert(done && ret);
	if (bad < 0)
		return bad;
	wt = mem_new(struct waiter);
	wt->magic = WAITER_MAGIC;
	wt->engine = u->engine;
	wt->condition = condition;
	wt->done = done;
	wt->ctx = ctx;
	list_append(&w->waiters, &wt->link);
	if (condition == WAIT_NOT_RUNNING && !workload_runs(w))
		tell(wt, w->exit_code, w->error);
	*ret = wt;
	return 0;
}

void wait_cancel(struct waiter *wt)
{
	if (!wt)
		return;
	loop_defer_cancel(as_waiter(wt)->engine->loop, tell_now, wt);
	waiter_free(wt);
}

void wait_ended(struct workload *w)
{
	list_each (&w->waiters, struct waiter, link, wt) {
		if (wt->condition != WAIT_REMOVED)
			tell(wt, w->exit_code, w->error);
	}
}

void wait_start_failed(struct workload *w)
{
	list_each (&w->waiters, struct waiter, link, wt) {
		if (wt->condition != WAIT_REMOVED)
			tell(wt, w->exit_code, NULL); /* the start itself says why */
	}
}

void wait_removed(struct workload *w)
{
	list_each (&w->waiters, struct waiter, link, wt)
		tell(wt, w->exit_code, w->error);
}

/* The engine goes: nobody is told, the connections end with it. */
void wait_drop_all(struct workload *w)
{
	list_each (&w->waiters, struct waiter, link, wt)
		waiter_free(wt);
}
