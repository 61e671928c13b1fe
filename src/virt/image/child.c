/*
 * The parent's end of hull-unpack: spawn it with its four descriptors, feed it, hear it out, and
 * tell the end only when it is wholly gone (the process and everything that holds its channel), so
 * that what it wrote lies still.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/wire/packet.h"
#include "virt/image/image_priv.h"

struct child {
	unsigned int magic;
	struct image_store *store;
	struct list link;
	void (*at)(void *arg, uint64_t at);
	void (*done)(void *arg, const struct unpack_answer *answer, const struct err *e);
	void *arg;
	struct packet *channel;
	struct loop_process *process;
	struct loop_exit how;
	bool exited, closed, answered, failed;
	uint64_t told; /* upto */
	struct unpack_answer answer;
	struct arena arena;
	struct json *tree;
	struct err err;
};

#define CHILD_MAGIC 0x63686c64

static void finish(void *arg);

static struct child *as_child(void *p)
{
	struct child *c = p;

	assert(c);
	assert(c->magic == CHILD_MAGIC);
	return c;
}

static void child_free(struct child *c)
{
	loop_defer_cancel(c->store->loop, finish, c);
	list_remove(&c->link);
	(void)packet_free(c->channel);
	(void)loop_process_free(c->process);
	(void)json_free(c->tree);
	arena_done(&c->arena);
	c->magic = 0;
	free(c);
}

static void explain_end(struct child *c)
{
	c->failed = true;
	if (c->how.signal == SIGSYS || c->how.code == 128 + SIGSYS)
		(void)err_set(
			&c->err, ERR_INTERNAL,
			"the unpacking process was stopped: it tried a forbidden system call");
	else if (c->how.signal == SIGPIPE || c->how.code == 128 + SIGPIPE)
		(void)err_set(&c->err, ERR_GONE, "the reader of the archive went away");
	else if (c->how.signal || c->how.code > 128)
		(void)err_set(&c->err, ERR_INTERNAL,
			      "the unpacking process was killed by signal %d",
			      c->how.signal ? c->how.signal : c->how.code - 128);
	else
		(void)err_set(&c->err, ERR_INTERNAL,
			      "the unpacking process '%s' ended with code %d and without an answer",
			      c->store->unpack_program, c->how.code);
}

static void finish(void *arg)
{
	struct child *c = as_child(arg);

	if (!c->exited || !c->closed)
		return;
	if (!c->answered && !c->failed)
		explain_end(c);
	c->done(c->arg, c->failed ? NULL : &c->answer, c->failed ? &c->err : NULL);
	child_free(c);
}

static void take_error(struct child *c, const struct json *error)
{
	int64_t kind = json_get_i64(error, "kind", ERR_INTERNAL);
	const char *text = json_get_text(error, "text");

	if (kind <= ERR_NONE || kind >= ERR_KINDS)
		kind = ERR_INTERNAL;
	c->failed = true;
	(void)err_set(&c->err, (enum err_kind)kind, "%s", text ? text : "unpacking failed");
	c->err.sys = (int)json_get_i64(error, "sys", 0);
}

static void on_packet(void *arg, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	struct child *c = as_child(arg);
	auto_json struct json *j = NULL;
	struct json *part;

	if (c->answered || c->failed)
		return;
	if (json_parse((struct str){bytes, n}, "the unpacking process's answer", &j, &c->err) < 0) {
		c->failed = true;
		return;
	}
	part = json_get(j, "at");
	if (part) {
		if (c->at)
			c->at(c->arg, json_u64(part, 0));
		return;
	}
	part = json_get(j, "error");
	if (part) {
		take_error(c, part);
		return;
	}
	c->tree = json_ref(j);
	c->failed = json_decode(json_get(j, "done"), &unpack_answer_shape, "answer", &c->arena,
				&c->answer, &c->err) < 0;
	c->answered = !c->failed;
}

static void on_closed(void *arg)
{
	struct child *c = as_child(arg);

	c->closed = true;
	loop_defer(c->store->loop, finish, c);
}

static void on_exit_of(void *arg, struct loop_exit how)
{
	struct child *c = as_child(arg);

	c->how = how;
	c->exited = true;
	loop_defer(c->store->loop, finish, c);
}

static int orders_file(const struct unpack_orders *o, struct err *e)
{
	auto_json struct json *j = json_encode(&unpack_orders_shape, o);
	auto_close int fd = memfd_create("orders", MFD_CLOEXEC);
	auto_strbuf struct strbuf b = {0};

	json_write(j, &b);
	if (b.n > UNPACK_ORDERS_MAX)
		return err_set(e, ERR_INVALID, "too many members to save at once");
	if (fd < 0 || write(fd, b.p, b.n) != (ssize_t)b.n)
		return err_sys(e, "cannot write orders for the unpacking process");
	return take_fd(&fd);
}

static int spawn(struct child *c, const struct child_options *o, int control, struct err *e)
{
	auto_close int orders = orders_file(o->orders, e);
	char *argv[] = {"hull-unpack", NULL};
	int fds[7] = {-1, -1, -1, orders, control, o->data_fd, o->dir_fd};
	const struct loop_spawn_options spawn = {
		.program = c->store->unpack_program,
		.argv = argv,
		.fds = fds,
		.fds_n = 7,
		.exited = on_exit_of,
		.arg = c,
	};
	int r;

	if (orders < 0)
		return orders;
	r = loop_spawn(c->store->loop, &spawn, &c->process, e);
	return r < 0 ? err_wrap(e, "cannot start '%s'", c->store->unpack_program) : 0;
}

int child_start(struct image_store *s, const struct child_options *o, struct child **ret,
		struct err *e)
{
	static const struct packet_ops ops = {.received = on_packet, .closed = on_closed};
	struct child *c = mem_new(struct child);
	int pair[2], r;

	assert(o->done && o->orders->verb);
	c->magic = CHILD_MAGIC;
	c->store = s;
	c->at = o->at;
	c->done = o->done;
	c->arg = o->arg;
	list_append(&s->children, &c->link);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		r = err_sys(e, "cannot make a channel to the unpacking process");
		child_free(c);
		return r;
	}
	r = packet_open(s->loop, pair[0], &ops, c, &c->channel, e);
	if (r == 0)
		r = spawn(c, o, pair[1], e);
	(void)fd_close(pair[1]);
	if (r < 0) {
		child_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void child_more(struct child *c, uint64_t upto, bool end)
{
	struct unpack_more more = {upto, end};

	if (c->closed || c->failed || (!end && upto == c->told))
		return;
	c->told = upto;
	/* A full queue cannot be: announcements are few. A gone child is told by its end. */
	(void)!packet_send(c->channel, &more, sizeof(more), NULL, 0, NULL);
}

void child_cancel(struct child *c)
{
	if (!c->failed && !c->answered) {
		c->failed = true;
		(void)err_set(&c->err, ERR_GONE, "cancelled");
	}
	if (!c->exited)
		(void)!loop_process_kill(c->process, SIGKILL, NULL);
}

void child_abandon(struct image_store *s)
{
	list_each (&s->children, struct child, link, c) {
		if (!c->exited)
			(void)!loop_process_kill(c->process, SIGKILL, NULL);
		child_free(c);
	}
}
