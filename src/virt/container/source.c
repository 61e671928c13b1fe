/*
 * Sources: mounts that must be made before the first process is in its namespaces. Inside a user
 * namespace it has neither the right to walk the host's directories nor to map ids, so binds (and
 * the root) are cloned here, id-mapped where asked for, and inherited as detached mounts.
 */
#include <fcntl.h>
#include <stdio.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/idmap.h"
#include "ground/linux/mount.h"
#include "virt/container/job.h"
#include "virt/container/mount_options.h"

static struct idmap_range *ranges(const struct spec_id_map *m, size_t n, struct arena *a)
{
	struct idmap_range *ret = arena_new_array(a, struct idmap_range, n + 1);

	for (size_t i = 0; i < n; i++)
		ret[i] = (struct idmap_range){m[i].container_id, m[i].host_id, m[i].size};
	return ret;
}

/* The mount's own mappings, else the container's. */
static int map_ids(struct job *j, const struct spec_mount *m, bool recursive, int mnt,
		   struct err *e)
{
	const struct spec_linux *l = &j->s->os;
	bool own = m->uid_mappings_n || m->gid_mappings_n;
	const struct spec_id_map *u = own ? m->uid_mappings : l->uid_mappings;
	const struct spec_id_map *g = own ? m->gid_mappings : l->gid_mappings;
	size_t u_n = own ? m->uid_mappings_n : l->uid_mappings_n;
	size_t g_n = own ? m->gid_mappings_n : l->gid_mappings_n;
	struct mount_change c = {.idmap = true, .recursive = recursive};
	auto_close int userns = -1;
	int r;

	if (!u_n || !g_n)
		return err_set(e, ERR_INVALID,
			       "an id-mapped mount needs uidMappings and gidMappings");
	r = idmap_namespace(ranges(u, u_n, j->a), u_n, ranges(g, g_n, j->a), g_n, &userns, e);
	if (r < 0)
		return r;
	c.userns_fd = userns;
	r = mount_change(mnt, &c, e);
	if (r == -ERR_INVALID)
		return err_set(e, ERR_UNSUPPORTED,
			       "the source's file system cannot map ids (idmap)");
	return r;
}

static int prepare_one(struct job *j, size_t i, struct err *e)
{
	const struct spec_mount *m = &j->s->mounts[i];
	struct mount_options *o = arena_new(j->a, struct mount_options);
	const char *source = m->source ? m->source : "";
	int r = mount_options_parse(m, j->a, o, e);

	if (r < 0 || !o->bind || !(o->idmap || j->userns))
		return r;
	if (*source != '/')
		source = arena_printf(j->a, "%s/%s", j->o->bundle, source);
	r = mount_clone(AT_FDCWD, source, o->recursive, true, &j->sources[i], e);
	/* A user namespace of one's own has no right here, and needs none inside. */
	if (r == -ERR_FORBIDDEN && !o->idmap)
		return 0;
	if (r == 0 && o->idmap)
		r = map_ids(j, m, o->idmap_recursive, j->sources[i], e);
	return r < 0 ? err_wrap(e, "mount '%s'", m->destination) : 0;
}

static bool needed(const struct job *j)
{
	if (j->userns)
		return true;
	for (size_t i = 0; i < j->s->mounts_n; i++) {
		const struct spec_mount *m = &j->s->mounts[i];

		if (m->uid_mappings_n || m->gid_mappings_n)
			return true;
		for (char **w = m->options; w && *w; w++)
			if (text_eq(*w, "idmap") || text_eq(*w, "ridmap"))
				return true;
	}
	return false;
}

int sources_prepare(struct job *j, struct err *e)
{
	int r;

	if (!needed(j))
		return 0;
	j->sources = arena_new_array(j->a, int, j->s->mounts_n + 1);
	for (size_t i = 0; i < j->s->mounts_n; i++)
		j->sources[i] = -1;
	for (size_t i = 0; i < j->s->mounts_n; i++) {
		r = prepare_one(j, i, e);
		if (r < 0)
			return r;
	}
	if (!j->userns || !j->rootfs)
		return 0;
	r = mount_clone(AT_FDCWD, j->rootfs, true, false, &j->root_source, e);
	if (r < 0 && r != -ERR_FORBIDDEN)
		return err_wrap(e, "root.path");
	err_clear(e);
	return 0;
}

void sources_close(struct job *j)
{
	for (size_t i = 0; j->sources && i < j->s->mounts_n; i++)
		j->sources[i] = fd_close(j->sources[i]);
	j->root_source = fd_close(j->root_source);
}
