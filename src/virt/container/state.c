/*
 * Container state on disk and as OCI shows it: see state.h.
 */
#include "virt/container/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/container/spec.h"

static const struct json_field state_fields[] = {
	{"id", JSON_TEXT, offsetof(struct state, id), .required = true},
	{"pid", JSON_I64, offsetof(struct state, pid)},
	{"startTime", JSON_U64, offsetof(struct state, start_time)},
	{"bootId", JSON_TEXT, offsetof(struct state, boot_id)},
	{"bundle", JSON_TEXT, offsetof(struct state, bundle)},
	{"rootfs", JSON_TEXT, offsetof(struct state, rootfs)},
	{"config", JSON_TEXT, offsetof(struct state, config)},
	{"created", JSON_TEXT, offsetof(struct state, created)},
	{"createdNs", JSON_I64, offsetof(struct state, created_ns)},
	{"owner", JSON_TEXT, offsetof(struct state, owner)},
	{"cgroup", JSON_TEXT, offsetof(struct state, cgroup)},
	{"systemdCgroup", JSON_FLAG, offsetof(struct state, systemd_cgroup)},
	{"terminal", JSON_FLAG, offsetof(struct state, terminal)},
	{"annotations", JSON_TEXT_MAP, offsetof(struct state, annotations)},
};
static const struct json_shape state_shape = JSON_SHAPE(struct state, state_fields);

static bool id_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '+' || c == '-' || (c == '.' && !first);
}

int state_check_id(const char *id, struct err *e)
{
	size_t n = strlen(id);

	if (!n || n > STATE_ID_MAX)
		return err_set(e, ERR_INVALID, "a container id has 1 to %d characters",
			       STATE_ID_MAX);
	for (size_t i = 0; i < n; i++)
		if (!id_char(id[i], i == 0))
			return err_set(e, ERR_INVALID,
				       "invalid container id '%s': letters, digits, '_', '+', '-' "
				       "and, not first, '.' are allowed",
				       id);
	return 0;
}

struct json *state_oci(const struct state *s)
{
	struct json *j = json_new_object(), *notes = json_new_object();

	json_set_text(j, "ociVersion", SPEC_VERSION);
	json_set_text(j, "id", s->id);
	if (s->pid)
		json_set_i64(j, "pid", s->pid);
	json_set_text(j, "status", s->status);
	json_set_text(j, "bundle", s->bundle);
	if (s->rootfs)
		json_set_text(j, "rootfs", s->rootfs);
	if (s->created)
		json_set_text(j, "created", s->created);
	for (const struct json_pair *p = s->annotations; p && p->key; p++)
		json_set_text(notes, p->key, p->value);
	json_set(j, "annotations", notes);
	if (s->owner)
		json_set_text(j, "owner", s->owner);
	return j;
}

char *state_oci_text(const struct state *s)
{
	auto_json struct json *j = state_oci(s);
	struct strbuf b = {0};

	json_write(j, &b);
	return strbuf_take(&b);
}

int state_write(int dirfd, const struct state *s, struct err *e)
{
	assert(s->id && s->pid > 0 && s->boot_id);
	auto_json struct json *j = json_encode(&state_shape, s);
	auto_strbuf struct strbuf b = {0};
	auto_close int fd = -1;

	json_write(j, &b);
	fd = openat(dirfd, "state.json.new", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	if (fd < 0)
		return err_sys(e, "cannot write the container's state");
	if (write(fd, b.p, b.n) != (ssize_t)b.n)
		return err_sys(e, "cannot write the container's state");
	if (renameat(dirfd, "state.json.new", dirfd, "state.json") < 0)
		return err_sys(e, "cannot replace the container's state");
	return 0;
}

int state_read(int dirfd, struct arena *a, struct state *ret, struct err *e)
{
	auto_json struct json *j = NULL;
	int r = json_read_file(dirfd, "state.json", STATE_SIZE_MAX, &j, e);

	if (r < 0)
		return r;
	return json_decode(j, &state_shape, "state.json", a, ret, e);
}

/* Until its exec the process is this runtime itself. */
static bool is_made(int64_t pid)
{
	struct stat theirs, ours;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%lld/exe", (long long)pid);
	return stat(path, &theirs) == 0 && stat("/proc/self/exe", &ours) == 0 &&
	       theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

const char *state_status(const struct state *s, bool gate, bool frozen)
{
	char boot[BOOT_ID_SIZE];

	if (!s->pid)
		return "creating";
	if (process_boot_id(boot, NULL) == 0 && s->boot_id && strcmp(boot, s->boot_id) != 0)
		return "stopped";
	if (!process_alive((pid_t)s->pid, s->start_time))
		return "stopped";
	if (gate)
		return "created";
	if (is_made(s->pid))
		return "creating";
	return frozen ? "paused" : "running";
}
