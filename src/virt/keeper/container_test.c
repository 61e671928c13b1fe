/*
 * A keeper over real containers: busybox in an overlay, with namespaces and cgroups of its own. As
 * root on a host where that works; skipped elsewhere. What is checked is what the fake container
 * cannot show: descriptors from inside the network, terminals, execs, limits and their sentence,
 * pausing, a restart on the same upper layer, and that nothing stays behind.
 */
#include "virt/keeper/supervisor_fixture.h"

static const char *const root_dirs[] = {"root",	    "root/bin", "root/dev", "root/proc",
					"root/etc", "upper",	"work"};

static const char config_format[] =
	"{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\","
	"\"args\":[\"/bin/sh\",\"-c\",\"%s\"],\"env\":[\"PATH=/bin\",\"HOME=/\"]},"
	"\"root\":{\"path\":\"/nowhere\"},\"hostname\":\"inside\",\"mounts\":["
	"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
	"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
	"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
	"\"options\":[\"newinstance\",\"ptmxmode=0666\"]}],"
	"\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},"
	"{\"type\":\"uts\"},{\"type\":\"network\"}],\"resources\":{\"memory\":{\"limit\":%d}}}}";

struct real {
	struct fixture *f;
	char *lower[2], *upper, *work, *tmpfs;
	struct keeper_orders orders;
};

static char *below(struct fixture *f, const char *name)
{
	return arena_printf(&f->arena, "%s/%s", f->dir, name);
}

/* Busybox and one link per command that the scripts use. */
static void furnish(struct fixture *f)
{
	static const char *const commands[] = {"sh",   "cat",  "id",	"hostname", "sleep", "head",
					       "tail", "stty", "touch", "ls",	    "env"};
	char *copy[] = {"cp", "/bin/busybox", below(f, "root/bin/busybox"), NULL};
	int status;
	pid_t pid;

	for (size_t i = 0; i < array_len(root_dirs); i++)
		assert_int_equal(mkdir(below(f, root_dirs[i]), 0755), 0);
	pid = fork();
	if (pid == 0) {
		(void)execv("/bin/cp", copy);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (size_t i = 0; i < array_len(commands); i++)
		assert_int_equal(symlink("busybox", arena_printf(&f->arena, "%s/root/bin/%s",
								 f->dir, commands[i])),
				 0);
}

static int real_setup(void **state)
{
	struct real *r = mem_new(struct real);
	struct fixture *f;
	char shm[64] = "/dev/shm/hull-keeper-test.XXXXXX";

	assert_int_equal(setup(state), 0);
	f = r->f = *state;
	/* An overlay's upper layer cannot lie on another overlay, as /tmp may be. */
	assert_non_null(mkdtemp(shm));
	assert_int_equal(rmdir(f->dir), 0);
	(void)snprintf(f->dir, sizeof(f->dir), "%s", shm);
	(void)snprintf(f->run, sizeof(f->run), "%s/run/id", f->dir);
	(void)snprintf(f->config, sizeof(f->config), "%s/config", f->dir);
	(void)snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	furnish(f);
	r->lower[0] = below(f, "root");
	r->orders = (struct keeper_orders){
		.lower = r->lower,
		.upper = below(f, "upper"),
		.work = below(f, "work"),
		.cgroup_path = arena_printf(&f->arena, "/hull-keeper-test.%d", (int)getpid())};
	*state = r;
	return 0;
}

static int real_teardown(void **state)
{
	struct real *r = *state;
	char *args[] = {"rm", "-rf", r->f->dir, NULL};
	int status;
	pid_t pid;

	(void)fd_close(r->f->sock);
	if (r->f->keeper > 0) {
		(void)kill(r->f->keeper, SIGKILL);
		(void)waitpid(r->f->keeper, &status, 0);
	}
	pid = fork();
	if (pid == 0) {
		(void)execv("/bin/rm", args);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	arena_done(&r->f->arena);
	free(r->f);
	free(r);
	return 0;
}

static void real_start(struct real *r, const char *command, int memory_bytes)
{
	char *text = arena_printf(&r->f->arena, config_format, command, memory_bytes);

	if (geteuid() != 0 || access("/bin/busybox", X_OK) < 0)
		skip();
	script(r->f, text);
	start(r->f, &r->orders);
}

/* The host cannot do it (no overlay, no cgroups ...): told by the first start, then skipped. */
static struct keeper_started *expect_started(struct fixture *f)
{
	void *body = NULL;
	enum keeper_type got = hear(f, &body);

	if (got == KEEPER_FAILED) {
		struct keeper_fault *fault = body;

		if (fault->kind == ERR_FORBIDDEN || fault->kind == ERR_UNSUPPORTED) {
			print_message("%s\n", fault->text);
			skip();
		}
		fail_msg("%s", fault->text);
	}
	assert_int_equal(got, KEEPER_STARTED);
	return body;
}

/* Runs a command in the container; its output in *out, its exit code answered. */
static uint32_t run(struct fixture *f, bool tty, char **args, struct strbuf *out)
{
	struct keeper_exec x = {.id = "x",
				.args = args,
				.tty = tty,
				.rows = 33,
				.columns = 77,
				.client = {.session = "x", .want_stdout = true}};
	struct keeper_exec_died *d;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	(void)say(f, KEEPER_EXEC, &x, pair[1]);
	(void)close(pair[1]);
	(void)expect(f, KEEPER_EXEC_STARTED);
	d = expect(f, KEEPER_EXEC_DIED);
	strbuf_clear(out);
	(void)read_to_end(pair[0], out);
	(void)expect(f, KEEPER_DETACHED);
	return d->exit_code;
}

static void test_execs(void **state)
{
	struct real *r = *state;
	auto_strbuf struct strbuf out = {0};
	struct keeper_fault *fault;

	real_start(r, "exec sleep 1000", 64 << 20);
	assert_true(expect_started(r->f)->pid > 0);
	assert_int_equal(
		run(r->f, false, (char *[]){"/bin/sh", "-c", "hostname; exit 5", NULL}, &out), 5);
	assert_string_equal(out.p, "inside\n");
	assert_int_equal(run(r->f, true, (char *[]){"/bin/stty", "size", NULL}, &out), 0);
	assert_string_equal(out.p, "33 77\r\n");
	(void)say(r->f, KEEPER_EXEC,
		  &(struct keeper_exec){.id = "y", .args = (char *[]){"/bin/none", NULL}}, -1);
	fault = expect(r->f, KEEPER_FAULT);
	assert_int_equal(fault->exit_code, 127);
	assert_non_null(strstr(fault->text, "/bin/none"));
	stop_now(r->f);
}

static void test_memory(void **state)
{
	struct real *r = *state;
	struct keeper_died *d;
	void *body = NULL;

	real_start(r, "head -c 50000000 /dev/zero | tail; exit 1", 8 << 20);
	(void)expect_started(r->f);
	while (hear(r->f, &body) == KEEPER_OOM)
		continue;
	d = body;
	assert_true(d->oom_killed);
	assert_non_null(d->sentence);
	assert_non_null(strstr(d->sentence, "8 MiB"));
	ends(r->f);
	assert_true(exit_record(r->f)->oom_killed);
}

static void test_pause(void **state)
{
	struct real *r = *state;
	struct stat before, after;

	real_start(r, "while :; do echo x; sleep 0.01; done", 64 << 20);
	(void)expect_started(r->f);
	(void)say(r->f, KEEPER_PAUSE, NULL, -1);
	(void)expect(r->f, KEEPER_OK);
	(void)usleep(50000);
	assert_int_equal(stat(r->f->log, &before), 0);
	(void)usleep(100000);
	assert_int_equal(stat(r->f->log, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	(void)say(r->f, KEEPER_EXEC,
		  &(struct keeper_exec){.id = "y", .args = (char *[]){"/bin/id", NULL}}, -1);
	assert_int_equal(((struct keeper_fault *)expect(r->f, KEEPER_FAULT))->kind, ERR_CONFLICT);
	(void)say(r->f, KEEPER_RESUME, NULL, -1);
	(void)expect(r->f, KEEPER_OK);
	(void)usleep(200000);
	assert_int_equal(stat(r->f->log, &after), 0);
	assert_true(after.st_size > before.st_size);
	/* A frozen container can be killed, too. */
	(void)say(r->f, KEEPER_PAUSE, NULL, -1);
	(void)expect(r->f, KEEPER_OK);
	stop_now(r->f);
	assert_int_equal(exit_record(r->f)->exit_code, 137);
}

static void test_restart_keeps_the_layer(void **state)
{
	struct real *r = *state;

	r->orders.restart = KEEPER_RESTART_ON_FAILURE;
	real_start(r,
		   "ls /etc; touch /etc/mark$$; test -e /etc/second && exit 0; "
		   "test -e /etc/first && touch /etc/second; touch /etc/first; exit 1",
		   64 << 20);
	(void)expect_started(r->f);
	assert_true(((struct keeper_died *)expect(r->f, KEEPER_DIED))->restarting);
	(void)expect(r->f, KEEPER_STARTED);
	assert_true(((struct keeper_died *)expect(r->f, KEEPER_DIED))->restarting);
	(void)expect(r->f, KEEPER_STARTED);
	assert_false(((struct keeper_died *)expect(r->f, KEEPER_DIED))->restarting);
	ends(r->f);
	assert_int_equal(access(below(r->f, "upper/etc/second"), F_OK), 0);
}

/* The namespace and the sockets that hulld works with are of the container's network. */
static void test_network(void **state)
{
	struct real *r = *state;
	struct stat ours, theirs;
	char packet[512];
	int fds[KEEPER_FD_READY_N];
	size_t n, fds_n;
	struct err e = {0};

	r->orders.wait_go = true;
	own_network = true;
	real_start(r, "exec sleep 1000", 64 << 20);
	own_network = false;
	(void)say(r->f, KEEPER_DESCRIPTORS, NULL, -1);
	assert_int_equal(fdpass_recv(r->f->sock, packet, sizeof(packet), fds, KEEPER_FD_READY_N, &n,
				     &fds_n, &e),
			 0);
	assert_int_equal(fds_n, KEEPER_FD_READY_N);
	(void)say(r->f, KEEPER_GO, NULL, -1);
	(void)snprintf(packet, sizeof(packet), "/proc/%d/ns/net", (int)expect_started(r->f)->pid);
	assert_int_equal(stat(packet, &theirs), 0);
	assert_int_equal(fstat(fds[KEEPER_FD_NETNS], &ours), 0);
	assert_int_equal(ours.st_ino, theirs.st_ino);
	assert_int_equal(stat("/proc/self/ns/net", &ours), 0);
	assert_true(ours.st_ino != theirs.st_ino);
	for (size_t i = 0; i < fds_n; i++)
		(void)close(fds[i]);
	stop_now(r->f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, real_setup, real_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_execs),   TEST(test_memory),
		TEST(test_pause),   TEST(test_restart_keeps_the_layer),
		TEST(test_network),
	};

	return cmocka_run_group_tests_name("container", tests, NULL, NULL);
}
