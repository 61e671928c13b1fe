/*
 * The ACPI tables of a machine: RSDP at MAP_ACPI_BASE, behind it XSDT, FADT with FACS and DSDT,
 * MADT with a local APIC per vCPU, MCFG. Written once before boot and again at each reset; they
 * describe what the other files of this room and map.h make, and nothing else.
 */
#pragma once

#include "virt/vm/memory/ram.h"

/* ERR_INVALID where RAM does not reach up to where the tables lie. */
int acpi_write(struct ram *ram, unsigned cpus, struct err *e) must_use;
