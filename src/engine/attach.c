/*
 * Attaching: a client's socket goes to the container's keeper and is out of our hands. Clients that
 * come before the start wait here and go over with it, first byte included.
 */
#include <sys/socket.h>

#include "engine/engine_priv.h"

#define DETACH_KEYS "ctrl-p,ctrl-q"

/* One key: a letter, or "ctrl-" and one of a-z @ [ \ ] ^ _ . 0 when it is neither. */
static bool key_of(struct str text, char *ret)
{
	char c;

	if (text.n == 1) {
		*ret = text.p[0];
		return true;
	}
	if (!str_starts(text, "ctrl-") || text.n != 6)
		return false;
	c = text.p[5];
	if (c >= 'a' && c <= 'z')
		*ret = (char)(c - 'a' + 1);
	else if (c >= '@' && c <= '_')
		*ret = (char)(c - '@');
	else
		return false;
	return true;
}

uint16_t attach_keys(const char *text, char ret[17])
{
	struct str rest = str_of(text ? text : DETACH_KEYS), one;
	uint16_t n = 0;

	while (n < 16 && str_cut(&rest, ',', &one))
		if (key_of(one, &ret[n]))
			n++;
	ret[n] = '\0';
	return n;
}

int engine_attach_check(struct user *u, const char *ref, bool *ret_tty, struct err *e)
{
	struct workload *w;
	int bad = workload_find(u, ref, &w, e);

	if (bad < 0)
		return bad;
	if (w->state == WORKLOAD_PAUSED)
		return err_set(e, ERR_CONFLICT,
			       "container %s is paused, unpause the container before attach", ref);
	if (w->state == WORKLOAD_RESTARTING)
		return err_set(e, ERR_CONFLICT,
			       "container %s is restarting, wait until the container is running",
			       ref);
	*ret_tty = w->request.config.tty;
	return 0;
}

static void client_free(struct waiting_client *c)
{
	list_remove(&c->link);
	(void)fd_close(c->fd);
	strbuf_done(&c->early);
	free(c);
}

static void hand_over_answered(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	if (why)
		log_debug("attach: %s", why->text);
}

static void hand_over(struct workload *w, struct waiting_client *c)
{
	struct keeper_attach how = {
		.session = c->session,
		.want_stdin = c->options.stdin_,
		.want_stdout = c->options.stdout_,
		.want_stderr = c->options.stderr_,
		.multiplexed = !w->request.config.tty,
		.logs = c->options.logs,
		.no_stream = !c->options.stream,
		.detach_keys = c->keys,
		.early = c->early.p,
		.early_n = c->early.n,
	};

	keeper_attach(w->keeper, &how, c->fd, (struct keeper_done){hand_over_answered, NULL});
	client_free(c);
}

void attach_hand_over(struct workload *w)
{
	assert(w->keeper);
	list_each (&w->clients, struct waiting_client, link, c)
		hand_over(w, c);
}

void attach_drop_all(struct workload *w)
{
	list_each (&w->clients, struct waiting_client, link, c)
		client_free(c);
}

void attach_ended(void *ctx, const struct keeper_detached *d)
{
	struct workload *w = as_workload(ctx);

	if (d->by_keys)
		event_container(w, "detach", NULL);
}

static int attach_begin(struct user *u, const char *ref, const struct attach_options *o, int fd,
			struct str early, struct err *e)
{
	auto_close int own = fd;
	struct waiting_client *c;
	struct workload *w;
	size_t waiting = 0;

	if (workload_find(u, ref, &w, e) < 0)
		return -ERR_NOT_FOUND;
	list_each (&w->clients, struct waiting_client, link, other)
		waiting += other->fd >= 0;
	if (waiting >= WORKLOAD_ATTACHES_MAX)
		return err_set(e, ERR_EXHAUSTED,
			       "container '%s' has %d clients waiting for its start", w->name,
			       WORKLOAD_ATTACHES_MAX);
	c = mem_new(struct waiting_client);
	list_init(&c->link);
	c->fd = take_fd(&own);
	c->options = *o;
	(void)attach_keys(o->detach_keys, c->keys);
	c->options.detach_keys = NULL;
	strbuf_add(&c->early, early.p, early.n);
	world_random_hex(u->engine->world, c->session, 32);
	list_append(&w->clients, &c->link);
	event_container(w, "attach", NULL);
	if (workload_runs(w) && w->keeper)
		hand_over(w, c);
	return 0;
}

void engine_attach(struct user *u, const char *ref, const struct attach_options *o, int fd,
		   struct str early, engine_done *done, void *ctx)
{
	struct err e = {0};
	int bad = attach_begin(u, ref, o, fd, early, &e);

	engine_finish(u->engine, done, ctx, bad < 0 ? &e : NULL);
}
