/*
 * Disks against qemu-img, which is another's idea of the same formats: images that it made read as
 * it reads them; images written here pass its check and compare equal to a plain copy of what was
 * written. Random operations run beside a model in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/wire/loop.h"
#include "virt/vm/disk/disk.h"

#define DISK_BYTES (3u << 20)
#define WRITE_MAX  (200u << 10)

static char dir[] = "/tmp/hull-disk-test-XXXXXX";
static struct loop *loop;
static uint8_t model[DISK_BYTES];

/* ---- helpers ---- */

static int __attribute__((format(printf, 1, 2))) shell(const char *format, ...)
{
	char line[1024];
	va_list a;
	int status = -1;
	pid_t pid;

	va_start(a, format);
	(void)vsnprintf(line, sizeof(line), format, a);
	va_end(a);
	pid = fork();
	if (pid == 0) {
		if (chdir(dir) == 0)
			(void)execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void done(void *arg, int error)
{
	*(int *)arg = error;
	loop_stop(loop);
}

static int request(struct block_back *b, enum block_op op, uint64_t offset, void *p, uint64_t n)
{
	/* In three pieces, as a guest's memory is. */
	uint64_t third = n / 3;
	struct iovec v[3] = {{p, third},
			     {(uint8_t *)p + third, third},
			     {(uint8_t *)p + 2 * third, n - 2 * third}};
	int result = -1;
	struct block_request r = {
		.op = op, .offset = offset, .bytes = n, .done = done, .arg = &result};

	if (op == BLOCK_READ || op == BLOCK_WRITE) {
		r.segments = v;
		r.segments_n = 3;
	}
	b->ops->submit(b, &r);
	loop_run(loop);
	return result;
}

static struct block_back *open_disk(const char *name, const char *format, bool read_only)
{
	char path[128];
	struct disk_options o = {.path = path, .format = format, .read_only = read_only};
	struct block_back *b = NULL;
	struct err e = {0};

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (disk_open(loop, &o, &b, &e) < 0)
		fail_msg("%s", e.text);
	return b;
}

static int open_error(const char *name, const char *format, struct err *e)
{
	char path[128];
	struct disk_options o = {.path = path, .format = format};
	struct block_back *b = NULL;
	int r;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	err_clear(e);
	r = disk_open(loop, &o, &b, e);
	if (r == 0)
		(void)b->ops->free(b);
	return r;
}

static void read_all(struct block_back *b, const char *what)
{
	uint8_t *p = mem_new_bytes(1, DISK_BYTES);

	assert_int_equal(b->size_bytes, DISK_BYTES);
	for (uint64_t at = 0; at < DISK_BYTES; at += 300 << 10)
		assert_int_equal(request(b, BLOCK_READ, at, p + at,
					 DISK_BYTES - at < 300 << 10 ? DISK_BYTES - at : 300 << 10),
				 0);
	for (size_t i = 0; i < DISK_BYTES; i++)
		if (p[i] != model[i])
			fail_msg("%s: byte %zu is %u, not %u", what, i, p[i], model[i]);
	free(p);
}

/* Data, holes and runs of one byte; kept in `plain` too. */
static void model_fill(unsigned seed)
{
	FILE *f;
	char path[128];

	srandom(seed);
	memset(model, 0, sizeof(model));
	for (unsigned i = 0; i < 40; i++) {
		size_t at = (size_t)random() % DISK_BYTES, n = (size_t)random() % 50000;

		for (size_t j = at; j < at + n && j < DISK_BYTES; j++)
			model[j] = i % 3 ? (uint8_t)i : (uint8_t)random();
	}
	(void)snprintf(path, sizeof(path), "%s/plain", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(model, 1, DISK_BYTES, f), DISK_BYTES);
	assert_int_equal(fclose(f), 0);
}

static uint64_t sectors(uint64_t most)
{
	return (uint64_t)random() % (most / 512) * 512;
}

/* Writes, zeroes, discards and flushes of every size and place, in the model too. */
static void scribble(struct block_back *b, unsigned seed, unsigned count, bool discards)
{
	uint8_t *p = mem_new_bytes(1, WRITE_MAX);

	srandom(seed);
	for (unsigned i = 0; i < count; i++) {
		uint64_t at = sectors(DISK_BYTES), n = 512 + sectors(WRITE_MAX - 512);
		unsigned what = (unsigned)random() % 10;

		if (n > DISK_BYTES - at)
			n = DISK_BYTES - at;
		if (what < 6) {
			memset(p, (int)random(), n);
			assert_int_equal(request(b, BLOCK_WRITE, at, p, n), 0);
			memcpy(model + at, p, n);
		} else if (what < 8) {
			assert_int_equal(request(b, BLOCK_ZERO, at, NULL, n), 0);
			memset(model + at, 0, n);
		} else if (what == 8 && discards) {
			at &= ~0x1fffffull; /* whole clusters of every size: what is read is zero */
			n = DISK_BYTES - at < 2 << 20 ? DISK_BYTES - at : 2 << 20;
			assert_int_equal(request(b, BLOCK_DISCARD, at, NULL, n), 0);
			memset(model + at, 0, n);
		} else {
			assert_int_equal(request(b, BLOCK_FLUSH, 0, NULL, 0), 0);
		}
	}
	free(p);
}

/* qemu-img finds nothing wrong, nothing lost, and the same bytes. */
static void qemu_agrees(const char *name, const char *what)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/now", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(model, 1, DISK_BYTES, f), DISK_BYTES);
	assert_int_equal(fclose(f), 0);
	if (shell("qemu-img check -q -f qcow2 %s >check 2>&1 || { cat check; false; }", name))
		fail_msg("qemu-img check: %s", what);
	if (shell("qemu-img compare -f qcow2 -F raw %s now >compare || { cat compare; false; }",
		  name))
		fail_msg("qemu-img compare: %s", what);
}

/* ---- tests ---- */

static void raw_disks(void **state)
{
	struct block_back *b;
	struct err e = {0};

	model_fill(1);
	b = open_disk("plain", "raw", false);
	read_all(b, "raw");
	scribble(b, 2, 60, true);
	read_all(b, "raw, written");
	/* In use: by this process's other description too. */
	assert_int_equal(open_error("plain", "raw", &e), -ERR_BUSY);
	assert_non_null(strstr(e.text, "in use"));
	b = b->ops->free(b);
	b = open_disk("plain", "raw", true);
	read_all(b, "raw, again");
	assert_int_equal(request(b, BLOCK_WRITE, 0, model, 512), EROFS);
	assert_int_equal(request(b, BLOCK_FLUSH, 0, NULL, 0), 0);
	(void)b->ops->free(b);
	assert_int_equal(open_error("plain", NULL, &e), -ERR_INVALID);
	assert_int_equal(open_error("plain", "vmdk", &e), -ERR_UNSUPPORTED);
	assert_int_equal(open_error("nothing", "raw", &e), -ERR_NOT_FOUND);
	assert_int_equal(open_error(".", "raw", &e) < 0, 1);
	assert_int_equal(shell("printf 12345 >odd"), 0);
	assert_int_equal(open_error("odd", "raw", &e), -ERR_INVALID);
	assert_int_equal(shell("mkfifo pipe"), 0);
	assert_int_equal(open_error("pipe", "raw", &e), -ERR_INVALID);
}

static const char *const made[] = {
	"-o compat=0.10",
	"-o compat=1.1",
	"-o cluster_size=512",
	"-o cluster_size=4096,refcount_bits=1",
	"-o cluster_size=2M",
	"-o refcount_bits=64,lazy_refcounts=on",
	"-o refcount_bits=8",
	"-c",
	"-c -o compression_type=zstd",
	"-c -o cluster_size=4096",
	"-o preallocation=metadata",
};

static void reads_what_qemu_wrote(void **state)
{
	for (size_t i = 0; i < array_len(made); i++) {
		struct block_back *b;

		model_fill((unsigned)i + 10);
		assert_int_equal(
			shell("rm -f image; qemu-img convert -f raw -O qcow2 %s plain image",
			      made[i]),
			0);
		b = open_disk("image", "qcow2", true);
		read_all(b, made[i]);
		(void)b->ops->free(b);
		b = open_disk("image", "qcow2", false);
		scribble(b, (unsigned)i, 80, true);
		read_all(b, made[i]);
		(void)b->ops->free(b);
		b = open_disk("image", "qcow2", true);
		read_all(b, made[i]);
		(void)b->ops->free(b);
		qemu_agrees("image", made[i]);
	}
}

static void writes_what_qemu_reads(void **state)
{
	char path[128];
	struct disk_new o = {.path = path, .format = "qcow2", .size_bytes = DISK_BYTES};
	struct err e = {0};
	struct block_back *b;

	(void)snprintf(path, sizeof(path), "%s/ours", dir);
	memset(model, 0, sizeof(model));
	assert_int_equal(disk_create(&o, &e), 0);
	assert_int_equal(disk_create(&o, &e), -ERR_EXISTS);
	qemu_agrees("ours", "new");
	b = open_disk("ours", "qcow2", false);
	scribble(b, 77, 300, true);
	read_all(b, "ours");
	assert_int_equal(open_error("ours", "qcow2", &e), -ERR_BUSY);
	(void)b->ops->free(b);
	qemu_agrees("ours", "written");
}

static void stands_on_backing_files(void **state)
{
	static const char *const over[] = {"-o compat=1.1", "-o compat=0.10",
					   "-o cluster_size=4096"};
	char path[128], *base = mem_new_bytes(1, DISK_BYTES);
	struct disk_new o = {.path = path,
			     .format = "qcow2",
			     .size_bytes = DISK_BYTES,
			     .backing = "mid",
			     .backing_format = "qcow2"};
	struct err e = {0};
	struct block_back *b;

	model_fill(99);
	memcpy(base, model, DISK_BYTES);
	/* The lowest is shorter than what stands on it. */
	assert_int_equal(shell("truncate -s 2M plain; rm -f mid top;"
			       "qemu-img create -q -f qcow2 -b plain -F raw mid %u",
			       DISK_BYTES),
			 0);
	memset(base + (2 << 20), 0, DISK_BYTES - (2 << 20));
	for (size_t i = 0; i < array_len(over); i++) {
		memcpy(model, base, DISK_BYTES);
		assert_int_equal(
			shell("rm -f top; qemu-img create -q -f qcow2 %s -b mid -F qcow2 top",
			      over[i]),
			0);
		b = open_disk("top", "qcow2", false);
		read_all(b, over[i]);
		scribble(b, (unsigned)i + 5, 60, false);
		read_all(b, over[i]);
		(void)b->ops->free(b);
		qemu_agrees("top", over[i]);
	}
	(void)snprintf(path, sizeof(path), "%s/mine", dir);
	memcpy(model, base, DISK_BYTES);
	assert_int_equal(disk_create(&o, &e), 0);
	b = open_disk("mine", "qcow2", false);
	scribble(b, 4, 50, false);
	(void)b->ops->free(b);
	qemu_agrees("mine", "over a chain");
	free(base);
}

/* What a snapshot holds stays as it was. */
static void leaves_snapshots_alone(void **state)
{
	struct block_back *b;

	model_fill(5);
	assert_int_equal(shell("rm -f image; qemu-img convert -f raw -O qcow2 plain image &&"
			       "qemu-img snapshot -c before image"),
			 0);
	b = open_disk("image", "qcow2", false);
	scribble(b, 6, 100, true);
	read_all(b, "over a snapshot");
	(void)b->ops->free(b);
	qemu_agrees("image", "with a snapshot");
	assert_int_equal(shell("qemu-img snapshot -a before image &&"
			       "qemu-img compare -q -f qcow2 -F raw image plain"),
			 0);
}

/* Killed while it writes: what was flushed is there, and nothing is inconsistent. */
static void survives_a_kill(void **state)
{
	for (unsigned round = 0; round < 4; round++) {
		int tell[2], status;
		uint8_t piece[8192];
		struct block_back *b;
		pid_t pid;
		char c;

		assert_int_equal(shell("rm -f image; qemu-img create -q -f qcow2 "
				       "-o cluster_size=%u image %u",
				       round % 2 ? 4096 : 65536, DISK_BYTES),
				 0);
		memset(model, 0, sizeof(model));
		assert_int_equal(pipe(tell), 0);
		(void)fflush(NULL);
		pid = fork();
		if (pid == 0) {
			struct err e = {0};

			if (loop_new(&loop, &e) < 0)
				_exit(1);
			b = open_disk("image", "qcow2", false);
			scribble(b, round, 20 + 20 * round, true);
			(void)request(b, BLOCK_FLUSH, 0, NULL, 0);
			(void)!write(tell[1], "x", 1);
			/* Behind the last flush, only the first half changes. */
			for (unsigned i = 0;; i++)
				(void)request(b, BLOCK_WRITE, i * 8192 % (DISK_BYTES / 2), model,
					      8192);
		}
		assert_int_equal(read(tell[0], &c, 1), 1);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		(void)close(tell[0]);
		(void)close(tell[1]);
		/* 3: only space lost. */
		status = shell("qemu-img check -q image >check 2>&1");
		assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3);
		/* The same on a plain disk says what must be in the second half. */
		assert_int_equal(shell("rm -f scratch; truncate -s %u scratch", DISK_BYTES), 0);
		b = open_disk("scratch", "raw", false);
		scribble(b, round, 20 + 20 * round, true);
		(void)b->ops->free(b);
		b = open_disk("image", "qcow2", false);
		for (uint64_t at = DISK_BYTES / 2; at < DISK_BYTES; at += sizeof(piece)) {
			assert_int_equal(request(b, BLOCK_READ, at, piece, sizeof(piece)), 0);
			assert_memory_equal(piece, model + at, sizeof(piece));
		}
		(void)b->ops->free(b);
	}
}

static void refuses_what_cannot_be(void **state)
{
	static const struct {
		const char *make, *says;
	} bad[] = {
		{"head -c 100000 /dev/zero >bad", "not a qcow2 image"},
		{"head -c 50 image >bad", "ends inside its header"},
		{"cp image bad; printf '\\377' | dd of=bad bs=1 seek=20 conv=notrunc",
		 "clusters of"},
		{"cp image bad; printf '\\177' | dd of=bad bs=1 seek=24 conv=notrunc", "size"},
		{"cp image bad; printf '\\177' | dd of=bad bs=1 seek=36 conv=notrunc", "L1 table"},
		{"cp image bad; printf '\\177' | dd of=bad bs=1 seek=40 conv=notrunc", "L1 table"},
		{"cp image bad; printf '\\177' | dd of=bad bs=1 seek=48 conv=notrunc", "reference"},
		{"cp image bad; printf '\\177' | dd of=bad bs=1 seek=56 conv=notrunc", "reference"},
		{"cp image bad; printf '\\001' | dd of=bad bs=1 seek=35 conv=notrunc", "encrypted"},
		{"cp image bad; printf '\\001' | dd of=bad bs=1 seek=79 conv=notrunc",
		 "marked dirty"},
		{"cp image bad; printf '\\002' | dd of=bad bs=1 seek=79 conv=notrunc",
		 "marked corrupt"},
		{"cp image bad; printf '\\004' | dd of=bad bs=1 seek=79 conv=notrunc",
		 "external file"},
		{"cp image bad; printf '\\020' | dd of=bad bs=1 seek=79 conv=notrunc",
		 "extended L2"},
		{"cp image bad; printf '\\100' | dd of=bad bs=1 seek=79 conv=notrunc", "not known"},
		{"rm bad; qemu-img create -f qcow2 bad 1M; qemu-img rebase -u -f qcow2 -b bad -F "
		 "qcow2 bad",
		 "loop"},
		{"qemu-img create -f qcow2 -u -b bad -F qcow2 two 1M;"
		 "rm bad; qemu-img create -f qcow2 -u -b two -F qcow2 bad 1M",
		 "loop"},
		{"rm bad; qemu-img create -f qcow2 -u -b gone -F raw bad 1M", "gone"},
		{"rm bad; qemu-img create -f qcow2 -u -b plain -F vmdk bad 1M", "no format 'vmdk'"},
		{"rm bad; qemu-img create -f qcow2 -u -b plain -F raw bad 1M;"
		 "printf '\\0\\0\\0\\0' | dd of=bad bs=1 seek=104 conv=notrunc;"
		 "printf '\\0\\0\\0\\0' | dd of=bad bs=1 seek=112 conv=notrunc",
		 "does not name the format"},
	};
	struct err e = {0};

	model_fill(3);
	assert_int_equal(shell("rm -f image; qemu-img convert -f raw -O qcow2 plain image"), 0);
	for (size_t i = 0; i < array_len(bad); i++) {
		(void)shell("{ %s; } >/dev/null 2>&1", bad[i].make);
		if (open_error("bad", "qcow2", &e) == 0 || !strstr(e.text, bad[i].says))
			fail_msg("%s: \"%s\", not \"%s\"", bad[i].make, e.text, bad[i].says);
	}
}

static int setup(void **state)
{
	struct err e = {0};

	return mkdtemp(dir) && loop_new(&loop, &e) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	loop = loop_free(loop);
	return shell("rm -rf %s", dir);
}

int main(void)
{
	const struct CMUnitTest plain[] = {cmocka_unit_test(raw_disks)};
	const struct CMUnitTest all[] = {
		cmocka_unit_test(raw_disks),
		cmocka_unit_test(reads_what_qemu_wrote),
		cmocka_unit_test(writes_what_qemu_reads),
		cmocka_unit_test(stands_on_backing_files),
		cmocka_unit_test(leaves_snapshots_alone),
		cmocka_unit_test(survives_a_kill),
		cmocka_unit_test(refuses_what_cannot_be),
	};

	if (access("/usr/bin/qemu-img", X_OK) < 0)
		return cmocka_run_group_tests(plain, setup, teardown);
	return cmocka_run_group_tests(all, setup, teardown);
}
