/*
 * libslirp behind our own words: the only file that includes it. See user_net.h.
 *
 * One poll set is built per turn: our packet socket, then what libslirp asks for. Its timers are a
 * list of our own. Frames beyond what the machine takes are dropped, as Ethernet does.
 */
#include "ground/wire/user_net.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "ground/base/list.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

#define USER_NET_MAGIC	0x534c4952u
#define NET		"10.0.2.0"
#define NETMASK		"255.255.255.0"
#define HOST		"10.0.2.2"
#define NAME_SERVER	"10.0.2.3"
#define GUEST		"10.0.2.15"
#define POLLS_MAX	4096
#define FRAMES_PER_TURN 64
#define ETHERTYPE_AT	12
#define IPV4_TO_AT	30

struct user_net {
	unsigned magic;
	Slirp *slirp;
	int fd;
	bool ended;
	struct list timers;
	struct pollfd *polls;
	size_t polls_n;
};

struct timer {
	struct list link;
	SlirpTimerCb fn;
	void *arg;
	int64_t at_ms; /* -1: unset */
};

static struct user_net *as_user_net(void *p)
{
	struct user_net *n = p;

	assert(n->magic == USER_NET_MAGIC);
	return n;
}

/* ---- what libslirp asks of us ---- */

static ssize_t send_packet(const void *bytes, size_t len, void *opaque)
{
	struct user_net *n = as_user_net(opaque);
	ssize_t sent = send(n->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN))
		n->ended = true;
	return (ssize_t)len;
}

/* What a machine does wrong is its own affair. */
static void guest_error(const char *msg, void *opaque)
{
	(void)msg;
	(void)opaque;
}

static int64_t clock_ns(void *opaque)
{
	struct timespec t;

	(void)opaque;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *timer_new(SlirpTimerCb fn, void *arg, void *opaque)
{
	struct timer *t = mem_new(struct timer);

	t->fn = fn;
	t->arg = arg;
	t->at_ms = -1;
	list_append(&as_user_net(opaque)->timers, &t->link);
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct timer *t = timer;

	(void)opaque;
	list_remove(&t->link);
	free(t);
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
	(void)opaque;
	((struct timer *)timer)->at_ms = at_ms;
}

static void nothing_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

static void nothing(void *opaque)
{
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = nothing_fd,
	.unregister_poll_fd = nothing_fd,
	.notify = nothing,
};

/* ---- polling ---- */

static const struct {
	int theirs;
	short ours;
} events[] = {
	{SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int add_poll(int fd, int want, void *opaque)
{
	struct user_net *n = as_user_net(opaque);
	short mask = 0;

	if (n->polls_n >= POLLS_MAX)
		return -1;
	for (size_t i = 0; i < array_len(events); i++)
		if (want & events[i].theirs)
			mask = (short)(mask | events[i].ours);
	n->polls[n->polls_n] = (struct pollfd){.fd = fd, .events = mask};
	return (int)n->polls_n++;
}

static int ready_events(int index, void *opaque)
{
	const struct user_net *n = as_user_net(opaque);
	int found = 0;

	if (index < 0 || (size_t)index >= n->polls_n)
		return 0;
	for (size_t i = 0; i < array_len(events); i++)
		if (n->polls[index].revents & events[i].ours)
			found |= events[i].theirs;
	return found;
}

bool user_net_forbidden(const uint8_t *frame, size_t n)
{
	if (n <= IPV4_TO_AT || frame[ETHERTYPE_AT] != 0x08 || frame[ETHERTYPE_AT + 1] != 0x00)
		return false;
	return frame[IPV4_TO_AT] == 127 || frame[IPV4_TO_AT] == 0;
}

static void take_frames(struct user_net *n)
{
	static uint8_t frame[USER_NET_FRAME_MAX];

	for (int i = 0; i < FRAMES_PER_TURN; i++) {
		ssize_t got = recv(n->fd, frame, sizeof(frame), MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			n->ended = true;
		if (got <= 0)
			return;
		if (!user_net_forbidden(frame, (size_t)got))
			slirp_input(n->slirp, frame, (int)got);
	}
}

/* Runs what is due; the next one shortens the wait. A timer may free itself, or others. */
static void run_timers(struct user_net *n, uint32_t *timeout_ms)
{
	int64_t now = clock_ns(NULL) / 1000000;

	list_each (&n->timers, struct timer, link, t) {
		if (t->at_ms < 0)
			continue;
		if (t->at_ms <= now) {
			t->at_ms = -1;
			t->fn(t->arg);
			*timeout_ms = 0;
			return;
		}
		if (t->at_ms - now < (int64_t)*timeout_ms)
			*timeout_ms = (uint32_t)(t->at_ms - now);
	}
}

static int turn(struct user_net *n, struct err *e)
{
	uint32_t timeout_ms = UINT32_MAX;
	int r;

	n->polls_n = 1;
	n->polls[0] = (struct pollfd){.fd = n->fd, .events = POLLIN};
	slirp_pollfds_fill(n->slirp, &timeout_ms, add_poll, n);
	run_timers(n, &timeout_ms);
	r = poll(n->polls, n->polls_n, timeout_ms > INT32_MAX ? -1 : (int)timeout_ms);
	if (r < 0 && errno != EINTR)
		return err_sys(e, "cannot wait for packets");
	if (n->polls[0].revents)
		take_frames(n);
	slirp_pollfds_poll(n->slirp, r < 0, ready_events, n);
	return 0;
}

int user_net_run(struct user_net *n, struct err *e)
{
	int r = 0;

	assert(n->magic == USER_NET_MAGIC);
	while (r == 0 && !n->ended)
		r = turn(n, e);
	return r;
}

/* ---- birth ---- */

static struct in_addr address(const char *text)
{
	struct in_addr a = {0};
	int ok = inet_pton(AF_INET, text, &a);

	assert(ok == 1);
	return a;
}

int user_net_new(int fd, bool loopback, struct user_net **ret, struct err *e)
{
	SlirpConfig c = {
		.version = 1,
		.in_enabled = true,
		.vnetwork = address(NET),
		.vnetmask = address(NETMASK),
		.vhost = address(HOST),
		.vdhcp_start = address(GUEST),
		.vnameserver = address(NAME_SERVER),
		.disable_host_loopback = !loopback,
	};
	struct user_net *n = mem_new(struct user_net);

	assert(fd >= 0);
	n->magic = USER_NET_MAGIC;
	n->fd = fd;
	n->polls = mem_new_array(struct pollfd, POLLS_MAX);
	list_init(&n->timers);
	n->slirp = slirp_new(&c, &callbacks, n);
	if (!n->slirp) {
		(void)user_net_free(n);
		return err_set(e, ERR_INTERNAL, "the user-mode network cannot be made");
	}
	*ret = n;
	return 0;
}

struct user_net *user_net_free(struct user_net *n)
{
	if (!n)
		return NULL;
	assert(n->magic == USER_NET_MAGIC);
	if (n->slirp)
		slirp_cleanup(n->slirp);
	list_each (&n->timers, struct timer, link, t)
		timer_free(t, n);
	free(n->polls);
	n->magic = 0;
	free(n);
	return NULL;
}

static int port_of(struct str text, int *ret, struct err *e)
{
	uint32_t port;

	if (parse_u32(text, "port", &port, e) < 0)
		return -ERR_INVALID;
	if (port == 0 || port > UINT16_MAX)
		return err_set(e, ERR_INVALID, "invalid port %u", port);
	*ret = (int)port;
	return 0;
}

int user_net_publish(struct user_net *n, const char *text, struct err *e)
{
	struct str rest = str_of(text), proto, ip, host;
	auto_free char *ip_text = NULL;
	struct in_addr at;
	int host_port, guest_port;

	(void)str_cut(&rest, ':', &proto);
	(void)str_cut(&rest, ':', &ip);
	(void)str_cut(&rest, ':', &host);
	if (!rest.p || (!str_is(proto, "tcp") && !str_is(proto, "udp")))
		return err_set(e, ERR_INVALID,
			       "invalid forward '%s': tcp:ADDRESS:HOST:GUEST is expected", text);
	ip_text = str_dup(ip);
	if (inet_pton(AF_INET, ip_text, &at) != 1)
		return err_set(e, ERR_INVALID, "invalid address '%s' of a forward", ip_text);
	if (port_of(host, &host_port, e) < 0 || port_of(rest, &guest_port, e) < 0)
		return -ERR_INVALID;
	if (slirp_add_hostfwd(n->slirp, str_is(proto, "udp"), at, host_port, address(GUEST),
			      guest_port) < 0)
		return err_set(e, ERR_CONFLICT, "cannot listen on %s port %d for the machine: %s",
			       ip_text, host_port, strerror(errno));
	return 0;
}
