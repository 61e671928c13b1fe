/*
 * Streams, driven by real kubectls: the API server over a store, and a node that runs commands of
 * this machine instead of containers. Each row is a shell script with $K as the kubectl; without a
 * kubectl nothing is checked. KUBECTLS names several.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "api/kube/kube.h"
#include "cluster/objects/direct.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"

/* -- the node: commands in child processes ----------------------------------------------------- */

struct node_session {
	struct loop *loop;
	struct node_session_events on;
	struct loop_watch *watch;
	pid_t pid;
	int pidfd, sizes;
};

struct job {
	char *const *command;
	bool tty;
	int fd;	   /* the caller's streams */
	int sizes; /* struct winsize, one after the other */
};

static void set_signal(int sig, void (*handler)(int))
{
	const struct sigaction a = {.sa_handler = handler};

	(void)sigaction(sig, &a, NULL);
}

static void write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t w = write(fd, at, n);

		if (w <= 0)
			_exit(99);
		at += w;
		n -= (size_t)w;
	}
}

/* One block of output, in a frame without a terminal. false: the end. */
static bool relay_out(const struct job *j, int from, int stream)
{
	char block[8 + 20000] = {(char)stream};
	size_t head = j->tty ? 0 : 8;
	ssize_t n = read(from, block + head, 20000);
	uint32_t length = htonl((uint32_t)n);

	if (n <= 0)
		return false;
	if (head)
		memcpy(block + 4, &length, 4);
	write_all(j->fd, block, head + (size_t)n);
	return true;
}

static bool relay_in(const struct job *j, int to)
{
	char block[20000];
	ssize_t n = read(j->fd, block, sizeof(block));

	for (ssize_t at = 0; at < n;) {
		ssize_t w = write(to, block + at, (size_t)(n - at));

		if (w <= 0)
			return false;
		at += w;
	}
	return n > 0;
}

static void relay(const struct job *j, int in, int out, int err)
{
	struct pollfd p[3] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {j->sizes, POLLIN, 0}};
	pid_t feeder = _Fork(); /* without what libuv does in children, here and below */

	if (feeder == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* it never outlives the test */
		while (relay_in(j, in))
			;
		_exit(0);
	}
	if (!j->tty)
		(void)close(in);
	while (p[0].fd >= 0 || p[1].fd >= 0) {
		struct winsize size;

		(void)poll(p, 3, -1);
		if (p[0].revents && !relay_out(j, out, 1))
			p[0].fd = -1;
		if (p[1].revents && !relay_out(j, err, 2))
			p[1].fd = -1;
		if (p[2].revents && read(j->sizes, &size, sizeof(size)) == sizeof(size))
			(void)ioctl(out, TIOCSWINSZ, &size);
	}
	(void)kill(feeder, SIGKILL);
	(void)waitpid(feeder, NULL, 0);
}

static void become(const struct job *j, int in, int out, int err)
{
	(void)setsid();
	(void)dup2(in, 0);
	(void)dup2(out, 1);
	(void)dup2(err, 2);
	if (j->tty)
		(void)ioctl(0, TIOCSCTTY, 0);
	(void)syscall(SYS_close_range, 3u, ~0u, 0u);
	set_signal(SIGPIPE, SIG_DFL);
	(void)execvp(j->command[0], j->command);
	_exit(127);
}

static void run_job(const struct job *j)
{
	int in[2], out[2], err[2] = {-1, -1}, code = 0, master = -1;
	pid_t pid;

	(void)fcntl(j->fd, F_SETFL, 0);
	if (j->tty) {
		master = posix_openpt(O_RDWR | O_NOCTTY);
		(void)grantpt(master);
		(void)unlockpt(master);
		in[0] = out[1] = err[1] = open(ptsname(master), O_RDWR | O_NOCTTY);
		in[1] = out[0] = master;
	} else if (pipe(in) < 0 || pipe(out) < 0 || pipe(err) < 0) {
		_exit(98);
	}
	pid = _Fork();
	if (pid == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pid == 0)
		become(j, in[0], out[1], err[1]);
	(void)close(in[0]);
	if (!j->tty) {
		(void)close(out[1]);
		(void)close(err[1]);
	}
	relay(j, in[1], out[0], err[0]);
	(void)waitpid(pid, &code, 0);
	_exit(WIFEXITED(code) ? WEXITSTATUS(code) : 137);
}

static void job_ended(void *arg, unsigned ready)
{
	struct node_session *s = arg;
	struct node_session_events on = s->on;
	int code = 0;

	(void)ready;
	(void)waitpid(s->pid, &code, 0);
	s->watch = loop_watch_free(s->watch);
	(void)close(s->pidfd);
	(void)close(s->sizes);
	free(s);
	if (on.exited)
		on.exited(on.ctx, WEXITSTATUS(code));
}

static void job_started(void *arg)
{
	struct node_session *s = arg;
	struct err e = {0};

	s->on.started(s->on.ctx, s, NULL);
	assert_int_equal(loop_watch_new(s->loop, s->pidfd, LOOP_READ, job_ended, s, &s->watch, &e),
			 0);
}

static struct loop *the_loop;

static void fake_exec(void *node, const struct node_target *t, const struct node_exec *x, int fd,
		      const struct node_session_events *on)
{
	static char *const usual[] = {(char *)"cat", NULL};
	struct node_session *s = mem_new(struct node_session);
	struct job j = {x->command ? x->command : usual, x->tty, 100, 101};
	int sizes[2];

	(void)node;
	assert_string_equal(t->container, "main");
	assert_int_equal(pipe(sizes), 0);
	*s = (struct node_session){.loop = the_loop, .on = *on, .sizes = sizes[1]};
	s->pid = _Fork();
	if (s->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		set_signal(SIGPIPE, SIG_IGN);
		(void)dup2(fd, 100);
		(void)dup2(sizes[0], 101);
		(void)syscall(SYS_close_range, 3u, 99u, 0u);
		(void)syscall(SYS_close_range, 102u, ~0u, 0u);
		run_job(&j);
	}
	(void)close(fd);
	(void)close(sizes[0]);
	s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
	loop_defer(the_loop, job_started, s);
}

static void fake_resize(void *node, struct node_session *s, unsigned rows, unsigned columns)
{
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

	(void)node;
	assert_int_equal(write(s->sizes, &size, sizeof(size)), sizeof(size));
}

static void fake_leave(void *node, struct node_session *s)
{
	(void)node;
	s->on = (struct node_session_events){0};
}

/* A log of a million lines, and two more while it is followed. */
struct node_log {
	struct node_stream stream;
	struct node_sink sink;
	struct node_log_options options;
	int64_t at, end;
	struct loop_timer *timer;
};

static void log_free(struct node_log *l)
{
	l->timer = loop_timer_free(l->timer);
	free(l);
}

static void log_go_on(void *arg)
{
	struct node_log *l = arg;
	char line[32];

	while (l->at < l->end) {
		int n = snprintf(line, sizeof(line), "line %lld\n", (long long)++l->at);

		if (l->sink.data(l->sink.ctx, line, (size_t)n) == 1)
			return;
	}
	if (l->options.follow && l->end < 100002) {
		l->end++;
		loop_timer_set(l->timer, 20, 0);
		return;
	}
	l->sink.end(l->sink.ctx, NULL);
	log_free(l);
}

static void log_resume(struct node_stream *s)
{
	log_go_on(container_of(s, struct node_log, stream));
}

static void log_cancel(struct node_stream *s)
{
	log_free(container_of(s, struct node_log, stream));
}

static int fake_log(void *node, const struct node_target *t, const struct node_log_options *o,
		    const struct node_sink *sink, struct node_stream **ret, struct err *e)
{
	struct node_log *l;

	(void)node;
	if (o->previous)
		return err_set(e, ERR_CONFLICT,
			       "previous terminated container \"%s\" in pod \"%s\" not found",
			       t->container, t->pod);
	l = mem_new(struct node_log);
	*l = (struct node_log){{log_resume, log_cancel}, *sink, *o, 0, 100000, NULL};
	if (o->tail_lines >= 0 && o->tail_lines < l->end)
		l->at = l->end - o->tail_lines;
	l->timer = loop_timer_new(the_loop, log_go_on, l);
	loop_timer_set(l->timer, 0, 0);
	*ret = &l->stream;
	return 0;
}

struct dial {
	node_fd_done *done;
	void *ctx;
	uint16_t port;
};

static void dialed(void *arg)
{
	struct dial *d = arg;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(d->port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct err e = {0};

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		d->done(d->ctx, fd, NULL);
	} else {
		(void)err_sys(&e, "cannot connect to port %u", d->port);
		(void)close(fd);
		d->done(d->ctx, -1, &e);
	}
	free(d);
}

static void fake_connect(void *node, const struct node_target *t, uint16_t port, node_fd_done *done,
			 void *ctx)
{
	struct dial *d = mem_new(struct dial);

	(void)node;
	(void)t;
	*d = (struct dial){done, ctx, port};
	loop_defer(the_loop, dialed, d);
}

static const struct node_ops fake_ops = {
	.log = fake_log,
	.exec = fake_exec,
	.resize = fake_resize,
	.leave = fake_leave,
	.port_forward = fake_connect,
	.connect = fake_connect,
};

static const struct node_ops *find_node(void *ctx, const char *name, void **ret_node)
{
	(void)ctx;
	(void)ret_node;
	return strcmp(name, "here") == 0 ? &fake_ops : NULL;
}
static const struct node_directory directory = {find_node, NULL};

/* -- the server -------------------------------------------------------------------------------- */

struct place {
	char dir[64], path[96], folder[96], address[64];
	struct keys *keys;
	struct objects *objects;
	struct client client;
	struct kube *kube;
	pid_t web;
	unsigned web_port;
};

/* -- what listens in the pod: /big is two megabytes, anything else is not there ---------------- */

static void web_answer(int fd)
{
	static char block[2000000];
	char ask[4096];
	ssize_t n = read(fd, ask, sizeof(ask) - 1);
	bool big = n > 9 && strncmp(ask, "GET /big ", 9) == 0;
	char head[128];

	(void)snprintf(head, sizeof(head),
		       "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
		       big ? "200 OK" : "404 Not Found", big ? sizeof(block) : 3);
	write_all(fd, head, strlen(head));
	memset(block, 'x', sizeof(block));
	write_all(fd, big ? block : "404", big ? sizeof(block) : 3);
	(void)close(fd);
}

static void web_serve(int fd)
{
	(void)fcntl(fd, F_SETFL, 0);
	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c >= 0 && fork() == 0) {
			web_answer(c);
			_exit(0);
		}
		(void)close(c);
	}
}

static int listen_anywhere(char address[64], unsigned *ret_port);

static void start_web(struct place *p)
{
	char address[64];
	int fd = listen_anywhere(address, &p->web_port);

	p->web = _Fork();
	if (p->web == 0) {
		set_signal(SIGCHLD, SIG_IGN);
		web_serve(fd);
	}
	(void)close(fd);
}

static void made(void *ctx, const struct outcome *o)
{
	(void)ctx;
	if (o->error)
		fail_msg("%s", o->error->text);
	loop_stop(the_loop);
}

static void make(struct place *p, const char *plural, const char *text)
{
	struct client_target t = {kind_of_resource("", "v1", plural), "default", NULL, NULL};
	struct json *j = NULL;
	struct err e;

	assert_int_equal(json_parse(str_of(text), plural, &j, &e), 0);
	client_create(&p->client, &t, j, NULL, made, p);
	loop_run(the_loop);
}

static void run_pod(struct place *p, const char *name)
{
	struct client_target t = {kind_of_resource("", "v1", "pods"), "default", name, "status"};
	struct json *j = NULL;
	struct err e;

	assert_int_equal(json_parse(STR("{\"status\":{\"phase\":\"Running\"}}"), "", &j, &e), 0);
	client_patch(&p->client, &t, PATCH_MERGE, j, NULL, made, p);
	loop_run(the_loop);
}

static void booted(void *ctx)
{
	(void)ctx;
	loop_stop(the_loop);
}

static int listen_anywhere(char address[64], unsigned *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	*ret_port = ntohs(a.sin_port);
	(void)snprintf(address, 64, "127.0.0.1:%u", *ret_port);
	return fd;
}

static int set_up(void **state)
{
	struct place *p = mem_new(struct place);
	struct keys_options o = {.index = objects_index, .index_free = objects_index_free};
	struct objects_options oo = {.service_cidr = "10.96.0.0/24"};
	struct kube_options ko = {.service_ip = "10.96.0.1", .version = "1", .nodes = &directory};
	struct err e = {0};
	unsigned port;
	int fd = listen_anywhere(p->address, &port);

	*state = p;
	start_web(p);
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/hull-stream-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/db", p->dir);
	(void)snprintf(p->folder, sizeof(p->folder), "%s/kube", p->dir);
	assert_int_equal(loop_new(&the_loop, &e), 0);
	o.loop = oo.loop = ko.loop = the_loop;
	o.path = p->path;
	assert_int_equal(keys_open(&o, &p->keys, &e), 0);
	oo.keys = p->keys;
	assert_int_equal(objects_new(&oo, &p->objects, &e), 0);
	p->client = objects_client(p->objects, (struct identity){.user = "tester"});
	ko.client = &p->client;
	ko.folder = p->folder;
	ko.address = p->address;
	if (kube_new(&ko, &p->kube, &e) < 0 || kube_listen(p->kube, fd, &e) < 0)
		fail_msg("%s", e.text);
	kube_bootstrap(p->kube, booted, NULL);
	loop_run(the_loop);
	make(p, "serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
	make(p, "pods",
	     "{\"metadata\":{\"name\":\"one\",\"labels\":{\"app\":\"one\"}},\"spec\":{\"nodeName\":"
	     "\"here\",\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"stdin\":true,"
	     "\"ports\":[{\"containerPort\":80}]}]}}");
	run_pod(p, "one");
	make(p, "pods",
	     "{\"metadata\":{\"name\":\"two\"},\"spec\":{\"nodeName\":\"away\",\"containers\":["
	     "{\"name\":\"a\",\"image\":\"x\"},{\"name\":\"b\",\"image\":\"x\"}]}}");
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	auto_free char *command = mem_printf("rm -rf '%s'", p->dir);

	(void)kill(p->web, SIGKILL);
	p->kube = kube_free(p->kube);
	loop_defer(the_loop, booted, NULL); /* a turn, for what it left to be released */
	loop_run(the_loop);
	p->objects = objects_free(p->objects);
	p->keys = keys_close(p->keys);
	the_loop = loop_free(the_loop);
	assert_non_null(strstr(command, "/tmp/hull-stream-"));
	if (fork() == 0)
		(void)execl("/bin/sh", "sh", "-c", command, NULL);
	(void)wait(NULL);
	free(p);
	return 0;
}

/* -- scripts ----------------------------------------------------------------------------------- */

static const struct {
	const char *name, *text;
} scripts[] = {
	{"what is served", "head -c 2000000 /dev/zero | tr '\\0' x | cksum >$T/big.sum"},
	{"exit code 0", "test \"$($K exec one -- echo hello)\" = hello"},
	{"exit code 3", "$K exec one -- sh -c 'exit 3' 2>/dev/null; test $? = 3"},
	{"two streams", "$K exec one -- sh -c 'echo out; echo err >&2' >$T/o 2>$T/e && test "
			"\"$(cat $T/o)\" = out && "
			"test \"$(cat $T/e)\" = err"},
	{"stdin ends", "test \"$(printf 'a\\nb\\n' | $K exec -i one -- wc -l)\" = 2"},
	{"much both ways",
	 "head -c 5000000 /dev/zero | tr '\\0' x | $K exec -i one -- cat | cksum >$T/a && "
	 "head -c 5000000 /dev/zero | tr '\\0' x | cksum >$T/b && cmp $T/a $T/b"},
	{"much, and nobody reads stdin",
	 "yes | head -c 3000000 | $K exec -i one -- sh -c 'head -c 10 >/dev/null; exit 4' "
	 "2>/dev/null; test $? = 4"},
	{"output before status, a hundred times",
	 "for i in 1 2 3 4 5; do $K exec one -- sh -c 'seq 20000; exit 5' >$T/o 2>/dev/null; test "
	 "$? "
	 "= 5 && test $(wc -l <$T/o) = 20000 || exit 1; done"},
	{"a terminal of a size",
	 "script -qec \"stty rows 33 cols 111; $K exec -it one -- sh -c 'sleep 1; stty size'\" "
	 "/dev/null </dev/null | grep -q '33 111'"},
	{"attach", "test \"$(echo hello | $K attach -i one 2>/dev/null)\" = hello"},
	{"copying there and back",
	 "mkdir -p $T/src && head -c 3000000 /dev/urandom >$T/src/f && rm -rf $T/there $T/back && "
	 "mkdir $T/there && $K cp $T/src one:$T/there && $K cp one:$T/there/src/f $T/back "
	 ">/dev/null && cmp $T/src/f $T/back"},
	{"logs",
	 "$K logs one | tail -n 1 | grep -qx 'line 100000' && test $($K logs one | wc -l) = "
	 "100000 && test $($K logs --tail=3 one | wc -l) = 3"},
	{"logs that are followed",
	 "test \"$($K logs -f --tail=1 one | tail -n 1)\" = 'line 100002'"},
	{"logs nobody reads on", "$K logs -f one | head -n 5 >/dev/null"},
	{"previous logs",
	 "$K logs -p one 2>&1 | grep -q 'previous terminated container \"main\" in pod \"one\" not "
	 "found'"},
	{"a container must be named",
	 "$K get --raw /api/v1/namespaces/default/pods/two/log 2>&1 | grep -q 'a container name "
	 "must be specified for pod two, choose one "
	 "of' "
	 "&& $K exec one -c nope -- true 2>&1 | grep -q 'container nope is not valid for pod one'"},
	{"no such pod", "$K exec three -- true 2>&1 | grep -q 'pods \"three\" not found'"},
	{"a node that is away", "$K logs two -c a 2>&1 | grep -q 'cannot be reached'"},
	{"port-forward",
	 "$K port-forward one 0:$WEB >$T/pf 2>$T/pfe & P=$!; for i in $(seq 100); do grep -q "
	 "Forwarding $T/pf && break; sleep 0.1; done; L=$(sed -n "
	 "'s/.*127.0.0.1:\\([0-9]*\\).*/\\1/p' $T/pf | head -n 1); r=1; for i in 1 2 3 4 5; do "
	 "curl "
	 "-sf http://127.0.0.1:$L/big | cksum >$T/c; cmp $T/c $T/big.sum || r=2; done; curl -s "
	 "http://127.0.0.1:$L/none | grep -q 404 && test $r = 1; r=$?; kill $P 2>/dev/null; exit "
	 "$r"},
	{"port-forward to nobody",
	 "$K port-forward one 0:1 >$T/pf 2>$T/pfe & P=$!; for i in $(seq 100); do grep -q "
	 "Forwarding $T/pf && break; sleep 0.1; done; L=$(sed -n "
	 "'s/.*127.0.0.1:\\([0-9]*\\).*/\\1/p' $T/pf | head -n 1); curl -s "
	 "http://127.0.0.1:$L/ >/dev/null; for i in $(seq 50); do grep -q 'cannot connect to port "
	 "1' $T/pfe && break; sleep 0.1; done; grep -q 'cannot connect to port 1' $T/pfe; r=$?; "
	 "kill "
	 "$P; exit $r"},
	{"clients that leave at any moment",
	 "for i in 05 10 15 20 25 30 40; do (yes | timeout -s KILL 0.$i $K exec -i one -- cat "
	 ">/dev/null) 2>/dev/null & (timeout -s KILL 0.$i $K exec one -- yes >/dev/null) "
	 "2>/dev/null & "
	 "(timeout -s KILL 0.$i $K logs -f one >/dev/null) 2>/dev/null & (timeout -s KILL 0.$i $K "
	 "port-forward one 0:$WEB >/dev/null) 2>/dev/null & wait; done; $K exec one -- true"},
	{"pods/proxy",
	 "$K get --raw /api/v1/namespaces/default/pods/one:$WEB/proxy/big | cksum >$T/c && cmp "
	 "$T/c "
	 "$T/big.sum && $K get --raw /api/v1/namespaces/default/pods/one:1/proxy/ 2>&1 | grep -q "
	 "'error trying to reach service'"},
};

static void over(void *arg, struct loop_exit how)
{
	*(int *)arg = how.code;
	loop_stop(the_loop);
}

static int run_script(const struct place *p, const char *kubectl, const char *text)
{
	auto_free char *path = mem_printf("PATH=%s", getenv("PATH"));
	auto_free char *k = mem_printf(
		"K=timeout --foreground 60 %s --kubeconfig %s/kubeconfig --cache-dir %s/cache",
		kubectl, p->folder, p->dir);
	auto_free char *t = mem_printf("T=%s", p->dir);
	auto_free char *web = mem_printf("WEB=%u", p->web_port);
	char *env[] = {path, k, t, web, (char *)"HOME=/nonexistent", NULL};
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)text, NULL};
	const int fds[3] = {-1, 1, 2};
	struct loop_spawn_options o = {.program = "/bin/sh",
				       .argv = argv,
				       .envp = env,
				       .fds = fds,
				       .fds_n = 3,
				       .exited = over};
	struct err e;
	int code = -1;

	o.arg = &code;
	assert_int_equal(loop_spawn(the_loop, &o, NULL, &e), 0);
	loop_run(the_loop);
	return code;
}

static void check_one(const struct place *p, const char *kubectl)
{
	int failed = 0;

	if (getenv("TRY")) {
		(void)run_script(p, kubectl, getenv("TRY"));
		return;
	}
	for (size_t i = 0; i < array_len(scripts); i++) {
		const char *only = getenv("ONLY");

		if (only && i && !strstr(scripts[i].name, only))
			continue;
		int code = run_script(p, kubectl, scripts[i].text);

		if (code)
			print_error("%s: %s: %d\n", kubectl, scripts[i].name, code);
		failed += code != 0;
	}
	assert_int_equal(failed, 0);
}

static void kubectls(void **state)
{
	const char *list = getenv("KUBECTLS");
	struct str rest = str_of(list ? list : "kubectl"), one;

	while (str_cut(&rest, ' ', &one)) {
		auto_free char *kubectl = str_dup(one);
		auto_free char *there = mem_printf("command -v %s >/dev/null", kubectl);

		if (run_script(*state, kubectl, there) == 0)
			check_one(*state, kubectl);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(kubectls)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
