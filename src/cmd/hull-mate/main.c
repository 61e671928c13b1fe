/*
 * hull-mate: minds one machine. hull-keeper runs it where a container's first process would be: it
 * makes the disks that are missing, starts hull-slirp and hull-vm, hands the command to the agent
 * in the guest, and stands for it on the host: its streams, signals and exit code are the guest's.
 *
 *	hull-mate run MACHINE.json
 *	hull-mate exec SOCKET [OPTIONS] COMMAND...	one more command in a machine that runs
 *
 * Everything it starts ends with it. Exit codes: the guest's; 125 when there was no machine; 126
 * and 127 for a command that could not be run.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "ground/base/mem.h"
#include "ground/base/options.h"
#include "mate.h"
#include "terminal.h"
#include "virt/guest/session.h"

#define CONNECT_MS 10000
#define BOOT_MS	   60000 /* a machine may still be on its way up */
#define RETRY_MS   100

struct exec_options {
	char **env;
	const char *cwd, *user;
	bool tty, interactive;
};

static const struct option_row rows[] = {
	{'e', "env", OPTION_TEXTS, offsetof(struct exec_options, env), "K=V", "a variable"},
	{'w', "workdir", OPTION_TEXT, offsetof(struct exec_options, cwd), "DIR", "its directory"},
	{'u', "user", OPTION_TEXT, offsetof(struct exec_options, user), "USER", "its user"},
	{'t', "tty", OPTION_FLAG, offsetof(struct exec_options, tty), NULL, "a terminal"},
	{'i', "interactive", OPTION_FLAG, offsetof(struct exec_options, interactive), NULL,
	 "standard input"},
};

static int run(const char *path, struct err *e)
{
	auto_arena struct arena a = {0};
	struct mate_spec s;

	if (spec_read(path, &a, &s, e) < 0)
		return -ERR_INVALID;
	return machine_mind(&s, e);
}

static int connect_agent(const char *path, int *ret_fd, struct err *e)
{
	for (int waited = 0;; waited += RETRY_MS) {
		int r = guest_connect(path, GUEST_PORT, CONNECT_MS, ret_fd, e);
		/* Nobody listens in the guest yet, or hull-vm has not made its socket yet. */
		bool early = r == -ERR_UNAVAILABLE || r == -ERR_NOT_FOUND;

		if (!early || waited >= BOOT_MS)
			return r;
		*e = (struct err){0};
		(void)poll(NULL, 0, RETRY_MS);
	}
}

static int exec_command(int argc, char **argv, struct err *e)
{
	struct exec_options o = {0};
	struct guest_start start = {0};
	struct guest_session session = {.stdio = {0, 1, 2}, .start = &start, .watch = -1};
	uint32_t code = MATE_CODE_FAILED;
	int first = 0, r;

	if (options_parse(rows, array_len(rows), &o, argc - 1, argv + 1, true, &first, e) < 0)
		return -ERR_INVALID;
	if (first >= argc - 1)
		return err_set(e, ERR_INVALID, "no command");
	start = (struct guest_start){.args = argv + 1 + first,
				     .env = o.env,
				     .cwd = (char *)(uintptr_t)o.cwd,
				     .user = (char *)(uintptr_t)o.user,
				     .tty = o.tty,
				     .want_stdin = o.interactive || o.tty};
	terminal_prepare(&start);
	session.signals = terminal_signals(e);
	if (session.signals < 0)
		return -ERR_SYSTEM;
	r = connect_agent(argv[1], &session.fd, e);
	if (r == 0)
		r = guest_session_run(&session, &code, e);
	if (r < 0)
		(void)fprintf(stderr, "%s\n", e->text);
	options_free(rows, array_len(rows), &o);
	return (int)code;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	int r;

	if (argc == 3 && text_eq(argv[1], "run"))
		r = run(argv[2], &e);
	else if (argc >= 4 && text_eq(argv[1], "exec"))
		r = exec_command(argc - 1, argv + 1, &e);
	else
		r = err_set(&e, ERR_INVALID, "hull-mate is started by hull-keeper");
	if (r < 0)
		(void)fprintf(stderr, "hull: %s\n", e.text);
	return r < 0 ? MATE_CODE_FAILED : r;
}
