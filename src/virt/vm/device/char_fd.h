/*
 * A char back over descriptors: what a guest writes goes to one, what comes from the other goes to
 * the guest. A terminal, a pipe, a socket, a file or /dev/null will do. The descriptors are the
 * caller's.
 *
 * With an `escape` byte (Ctrl-] is 0x1d) the host keeps a way out: that byte is not handed to the
 * guest, `escaped` is called instead.
 */
#pragma once

#include "virt/vm/device/back.h"

struct loop;

struct char_fd_config {
	struct loop *loop;
	int in, out;		    /* -1: none */
	int escape;		    /* a byte, or -1 */
	void (*escaped)(void *arg); /* deferred, never from within a call */
	void *arg;
};

int char_fd_new(const struct char_fd_config *c, struct char_back **ret, struct err *e) must_use;
/* The terminal's size changed (SIGWINCH), or is asked for the first time. */
void char_fd_resize(struct char_back *b);
