/*
 * Adding a kernel: read the package (or this host's /boot and /lib/modules), unpack the vmlinux, put
 * the modules in order, write three files into a fresh directory, rename it to its ID. A kernel that
 * is there already is replaced: hull-init in its initrd may be an older one.
 */
#include "kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/json.h"
#include "ground/store/deb.h"
#include "ground/store/digest.h"
#include "ground/store/folder.h"
#include "virt/guest/cpio.h"
#include "virt/guest/modinfo.h"
#include "virt/guest/pid1.h"
#include "virt/vm/boot/bzimage.h"
#include "virt/vm/boot/image.h"

#define FILE_BYTES_MAX	(256u << 20)
#define ABOUT_BYTES_MAX 65536
#define ID_CHARS	12
#define NEW_NAME	"new"
#define DEVICE_CONSOLE	5, 1

/* What a machine of Hull is made of, in the order of its boot; what is built in is left out. */
static const char *const wanted[] = {
	"virtio_pci",
	"virtio_blk",
	"erofs",
	"overlay",
	"virtio_net",
	"vsock",
	"vmw_vsock_virtio_transport",
	"virtio_console",
	"virtio_rng",
	"button",
	"evdev",
	"af_packet",
	"nvme",
	"ext4",
	NULL,
};

struct kernel {
	struct arena arena;
	struct module_set modules;
	char *version;
	struct str image; /* the bzImage */
};

static void kernel_done(struct kernel *k)
{
	free(k->modules.list);
	arena_done(&k->arena);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool want_file(void *ctx, const char *path)
{
	(void)ctx;
	return text_starts(path, "boot/vmlinuz-") ||
	       ((text_starts(path, "lib/modules/") || text_starts(path, "usr/lib/modules/")) &&
		text_ends(path, ".ko"));
}

static int take_file(void *ctx, const char *path, struct str bytes, struct err *e)
{
	struct kernel *k = ctx;
	const char *name = base_name(path);
	char *copy;

	if (text_ends(path, ".ko"))
		return module_add(&k->modules, str_of(name), bytes, e);
	copy = arena_new_bytes(&k->arena, bytes.n + 1);
	memcpy(copy, bytes.p, bytes.n);
	k->image = (struct str){copy, bytes.n};
	k->version = arena_dup_text(&k->arena, name + strlen("vmlinuz-"));
	return 0;
}

static int read_package(struct kernel *k, const char *path, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "cannot open kernel package '%s'", path);
	if (deb_read(fd, FILE_BYTES_MAX, want_file, take_file, k, e) < 0)
		return err_wrap(e, "'%s'", path);
	if (!k->image.p)
		return err_set(
			e, ERR_INVALID,
			"'%s' holds no kernel (linux-image-cloud-amd64 only names the package "
			"that does: add that one)",
			path);
	return 0;
}

static int read_whole(struct kernel *k, const char *path, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_free char *bytes = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "cannot read '%s'", path);
	if (st.st_size < 0 || st.st_size > FILE_BYTES_MAX)
		return err_set(e, ERR_INVALID, "'%s' is too large", path);
	bytes = mem_try((size_t)st.st_size + 1, e);
	if (!bytes)
		return -ERR_EXHAUSTED;
	if (read(fd, bytes, (size_t)st.st_size) != st.st_size)
		return err_sys(e, "cannot read '%s'", path);
	return take_file(k, path, (struct str){bytes, (size_t)st.st_size}, e);
}

static int read_modules(struct kernel *k, const char *dir, int depth, struct err *e)
{
	auto_closedir DIR *d = opendir(dir);
	struct dirent *x;
	int r = 0;

	if (!d)
		return err_sys(e, "cannot read '%s'", dir);
	while (r >= 0 && (x = readdir(d))) {
		auto_free char *path = mem_printf("%s/%s", dir, x->d_name);

		if (x->d_name[0] == '.')
			continue;
		if (x->d_type == DT_DIR && depth < 8)
			r = read_modules(k, path, depth + 1, e);
		else if (x->d_type == DT_REG && text_ends(path, ".ko"))
			r = read_whole(k, path, e);
	}
	return r;
}

/* The newest of /boot whose modules are there: a cloud kernel before others. */
static char *find_installed(void)
{
	auto_closedir DIR *d = opendir("/boot");
	char *best = NULL;
	struct dirent *x;

	while (d && (x = readdir(d))) {
		const char *version = x->d_name + strlen("vmlinuz-");
		auto_free char *modules = NULL;
		bool cloud;

		if (!text_starts(x->d_name, "vmlinuz-"))
			continue;
		modules = mem_printf("/lib/modules/%s/kernel", version);
		cloud = text_ends(version, "-cloud-amd64");
		if (access(modules, R_OK) < 0 ||
		    (best &&
		     (text_ends(best, "-cloud-amd64") > cloud ||
		      (text_ends(best, "-cloud-amd64") == cloud && strverscmp(best, version) > 0))))
			continue;
		free(best);
		best = mem_dup_text(version);
	}
	return best;
}

static int read_installed(struct kernel *k, struct err *e)
{
	auto_free char *version = find_installed(), *image = NULL, *modules = NULL;

	if (!version)
		return err_set(
			e, ERR_NOT_FOUND,
			"no kernel package is installed here; download one (apt-get download "
			"linux-image-6.1.0-*-cloud-amd64) and name the file");
	image = mem_printf("/boot/vmlinuz-%s", version);
	modules = mem_printf("/lib/modules/%s/kernel", version);
	if (read_modules(k, modules, 0, e) < 0)
		return -ERR_INVALID;
	return read_whole(k, image, e);
}

static int make_initrd(struct kernel *k, struct str init, struct strbuf *out, size_t *ret_modules,
		       struct err *e)
{
	const struct module **list;

	if (module_order(&k->modules, wanted, &k->arena, &list, ret_modules, e) < 0)
		return -ERR_INVALID;
	cpio_directory(out, "dev");
	cpio_device(out, "dev/console", 0600, DEVICE_CONSOLE);
	cpio_file(out, "init", 0755, init);
	cpio_directory(out, PID1_MODULES_DIR + 1);
	for (size_t i = 0; i < *ret_modules; i++) {
		auto_free char *path =
			mem_printf("%s/%03zu-%s.ko", PID1_MODULES_DIR + 1, i, list[i]->name);

		cpio_file(out, path, 0644, list[i]->bytes);
	}
	cpio_end(out);
	return 0;
}

static struct json *about(const struct kernel *k, const char *digest, size_t modules,
			  uint64_t vmlinux_bytes, uint64_t initrd_bytes)
{
	struct json *j = json_new_object();

	json_set_text(j, "Id", "");
	json_set_text(j, "Version", k->version);
	json_set_text(j, "Digest", digest);
	json_set_i64(j, "Modules", (int64_t)modules);
	json_set_i64(j, "KernelBytes", (int64_t)vmlinux_bytes);
	json_set_i64(j, "InitrdBytes", (int64_t)initrd_bytes);
	json_set_i64(j, "Added", (int64_t)time(NULL));
	return j;
}

/* <root>/kernel, made where it is missing. */
static int open_store(const char *root, bool make, int *ret_fd, struct err *e)
{
	auto_free char *path = mem_printf("%s/kernel", root);

	if (make) {
		(void)mkdir(root, 0710);
		(void)mkdir(path, 0755);
	}
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, "cannot open '%s'", path) : 0;
}

static int publish(int store, const char *id, struct str vmlinux, struct str initrd,
		   const struct json *j, struct err *e)
{
	auto_strbuf struct strbuf text = {0};
	auto_close int dir = -1;

	json_write(j, &text);
	if (folder_remove(store, NEW_NAME, e) < 0)
		return -ERR_SYSTEM;
	if (mkdirat(store, NEW_NAME, 0755) < 0)
		return err_sys(e, "cannot make a directory for the kernel");
	dir = openat(store, NEW_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_sys(e, "cannot open the kernel's directory");
	if (folder_put(dir, "vmlinux", vmlinux, 0644, e) < 0 ||
	    folder_put(dir, "initrd", initrd, 0644, e) < 0 ||
	    folder_put(dir, "about.json", strbuf_str(&text), 0644, e) < 0 ||
	    folder_remove(store, id, e) < 0)
		return -ERR_SYSTEM;
	if (renameat(store, NEW_NAME, store, id) < 0)
		return err_sys(e, "cannot keep the kernel as '%s'", id);
	return fsync(store) < 0 ? err_sys(e, "cannot sync the kernel store") : 0;
}

static int read_init(const char *path, struct strbuf *out, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char piece[65536];
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, piece, sizeof(piece))) > 0)
		strbuf_add(out, piece, (size_t)n);
	return n < 0 ? err_sys(e, "cannot read '%s'", path) : 0;
}

static int keep(struct kernel *k, const char *root, struct str init, struct err *e)
{
	struct image packed = image_of_memory(k->image.p, k->image.n, k->version);
	auto_strbuf struct strbuf initrd = {0};
	auto_json struct json *j = NULL;
	auto_close int store = -1;
	struct bzimage z = {0};
	char digest[DIGEST_ROOM], id[ID_CHARS + 1] = {0};
	size_t modules;
	int r;

	if (!bzimage_is(&packed))
		return err_set(e, ERR_INVALID, "the kernel of version '%s' is no bzImage",
			       k->version);
	if (make_initrd(k, init, &initrd, &modules, e) < 0 || open_store(root, true, &store, e) < 0)
		return -ERR_INVALID;
	if (bzimage_unpack(&packed, &z, e) < 0)
		return err_wrap(e, "kernel '%s'", k->version);
	digest_of(z.kernel, z.kernel_bytes, digest);
	memcpy(id, digest_hex(digest), ID_CHARS);
	j = about(k, digest, modules, z.kernel_bytes, initrd.n);
	json_set_text(j, "Id", id);
	r = publish(store, id, (struct str){(const char *)z.kernel, z.kernel_bytes},
		    strbuf_str(&initrd), j, e);
	bzimage_done(&z);
	if (r == 0)
		(void)printf("%s\n", id);
	return r;
}

int kernel_add(const char *root, const char *init, const char *source, struct err *e)
{
	struct kernel k = {0};
	auto_strbuf struct strbuf init_bytes = {0};
	int r;

	k.modules.arena = &k.arena;
	r = read_init(init, &init_bytes, e);
	if (r == 0)
		r = text_eq(source, "installed") ? read_installed(&k, e)
						 : read_package(&k, source, e);
	if (r == 0)
		r = keep(&k, root, strbuf_str(&init_bytes), e);
	kernel_done(&k);
	return r;
}

int kernel_list(const char *root, struct err *e)
{
	auto_free char *path = mem_printf("%s/kernel", root);
	auto_closedir DIR *d = opendir(path);
	struct dirent *x;

	(void)e;
	while (d && (x = readdir(d))) {
		auto_free char *file = mem_printf("%s/%s/about.json", path, x->d_name);
		auto_json struct json *j = NULL;
		auto_strbuf struct strbuf text = {0};

		if (x->d_name[0] == '.' || strlen(x->d_name) != ID_CHARS ||
		    json_read_file(AT_FDCWD, file, ABOUT_BYTES_MAX, &j, NULL) < 0)
			continue;
		json_write(j, &text);
		(void)printf("%s\n", strbuf_text(&text));
	}
	return 0;
}

int kernel_remove(const char *root, char *const *ids, struct err *e)
{
	auto_close int store = -1;

	if (open_store(root, false, &store, e) < 0)
		return -ERR_NOT_FOUND;
	for (; *ids; ids++) {
		if (strlen(*ids) != ID_CHARS || strspn(*ids, "0123456789abcdef") != ID_CHARS ||
		    faccessat(store, *ids, F_OK, 0) < 0)
			return err_set(e, ERR_NOT_FOUND,
				       "no kernel '%s'; 'hull vm kernel ls' lists them", *ids);
		if (folder_remove(store, *ids, e) < 0)
			return -ERR_SYSTEM;
		(void)printf("%s\n", *ids);
	}
	return 0;
}
