/*
 * The agent's protocol, and both its ends against each other: an agent in a forked child, sessions
 * through a unix socket, real processes of this machine.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/unix.h"
#include "virt/guest/account.h"
#include "virt/guest/agent.h"
#include "virt/guest/session.h"

struct fixture {
	char dir[64], path[96];
	pid_t agent;
};

static int agent_start(void **state)
{
	struct fixture *f = mem_new(struct fixture);
	enum guest_shutdown how;
	int listener;

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/hull-guest-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/agent", f->dir);
	assert_int_equal(unix_listen(f->path, SOCK_STREAM, 0600, &listener, NULL), 0);
	f->agent = fork();
	if (f->agent == 0) {
		struct agent_options o = {.listener = listener, .power = -1, .ready = -1};

		_exit(agent_run(&o, &how, NULL) == 0 ? 40 + (int)how : 1);
	}
	(void)close(listener);
	*state = f;
	return 0;
}

static int agent_end(void **state)
{
	struct fixture *f = *state;

	(void)kill(f->agent, SIGKILL);
	(void)waitpid(f->agent, NULL, 0);
	(void)unlink(f->path);
	(void)rmdir(f->dir);
	free(f);
	return 0;
}

struct outcome {
	int r;
	uint32_t code;
	struct err e;
	struct strbuf out, err;
};

static void read_pipe(int fd, struct strbuf *to)
{
	char piece[4096];
	ssize_t n;

	while ((n = read(fd, piece, sizeof(piece))) > 0)
		strbuf_add(to, piece, (size_t)n);
	(void)close(fd);
}

/* The session runs in a child of its own, so that what it prints can be read here. */
static void run_with(struct fixture *f, struct guest_start *s, const char *input, int sig,
		     struct outcome *ret)
{
	int in[2], out[2], err[2], status;
	pid_t pid;

	assert_int_equal(pipe(in) | pipe(out) | pipe(err), 0);
	pid = fork();
	if (pid == 0) {
		struct guest_session o = {
			.stdio = {in[0], out[1], err[1]}, .start = s, .signals = -1, .watch = -1};
		struct err e = {0};
		uint32_t code;
		sigset_t mask;

		(void)close(in[1]);
		(void)sigemptyset(&mask);
		(void)sigaddset(&mask, SIGUSR1);
		(void)sigprocmask(SIG_BLOCK, &mask, NULL);
		o.signals = signalfd(-1, &mask, SFD_CLOEXEC);
		if (sig)
			(void)kill(getpid(), sig);
		if (unix_connect(f->path, SOCK_STREAM, &o.fd, &e) < 0)
			_exit(200);
		if (guest_session_run(&o, &code, &e) < 0)
			(void)!write(err[1], e.text, strlen(e.text));
		_exit((int)code);
	}
	(void)close(in[0]);
	(void)close(out[1]);
	(void)close(err[1]);
	if (input)
		assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
	(void)close(in[1]);
	read_pipe(out[0], &ret->out);
	read_pipe(err[0], &ret->err);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	ret->code = (uint32_t)WEXITSTATUS(status);
}

static void outcome_done(struct outcome *o)
{
	strbuf_done(&o->out);
	strbuf_done(&o->err);
}

static void test_streams(void **state)
{
	char *args[] = {"sh", "-c", "cat; echo to-err >&2; echo $X $PWD; exit 7", NULL};
	char *env[] = {"X=variable", NULL};
	struct guest_start s = {.args = args, .env = env, .cwd = "/tmp", .want_stdin = true};
	struct outcome o = {0};

	run_with(*state, &s, "hello\n", 0, &o);
	assert_int_equal(o.code, 7);
	assert_string_equal(strbuf_text(&o.out), "hello\nvariable /tmp\n");
	assert_string_equal(strbuf_text(&o.err), "to-err\n");
	outcome_done(&o);
}

static void test_much_input(void **state)
{
	char *args[] = {"wc", "-c", NULL};
	struct guest_start s = {.args = args, .want_stdin = true};
	auto_strbuf struct strbuf much = {0};
	struct outcome o = {0};

	/* More than the credit, so that it must come back; less than the test's pipes hold. */
	for (int i = 0; i < 60000; i++)
		strbuf_add_char(&much, 'x');
	run_with(*state, &s, strbuf_text(&much), 0, &o);
	assert_int_equal(o.code, 0);
	assert_string_equal(strbuf_text(&o.out), "60000\n");
	outcome_done(&o);
}

static void test_much_output(void **state)
{
	char *args[] = {"head", "-c", "1000000", "/dev/zero", NULL};
	struct guest_start s = {.args = args};
	struct outcome o = {0};

	run_with(*state, &s, NULL, 0, &o);
	assert_int_equal(o.code, 0);
	assert_int_equal(o.out.n, 1000000);
	outcome_done(&o);
}

static void test_not_found(void **state)
{
	char *args[] = {"no-such-program", NULL};
	struct guest_start s = {.args = args};
	struct outcome o = {0};

	run_with(*state, &s, NULL, 0, &o);
	assert_int_equal(o.code, 127);
	assert_non_null(strstr(strbuf_text(&o.err), "no-such-program"));
	outcome_done(&o);
}

static void test_not_executable(void **state)
{
	char *args[] = {"/etc/passwd", NULL};
	struct guest_start s = {.args = args};
	struct outcome o = {0};

	run_with(*state, &s, NULL, 0, &o);
	assert_int_equal(o.code, 126);
	outcome_done(&o);
}

static void test_signals(void **state)
{
	char *by_itself[] = {"sh", "-c", "kill -TERM $$", NULL};
	char *caught[] = {"sh", "-c", "trap 'exit 9' USR1; while :; do read x; done", NULL};
	struct guest_start s = {.args = by_itself};
	struct outcome o = {0};

	run_with(*state, &s, NULL, 0, &o);
	assert_int_equal(o.code, 128 + SIGTERM);
	outcome_done(&o);
	o = (struct outcome){0};
	s = (struct guest_start){.args = caught, .want_stdin = true};
	run_with(*state, &s, NULL, SIGUSR1, &o);
	/* It may come before the trap is set. */
	assert_true(o.code == 9 || o.code == 128 + SIGUSR1);
	outcome_done(&o);
}

static void test_terminal(void **state)
{
	char *args[] = {"sh", "-c", "test -t 0 && test -t 1 && stty size", NULL};
	struct guest_start s = {
		.args = args, .tty = true, .want_stdin = true, .rows = 33, .columns = 77};
	struct outcome o = {0};

	run_with(*state, &s, NULL, 0, &o);
	assert_int_equal(o.code, 0);
	assert_non_null(strstr(strbuf_text(&o.out), "33 77"));
	outcome_done(&o);
}

static void test_user(void **state)
{
	char *args[] = {"id", "-u", NULL};
	struct guest_start s = {.args = args, .user = "nobody"};
	struct outcome o = {0};

	run_with(*state, &s, NULL, 0, &o);
	assert_int_equal(o.code, 0);
	assert_string_equal(strbuf_text(&o.out), "65534\n");
	outcome_done(&o);
	o = (struct outcome){0};
	s.user = "who-is-that";
	run_with(*state, &s, NULL, 0, &o);
	assert_int_equal(o.code, 126);
	assert_non_null(strstr(strbuf_text(&o.err), "who-is-that"));
	outcome_done(&o);
}

static void test_power_off(void **state)
{
	struct fixture *f = *state;
	char *args[] = {"true", NULL};
	struct guest_start s = {.args = args, .power_off = true};
	struct outcome o = {0};
	int status;

	run_with(f, &s, NULL, 0, &o);
	assert_int_equal(o.code, 0);
	assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
	assert_int_equal(WEXITSTATUS(status), 40 + GUEST_POWER_OFF);
	outcome_done(&o);
}

static void test_shutdown(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	int fd, status;

	assert_int_equal(unix_connect(f->path, SOCK_STREAM, &fd, &e), 0);
	assert_int_equal(guest_ask_shutdown(fd, GUEST_REBOOT, &e), 0);
	(void)close(fd);
	assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
	assert_int_equal(WEXITSTATUS(status), 40 + GUEST_REBOOT);
}

/* A host that breaks the protocol loses its session; the next one is served. */
static void test_broken_host(void **state)
{
	static const char *const broken[] = {
		"\x05\0\0\0\x01\0\0\0x",	  /* data before hello */
		"\x01\0\0\0\x04\0\0\0\x63\0\0\0", /* hello of version 99 */
		"\x01\0\0\0\xff\xff\xff\x7f",	  /* too long */
	};
	static const size_t lengths[] = {9, 12, 8};
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(broken); i++) {
		char piece[64];
		ssize_t n;
		int fd;

		assert_int_equal(unix_connect(f->path, SOCK_STREAM, &fd, NULL), 0);
		assert_int_equal(write(fd, broken[i], lengths[i]), lengths[i]);
		do
			n = read(fd, piece, sizeof(piece));
		while (n > 0);
		(void)close(fd);
	}
	test_streams(state);
}

static void test_start_round(void **state)
{
	char *args[] = {"a", "", "c d", NULL}, *env[] = {"A=b", NULL};
	struct guest_start in = {.args = args,
				 .env = env,
				 .cwd = "/x",
				 .user = "u:g",
				 .tty = true,
				 .rows = 1,
				 .columns = 2,
				 .power_off = true};
	struct guest_start out;
	auto_strbuf struct strbuf b = {0};
	auto_arena struct arena a = {0};
	struct guest_frame f;
	struct err e = {0};
	size_t n;

	(void)state;
	assert_int_equal(guest_write_start(&b, &in, &e), 0);
	assert_int_equal(guest_next(&b, &f, &n, &e), 1);
	assert_int_equal(n, b.n);
	assert_int_equal(guest_read_start(&f, &a, &out, &e), 0);
	assert_string_equal(out.args[2], "c d");
	assert_null(out.args[3]);
	assert_string_equal(out.env[0], "A=b");
	assert_string_equal(out.cwd, "/x");
	assert_string_equal(out.user, "u:g");
	assert_true(out.tty && out.power_off && !out.want_stdin);
	assert_int_equal(out.columns, 2);
	for (size_t cut = 1; cut < f.payload.n; cut++) {
		struct guest_frame less = f;

		less.payload.n = cut;
		(void)!guest_read_start(&less, &a, &out, NULL); /* never beyond its end */
	}
}

static void test_account(void **state)
{
	auto_arena struct arena a = {0};
	struct account who;
	struct err e = {0};

	(void)state;
	assert_int_equal(account_find("/etc", NULL, &a, &who, &e), 0);
	assert_int_equal(who.uid, 0);
	assert_int_equal(account_find("/nonexistent", "1000:77", &a, &who, &e), 0);
	assert_int_equal(who.uid, 1000);
	assert_int_equal(who.gid, 77);
	assert_string_equal(who.home, "/");
	assert_int_equal(account_find("/etc", "root:no-such-group", &a, &who, &e), -ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_round),
		cmocka_unit_test(test_account),
		cmocka_unit_test_setup_teardown(test_streams, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_much_input, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_much_output, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_not_found, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_not_executable, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_signals, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_terminal, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_user, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_broken_host, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_power_off, agent_start, agent_end),
		cmocka_unit_test_setup_teardown(test_shutdown, agent_start, agent_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
