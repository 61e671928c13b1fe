/*
 * Fuzz: an image's passwd and group (the same bytes for both) never do harm to a look-up.
 */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/container/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static int root_dir(void)
{
	static int root = -1;
	const char *tmp = getenv("TMPDIR"); /* tool/fuzz gives one in memory */
	auto_free char *dir = mem_printf("%s/user-fuzz.XXXXXX", tmp ? tmp : "/tmp");

	if (root < 0 && mkdtemp(dir)) {
		root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert(mkdirat(root, "etc", 0700) == 0);
	}
	return root;
}

static void put(int root, const char *path, const uint8_t *bytes, size_t n)
{
	auto_close int fd = openat(root, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const char *const names[] = {"root", "a:b", "0", "1:1", "a"};
	int root = root_dir();

	put(root, "etc/passwd", bytes, n);
	put(root, "etc/group", bytes, n);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		auto_arena struct arena a = {0};
		struct user u = {0};
		struct err e = {0};

		if (user_lookup(root, names[i], &a, &u, &e) < 0)
			assert(e.text[0]);
		else
			assert(u.gids_n <= USER_GROUPS_MAX);
		(void)user_home(root, 0, &a);
	}
	return 0;
}
