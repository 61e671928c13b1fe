/*
 * What reaches a machine from outside: network cards (a packet socket that a user-mode network is
 * behind, or a tap), the vsock socket and the control socket. All of it is opened before
 * confinement; --dir becomes the working directory, so that the sockets have the same names before
 * and after.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/tap.h"
#include "hull-vm.h"
#include "virt/vm/device/net_fd.h"

#define MAC_FIRST 0x02 /* locally administered, one address */

struct vm_doors {
	struct net_back *nets[MACHINE_NICS_MAX];
	size_t nets_n;
	struct control *control;
};

static int open_net(const char *text, struct loop *loop, struct net_back **ret, struct err *e)
{
	uint32_t fd = 0;
	int tap = -1;

	if (text_starts(text, "fd=")) {
		if (parse_u32(str_of(text + 3), "descriptor", &fd, e) < 0)
			return -ERR_INVALID;
		if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
			return err_sys(e, "network descriptor %u", fd);
		return net_fd_new(loop, (int)fd, "user", ret, e);
	}
	if (!text_starts(text, "tap="))
		return err_set(e, ERR_INVALID, "unknown network '%s': fd=N or tap=NAME is expected",
			       text);
	if (tap_open(text + 4, &tap, e) < 0)
		return -ERR_SYSTEM;
	return net_fd_new(loop, tap, "tap", ret, e);
}

int vm_doors_nets(struct vm_options *o, struct err *e)
{
	struct vm_doors *d = o->doors;
	size_t n = mem_count_texts(o->nets);

	if (n > MACHINE_NICS_MAX)
		return err_set(e, ERR_INVALID, "a machine has at most %d network cards, not %zu",
			       MACHINE_NICS_MAX, n);
	for (size_t i = d->nets_n; i < n; i++) {
		struct machine_nic *nic = &o->config.nic[i];
		int r = open_net(o->nets[i], o->loop, &d->nets[i], e);

		if (r < 0)
			return r;
		d->nets_n++;
		nic->back = d->nets[i];
		memcpy(nic->mac, (const uint8_t[]){MAC_FIRST, 'H', 'u', 'l', 'l', (uint8_t)i}, 6);
	}
	o->config.nics = n;
	return 0;
}

int vm_doors_open(struct vm_options *o, struct loop *loop, struct vm_doors **ret, struct err *e)
{
	struct vm_doors *d = mem_new(struct vm_doors);
	int r = 0;

	o->doors = d;
	o->loop = loop;
	if (o->dir && chdir(o->dir) < 0)
		r = err_sys(e, "cannot enter '%s'", o->dir);
	if (r == 0)
		r = vm_doors_nets(o, e);
	if (r == 0 && o->vsock)
		o->config.vsock = "vsock";
	if (r == 0 && o->control)
		r = control_open(o, loop, &d->control, e);
	if (r < 0) {
		(void)vm_doors_close(d);
		return r;
	}
	*ret = d;
	return 0;
}

bool vm_doors_begun(const struct vm_doors *d, struct machine **ret)
{
	return d->control && control_begun(d->control, ret);
}

int vm_doors_serve(struct vm_doors *d, struct machine *m, struct err *e)
{
	return d->control ? control_show(d->control, m, e) : 0;
}

struct vm_doors *vm_doors_close(struct vm_doors *d)
{
	if (!d)
		return NULL;
	d->control = control_close(d->control);
	for (size_t i = 0; i < d->nets_n; i++)
		d->nets[i] = d->nets[i]->ops->free(d->nets[i]);
	free(d);
	return NULL;
}
