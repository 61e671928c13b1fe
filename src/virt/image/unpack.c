/*
 * The child's life: read the orders, open what they name, confine, do the one verb, answer, end.
 *
 * Theory of operation: everything trusted happens first (namespaces, the overlay mount, opening of
 * directories); then the tree becomes the root, rights and system calls are cut down, and only then
 * is the first byte of the archive looked at. There is no loop and no thread. The parent notices an
 * end without an answer.
 */
#include "virt/image/unpack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <locale.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/confine.h"
#include "ground/linux/mount.h"
#include "ground/store/digest.h"
#include "ground/store/inflate.h"

#define CHILD_MEMORY_MAX  (2ull << 30)
#define CHILD_DESCRIPTORS 2048
#define BEAT_NS		  100000000ll
#define INGEST_STEP	  (1u << 20)

static const struct json_field limits_fields[] = {
	{"bytes", JSON_U64, offsetof(struct unpack_limits, bytes_max)},
	{"entries", JSON_U64, offsetof(struct unpack_limits, entries_max)},
	{"depth", JSON_U32, offsetof(struct unpack_limits, depth_max)},
	{"xattr_bytes", JSON_U32, offsetof(struct unpack_limits, xattr_bytes_max)},
};
static const struct json_shape limits_shape = JSON_SHAPE(struct unpack_limits, limits_fields);

static const struct json_field member_fields[] = {
	{"name", JSON_TEXT, offsetof(struct unpack_member, name), .required = true},
	{"text", JSON_TEXT, offsetof(struct unpack_member, text), .omit_empty = true},
	{"file", JSON_TEXT, offsetof(struct unpack_member, file), .omit_empty = true},
	{"link", JSON_TEXT, offsetof(struct unpack_member, link), .omit_empty = true},
};
static const struct json_shape member_shape = JSON_SHAPE(struct unpack_member, member_fields);

static const struct json_field orders_fields[] = {
	{"verb", JSON_TEXT, offsetof(struct unpack_orders, verb), .required = true},
	{"follow", JSON_FLAG, offsetof(struct unpack_orders, follow)},
	{"limits", JSON_STRUCT, offsetof(struct unpack_orders, limits), .shape = &limits_shape},
	{"devices", JSON_FLAG, offsetof(struct unpack_orders, devices)},
	{"user_xattr", JSON_FLAG, offsetof(struct unpack_orders, user_xattr)},
	{"one_mount", JSON_FLAG, offsetof(struct unpack_orders, one_mount)},
	{"whiteouts", JSON_FLAG, offsetof(struct unpack_orders, whiteouts)},
	{"path", JSON_TEXT, offsetof(struct unpack_orders, path), .omit_empty = true},
	{"rename", JSON_TEXT, offsetof(struct unpack_orders, rename)},
	{"no_overwrite", JSON_FLAG, offsetof(struct unpack_orders, no_overwrite)},
	{"keep_owner", JSON_FLAG, offsetof(struct unpack_orders, keep_owner)},
	{"uid", JSON_U32, offsetof(struct unpack_orders, uid)},
	{"gid", JSON_U32, offsetof(struct unpack_orders, gid)},
	{"lower", JSON_TEXTS, offsetof(struct unpack_orders, lower), .omit_empty = true},
	{"upper", JSON_TEXT, offsetof(struct unpack_orders, upper), .omit_empty = true},
	{"work", JSON_TEXT, offsetof(struct unpack_orders, work), .omit_empty = true},
	{"members", JSON_LIST, offsetof(struct unpack_orders, members), .shape = &member_shape,
	 .count = offsetof(struct unpack_orders, members_n), .omit_empty = true},
};
const struct json_shape unpack_orders_shape = JSON_SHAPE(struct unpack_orders, orders_fields);

static const struct json_field answer_fields[] = {
	{"diff_id", JSON_TEXT, offsetof(struct unpack_answer, diff_id), .omit_empty = true},
	{"bytes", JSON_U64, offsetof(struct unpack_answer, bytes)},
	{"entries", JSON_U64, offsetof(struct unpack_answer, entries)},
	{"implicit", JSON_TEXTS, offsetof(struct unpack_answer, implicit), .omit_empty = true},
	{"name", JSON_TEXT, offsetof(struct unpack_answer, name), .omit_empty = true},
	{"link", JSON_TEXT, offsetof(struct unpack_answer, link), .omit_empty = true},
	{"mode", JSON_U32, offsetof(struct unpack_answer, mode), .omit_empty = true},
	{"size", JSON_I64, offsetof(struct unpack_answer, size), .omit_empty = true},
	{"mtime", JSON_I64, offsetof(struct unpack_answer, mtime_ns), .omit_empty = true},
};
const struct json_shape unpack_answer_shape = JSON_SHAPE(struct unpack_answer, answer_fields);

/* What is left to do with files. Setting trusted.* needs SYS_ADMIN, whose other powers the filter
 * takes away. */
static const int capabilities[] = {
	CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP, CAP_SYS_ADMIN,
};

static const int syscalls[] = {
	/* #syscalls files */
	__NR_read,
	__NR_write,
	__NR_pread64,
	__NR_pwrite64,
	__NR_readv,
	__NR_writev,
	__NR_lseek,
	__NR_close,
	__NR_fstat,
	__NR_newfstatat,
	__NR_statx,
	__NR_openat,
	__NR_openat2,
	__NR_mkdirat,
	__NR_mknodat,
	__NR_symlinkat,
	__NR_linkat,
	__NR_unlinkat,
	__NR_fchown,
	__NR_fchownat,
	__NR_fchmod,
	__NR_fchmodat,
	__NR_utimensat,
	__NR_ftruncate,
	__NR_fsetxattr,
	__NR_fgetxattr,
	__NR_flistxattr,
	__NR_getdents64,
	__NR_readlinkat,
	__NR_copy_file_range,
	__NR_fcntl,
	__NR_umask,
	__NR_fstatfs,
	__NR_fadvise64,
	/* #syscalls control channel */
	__NR_sendto,
	__NR_sendmsg,
	__NR_recvfrom,
	__NR_recvmsg,
	/* #syscalls libc */
	__NR_mmap,
	__NR_munmap,
	__NR_mremap,
	__NR_mprotect,
	__NR_madvise,
	__NR_brk,
	__NR_futex,
	__NR_getrandom,
	__NR_clock_gettime,
	__NR_exit,
	__NR_exit_group,
	__NR_rt_sigreturn,
	__NR_rt_sigprocmask,
	__NR_rt_sigaction,
	__NR_getpid,
	__NR_gettid,
	__NR_tgkill,
	__NR_restart_syscall,
	__NR_getuid,
	__NR_geteuid,
};

/* A sanitizer maps terabytes of shadow and makes calls of its own: there the namespaces must do. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#else
#define SANITIZED false
#endif

struct child {
	struct unpack_orders orders;
	struct arena arena;
	struct json *tree; /* the orders' JSON */
	uint64_t at;	   /* bytes of data consumed */
	uint64_t upto;
	bool end; /* upto is final */
	int64_t next_beat;
};

/* ---- Speaking with the parent ---- */

static void say(struct json *j)
{
	auto_strbuf struct strbuf b = {0};
	struct json *owned = j;

	json_write(owned, &b);
	(void)send(UNPACK_FD_CONTROL, b.p, b.n, MSG_NOSIGNAL);
	(void)json_free(owned);
}

static int64_t monotonic_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void beat(void *arg)
{
	struct child *c = arg;
	int64_t now = monotonic_ns();
	struct json *j;

	if (now < c->next_beat)
		return;
	c->next_beat = now + BEAT_NS;
	j = json_new_object();
	json_set_i64(j, "at", (int64_t)c->at);
	say(j);
}

static int say_error(const struct err *e)
{
	struct json *j = json_new_object(), *error = json_new_object();

	json_set_i64(error, "kind", e->kind);
	json_set_i64(error, "sys", e->sys);
	json_set_text(error, "text", e->text);
	json_set(j, "error", error);
	say(j);
	return 1;
}

static int say_done(const struct unpack_answer *a)
{
	struct json *j = json_new_object();

	json_set(j, "done", json_encode(&unpack_answer_shape, a));
	say(j);
	return 0;
}

/* ---- The data ---- */

static int wait_for_more(struct child *c, struct err *e)
{
	struct unpack_more more;
	ssize_t n;

	do
		n = recv(UNPACK_FD_CONTROL, &more, sizeof(more), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(more) || more.upto < c->upto)
		return err_set(e, ERR_GONE, "the download was given up");
	c->upto = more.upto;
	c->end = more.end != 0;
	return 0;
}

static int64_t read_data(void *arg, void *p, size_t n, struct err *e)
{
	struct child *c = arg;
	ssize_t did;

	while (c->orders.follow && c->at >= c->upto && !c->end) {
		int r = wait_for_more(c, e);

		if (r < 0)
			return r;
	}
	if (c->orders.follow && n > c->upto - c->at)
		n = (size_t)(c->upto - c->at);
	do
		did = c->orders.follow ? pread(UNPACK_FD_DATA, p, n, (off_t)c->at)
				       : read(UNPACK_FD_DATA, p, n);
	while (did < 0 && errno == EINTR);
	if (did < 0)
		return err_sys(e, "cannot read the archive");
	c->at += (uint64_t)did;
	return did;
}

static int open_data(struct child *c, struct inflate **ret, struct err *e)
{
	struct inflate_source source = {read_data, c};

	return inflate_new(&source, ret, e);
}

/* A DiffID covers every byte, also those behind the archive's end. */
static int drain(struct inflate *i, struct err *e)
{
	const void *p;
	int64_t n;

	while ((n = inflate_next(i, &p, e)) > 0)
		;
	return (int)n;
}

/* ---- Verbs ---- */

static int extract(struct child *c, int top, const struct extract_policy *policy,
		   struct unpack_answer *ret, struct err *e)
{
	auto_inflate struct inflate *from = NULL;
	static char diff_id[DIGEST_ROOM];
	struct digest d = {0};
	int r = open_data(c, &from, e);

	if (r < 0)
		return r;
	if (policy->layer) {
		digest_begin(&d);
		inflate_tee(from, &d);
	}
	r = extract_archive(from, top, policy, &c->arena, ret, e);
	if (r == 0)
		r = drain(from, e);
	if (r < 0 || !policy->layer) {
		digest_drop(&d);
		return r;
	}
	digest_end(&d, diff_id);
	ret->diff_id = diff_id;
	return 0;
}

static int verb_layer(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	const struct extract_policy policy = {
		.limits = c->orders.limits,
		.layer = true,
		.devices = c->orders.devices,
		.user_xattr = c->orders.user_xattr,
		.keep_owner = c->orders.keep_owner,
		.beat = beat,
		.arg = c,
	};

	return extract(c, top, &policy, ret, e);
}

static int verb_gather(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	const struct extract_policy policy = {
		.limits = c->orders.limits,
		.plain = true,
		.beat = beat,
		.arg = c,
	};

	return extract(c, top, &policy, ret, e);
}

static int verb_tree(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	const struct extract_policy policy = {
		.limits = c->orders.limits,
		.devices = c->orders.devices,
		.no_overwrite = c->orders.no_overwrite,
		.keep_owner = c->orders.keep_owner,
		.uid = c->orders.uid,
		.gid = c->orders.gid,
		.beat = beat,
		.arg = c,
	};
	auto_close int fd = extract_open(top, c->orders.path, O_RDONLY | O_DIRECTORY, true);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(e, ERR_NOT_FOUND, "could not find the folder %s in the container",
			       c->orders.path);
	if (fd < 0)
		return err_sys(e, "cannot open '%s' in the container", c->orders.path);
	return extract(c, fd, &policy, ret, e);
}

static int verb_pack(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	return pack_tree(top, &c->orders, UNPACK_FD_DATA, ret, e);
}

static int verb_save(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	return pack_members(top, &c->orders, UNPACK_FD_DATA, ret, e);
}

static int verb_stat(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	return pack_stat(top, c->orders.path, &c->arena, ret, e);
}

/* The stream on 5 into the file on 6, as it is: only so that nobody else has to wait for the
 * stream. */
static int verb_ingest(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	auto_free char *step = mem_new_bytes(1, INGEST_STEP);
	int64_t n;

	while ((n = read_data(c, step, INGEST_STEP, e)) > 0) {
		for (int64_t at = 0; at < n;) {
			ssize_t did = write(UNPACK_FD_DIR, step + at, (size_t)(n - at));

			if (did < 0 && errno != EINTR)
				return err_sys(e, "cannot keep the archive");
			at += did > 0 ? did : 0;
		}
		if (c->at > c->orders.limits.bytes_max)
			return err_set(e, ERR_INVALID, "the archive is larger than %llu bytes",
				       (unsigned long long)c->orders.limits.bytes_max);
		beat(c);
	}
	ret->bytes = c->at;
	return (int)n;
}

/* Nothing to do: that the overlay could be mounted, and written to, is the answer. */
static int verb_probe(struct child *c, int top, struct unpack_answer *ret, struct err *e)
{
	auto_close int fd = openat(top, "probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || unlinkat(top, "lower", 0) < 0)
		return err_sys(e, "cannot write to an overlay");
	return 0;
}

struct verb {
	const char *name;
	int (*run)(struct child *c, int top, struct unpack_answer *ret, struct err *e);
	bool tree; /* works on a directory, which becomes the root */
};

static const struct verb verbs[] = {
	{"layer", verb_layer, true}, {"gather", verb_gather, true},  {"tree", verb_tree, true},
	{"pack", verb_pack, true},   {"save", verb_save, true},	     {"stat", verb_stat, true},
	{"probe", verb_probe, true}, {"ingest", verb_ingest, false},
};

/* ---- Set-up ---- */

static int read_orders(struct child *c, struct err *e)
{
	auto_free char *bytes = NULL;
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(UNPACK_FD_ORDERS, &st) < 0 || st.st_size <= 0 || st.st_size > UNPACK_ORDERS_MAX)
		return err_set(e, ERR_INVALID, "hull-unpack is started by hulld, not by hand");
	bytes = mem_new_bytes(1, (size_t)st.st_size);
	n = pread(UNPACK_FD_ORDERS, bytes, (size_t)st.st_size, 0);
	if (n != st.st_size)
		return err_sys(e, "cannot read the orders");
	r = json_parse((struct str){bytes, (size_t)n}, "orders", &c->tree, e);
	if (r == 0)
		r = json_decode(c->tree, &unpack_orders_shape, "orders", &c->arena, &c->orders, e);
	return r;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < array_len(verbs); i++)
		if (text_eq(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

/* The directory on 6, or an overlay mounted for this child alone. */
static int open_top(struct child *c, int *ret, struct err *e)
{
	auto_close int mnt = -1, place = -1;
	int r;

	if (!c->orders.lower) {
		*ret = UNPACK_FD_DIR;
		return 0;
	}
	r = mount_new_overlay(c->orders.lower, c->orders.upper, c->orders.work, false, &mnt, e);
	if (r < 0)
		return r;
	/* Any place of our own mount namespace will do: the first layer's own. */
	place = open(c->orders.lower[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (place < 0)
		return err_sys(e, "cannot open '%s'", c->orders.lower[0]);
	r = mount_attach(mnt, place, e);
	if (r == 0)
		*ret = take_fd(&mnt);
	return r;
}

static int confine(struct child *c, const struct verb *verb, int top, struct err *e)
{
	const struct confine_rights rights = {
		.capabilities = capabilities,
		.capabilities_n = array_len(capabilities),
		.syscalls = syscalls,
		.syscalls_n = SANITIZED ? 0 : array_len(syscalls),
		.memory_max = SANITIZED ? 0 : CHILD_MEMORY_MAX,
		.descriptors_max = CHILD_DESCRIPTORS,
	};
	int r = verb->tree ? confine_root(top, e) : 0;

	return r < 0 ? r : confine_rights(&rights, e);
}

/* Layers to lay over each other are opened while their paths still mean something. */
static int verb_copy(struct child *c, struct unpack_answer *ret, struct err *e)
{
	const struct verb like = {.tree = true};
	size_t n = mem_count_texts(c->orders.lower);
	auto_free int *layers = mem_new_array(int, n + 1);
	int top, r;

	for (size_t i = 0; i < n; i++) {
		layers[i] = open(c->orders.lower[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (layers[i] < 0)
			return err_sys(e, "cannot open layer '%s'", c->orders.lower[i]);
	}
	r = confine(c, &like, UNPACK_FD_DIR, e);
	top = r < 0 ? -1 : open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < n && r == 0; i++)
		r = copy_layer(layers[i], top, ret, e);
	return r;
}

static int obey(struct child *c, struct unpack_answer *ret, struct err *e)
{
	const struct verb *verb;
	int top = UNPACK_FD_DIR, r = read_orders(c, e);

	if (r == 0)
		r = confine_namespaces(geteuid() == 0, e);
	if (r < 0)
		return r;
	(void)umask(0);
	if (text_eq(c->orders.verb, "copy"))
		return verb_copy(c, ret, e);
	verb = find_verb(c->orders.verb);
	if (!verb)
		return err_set(e, ERR_INVALID, "unknown verb '%s'", c->orders.verb);
	if (verb->tree)
		r = open_top(c, &top, e);
	if (r == 0)
		r = confine(c, verb, top, e);
	if (r == 0 && verb->tree) {
		top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (top < 0)
			r = err_sys(e, "cannot open the new root");
	}
	return r < 0 ? r : verb->run(c, top, ret, e);
}

int unpack_main(void)
{
	struct unpack_answer answer = {0};
	struct child c = {0};
	struct err e = {0};

	/* Names in archives are UTF-8; without a locale of that kind the reader cannot hand them
	 * out. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	if (obey(&c, &answer, &e) < 0)
		return say_error(&e);
	return say_done(&answer);
}
