/*
 * Devices: the nodes and links every container has, those the configuration adds, and the terminal.
 * The directory /dev is opened once without following links; a container that brings the host's
 * /dev (a bind) is left alone. Where mknod is not allowed the host's node is bound instead.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/inroot.h"
#include "ground/linux/mount.h"
#include "ground/linux/pty.h"
#include "virt/container/job.h"

struct node {
	const char *path;
	mode_t type, mode;
	unsigned int major, minor;
	uid_t uid;
	gid_t gid;
};

static const struct node defaults[] = {
	{"/dev/null", S_IFCHR, 0666, 1, 3, 0, 0},    {"/dev/zero", S_IFCHR, 0666, 1, 5, 0, 0},
	{"/dev/full", S_IFCHR, 0666, 1, 7, 0, 0},    {"/dev/random", S_IFCHR, 0666, 1, 8, 0, 0},
	{"/dev/urandom", S_IFCHR, 0666, 1, 9, 0, 0}, {"/dev/tty", S_IFCHR, 0666, 5, 0, 0, 0},
};

static const struct {
	const char *name, *target;
} links[] = {
	{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},	     {"ptmx", "pts/ptmx"},
};

static bool brings_own_dev(const struct spec *s)
{
	for (size_t i = 0; i < s->mounts_n; i++) {
		const struct spec_mount *m = &s->mounts[i];

		if (!text_eq(m->destination, "/dev") && !text_eq(m->destination, "/dev/"))
			continue;
		if (m->type && text_eq(m->type, "bind"))
			return true;
		for (char **o = m->options; o && *o; o++)
			if (text_eq(*o, "bind") || text_eq(*o, "rbind"))
				return true;
	}
	return false;
}

/* The host's node of the same name, if it is the same device. */
static int bind_node(int dir, const char *name, const struct node *n, struct err *e)
{
	auto_close int host = open(n->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	auto_close int target = -1;
	auto_close int mnt = -1;
	struct stat s;
	int r;

	if (host < 0)
		return err_sys(e, "cannot open the host's '%s'", n->path);
	if (fstat(host, &s) < 0 || (s.st_mode & S_IFMT) != n->type ||
	    s.st_rdev != makedev(n->major, n->minor))
		return err_set(e, ERR_FORBIDDEN, "the host's '%s' is another device", n->path);
	target = openat(dir, name, O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (target < 0)
		return err_sys(e, "cannot make the mount point");
	r = mount_clone(host, "", false, false, &mnt, e);
	return r < 0 ? r : mount_attach(mnt, target, e);
}

static int check_existing(int dir, const char *name, const struct node *n, struct err *e)
{
	struct stat s;

	if (fstatat(dir, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot look at it");
	if ((s.st_mode & S_IFMT) != n->type ||
	    (n->type != S_IFIFO && s.st_rdev != makedev(n->major, n->minor)))
		return err_set(e, ERR_EXISTS, "something else is there already");
	return 0;
}

static int make_node(int dir, const char *name, const struct node *n, bool userns, struct err *e)
{
	if (userns && n->type != S_IFIFO)
		return bind_node(dir, name, n, e);
	if (mknodat(dir, name, n->type | n->mode, makedev(n->major, n->minor)) < 0) {
		if (errno == EEXIST)
			return check_existing(dir, name, n, e);
		if (errno == EPERM)
			return bind_node(dir, name, n, e);
		return err_sys(e, "mknod");
	}
	if ((n->uid || n->gid) && fchownat(dir, name, n->uid, n->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "cannot set its owner");
	return 0;
}

static int make_device(struct job *j, int dev, const struct node *n, struct err *e)
{
	auto_close int dir = -1;
	const char *name = n->path + strlen("/dev/");
	int r;

	if (text_starts(n->path, "/dev/") && !strchr(name, '/')) {
		r = make_node(dev, name, n, j->userns, e);
	} else {
		r = inroot_make_parent(j->root, n->path, &dir, &name, e);
		if (r == 0)
			r = make_node(dir, name, n, j->userns, e);
	}
	return r < 0 ? err_wrap(e, "device '%s'", n->path) : 0;
}

static int from_spec(const struct spec_device *d, struct node *ret, struct err *e)
{
	static const struct {
		const char *name;
		mode_t type;
	} types[] = {{"c", S_IFCHR}, {"u", S_IFCHR}, {"b", S_IFBLK}, {"p", S_IFIFO}};

	for (size_t i = 0; i < array_len(types); i++) {
		if (!text_eq(types[i].name, d->type))
			continue;
		*ret = (struct node){.path = d->path,
				     .type = types[i].type,
				     .mode = d->file_mode ? *d->file_mode & 07777 : 0666,
				     .major = (unsigned int)d->major,
				     .minor = (unsigned int)d->minor,
				     .uid = d->uid ? *d->uid : 0,
				     .gid = d->gid ? *d->gid : 0};
		return 0;
	}
	return err_set(e, ERR_INVALID, "device '%s': unknown type '%s'", d->path, d->type);
}

static bool replaced(const struct spec *s, const char *path)
{
	for (size_t i = 0; i < s->os.devices_n; i++)
		if (text_eq(s->os.devices[i].path, path))
			return true;
	return false;
}

static int make_links(int dev, struct err *e)
{
	for (size_t i = 0; i < array_len(links); i++)
		if (symlinkat(links[i].target, dev, links[i].name) < 0 && errno != EEXIST)
			return err_sys(e, "cannot make the link '/dev/%s'", links[i].name);
	return 0;
}

int devices_make(struct job *j, struct err *e)
{
	auto_close int made = -1;
	auto_close int dev = -1;
	struct node n;
	int r;

	assert(j->root >= 0);
	if (brings_own_dev(j->s))
		return 0;
	r = inroot_make(j->root, "dev", true, 0755, &made, e);
	if (r == 0)
		r = inroot_open_nolinks(j->root, "dev", O_RDONLY | O_DIRECTORY, &dev, e);
	for (size_t i = 0; r == 0 && i < array_len(defaults); i++)
		if (!replaced(j->s, defaults[i].path))
			r = make_device(j, dev, &defaults[i], e);
	for (size_t i = 0; r == 0 && i < j->s->os.devices_n; i++) {
		r = from_spec(&j->s->os.devices[i], &n, e);
		if (r == 0)
			r = make_device(j, dev, &n, e);
	}
	return r < 0 ? r : make_links(dev, e);
}

static int mount_console(struct job *j, struct err *e)
{
	auto_close int dev = -1;
	auto_close int target = -1;
	auto_close int mnt = -1;
	int r = inroot_open_nolinks(j->root, "dev", O_RDONLY | O_DIRECTORY, &dev, e);

	if (r < 0)
		return r;
	target = openat(dev, "console", O_CREAT | O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC,
			0600);
	if (target < 0)
		return err_sys(e, "cannot make '/dev/console'");
	r = mount_clone(j->launch.tty, "", false, false, &mnt, e);
	return r < 0 ? r : mount_attach(mnt, target, e);
}

int devices_console(struct job *j, struct err *e)
{
	const struct spec_process *p = j->launch.p;
	auto_close int pts = -1;
	int r;

	assert(j->console_master < 0 && j->launch.tty < 0);
	if (!p->terminal)
		return 0;
	r = inroot_open_nolinks(j->root, "dev/pts", O_RDONLY | O_DIRECTORY, &pts, e);
	if (r == 0)
		r = pty_open(pts, &j->console_master, &j->launch.tty, e);
	if (r == 0 && (p->console.height || p->console.width))
		r = pty_resize(j->console_master, p->console.height, p->console.width, e);
	if (r == 0)
		r = mount_console(j, e);
	return r < 0 ? err_wrap(e, "process.terminal") : 0;
}
