/*
 * The store of named volumes: directories and records of one root, kept in memory by name.
 */
#include "virt/volume/volume.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/inroot.h"
#include "ground/store/folder.h"
#include "virt/volume/volume_priv.h"

#define DEPTH_MAX 512 /* directories inside one another that volume_size() goes down */

static const struct json_field spec_fields[] = {
	{"name", JSON_TEXT, offsetof(struct volume_spec, name)},
	{"driver", JSON_TEXT, offsetof(struct volume_spec, driver)},
	{"created", JSON_TEXT, offsetof(struct volume_spec, created)},
	{"owner", JSON_TEXT, offsetof(struct volume_spec, owner)},
	{"anonymous", JSON_FLAG, offsetof(struct volume_spec, anonymous)},
	{"populated", JSON_FLAG, offsetof(struct volume_spec, populated)},
	{"labels", JSON_TEXT_MAP, offsetof(struct volume_spec, labels)},
	{"options", JSON_TEXT_MAP, offsetof(struct volume_spec, options)},
};
static const struct json_shape spec_shape = JSON_SHAPE(struct volume_spec, spec_fields);

/* ---- the store ---- */

int volume_store_open(const char *root, const struct world *w, struct volume_store **ret,
		      struct err *e)
{
	struct volume_store *s = mem_new(struct volume_store);

	s->dir = mem_printf("%s/volume", root);
	s->world = w;
	s->fd = -1;
	list_init(&s->volumes);
	if (mkdir(s->dir, 0711) < 0 && errno != EEXIST)
		(void)err_sys(e, "cannot make '%s'", s->dir);
	else
		s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0) {
		int r = err_sys(e, "cannot open '%s'", s->dir);

		(void)volume_store_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

static void volume_free(struct volume *v)
{
	if (v->spec.name && map_get(&v->store->by_name, v->spec.name) == v)
		(void)map_remove(&v->store->by_name, v->spec.name);
	if (!list_empty(&v->link))
		list_remove(&v->link);
	map_done(&v->users);
	free(v->path);
	arena_done(&v->arena);
	free(v);
}

struct volume_store *volume_store_free(struct volume_store *s)
{
	if (!s)
		return NULL;
	list_each (&s->volumes, struct volume, link, v)
		volume_free(v);
	map_done(&s->by_name);
	(void)fd_close(s->fd);
	free(s->dir);
	free(s);
	return NULL;
}

/* ---- one volume ---- */

static bool name_char(char c, bool first)
{
	bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

	return word || (!first && (c == '_' || c == '.' || c == '-'));
}

static int check_name(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n > VOLUME_NAME_MAX)
		return err_set(e, ERR_INVALID,
			       "volume name '%.40s...' is longer than %d characters", name,
			       VOLUME_NAME_MAX);
	for (size_t i = 0; i < n; i++)
		if (!name_char(name[i], i == 0))
			return err_set(
				e, ERR_INVALID,
				"invalid volume name '%s': use letters, digits and, not "
				"first, '_', '.', '-' (a directory of the host begins with '/')",
				name);
	return n ? 0 : err_set(e, ERR_INVALID, "a volume needs a name");
}

/* Reads a record (or a request that took its form) into a new volume. */
static int take_record(struct volume_store *s, const struct json *record, struct volume **ret,
		       struct err *e)
{
	struct volume *v = mem_new(struct volume);
	struct volume_device device;
	int r;

	v->store = s;
	list_init(&v->link);
	r = json_decode(record, &spec_shape, "volume", &v->arena, &v->spec, e);
	if (r == 0 && (!v->spec.name || !*v->spec.name)) {
		v->spec.name = arena_new_bytes(&v->arena, 65);
		world_random_hex(s->world, v->spec.name, 64);
		v->spec.anonymous = true;
	}
	if (r == 0 && (!v->spec.driver || !*v->spec.driver))
		v->spec.driver = arena_dup_text(&v->arena, "local");
	if (r == 0)
		r = check_name(v->spec.name, e);
	if (r == 0 && strcmp(v->spec.driver, "local") != 0)
		r = err_set(e, ERR_NOT_FOUND, "unknown volume driver '%s': there is only 'local'",
			    v->spec.driver);
	if (r == 0)
		r = volume_device(&v->spec, &device, e);
	if (r < 0) {
		volume_free(v);
		return r;
	}
	v->path = mem_printf("%s/%s/_data", s->dir, v->spec.name);
	*ret = v;
	return 0;
}

static void enter(struct volume *v)
{
	list_append(&v->store->volumes, &v->link);
	(void)map_put(&v->store->by_name, v->spec.name, v);
}

static int make_dirs(struct volume *v, struct err *e)
{
	auto_close int dir = -1;

	if (mkdirat(v->store->fd, v->spec.name, 0701) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make volume '%s'", v->spec.name);
	dir = openat(v->store->fd, v->spec.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "cannot open volume '%s'", v->spec.name);
	if (mkdirat(dir, "_data", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make the directory of volume '%s'", v->spec.name);
	if (fsync(dir) < 0 || fsync(v->store->fd) < 0)
		return err_sys(e, "cannot sync volume '%s'", v->spec.name);
	return 0;
}

static const char *pair_value(const struct json_pair *list, const char *key)
{
	for (; list && list->key; list++)
		if (strcmp(list->key, key) == 0)
			return list->value;
	return NULL;
}

static bool same_options(const struct json_pair *a, const struct json_pair *b)
{
	size_t n = 0, m = 0;

	for (; a && a[n].key; n++)
		if (!text_eq(a[n].value, pair_value(b, a[n].key)))
			return false;
	while (b && b[m].key)
		m++;
	return n == m;
}

int volume_create(struct volume_store *s, const struct volume_spec *spec, struct volume **ret,
		  struct err *e)
{
	struct volume *there = spec->name ? map_get(&s->by_name, spec->name) : NULL, *v;
	auto_json struct json *j = NULL;
	int r;

	if (there) {
		if (spec->options && !same_options(there->spec.options, spec->options))
			return err_set(e, ERR_CONFLICT, "volume '%s' exists with other options",
				       spec->name);
		*ret = there;
		return 0;
	}
	j = json_encode(&spec_shape, spec);
	r = take_record(s, j, &v, e);
	if (r < 0)
		return r;
	r = make_dirs(v, e);
	if (r < 0) {
		volume_free(v);
		return r;
	}
	enter(v);
	*ret = v;
	return 0;
}

int volume_load(struct volume_store *s, const struct json *record, struct volume **ret,
		struct err *e)
{
	struct volume *v;
	int r = take_record(s, record, &v, e);

	if (r < 0)
		return r;
	if (map_get(&s->by_name, v->spec.name)) {
		r = err_set(e, ERR_EXISTS, "two records of volume '%s'", v->spec.name);
		volume_free(v);
		return r;
	}
	r = make_dirs(v, e);
	if (r < 0) {
		volume_free(v);
		return r;
	}
	enter(v);
	*ret = v;
	return 0;
}

struct json *volume_encode(const struct volume *v)
{
	return json_encode(&spec_shape, &v->spec);
}

int volume_find(struct volume_store *s, const char *name, struct volume **ret, struct err *e)
{
	struct volume *v = map_get(&s->by_name, name);

	if (!v)
		return err_set(e, ERR_NOT_FOUND, "get %.128s: no such volume", name);
	*ret = v;
	return 0;
}

struct volume *volume_next(struct volume_store *s, const struct volume *v)
{
	struct list *at = v ? v->link.next : s->volumes.next;

	return at == &s->volumes ? NULL : container_of(at, struct volume, link);
}

const struct volume_spec *volume_spec(const struct volume *v)
{
	return &v->spec;
}

const char *volume_path(const struct volume *v)
{
	return v->path;
}

/* ---- size ---- */

static int add_size(int dirfd, int depth, int64_t *total, struct err *e)
{
	auto_closedir DIR *d = fdopendir(dirfd);
	struct dirent *entry;
	struct stat st;
	int r = 0;

	if (!d)
		return err_sys(e, "cannot read a directory of the volume");
	while (r == 0 && (entry = readdir(d))) {
		int inner;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		*total += st.st_nlink > 1 && !S_ISDIR(st.st_mode)
				  ? (int64_t)st.st_blocks * 512 / (int64_t)st.st_nlink
				  : (int64_t)st.st_blocks * 512;
		if (!S_ISDIR(st.st_mode) || depth == 0)
			continue;
		inner = openat(dirfd, entry->d_name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (inner >= 0)
			r = add_size(inner, depth - 1, total, e);
	}
	return r;
}

int volume_size(const struct volume *v, int64_t *ret_bytes, struct err *e)
{
	int fd = open(v->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "cannot open '%s'", v->path);
	*ret_bytes = 0;
	return add_size(fd, DEPTH_MAX, ret_bytes, e);
}

/* ---- use and removal ---- */

void volume_use(struct volume *v, const char *container)
{
	(void)map_put(&v->users, container, v);
}

void volume_release(struct volume *v, const char *container)
{
	(void)map_remove(&v->users, container);
}

size_t volume_users(const struct volume *v)
{
	return v->users.count;
}

int volume_remove(struct volume_store *s, struct volume *v, struct err *e)
{
	int r;

	assert(v->store == s);
	map_each (&v->users, it)
		return err_set(e, ERR_CONFLICT, "remove %s: volume is in use - [%s]", v->spec.name,
			       it->key);
	r = folder_remove(s->fd, v->spec.name, e);
	if (r < 0 && r != -ERR_NOT_FOUND)
		return err_wrap(e, "cannot remove volume '%s'", v->spec.name);
	err_clear(e);
	volume_free(v);
	return 0;
}

/* Only what is empty goes: a lost record must not cost anybody's data. */
int volume_sweep(struct volume_store *s, struct err *e)
{
	int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d)
		return err_sys(e, "cannot read '%s'", s->dir);
	while ((entry = readdir(d))) {
		auto_close int inner = -1;

		if (entry->d_name[0] == '.' || map_get(&s->by_name, entry->d_name))
			continue;
		inner = openat(s->fd, entry->d_name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (inner < 0)
			continue;
		if ((unlinkat(inner, "_data", AT_REMOVEDIR) < 0 && errno != ENOENT) ||
		    unlinkat(s->fd, entry->d_name, AT_REMOVEDIR) < 0)
			log_warn("'%s/%s' belongs to no volume and holds data: left alone", s->dir,
				 entry->d_name);
	}
	return 0;
}

/* ---- the first copy ---- */

static int is_empty(int dirfd, bool *ret, struct err *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d)
		return err_sys(e, "cannot read the volume");
	*ret = true;
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			*ret = false;
	return 0;
}

/* Beside the data and then over it: a copy that broke off leaves the volume as empty as it was. */
static int copy_beside(int dir, int src, struct err *e)
{
	auto_close int dst = -1;
	int r;

	r = folder_remove(dir, "_new", e);
	if (r < 0 && r != -ERR_NOT_FOUND)
		return r;
	err_clear(e);
	if (mkdirat(dir, "_new", 0700) < 0)
		return err_sys(e, "cannot make room for the first copy");
	dst = openat(dir, "_new", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dst < 0)
		return err_sys(e, "cannot open the first copy");
	r = copy_tree(src, dst, e);
	if (r == 0 && syncfs(dst) < 0)
		r = err_sys(e, "cannot sync the first copy");
	if (r == 0 && renameat(dir, "_new", dir, "_data") < 0)
		r = err_sys(e, "cannot put the first copy in place");
	if (r < 0 && folder_remove(dir, "_new", NULL) < 0)
		log_debug("a half copy stays behind");
	return r;
}

int volume_copy_up(struct volume *v, int root_fd, const char *path, struct err *e)
{
	auto_close int dir = -1, data = -1, src = -1;
	bool empty = false;
	int r;

	if (v->spec.populated || v->spec.options)
		return 0;
	dir = openat(v->store->fd, v->spec.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	data = dir < 0 ? -1 : openat(dir, "_data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (data < 0)
		return err_sys(e, "cannot open '%s'", v->path);
	r = is_empty(data, &empty, e);
	if (r < 0)
		return r;
	if (empty)
		r = inroot_open(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, &src, e);
	if (r == -ERR_NOT_FOUND || (r < 0 && e && (e->sys == ENOTDIR || e->sys == ELOOP))) {
		err_clear(e);
		r = 0;
	}
	if (r == 0 && src >= 0)
		r = copy_beside(dir, src, e);
	if (r < 0)
		return err_wrap(e, "volume '%s': copying the image's '%s'", v->spec.name, path);
	v->spec.populated = true;
	return 0;
}
