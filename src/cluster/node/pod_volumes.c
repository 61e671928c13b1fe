/*
 * Volumes of a pod, below <root>/pods/UID/volumes/NAME: made before its first container, removed
 * after its last. What config maps, secrets and the pod itself say stands in files: each look
 * writes what changed into a new folder and swaps one link, so that a reader sees all of the old or
 * all of the new.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/base64.h"
#include "ground/format/quantity.h"
#include "ground/store/folder.h"

#define MODE_FOLDER 0777
#define LINK	    "..data" /* what the files' links go through */

static int make_dir(const char *path, mode_t mode, struct err *e)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", path);
	return chmod(path, mode) < 0 ? err_sys(e, "cannot set the mode of '%s'", path) : 0;
}

static char *base_of(const struct pod *p, const char *name)
{
	return mem_printf("%s/volumes/%s", p->dir, name);
}

/* The group that owns the pod's volumes; -1: none. */
static int64_t group_of(const struct json *pod)
{
	return json_get_i64(json_get(json_get(pod, "spec"), "securityContext"), "fsGroup", -1);
}

/* -- files ------------------------------------------------------------------------------------- */

/* What a projected volume holds: path -> contents. */
struct files {
	struct arena arena;
	struct file {
		const char *path;
		struct str bytes;
		mode_t mode;
	} list[512];
	size_t n;
	mode_t mode;
	int64_t group; /* whose they are beside root; -1: nobody's */
};

static bool path_is_safe(const char *path)
{
	struct str rest = str_of(path), part;

	if (!path[0] || path[0] == '/')
		return false;
	while (str_cut(&rest, '/', &part))
		if (part.n == 0 || str_is(part, "..") || str_is(part, "."))
			return false;
	return true;
}

static int add_file(struct files *f, const char *path, struct str bytes, mode_t mode, struct err *e)
{
	if (!path_is_safe(path))
		return err_set(e, ERR_INVALID, "the path '%s' leads out of its volume", path);
	if (f->n == array_len(f->list))
		return err_set(e, ERR_EXHAUSTED, "more than %zu files in one volume",
			       array_len(f->list));
	f->list[f->n].path = arena_dup_text(&f->arena, path);
	f->list[f->n].bytes.p = arena_dup(&f->arena, bytes);
	f->list[f->n].bytes.n = bytes.n;
	f->list[f->n++].mode = mode;
	return 0;
}

static int add_value(struct files *f, const char *path, const char *value, bool encoded,
		     mode_t mode, struct err *e)
{
	auto_strbuf struct strbuf plain = {0};

	if (!encoded)
		return add_file(f, path, str_of(value), mode, e);
	if (base64_decode(str_of(value), &plain, e) < 0)
		return -ERR_INVALID;
	return add_file(f, path, strbuf_str(&plain), mode, e);
}

static int add_items(struct files *f, const struct json *items, const struct json *data,
		     bool encoded, const char *what, bool optional, struct err *e)
{
	for (size_t i = 0; i < json_len(items); i++) {
		const struct json *one = json_at(items, i);
		const char *key = json_get_text(one, "key"), *path = json_get_text(one, "path");
		const char *value = json_get_text(data, key ? key : "");
		mode_t mode = (mode_t)json_get_i64(one, "mode", f->mode);

		if (!value && optional)
			continue;
		if (!value)
			return err_set(e, ERR_NOT_FOUND, "references non-existent key \"%s\" of %s",
				       key ? key : "", what);
		if (add_value(f, path ? path : "", value, encoded, mode, e) < 0)
			return -ERR_INVALID;
	}
	return 0;
}

static int add_object(struct pod *p, struct files *f, const struct json *source, bool secret,
		      struct err *e)
{
	const char *name = json_get_text(source, secret ? "secretName" : "name");
	bool optional = json_get_bool(source, "optional", false);
	const struct object *o;
	const struct json *data, *binary;
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	if (!name)
		name = json_get_text(source, "name");
	o = informer_get(secret ? p->agent->secrets : p->agent->config_maps, p->namespace,
			 name ? name : "");
	if (!o && optional)
		return 0;
	if (!o)
		return err_set(e, ERR_NOT_FOUND, "%s \"%s\" not found",
			       secret ? "secret" : "configmap", name ? name : "");
	data = json_get(object_tree(o), "data");
	if (json_len(json_get(source, "items")))
		return add_items(f, json_get(source, "items"), data, secret, name, optional, e);
	while (json_next(data, &it, &key, &value))
		if (add_value(f, key, json_text(value), secret, f->mode, e) < 0)
			return -ERR_INVALID;
	binary = json_get(object_tree(o), "binaryData");
	it = (struct json_iter){0};
	while (json_next(binary, &it, &key, &value))
		if (add_value(f, key, json_text(value), true, f->mode, e) < 0)
			return -ERR_INVALID;
	return 0;
}

static int add_downward(const struct pod *p, const struct json *pod, struct files *f,
			const struct json *source, struct err *e)
{
	const struct json *items = json_get(source, "items");

	for (size_t i = 0; i < json_len(items); i++) {
		const struct json *one = json_at(items, i), *field = json_get(one, "fieldRef");
		const char *path = json_get_text(one, "path");
		auto_free char *text = NULL;

		text = field ? pod_field(p, pod, json_get_text(field, "fieldPath"))
			     : pod_resource(p, pod, NULL, json_get(one, "resourceFieldRef"));
		if (add_file(f, path ? path : "", str_of(text ? text : ""),
			     (mode_t)json_get_i64(one, "mode", f->mode), e) < 0)
			return -ERR_INVALID;
	}
	return 0;
}

static int token_file(struct pod *p, const struct json *pod, const struct json *source,
		      struct files *f, struct err *e)
{
	const char *token = pod_token(p, pod, source), *path = json_get_text(source, "path");

	if (!token)
		return err_set(e, ERR_BUSY, "the service account's token is on its way");
	return add_file(f, path ? path : "token", str_of(token), 0644, e);
}

static int add_projected(struct pod *p, const struct json *pod, struct files *f,
			 const struct json *volume, struct err *e)
{
	const struct json *sources = json_get(volume, "sources");
	int bad = 0;

	for (size_t i = 0; i < json_len(sources) && bad >= 0; i++) {
		const struct json *s = json_at(sources, i), *token;

		if (json_get(s, "configMap"))
			bad = add_object(p, f, json_get(s, "configMap"), false, e);
		else if (json_get(s, "secret"))
			bad = add_object(p, f, json_get(s, "secret"), true, e);
		else if (json_get(s, "downwardAPI"))
			bad = add_downward(p, pod, f, json_get(s, "downwardAPI"), e);
		else if ((token = json_get(s, "serviceAccountToken")) != NULL)
			bad = token_file(p, pod, token, f, e);
	}
	return bad;
}

/* -- swapping ---------------------------------------------------------------------------------- */

static bool same_file(const char *dir, const struct file *f)
{
	auto_free char *path = mem_printf("%s/%s/%s", dir, LINK, f->path);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *have = mem_new_bytes(1, f->bytes.n + 1);

	return fd >= 0 && read(fd, have, f->bytes.n + 1) == (ssize_t)f->bytes.n &&
	       memcmp(have, f->bytes.p, f->bytes.n) == 0;
}

static bool is_current(const char *dir, const struct files *f)
{
	auto_free char *link = mem_printf("%s/%s", dir, LINK);

	if (access(link, F_OK) < 0)
		return false;
	for (size_t i = 0; i < f->n; i++)
		if (!same_file(dir, &f->list[i]))
			return false;
	return true;
}

static int write_file(const char *dir, const struct file *f, int64_t group, struct err *e)
{
	auto_free char *path = mem_printf("%s/%s", dir, f->path);
	auto_close int fd = -1;

	for (char *slash = strchr(path + strlen(dir) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (make_dir(path, 0755, e) < 0)
			return -ERR_SYSTEM;
		*slash = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, f->mode);
	if (fd < 0 || write(fd, f->bytes.p, f->bytes.n) != (ssize_t)f->bytes.n ||
	    (group >= 0 && fchown(fd, (uid_t)-1, (gid_t)group) < 0) ||
	    fchmod(fd, group >= 0 ? f->mode | 0440 : f->mode) < 0)
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}

/* The first part of a path, as a link through LINK. */
static void link_in(const char *dir, const char *path)
{
	struct str rest = str_of(path), first;
	auto_free char *name = NULL, *from = NULL, *to = NULL;

	(void)str_cut(&rest, '/', &first);
	name = str_dup(first);
	from = mem_printf("%s/%s", dir, name);
	to = mem_printf("%s/%s", LINK, name);
	(void)!symlink(to, from);
}

static int write_files(const struct pod *p, const char *name, const struct files *f, struct err *e)
{
	auto_free char *dir = base_of(p, name), *old = NULL;
	auto_free char *link = mem_printf("%s/%s", dir, LINK), *next = mem_printf("%s/..next", dir);
	auto_close int dirfd = -1;
	char hex[9], before[256] = "";
	ssize_t n;

	if (make_dir(dir, 0755, e) < 0)
		return -ERR_SYSTEM;
	if (is_current(dir, f))
		return 0;
	world_random_hex(p->agent->world, hex, 8);
	old = mem_printf("%s/..%s", dir, hex);
	if (make_dir(old, 0755, e) < 0)
		return -ERR_SYSTEM;
	for (size_t i = 0; i < f->n; i++)
		if (write_file(old, &f->list[i], f->group, e) < 0)
			return -ERR_SYSTEM;
	n = readlink(link, before, sizeof(before) - 1);
	(void)unlink(next);
	if (symlink(old + strlen(dir) + 1, next) < 0 || rename(next, link) < 0)
		return err_sys(e, "cannot swap '%s'", link);
	for (size_t i = 0; i < f->n; i++)
		link_in(dir, f->list[i].path);
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (n > 0 && dirfd >= 0 && folder_remove(dirfd, before, e) < 0)
		log_debug("%s", e->text);
	return 0;
}

static int make_files(struct pod *p, const struct json *pod, const struct json *v, const char *kind,
		      struct err *e)
{
	const struct json *source = json_get(v, kind);
	struct files *f = mem_new(struct files);
	int bad;

	f->mode = (mode_t)json_get_i64(source, "defaultMode", 0644);
	f->group = group_of(pod);
	if (text_eq(kind, "configMap"))
		bad = add_object(p, f, source, false, e);
	else if (text_eq(kind, "secret"))
		bad = add_object(p, f, source, true, e);
	else if (text_eq(kind, "downwardAPI"))
		bad = add_downward(p, pod, f, source, e);
	else
		bad = add_projected(p, pod, f, source, e);
	if (bad >= 0)
		bad = write_files(p, json_get_text(v, "name"), f, e);
	arena_done(&f->arena);
	free(f);
	return bad < 0 ? err_wrap(e, "MountVolume.SetUp failed for volume \"%s\"",
				  json_get_text(v, "name"))
		       : 0;
}

/* -- the other kinds --------------------------------------------------------------------------- */

static int mount_memory(const struct pod *p, const char *dir, const struct json *limit,
			struct err *e)
{
	auto_free char *parent = mem_printf("%s/volumes", p->dir), *options = NULL;
	struct stat at, above;
	struct quantity q;

	if (stat(dir, &at) < 0 || stat(parent, &above) < 0)
		return err_sys(e, "cannot look at '%s'", dir);
	if (at.st_dev != above.st_dev)
		return 0; /* mounted already */
	if (quantity_read(limit, &q))
		options = mem_printf("mode=0777,size=%lld", (long long)quantity_whole(&q));
	if (mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV, options ? options : "mode=0777") < 0)
		return err_sys(e, "cannot mount memory at '%s'", dir);
	return 0;
}

static int make_empty(const struct pod *p, const struct json *v, const struct json *pod,
		      struct err *e)
{
	const struct json *source = json_get(v, "emptyDir");
	auto_free char *dir = base_of(p, json_get_text(v, "name"));
	int64_t group = group_of(pod);

	if (make_dir(dir, MODE_FOLDER, e) < 0)
		return -ERR_SYSTEM;
	if (text_eq(json_get_text(source, "medium"), "Memory") &&
	    mount_memory(p, dir, json_get(source, "sizeLimit"), e) < 0)
		return -(int)e->kind;
	if (group >= 0 && (chown(dir, (uid_t)-1, (gid_t)group) < 0 || chmod(dir, 02777) < 0))
		return err_sys(e, "cannot give '%s' to group %lld", dir, (long long)group);
	return 0;
}

static const struct host_path_row {
	const char *type;
	bool make_dir, make_file, must;
	mode_t kind;
} host_paths[] = {
	{"", true, false, false, 0},
	{"DirectoryOrCreate", true, false, true, S_IFDIR},
	{"Directory", false, false, true, S_IFDIR},
	{"FileOrCreate", false, true, true, S_IFREG},
	{"File", false, false, true, S_IFREG},
	{"Socket", false, false, true, S_IFSOCK},
	{"CharDevice", false, false, true, S_IFCHR},
	{"BlockDevice", false, false, true, S_IFBLK},
};

static int make_file(const char *path, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);

	return fd < 0 ? err_sys(e, "cannot make the host path '%s'", path) : 0;
}

static int check_host_path(const struct json *v, struct err *e)
{
	const struct json *source = json_get(v, "hostPath");
	const char *path = json_get_text(source, "path"), *type = json_get_text(source, "type");
	const struct host_path_row *row = NULL;
	struct stat st;

	for (size_t i = 0; i < array_len(host_paths); i++)
		if (text_eq(host_paths[i].type, type ? type : ""))
			row = &host_paths[i];
	if (!row)
		return err_set(e, ERR_INVALID, "hostPath type \"%s\" is not known", type);
	if (stat(path, &st) < 0 && row->make_dir && mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make the host path '%s'", path);
	if (stat(path, &st) < 0 && row->make_file && make_file(path, e) < 0)
		return -ERR_SYSTEM;
	if (row->must && (stat(path, &st) < 0 || (st.st_mode & S_IFMT) != row->kind))
		return err_set(e, ERR_INVALID,
			       "hostPath type check failed: %s is not a %s; make it first, or ask "
			       "for another type",
			       path, type);
	return 0;
}

static const struct json *volume_of(const struct json *pod, const char *name)
{
	return json_find(json_get(json_get(pod, "spec"), "volumes"), "name", name);
}

/* The persistent volume behind a claim: where it lies. ERR_BUSY: not bound yet. */
static int claim_path(const struct pod *p, const struct json *v, char **ret, struct err *e)
{
	const char *name = json_get_text(json_get(v, "persistentVolumeClaim"), "claimName");
	const struct object *claim = informer_get(p->agent->claims, p->namespace, name ? name : "");
	const char *volume =
		claim ? json_get_text(json_get(object_tree(claim), "spec"), "volumeName") : NULL;
	auto_free char *copy = volume ? mem_dup_text(volume) : NULL;
	const struct object *store = copy ? informer_get(p->agent->stores, NULL, copy) : NULL;
	const struct json *spec;
	const char *path;

	if (!claim)
		return err_set(e, ERR_NOT_FOUND, "persistentvolumeclaim \"%s\" not found", name);
	if (!store)
		return err_set(
			e, ERR_NOT_FOUND,
			"persistentvolumeclaim \"%s\" is not bound to a volume yet; its "
			"storage class must be one that this cluster serves (local-path), or "
			"a fitting PersistentVolume must be there",
			name);
	spec = json_get(object_tree(store), "spec");
	path = json_get_text(json_get(spec, "hostPath"), "path");
	if (!path)
		path = json_get_text(json_get(spec, "local"), "path");
	if (!path)
		return err_set(
			e, ERR_UNSUPPORTED,
			"PersistentVolume \"%s\" is of a kind that this node does not offer; "
			"hostPath and local are",
			copy);
	*ret = mem_dup_text(path);
	return 0;
}

static int make_claimed(const struct pod *p, const struct json *v, struct err *e)
{
	auto_free char *path = NULL;

	if (claim_path(p, v, &path, e) < 0)
		return -(int)e->kind;
	if (mkdir(path, MODE_FOLDER) == 0)
		return chmod(path, MODE_FOLDER) < 0
			       ? err_sys(e, "cannot set the mode of '%s'", path)
			       : 0;
	return errno == EEXIST ? 0 : err_sys(e, "cannot make the claimed volume '%s'", path);
}

char *pod_volume_path(const struct pod *p, const struct json *pod, const char *name)
{
	const struct json *v = name ? volume_of(pod, name) : NULL;
	const char *host = json_get_text(json_get(v, "hostPath"), "path");
	char *path = NULL;
	struct err e;

	if (json_get(v, "persistentVolumeClaim"))
		return claim_path(p, v, &path, &e) < 0 ? NULL : path;
	return !v ? NULL : host ? mem_dup_text(host) : base_of(p, name);
}

bool pod_volume_is_writable(const struct json *pod, const char *name)
{
	const struct json *v = volume_of(pod, name);

	return json_get(v, "emptyDir") || json_get(v, "hostPath") ||
	       json_get(v, "persistentVolumeClaim");
}

static int make_one(struct pod *p, const struct json *pod, const struct json *v, struct err *e)
{
	static const char *const of_files[] = {"configMap", "secret", "downwardAPI", "projected"};

	if (json_get(v, "emptyDir"))
		return make_empty(p, v, pod, e);
	if (json_get(v, "hostPath"))
		return check_host_path(v, e);
	if (json_get(v, "persistentVolumeClaim"))
		return make_claimed(p, v, e);
	for (size_t i = 0; i < array_len(of_files); i++)
		if (json_get(v, of_files[i]))
			return make_files(p, pod, v, of_files[i], e);
	return err_set(e, ERR_UNSUPPORTED,
		       "volume \"%s\" is of a kind that this node does not offer; emptyDir, "
		       "hostPath, configMap, secret, downwardAPI, projected and claims are",
		       json_get_text(v, "name"));
}

int pod_volumes_make(struct pod *p, const struct json *pod, struct err *e)
{
	const struct json *list = json_get(json_get(pod, "spec"), "volumes");
	auto_free char *top = mem_printf("%s/pods", p->agent->o.root),
		       *folder = mem_printf("%s/volumes", p->dir);

	if (make_dir(top, 0710, e) < 0 || make_dir(p->dir, 0755, e) < 0 ||
	    make_dir(folder, 0755, e) < 0)
		return -ERR_SYSTEM;
	for (size_t i = 0; i < json_len(list); i++)
		if (make_one(p, pod, json_at(list, i), e) < 0)
			return -(int)e->kind;
	return 0;
}

void pod_volumes_remove(struct pod *p)
{
	const char *slash = strrchr(p->dir, '/');
	auto_free char *top = mem_printf("%s/pods", p->agent->o.root);
	auto_close int dirfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e;

	pod_mounts_detach(p->dir);
	if (dirfd >= 0 && folder_remove(dirfd, slash + 1, &e) < 0)
		log_warn("pod %s: %s", p->key, e.text);
}
