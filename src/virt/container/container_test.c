/*
 * Tests of the room's door the way a small supervisor uses it: a root of layers, preparation apart,
 * start, exec, a terminal, failures that leave nothing behind. Needs root; skips itself otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/process.h"
#include "virt/container/container.h"
#include "virt/container/spec.h"

#define BUSYBOX "/bin/busybox"

struct place {
	char dir[64];
	char *lower[3], *upper, *work;
	struct container_overlay overlay;
	int out[2]; /* what the container prints */
};

static void put(const char *path, const char *text)
{
	auto_close int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void copy_busybox(const char *to)
{
	auto_close int in = open(BUSYBOX, O_RDONLY | O_CLOEXEC);
	auto_close int out = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);

	while (sendfile(out, in, NULL, 1 << 20) > 0)
		;
}

static const char config[] =
	"{\"ociVersion\": \"1.2.0\", \"root\": {\"path\": \"none\"},"
	"\"process\": {\"cwd\": \"/\", \"args\": [\"/sh\", \"-c\", \"%s\"], \"terminal\": %s,"
	"\"env\": [\"PATH=/\"], \"noNewPrivileges\": true},"
	"\"mounts\": [{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"},"
	"{\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\"},"
	"{\"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\", "
	"\"options\": "
	"[\"newinstance\", \"ptmxmode=0666\"]}],"
	"\"linux\": {\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"mount\"}, {\"type\": "
	"\"ipc\"},"
	"{\"type\": \"uts\"}, {\"type\": \"network\"}]}}";

static void configure(const struct place *p, const char *shell, bool terminal)
{
	auto_free char *path = mem_printf("%s/config.json", p->dir);
	char text[4096];

	(void)snprintf(text, sizeof(text), config, shell, terminal ? "true" : "false");
	put(path, text);
}

static int set_up(void **state)
{
	struct place *p = mem_new(struct place);

	(void)snprintf(p->dir, sizeof(p->dir), "/var/tmp/container.XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	assert_int_equal(chmod(p->dir, 0755), 0);
	p->lower[0] = mem_printf("%s/top", p->dir);
	p->lower[1] = mem_printf("%s/base", p->dir);
	p->upper = mem_printf("%s/upper", p->dir);
	p->work = mem_printf("%s/work", p->dir);
	for (char **d = (char *[]){p->lower[0], p->lower[1], p->upper, p->work, NULL}; *d; d++)
		assert_int_equal(mkdir(*d, 0755), 0);
	auto_free char *sh = mem_printf("%s/sh", p->lower[1]);
	auto_free char *said = mem_printf("%s/said", p->lower[0]);
	auto_free char *etc = mem_printf("%s/etc", p->lower[0]);
	auto_free char *passwd = mem_printf("%s/etc/passwd", p->lower[0]);
	copy_busybox(sh);
	put(said, "from the top layer\n");
	assert_int_equal(mkdir(etc, 0755), 0);
	put(passwd, "web:x:33:44::/srv:\n");
	p->overlay =
		(struct container_overlay){.lower = p->lower, .upper = p->upper, .work = p->work};
	assert_int_equal(pipe2(p->out, O_CLOEXEC), 0);
	*state = p;
	return 0;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *f)
{
	return remove(path);
}

static int tear_down(void **state)
{
	struct place *p = *state;

	(void)nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (int i = 0; i < 2; i++) {
		(void)fd_close(p->out[i]);
		free(p->lower[i]);
	}
	free(p->upper);
	free(p->work);
	free(p);
	return 0;
}

static struct container_order order_of(const struct place *p, bool apart)
{
	struct container_order o = CONTAINER_ORDER_INIT;

	o.id = "test";
	o.bundle = p->dir;
	o.overlay = &p->overlay;
	o.cgroup_disabled = true;
	o.stdio[1] = p->out[1];
	o.apart = apart;
	return o;
}

/* Everything that was printed until now, at most once. */
static const char *printed(const struct place *p)
{
	static char text[4096];
	ssize_t n = read(p->out[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int end_of(struct container *c)
{
	int status = -1;
	struct err e = {0};

	assert_int_equal(process_wait(c->pidfd, 10000, &status, &e), 0);
	container_done(c);
	return process_exit_code(status);
}

static void need_root(void)
{
	if (geteuid() != 0 || access(BUSYBOX, X_OK) < 0)
		skip();
}

static void layers_run(void **state)
{
	need_root();
	struct place *p = *state;

	for (int apart = 0; apart < 2; apart++) {
		struct container_order o = order_of(p, apart);
		struct container c = CONTAINER_INIT;
		struct err e = {0};

		configure(p, "read line </said; echo $$ $line; echo x >/made; exit 7", false);
		if (container_create(&o, &c, &e) < 0)
			fail_msg("%s", e.text);
		assert_int_equal(container_start(&c, &e), 0);
		assert_string_equal(printed(p), "1 from the top layer\n");
		assert_int_equal(end_of(&c), 7);
	}
	auto_free char *made = mem_printf("%s/made", p->upper);
	auto_free char *seen = mem_printf("%s/made", p->dir);
	assert_int_equal(access(made, F_OK), 0);  /* in the upper layer ... */
	assert_int_equal(access(seen, F_OK), -1); /* ... and not mounted on the host */
}

static void exec_enters(void **state)
{
	need_root();
	struct place *p = *state;
	struct container_order o = order_of(p, true);
	struct container_exec_order x = CONTAINER_EXEC_INIT;
	struct container c = CONTAINER_INIT, in = CONTAINER_INIT;
	struct err e = {0};
	auto_free char *path = mem_printf("%s/config.json", p->dir);

	configure(p, "while :; do /sh -c 'exec /sh' </dev/null; done", false);
	assert_int_equal(container_create(&o, &c, &e), 0);
	assert_int_equal(container_start(&c, &e), 0);
	x.pid = c.pid;
	x.start_time = c.start_time;
	x.config = path;
	x.args = (char *[]){"/sh", "-c", "echo $X $HOME; cd /proc/self; read l <loginuid; exit 5",
			    NULL};
	x.env = (char *[]){"X=1", NULL};
	x.user = "web";
	x.stdio[1] = p->out[1];
	if (container_exec(&x, &in, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(printed(p), "1 /srv\n");
	assert_int_equal(end_of(&in), 5);
	x.args = (char *[]){"nosuch", NULL};
	assert_int_equal(container_exec(&x, &in, &e), -ERR_NOT_FOUND);
	assert_int_equal(container_exit_code(&e), 127);
	x.start_time++;
	assert_int_equal(container_exec(&x, &in, &e), -ERR_GONE);
	assert_int_equal(container_kill(&c, SIGKILL, false, &e), 0);
	assert_int_equal(end_of(&c), 137);
}

static void a_terminal_comes_back(void **state)
{
	need_root();
	struct place *p = *state;
	struct container_order o = order_of(p, true);
	struct container c = CONTAINER_INIT;
	struct err e = {0};
	char text[64] = "";

	configure(p, "test -t 0 && test -c /dev/console && echo tty; read end", true);
	o.want_console = true;
	if (container_create(&o, &c, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(c.console >= 0);
	assert_int_equal(container_start(&c, &e), 0);
	while (!strchr(text, '\n'))
		assert_true(read(c.console, text + strlen(text), sizeof(text) - 1 - strlen(text)) >
			    0);
	assert_string_equal(text, "tty\r\n");
	assert_int_equal(write(c.console, "x\n", 2), 2);
	assert_int_equal(end_of(&c), 0);
}

static void a_closed_gate_ends_it(void **state)
{
	need_root();
	struct place *p = *state;
	struct container_order o = order_of(p, true);
	struct container c = CONTAINER_INIT;
	struct err e = {0};

	configure(p, "echo ran", false);
	assert_int_equal(container_create(&o, &c, &e), 0);
	c.gate = fd_close(c.gate);
	assert_int_equal(end_of(&c), 1);
}

static int change_args(void *ctx, struct spec *s, struct arena *a, struct err *e)
{
	s->process->args[0] = ctx;
	return 0;
}

static void failures_are_told_and_leave_nothing(void **state)
{
	need_root();
	struct place *p = *state;

	for (int apart = 0; apart < 2; apart++) {
		struct container_order o = order_of(p, apart);
		struct container c = CONTAINER_INIT;
		struct err e = {0};

		configure(p, "true", false);
		o.adjust = change_args;
		o.adjust_ctx = (void *)"/nosuch";
		assert_int_equal(container_create(&o, &c, &e), -ERR_NOT_FOUND);
		assert_non_null(strstr(e.text, "'/nosuch'"));
		assert_int_equal(container_exit_code(&e), 127);
		/* Found, not looked into before the gate: the start tells. */
		o.adjust_ctx = (void *)"/text";
		auto_free char *text = mem_printf("%s/text", p->lower[0]);
		put(text, "no program\n");
		assert_int_equal(chmod(text, 0755), 0);
		assert_int_equal(container_create(&o, &c, &e), 0);
		assert_int_equal(container_start(&c, &e), -ERR_INVALID);
		assert_int_equal(container_exit_code(&e), 126);
		assert_int_equal(end_of(&c), 1);
		o.adjust_ctx = (void *)"/etc";
		assert_int_equal(container_create(&o, &c, &e), -ERR_FORBIDDEN);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(layers_run, set_up, tear_down),
		cmocka_unit_test_setup_teardown(exec_enters, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_terminal_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_closed_gate_ends_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failures_are_told_and_leave_nothing, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("virt/container", tests, NULL, NULL);
}
