/*
 * `hull vm kernel`: the work is hull-kernel's, a program beside hulld that reads packages; this runs
 * it and shows what it says. No daemon is needed: kernels are files below the root.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/table.h"
#include "cli/vm.h"
#include "cli/words.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/json.h"

#define LIST_BYTES_MAX (1u << 20)

/* Beside this program (a build tree), or in ../libexec/hull (installed). */
static char *helper(const char *name)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *beside;

	while (n > 0 && self[n - 1] != '/')
		n--;
	if (n <= 0)
		return mem_printf("/usr/libexec/hull/%s", name);
	self[n] = '\0';
	beside = mem_printf("%s%s", self, name);
	if (access(beside, X_OK) == 0)
		return beside;
	free(beside);
	return mem_printf("%s../libexec/hull/%s", self, name);
}

/* Runs it to its end; out NULL: its output is ours. */
static int run_helper(char *const *argv, struct strbuf *out, struct err *e)
{
	auto_free char *path = helper("hull-kernel");
	char piece[4096];
	int ends[2], status = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(ends) < 0)
		return err_sys(e, "cannot make a pipe");
	pid = fork();
	if (pid == 0) {
		if (out)
			(void)dup2(ends[1], STDOUT_FILENO);
		(void)close(ends[0]);
		(void)close(ends[1]);
		(void)execv(path, argv);
		(void)dprintf(2, "hull: cannot run '%s': %s\n", path, strerror(errno));
		_exit(127);
	}
	(void)close(ends[1]);
	while (out && out->n < LIST_BYTES_MAX && (n = read(ends[0], piece, sizeof(piece))) > 0)
		strbuf_add(out, piece, (size_t)n);
	(void)close(ends[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return err_sys(e, "cannot run '%s'", path);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

static int list(const char *root, struct err *e)
{
	char *argv[] = {"hull-kernel", "ls", (char *)(uintptr_t)root, NULL};
	auto_strbuf struct strbuf text = {0};
	struct table t = {0};
	struct str rest, line;
	int r = run_helper(argv, &text, e);

	if (r != 0)
		return r;
	table_row(&t, "ID", "VERSION", "MODULES", "KERNEL", "INITRD", "ADDED", NULL);
	rest = strbuf_str(&text);
	while (str_cut(&rest, '\n', &line)) {
		auto_json struct json *j = NULL;

		if (line.n == 0 || json_parse(line, "kernel", &j, NULL) < 0)
			continue;
		auto_free char *modules = mem_printf("%" PRId64, json_get_i64(j, "Modules", 0));
		auto_free char *kernel = words_bytes(json_get_i64(j, "KernelBytes", 0));
		auto_free char *initrd = words_bytes(json_get_i64(j, "InitrdBytes", 0));
		auto_free char *added = words_ago(json_get_i64(j, "Added", 0), time(NULL));

		table_row(&t, json_get_text(j, "Id"), json_get_text(j, "Version"), modules, kernel,
			  initrd, added, NULL);
	}
	table_print(&t, stdout);
	return 0;
}

static int add(const char *root, const char *source, struct err *e)
{
	auto_free char *init = helper("hull-init");
	char *argv[] = {"hull-kernel",
			"add",
			(char *)(uintptr_t)root,
			init,
			(char *)(uintptr_t)(source ? source : "installed"),
			NULL};

	return run_helper(argv, NULL, e);
}

static int drop(const char *root, int argc, char **argv, struct err *e)
{
	char **all = NULL;
	int r;

	mem_append_text(&all, "hull-kernel");
	mem_append_text(&all, "rm");
	mem_append_text(&all, root);
	for (int i = 0; i < argc; i++)
		mem_append_text(&all, argv[i]);
	r = run_helper(all, NULL, e);
	all = mem_free_texts(all);
	return r;
}

int vm_kernel_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	if (text_eq(argv[0], "add") && argc <= 2)
		return add(c->root, argc == 2 ? argv[1] : NULL, e);
	if (text_eq(argv[0], "ls") && argc == 1)
		return list(c->root, e);
	if (text_eq(argv[0], "rm") && argc >= 2)
		return drop(c->root, argc - 1, argv + 1, e);
	return err_set(e, ERR_INVALID,
		       "usage: hull vm kernel add [PACKAGE.deb|installed] | ls | rm ID...");
}
