/*
 * The control socket's calls on the machine: api/vm/vm_api.h over virt/vm/machine. Without --kernel
 * the machine is described by calls first; InstanceStart then makes it and ends the waiting, so that
 * the process confines itself before the guest's first instruction, as ever.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/vm/vm_api.h"
#include "control.h"
#include "ground/base/mem.h"
#include "ground/wire/loop.h"
#include "ground/wire/unix.h"

#define MIB	     (1ull << 20)
#define SOCKET_NAME  "control"
#define CID_ONLY     3
#define SERIAL_CHARS 20

struct control {
	struct vm_api *api;
	struct vm_options *o;
	struct loop *loop;
	struct machine *machine; /* NULL: not made yet */
	char *append;		 /* the command line with its root */
	char *serials[MACHINE_DISKS_MAX];
	bool begun;
};

/* ---- from the described machine to its configuration ---- */

static int fill_disks(struct control *c, const struct json *drives, struct err *e)
{
	struct machine_config *m = &c->o->config;
	size_t n = json_len(drives), at = 0;

	if (n > MACHINE_DISKS_MAX)
		return err_set(e, ERR_INVALID, "more than %d drives", MACHINE_DISKS_MAX);
	/* The root device comes first: the guest knows it as vda. */
	for (int root = 1; root >= 0; root--)
		for (size_t i = 0; i < n; i++) {
			const struct json *d = json_at(drives, i);
			const char *format = json_get_text(d, "format");

			if (json_get_bool(d, "is_root_device", false) != root)
				continue;
			c->serials[at] =
				mem_printf("%.*s", SERIAL_CHARS, json_get_text(d, "drive_id"));
			m->disk[at] = (struct machine_disk){
				.path = json_get_text(d, "path_on_host"),
				.format = format ? format : "raw",
				.serial = c->serials[at],
				.bus = MACHINE_DISK_VIRTIO,
				.read_only = json_get_bool(d, "is_read_only", false),
			};
			at++;
		}
	m->disks = at;
	return 0;
}

static bool first_is_root(const struct json *drives)
{
	for (size_t i = 0; i < json_len(drives); i++)
		if (json_get_bool(json_at(drives, i), "is_root_device", false))
			return true;
	return false;
}

static int fill_vsock(struct control *c, const struct json *vsock, struct err *e)
{
	const char *path = json_get_text(vsock, "uds_path");

	if (!path)
		return 0;
	if (*path == '/' || strstr(path, ".."))
		return err_set(e, ERR_UNSUPPORTED,
			       "'uds_path' '%s': only a path below the control socket's directory "
			       "is possible",
			       path);
	if (json_get_i64(vsock, "guest_cid", 0) != CID_ONLY)
		return err_set(e, ERR_UNSUPPORTED, "'guest_cid': only %d is possible", CID_ONLY);
	c->o->config.vsock = path;
	return 0;
}

static void fill_nets(struct control *c, const struct json *nics)
{
	for (size_t i = 0; i < json_len(nics); i++) {
		auto_free char *text =
			mem_printf("tap=%s", json_get_text(json_at(nics, i), "host_dev_name"));

		mem_append_text(&c->o->nets, text);
	}
}

static int fill(struct control *c, const struct json *config, struct err *e)
{
	const struct json *m = json_get(config, "machine-config");
	const struct json *boot = json_get(config, "boot-source"), *drives;
	const char *args = json_get_text(boot, "boot_args");
	struct machine_config *to = &c->o->config;

	drives = json_get(config, "drives");
	to->cpus = (unsigned)json_get_i64(m, "vcpu_count", 1);
	to->memory_bytes = (uint64_t)json_get_i64(m, "mem_size_mib", 128) * MIB;
	to->kernel = json_get_text(boot, "kernel_image_path");
	to->initrd = json_get_text(boot, "initrd_path");
	if (fill_disks(c, drives, e) < 0 || fill_vsock(c, json_get(config, "vsock"), e) < 0)
		return -ERR_INVALID;
	free(c->append);
	c->append = mem_printf("%s%s", args ? args : "console=ttyS0 reboot=k panic=1",
			       !first_is_root(drives)  ? ""
			       : to->disk[0].read_only ? " root=/dev/vda ro"
						       : " root=/dev/vda rw");
	to->command_line = c->append;
	fill_nets(c, json_get(config, "network-interfaces"));
	return vm_doors_nets(c->o, e);
}

/* ---- the calls ---- */

static int on_start(void *ctx, const struct json *config, struct err *e)
{
	struct control *c = ctx;

	if (c->begun)
		return err_set(e, ERR_CONFLICT, "the machine is being started");
	if (fill(c, config, e) < 0 || machine_new(&c->o->config, &c->machine, e) < 0)
		return -(int)e->kind;
	c->begun = true;
	loop_stop(c->loop);
	return 0;
}

static int on_pause(void *ctx, struct err *e)
{
	return machine_pause(((struct control *)ctx)->machine, e);
}

static int on_resume(void *ctx, struct err *e)
{
	return machine_resume(((struct control *)ctx)->machine, e);
}

static int on_ctrl_alt_del(void *ctx, struct err *e)
{
	return machine_ctrl_alt_del(((struct control *)ctx)->machine, e);
}

static enum vm_api_state on_state(void *ctx)
{
	const struct control *c = ctx;

	if (!c->machine)
		return VM_API_NOT_STARTED;
	return machine_info(c->machine).state == MACHINE_IS_PAUSED ? VM_API_PAUSED : VM_API_RUNNING;
}

static struct json *on_stats(void *ctx)
{
	const struct control *c = ctx;
	struct json *j = json_new_object();
	struct machine_stats s;
	struct machine_info i;

	if (!c->machine)
		return j;
	s = machine_stats(c->machine);
	i = machine_info(c->machine);
	json_set_text(j, "accel", i.accel);
	json_set_text(j, "accel_reason", i.accel_reason);
	json_set_i64(j, "resets", i.resets);
	json_set(j, "instructions", json_new_u64(s.instructions));
	json_set(j, "vcpu_ns", json_new_u64(s.vcpu_ns));
	json_set(j, "memory_bytes", json_new_u64(s.memory_bytes));
	json_set(j, "disk_read_bytes", json_new_u64(s.disk_read_bytes));
	json_set(j, "disk_written_bytes", json_new_u64(s.disk_written_bytes));
	json_set(j, "net_received_bytes", json_new_u64(s.net_received_bytes));
	json_set(j, "net_sent_bytes", json_new_u64(s.net_sent_bytes));
	return j;
}

static const struct vm_api_ops ops = {on_start,	       on_pause, on_resume,
				      on_ctrl_alt_del, on_state, on_stats};

/* ---- life ---- */

int control_open(struct vm_options *o, struct loop *loop, struct control **ret, struct err *e)
{
	struct control *c = mem_new(struct control);
	int fd = -1, r;

	c->o = o;
	c->loop = loop;
	r = unix_listen(SOCKET_NAME, SOCK_STREAM | SOCK_NONBLOCK, 0600, &fd, e);
	if (r == 0)
		r = vm_api_new(loop, fd, o->id, &ops, c, &c->api, e);
	if (r < 0) {
		(void)control_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

bool control_begun(const struct control *c, struct machine **ret)
{
	if (c->begun)
		*ret = c->machine;
	return c->begun;
}

static int show_disks(struct control *c, const struct machine_config *m, struct err *e)
{
	for (size_t i = 0; i < m->disks; i++) {
		auto_free char *id = mem_printf("disk%zu", i), *path = mem_printf("drives/%s", id);
		auto_json struct json *d = json_new_object();

		json_set_text(d, "drive_id", id);
		json_set_text(d, "path_on_host", m->disk[i].path);
		json_set_text(d, "format", m->disk[i].format);
		json_set_bool(d, "is_root_device", false);
		json_set_bool(d, "is_read_only", m->disk[i].read_only);
		if (vm_api_put(c->api, path, d, e) < 0)
			return -ERR_INVALID;
	}
	return 0;
}

/* What options said is shown as if calls had. */
int control_show(struct control *c, struct machine *machine, struct err *e)
{
	const struct machine_config *m = &c->o->config;
	auto_json struct json *size = json_new_object(), *boot = json_new_object();

	c->machine = machine;
	json_set_i64(size, "vcpu_count", m->cpus);
	json_set_i64(size, "mem_size_mib", (int64_t)(m->memory_bytes / MIB));
	json_set_text(boot, "kernel_image_path", m->kernel);
	if (m->initrd)
		json_set_text(boot, "initrd_path", m->initrd);
	if (m->command_line)
		json_set_text(boot, "boot_args", m->command_line);
	if (vm_api_put(c->api, "machine-config", size, e) < 0 ||
	    vm_api_put(c->api, "boot-source", boot, e) < 0)
		return -ERR_INVALID;
	return show_disks(c, m, e);
}

struct control *control_close(struct control *c)
{
	if (!c)
		return NULL;
	c->api = vm_api_free(c->api);
	free(c->append);
	for (size_t i = 0; i < MACHINE_DISKS_MAX; i++)
		free(c->serials[i]);
	free(c);
	return NULL;
}
