/*
 * Between pci.c (configuration space) and pci_msix.c (interrupts); nobody else's.
 */
#pragma once

#include "virt/vm/device/pci.h"

/* The guest wrote to configuration space: masks, enabling and INTx may have changed. */
void pci_msix_look(struct pci_function *f);
void pci_msix_reset(struct pci_function *f);
