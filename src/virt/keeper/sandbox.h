/*
 * Sandboxes: the namespaces that the containers of one pod share (network, ipc, uts). A short-lived
 * child makes them, pins each by a bind mount of its nsfs file, sends what the daemon needs from
 * inside, and leaves: nothing runs on account of a sandbox but the first process of a pid namespace
 * that a pod asks to share, and nothing that dies takes it along.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/err.h"

#define SANDBOX_FDS \
	2 /* what the child sends: the network namespace, a NETLINK_ROUTE socket inside */

/* The names below a sandbox's folder that the namespaces are pinned at; NULL-terminated. */
extern const char *const sandbox_files[];

/*
 * The child's work: makes the files below `dir` (which exists) and pins the namespaces there.
 * host_network: the network is the host's, and only ipc and uts are made. init: a program that is
 * the first process of a pid namespace, too, pinned at "pid"; its id stands in "init". NULL: none.
 */
int sandbox_child(int sock, const char *dir, const char *hostname, bool host_network,
		  const char *init, struct err *e) must_use;

/* Another child's work: a TCP connection to a port of the namespace's own loopback, sent back. */
int sandbox_connect_child(int sock, int netns, const char *port, struct err *e) must_use;
