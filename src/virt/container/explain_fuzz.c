/*
 * Fuzz: a program file of a stranger is explained in one sentence, whatever its first bytes are.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "virt/container/explain.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_close int fd = memfd_create("program", MFD_CLOEXEC);
	struct err e = {0};
	char path[64];

	if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || fchmod(fd, 0755) < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert(explain_exec(path, n & 1 ? ENOEXEC : ENOENT, &e) < 0);
	assert(e.kind != ERR_NONE && e.text[0]);
	return 0;
}
