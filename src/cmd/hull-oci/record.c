/*
 * Records: <root>/<id>/ with state.json and, until started, the gate's socket. Directories are
 * opened once and used by descriptor.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/cgroup.h"
#include "virt/container/hook.h"
#include "virt/container/spec.h"

int oci_one_id(int argc, char **argv, int first, const char **ret, struct err *e)
{
	if (argc - first != 1)
		return err_set(e, ERR_INVALID, "%s: exactly one container id is needed", argv[0]);
	*ret = argv[first];
	return state_check_id(*ret, e);
}

static int make_dirs(const char *path, struct err *e)
{
	auto_free char *copy = mem_dup_text(path);

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return err_sys(e, "cannot make '%s'", path);
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return err_sys(e, "cannot make '%s'", copy);
		*p = '/';
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", path);
	return 0;
}

int record_make(struct oci *o, const char *id, int *ret_dir, struct err *e)
{
	char *path = arena_printf(&o->arena, "%s/%s", o->root, id);
	int r = 0;

	if (mkdir(path, 0711) < 0) {
		if (errno == EEXIST)
			return err_set(e, ERR_EXISTS, "container '%s' exists already", id);
		r = make_dirs(o->root, e);
		if (r == 0 && mkdir(path, 0711) < 0)
			r = err_sys(e, "cannot make '%s'", path);
	}
	if (r < 0)
		return r;
	*ret_dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_dir < 0 ? err_sys(e, "cannot open '%s'", path) : 0;
}

void record_done(struct record *r)
{
	r->dir = fd_close(r->dir);
	r->cgroup = cgroup_free(r->cgroup);
}

static int open_dir(struct oci *o, const char *id, int *ret, struct err *e)
{
	int r = state_check_id(id, e);

	if (r < 0)
		return r;
	*ret = open(arena_printf(&o->arena, "%s/%s", o->root, id),
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "container '%s' does not exist", id);
	return *ret < 0 ? err_sys(e, "cannot open the container '%s'", id) : 0;
}

int record_open(struct oci *o, const char *id, struct record *ret, struct err *e)
{
	int r = open_dir(o, id, &ret->dir, e);

	if (r < 0)
		return r;
	ret->id = id;
	r = state_read(ret->dir, &o->arena, &ret->state, e);
	if (r == -ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND, "container '%s' does not exist", id);
	if (r == 0)
		r = cgroup_load(str_of(ret->state.cgroup ? ret->state.cgroup : ""), &ret->cgroup,
				e);
	if (r < 0)
		return err_wrap(e, "container '%s'", id);
	ret->gate = faccessat(ret->dir, "start", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	ret->status = state_status(&ret->state, ret->gate, cgroup_is_frozen(ret->cgroup));
	ret->state.status = ret->status;
	return 0;
}

int record_remove(struct oci *o, const char *id, struct err *e)
{
	char *path = arena_printf(&o->arena, "%s/%s", o->root, id);
	auto_close int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	static const char *const files[] = {"state.json", "state.json.new", "start"};

	if (dir < 0)
		return errno == ENOENT ? 0 : err_sys(e, "cannot open '%s'", path);
	for (size_t i = 0; i < array_len(files); i++)
		if (unlinkat(dir, files[i], 0) < 0 && errno != ENOENT)
			return err_sys(e, "cannot remove '%s/%s'", path, files[i]);
	if (rmdir(path) < 0 && errno != ENOENT)
		return err_sys(e, "cannot remove '%s'", path);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int record_ids(struct oci *o, char ***ret, struct err *e)
{
	auto_closedir DIR *d = opendir(o->root);
	char **ids = NULL;
	struct dirent *it;

	if (!d && errno != ENOENT)
		return err_sys(e, "cannot read '%s'", o->root);
	while (d && (it = readdir(d)))
		if (state_check_id(it->d_name, NULL) == 0)
			mem_append_text(&ids, it->d_name);
	if (ids)
		qsort(ids, mem_count_texts(ids), sizeof(*ids), by_name);
	*ret = ids;
	return 0;
}

int record_hooks(struct oci *o, const struct record *r, const char *moment, struct err *e)
{
	bool start = !strcmp(moment, "poststart");
	struct state st = r->state;
	auto_free char *text = NULL;
	const struct spec_hooks *h;
	struct spec *s = NULL;
	int ret;

	if (!st.config)
		return 0;
	/* A configuration that is gone by now has no hooks to run. */
	if (access(st.config, F_OK) < 0)
		return 0;
	ret = spec_read(AT_FDCWD, st.config, &o->arena, &s, e);
	if (ret < 0)
		return ret;
	h = s->hooks;
	st.status = start ? "running" : "stopped";
	if (!start)
		st.pid = 0;
	text = state_oci_text(&st);
	if (h)
		ret = start ? hook_run(h->poststart, h->poststart_n, moment, text, e)
			    : hook_run(h->poststop, h->poststop_n, moment, text, e);
	spec_done(s);
	return ret;
}
