/*
 * exec: one more process in a running container.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/caps.h"
#include "virt/container/spec.h"

struct exec_args {
	const char *process, *console_socket, *pid_file, *pidfd_socket, *cwd, *user, *apparmor,
		*label, *cgroup;
	char **env, **caps, **gids;
	bool tty, detach, no_new_privs, ignore_paused, no_subreaper;
	int64_t preserve_fds;
};

#define ROW(letter, name, type, member, arg, help)                                \
	{                                                                         \
		letter, name, type, offsetof(struct exec_args, member), arg, help \
	}
static const struct option_row options[] = {
	ROW('p', "process", OPTION_TEXT, process, "FILE", "the process as in config.json"),
	ROW('t', "tty", OPTION_FLAG, tty, NULL, "with a terminal"),
	ROW(0, "console-socket", OPTION_TEXT, console_socket, "PATH", "gets the terminal's master"),
	ROW(0, "pidfd-socket", OPTION_TEXT, pidfd_socket, "PATH", "gets the process's pidfd"),
	ROW('d', "detach", OPTION_FLAG, detach, NULL, "return when it runs"),
	ROW(0, "pid-file", OPTION_TEXT, pid_file, "FILE", "gets the process's pid"),
	ROW(0, "cwd", OPTION_TEXT, cwd, "DIR", "working directory inside"),
	ROW('e', "env", OPTION_TEXTS, env, "NAME=VALUE", "set a variable"),
	ROW('u', "user", OPTION_TEXT, user, "UID[:GID]", "numbers"),
	ROW('g', "additional-gids", OPTION_TEXTS, gids, "GID", "one more group"),
	ROW('c', "cap", OPTION_TEXTS, caps, "CAP", "one more capability"),
	ROW(0, "no-new-privs", OPTION_FLAG, no_new_privs, NULL, "set no_new_privs"),
	ROW(0, "apparmor", OPTION_TEXT, apparmor, "PROFILE", "AppArmor profile"),
	ROW(0, "process-label", OPTION_TEXT, label, "LABEL", "SELinux label"),
	ROW(0, "preserve-fds", OPTION_I64, preserve_fds, "N", "hand on N descriptors after stdio"),
	ROW(0, "cgroup", OPTION_TEXT, cgroup, "PATH", "a cgroup below the container's"),
	ROW(0, "ignore-paused", OPTION_FLAG, ignore_paused, NULL, "also in a paused container"),
	ROW(0, "no-subreaper", OPTION_FLAG, no_subreaper, NULL, "accepted"),
};

/* "1000" or "1000:100": strict, since a slip here means another user. */
static int set_user(const char *text, struct spec_user *u, struct err *e)
{
	struct str rest = str_of(text), uid;
	int r;

	(void)str_cut(&rest, ':', &uid);
	r = parse_u32(uid, "user id", &u->uid, e);
	if (r < 0 || !rest.p)
		return r;
	return parse_u32(rest, "group id", &u->gid, e);
}

static char **add_texts(char **list, char **more, struct arena *a)
{
	size_t n = mem_count_texts(list), m = mem_count_texts(more);
	char **ret = arena_new_array(a, char *, n + m + 1);

	if (n)
		memcpy(ret, list, n * sizeof(*ret));
	memcpy(ret + n, more, m * sizeof(*ret));
	return ret;
}

static void add_caps(struct spec_process *p, char **caps, struct arena *a)
{
	struct spec_capabilities *c = arena_new(a, struct spec_capabilities);

	if (p->capabilities)
		*c = *p->capabilities;
	c->bounding = add_texts(c->bounding, caps, a);
	c->effective = add_texts(c->effective, caps, a);
	c->permitted = add_texts(c->permitted, caps, a);
	p->capabilities = c;
}

static int set_groups(struct spec_process *p, char **gids, struct err *e)
{
	struct json *list = json_new_array();
	int r = 0;

	for (char **g = gids; r == 0 && *g; g++) {
		uint32_t gid = 0;

		r = parse_u32(str_of(*g), "group id", &gid, e);
		json_append(list, json_new_i64(gid));
	}
	p->user.additional_gids = list; /* lives as long as this short process */
	return r;
}

/* What flags say beside args, env and cwd; runs in the joining child. */
static int adjust(void *ctx, struct spec_process *p, struct arena *a, struct err *e)
{
	const struct exec_args *x = ctx;
	int r = 0;

	if (x->user)
		r = set_user(x->user, &p->user, e);
	if (r == 0 && x->gids)
		r = set_groups(p, x->gids, e);
	if (x->caps)
		add_caps(p, x->caps, a);
	if (x->no_new_privs)
		p->no_new_privileges = true;
	if (x->apparmor)
		p->apparmor_profile = arena_dup_text(a, x->apparmor);
	if (x->label)
		p->selinux_label = arena_dup_text(a, x->label);
	if (x->tty)
		p->terminal = true;
	return r;
}

/* What is decoded borrows from *ret_tree, which the caller frees after the exec. */
static int read_process(struct oci *o, const char *path, struct container_exec_order *xo,
			struct json **ret_tree, struct err *e)
{
	struct spec_process *p;
	int r = json_read_file(AT_FDCWD, path, SPEC_SIZE_MAX, ret_tree, e);

	if (r == 0)
		r = spec_decode_process(*ret_tree, path, &o->arena, &p, e);
	if (r == 0)
		xo->process = p;
	return r;
}

static int check_state(const struct record *rec, bool ignore_paused, struct err *e)
{
	if (!strcmp(rec->status, "paused") && !ignore_paused)
		return err_set(e, ERR_CONFLICT,
			       "cannot exec in container '%s': it is paused (see --ignore-paused)",
			       rec->id);
	if (!strcmp(rec->status, "stopped"))
		return err_set(e, ERR_CONFLICT, "cannot exec in container '%s': it is not running",
			       rec->id);
	return 0;
}

static int fill_order(struct oci *o, const struct record *rec, const struct exec_args *x,
		      struct container_exec_order *xo, struct json **ret_tree, struct err *e)
{
	xo->pid = (pid_t)rec->state.pid;
	xo->start_time = rec->state.start_time;
	xo->config = rec->state.config;
	xo->cgroup = rec->cgroup;
	xo->cgroup_sub = x->cgroup;
	xo->env = x->env;
	xo->cwd = x->cwd;
	xo->terminal = x->tty;
	xo->want_console = !x->console_socket && !x->detach;
	xo->seccomp_dir = arena_printf(&o->arena, "%s/.seccomp", o->root);
	xo->adjust = adjust;
	xo->adjust_ctx = (void *)x;
	if (x->preserve_fds < 0 || x->preserve_fds > CONTAINER_PRESERVE_MAX)
		return err_set(e, ERR_INVALID, "--preserve-fds: at most %d",
			       CONTAINER_PRESERVE_MAX);
	xo->preserve_fds = (unsigned int)x->preserve_fds;
	if (x->process && read_process(o, x->process, xo, ret_tree, e) < 0)
		return -(int)e->kind;
	return connect_console(x->console_socket, &xo->console_socket, e);
}

int verb_exec(struct oci *o, int argc, char **argv, struct err *e)
{
	struct exec_args x = {0};
	auto_record struct record rec = RECORD_INIT;
	struct container_exec_order xo = CONTAINER_EXEC_INIT;
	auto_json struct json *tree = NULL;
	struct container c = CONTAINER_INIT;
	int first, r;

	r = options_parse(options, array_len(options), &x, argc, argv, true, &first, e);
	if (r < 0)
		return r;
	if (first >= argc)
		return err_set(e, ERR_INVALID, "exec: a container id is needed");
	if (first + 1 >= argc && !x.process)
		return err_set(e, ERR_INVALID, "exec: a program or --process is needed");
	r = record_open(o, argv[first], &rec, e);
	if (r == 0)
		r = check_state(&rec, x.ignore_paused, e);
	if (r == 0)
		r = fill_order(o, &rec, &x, &xo, &tree, e);
	if (!x.process)
		xo.args = argv + first + 1;
	if (r == 0)
		r = container_exec(&xo, &c, e);
	(void)fd_close(xo.console_socket);
	if (r == 0)
		r = send_pidfd(x.pidfd_socket, c.pidfd, e);
	if (r == 0)
		r = write_pid_file(x.pid_file, c.pid, e);
	if (r == 0 && !x.detach)
		r = supervise(&c, c.console, e);
	container_done(&c);
	return r;
}
