/*
 * Disks of a machine that boots an image: the image's layers as one erofs file, made once per image
 * and shared read-only by all its machines, and an ext4 file for what a machine writes. The programs
 * that make file systems are Debian's (erofs-utils, e2fsprogs).
 *
 * An erofs file is made beside its name and renamed, under a lock, so that a kill leaves none that
 * is half made and two machines do not make the same. It is not compressed: the guest's processor is
 * the slow one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/mount.h"
#include "mate.h"

static const char *const folders[] = {"/usr/bin", "/usr/sbin", "/sbin", "/bin"};

static char *find_program(const char *name, struct arena *a)
{
	for (size_t i = 0; i < array_len(folders); i++) {
		char *path = arena_printf(a, "%s/%s", folders[i], name);

		if (access(path, X_OK) == 0)
			return path;
	}
	return NULL;
}

/* Runs a program to its end; its complaints go to our standard error. `keep`: inherited as 3. */
static int run_tool(char **argv, const char *package, int keep, struct err *e)
{
	auto_arena struct arena a = {0};
	const char *name = argv[0];
	struct mate_child c;
	int fds[] = {-1, -1, 2, keep}, code;

	argv[0] = find_program(name, &a);
	if (!argv[0])
		return err_set(e, ERR_UNSUPPORTED, "'%s' is missing; install %s", name, package);
	if (child_start(argv, fds, keep >= 0 ? 4 : 3, &c, e) < 0 ||
	    child_wait(&c, -1, &code, e) < 0)
		return -ERR_SYSTEM;
	return code == 0 ? 0 : err_set(e, ERR_SYSTEM, "'%s' failed with code %d", name, code);
}

static int open_layers(const struct mate_spec *s, int *ret, struct err *e)
{
	if (mem_count_texts(s->lower) != 1)
		return mount_new_overlay(s->lower, NULL, NULL, false, ret, e);
	*ret = open(s->lower[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, "cannot open layer '%s'", s->lower[0]) : 0;
}

static int build(const struct mate_spec *s, struct err *e)
{
	auto_free char *fresh = mem_printf("%s.new", s->image);
	char *argv[] = {"mkfs.erofs", "-x1", "-T0", fresh, "/proc/self/fd/3/.", NULL};
	auto_close int layers = -1;

	(void)unlink(fresh);
	if (open_layers(s, &layers, e) < 0 || run_tool(argv, "erofs-utils", layers, e) < 0)
		return err_wrap(e, "making a file system of the image");
	if (rename(fresh, s->image) < 0)
		return err_sys(e, "cannot keep '%s'", s->image);
	return 0;
}

int disk_make_image(const struct mate_spec *s, struct err *e)
{
	auto_free char *lock = mem_printf("%s.lock", s->image);
	auto_close int fd = -1;

	if (access(s->image, R_OK) == 0)
		return 0;
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return err_sys(e, "cannot lock '%s'", lock);
	return access(s->image, R_OK) == 0 ? 0 : build(s, e);
}

int disk_make_upper(const struct mate_spec *s, struct err *e)
{
	auto_free char *fresh = mem_printf("%s.new", s->upper);
	char *argv[] = {"mkfs.ext4", "-q",
			"-E",	     "lazy_itable_init=1,lazy_journal_init=1",
			"-O",	     "^metadata_csum_seed",
			"-m",	     "0",
			fresh,	     NULL};
	auto_close int fd = -1;

	if (access(s->upper, R_OK) == 0)
		return 0;
	(void)unlink(fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, s->upper_bytes) < 0)
		return err_sys(e, "cannot make the machine's disk '%s'", fresh);
	if (run_tool(argv, "e2fsprogs", -1, e) < 0)
		return err_wrap(e, "making the machine's disk");
	if (rename(fresh, s->upper) < 0)
		return err_sys(e, "cannot keep '%s'", s->upper);
	return 0;
}
