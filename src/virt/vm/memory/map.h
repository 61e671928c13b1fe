/*
 * Where things lie in a machine's address spaces. One table for boot, ACPI, devices and both CPUs:
 * whoever needs an address takes it from here.
 *
 * Ports are a PC's. RAM ends at 3 GiB and goes on at 4 GiB (ram.h); between them lie the devices.
 * The 64-bit window lies above all RAM there can be, within the 46 physical address bits that CPUID
 * shows.
 */
#pragma once

#define MAP_PHYSICAL_BITS 46

/* Memory: the hole below 4 GiB and the window above. */
#define MAP_PCI32_BASE	0xc0000000ull
#define MAP_PCI32_BYTES 0x20000000ull
#define MAP_PCI32_LAST	0xdfffffffull
#define MAP_ECAM_BASE	0xe0000000ull /* 1 MiB: bus 0 only */
#define MAP_ECAM_BYTES	0x00100000ull
#define MAP_IOAPIC_BASE 0xfec00000ull
#define MAP_APIC_BASE	0xfee00000ull
#define MAP_PCI64_BASE	0x2000000000ull
#define MAP_PCI64_BYTES 0x1000000000ull
#define MAP_PCI64_LAST	0x2fffffffffull

/* Low memory: what boot puts there. 0x1000–0x9efff stays usable RAM for AP trampolines. */
#define MAP_LOW_USED_BYTES 0x22000ull /* of the following */
#define MAP_BOOT_GDT	   0x0500ull
#define MAP_PVH_INFO	   0x6000ull
#define MAP_ZERO_PAGE	   0x7000ull
#define MAP_BOOT_STACK	   0x8ff0ull
#define MAP_BOOT_TABLES	   0x9000ull /* three to six pages of page tables */
#define MAP_COMMAND_LINE   0x20000ull
#define MAP_COMMAND_BYTES  2048u
#define MAP_SETUP_DATA	   0x21000ull /* one page */
#define MAP_EBDA	   0x9fc00ull
#define MAP_ACPI_BASE	   0xe0000ull /* RSDP first, tables behind; reserved up to 1 MiB */
#define MAP_ACPI_BYTES	   0x20000ull

/* Ports. */
#define MAP_PORT_COM1	 0x3f8
#define MAP_PORT_CMOS	 0x70
#define MAP_PORT_I8042	 0x60 /* and 0x64 */
#define MAP_PORT_PVPANIC 0x505
#define MAP_PORT_PM1	 0x600 /* event block of 4 bytes, control block of 2, PM timer at 0x608 */
#define MAP_PORT_RESET	 0xcf9
#define MAP_PORT_PCI	 0xcf8

/* Inputs of the I/O APIC. */
#define MAP_IRQ_I8042 1
#define MAP_IRQ_COM1  4
#define MAP_IRQ_CMOS  8
#define MAP_IRQ_SCI   9
#define MAP_IRQ_PCI   16 /* INTA–INTD of all slots: 16 to 19 */
#define MAP_IRQ_PINS  24
