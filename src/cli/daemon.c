/*
 * Starting, supervising and ending hulld: see daemon.h.
 *
 * The supervisor holds a POSIX lock on <run>/hull.pid for as long as it lives, so the kernel itself
 * answers "who supervises here?" (F_GETLK names the holder) and no stale pid is ever trusted. It
 * starts hulld again when it dies unasked, later each time, and passes SIGTERM on. Its own log and
 * hulld's go to <root>/hulld.log.
 */
#include "cli/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/table.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/world.h"

#define START_TIMEOUT_NS (15LL * 1000000000)
#define STOP_TIMEOUT_NS	 (60LL * 1000000000)
#define AGAIN_FIRST_MS	 100
#define AGAIN_MOST_MS	 10000
#define HEALTHY_NS	 (10LL * 1000000000) /* ran this long: the next failure is a first one */
#define ERROR_MARK	 "hulld error: "
#define LOG_MODE	 0640
#define KUBE_LISTEN	 "127.0.0.1:6443"
#define SMALL_FILE_MAX	 65536

static void wait_ms(int ms)
{
	(void)poll(NULL, 0, ms);
}

bool daemon_answers(const struct context *c)
{
	struct http_local h;
	int status = 0;
	bool ok;

	if (http_local_open(c->socket, &h, NULL) < 0)
		return false;
	ok = http_local_call(&h, &(struct http_local_request){.method = "GET", .target = "/_ping"},
			     &status, NULL) == 0 &&
	     status == 200;
	http_local_close(&h);
	return ok;
}

/* Makes a directory and those above it. */
static int make_dirs(const char *path, struct err *e)
{
	auto_free char *copy = mem_dup_text(path);

	for (char *at = copy + 1;; at++) {
		if (*at != '/' && *at)
			continue;
		bool last = !*at;

		*at = '\0';
		if (mkdir(copy, 0710) < 0 && errno != EEXIST)
			return err_sys(e, "cannot make the directory '%s'", copy);
		if (last)
			return 0;
		*at = '/';
	}
}

static int open_pid_file(const struct context *c, struct err *e)
{
	auto_free char *path = mem_printf("%s/hull.pid", c->run);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? err_sys(e, "cannot open '%s'", path) : fd;
}

/* The living supervisor's pid, 0 when there is none. */
static pid_t supervisor_of(const struct context *c)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	auto_close int fd = open_pid_file(c, NULL);

	if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid;
}

/* The last error in the daemon's log: why it did not come up. The caller's, or NULL. */
static char *last_words(const struct context *c)
{
	auto_free char *path = mem_printf("%s/hulld.log", c->root);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char tail[4097];
	struct str rest, line, last = {0};
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (lseek(fd, 1 - (off_t)sizeof(tail), SEEK_END) < 0)
		(void)lseek(fd, 0, SEEK_SET);
	n = read(fd, tail, sizeof(tail) - 1);
	if (n <= 0)
		return NULL;
	tail[n] = '\0';
	for (rest = str_of(tail); str_cut(&rest, '\n', &line);) {
		const char *at = memmem(line.p, line.n, ERROR_MARK, strlen(ERROR_MARK));

		if (at)
			last = (struct str){at + strlen(ERROR_MARK),
					    line.n - (size_t)(at - line.p) - strlen(ERROR_MARK)};
	}
	return last.p ? str_dup(last) : NULL;
}

/* Turns this child into `hull supervise`, away from the terminal. */
static void become_supervisor(const struct context *c)
{
	auto_free char *log = mem_printf("%s/hulld.log", c->root);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, LOG_MODE);
	char *const argv[] = {"hull",
			      "--root",
			      (char *)(uintptr_t)c->root,
			      "--run",
			      (char *)(uintptr_t)c->run,
			      "supervise",
			      NULL};

	(void)setsid();
	if (chdir("/") == 0 && null >= 0 && out >= 0 && dup2(null, 0) == 0 && dup2(out, 1) == 1 &&
	    dup2(out, 2) == 2 && close_range(3, ~0U, 0) == 0)
		(void)execv("/proc/self/exe", argv);
	_exit(127);
}

static int start(const struct context *c, struct err *e)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_sys(e, "cannot start the daemon");
	if (pid == 0) {
		if (fork() == 0)
			become_supervisor(c);
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
	return 0;
}

int daemon_ensure(const struct context *c, struct err *e)
{
	auto_free char *why = NULL;
	int64_t end = world_monotonic_ns(&world_real) + START_TIMEOUT_NS;
	bool begun = false;
	int r;

	if (daemon_answers(c))
		return 0;
	if (make_dirs(c->root, e) < 0 || make_dirs(c->run, e) < 0)
		return err_wrap(e, "cannot start hulld");
	if (supervisor_of(c) == 0) {
		fprintf(stderr, "hull: starting hulld (--root %s --run %s)\n", c->root, c->run);
		r = start(c, e);
		if (r < 0)
			return r;
	}
	while (world_monotonic_ns(&world_real) < end) {
		if (daemon_answers(c))
			return 0;
		wait_ms(20);
		if (supervisor_of(c) != 0)
			begun = true;
		else if (begun)
			break;
	}
	why = last_words(c);
	return err_set(e, ERR_UNAVAILABLE, "hulld did not come up%s%s; its log is '%s/hulld.log'",
		       why ? ": " : "", why ? why : "", c->root);
}

/* -- the cluster ------------------------------------------------------------------------------- */

static char *read_small(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *text = mem_new_bytes(1, SMALL_FILE_MAX + 1);
	ssize_t n = fd < 0 ? -1 : read(fd, text, SMALL_FILE_MAX);

	return n <= 0 ? NULL : take(text);
}

/* Writes down where the API shall listen. 1: it is the same as before. */
static int want_cluster(const struct context *c, const char *listen, struct err *e)
{
	auto_free char *folder = mem_printf("%s/kube", c->root);
	auto_free char *path = mem_printf("%s/listen", folder), *before = read_small(path);
	auto_close int fd = -1;

	if (before && (!listen || text_eq(before, listen)))
		return 1;
	if (!listen)
		listen = KUBE_LISTEN;
	if (make_dirs(c->root, e) < 0 || (mkdir(folder, 0700) < 0 && errno != EEXIST))
		return err_sys(e, "cannot make '%s'", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, listen, strlen(listen)) != (ssize_t)strlen(listen))
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}

int daemon_up(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct daemon_up_options *o = options;
	struct daemon_down_options keep = {.keep = true};
	int r = want_cluster(c, o->listen, e);

	if (r < 0)
		return r;
	if (r == 0 && daemon_answers(c) && daemon_down(c, &keep, 0, NULL, e) < 0)
		return err_wrap(e, "cannot start hulld anew with a cluster");
	r = daemon_ensure(c, e);
	if (r < 0)
		return r;
	printf("hulld is up. To use the stock clients with it:\n"
	       "  export DOCKER_HOST=unix://%s\n"
	       "  export KUBECONFIG=%s/kube/kubeconfig\n",
	       c->socket, c->root);
	return 0;
}

int daemon_kubeconfig(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	auto_free char *path = mem_printf("%s/kube/kubeconfig", c->root);
	auto_free char *text = read_small(path);

	if (!text && errno == EACCES)
		return err_sys(e, "cannot read '%s'", path);
	if (!text)
		return err_set(e, ERR_NOT_FOUND,
			       "there is no cluster at '%s' yet; start one with: hull up", c->root);
	printf("%s", text);
	return 0;
}

int daemon_down(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct daemon_down_options *o = options;
	int64_t end = world_monotonic_ns(&world_real) + STOP_TIMEOUT_NS;
	pid_t pid = supervisor_of(c);

	if (pid == 0 && daemon_answers(c))
		return err_set(e, ERR_CONFLICT,
			       "hulld at '%s' was not started by hull: end it where it was started",
			       c->socket);
	if (pid == 0) {
		printf("hulld is not running\n");
		return 0;
	}
	/* SIGTERM leaves what runs alone; at SIGQUIT hulld stops it first, names and relays too. */
	if (kill(pid, o->keep ? SIGTERM : SIGQUIT) < 0 && errno != ESRCH)
		return err_sys(e, "cannot end hulld's supervisor, process %d", (int)pid);
	while (supervisor_of(c) == pid) {
		if (world_monotonic_ns(&world_real) > end)
			return err_set(e, ERR_TIMEOUT, "hulld has not ended after 60 s");
		wait_ms(20);
	}
	printf("hulld is down%s\n", o->keep ? "; containers go on" : "");
	return 0;
}

int daemon_status(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	auto_json struct json *info = NULL, *version = NULL;
	struct table t = {0};
	char running[96];
	int r;

	if (!daemon_answers(c)) {
		printf("hulld is not running (--root %s --run %s); start it with: hull up\n",
		       c->root, c->run);
		return 1;
	}
	r = client_call(c, "GET", "/info", NULL, &info, e);
	if (r == 0)
		r = client_call(c, "GET", "/version", NULL, &version, e);
	if (r < 0)
		return r;
	(void)snprintf(running, sizeof(running), "%jd running, %jd paused, %jd stopped",
		       (intmax_t)json_get_i64(info, "ContainersRunning", 0),
		       (intmax_t)json_get_i64(info, "ContainersPaused", 0),
		       (intmax_t)json_get_i64(info, "ContainersStopped", 0));
	table_row(&t, "hulld", json_get_text(version, "Version"), NULL);
	table_row(&t, "socket", c->socket, NULL);
	table_row(&t, "root", c->root, NULL);
	table_row(&t, "kept alive by", supervisor_of(c) ? "hull supervise" : "somebody else", NULL);
	table_row(&t, "containers", running, NULL);
	table_print(&t, stdout);
	return 0;
}

/* hulld stands beside this program, or on the PATH. */
static pid_t spawn_hulld(const struct context *c)
{
	char self[4096];
	ssize_t n;
	pid_t pid = fork();
	char *const argv[] = {
		"hulld", "--root", (char *)(uintptr_t)c->root, "--run", (char *)(uintptr_t)c->run,
		NULL};
	sigset_t none;

	if (pid != 0)
		return pid;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	n = readlink("/proc/self/exe", self, sizeof(self) - 8);
	while (n > 0 && self[n - 1] != '/')
		n--;
	if (n > 0) {
		memcpy(self + n, "hulld", 6);
		(void)execv(self, argv);
	}
	(void)execvp("hulld", argv);
	log_setup("hulld", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_error("cannot execute it: %s; is it installed beside hull?", strerror(errno));
	_exit(127);
}

enum ending { ENDED_ASKED, ENDED_REFUSING, ENDED_DYING };

/* Waits until hulld ends, passing on what we are asked. Refusing: it left with a message of its
 * own. */
static enum ending watch_hulld(int sfd, pid_t pid)
{
	bool asked = false;

	for (;;) {
		struct signalfd_siginfo info;
		int status;

		if (read(sfd, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo != SIGCHLD) {
			asked = true;
			(void)kill(pid, (int)info.ssi_signo);
			continue;
		}
		if (waitpid(pid, &status, WNOHANG) != pid)
			continue;
		if (asked || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
			return ENDED_ASKED;
		return WIFEXITED(status) ? ENDED_REFUSING : ENDED_DYING;
	}
}

int daemon_supervise(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	auto_close int fd = open_pid_file(c, e);
	auto_close int sfd = -1;
	int again_ms = AGAIN_FIRST_MS;
	sigset_t mask;

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETLK, &lock) < 0)
		return err_set(e, ERR_BUSY, "another supervisor already keeps hulld of '%s'",
			       c->run);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGQUIT);
	(void)sigaddset(&mask, SIGINT);
	(void)sigaddset(&mask, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	sfd = signalfd(-1, &mask, SFD_CLOEXEC);
	if (sfd < 0)
		return err_sys(e, "cannot watch for signals");
	for (bool first = true;; first = false) {
		int64_t begun = world_monotonic_ns(&world_real);
		pid_t pid = spawn_hulld(c);
		enum ending ending;

		if (pid < 0)
			return err_sys(e, "cannot start hulld");
		ending = watch_hulld(sfd, pid);
		/* What refuses at its first start (a bad root, a port taken) would refuse again. */
		if (ending == ENDED_ASKED || (ending == ENDED_REFUSING && first))
			return ending == ENDED_ASKED ? 0 : 1;
		if (world_monotonic_ns(&world_real) - begun > HEALTHY_NS)
			again_ms = AGAIN_FIRST_MS;
		log_warn("hulld ended unasked; starting it again in %d ms", again_ms);
		wait_ms(again_ms);
		again_ms = again_ms * 2 > AGAIN_MOST_MS ? AGAIN_MOST_MS : again_ms * 2;
	}
}
