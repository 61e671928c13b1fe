/*
 * Seccomp filters: compiling in a forked child, installing, and handing a listener to its agent.
 * What is compiled is kept by seccomp_cache.c.
 */
#include "ground/linux/seccomp_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

static_assert(sizeof(struct seccomp_insn) == sizeof(struct sock_filter), "the kernel's layout");

/* What the child says before the program's bytes. */
struct verdict {
	int32_t kind; /* 0 or an error's kind, negative */
	uint32_t flags;
	uint32_t notifies;
	char text[sizeof((struct err *)0)->text];
};

/*
 * The child writes the program into one pipe while it is made, and its verdict into another: a
 * program is at most 32 KiB and a pipe holds 64.
 */
static void build_and_exit(const struct seccomp_config *c, int program_fd, int verdict_fd)
{
	struct seccomp_program p = {0};
	struct verdict v = {0};
	struct err e = {0};

	v.kind = seccomp_build(c, program_fd, &p, &e);
	v.flags = p.flags;
	v.notifies = p.notifies;
	(void)snprintf(v.text, sizeof v.text, "%s", e.text);
	_exit(write(verdict_fd, &v, sizeof v) == (ssize_t)sizeof v ? 0 : 1);
}

static ssize_t read_all(int fd, void *p, size_t room)
{
	size_t n = 0;

	while (n < room) {
		ssize_t got = read(fd, (char *)p + n, room - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -1 : (ssize_t)n;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static int collect(int program_fd, int verdict_fd, struct seccomp_program *ret, struct err *e)
{
	const size_t room = (SECCOMP_INSNS_MAX + 1) * sizeof(struct seccomp_insn);
	auto_free struct seccomp_insn *insns = mem_new_bytes(1, room);
	struct verdict v = {0};
	ssize_t n = read_all(program_fd, insns, room);

	if (n < 0 || read_all(verdict_fd, &v, sizeof v) != (ssize_t)sizeof v)
		return err_set(e, ERR_INTERNAL, "the seccomp filter's compiler died");
	if (v.kind < 0)
		return err_set(e, -v.kind, "%.*s", (int)sizeof v.text, v.text);
	if ((size_t)n == room)
		return err_set(e, ERR_INVALID,
			       "the seccomp filter is longer than the kernel's %d instructions",
			       SECCOMP_INSNS_MAX);
	if (!seccomp_program_sound(insns, (size_t)n / sizeof *insns))
		return err_set(e, ERR_INTERNAL, "the compiled seccomp filter is not sound");
	*ret = (struct seccomp_program){
		.insns = mem_dup_bytes(insns, (size_t)n),
		.n = (uint32_t)((size_t)n / sizeof *insns),
		.flags = v.flags,
		.notifies = v.notifies,
	};
	return 0;
}

static int compile_apart(const struct seccomp_config *c, struct seccomp_program *ret, struct err *e)
{
	int program[2] = {-1, -1}, verdict[2] = {-1, -1};
	pid_t pid = -1;
	int r = 0;

	if (pipe2(program, O_CLOEXEC) < 0 || pipe2(verdict, O_CLOEXEC) < 0) {
		r = err_sys(e, "cannot make a pipe for the seccomp compiler");
		goto out;
	}
	pid = fork();
	if (pid < 0) {
		r = err_sys(e, "cannot fork the seccomp compiler");
		goto out;
	}
	if (pid == 0)
		build_and_exit(c, program[1], verdict[1]);
	program[1] = fd_close(program[1]);
	verdict[1] = fd_close(verdict[1]);
	r = collect(program[0], verdict[0], ret, e);
	/* Whatever is unread, the reader's end closes first, so that the child cannot block. */
	program[0] = fd_close(program[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
out:
	for (int i = 0; i < 2; i++) {
		(void)fd_close(program[i]);
		(void)fd_close(verdict[i]);
	}
	return r;
}

bool seccomp_program_sound(const struct seccomp_insn *insns, size_t n)
{
	if (n == 0 || n > SECCOMP_INSNS_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct seccomp_insn *at = &insns[i];

		if (BPF_CLASS(at->code) != BPF_JMP)
			continue;
		if (BPF_OP(at->code) == BPF_JA && at->k >= n - i - 1)
			return false;
		if (BPF_OP(at->code) != BPF_JA && (at->jt >= n - i - 1 || at->jf >= n - i - 1))
			return false;
	}
	return BPF_CLASS(insns[n - 1].code) == BPF_RET;
}

int seccomp_compile(const struct seccomp_config *c, const char *cache_dir,
		    struct seccomp_program *ret, struct err *e)
{
	auto_strbuf struct strbuf canonical = {0};
	int r = 0;

	if (c->syscalls_n > SECCOMP_SYSCALLS_MAX)
		return err_set(e, ERR_INVALID, "%zu seccomp rules are more than %d", c->syscalls_n,
			       SECCOMP_SYSCALLS_MAX);
	if (cache_dir) {
		seccomp_canonical(c, &canonical);
		if (seccomp_cache_load(cache_dir, strbuf_str(&canonical), ret))
			return 0;
	}
	r = compile_apart(c, ret, e);
	if (r == 0 && cache_dir)
		seccomp_cache_store(cache_dir, strbuf_str(&canonical), ret);
	return r < 0 ? err_wrap(e, "seccomp") : 0;
}

void seccomp_program_done(struct seccomp_program *p)
{
	free(p->insns);
	*p = (struct seccomp_program){0};
}

int seccomp_install(const struct seccomp_program *p, int *ret_listener_fd, struct err *e)
{
	struct sock_fprog prog = {.len = (uint16_t)p->n, .filter = (struct sock_filter *)p->insns};
	uint32_t with = p->flags;
	long r = 0;

	assert(p->n <= SECCOMP_INSNS_MAX);
	if (ret_listener_fd)
		*ret_listener_fd = -1;
	if (p->n == 0)
		return 0;
	if (p->notifies) {
		if (!ret_listener_fd)
			return err_set(
				e, ERR_INVALID,
				"the seccomp filter notifies, but there is no listener path");
		with |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
		if (with & SECCOMP_FILTER_FLAG_TSYNC)
			with |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
	} else {
		/* Speaks of notifications only; the kernel refuses it without a listener. */
		with &= ~(uint32_t)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	}
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, with, &prog);
	if (r < 0)
		return err_sys(e, "cannot install the seccomp filter of %u instructions", p->n);
	if (p->notifies)
		*ret_listener_fd = (int)r;
	return 0;
}

int seccomp_notify_send(const char *path, struct str state, const int *fds, size_t fds_n,
			struct err *e)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	auto_close int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int) * 8)];
	} control = {0};
	struct iovec io = {(void *)state.p, state.n};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control.bytes};
	ssize_t sent = 0;

	assert(fds_n > 0 && fds_n <= 8);
	if (sock < 0)
		return err_sys(e, "cannot make a socket for the seccomp agent");
	if (strlen(path) >= sizeof to.sun_path)
		return err_set(e, ERR_INVALID, "the seccomp listener path '%.150s' is too long",
			       path);
	memcpy(to.sun_path, path, strlen(path));
	if (connect(sock, (struct sockaddr *)&to, sizeof to) < 0)
		return err_sys(e, "cannot connect to the seccomp agent at '%s'", path);
	m.msg_controllen = CMSG_SPACE(sizeof(int) * fds_n);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int) * fds_n);
	memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fds_n);
	sent = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (sent >= 0 && (size_t)sent < state.n) {
		ssize_t more = send(sock, state.p + sent, state.n - (size_t)sent, MSG_NOSIGNAL);

		sent = more < 0 ? more : sent + more;
	}
	return sent < 0 ? err_sys(e, "cannot tell the seccomp agent at '%s'", path) : 0;
}
