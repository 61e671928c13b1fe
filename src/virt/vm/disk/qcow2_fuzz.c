/*
 * Fuzzes qcow2: the input is an image, small and sparse, behind eight bytes that say which
 * requests are made of it. Whatever it says, requests end, with data or an error; nothing outside
 * the file is touched. Backing files are not followed: an image that names one is not opened.
 */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virt/vm/disk/qcow2_priv.h"

#define BYTES_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void requests(struct qcow2 *q, const uint8_t program[8])
{
	static uint8_t bytes[BYTES_MAX];
	struct iovec v = {bytes, 0};

	for (unsigned i = 0; i < 8; i++) {
		uint64_t sectors = q->h.size / 512,
			 at = program[i] * 0x9e3779b97f4a7c15ull % sectors;
		uint64_t n = (program[i] * 7u % (BYTES_MAX / 512)) + 1;
		int failed;

		if (i & 1)
			at = program[i] % sectors;
		n = (n > sectors - at ? sectors - at : n) * 512;
		v.iov_len = (size_t)n;
		if (program[i] % 4 < 2)
			failed = qcow2_read(q, at * 512, &v, 1, n);
		else if (program[i] % 4 == 2)
			failed = qcow2_write(q, at * 512, &v, 1, n);
		else
			failed = qcow2_zero(q, at * 512, n, i & 2);
		if (!failed && i == 5)
			failed = qcow2_sync(q);
		assert(failed >= 0);
	}
}

/* Tables of 2 MiB a cluster would make each run slow; sixty-four KiB are as good. */
static bool slow(const uint8_t *data, size_t size)
{
	return size < 24 || (data[23] > 16 && data[23] <= 21) || (size > 16 && data[15]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct disk_options o = {.path = path, .format = "qcow2"};
	struct qcow2 *q;
	int fd;

	if (size < 8 || slow(data + 8, size - 8))
		return 0;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data + 8, size - 8) != (ssize_t)(size - 8) ||
	    ftruncate(fd, 1 << 20) < 0)
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (qcow2_image_open(&o, &q, NULL) == 0) {
		requests(q, data);
		(void)!qcow2_sync(q);
		(void)qcow2_image_close(q);
	}
	(void)close(fd);
	return 0;
}
