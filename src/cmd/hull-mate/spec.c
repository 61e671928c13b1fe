/* The machine's description: JSON to struct. See mate.h; engine/runtime_vm.c writes it. */
#include <fcntl.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/format/json.h"
#include "mate.h"

#define SPEC_BYTES_MAX (1u << 20)

static char *text_of(const struct json *j, const char *key, struct arena *a)
{
	return arena_dup_text(a, json_get_text(j, key));
}

static char **texts_of(const struct json *j, const char *key, struct arena *a)
{
	const struct json *list = json_get(j, key);
	size_t n = list ? json_len(list) : 0;
	char **out = arena_new_array(a, char *, n + 1);

	for (size_t i = 0; i < n; i++)
		out[i] = arena_dup_text(a, json_text(json_at(list, i)));
	return out;
}

static int read_disks(const struct json *j, struct arena *a, struct mate_spec *s, struct err *e)
{
	const struct json *list = json_get(j, "disks");

	for (size_t i = 0; list && i < json_len(list); i++) {
		const struct json *d = json_at(list, i);

		if (s->disks_n == MATE_DISKS_MAX)
			return err_set(e, ERR_INVALID, "more than %d disks", MATE_DISKS_MAX);
		s->disks[s->disks_n++] = (struct mate_disk){
			.path = text_of(d, "path", a),
			.format = text_of(d, "format", a),
			.bus = text_of(d, "bus", a),
			.read_only = json_get_bool(d, "readOnly", false),
		};
	}
	return 0;
}

static void read_process(const struct json *j, struct arena *a, struct guest_start *p)
{
	p->args = texts_of(j, "args", a);
	p->env = texts_of(j, "env", a);
	p->cwd = text_of(j, "cwd", a);
	p->user = text_of(j, "user", a);
	p->tty = json_get_bool(j, "tty", false);
	p->want_stdin = json_get_bool(j, "stdin", false);
	p->power_off = true;
}

static int check(const struct mate_spec *s, struct err *e)
{
	if (!s->dir || !s->hull_vm || !s->kernel || !s->accel || !s->net)
		return err_set(e, ERR_INVALID,
			       "the machine's description lacks dir, hullVm, kernel, accel or net");
	if (s->image && (!s->lower[0] || !s->upper || !s->console_log || !s->process.args[0]))
		return err_set(e, ERR_INVALID,
			       "the machine's description lacks what an image needs");
	if (mem_count_texts(s->publish) > MATE_PUBLISH_MAX)
		return err_set(e, ERR_INVALID, "more than %d published ports", MATE_PUBLISH_MAX);
	return 0;
}

int spec_read(const char *path, struct arena *a, struct mate_spec *ret, struct err *e)
{
	auto_json struct json *j = NULL;
	struct mate_spec s = {0};

	if (json_read_file(AT_FDCWD, path, SPEC_BYTES_MAX, &j, e) < 0)
		return err_wrap(e, "the machine's description");
	s.dir = text_of(j, "dir", a);
	s.hull_vm = text_of(j, "hullVm", a);
	s.hull_slirp = text_of(j, "hullSlirp", a);
	s.accel = text_of(j, "accel", a);
	s.cpus = (uint32_t)json_get_i64(j, "cpus", 1);
	s.memory_bytes = json_get_i64(j, "memory", 0);
	s.kernel = text_of(j, "kernel", a);
	s.initrd = text_of(j, "initrd", a);
	s.append = text_of(j, "append", a);
	s.image = text_of(j, "image", a);
	s.lower = texts_of(j, "lower", a);
	s.upper = text_of(j, "upper", a);
	s.upper_bytes = json_get_i64(j, "upperBytes", 0);
	s.console_log = text_of(j, "consoleLog", a);
	s.net = text_of(j, "net", a);
	s.tap = text_of(j, "tap", a);
	s.name = text_of(j, "name", a);
	s.publish = texts_of(j, "publish", a);
	s.loopback = json_get_bool(j, "loopback", false);
	read_process(json_get(j, "process"), a, &s.process);
	if (read_disks(j, a, &s, e) < 0 || check(&s, e) < 0)
		return -ERR_INVALID;
	*ret = s;
	return 0;
}
