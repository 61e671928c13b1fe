/*
 * Mounts of pods' own on the host: memory for volumes, and parts of volumes (subPath). A part is
 * looked up below its volume's descriptor, where links of a container lead nowhere else, and is
 * pinned by a mount of its own: what the container does to its name later changes nothing.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/inroot.h"

#define MODE_PART 0777 /* of a part that was not there: the volume's own mode guards it */

/* -- parts ------------------------------------------------------------------------------------- */

static int open_part(const char *base, const char *sub, bool may_make, int *ret, struct err *e)
{
	auto_close int root = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return err_sys(e, "cannot open the volume's folder '%s'", base);
	if (inroot_open(root, sub, O_PATH, 0, ret, e) == 0)
		return 0;
	if (!may_make || e->sys != ENOENT)
		return err_wrap(e, "subPath \"%s\"", sub);
	err_clear(e);
	return inroot_make(root, sub, true, MODE_PART, ret, e);
}

static int make_target(const char *path, bool directory, struct err *e)
{
	auto_close int fd = -1;

	while (umount2(path, MNT_DETACH) == 0) /* of the incarnation before */
		;
	if (directory) {
		(void)unlink(path);
		return mkdir(path, 0755) < 0 && errno != EEXIST
			       ? err_sys(e, "cannot make '%s'", path)
			       : 0;
	}
	(void)rmdir(path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? err_sys(e, "cannot make '%s'", path) : 0;
}

int pod_mount_part(const struct pod_container *c, size_t index, const char *base, const char *sub,
		   bool may_make, char **ret, struct err *e)
{
	auto_free char *folder = mem_printf("%s/parts", c->pod->dir);
	auto_free char *target = mem_printf("%s/%s.%zu", folder, c->name, index);
	auto_close int fd = -1;
	char source[32];
	struct stat st;

	assert(base && sub && sub[0]);
	if (open_part(base, sub, may_make, &fd, e) < 0)
		return -(int)e->kind;
	if (fstat(fd, &st) < 0 || (mkdir(folder, 0711) < 0 && errno != EEXIST))
		return err_sys(e, "cannot make '%s'", folder);
	if (make_target(target, S_ISDIR(st.st_mode), e) < 0)
		return -ERR_SYSTEM;
	(void)snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
	if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		return err_sys(e, "cannot mount subPath \"%s\" at '%s'", sub, target);
	*ret = take(target);
	return 0;
}

/* -- taking them away -------------------------------------------------------------------------- */

/* A mountinfo field in place: "\040" is a space. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p;)
		if (p[0] == '\\' && p[1] && p[2] && p[3]) {
			*to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 4;
		} else {
			*to++ = *p++;
		}
	*to = '\0';
}

/* The fifth field of a line of mountinfo, cut out of it; NULL: it has none. */
static char *mount_point(char *line)
{
	char *end;

	for (int i = 0; i < 4; i++) {
		line = strchr(line, ' ');
		if (!line)
			return NULL;
		line++;
	}
	end = strchr(line, ' ');
	if (!end)
		return NULL;
	*end = '\0';
	unescape(line);
	return line;
}

void pod_mounts_detach(const char *below)
{
	auto_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	char **found = NULL;
	size_t size = 0, n = strlen(below), count = 0;

	while (f && getline(&line, &size, f) > 0) {
		const char *at = mount_point(line);

		if (at && strncmp(at, below, n) == 0 && at[n] == '/') {
			mem_append_text(&found, at);
			count++;
		}
	}
	while (count-- > 0)
		if (umount2(found[count], MNT_DETACH) < 0)
			log_debug("cannot unmount '%s': %s", found[count], strerror(errno));
	(void)mem_free_texts(found);
}
