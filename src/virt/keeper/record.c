/*
 * Records on disk: see record.h for what they mean. A record is written to a temporary name beside
 * its place and renamed over it, so that every reader sees one whole record; the exit record is
 * synced, file and directory, before its writer tells anybody.
 */
#include "virt/keeper/record.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/format/json.h"
#include "ground/linux/process.h"

#define R(name, kind, member)                                                               \
	{                                                                                   \
		.key = name, .type = kind, .offset = offsetof(struct keeper_record, member) \
	}
#define X(name, kind, member)                                                             \
	{                                                                                 \
		.key = name, .type = kind, .offset = offsetof(struct exit_record, member) \
	}

/* clang-format off */
static const struct json_field record_fields[] = {
	R("version", JSON_U32, version),
	R("id", JSON_TEXT, id),
	R("bootId", JSON_TEXT, boot_id),
	R("pid", JSON_I64, pid),
	R("startTime", JSON_I64, start_time),
	R("initPid", JSON_I64, init_pid),
	R("initStartTime", JSON_I64, init_start_time),
	R("startedAt", JSON_I64, started_at_ns),
	R("restartCount", JSON_U32, restart_count),
	R("cgroupPath", JSON_TEXT, cgroup_path),
	R("cgroupDirs", JSON_TEXT, cgroup_dirs),
	R("containerDir", JSON_TEXT, container_dir),
	R("phase", JSON_TEXT, phase),
};

static const struct json_field exit_fields[] = {
	X("version", JSON_U32, version),
	X("id", JSON_TEXT, id),
	X("pid", JSON_I64, pid),
	X("exitCode", JSON_U32, exit_code),
	X("signal", JSON_U32, signal),
	X("oomKilled", JSON_FLAG, oom_killed),
	X("stopped", JSON_FLAG, stopped),
	X("restarting", JSON_FLAG, restarting),
	X("supervisorKilled", JSON_FLAG, supervisor_killed),
	X("startedAt", JSON_I64, started_at_ns),
	X("finishedAt", JSON_I64, finished_at_ns),
	X("restartCount", JSON_U32, restart_count),
	X("sentence", JSON_TEXT, sentence),
};
/* clang-format on */

static const struct json_shape record_shape = JSON_SHAPE(struct keeper_record, record_fields);
static const struct json_shape exit_shape = JSON_SHAPE(struct exit_record, exit_fields);

static int open_dir(const char *dir, int *ret, struct err *e)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "cannot open directory '%s'", dir);
	*ret = fd;
	return 0;
}

static int read_shape(const char *dir, const char *name, const struct json_shape *shape,
		      struct arena *a, void *out, struct err *e)
{
	auto_json struct json *j = NULL;
	auto_close int dirfd = -1;
	int r = open_dir(dir, &dirfd, e);

	if (r < 0)
		return r;
	r = json_read_file(dirfd, name, RECORD_BYTES_MAX, &j, e);
	if (r < 0)
		return err_wrap(e, "record of '%s'", dir);
	return json_decode(j, shape, name, a, out, e);
}

static int write_all(int fd, const char *p, size_t n, struct err *e)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_sys(e, "cannot write");
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* Writes dirfd/temporary and renames it to dirfd/name. */
static int replace_file(int dirfd, const char *temporary, const char *name, struct str text,
			bool durable, struct err *e)
{
	auto_close int fd = openat(dirfd, temporary,
				   O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return err_sys(e, "cannot make '%s'", temporary);
	r = write_all(fd, text.p, text.n, e);
	if (r < 0)
		return r;
	if (durable && fsync(fd) < 0)
		return err_sys(e, "cannot sync '%s'", temporary);
	if (renameat(dirfd, temporary, dirfd, name) < 0)
		return err_sys(e, "cannot rename '%s' to '%s'", temporary, name);
	if (durable && fsync(dirfd) < 0)
		return err_sys(e, "cannot sync the directory of '%s'", name);
	return 0;
}

static int write_shape(const char *dir, const char *name, const struct json_shape *shape,
		       const void *in, bool durable, struct err *e)
{
	auto_json struct json *j = json_encode(shape, in);
	auto_strbuf struct strbuf text = {0};
	auto_close int dirfd = -1;
	char temporary[64];
	int r = open_dir(dir, &dirfd, e);

	if (r < 0)
		return r;
	/* A keeper and its undertaker may both write: each has a temporary file of its own. */
	(void)snprintf(temporary, sizeof(temporary), ".%s.%d", name, (int)getpid());
	json_write(j, &text);
	strbuf_add_char(&text, '\n');
	r = replace_file(dirfd, temporary, name, strbuf_str(&text), durable, e);
	if (r < 0) {
		(void)unlinkat(dirfd, temporary, 0);
		return err_wrap(e, "record of '%s'", dir);
	}
	return 0;
}

int keeper_record_read(const char *run_dir, struct arena *a, struct keeper_record *ret,
		       struct err *e)
{
	return read_shape(run_dir, "record", &record_shape, a, ret, e);
}

int exit_record_read(const char *container_dir, struct arena *a, struct exit_record *ret,
		     struct err *e)
{
	return read_shape(container_dir, "exit.json", &exit_shape, a, ret, e);
}

int keeper_record_write(const char *run_dir, const struct keeper_record *r, struct err *e)
{
	assert(r->pid > 0);
	return write_shape(run_dir, "record", &record_shape, r, false, e);
}

int exit_record_write(const char *container_dir, const struct exit_record *r, struct err *e)
{
	return write_shape(container_dir, "exit.json", &exit_shape, r, true, e);
}

bool keeper_record_lives(const struct keeper_record *r)
{
	char boot[BOOT_ID_SIZE];

	if (process_boot_id(boot, NULL) < 0 || !text_eq(boot, r->boot_id))
		return false;
	return r->start_time > 0 && process_alive((pid_t)r->pid, (uint64_t)r->start_time);
}
