/*
 * create, run, start.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/fdpass.h"
#include "virt/container/spec.h"

struct run_args {
	const char *bundle, *config, *console_socket, *pid_file, *pidfd_socket;
	bool no_pivot, no_new_keyring, detach, keep, no_subreaper;
	int64_t preserve_fds;
};

#define ROW(letter, name, type, member, arg, help)                               \
	{                                                                        \
		letter, name, type, offsetof(struct run_args, member), arg, help \
	}
static const struct option_row options[] = {
	ROW('b', "bundle", OPTION_TEXT, bundle, "DIR",
	    "the bundle; the working directory if absent"),
	ROW('f', "config", OPTION_TEXT, config, "FILE", "the configuration instead of config.json"),
	ROW(0, "console-socket", OPTION_TEXT, console_socket, "PATH", "gets the terminal's master"),
	ROW(0, "pid-file", OPTION_TEXT, pid_file, "FILE", "gets the first process's pid"),
	ROW(0, "pidfd-socket", OPTION_TEXT, pidfd_socket, "PATH", "gets the first process's pidfd"),
	ROW(0, "no-pivot", OPTION_FLAG, no_pivot, NULL, "do not use pivot_root"),
	ROW(0, "no-new-keyring", OPTION_FLAG, no_new_keyring, NULL, "keep the session keyring"),
	ROW(0, "preserve-fds", OPTION_I64, preserve_fds, "N", "hand on N descriptors after stdio"),
	ROW('d', "detach", OPTION_FLAG, detach, NULL, "run: return when it runs"),
	ROW(0, "keep", OPTION_FLAG, keep, NULL, "run: do not delete it at its end"),
	ROW(0, "no-subreaper", OPTION_FLAG, no_subreaper, NULL, "run: do not adopt orphans"),
};

/* One creation under way. */
struct making {
	struct oci *o;
	const char *id;
	struct run_args args;
	char *bundle, *config;
	int dir;
	bool terminal, hooks_after; /* of the decoded configuration */
	struct spec *s;		    /* valid while container_create runs */
};

static char *absolute(struct oci *o, const char *path, struct err *e)
{
	char real[PATH_MAX];

	if (!realpath(path, real)) {
		(void)err_sys(e, "cannot open '%s'", path);
		return NULL;
	}
	return arena_dup_text(&o->arena, real);
}

static int resolve_paths(struct making *m, struct err *e)
{
	const char *bundle = m->args.bundle ? m->args.bundle : ".";

	m->bundle = absolute(m->o, bundle, e);
	if (!m->bundle)
		return -(int)e->kind;
	m->config = arena_printf(&m->o->arena, "%s/config.json", m->bundle);
	if (m->args.config) {
		m->config = absolute(m->o, m->args.config, e);
		if (!m->config)
			return -(int)e->kind;
	}
	return 0;
}

static char **with_listen_fds(char **env, unsigned int n, struct arena *a)
{
	size_t count = mem_count_texts(env);
	char **ret = arena_new_array(a, char *, count + 3);

	if (count)
		memcpy(ret, env, count * sizeof(*ret));
	ret[count] = arena_printf(a, "LISTEN_FDS=%u", n);
	ret[count + 1] = arena_dup_text(a, "LISTEN_PID=1");
	return ret;
}

static int look_at_spec(void *ctx, struct spec *s, struct arena *a, struct err *e)
{
	struct making *m = ctx;
	unsigned int n = listen_fds();

	m->s = s;
	m->terminal = s->process && s->process->terminal;
	m->hooks_after = s->hooks && (s->hooks->poststart_n || s->hooks->poststop_n);
	if (n && s->process)
		s->process->env = with_listen_fds(s->process->env, n, a);
	return 0;
}

static char *rootfs_of(const struct making *m)
{
	const char *path = m->s->root.path ? m->s->root.path : "";

	return *path == '/' ? arena_dup_text(&m->o->arena, path)
			    : arena_printf(&m->o->arena, "%s/%s", m->bundle, path);
}

/* The record is written while the container's process makes its root: both cores work. */
static int write_record(void *ctx, const struct container *c, struct err *e)
{
	struct making *m = ctx;
	auto_strbuf struct strbuf cgroup = {0};
	char boot[BOOT_ID_SIZE];
	char created[RFC3339_CHARS + 1];
	struct timespec now;
	struct state st = {.id = (char *)m->id,
			   .pid = c->pid,
			   .start_time = c->start_time,
			   .boot_id = boot,
			   .bundle = m->bundle,
			   .config = m->config,
			   .rootfs = rootfs_of(m),
			   .owner = geteuid() == 0 ? (char *)"root" : (char *)"",
			   .terminal = m->terminal,
			   .annotations = m->s->annotations};
	int r = process_boot_id(boot, e);

	if (r < 0)
		return r;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	st.created_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	st.created = rfc3339_text(st.created_ns, created);
	cgroup_save(c->cgroup, &cgroup);
	st.cgroup = strbuf_text(&cgroup);
	return state_write(m->dir, &st, e);
}

static int check_preserved(unsigned int n, struct err *e)
{
	for (unsigned int fd = 3; fd < 3 + n; fd++)
		if (fcntl((int)fd, F_GETFD) < 0)
			return err_set(e, ERR_INVALID, "--preserve-fds: descriptor %u is not open",
				       fd);
	return 0;
}

static int fill_order(struct making *m, struct container_order *co, bool foreground, struct err *e)
{
	const struct run_args *a = &m->args;
	int64_t preserve = a->preserve_fds + listen_fds();
	int r;

	if (preserve < 0 || preserve > CONTAINER_PRESERVE_MAX)
		return err_set(e, ERR_INVALID, "--preserve-fds: at most %d",
			       CONTAINER_PRESERVE_MAX);
	r = check_preserved((unsigned int)preserve, e);
	if (r < 0)
		return r;
	co->id = m->id;
	co->bundle = m->bundle;
	co->config = m->config;
	co->preserve_fds = (unsigned int)preserve;
	co->no_pivot = a->no_pivot;
	co->no_new_keyring = a->no_new_keyring;
	co->cgroup_systemd = m->o->systemd_cgroup || text_eq(m->o->cgroup_manager, "systemd");
	co->cgroup_disabled = text_eq(m->o->cgroup_manager, "disabled");
	co->seccomp_dir = arena_printf(&m->o->arena, "%s/.seccomp", m->o->root);
	co->adjust = look_at_spec;
	co->made = write_record;
	co->adjust_ctx = co->made_ctx = m;
	co->want_console = foreground && !a->console_socket;
	return connect_console(a->console_socket, &co->console_socket, e);
}

/* Parses the options common to create and run, makes the record's directory. */
static int begin(struct making *m, int argc, char **argv, struct err *e)
{
	int first, r;

	r = options_parse(options, array_len(options), &m->args, argc, argv, false, &first, e);
	if (r == 0)
		r = oci_one_id(argc, argv, first, &m->id, e);
	if (r == 0)
		r = resolve_paths(m, e);
	return r < 0 ? r : record_make(m->o, m->id, &m->dir, e);
}

static void abandon(struct making *m)
{
	m->dir = fd_close(m->dir);
	(void)!record_remove(m->o, m->id, NULL);
}

static int tell(const struct making *m, const struct container *c, struct err *e)
{
	int r = send_pidfd(m->args.pidfd_socket, c->pidfd, e);

	return r < 0 ? r : write_pid_file(m->args.pid_file, c->pid, e);
}

static void kill_made(struct container *c)
{
	(void)!container_kill(c, SIGKILL, false, NULL);
	(void)!process_wait(c->pidfd, -1, NULL, NULL);
	(void)!container_delete(c, 2000, NULL);
}

int verb_create(struct oci *o, int argc, char **argv, struct err *e)
{
	struct making m = {.o = o, .dir = -1};
	struct container_order co = CONTAINER_ORDER_INIT;
	struct container c = CONTAINER_INIT;
	auto_close int gate = -1;
	int r = begin(&m, argc, argv, e);

	if (r < 0)
		return r;
	r = fill_order(&m, &co, false, e);
	if (r == 0)
		r = fdpass_listen(m.dir, "start", SOCK_SEQPACKET, &gate, e);
	if (r == 0) {
		co.gate_listen = gate;
		r = container_create(&co, &c, e);
	}
	if (r == 0 && (r = tell(&m, &c, e)) < 0)
		kill_made(&c);
	(void)fd_close(co.console_socket);
	if (r < 0)
		abandon(&m);
	m.dir = fd_close(m.dir);
	container_done(&c);
	return r;
}

static int after_start(struct making *m, struct err *e)
{
	auto_record struct record rec = RECORD_INIT;
	int r;

	if (!m->hooks_after)
		return 0;
	r = record_open(m->o, m->id, &rec, e);
	return r < 0 ? r : record_hooks(m->o, &rec, "poststart", e);
}

static int after_end(struct making *m, struct err *e)
{
	auto_record struct record rec = RECORD_INIT;
	int r = 0;

	if (m->hooks_after)
		r = record_open(m->o, m->id, &rec, e);
	if (r == 0 && m->hooks_after)
		r = record_hooks(m->o, &rec, "poststop", e);
	return r;
}

static void explain_end(const struct container *c, int code)
{
	auto_strbuf struct strbuf why = {0};

	if (code == 128 + SIGKILL && cgroup_oom_explain(c->cgroup, NULL, 0, &why))
		(void)fprintf(stderr, "hull-oci: %s\n", strbuf_text(&why));
}

/* In the foreground: stand by until the end, then clear away. */
static int stand_by(struct making *m, struct container *c, struct err *e)
{
	int code = supervise(c, c->console, e);
	int r;

	if (code >= 0)
		explain_end(c, code);
	if (m->args.keep)
		return code;
	r = container_delete(c, 5000, e);
	if (r == 0)
		r = after_end(m, e);
	m->dir = fd_close(m->dir);
	if (r == 0)
		r = record_remove(m->o, m->id, e);
	return r < 0 ? r : code;
}

int verb_run(struct oci *o, int argc, char **argv, struct err *e)
{
	struct making m = {.o = o, .dir = -1};
	struct container_order co = CONTAINER_ORDER_INIT;
	struct container c = CONTAINER_INIT;
	int r = begin(&m, argc, argv, e);

	if (r < 0)
		return r;
	r = fill_order(&m, &co, !m.args.detach, e);
	co.start = true;
	if (r == 0)
		r = container_create(&co, &c, e);
	(void)fd_close(co.console_socket);
	if (r == 0) {
		r = tell(&m, &c, e);
		if (r == 0)
			r = after_start(&m, e);
		if (r < 0)
			kill_made(&c);
	}
	if (r < 0)
		abandon(&m);
	else if (!m.args.detach)
		r = stand_by(&m, &c, e);
	m.dir = fd_close(m.dir);
	container_done(&c);
	return r;
}

int verb_start(struct oci *o, int argc, char **argv, struct err *e)
{
	auto_record struct record rec = RECORD_INIT;
	const char *id = "";
	int r = oci_one_id(argc, argv, 1, &id, e);

	if (r == 0)
		r = record_open(o, id, &rec, e);
	if (r < 0)
		return r;
	if (strcmp(rec.status, "created") != 0)
		return err_set(e, ERR_CONFLICT, "cannot start container '%s': it is %s", id,
			       rec.status);
	r = container_start_at(rec.dir, "start", e);
	(void)unlinkat(rec.dir, "start", 0);
	if (r < 0)
		return err_wrap(e, "container '%s'", id);
	return record_hooks(o, &rec, "poststart", e);
}
