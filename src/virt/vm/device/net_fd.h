/*
 * A net back over a descriptor where each read and each write is one Ethernet frame: one end of a
 * packet socket, whose other end a user-mode network has ("user"), or a tap interface ("tap").
 *
 * A frame that the host cannot take at once is dropped, as on a wire. One that the guest cannot
 * take is kept until it can, and the host waits.
 */
#pragma once

#include "virt/vm/device/back.h"

struct loop;

/* `fd` is taken, also on failure. `name`: "user" or "tap". */
int net_fd_new(struct loop *loop, int fd, const char *name, struct net_back **ret,
	       struct err *e) must_use;
