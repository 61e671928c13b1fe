/*
 * Compiled filters on disk, one file each: "<dir>/<128-bit hash of the description>".
 *
 * Why no cryptographic digest: a static program has no GnuTLS, and an AF_ALG socket is missing in
 * many kernels and sandboxes. It is not needed either: the hash only names the file, the entry
 * holds the whole description, and an entry counts only if that is equal byte for byte. Who finds
 * two descriptions with one hash gains a cache miss.
 *
 * Trust: the directory and the file must belong to the caller and be writable by nobody else, links
 * are not followed, and the program is checked before it is used (the kernel checks it again). A
 * file is written aside and renamed. At most ENTRIES_MAX are kept; the oldest goes first.
 */
#include "ground/linux/seccomp_priv.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <seccomp.h>
#include <sys/stat.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define ENTRIES_MAX   64
#define ENTRY_MAX     (1 << 20)
#define HEADER_SIZE   20
#define ENTRY_MAGIC   0x31435348u /* "HSC1" */
#define BUILD_VERSION 1		  /* raised whenever seccomp_build makes other programs */

static void add_text(struct strbuf *out, char tag, const char *text)
{
	strbuf_printf(out, "%c%zu:", tag, text ? strlen(text) : 0);
	strbuf_add_text(out, text ? text : "");
}

static void add_list(struct strbuf *out, char tag, char *const *list)
{
	for (size_t i = 0; list && list[i]; i++)
		add_text(out, tag, list[i]);
}

static void add_number(struct strbuf *out, char tag, const uint32_t *n)
{
	if (n)
		strbuf_printf(out, "%c%u;", tag, *n);
}

void seccomp_canonical(const struct seccomp_config *c, struct strbuf *out)
{
	const struct scmp_version *v = seccomp_version();

	strbuf_printf(out, "hull %d libseccomp %u.%u.%u;", BUILD_VERSION, v->major, v->minor,
		      v->micro);
	add_text(out, 'D', c->default_action);
	add_number(out, 'E', c->default_errno_ret);
	add_list(out, 'A', c->architectures);
	add_list(out, 'F', c->flags);
	for (size_t i = 0; i < c->syscalls_n; i++) {
		const struct seccomp_syscall *s = &c->syscalls[i];

		add_text(out, 'S', s->action);
		add_number(out, 'e', s->errno_ret);
		add_list(out, 'n', s->names);
		for (size_t k = 0; k < s->args_n; k++) {
			strbuf_printf(out, "a%u,%" PRIu64 ",%" PRIu64, s->args[k].index,
				      s->args[k].value, s->args[k].value_two);
			add_text(out, 'o', s->args[k].op);
		}
	}
}

/* FNV-1a, twice with different starts; its weakness does not matter here, see above. */
static void name_of(struct str text, char ret[33])
{
	uint64_t a = UINT64_C(0xcbf29ce484222325), b = UINT64_C(0x9ae16a3b2f90404f);

	for (size_t i = 0; i < text.n; i++) {
		a = (a ^ (unsigned char)text.p[i]) * UINT64_C(0x100000001b3);
		b = (b ^ (unsigned char)text.p[i]) * UINT64_C(0x100000001b3);
		b ^= b >> 29;
	}
	(void)snprintf(ret, 33, "%016" PRIx64 "%016" PRIx64, a, b);
}

bool seccomp_cache_decode(struct str entry, struct str canonical, struct seccomp_program *ret)
{
	struct cursor c = cursor_of(entry.p, entry.n);
	uint32_t magic = cursor_le32(&c), with = cursor_le32(&c), notifies = cursor_le32(&c);
	uint32_t n = cursor_le32(&c), text_n = cursor_le32(&c);
	const unsigned char *text = cursor_bytes(&c, text_n);
	const unsigned char *insns = NULL;
	auto_free struct seccomp_insn *copy = NULL;

	if (c.bad || magic != ENTRY_MAGIC || notifies > 1 || n > SECCOMP_INSNS_MAX ||
	    text_n != canonical.n || memcmp(text, canonical.p, text_n) != 0)
		return false;
	insns = cursor_bytes(&c, n * sizeof(struct seccomp_insn));
	if (c.bad || c.n != 0 || n == 0)
		return false;
	copy = mem_dup_bytes(insns, n * sizeof(struct seccomp_insn));
	if (!seccomp_program_sound(copy, n))
		return false;
	*ret = (struct seccomp_program){take(copy), n, with, notifies};
	return true;
}

static bool private_to_us(const struct stat *st)
{
	return st->st_uid == geteuid() && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static int open_dir(const char *dir, bool make)
{
	auto_close int fd = -1;
	struct stat st;

	if (make && mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -1;
	fd = open(dir, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !private_to_us(&st))
		return -1;
	return take_fd(&fd);
}

bool seccomp_cache_load(const char *dir, struct str canonical, struct seccomp_program *ret)
{
	auto_close int at = open_dir(dir, false);
	auto_close int fd = -1;
	auto_free char *bytes = NULL;
	char name[33];
	struct stat st;

	assert(canonical.n > 0);
	if (at < 0)
		return false;
	name_of(canonical, name);
	fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !private_to_us(&st) ||
	    st.st_size < HEADER_SIZE || st.st_size > ENTRY_MAX)
		return false;
	bytes = mem_new_bytes(1, (size_t)st.st_size);
	if (read(fd, bytes, (size_t)st.st_size) != (ssize_t)st.st_size)
		return false;
	return seccomp_cache_decode((struct str){bytes, (size_t)st.st_size}, canonical, ret);
}

/* Makes room for one more: the oldest entry goes when the directory is full. */
static void evict(int at)
{
	auto_closedir DIR *dir = fdopendir(openat(at, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC));
	char oldest[33] = "";
	struct timespec oldest_time = {0};
	size_t n = 0;

	for (struct dirent *d = NULL; dir && (d = readdir(dir));) {
		struct stat st;

		if (d->d_name[0] == '.' || strlen(d->d_name) != 32 ||
		    fstatat(at, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		n++;
		if (oldest[0] && (st.st_mtim.tv_sec > oldest_time.tv_sec ||
				  (st.st_mtim.tv_sec == oldest_time.tv_sec &&
				   st.st_mtim.tv_nsec >= oldest_time.tv_nsec)))
			continue;
		memcpy(oldest, d->d_name, sizeof oldest);
		oldest_time = st.st_mtim;
	}
	if (n >= ENTRIES_MAX)
		(void)unlinkat(at, oldest, 0);
}

static void add_le32(struct strbuf *b, uint32_t n)
{
	const unsigned char bytes[4] = {n & 255, n >> 8 & 255, n >> 16 & 255, n >> 24};

	strbuf_add(b, bytes, sizeof bytes);
}

void seccomp_cache_store(const char *dir, struct str canonical, const struct seccomp_program *p)
{
	auto_close int at = open_dir(dir, true);
	auto_close int fd = -1;
	auto_strbuf struct strbuf b = {0};
	char name[33], aside[48];

	assert(p->n > 0 && p->n <= SECCOMP_INSNS_MAX);
	if (at < 0 || canonical.n > ENTRY_MAX / 2)
		return;
	add_le32(&b, ENTRY_MAGIC);
	add_le32(&b, p->flags);
	add_le32(&b, p->notifies);
	add_le32(&b, p->n);
	add_le32(&b, (uint32_t)canonical.n);
	strbuf_add(&b, canonical.p, canonical.n);
	strbuf_add(&b, p->insns, p->n * sizeof *p->insns);
	name_of(canonical, name);
	(void)snprintf(aside, sizeof aside, ".new.%d", (int)getpid());
	(void)unlinkat(at, aside, 0); /* of an earlier process with our number */
	evict(at);
	fd = openat(at, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, b.p, b.n) != (ssize_t)b.n || renameat(at, aside, at, name) < 0)
		(void)unlinkat(at, aside, 0);
}
