/*
 * A network made of this process's own sockets: what a machine sends as Ethernet frames becomes
 * connections of the host, without any right (libslirp). The machine is 10.0.2.15/24, its gateway and
 * the host 10.0.2.2, its name server 10.0.2.3; there is a DHCP server.
 *
 * It runs on a packet socket, one frame a packet, in a poll loop of its own: this is for a process
 * that does nothing else. The machine is hostile; so might the parser below be: confine the process.
 *
 * The host's loopback is out of reach unless `loopback` says otherwise: then 10.0.2.2 leads there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

#define USER_NET_FRAME_MAX 65550

struct user_net;

/* `fd` is a SOCK_SEQPACKET socket; stays the caller's. */
int user_net_new(int fd, bool loopback, struct user_net **ret, struct err *e) must_use;
struct user_net *user_net_free(struct user_net *n);

/*
 * "tcp:ADDRESS:HOST:GUEST" or "udp:…" (IPv4): that port of the host leads to the machine's. Bound at
 * once; ERR_CONFLICT where the port is taken.
 */
int user_net_publish(struct user_net *n, const char *text, struct err *e) must_use;

/* Until the other end of the socket closes. */
int user_net_run(struct user_net *n, struct err *e) must_use;

/* Whether a frame aims at an address that means "this host" to the host's own stack (127/8, 0/8):
 * such a one never comes from an honest machine. Pure. */
bool user_net_forbidden(const uint8_t *frame, size_t n);
