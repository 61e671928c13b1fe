/*
 * A virtio console (virtio 1.2, 5.3) over a char back: one port, its size told and told again when
 * the terminal changes, early output by the emergency register.
 *
 * The bus frees it; the back is borrowed and freed after it.
 */
#pragma once

#include "virt/vm/device/back.h"
#include "virt/vm/device/pci.h"

int virtio_console_new(struct pci *p, struct char_back *back, struct err *e) must_use;
