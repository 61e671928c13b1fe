/*
 * What a container asks for: the three notations of a mount (-v, --mount, --tmpfs) read into one
 * struct, and that struct made into the runtime's mount.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/inroot.h"
#include "virt/volume/volume_priv.h"

#define PATH_BYTES_MAX 4096
#define OPTIONS_MAX    64

/* ---- paths ---- */

/* The absolute path without "//", "." and ".." (".." above the root stays at the root). */
static int clean_path(struct str path, const char *what, struct arena *a, char **ret, struct err *e)
{
	auto_strbuf struct strbuf out = {0};
	struct str rest = path, part;

	if (path.n == 0 || path.p[0] != '/')
		return err_set(e, ERR_INVALID, "invalid %s '%.*s': must be an absolute path", what,
			       (int)(path.n > 200 ? 200 : path.n), path.p ? path.p : "");
	if (path.n >= PATH_BYTES_MAX || memchr(path.p, '\0', path.n))
		return err_set(e, ERR_INVALID, "invalid %s: longer than %d bytes or a NUL inside",
			       what, PATH_BYTES_MAX - 1);
	while (str_cut(&rest, '/', &part)) {
		if (part.n == 0 || str_is(part, "."))
			continue;
		if (str_is(part, "..")) {
			while (out.n && out.p[--out.n] != '/')
				;
			continue;
		}
		strbuf_add_char(&out, '/');
		strbuf_add(&out, part.p, part.n);
	}
	if (out.n == 0)
		strbuf_add_char(&out, '/');
	*ret = arena_dup(a, strbuf_str(&out));
	return 0;
}

static int read_target(struct str text, struct arena *a, struct volume_mount *m, struct err *e)
{
	int r = clean_path(text, "mount path", a, &m->target, e);

	if (r < 0)
		return r;
	assert(m->target);
	if (strcmp(m->target, "/") == 0)
		return err_set(e, ERR_INVALID,
			       "invalid mount path '%.*s': the root itself cannot be mounted over",
			       (int)text.n, text.p);
	return r;
}

static void add_option(struct arena *a, struct volume_mount *m, struct str option)
{
	size_t n = mem_count_texts(m->options);
	char **grown = arena_new_array(a, char *, n + 2);

	if (m->options)
		memcpy(grown, m->options, n * sizeof(*grown));
	grown[n] = arena_dup(a, option);
	m->options = grown;
}

/* ---- -v ---- */

static int check_propagation(const char *text, struct err *e)
{
	static const char *const known[] = {"private", "rprivate", "shared",
					    "rshared", "slave",	   "rslave"};

	for (size_t i = 0; i < array_len(known); i++)
		if (strcmp(text, known[i]) == 0)
			return 0;
	return err_set(e, ERR_INVALID, "invalid propagation '%.40s'", text);
}

static int read_bind_option(struct str option, struct arena *a, struct volume_mount *m,
			    struct err *e)
{
	static const char *const ignored[] = {"rw", "z", "Z", "cached", "delegated", "consistent"};
	static const char *const kept[] = {"nosuid", "nodev",	"noexec",   "suid", "dev",
					   "exec",   "noatime", "relatime", "idmap"};
	auto_free char *text = str_dup(option);

	if (str_is(option, "ro")) {
		m->read_only = true;
		return 0;
	}
	if (str_is(option, "nocopy")) {
		m->no_copy = true;
		return 0;
	}
	for (size_t i = 0; i < array_len(ignored); i++)
		if (str_is(option, ignored[i]))
			return 0;
	for (size_t i = 0; i < array_len(kept); i++)
		if (str_is(option, kept[i])) {
			add_option(a, m, option);
			return 0;
		}
	if (check_propagation(text, NULL) < 0 || m->kind != VOLUME_BIND)
		return err_set(e, ERR_INVALID, "invalid mode '%.40s' of a volume", text);
	m->propagation = arena_dup_text(a, text);
	return 0;
}

static int read_bind_source(struct str source, struct arena *a, struct volume_mount *m,
			    struct err *e)
{
	if (source.n == 0)
		return err_set(e, ERR_INVALID, "invalid volume specification: an empty source");
	if (m->kind == VOLUME_BIND)
		return clean_path(source, "bind source", a, &m->source, e);
	m->source = arena_dup(a, source);
	return 0;
}

static int read_bind_options_text(struct str rest, struct arena *a, struct volume_mount *m,
				  struct err *e)
{
	struct str option;
	int r = 0;

	while (r == 0 && str_cut(&rest, ',', &option))
		r = read_bind_option(option, a, m, e);
	return r;
}

int volume_parse_bind(struct str text, struct arena *a, struct volume_mount *ret, struct err *e)
{
	struct volume_mount m = {0};
	struct str rest = text, part[4] = {{0}};
	size_t n = 0;
	int r;

	while (n < array_len(part) && str_cut(&rest, ':', &part[n]))
		n++;
	if (n == 0 || n > 3)
		return err_set(e, ERR_INVALID, "invalid volume specification: '%.*s'",
			       (int)(text.n > 400 ? 400 : text.n), text.p);
	m.kind = n > 1 && part[0].n && part[0].p[0] == '/' ? VOLUME_BIND : VOLUME_NAMED;
	m.create_source = m.kind == VOLUME_BIND;
	r = read_target(part[n == 1 ? 0 : 1], a, &m, e);
	if (r == 0 && n > 1)
		r = read_bind_source(part[0], a, &m, e);
	if (r == 0 && n == 3)
		r = read_bind_options_text(part[2], a, &m, e);
	if (r == 0)
		*ret = m;
	return r;
}

/* ---- --mount ---- */

static struct json_pair *read_pairs(struct arena *a, const struct json *object)
{
	struct json_pair *list = arena_new_array(a, struct json_pair, json_len(object) + 1);
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	size_t n = 0;

	while (n < json_len(object) && json_next(object, &it, &key, &value)) {
		const char *text = json_text(value);

		list[n].key = arena_dup_text(a, key);
		list[n++].value = arena_dup_text(a, text ? text : "");
	}
	return n ? list : NULL;
}

static int read_bind_options(const struct json *o, struct arena *a, struct volume_mount *m,
			     struct err *e)
{
	const char *propagation = json_get_text(o, "Propagation");

	m->create_source = json_get_bool(o, "CreateMountpoint", false);
	m->recursive_read_only =
		m->read_only && (json_get_bool(o, "ReadOnlyForceRecursive", false));
	if (json_get_bool(o, "NonRecursive", false))
		add_option(a, m, STR("bind"));
	if (!propagation || !*propagation)
		return 0;
	m->propagation = arena_dup_text(a, propagation);
	return check_propagation(propagation, e);
}

static int read_volume_options(const struct json *o, struct arena *a, struct volume_mount *m,
			       struct err *e)
{
	const char *subpath = json_get_text(o, "Subpath");
	const struct json *driver = json_get(o, "DriverConfig");
	const char *name = json_get_text(driver, "Name");

	m->no_copy = json_get_bool(o, "NoCopy", false);
	m->labels = read_pairs(a, json_get(o, "Labels"));
	m->driver_options = read_pairs(a, json_get(driver, "Options"));
	if (name && *name && strcmp(name, "local") != 0)
		return err_set(e, ERR_NOT_FOUND, "unknown volume driver '%.60s'", name);
	if (!subpath || !*subpath)
		return 0;
	if (subpath[0] == '/' || strcmp(subpath, "..") == 0 || text_starts(subpath, "../") ||
	    strstr(subpath, "/../") || text_ends(subpath, "/.."))
		return err_set(e, ERR_INVALID,
			       "invalid subpath '%.200s': must lie below the volume", subpath);
	m->subpath = arena_dup_text(a, subpath);
	return 0;
}

static int read_tmpfs_options(const struct json *o, struct volume_mount *m, struct err *e)
{
	int64_t mode = json_get_i64(o, "Mode", 0);

	m->tmpfs_size_bytes = json_get_i64(o, "SizeBytes", 0);
	if (m->tmpfs_size_bytes < 0 || mode < 0 || mode > 07777)
		return err_set(e, ERR_INVALID, "invalid size or mode of a tmpfs mount");
	m->tmpfs_mode = (uint32_t)mode;
	return 0;
}

int volume_parse_mount(const struct json *j, struct arena *a, struct volume_mount *ret,
		       struct err *e)
{
	const char *type = json_get_text(j, "Type"), *source = json_get_text(j, "Source");
	const char *target = json_get_text(j, "Target");
	struct volume_mount m = {.read_only = json_get_bool(j, "ReadOnly", false)};
	int r = read_target(str_of(target ? target : ""), a, &m, e);

	if (r < 0)
		return r;
	if (text_eq(type, "bind")) {
		m.kind = VOLUME_BIND;
		r = clean_path(str_of(source ? source : ""), "bind source", a, &m.source, e);
		if (r == 0)
			r = read_bind_options(json_get(j, "BindOptions"), a, &m, e);
	} else if (text_eq(type, "volume") || !type || !*type) {
		m.kind = VOLUME_NAMED;
		m.source = source && *source ? arena_dup_text(a, source) : NULL;
		r = read_volume_options(json_get(j, "VolumeOptions"), a, &m, e);
	} else if (text_eq(type, "tmpfs")) {
		m.kind = VOLUME_TMPFS;
		if (source && *source)
			return err_set(e, ERR_INVALID, "a tmpfs mount has no source ('%.100s')",
				       source);
		r = read_tmpfs_options(json_get(j, "TmpfsOptions"), &m, e);
	} else {
		return err_set(e, ERR_INVALID, "mount type unknown: \"%.40s\"", type);
	}
	if (r == 0)
		*ret = m;
	return r;
}

/* ---- --tmpfs ---- */

int volume_parse_tmpfs(const char *target, const char *options, struct arena *a,
		       struct volume_mount *ret, struct err *e)
{
	struct volume_mount m = {.kind = VOLUME_TMPFS};
	struct str rest = str_of(options ? options : ""), option;
	size_t n = 0;
	int r = read_target(str_of(target), a, &m, e);

	while (r == 0 && str_cut(&rest, ',', &option)) {
		if (option.n == 0 || str_is(option, "rw"))
			continue;
		if (str_is(option, "ro"))
			m.read_only = true;
		else if (str_starts(option, "size="))
			r = parse_size((struct str){option.p + 5, option.n - 5}, "tmpfs size",
				       &m.tmpfs_size_bytes, e);
		else if (str_starts(option, "mode="))
			r = parse_u32_base((struct str){option.p + 5, option.n - 5}, 8,
					   "tmpfs mode", &m.tmpfs_mode, e);
		else
			add_option(a, &m, option);
		if (++n > OPTIONS_MAX)
			r = err_set(e, ERR_INVALID, "more than %d tmpfs options", OPTIONS_MAX);
	}
	if (r == 0)
		*ret = m;
	return r;
}

/* ---- to the runtime ---- */

int volume_device(const struct volume_spec *s, struct volume_device *ret, struct err *e)
{
	static const char *const known[] = {"type", "o", "device"};
	const char *values[array_len(known)] = {NULL};

	for (const struct json_pair *p = s->options; p && p->key; p++) {
		size_t i = 0;

		while (i < array_len(known) && strcmp(known[i], p->key) != 0)
			i++;
		if (i == array_len(known))
			return err_set(e, ERR_INVALID,
				       "invalid option: \"%.60s\" (of a local volume)", p->key);
		values[i] = p->value;
	}
	*ret = (struct volume_device){.type = values[0], .o = values[1], .device = values[2]};
	if (!values[0] && !values[1] && !values[2])
		return 0;
	if (!ret->device || !*ret->device)
		return err_set(e, ERR_INVALID, "missing device in volume options");
	if (!ret->type || !*ret->type)
		return err_set(e, ERR_INVALID, "missing type in volume options");
	return 0;
}

static int check_source(const struct volume_mount *m, struct err *e)
{
	struct stat st;

	if (stat(m->source, &st) == 0)
		return 0;
	if (errno != ENOENT || !m->create_source)
		return errno == ENOENT
			       ? err_set(e, ERR_INVALID,
					 "invalid mount config for type \"bind\": bind source "
					 "path does not exist: %s",
					 m->source)
			       : err_sys(e, "cannot look at bind source '%s'", m->source);
	for (char *at = strchr(m->source + 1, '/');; at = strchr(at + 1, '/')) {
		if (at)
			*at = '\0';
		if (mkdir(m->source, 0755) < 0 && errno != EEXIST)
			return err_sys(e, "cannot make bind source '%s'", m->source);
		if (!at)
			return 0;
		*at = '/';
	}
}

static void put_options(struct json *list, const struct volume_mount *m)
{
	for (char **o = m->options; o && *o; o++)
		json_append(list, json_new_text(*o));
	if (m->read_only)
		json_append(list, json_new_text(m->recursive_read_only ? "rro" : "ro"));
}

/* A directory (or file) of the host, bound: OCI's "rbind" and a propagation. */
static struct json *bind_mount(const struct volume_mount *m, const char *source)
{
	struct json *j = json_new_object(), *list = json_new_array();
	bool plain = false;

	for (char **o = m->options; o && *o; o++)
		plain |= strcmp(*o, "bind") == 0;
	if (!plain)
		json_append(list, json_new_text("rbind"));
	json_append(list, json_new_text(m->propagation ? m->propagation : "rprivate"));
	put_options(list, m);
	json_set_text(j, "destination", m->target);
	json_set_text(j, "type", "bind");
	json_set_text(j, "source", source);
	json_set(j, "options", list);
	return j;
}

static struct json *tmpfs_mount(const struct volume_mount *m)
{
	static const char *const defaults[] = {"noexec", "nosuid", "nodev"};
	struct json *j = json_new_object(), *list = json_new_array();
	auto_strbuf struct strbuf text = {0};

	/* what was said by hand overrides: "exec" comes after "noexec" */
	for (size_t i = 0; i < array_len(defaults); i++)
		json_append(list, json_new_text(defaults[i]));
	if (m->tmpfs_size_bytes) {
		strbuf_printf(&text, "size=%lld", (long long)m->tmpfs_size_bytes);
		json_append(list, json_new_text(strbuf_text(&text)));
		strbuf_clear(&text);
	}
	strbuf_printf(&text, "mode=%o", m->tmpfs_mode ? m->tmpfs_mode : 01777);
	json_append(list, json_new_text(strbuf_text(&text)));
	put_options(list, m);
	json_set_text(j, "destination", m->target);
	json_set_text(j, "type", "tmpfs");
	json_set_text(j, "source", "tmpfs");
	json_set(j, "options", list);
	return j;
}

/* A volume with options of its own: they are the mount. */
static struct json *device_mount(const struct volume_mount *m, const struct volume_device *d)
{
	struct json *j = json_new_object(), *list = json_new_array();
	struct str rest = str_of(d->o), option;
	bool bind = false;

	while (str_cut(&rest, ',', &option)) {
		bind |= str_is(option, "bind") || str_is(option, "rbind");
		if (option.n)
			json_append(list, json_new_str(option));
	}
	put_options(list, m);
	json_set_text(j, "destination", m->target);
	json_set_text(j, "type", bind ? "bind" : d->type);
	json_set_text(j, "source", d->device);
	json_set(j, "options", list);
	return j;
}

/* The directory of a subpath, which must exist without any symbolic link on the way. */
static int subpath_source(const struct volume_mount *m, const struct volume *v, char **ret,
			  struct err *e)
{
	auto_close int data = open(v->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int inner = -1;
	int r;

	if (data < 0)
		return err_sys(e, "cannot open '%s'", v->path);
	r = inroot_open_nolinks(data, m->subpath, O_PATH, &inner, e);
	if (r < 0)
		return err_wrap(e, "subpath '%s' of volume '%s'", m->subpath, v->spec.name);
	*ret = mem_printf("%s/%s", v->path, m->subpath);
	return 0;
}

int volume_oci_mount(const struct volume_mount *m, const struct volume *v, struct json **ret,
		     struct err *e)
{
	auto_free char *sub = NULL;
	struct volume_device device = {0};
	int r;

	if (m->kind == VOLUME_TMPFS) {
		*ret = tmpfs_mount(m);
		return 0;
	}
	if (m->kind == VOLUME_BIND) {
		r = check_source(m, e);
		if (r == 0)
			*ret = bind_mount(m, m->source);
		return r;
	}
	assert(v);
	r = volume_device(&v->spec, &device, e);
	if (r < 0)
		return r;
	if (device.type) {
		*ret = device_mount(m, &device);
		return 0;
	}
	if (m->subpath) {
		r = subpath_source(m, v, &sub, e);
		if (r < 0)
			return r;
	}
	*ret = bind_mount(m, sub ? sub : v->path);
	return 0;
}
