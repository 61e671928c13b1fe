/*
 * A keeper's birth and main loop: takes the orders, makes the network namespace, says what is
 * ready, and then reacts to events until the container has ended for good.
 */
#include "virt/keeper/supervisor.h"

#include <assert.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/process.h"
#include "virt/keeper/message.h"
#include "virt/keeper/record.h"
#include "virt/keeper/supervisor_priv.h"

#define SUPERVISOR_MAGIC 0x4b454550

struct supervisor *as_supervisor(void *p)
{
	struct supervisor *s = p;

	assert(s);
	assert(s->magic == SUPERVISOR_MAGIC);
	return s;
}

static const char *const phase_names[] = {
	[KEEPER_PREPARING] = "preparing",   [KEEPER_CREATING] = "creating",
	[KEEPER_RUNNING] = "running",	    [KEEPER_PAUSED] = "paused",
	[KEEPER_RESTARTING] = "restarting", [KEEPER_ENDED] = "ended",
};

void supervisor_record(struct supervisor *s)
{
	struct keeper_record r = {
		.version = KEEPER_PROTOCOL_VERSION,
		.id = s->orders.id,
		.boot_id = s->boot_id,
		.pid = getpid(),
		.start_time = (int64_t)s->own_start_time,
		.init_pid = s->init_pid,
		.init_start_time = (int64_t)s->init_start_time,
		.started_at_ns = s->started_at_ns,
		.restart_count = s->restart.count,
		.cgroup_path = s->orders.cgroup_path,
		.cgroup_dirs = s->cgroup_text,
		.container_dir = s->orders.container_dir,
		.phase = (char *)(uintptr_t)phase_names[s->phase],
	};

	/* A full /run must not end a container: a stale record costs a burial some precision. */
	(void)!keeper_record_write(s->orders.run_dir, &r, NULL);
}

void supervisor_leave_if_done(struct supervisor *s)
{
	if (s->phase == KEEPER_ENDED && s->io.clients_n == 0 && list_empty(&s->execs))
		s->turn.stop = true;
}

uint32_t status_code(int status)
{
	return WIFSIGNALED(status) ? 128 + (uint32_t)WTERMSIG(status)
				   : (uint32_t)WEXITSTATUS(status);
}

void orphan_keep(struct supervisor *s, pid_t pid, int status)
{
	if (s->orphans_n == ORPHANS_MAX) {
		memmove(s->orphans, s->orphans + 1, sizeof(s->orphans) - sizeof(s->orphans[0]));
		s->orphans_n--;
	}
	s->orphans[s->orphans_n++] = (struct orphan){pid, status};
}

bool orphan_take(struct supervisor *s, pid_t pid, int *ret_status)
{
	for (size_t i = 0; i < s->orphans_n; i++) {
		if (s->orphans[i].pid != pid)
			continue;
		*ret_status = s->orphans[i].status;
		s->orphans[i] = s->orphans[--s->orphans_n];
		return true;
	}
	return false;
}

static void on_child(void *ctx, pid_t pid, int status)
{
	struct supervisor *s = as_supervisor(ctx);

	if (s->init_pid == pid) {
		life_child_ended(s, status);
		return;
	}
	if (!exec_child_ended(s, pid, status))
		orphan_keep(s, pid, status);
}

static int take_orders(struct supervisor *s, int sock, struct err *e)
{
	static char packet[KEEPER_PACKET_MAX];
	size_t n = 0, fds_n = 0;
	struct message m;
	int r, fd = -1;

	r = fdpass_recv(sock, packet, KEEPER_PACKET_MAX, &fd, 1, &n, &fds_n, e);
	if (r < 0)
		return r;
	s->netns_fd = fd;
	r = message_read((struct str){packet, n}, &m, e);
	if (r == 0 && m.type != KEEPER_ORDERS)
		r = err_set(e, ERR_INVALID, "orders expected, got message type %u", m.type);
	if (r == 0)
		r = message_decode(m.body, message_shape_of(KEEPER_ORDERS), &s->arena, &s->orders,
				   e);
	return r;
}

static int check_orders(const struct supervisor *s, struct err *e)
{
	const struct keeper_orders *o = &s->orders;

	if (!o->id || !o->container_dir || !o->run_dir || (!o->config_path && !o->run_args))
		return err_set(e, ERR_INVALID, "orders lack the id, a directory or the config");
	if (o->container_dir[0] != '/' || o->run_dir[0] != '/' ||
	    (o->config_path && o->config_path[0] != '/'))
		return err_set(e, ERR_INVALID, "orders for '%s' hold a relative path", o->id);
	if (o->net == KEEPER_NET_JOIN && s->netns_fd < 0)
		return err_set(e, ERR_INVALID, "orders for '%s' lack the network to join", o->id);
	if (o->lower && (!o->upper != !o->work))
		return err_set(e, ERR_INVALID, "orders for '%s' lack half of the writable layer",
			       o->id);
	return 0;
}

/* Makes run_dir and its parent, private. */
static int make_run_dir(const char *path, struct err *e)
{
	auto_free char *parent = mem_dup_text(path);
	char *slash = strrchr(parent, '/');

	assert(slash);
	*slash = '\0';
	if (parent[0] && mkdir(parent, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make directory '%s'", parent);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make directory '%s'", path);
	return 0;
}

/* In the new namespace: loopback, descriptors. The caller goes back to the old one. */
static int furnish_network(struct netns_sockets *ret, struct err *e)
{
	int r = netns_loopback_up(e);

	if (r == 0)
		r = netns_refuse_ra(e);
	if (r == 0)
		r = netns_sockets_open(true, ret, e);
	return r;
}

static int make_network(struct supervisor *s, struct err *e)
{
	auto_close int home = -1;
	int r;

	if (s->orders.net != KEEPER_NET_NEW)
		return 0;
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return err_sys(e, "cannot open the host's network namespace");
	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, "cannot make a network namespace");
	r = furnish_network(&s->net, e);
	if (setns(home, CLONE_NEWNET) < 0 && r == 0)
		r = err_sys(e, "cannot return to the host's network namespace");
	s->netns_fd = s->net.netns;
	return r;
}

static void say_ready(struct supervisor *s)
{
	const int fds[KEEPER_FD_READY_N] = {s->net.netns, s->net.route, s->net.netfilter,
					    s->net.dns_udp, s->net.dns_tcp};

	if (s->orders.net == KEEPER_NET_NEW)
		news_answer(s, KEEPER_READY, 0, NULL, fds, KEEPER_FD_READY_N);
	else
		news_event(s, KEEPER_READY, NULL);
}

static void supervisor_init(struct supervisor *s, const struct world *world)
{
	*s = (struct supervisor){.magic = SUPERVISOR_MAGIC,
				 .world = world,
				 .net = NETNS_SOCKETS_NONE,
				 .netns_fd = -1,
				 .child_ends = {-1, -1, -1},
				 .init_pidfd = -1,
				 .oom = {.fd = -1}};
	list_init(&s->news.items);
	list_init(&s->execs);
	s->news.link.fd = s->news.listen.fd = -1;
}

static void setup_timers(struct supervisor *s)
{
	turn_timer_init(&s->restart_timer, life_restart_due, s);
	turn_timer_init(&s->stop_timer, life_stop_due, s);
	turn_timer_init(&s->health_timer, exec_probe, s);
}

static void on_detached(void *ctx, const char *session, bool by_keys)
{
	struct supervisor *s = as_supervisor(ctx);
	struct keeper_detached d = {(char *)(uintptr_t)session, by_keys};

	news_event(s, KEEPER_DETACHED, &d);
	/* The client counts until it is freed, which is next: look again then. */
	if (s->phase == KEEPER_ENDED)
		supervisor_leave_if_done(s);
}

static int setup_streams(struct supervisor *s, struct err *e)
{
	const struct keeper_orders *o = &s->orders;

	streams_init(&s->io, &s->turn);
	s->io.tty = o->tty;
	s->io.stdin_once = o->stdin_once;
	s->io.input_expected = o->open_stdin;
	s->io.log_path = o->log_path;
	s->io.ended = life_streams_ended;
	s->io.detached = on_detached;
	s->io.ctx = s;
	if (!o->log_path)
		return 0;
	return log_file_open(o->log_path, o->log_bytes_max, o->log_files_max, s->world, &s->io.log,
			     e);
}

/* From the orders to `ready`. */
static int begin(struct supervisor *s, int sock, struct err *e)
{
	int r = check_orders(s, e);

	if (r == 0)
		r = turn_init(&s->turn, s->world, e);
	if (r < 0)
		return r;
	s->turn.child = on_child;
	s->turn.child_ctx = s;
	setup_timers(s);
	health_init(&s->health, &s->orders);
	s->restart = (struct restart){.policy = s->orders.restart,
				      .max = s->orders.restart_max,
				      .count = s->orders.restart_count};
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, "cannot become a subreaper");
	r = process_boot_id(s->boot_id, e);
	if (r == 0)
		r = process_start_time(getpid(), &s->own_start_time, NULL, e);
	if (r == 0)
		r = make_run_dir(s->orders.run_dir, e);
	if (r == 0)
		r = setup_streams(s, e);
	if (r == 0)
		r = make_network(s, e);
	if (r == 0)
		r = news_open(s, sock, e);
	return r;
}

static void clean(struct supervisor *s)
{
	struct keeper_record r;
	auto_arena struct arena a = {0};
	auto_free char *sock = mem_printf("%s/sock", s->orders.run_dir);
	auto_free char *record = mem_printf("%s/record", s->orders.run_dir);

	/* Another keeper may have the place by now: only what is ours goes. */
	if (keeper_record_read(s->orders.run_dir, &a, &r, NULL) < 0 || r.pid != getpid())
		return;
	(void)unlink(sock);
	(void)unlink(record);
	(void)rmdir(s->orders.run_dir);
}

/* Tells hulld over the bare socket why nothing will come of it. */
static void refuse(int sock, const struct err *e)
{
	auto_strbuf struct strbuf message = {0};
	char text[sizeof(e->text)];
	struct keeper_fault fault = {.kind = e->kind, .exit_code = 128};

	memcpy(text, e->text, sizeof(text));
	fault.text = text;
	message_write(&message, KEEPER_FAILED, 0, &fault);
	(void)!fdpass_send(sock, message.p, message.n, NULL, 0, NULL);
}

int supervisor_run(int sock, const struct world *world, struct err *e)
{
	static struct supervisor s;
	int own = fcntl(sock, F_DUPFD_CLOEXEC, 3), r;

	(void)fd_close(sock);
	if (own < 0)
		return err_sys(e, "cannot take the socket");
	supervisor_init(&s, world);
	r = take_orders(&s, own, e);
	if (r == 0)
		r = begin(&s, own, e);
	if (r < 0) {
		refuse(own, e);
		return r;
	}
	supervisor_record(&s);
	say_ready(&s);
	if (!s.orders.wait_go)
		life_create(&s);
	r = turn_run(&s.turn, e);
	clean(&s);
	news_close(&s);
	streams_done(&s.io);
	s.io.log = log_file_free(s.io.log);
	arena_done(&s.arena);
	turn_done(&s.turn);
	return r;
}
