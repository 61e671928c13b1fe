/*
 * Any bytes as a layer, extracted into a directory of its own: nothing may appear beside it. Small
 * limits, so that bombs are refused at once; no devices, so that it also runs without rights.
 */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/store/folder.h"
#include "ground/store/inflate.h"
#include "virt/image/image_priv.h"

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n);

static int64_t read_some(void *arg, void *p, size_t n, struct err *e)
{
	struct str *left = arg;

	(void)e;
	n = n < left->n ? n : left->n;
	memcpy(p, left->p, n);
	left->p += n;
	left->n -= n;
	return (int64_t)n;
}

/* The parent of all test directories, made once; it holds one name, "top". */
static int playground(void)
{
	static int fd = -1;
	const char *tmp = getenv("TMPDIR"); /* tool/fuzz gives one in memory */
	auto_free char *path = mem_printf("%s/hull-extract-fuzz-XXXXXX", tmp ? tmp : "/tmp");

	if (fd >= 0)
		return fd;
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	if (!mkdtemp(path))
		abort();
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd;
}

static void check_alone(int fd)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fdopendir(again);

	for (struct dirent *d; (d = readdir(dir));)
		assert(d->d_name[0] == '.' || strcmp(d->d_name, "top") == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n)
{
	struct str left = {(const char *)p, n};
	struct inflate_source source = {read_some, &left};
	struct extract_policy policy = {
		.limits = {.bytes_max = 1 << 20,
			   .entries_max = 64,
			   .depth_max = 8,
			   .xattr_bytes_max = 4096},
		.layer = n % 2 == 0,
		.uid = getuid(),
		.gid = getgid(),
		.user_xattr = true,
	};
	auto_inflate struct inflate *from = NULL;
	auto_arena struct arena a = {0};
	struct unpack_answer answer = {0};
	auto_close int top = -1;
	int ground = playground();

	if (mkdirat(ground, "top", 0700) < 0)
		abort();
	top = openat(ground, "top", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (inflate_new(&source, &from, NULL) == 0)
		(void)!extract_archive(from, top, &policy, &a, &answer, NULL);
	check_alone(ground);
	assert(folder_remove(ground, "top", NULL) == 0);
	return 0;
}
