/*
 * The last steps before a program runs, shared by a container's first process and by execs: limits,
 * user, capabilities, seccomp, descriptors, exec. Names are looked up by the caller's side
 * beforehand (launch_init), so that the process itself does little but system calls.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/process.h"
#include "ground/linux/pty.h"
#include "virt/container/explain.h"
#include "virt/container/job.h"
#include "virt/container/resources.h"
#include "virt/container/state.h"
#include "virt/container/user.h"

static int look_up_caps(struct launch *l, struct err *e)
{
	const struct spec_capabilities *c = l->p->capabilities;
	const struct {
		char **names;
		uint64_t *mask;
		const char *what;
	} sets[] = {
		{c ? c->bounding : NULL, &l->caps.bounding, "bounding"},
		{c ? c->effective : NULL, &l->caps.effective, "effective"},
		{c ? c->inheritable : NULL, &l->caps.inheritable, "inheritable"},
		{c ? c->permitted : NULL, &l->caps.permitted, "permitted"},
		{c ? c->ambient : NULL, &l->caps.ambient, "ambient"},
	};

	for (size_t i = 0; i < array_len(sets); i++)
		if (caps_mask(sets[i].names, sets[i].mask, e) < 0)
			return err_wrap(e, "process.capabilities.%s", sets[i].what);
	return 0;
}

int launch_init(struct launch *l, const struct spec_process *p, struct arena *a, struct err *e)
{
	const struct json *gids = p->user.additional_gids;

	struct stat self;

	if (stat("/proc/self/exe", &self) < 0)
		return err_sys(e, "cannot look at this program's file");
	l->self_dev = self.st_dev;
	l->self_ino = self.st_ino;
	l->p = p;
	l->args = p->args;
	l->env = p->env;
	l->uid = p->user.uid;
	l->gid = p->user.gid;
	l->gids_n = json_len(gids);
	if (p->user.uid == UINT32_MAX || p->user.gid == UINT32_MAX)
		return err_set(e, ERR_INVALID, "process.user: %u is not an id", UINT32_MAX);
	if (l->gids_n > USER_GROUPS_MAX)
		return err_set(e, ERR_INVALID, "process.user.additionalGids: more than %d",
			       USER_GROUPS_MAX);
	l->gids = arena_new_array(a, uint32_t, l->gids_n + 1);
	for (size_t i = 0; i < l->gids_n; i++)
		l->gids[i] = (uint32_t)json_i64(json_at(gids, i), 0);
	return look_up_caps(l, e);
}

int launch_seccomp(struct launch *l, const struct spec_seccomp *s, const char *cache_dir,
		   struct arena *a, struct err *e)
{
	struct seccomp_config c = {0};
	int r;

	if (!s || !s->default_action || !*s->default_action)
		return 0;
	r = resources_seccomp(s, a, &c, e);
	if (r == 0)
		r = seccomp_compile(&c, cache_dir, &l->seccomp, e);
	if (r < 0)
		return err_wrap(e, "linux.seccomp");
	if (!l->seccomp.notifies)
		return 0;
	if (!s->listener_path)
		return err_set(e, ERR_INVALID,
			       "linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath");
	l->seccomp_metadata = s->listener_metadata;
	r = fdpass_connect(AT_FDCWD, s->listener_path, SOCK_STREAM, &l->seccomp_sock, e);
	return r < 0 ? err_wrap(e, "linux.seccomp.listenerPath") : 0;
}

void launch_done(struct launch *l)
{
	seccomp_program_done(&l->seccomp);
	l->seccomp_sock = fd_close(l->seccomp_sock);
	l->tty = fd_close(l->tty);
	l->procfd = fd_close(l->procfd);
}

/* Priorities, limits, personality, keyring: while still privileged. */
static const struct {
	const char *name;
	int resource;
} rlimits[] = {
	{"RLIMIT_AS", RLIMIT_AS},
	{"RLIMIT_CORE", RLIMIT_CORE},
	{"RLIMIT_CPU", RLIMIT_CPU},
	{"RLIMIT_DATA", RLIMIT_DATA},
	{"RLIMIT_FSIZE", RLIMIT_FSIZE},
	{"RLIMIT_LOCKS", RLIMIT_LOCKS},
	{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
	{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
	{"RLIMIT_NICE", RLIMIT_NICE},
	{"RLIMIT_NOFILE", RLIMIT_NOFILE},
	{"RLIMIT_NPROC", RLIMIT_NPROC},
	{"RLIMIT_RSS", RLIMIT_RSS},
	{"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
	{"RLIMIT_RTTIME", RLIMIT_RTTIME},
	{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
	{"RLIMIT_STACK", RLIMIT_STACK},
};

static int set_rlimit(const struct spec_rlimit *s, struct err *e)
{
	for (size_t i = 0; i < array_len(rlimits); i++) {
		struct rlimit r = {s->soft, s->hard};

		if (!text_eq(rlimits[i].name, s->type))
			continue;
		if (setrlimit((__rlimit_resource_t)rlimits[i].resource, &r) < 0)
			return err_sys(e, "process.rlimits: cannot set %s to %llu:%llu%s", s->type,
				       (unsigned long long)s->soft, (unsigned long long)s->hard,
				       errno == EPERM ? " (above the hard limit of this runtime)"
						      : "");
		return 0;
	}
	return err_set(e, ERR_INVALID, "process.rlimits: unknown limit '%s'", s->type);
}

struct sched_parameters { /* struct sched_attr of <linux/sched/types.h>, first version */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static const struct {
	const char *name;
	uint32_t value;
} policies[] = {{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},	     {"SCHED_BATCH", 3},
		{"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}},
  sched_flags[] = {{"SCHED_FLAG_RESET_ON_FORK", 1},  {"SCHED_FLAG_RECLAIM", 2},
		   {"SCHED_FLAG_DL_OVERRUN", 4},     {"SCHED_FLAG_KEEP_POLICY", 8},
		   {"SCHED_FLAG_KEEP_PARAMS", 16},   {"SCHED_FLAG_UTIL_CLAMP_MIN", 32},
		   {"SCHED_FLAG_UTIL_CLAMP_MAX", 64}};

static int set_scheduler(const struct spec_scheduler *s, struct err *e)
{
	struct sched_parameters p = {.size = sizeof(p),
				     .policy = UINT32_MAX,
				     .nice = s->nice,
				     .priority = (uint32_t)s->priority,
				     .runtime = s->runtime,
				     .deadline = s->deadline,
				     .period = s->period};

	for (size_t i = 0; i < array_len(policies); i++)
		if (text_eq(policies[i].name, s->policy))
			p.policy = policies[i].value;
	if (p.policy == UINT32_MAX)
		return err_set(e, ERR_INVALID, "process.scheduler: unknown policy '%s'",
			       s->policy ? s->policy : "");
	for (char **f = s->flags; f && *f; f++) {
		uint64_t before = p.flags;

		for (size_t i = 0; i < array_len(sched_flags); i++)
			if (text_eq(sched_flags[i].name, *f))
				p.flags |= sched_flags[i].value;
		if (p.flags == before)
			return err_set(e, ERR_INVALID, "process.scheduler: unknown flag '%s'", *f);
	}
	if (syscall(SYS_sched_setattr, 0, &p, 0) < 0)
		return err_sys(e, "process.scheduler: cannot set %s", s->policy);
	return 0;
}

static int set_io_priority(const struct spec_io_priority *s, struct err *e)
{
	static const char *const classes[] = {"", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE",
					      "IOPRIO_CLASS_IDLE"};

	for (int i = 1; i < (int)array_len(classes); i++) {
		if (!text_eq(classes[i], s->class_name))
			continue;
		if (s->priority < 0 || s->priority > 7)
			return err_set(e, ERR_INVALID, "process.ioPriority: %d is not 0 to 7",
				       s->priority);
		if (syscall(SYS_ioprio_set, 1, 0, i << 13 | s->priority) < 0)
			return err_sys(e, "process.ioPriority: cannot set %s", s->class_name);
		return 0;
	}
	return err_set(e, ERR_INVALID, "process.ioPriority: unknown class '%s'",
		       s->class_name ? s->class_name : "");
}

/* A new session keyring, so that the container has none of its caller's keys. A full quota is no
 * reason not to start: keys are looked for and not found. */
static void join_keyring(const struct launch *l)
{
	char name[64];

	if (l->no_new_keyring)
		return;
	(void)snprintf(name, sizeof(name), "_ses.%.50s", l->id ? l->id : "");
	(void)syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, name);
}

int launch_personality(const struct spec_personality *p, struct err *e)
{
	unsigned long domain = PER_LINUX;

	if (!p || !p->domain)
		return 0;
	if (text_eq(p->domain, "LINUX32"))
		domain = PER_LINUX32;
	else if (!text_eq(p->domain, "LINUX"))
		return err_set(e, ERR_INVALID, "linux.personality: unknown domain '%s'", p->domain);
	if (p->flags && p->flags[0])
		return err_set(e, ERR_UNSUPPORTED, "linux.personality: unknown flag '%s'",
			       p->flags[0]);
	if (personality(domain) < 0)
		return err_sys(e, "linux.personality: cannot set %s", p->domain);
	return 0;
}

int launch_priority(const struct launch *l, struct err *e)
{
	const struct spec_process *p = l->p;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->rlimits_n; i++)
		r = set_rlimit(&p->rlimits[i], e);
	if (r == 0 && p->scheduler)
		r = set_scheduler(p->scheduler, e);
	if (r == 0 && p->io_priority)
		r = set_io_priority(p->io_priority, e);
	if (r == 0)
		join_keyring(l);
	return r;
}

static bool has_variable(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env && *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return true;
	return false;
}

/* The user by name where one is given, and HOME where the environment lacks it. */
int launch_user(struct launch *l, int root, struct arena *a, struct err *e)
{
	char *home = NULL;
	char **env;
	size_t n;

	if (l->user) {
		struct user u = {0};
		int r = user_lookup(root, l->user, a, &u, e);

		if (r < 0)
			return r;
		if (u.uid == UINT32_MAX || u.gid == UINT32_MAX)
			return err_set(e, ERR_INVALID, "user '%s': %u is not an id", l->user,
				       UINT32_MAX);
		l->uid = u.uid;
		l->gid = u.gid;
		if (u.gids_n) {
			l->gids = u.gids;
			l->gids_n = u.gids_n;
		}
		home = u.home;
	}
	if (has_variable(l->env, "HOME"))
		return 0;
	if (!home)
		home = user_home(root, l->uid, a);
	n = mem_count_texts(l->env);
	env = arena_new_array(a, char *, n + 2);
	memcpy(env, l->env, n * sizeof(*env));
	env[n] = arena_printf(a, "HOME=%s", home ? home : "/");
	l->env = env;
	return 0;
}

int launch_own_terminal(const struct launch *l, struct err *e)
{
	/* EPERM and EINVAL: a user namespace that does not map the id; the terminal stays root's.
	 */
	if (l->tty >= 0 && fchown(l->tty, l->uid, (gid_t)-1) < 0 && errno != EPERM &&
	    errno != EINVAL)
		return err_sys(e, "cannot give the terminal to user %u", l->uid);
	return 0;
}

int launch_cwd(const struct launch *l, struct err *e)
{
	char now[PATH_MAX];
	ssize_t n;

	if (chdir(l->p->cwd) < 0)
		return err_sys(e, "cannot enter the working directory '%s'", l->p->cwd);
	/* A directory outside the root (through a descriptor left open) is "(unreachable)...". */
	n = syscall(SYS_getcwd, now, sizeof(now));
	if (n < 0 || now[0] != '/')
		return err_set(e, ERR_FORBIDDEN,
			       "the working directory '%s' lies outside the container's root",
			       l->p->cwd);
	return 0;
}

static int set_label(struct launch *l, const char *file, const char *value, struct err *e)
{
	char path[64];
	int r = 0;

	if (l->procfd < 0)
		r = process_private_proc(&l->procfd, e);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%d/attr/%s", getpid(), file);
	return process_write_proc(l->procfd, path, value, e);
}

static int set_labels(struct launch *l, struct err *e)
{
	const struct spec_process *p = l->p;
	char value[300];
	int r = 0;

	if (p->apparmor_profile && *p->apparmor_profile) {
		(void)snprintf(value, sizeof(value), "exec %s", p->apparmor_profile);
		if (set_label(l, "apparmor/exec", value, NULL) < 0 &&
		    set_label(l, "exec", value, e) < 0 &&
		    !text_eq(p->apparmor_profile, "unconfined"))
			return err_wrap(e, "process.apparmorProfile '%s' (has this host AppArmor?)",
					p->apparmor_profile);
	}
	if (p->selinux_label && *p->selinux_label) {
		r = set_label(l, "exec", p->selinux_label, e);
		if (r < 0)
			return err_wrap(e, "process.selinuxLabel '%s' (has this host SELinux?)",
					p->selinux_label);
	}
	return 0;
}

static int install_seccomp(struct launch *l, struct err *e)
{
	pid_t pid = l->host_pid ? l->host_pid : getpid();
	struct state st = {.id = (char *)l->id,
			   .status = "creating",
			   .pid = pid,
			   .bundle = l->bundle ? (char *)l->bundle : (char *)"",
			   .annotations = l->annotations};
	auto_close int listener = -1;
	auto_json struct json *state = NULL;
	auto_strbuf struct strbuf text = {0};
	int r;

	if (!l->seccomp.n)
		return 0;
	if (!l->seccomp.notifies)
		return seccomp_install(&l->seccomp, NULL, e);
	state = resources_seccomp_state(pid, l->seccomp_metadata, state_oci(&st));
	json_write(state, &text);
	r = seccomp_install(&l->seccomp, &listener, e);
	if (r == 0)
		r = fdpass_send(l->seccomp_sock, text.p, text.n, &listener, 1, e);
	l->seccomp_sock = fd_close(l->seccomp_sock);
	return r < 0 ? err_wrap(e, "linux.seccomp") : 0;
}

static int set_ids(const struct launch *l, struct err *e)
{
	/* Where setgroups is denied (a user's own namespace) the caller's groups stay: nothing
	 * asked. */
	if (!l->keep_groups && syscall(SYS_setgroups, l->gids_n, l->gids) < 0 &&
	    !(errno == EPERM && !l->gids_n))
		return err_sys(e, "cannot set the additional groups");
	if (syscall(SYS_setresgid, l->gid, l->gid, l->gid) < 0)
		return err_sys(e, "cannot become group %u%s", l->gid,
			       errno == EINVAL ? " (it is not in linux.gidMappings)" : "");
	if (syscall(SYS_setresuid, l->uid, l->uid, l->uid) < 0)
		return err_sys(e, "cannot become user %u%s", l->uid,
			       errno == EINVAL ? " (it is not in linux.uidMappings)" : "");
	return 0;
}

int launch_privileges(struct launch *l, struct err *e)
{
	const struct spec_process *p = l->p;
	int r;

	assert(l->uid != UINT32_MAX && l->gid != UINT32_MAX);
	r = set_labels(l, e);

	if (r < 0)
		return r;
	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "cannot set process.noNewPrivileges");
	/* Without that, a filter takes CAP_SYS_ADMIN: now or never. */
	if (!p->no_new_privileges && (r = install_seccomp(l, e)) < 0)
		return r;
	if ((r = caps_bound(l->caps.bounding, e)) < 0)
		return r;
	if ((r = caps_keep(e)) < 0 || (r = set_ids(l, e)) < 0)
		return r;
	(void)umask(p->user.umask ? *p->user.umask & 0777 : 0022);
	r = caps_apply(&l->caps, e);
	return r < 0 ? err_wrap(e, "process.capabilities") : 0;
}

static const char *variable(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env && *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

#define SCRIPT_DEPTH_MAX 5

/* "#!/proc/self/exe": the interpreter counts too, and the interpreter's. */
static bool read_interpreter(const char *path, char *line, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, line, size - 1);
	char *p = line + 2;

	if (n < 3 || memcmp(line, "#!", 2) != 0)
		return false;
	line[n] = '\0';
	p += strspn(p, " \t");
	p[strcspn(p, " \t\r\n")] = '\0';
	memmove(line, p, strlen(p) + 1);
	return *line;
}

/* An image whose program is a link to the runtime would run it with the host's file in its hands.
 */
static int refuse_self(const struct launch *l, struct err *e)
{
	char name[PATH_MAX], line[256];
	struct stat s;

	(void)snprintf(name, sizeof(name), "%s", l->path);
	for (int depth = 0; depth < SCRIPT_DEPTH_MAX; depth++) {
		if (stat(name, &s) == 0 && s.st_dev == l->self_dev && s.st_ino == l->self_ino)
			return err_set(
				e, ERR_FORBIDDEN,
				"cannot execute '%s': it leads to this runtime's own program: "
				"permission denied",
				l->path);
		if (!read_interpreter(name, line, sizeof(line)))
			return 0;
		memcpy(name, line, sizeof(line));
	}
	return 0;
}

static bool runs(const char *path)
{
	struct stat s;

	return access(path, X_OK) == 0 && stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

int launch_find(struct launch *l, struct arena *a, struct err *e)
{
	const char *name = l->args[0], *found = NULL;
	const char *path = variable(l->env, "PATH");
	struct str rest, dir;

	if (strchr(name, '/')) {
		l->path = name;
		return runs(name) ? refuse_self(l, e) : explain_exec(name, 0, e);
	}
	if (!path)
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	rest = str_of(path);
	while (*name && str_cut(&rest, ':', &dir)) {
		char *full = arena_printf(a, "%.*s/%s", dir.n ? (int)dir.n : 1, dir.n ? dir.p : ".",
					  name);

		if (runs(full)) {
			l->path = full;
			return refuse_self(l, e);
		}
		if (!found && access(full, F_OK) == 0)
			found = full;
	}
	if (found)
		return explain_exec(found, 0, e);
	return err_set(e, ERR_NOT_FOUND,
		       "'%s': executable file not found in $PATH (%s): no such file or directory",
		       name, path);
}

static int set_stdio(const struct launch *l, struct err *e)
{
	int from[3];

	if (l->tty >= 0)
		return pty_adopt(l->tty, e);
	/* Those that stand on another's place are moved away first; dup3 onto itself is refused. */
	for (int i = 0; i < 3; i++) {
		from[i] = l->stdio[i];
		if (from[i] >= 0 && from[i] < 3)
			from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3 + (int)l->preserve_fds);
		if (from[i] < 0 && l->stdio[i] >= 0)
			return err_sys(e, "cannot put standard stream %d in place", i);
	}
	for (int i = 0; i < 3; i++)
		if (from[i] >= 0 && dup3(from[i], i, 0) < 0)
			return err_sys(e, "cannot put standard stream %d in place", i);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/*
 * Whatever else is open, ours or leaked by who called us, is closed now, not only by exec: callers
 * wait for the end of pipes that a container waiting at its gate would otherwise hold.
 */
int launch_descriptors(struct launch *l, const int *keep, size_t n, struct err *e)
{
	unsigned int from = 3 + l->preserve_fds;
	int sorted[LAUNCH_KEEP_MAX + 1];
	int r = set_stdio(l, e);

	assert(n < LAUNCH_KEEP_MAX);
	if (r < 0)
		return r;
	l->tty = -1; /* closed below, if it is not 0, 1 or 2 */
	memcpy(sorted, keep, n * sizeof(*keep));
	sorted[n++] = l->seccomp_sock;
	qsort(sorted, n, sizeof(*sorted), by_number);
	for (size_t i = 0; i <= n; i++) {
		unsigned int to = i < n ? (unsigned int)sorted[i] - 1 : ~0U;

		if (i < n && sorted[i] < (int)from)
			continue; /* none, or one that stands below already */
		if (to >= from && syscall(SYS_close_range, from, to, 0) < 0)
			return err_sys(e, "cannot close the descriptors");
		from = to + 2;
	}
	l->procfd = -1;
	return 0;
}

int launch_exec(struct launch *l, struct err *e)
{
	char *none[] = {NULL};
	int r = 0;

	assert(l->path && l->args && l->args[0]);
	assert(l->tty < 0);
	if (l->p->no_new_privileges && (r = install_seccomp(l, e)) < 0)
		return r;
	(void)execve(l->path, l->args, l->env ? l->env : none);
	return explain_exec(l->path, errno, e);
}
