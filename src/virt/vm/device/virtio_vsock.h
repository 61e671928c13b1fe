/*
 * A virtio socket device (virtio 1.2, 5.10): streams between guest programs and host programs,
 * with unix sockets on the host's side, by the protocol that Firecracker made usual.
 *
 * Host to guest: connect to the unix socket `path`, write "CONNECT <port>\n", read "OK <port>\n";
 * what follows is the stream. A port where nobody listens, or a guest without driver, closes it.
 * Guest to host: a connection to CID 2, port p, is one to the unix socket `<path>_<p>`.
 *
 * The bus frees it (and unlinks `path`). Everything happens on the loop's thread, with the bus
 * lock. Limits: connections, 256 KiB on their way to a host program that does not read.
 */
#pragma once

#include <stdint.h>

#include "virt/vm/device/pci.h"

#define VSOCK_CONNECTIONS_MAX 512
#define VSOCK_BUFFER_BYTES    (256u << 10)
#define VSOCK_CID_HOST	      2
#define VSOCK_CID_GUEST_MIN   3

int virtio_vsock_new(struct pci *p, uint32_t cid, const char *path, struct err *e) must_use;
